"""What git says over HTTP, in both versions, and what it is answered: bytes as C git writes and reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import HubregError, Invalid
from hubreg.formats import gitwire, pktline
from hubreg.formats.gitwire import Acks, Command, Deepen, Fetch, LsRefs, Push, Ref, Shallow
from hubreg.formats.pktline import Decoder, Mark, Packet
from hubreg.model import CommitId, Oid

A, B, C, T = (Oid(letter * 40) for letter in "abcd")
MAIN = "refs/heads/main"
REFS = [Ref(MAIN, CommitId(A)), Ref("refs/pr/1", CommitId(B)), Ref("refs/tags/v1", CommitId(A), T)]


def lines(*texts: str | Mark) -> bytes:
    return b"".join(t.value if isinstance(t, Mark) else pktline.encode(f"{t}\n".encode()) for t in texts)


def packets(data: bytes) -> list[Packet]:
    decoder = Decoder(len(data))
    decoder.feed(data)
    found = []
    while (packet := decoder.next_packet()) is not None:
        found.append(packet)
    return found


def texts(data: bytes) -> list[str | Mark]:
    return [p if isinstance(p, Mark) else p.decode().removesuffix("\n") for p in packets(data)]


# refs


def test_capabilities_of_version_2() -> None:
    """No service line before them; filters and the rest that is not here are not told."""
    told = texts(gitwire.render_capabilities())
    assert told[0] == "version 2"
    assert told[-1] is Mark.FLUSH
    assert {"ls-refs", "fetch=shallow", "object-format=sha1"} <= set(told)


def test_the_advertisement_of_a_fetch() -> None:
    """HEAD first with the capabilities, then every ref, an annotated tag with what it is of."""
    service, first, *rest = texts(gitwire.render_advertisement(gitwire.UPLOAD, REFS, MAIN))
    assert service == "# service=git-upload-pack"
    assert first is Mark.FLUSH
    head, _, abilities = str(rest[0]).partition("\0")
    assert head == f"{A} HEAD"
    assert {"multi_ack_detailed", "side-band-64k", f"symref=HEAD:{MAIN}"} <= set(abilities.split())
    assert rest[1:] == [
        f"{A} {MAIN}", f"{B} refs/pr/1", f"{T} refs/tags/v1", f"{A} refs/tags/v1^{{}}", Mark.FLUSH
    ]  # fmt: skip


def test_the_advertisement_of_a_push() -> None:
    """Neither HEAD nor peeled values: those are no refs to push to."""
    _, _, first, *rest = texts(gitwire.render_advertisement(gitwire.RECEIVE, REFS, MAIN))
    assert str(first).startswith(f"{A} {MAIN}\0report-status ")
    assert rest == [f"{B} refs/pr/1", f"{T} refs/tags/v1", Mark.FLUSH]
    _, _, nothing, _ = texts(gitwire.render_advertisement(gitwire.RECEIVE, [], MAIN))
    assert str(nothing).startswith(f"{gitwire.ZERO} capabilities^{{}}\0")


def test_refs_by_prefix() -> None:
    """What begins with one of the prefixes; all where there is none; more about a ref only if asked for."""
    assert texts(gitwire.render_refs(LsRefs(("refs/heads/", "HEAD"), True, True), REFS, MAIN)) == [
        f"{A} HEAD symref-target:{MAIN}", f"{A} {MAIN}", Mark.FLUSH
    ]  # fmt: skip
    assert texts(gitwire.render_refs(LsRefs(peel=True), REFS, MAIN))[-2] == f"{T} refs/tags/v1 peeled:{A}"
    assert texts(gitwire.render_refs(LsRefs(("refs/pr",)), REFS, MAIN)) == [f"{B} refs/pr/1", Mark.FLUSH]


class Named(str):
    """A ref's name that counts with how many others it was compared."""

    __slots__ = ()
    compared = 0

    def startswith(self, prefix: str | tuple[str, ...], *within: Any) -> bool:
        Named.compared += 1 if isinstance(prefix, str) else len(prefix)
        return super().startswith(prefix, *within)


