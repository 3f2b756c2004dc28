"""The upstream Hub as a client sees it: what it says, and what its refusals and failures mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hubreg.errors import (
    GatedRepo,
    HubregError,
    RepoNotFound,
    RevisionNotFound,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from hubreg.formats.listing import Listing
from hubreg.mirror.upstream import UpstreamHub
from hubreg.model import CommitId, Entry, EntryKind, RepoType
from hubreg.store.mirror import Upstream
from tests.fakehub import FakeHub, lfs
from tests.mirror.plain import PlainCalls

pytestmark = pytest.mark.anyio

MODEL = RepoType.MODEL
NAME = "Org/Model"


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        repo = fake.model(NAME)
        repo.commit({"README.md": b"hello", "a/config.json": b"{}", "a/b/model.bin": lfs(b"weights")})
        yield fake


@pytest.fixture
def upstream(fake: FakeHub) -> UpstreamHub:
    return UpstreamHub(PlainCalls(), Upstream(1, "hub", fake.url))


def head(fake: FakeHub) -> CommitId:
    return CommitId(fake.model(NAME).head())


async def listed(upstream: UpstreamHub, commit: CommitId) -> list[Entry]:
    return [entry async for page in upstream.tree(MODEL, NAME, commit) for entry in page]


@pytest.mark.parametrize("type_", RepoType)
async def test_info_of_every_type_of_repo(fake: FakeHub, upstream: UpstreamHub, type_: RepoType) -> None:
    """One call says which commit a revision is, and all that lists show; the files are not among it."""
    repo = fake.repo(type_.value, "org/thing", gated="auto" if type_ is not RepoType.SPACE else False)
    commit = repo.commit({"README.md": b"x"})
    repo.facts |= {"likes": 2**40, "tags": ["a", "b"]}
    said = await upstream.info(type_, "org/thing", "main")
    assert (said.name, said.sha, said.likes, said.tags) == ("org/thing", commit.id, 2**40, ("a", "b"))
    assert said.gated == ("" if type_ is RepoType.SPACE else "auto")
    assert not said.private
    [seen] = fake.seen()
    assert "siblings" not in str(seen)


async def test_revisions_are_one_segment(fake: FakeHub, upstream: UpstreamHub) -> None:
    """`refs/pr/1` is quoted as a whole (HUB 1.3, PITFALLS 28)."""
    commit = fake.model(NAME).commit({"x": b"x"}, on="refs/pr/1")
    assert (await upstream.info(MODEL, NAME, "refs/pr/1")).sha == commit.id


@pytest.mark.parametrize("asked", ["org/model", "old", "old/name"])
async def test_other_names_lead_to_the_repo(fake: FakeHub, upstream: UpstreamHub, asked: str) -> None:
    """In any case, by a legacy name or an old one, for POST too: the canonical one comes back (PITFALLS 16, 18)."""
    for alias in ("old", "old/name"):
        fake.alias(alias, fake.model(NAME))
    assert (await upstream.info(MODEL, asked)).name == NAME
    found = await upstream.paths(MODEL, asked, head(fake), ["README.md"])
    assert found["README.md"].size == 5


async def test_all_pages_of_a_tree(fake: FakeHub, upstream: UpstreamHub) -> None:
    """PITFALLS 15: a repo of more files than a page is whole, and its trees have the oids that upstream's have."""
    fake.page_size = 3
    commit = fake.model(NAME).commit({f"data/{n:02}.txt": b"%d" % n for n in range(20)})
    listing = Listing()
    folders = {}
    async for page in upstream.tree(MODEL, NAME, CommitId(commit.id)):
        listing.add(page)
        folders |= {entry.path: entry.oid for entry in page if entry.kind is EntryKind.DIRECTORY}
    root, trees = listing.trees()
    assert len(list(listing.files())) == 23
    assert root == commit.tree.oid
    assert set(folders.values()) | {root} == set(trees)


async def test_a_link_to_another_host_is_followed_at_the_upstream(
    fake: FakeHub, upstream: UpstreamHub
) -> None:
    """PITFALLS 13: the host in a `Link` is not asked, and no token goes there."""
    fake.page_size = 2
    fake.public_url = "http://elsewhere.invalid"
    assert len(await listed(upstream, head(fake))) == 5


