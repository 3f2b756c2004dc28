"""Which commits a fetch sends: small graphs by hand, and any graph against the definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Damaged, Invalid
from hubreg.formats.gitwire import Deepen, Shallow
from hubreg.hub.ancestry import Ancestry, Node, parse_node
from hubreg.model import CommitId, Oid


def graph(**parents: str) -> Ancestry:
    """Commits by one letter each, with their parents' letters; later ones are younger."""
    return Ancestry(
        {
            CommitId(name): Node(Oid(f"tree of {name}"), tuple(map(CommitId, above)), seconds)
            for seconds, (name, above) in enumerate(parents.items())
        }
    )


def ids(names: str) -> list[CommitId]:
    return [CommitId(name) for name in names]


LINE = graph(a="", b="a", c="b", d="c", e="d")
#   a - b - d - f     f merges c's line into b's
#     \- c - e -/
MERGED = graph(a="", b="a", c="a", d="b", e="c", f="de")


def test_what_is_reachable() -> None:
    """The tips and all before them; nothing behind a commit whose parents do not count."""
    assert MERGED.reachable(ids("f")) == set("abcdef")
    assert MERGED.reachable(ids("e")) == set("ace")
    assert MERGED.reachable(ids("f"), ids("ec")) == set("abdef")


def test_enough_is_common_when_every_want_meets_it() -> None:
    """One line that leads to nothing common keeps the negotiation going."""
    assert MERGED.meets(ids("f"), ids("c"))
    assert not MERGED.meets(ids("fb"), ids("c"))
    assert MERGED.meets(ids("fb"), ids("ca"))


def test_a_fetch_sends_what_is_missing() -> None:
    """Newest first, and beside it the trees that the client has of the parents."""
    sending = MERGED.sending(ids("f"), ids("d"), (), Deepen())
    assert sending.commits == ids("fec")
    assert sending.roots == ["tree of f", "tree of e", "tree of c"]
    assert sending.held == ["tree of a", "tree of d"]


def test_a_shallow_client_has_nothing_behind_its_ends() -> None:
    """Its last commit is there, what came before is not, and is not sent unasked either."""
    assert LINE.sending(ids("e"), ids("c"), ids("c"), Deepen()).commits == ids("ed")
    assert LINE.sending(ids("e"), ids("d"), ids("c"), Deepen()).commits == ids("e")


@pytest.mark.parametrize(
    ("deepen", "shallow", "sent", "moved"),
    [
        (Deepen(1), "", "e", Shallow(tuple(ids("e")))),
        (Deepen(3), "", "edc", Shallow(tuple(ids("c")))),
        (Deepen(5), "", "edcba", Shallow()),
        (Deepen(0x7FFFFFFF), "d", "cba", Shallow((), tuple(ids("d")))),
        (Deepen(2, relative=True), "d", "cb", Shallow(tuple(ids("b")), tuple(ids("d")))),
        (Deepen(since=3), "", "ed", Shallow(tuple(ids("d")))),
        (Deepen(excluding=("x",)), "", "ed", Shallow(tuple(ids("d")))),
        (Deepen(since=4, excluding=("x",)), "", "e", Shallow(tuple(ids("e")))),
    ],
)
def test_deepening(deepen: Deepen, shallow: str, sent: str, moved: Shallow) -> None:
    """By generations, from where it ended, by date, by what is to be left out."""
    haves = ids("e") if shallow else []
    sending = LINE.sending(ids("e"), haves, ids(shallow), deepen, ids("c"))
    assert "".join(sending.commits) == sent
    assert sending.shallow == moved


def test_deepening_to_nothing_is_refused() -> None:
    """There is no clone without a commit."""
    with pytest.raises(Invalid, match="no commits selected"):
        LINE.sending(ids("e"), (), (), Deepen(since=99))


def test_a_want_that_is_too_old_is_sent_alone() -> None:
    """Beside one that is young enough."""
    sending = graph(a="", b="a", x="", y="x").sending(ids("yb"), (), (), Deepen(since=2))
    assert set(sending.commits) == set("xyb")
    assert sending.shallow.shallow == tuple(ids("b"))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[CommitId, Node], list[CommitId]]:
    count = draw(st.integers(1, 12))
    names = [CommitId(chr(97 + n)) for n in range(count)]
    nodes = {
        name: Node(
            Oid(name),
            tuple(draw(st.lists(st.sampled_from(names[:n]), max_size=3, unique=True)) if n else ()),
            n,
        )
        for n, name in enumerate(names)
    }
    return nodes, names


def naive(nodes: dict[CommitId, Node], tips: set[CommitId]) -> set[CommitId]:
    found = set(tips)
    while True:
        more = {parent for commit in found for parent in nodes[commit].parents} - found
        if not more:
            return found
        found |= more


@given(graphs(), st.data())
def test_any_fetch_is_wants_minus_haves(
    case: tuple[dict[CommitId, Node], list[CommitId]], data: st.DataObject
) -> None:
    """What is sent and what the client has are together all that was wanted, and nothing is sent twice."""
    nodes, names = case
    wants = data.draw(st.sets(st.sampled_from(names), min_size=1))
    haves = data.draw(st.sets(st.sampled_from(names)))
    ancestry = Ancestry(nodes)
    sending = ancestry.sending(wants, haves, (), Deepen())
    assert set(sending.commits) == naive(nodes, wants) - naive(nodes, haves)
    assert len(set(sending.commits)) == len(sending.commits)
    assert set(sending.held) <= naive(nodes, haves)
    assert ancestry.meets(wants, haves) == all(naive(nodes, {want}) & haves for want in wants)


@given(graphs(), st.data())
def test_any_shallow_clone_is_connected(
    case: tuple[dict[CommitId, Node], list[CommitId]], data: st.DataObject
) -> None:
    """Every parent of what is sent is sent too, unless the client is told that the history ends there."""
    nodes, names = case
    wants = data.draw(st.sets(st.sampled_from(names), min_size=1))
    depth = data.draw(st.integers(1, 5))
    sending = Ancestry(nodes).sending(wants, (), (), Deepen(depth))
    sent = set(sending.commits)
    for commit in sent - set(sending.shallow.shallow):
        assert sent.issuperset(nodes[commit].parents)
    assert wants <= sent


def test_commits_are_read_as_far_as_needed() -> None:
    """Tree, parents and the committer's time; what is no commit is `Damaged`."""
    data = b"tree %b\nparent %b\nparent %b\nauthor A <a> 1 +0000\ncommitter C > <c> 7 +0200\ngpgsig x\n\nmessage\n" % (
        b"1" * 40, b"2" * 40, b"3" * 40,
    )  # fmt: skip
    assert parse_node(data) == Node(Oid("1" * 40), (CommitId("2" * 40), CommitId("3" * 40)), 7)
    with pytest.raises(Damaged):
        parse_node(b"tree 123\n")