def test_a_ref_is_compared_with_few_of_many_prefixes() -> None:
    """So that what a request costs is not refs times prefixes; and the right ones are found all the same."""
    refs = [Ref(Named(f"refs/heads/{n}/x"), CommitId(A)) for n in range(500)]
    asked = LsRefs(
        ("refs/heads/30/x", "refs/heads/30", "z", *(f"refs/heads/{n}/" for n in range(0, 60_000, 3)))
    )
    Named.compared = 0
    told = texts(gitwire.render_refs(asked, refs, MAIN))
    assert Named.compared <= 2 * len(refs)
    right = [n for n in range(500) if n % 3 == 0 or f"{n}".startswith("30")]
    assert told == [*(f"{A} refs/heads/{n}/x" for n in right), Mark.FLUSH]


@given(st.lists(st.text("ab/", max_size=5), max_size=8), st.lists(st.text("ab/", max_size=7), max_size=8))
def test_refs_by_any_prefixes(prefixes: list[str], names: list[str]) -> None:
    """As `str.startswith` finds them."""
    told = texts(
        gitwire.render_refs(LsRefs(tuple(prefixes)), [Ref(name, CommitId(A)) for name in names], MAIN)
    )
    assert told[:-1] == [f"{A} {name}" for name in names if not prefixes or name.startswith(tuple(prefixes))]


# fetching: what is asked


def test_a_command_for_refs() -> None:
    """As git 2.39 sends it."""
    body = lines("command=ls-refs", "agent=git/2.39.5", "object-format=sha1", Mark.DELIM, "peel", "symrefs",
                 "unborn", "ref-prefix refs/heads/", "ref-prefix HEAD", Mark.FLUSH)  # fmt: skip
    assert gitwire.parse_command(body) == LsRefs(("refs/heads/", "HEAD"), True, True)


def test_a_command_for_objects() -> None:
    """Wants, haves, depth, and words that change nothing."""
    words = ("thin-pack", "no-progress", "include-tag", "ofs-delta", "deepen 3", "deepen-relative")
    body = lines("command=fetch", "agent=git/2.39.5", Mark.DELIM, *words, f"shallow {C}", f"want {A}", f"have {B}",
                 Mark.FLUSH)  # fmt: skip
    fetch = gitwire.parse_command(body)
    assert fetch == Fetch(
        Acks.SECTION, [A], [B], [C], Deepen(3, relative=True), include_tags=True, bands=True
    )


def test_a_fetch_of_version_0() -> None:
    """The capabilities stand on the first want."""
    body = lines(f"want {A} multi_ack_detailed no-done side-band-64k include-tag deepen-relative agent=git/2",
                 f"want {B}", f"shallow {C}", "deepen 2", "deepen-since 1500000000", "deepen-not refs/heads/x",
                 Mark.FLUSH, f"have {C}", Mark.FLUSH)  # fmt: skip
    assert gitwire.parse_fetch(body) == Fetch(
        Acks.DETAILED, [A, B], [C], [C], Deepen(2, True, 1_500_000_000, ("refs/heads/x",)),
        no_done=True, include_tags=True, bands=True,
    )  # fmt: skip


def test_a_fetch_that_ends_with_its_wants_is_not_negotiating() -> None:
    """It only wants to hear where its history is to end: not even a NAK may follow."""
    ends = gitwire.parse_fetch(lines(f"want {A} multi_ack_detailed", "deepen 1", Mark.FLUSH))
    goes_on = gitwire.parse_fetch(lines(f"want {A} multi_ack_detailed", "deepen 1", Mark.FLUSH, "done"))
    assert ends is not None
    assert goes_on is not None
    assert (ends.negotiating, goes_on.negotiating) == (False, True)
    answer, follows = gitwire.render_negotiation(ends, [], ready=False, shallow=Shallow((CommitId(A),)))
    assert (texts(answer), follows) == ([f"shallow {A}", Mark.FLUSH], False)