async def test_what_a_listing_says_of_files(fake: FakeHub, upstream: UpstreamHub) -> None:
    """PITFALLS 4, 30: sha256 of large files, git's SHA-1 of the others, and no size of a pointer for the content's."""
    found = {entry.path: entry for entry in await listed(upstream, head(fake))}
    large, small = found["a/b/model.bin"], found["README.md"]
    assert (large.lfs, large.size, len(str(large.sha256)), large.pointer_size > 100) == (True, 7, 64, True)
    assert (small.lfs, small.size, small.sha256) == (False, 5, None)


async def test_single_paths(fake: FakeHub, upstream: UpstreamHub) -> None:
    """Missing ones are left out; nothing that was not asked for comes back."""
    asked = ["a/config.json", "a", "missing"]
    found = await upstream.paths(MODEL, NAME, head(fake), asked)
    assert {path: entry.kind for path, entry in found.items()} == {
        "a/config.json": EntryKind.FILE,
        "a": EntryKind.DIRECTORY,
    }


async def test_refs(fake: FakeHub, upstream: UpstreamHub) -> None:
    """By their full names; pull requests when asked for (PITFALLS 27)."""
    repo = fake.model(NAME)
    repo.tag("v1")
    repo.branch("dev")
    repo.branch("refs/convert/parquet")
    pull = repo.commit({"x": b""}, on="refs/pr/7")
    some = dict(await upstream.refs(MODEL, NAME))
    assert set(some) == {"refs/heads/main", "refs/heads/dev", "refs/tags/v1", "refs/convert/parquet"}
    assert dict(await upstream.refs(MODEL, NAME, pulls=True)) == some | {"refs/pr/7": pull.id}


async def test_commits(fake: FakeHub, upstream: UpstreamHub) -> None:
    """Newest first, by pages, with how many there are."""
    commit = fake.model(NAME).commit({"x": b""}, title="second", message="more")
    page = await upstream.commits(MODEL, NAME, CommitId(commit.id), 0, 1)
    assert page.total == 2
    assert [(said.id, said.title, said.message, said.authors) for said in page.commits] == [
        (commit.id, "second", "more", ("Org",))
    ]


# facts


async def test_what_is_not_there(fake: FakeHub, upstream: UpstreamHub) -> None:
    """Told to be absent in a Hub's way: as 401 without a code, or with one (HUB 4.2)."""
    token = fake.user("ann")
    for key in ("", token):
        with pytest.raises(RepoNotFound):
            await upstream.info(MODEL, "org/none", token=key)
    with pytest.raises(RevisionNotFound, match="Invalid rev id: none"):
        await upstream.info(MODEL, NAME, "none")
    with pytest.raises(RevisionNotFound):
        await listed(upstream, CommitId("0" * 40))


async def test_rights(fake: FakeHub, upstream: UpstreamHub) -> None:
    """PITFALLS 10: a gate says what to do in upstream's own words, and opens for whom it opens there."""
    repo = fake.model(NAME)
    repo.gated = "manual"
    token = fake.user("ann")
    with pytest.raises(GatedRepo, match="Please log in"):
        await upstream.check_right(MODEL, NAME, token="")
    with pytest.raises(GatedRepo, match=r"Visit .* to ask for access"):
        await upstream.check_right(MODEL, NAME, token=token)
    repo.granted.add("ann")
    await upstream.check_right(MODEL, NAME, token=token)


# failures


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, UpstreamUnreachable),
        (502, UpstreamUnreachable),
        (503, UpstreamUnreachable),
        (504, UpstreamTimeout),
        (408, UpstreamTimeout),
        (429, UpstreamBusy),
        (404, UpstreamFailed),
        (400, UpstreamFailed),
        (418, UpstreamFailed),
    ],
)
async def test_failures_are_not_facts(
    fake: FakeHub, upstream: UpstreamHub, status: int, kind: type[HubregError]
) -> None:
    """PITFALLS 8: no failure says that something is not there, also a 404 that no Hub's code comes with."""
    fake.fail("*", status, times=1)
    with pytest.raises(UpstreamFailed) as refused:
        await upstream.info(MODEL, NAME)
    assert type(refused.value) is kind
    assert refused.value.code not in ("RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo")