def test_requests_that_say_nothing() -> None:
    """git sends an empty list when it has changed its mind."""
    assert gitwire.parse_command(b"0000") is None
    assert gitwire.parse_command(b"") is None
    assert gitwire.parse_fetch(b"0000") is None


@pytest.mark.parametrize(
    "body",
    [
        lines("command=erase", Mark.FLUSH),
        lines("command=fetch", "object-format=sha256", Mark.FLUSH),
        lines("command=fetch", Mark.DELIM, "filter blob:none", Mark.FLUSH),
        lines("command=fetch", Mark.DELIM, "want-ref refs/heads/main", Mark.FLUSH),
        lines("command=fetch", Mark.DELIM, "want main", Mark.FLUSH),
        lines("command=fetch", Mark.DELIM, f"want {'A' * 40}", Mark.FLUSH),
        lines("command=fetch", Mark.DELIM, f"want {A}", "deepen -1", Mark.FLUSH),
        lines("command=fetch", Mark.DELIM, Mark.DELIM, Mark.FLUSH),
        b"0009\xff\xff\xff\xff\n0000",
        b"00zz",
        b"0010half",
    ],
)
def test_what_is_no_command_is_refused(body: bytes) -> None:
    """In our own words, whatever it is."""
    with pytest.raises(Invalid):
        gitwire.parse_command(body)


def status(parse: Callable[[bytes], object], body: bytes) -> int:
    """200, or that of the refusal: below 500 it is the sender's fault, which no trying again mends."""
    try:
        parse(body)
    except HubregError as refused:
        return refused.status
    return 200


@given(st.binary(max_size=200))
def test_any_bytes_may_come(body: bytes) -> None:
    """Nothing but our own errors leaves the parsers."""
    for parse in (
        gitwire.parse_command,
        gitwire.parse_fetch,
        lambda data: gitwire.parse_push(iter(packets(data))),
    ):
        assert status(parse, body) < 500


def test_a_fetch_excludes_as_many_refs_as_it_may() -> None:
    """And no more: each of them is looked up, and its history walked."""
    for parse, start in (
        (gitwire.parse_command, lines("command=fetch", Mark.DELIM, f"want {A}")),
        (gitwire.parse_fetch, lines(f"want {A}")),
    ):
        most = start + lines("deepen-not main") * 1000
        fetch = parse(most + lines(Mark.FLUSH))
        assert isinstance(fetch, Fetch)
        assert len(fetch.deepen.excluding) == 1000
        with pytest.raises(Invalid, match="1000"):
            parse(most + lines("deepen-not main", Mark.FLUSH))


def test_what_is_said_twice_counts_once() -> None:
    """Whoever repeats a have gets no longer answer."""
    words = lines(f"want {A}", f"want {B}", f"shallow {C}", f"have {C}", f"have {B}") * 1000
    for fetch in (
        gitwire.parse_command(lines("command=fetch", Mark.DELIM) + words),
        gitwire.parse_fetch(words + lines(Mark.FLUSH)),
    ):
        assert isinstance(fetch, Fetch)
        assert (fetch.wants, fetch.haves, fetch.shallow) == ([A, B], [C, B], [C])


def test_so_many_prefixes_are_none() -> None:
    """As for git, which tells of all refs then."""
    start = lines("command=ls-refs", Mark.DELIM, "peel")
    few = b"".join(lines(f"ref-prefix {n}") for n in range(65_535))
    asked = gitwire.parse_command(start + few + lines(Mark.FLUSH))
    assert isinstance(asked, LsRefs)
    assert len(asked.prefixes) == 65_535
    assert gitwire.parse_command(start + few + lines("ref-prefix x", Mark.FLUSH)) == LsRefs(peel=True)
    assert gitwire.parse_command(start + lines("ref-prefix x") * 70_000) == LsRefs(("x",), peel=True)


@pytest.mark.parametrize(
    ("parse", "start", "line"),
    [
        (gitwire.parse_command, b"", b"0004"),
        (gitwire.parse_command, b"", lines("agent=git/2")),
        (gitwire.parse_command, lines("command=fetch", Mark.DELIM), b"0004"),
        (gitwire.parse_command, lines("command=fetch", Mark.DELIM), lines("thin-pack")),
        (gitwire.parse_command, lines("command=ls-refs", Mark.DELIM), lines("peel")),
        (gitwire.parse_fetch, b"", b"0000"),
        (gitwire.parse_fetch, lines(f"want {A}"), b"0000"),
        (gitwire.parse_fetch, lines(f"want {A}", Mark.FLUSH), lines("done")),
    ],
)
def test_not_all_that_a_small_gzip_can_say_is_read(
    parse: Callable[[bytes], object], start: bytes, line: bytes
) -> None:
    """Hundreds of thousands of lines without meaning are refused."""
    with pytest.raises(Invalid):
        parse(start + line * 300_000)


LINES = st.sampled_from(
    [f"want {A} multi_ack", f"want {B}", f"have {C}", "done", "deepen 1", "deepen-since x", f"shallow {A}", "filter x",
     "command=fetch", "command=ls-refs", "peel", f"{A} {B} refs/x", Mark.FLUSH, Mark.DELIM, Mark.RESPONSE_END]
)  # fmt: skip


@given(st.lists(LINES, max_size=12))
def test_any_lines_may_come(body: list[str | Mark]) -> None:
    """Good lines in any order are understood or refused."""
    for parse in (gitwire.parse_command, gitwire.parse_fetch):
        assert status(parse, lines(*body)) < 500


# fetching: what is answered


def answer(
    fetch: Fetch, *common: Oid, ready: bool = False, shallow: Shallow | None = None
) -> tuple[list[str | Mark], bool]:
    moved = shallow or Shallow()
    words, follows = gitwire.render_negotiation(fetch, common, ready=ready, shallow=moved)
    return texts(words), follows


def test_a_clone_is_answered_with_the_pack() -> None:
    """Whoever has nothing needs no acknowledgement in version 2, and a NAK in version 0."""
    assert answer(Fetch(Acks.SECTION, [A], done=True)) == (["packfile"], True)
    assert answer(Fetch(Acks.SECTION, [A])) == (["packfile"], True)
    assert answer(Fetch(Acks.DETAILED, [A], done=True)) == (["NAK"], True)


def test_negotiation_in_sections() -> None:
    """Haves are acknowledged until enough is common; then the pack follows at once."""
    fetch = Fetch(Acks.SECTION, [A], [B, C])
    assert answer(fetch) == (["acknowledgments", "NAK", Mark.FLUSH], False)
    assert answer(fetch, B) == (["acknowledgments", f"ACK {B}", Mark.FLUSH], False)
    assert answer(fetch, B, C, ready=True) == (
        ["acknowledgments", f"ACK {B}", f"ACK {C}", "ready", Mark.DELIM, "packfile"], True
    )  # fmt: skip


def test_negotiation_in_lines() -> None:
    """As upload-pack does it for each of the three ways to acknowledge."""
    detailed = Fetch(Acks.DETAILED, [A], [B, C], no_done=True)
    assert answer(detailed) == (["NAK"], False)
    assert answer(detailed, B) == ([f"ACK {B} common", "NAK"], False)
    assert answer(detailed, B, C, ready=True) == (
        [f"ACK {B} common", f"ACK {C} common", f"ACK {C} ready", "NAK", f"ACK {C}"], True
    )  # fmt: skip
    assert answer(Fetch(Acks.DETAILED, [A], [B], done=True), B) == ([f"ACK {B} common", f"ACK {B}"], True)
    assert answer(Fetch(Acks.EACH, [A], [B], done=True), B) == ([f"ACK {B} continue", f"ACK {B}"], True)
    assert answer(Fetch(Acks.EACH, [A], [B]), B) == ([f"ACK {B} continue", "NAK"], False)
    assert answer(Fetch(Acks.FIRST, [A], [B, C]), B, C) == ([f"ACK {B}"], False)
    assert answer(Fetch(Acks.FIRST, [A], [B], done=True), B) == ([f"ACK {B}"], True)