@pytest.mark.parametrize("html", [False, True])
async def test_too_many_requests(fake: FakeHub, upstream: UpstreamHub, html: bool) -> None:
    """It says for how long, as far as upstream did, whatever the page looks like."""
    fake.rate_limit(seconds=55, html=html)
    with pytest.raises(UpstreamBusy) as refused:
        await upstream.info(MODEL, NAME)
    assert refused.value.headers == {"Retry-After": "55"}


@pytest.mark.parametrize("status", [200, 401, 403, 404])
async def test_html_is_no_answer(fake: FakeHub, upstream: UpstreamHub, status: int) -> None:
    """A captive portal does not tell which repos there are; 424, for asking again does not help."""
    fake.html("*", status, times=None)
    with pytest.raises(UpstreamFailed) as refused:
        await upstream.info(MODEL, NAME)
    assert refused.value.status == 424


async def test_broken_json(fake: FakeHub, upstream: UpstreamHub) -> None:
    """Half a listing is none."""
    fake.broken_json("*", times=None)
    with pytest.raises(UpstreamFailed, match="in JSON"):
        await listed(upstream, head(fake))


@pytest.mark.parametrize("again", [False, True])
async def test_a_listing_that_never_ends(fake: FakeHub, upstream: UpstreamHub, again: bool) -> None:
    """Of new entries for ever, or of the same ones: it is noticed, and nothing is made of it."""
    fake.endless_listing(f"/api/models/{NAME}/tree/*", again=again)
    listing = Listing(most=5000)
    with pytest.raises(UpstreamFailed, match=r"repeats itself|more than 5000"):
        async for page in upstream.tree(MODEL, NAME, head(fake)):
            listing.add(page)
    assert len(fake.seen(kind="tree")) <= 6


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a//b", ".git/config", "a/.GIT/x", "", "a\x00b", "./a"]
)
async def test_paths_that_lead_elsewhere(fake: FakeHub, upstream: UpstreamHub, path: str) -> None:
    """A listing with a path that no repo may hold is refused as a whole."""
    item = b'[{"type":"file","oid":"%s","size":1,"path":%s}]' % (b"0" * 40, json(path))
    headers = [("content-type", "application/json")]
    fake.answer(f"/api/models/{NAME}/*", 200, headers, item, times=None)
    with pytest.raises(UpstreamFailed, match="a path that no repo may hold"):
        await listed(upstream, head(fake))


@pytest.mark.parametrize(
    "item",
    [
        b'{"type":"file","oid":"xyz","size":1,"path":"a"}',
        b'{"type":"file","oid":"%s","size":-1,"path":"a"}' % (b"0" * 40),
        b'{"type":"file","oid":"%s","size":9e99,"path":"a"}' % (b"0" * 40),
        b'{"type":"file","oid":"%s","path":"a"}' % (b"0" * 40),
        b'{"type":"file","oid":"%s","size":1,"path":"a","lfs":{"oid":"1","size":1}}' % (b"0" * 40),
        b'{"type":"file","oid":"%s","size":1,"path":["a"]}' % (b"0" * 40),
        b"null",
        b"[" * 5000,
    ],
)
async def test_entries_that_are_none(fake: FakeHub, upstream: UpstreamHub, item: bytes) -> None:
    """Ids, sizes and shapes are looked at."""
    headers = [("content-type", "application/json")]
    fake.answer("*", 200, headers, b"[" + item + b"]", times=None)
    with pytest.raises(UpstreamFailed):
        await listed(upstream, head(fake))


async def test_a_name_that_is_none(fake: FakeHub, upstream: UpstreamHub) -> None:
    """What upstream calls a repo becomes a URL here: it is looked at."""
    fake.model(NAME).facts["id"] = "../../etc"
    with pytest.raises(UpstreamFailed, match="calls a repo"):
        await upstream.info(MODEL, NAME)


async def test_the_token_goes_where_it_should(fake: FakeHub, upstream: UpstreamHub) -> None:
    """The one that a call is made with, and none where none is."""
    fake.model(NAME).private = True
    fake.model(NAME).readers.add("ann")
    token = fake.user("ann")
    assert (await upstream.info(MODEL, NAME, token=token)).private
    with pytest.raises(RepoNotFound):
        await upstream.info(MODEL, NAME)


def json(text: str) -> bytes:
    escaped = "".join(f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'.encode()