def test_where_history_ends_is_told() -> None:
    """Before the pack in version 2, before everything in version 0."""
    moved = Shallow((CommitId(A),), (CommitId(B),))
    told = [f"shallow {A}", f"unshallow {B}"]
    fetch = Fetch(Acks.SECTION, [A], deepen=Deepen(1), done=True)
    assert answer(fetch, shallow=moved) == (["shallow-info", *told, Mark.DELIM, "packfile"], True)
    fetch = Fetch(Acks.DETAILED, [A], deepen=Deepen(1), done=True)
    assert answer(fetch, shallow=moved) == ([*told, Mark.FLUSH, "NAK"], True)


def test_a_refusal_is_one_line() -> None:
    """Whatever it quotes."""
    assert texts(gitwire.render_refusal("no\nsuch \udcff thing")) == ["ERR no such ? thing"]


# pushing


def test_commands_of_a_push() -> None:
    """Capabilities behind the first, shallow lines passed over, and what follows them left alone."""
    body = lines(
        f"shallow {C}", f"{gitwire.ZERO} {A} {MAIN}\0 report-status side-band-64k", f"{A} {B} refs/heads/x"
    )
    decoder = Decoder(10_000)
    decoder.feed(body + b"0000PACK...")
    push = gitwire.parse_push(iter(decoder.next_packet, None))  # type: ignore[arg-type]  # ends with None
    assert push == Push(
        (Command(MAIN, gitwire.ZERO, A), Command("refs/heads/x", A, B)),
        frozenset({"report-status", "side-band-64k"}),
    )
    assert decoder.take_rest() == b"PACK..."


@pytest.mark.parametrize(
    "line", ["", f"{A} {B}", f"{A} {B} ", f"{A} main {MAIN}", "push-cert x", f"{A[:-1]} {B} x"]
)
def test_what_is_no_push_is_refused(line: str) -> None:
    """And so is one that does not end."""
    with pytest.raises(Invalid):
        gitwire.parse_push(iter(packets(lines(line, Mark.FLUSH))))
    with pytest.raises(Invalid, match="ends before"):
        gitwire.parse_push(iter(packets(lines(f"{A} {B} {MAIN}"))))


def test_of_too_many_commands_one_too_many_is_told() -> None:
    """Enough to refuse them, and no more than that is held."""
    line = lines(f"{gitwire.ZERO} {A} refs/heads/x")
    assert len(gitwire.parse_push(iter(packets(line * 1000 + b"0000"))).commands) == 1000
    assert len(gitwire.parse_push(iter(packets(line * 5000 + b"0000"))).commands) == 1001


PUSH = Push((Command(MAIN, A, B), Command("refs/tags/t", gitwire.ZERO, C)), frozenset({"report-status"}))


def test_reports() -> None:
    """All well, one ref refused, the pack refused."""
    assert texts(gitwire.render_report(PUSH, ())) == ["unpack ok", f"ok {MAIN}", "ok refs/tags/t", Mark.FLUSH]
    assert texts(gitwire.render_report(PUSH, [(MAIN, "fetch\nfirst")])) == [
        "unpack ok", f"ng {MAIN} fetch first", "ok refs/tags/t", Mark.FLUSH
    ]  # fmt: skip
    assert texts(gitwire.render_report(PUSH, "broken")) == [
        "unpack broken", f"ng {MAIN} unpacker error", "ng refs/tags/t unpacker error", Mark.FLUSH
    ]  # fmt: skip


def test_a_report_beside_messages() -> None:
    """Band 2 is for the person, band 1 for the client; whoever wants no report gets none."""
    push = Push(PUSH.commands, frozenset({"report-status", "side-band-64k"}))
    *bands, end = packets(gitwire.render_report(push, (), ["Hear, hear!"]))
    assert end is Mark.FLUSH
    assert bands[0] == b"\x02Hear, hear!\n"
    assert isinstance(bands[1], bytes)
    assert texts(bands[1][1:])[0] == "unpack ok"
    assert gitwire.render_report(Push(PUSH.commands), ()) == b""
