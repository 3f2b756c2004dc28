"""Large files: sent in one body or in parts, held by the repo that they were sent to, and by no other."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from hubreg.config import Config
from hubreg.errors import (
    EntryNotFound,
    Invalid,
    LinkRefused,
    Refused,
    RepoHidden,
    RepoNotFound,
    TooLarge,
)
from hubreg.formats import chain, lfs
from hubreg.hub.uploads import Incoming, Uploads
from hubreg.identity.links import Links
from hubreg.model import Actor, AddLfs, CopyFile, Millis, Sha256, TokenRole
from hubreg.ops import sizes
from hubreg.store import log, objects, uploads
from hubreg.store.blobs import Content
from hubreg.store.db import wall
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.repos import Repo
from tests.hub.conftest import Hub, lines

pytestmark = pytest.mark.anyio

BASE = "http://hub.test"
PART = 10
SMALL = b"a small file"  # under 20 bytes
BIG = b"0123456789abcdefghijKLMNO"  # three parts, the last of 5 bytes


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data", part_size=PART, multipart_from=20, lfs_max=1000, link_seconds=60)


class Hands:
    """A clock that the test moves on."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> Millis:
        return Millis(wall() + self.ahead * 1000)


def sha(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


def asking(
    *contents: bytes, operation: str = "upload", transfers: tuple[str, ...] = ("basic", "multipart")
) -> lfs.BatchRequest:
    wanted = tuple(lfs.Wanted(sha(content), len(content)) for content in contents)
    return lfs.BatchRequest("download" if operation == "download" else "upload", wanted, transfers)


class Href:
    """A URL of an answer, taken apart as the API does."""

    def __init__(self, href: str) -> None:
        assert href.startswith(BASE)
        parts = urlsplit(href)
        _, lfs_, self.repo, self.sha256, *self.rest = parts.path.split("/")
        assert lfs_ == "lfs"
        self.query = dict(parse_qsl(parts.query))


async def answer(hub: Hub, repo: Repo, *contents: bytes, actor: Actor | None = None) -> list[lfs.BatchObject]:
    found = await hub.app.uploads.batch(actor or hub.ann, repo, asking(*contents), base=BASE)
    return list(found.objects)


async def upload_href(hub: Hub, repo: Repo, content: bytes = SMALL, actor: Actor | None = None) -> Href:
    [found] = await answer(hub, repo, content, actor=actor)
    assert found.actions is not None
    return Href(found.actions["upload"].href)


async def put(uploads_: Uploads, href: Href, content: bytes) -> str:
    async with uploads_.receive(href.repo, href.sha256, href.query) as incoming:
        return await write(incoming, content)


async def put_part(uploads_: Uploads, href: Href, content: bytes) -> str:
    _, upload, part = href.rest
    async with uploads_.receive_part(href.repo, href.sha256, upload, part, href.query) as incoming:
        return await write(incoming, content)


async def write(incoming: Incoming, content: bytes) -> str:
    for start in range(0, len(content), 7):
        incoming.write(content[start : start + 7])
    return await incoming.finish()


class Parts:
    """An upload in parts, as a client sees it."""

    def __init__(self, uploads_: Uploads, action: lfs.Action) -> None:
        header = dict(action.header or {})
        self.uploads, self.size = uploads_, int(header.pop("chunk_size"))
        self.hrefs = [Href(header[key]) for key in sorted(header)]
        self.end = Href(action.href)
        self.etags: dict[int, str] = {}

    @property
    def id(self) -> str:
        return self.end.rest[1]

    async def send(self, content: bytes, *numbers: int) -> None:
        for number in numbers or range(1, len(self.hrefs) + 1):
            piece = content[(number - 1) * self.size : number * self.size]
            self.etags[number] = await put_part(self.uploads, self.hrefs[number - 1], piece)

    async def complete(self, oid: str | None = None, uploads_: Uploads | None = None) -> None:
        parts = tuple(lfs.Part(number, etag) for number, etag in sorted(self.etags.items()))
        completion = lfs.Completion(oid or self.end.sha256, parts)
        end = self.end
        await (uploads_ or self.uploads).complete(end.repo, end.sha256, self.id, end.query, completion)


async def in_parts(hub: Hub, repo: Repo, content: bytes = BIG, actor: Actor | None = None) -> Parts:
    [found] = await answer(hub, repo, content, actor=actor)
    assert found.actions is not None
    return Parts(hub.app.uploads, found.actions["upload"])


async def holds(hub: Hub, repo: Repo, content: bytes) -> bool:
    held = await objects.has_large(hub.app.db, repo.id, [sha(content)])
    return held == {sha(content): len(content)}


def leftovers(hub: Hub) -> list[str]:
    return sorted(path.name for path in hub.app.layout.incoming.iterdir())


async def stored(hub: Hub, content: bytes) -> bytes:
    return b"".join([chunk async for chunk in hub.app.blobs.read(sha(content))])


async def added(hub: Hub) -> int:
    """How often the log says that a repo got a large file."""
    return sum(b"repo:large:" in link.body for link in await log.read(hub.app.db, 0, 1000))


# batch


async def test_a_small_file_is_offered_one_signed_url(hub: Hub) -> None:
    """`upload` for the bytes, `verify` at the repo's own address, where clients send their credentials."""
    repo = await hub.repo()
    found = await hub.app.uploads.batch(hub.ann, repo, asking(SMALL), base=BASE)
    assert found.transfer == "basic"
    [item] = found.objects
    assert (item.oid, item.size, item.error) == (sha(SMALL), len(SMALL), None)
    assert item.actions is not None
    assert item.actions["verify"].href == f"{BASE}/ann/model.git/info/lfs/verify"
    assert item.actions["upload"].header is None
    assert item.actions["upload"].expires_in == 60
    assert "signature" in Href(item.actions["upload"].href).query


async def test_a_large_file_is_offered_in_parts(hub: Hub) -> None:
    """`chunk_size` is text, the keys are digits that sort as text, and there are exactly ceil(size / chunk) of them."""
    repo = await hub.repo()
    found = await hub.app.uploads.batch(hub.ann, repo, asking(BIG), base=BASE)
    assert found.transfer == "multipart"
    assert found.objects[0].actions is not None
    header = found.objects[0].actions["upload"].header
    assert header is not None
    assert list(header) == ["chunk_size", "00001", "00002", "00003"]
    assert header["chunk_size"] == "10"
    assert len({*header.values()}) == 4


async def test_a_client_that_knows_no_parts_gets_one_url(hub: Hub) -> None:
    """A transfer is never one that the client did not offer."""
    repo = await hub.repo()
    request = asking(BIG, transfers=("basic", "lfs-standalone-file"))
    found = await hub.app.uploads.batch(hub.ann, repo, request, base=BASE)
    assert found.transfer == "basic"
    assert found.objects[0].actions is not None
    assert found.objects[0].actions["upload"].header is None


async def test_one_answer_has_one_transfer(hub: Hub) -> None:
    """Where one file is sent in parts all are: git-lfs hands the whole answer to one agent. An empty one has none."""
    repo = await hub.repo()
    found = await hub.app.uploads.batch(hub.ann, repo, asking(BIG, SMALL, b""), base=BASE)
    assert found.transfer == "multipart"
    headers = [item.actions["upload"].header for item in found.objects if item.actions]
    assert [len(header or {}) for header in headers] == [4, 3, 0]


async def test_what_the_repo_holds_is_not_asked_for(hub: Hub) -> None:
    """An object without actions is there already; it does not make the transfer multipart either."""
    repo = await hub.repo()
    await hub.large(repo, BIG)
    found = await hub.app.uploads.batch(hub.ann, repo, asking(BIG, SMALL), base=BASE)
    assert found.transfer == "basic"
    assert found.objects[0].actions is None
    assert found.objects[0].error is None
    assert found.objects[1].actions is not None


async def test_what_another_repo_holds_is_asked_for(hub: Hub) -> None:
    """Knowing a sha256 is no right to the content."""
    repo, other = await hub.repo(), await hub.repo("other", private=True)
    await hub.large(other, SMALL)
    [item] = await answer(hub, repo, SMALL)
    assert item.actions is not None
    with pytest.raises(EntryNotFound):
        await hub.app.uploads.verify(hub.ann, repo, sha(SMALL), len(SMALL))


async def test_each_object_is_judged_for_itself(hub: Hub) -> None:
    """Too large, or not the size that the repo knows: an error with a number and a message, beside the others."""
    repo = await hub.repo()
    await hub.large(repo, SMALL)
    wanted = (lfs.Wanted("a" * 64, 1001), lfs.Wanted(sha(SMALL), 5), lfs.Wanted("b" * 64, 1))
    found = await hub.app.uploads.batch(hub.ann, repo, lfs.BatchRequest("upload", wanted), base=BASE)
    assert [item.error.code if item.error else 0 for item in found.objects] == [413, 422, 0]
    assert [item.actions is None for item in found.objects] == [True, True, False]


async def test_a_download_is_offered_of_what_the_repo_holds(hub: Hub) -> None:
    """A signed URL, good without credentials; 404 for the rest."""
    repo = await hub.repo(private=True)
    await hub.large(repo, SMALL)
    request = asking(SMALL, BIG, operation="download")
    found = await hub.app.uploads.batch(hub.ann, repo, request, base=BASE)
    assert found.objects[0].actions is not None
    href = Href(found.objects[0].actions["download"].href)
    assert await hub.app.uploads.download(href.repo, href.sha256, href.query) == len(SMALL)
    assert found.objects[1].error is not None
    assert found.objects[1].error.code == 404


async def test_who_may_ask(hub: Hub) -> None:
    """Sending takes a write token and a repo that one can read, no more: a pull request needs its files."""
    public, private = await hub.repo(), await hub.repo("private", private=True)
    reader = replace(hub.bob, token_role=TokenRole.READ)
    assert (await answer(hub, public, SMALL, actor=hub.bob))[0].actions is not None
    with pytest.raises(Refused):
        await answer(hub, public, SMALL, actor=reader)
    with pytest.raises(RepoNotFound):
        await answer(hub, private, SMALL, actor=hub.bob)
    with pytest.raises(RepoHidden):
        await hub.app.uploads.batch(hub.eve, private, asking(SMALL, operation="download"), base=BASE)


# one body


async def test_a_file_is_held_once_its_bytes_came(hub: Hub) -> None:
    """The bytes are stored, the row is written, the log says who sent them, and the chain holds."""
    repo = await hub.repo()
    href = await upload_href(hub, repo)
    assert await put(hub.app.uploads, href, SMALL) == f'"{sha(SMALL)}"'
    assert await holds(hub, repo, SMALL)
    assert await stored(hub, SMALL) == SMALL
    assert (await hub.again(repo)).storage == len(SMALL)
    links = await log.read(hub.app.db, 0, 1000)
    assert b'"name":"ann"' in links[-1].body
    assert b"repo:large:add" in links[-1].body
    chain.verify(links)
    assert leftovers(hub) == []


async def test_sending_twice_is_sending_once(hub: Hub) -> None:
    """A client that lost the answer may send again: one row, one log entry, the bytes counted once."""
    repo = await hub.repo()
    href = await upload_href(hub, repo)
    await put(hub.app.uploads, href, SMALL)
    await put(hub.app.uploads, href, SMALL)
    assert (await hub.again(repo)).storage == len(SMALL)
    assert await added(hub) == 1


@pytest.mark.parametrize(
    ("content", "refusal"),
    [(SMALL[:-1], Invalid), (SMALL + b"!", TooLarge), (b"A" + SMALL[1:], Invalid), (b"", Invalid)],
)
async def test_wrong_bytes_leave_nothing(hub: Hub, content: bytes, refusal: type[Exception]) -> None:
    """Too few, too many or others: refused as the client's mistake, nothing published, nothing held."""
    repo = await hub.repo()
    href = await upload_href(hub, repo)
    with pytest.raises(refusal):
        await put(hub.app.uploads, href, content)
    assert leftovers(hub) == []
    assert await hub.app.blobs.size(sha(content)) is None
    assert await hub.app.blobs.size(sha(SMALL)) is None
    assert not await holds(hub, repo, SMALL)
    assert await added(hub) == 0


async def test_an_empty_file_can_be_sent(hub: Hub) -> None:
    """Nothing is written, and that is right."""
    repo = await hub.repo()
    await put(hub.app.uploads, await upload_href(hub, repo, b""), b"")
    assert await holds(hub, repo, b"")


async def test_a_client_that_vanishes_leaves_nothing(hub: Hub) -> None:
    """Whatever ends the body early, an error or the end of the task, takes the temporary file with it."""
    repo = await hub.repo()
    href = await upload_href(hub, repo)
    begun = asyncio.Event()

    async def half() -> None:
        async with hub.app.uploads.receive(href.repo, href.sha256, href.query) as incoming:
            incoming.write(SMALL[:5])
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(half())
    await begun.wait()
    assert leftovers(hub) != []
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert leftovers(hub) == []
    assert not await holds(hub, repo, SMALL)


async def test_a_link_is_good_for_nothing_else(hub: Hub) -> None:
    """Another file, another repo, another size, another sender: none of it is in the holder's hands."""
    repo, other = await hub.repo(), await hub.repo("other")
    href = await upload_href(hub, repo)
    one = hub.app.uploads
    for repo_id, sha256, query in (
        (other.public_id, href.sha256, href.query),
        (href.repo, sha(BIG), href.query),
        (href.repo, href.sha256, href.query | {"size": "13"}),
        (href.repo, href.sha256, href.query | {"by": "99"}),
        (href.repo, href.sha256, {}),
        ("../../etc", "passwd", href.query),
    ):
        with pytest.raises(LinkRefused):
            async with one.receive(repo_id, sha256, query):
                pass
    with pytest.raises(LinkRefused):
        await one.download(href.repo, href.sha256, href.query)
    assert await put(one, href, SMALL) == f'"{sha(SMALL)}"'


async def test_a_link_for_reading_does_not_write(hub: Hub) -> None:
    """The purpose is part of what is signed."""
    repo = await hub.repo()
    await hub.large(repo, SMALL)
    found = await hub.app.uploads.batch(hub.ann, repo, asking(SMALL, operation="download"), base=BASE)
    assert found.objects[0].actions is not None
    href = Href(found.objects[0].actions["download"].href)
    with pytest.raises(LinkRefused):
        await put(hub.app.uploads, href, SMALL)


async def test_links_expire(hub: Hub) -> None:
    """After `link_seconds` a link is worth nothing, for a whole file, for a part, or to complete."""
    repo = await hub.repo()
    hands = Hands()
    later = replace(hub.app.uploads, links=Links(hub.app.layout.read_secret(), hands))
    href, parts = await upload_href(hub, repo), await in_parts(hub, repo)
    parts.uploads = later
    await parts.send(BIG)
    hands.ahead = 55
    assert await put(later, await upload_href(hub, repo, b"other"), b"other") == f'"{sha(b"other")}"'
    hands.ahead = 61
    with pytest.raises(LinkRefused, match="expired"):
        await put(later, href, SMALL)
    with pytest.raises(LinkRefused, match="expired"):
        await parts.send(BIG, 1)
    with pytest.raises(LinkRefused, match="expired"):
        await parts.complete()
    assert not await holds(hub, repo, SMALL)
    assert not await holds(hub, repo, BIG)


async def test_a_repo_that_is_gone_takes_nothing(hub: Hub) -> None:
    """Deleted before the body, or while it came: `RepoNotFound`, and no row is left for a repo that is not there."""
    repo = await hub.repo()
    href, parts = await upload_href(hub, repo), await in_parts(hub, repo)
    await parts.send(BIG)
    with pytest.raises(RepoNotFound):
        async with hub.app.uploads.receive(href.repo, href.sha256, href.query) as incoming:
            incoming.write(SMALL)
            await hub.app.repos.delete(hub.ann, repo)
            await incoming.finish()
    with pytest.raises(RepoNotFound):
        await put(hub.app.uploads, href, SMALL)
    with pytest.raises(RepoNotFound):
        await parts.send(BIG, 1)
    with pytest.raises(RepoNotFound):
        await parts.complete()
    assert not await holds(hub, repo, SMALL)


async def test_a_disabled_user_sends_nothing(hub: Hub) -> None:
    """A link outlives its holder's account by nothing."""
    repo = await hub.repo()
    href = await upload_href(hub, repo, actor=hub.bob)
    async with hub.app.db.write() as tx:
        await tx.run("UPDATE accounts SET disabled = 1 WHERE id = ?", hub.bob.user_id)
    with pytest.raises(LinkRefused):
        await put(hub.app.uploads, href, SMALL)
    assert not await holds(hub, repo, SMALL)
    assert leftovers(hub) == []


# in parts


async def test_parts_make_the_file(hub: Hub) -> None:
    """In any order; afterwards the repo holds the file and nothing of the upload is left."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG, 3, 1, 2)
    assert not await holds(hub, repo, BIG)
    await parts.complete()
    assert await holds(hub, repo, BIG)
    assert await stored(hub, BIG) == BIG
    assert await uploads.find(hub.app.db, parts.id) is None
    assert leftovers(hub) == []
    assert await added(hub) == 1


async def test_a_part_may_be_sent_again(hub: Hub) -> None:
    """The last one counts, and its ETag."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG[:12] + b"XXXX" + BIG[16:])
    wrong = dict(parts.etags)
    await parts.send(BIG, 2)
    assert parts.etags[2] != wrong[2]
    right, parts.etags = parts.etags, wrong
    with pytest.raises(Invalid, match="Part 2"):
        await parts.complete()
    parts.etags = right
    await parts.complete()
    assert await stored(hub, BIG) == BIG


async def test_an_upload_under_way_is_offered_again(hub: Hub) -> None:
    """Parts that arrived before the client came back count."""
    repo = await hub.repo()
    first = await in_parts(hub, repo)
    await first.send(BIG, 1, 2)
    second = await in_parts(hub, repo)
    assert second.id == first.id
    await second.send(BIG, 3)
    second.etags |= first.etags
    await second.complete()
    assert await holds(hub, repo, BIG)


async def test_nobody_is_offered_anothers_upload(hub: Hub) -> None:
    """Otherwise whoever may open a pull request could spoil what the owner sends."""
    repo = await hub.repo()
    ours, theirs = await in_parts(hub, repo), await in_parts(hub, repo, actor=hub.bob)
    assert ours.id != theirs.id
    await theirs.send(b"?" * len(BIG))
    await ours.send(BIG)
    await ours.complete()
    assert await stored(hub, BIG) == BIG


async def test_an_old_upload_is_not_offered_again(hub: Hub) -> None:
    """New links would outlive it."""
    repo, hands = await hub.repo(), Hands()
    later = replace(hub.app.uploads, clock=hands)
    first = await in_parts(hub, repo)
    hands.ahead = 61
    found = await later.batch(hub.ann, repo, asking(BIG), base=BASE)
    assert found.objects[0].actions is not None
    assert Parts(later, found.objects[0].actions["upload"]).id != first.id


@pytest.mark.parametrize("missing", [1, 2, 3])
async def test_every_part_must_have_come(hub: Hub, missing: int) -> None:
    """Whether the client names the missing part or not; what came stays, and the upload can be finished."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG, *({1, 2, 3} - {missing}))
    with pytest.raises(Invalid, match="naming each of them once"):
        await parts.complete()
    parts.etags[missing] = '"made-up"'
    with pytest.raises(Invalid, match=f"Part {missing} has not arrived"):
        await parts.complete()
    await parts.send(BIG, missing)
    await parts.complete()
    assert await holds(hub, repo, BIG)


async def test_a_part_of_the_wrong_length_does_not_count(hub: Hub) -> None:
    """Short or long: refused, and the part before and after it are untouched."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG)
    for piece, refusal in ((BIG[10:19], Invalid), (b"x" * 11, TooLarge)):
        with pytest.raises(refusal):
            await put_part(hub.app.uploads, parts.hrefs[1], piece)
    await parts.send(BIG, 2)
    await parts.complete()
    assert await stored(hub, BIG) == BIG


async def test_parts_of_another_file_are_refused_and_dropped(hub: Hub) -> None:
    """The whole has another sha256: no part can be told to be the wrong one, so the next batch begins anew."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(b"?" * len(BIG))
    with pytest.raises(Invalid, match="sha256"):
        await parts.complete()
    assert leftovers(hub) == []
    assert await hub.app.blobs.size(sha(BIG)) is None
    with pytest.raises(LinkRefused, match="over"):
        await parts.send(BIG, 1)
    with pytest.raises(LinkRefused, match="over"):
        await parts.complete()
    assert (await in_parts(hub, repo)).id != parts.id


class Behind(LocalBlobs):
    """Blobs that put parts together only once the test says so."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()

    async def assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        self.waiting.set()
        await self.go_on.wait()
        return await super().assemble(upload_id, expected, size)


async def test_anothers_blob_cannot_be_claimed_with_other_bytes(hub: Hub) -> None:
    """
    The blob is here for another repo, and parts with other bytes do not make it this one's: not even for a call that
    found every part there, and finds the blob in their place after another call dropped them.
    """
    repo, other = await hub.repo(), await hub.repo("other", private=True)
    await hub.large(other, BIG)
    parts = await in_parts(hub, repo, actor=hub.bob)
    await parts.send(b"?" * len(BIG))
    behind = Behind(hub.app.layout)
    ending = asyncio.create_task(parts.complete(uploads_=replace(hub.app.uploads, blobs=behind)))
    await behind.waiting.wait()
    with pytest.raises(Invalid):
        await parts.complete()
    behind.go_on.set()
    with pytest.raises(Invalid, match="No part of this upload"):
        await ending
    assert not await holds(hub, repo, BIG)
    behind.close()


async def test_completing_twice_is_completing_once(hub: Hub) -> None:
    """A client that lost the answer asks again and hears the same."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG)
    await parts.complete()
    await parts.complete()
    assert await added(hub) == 1


async def test_completing_at_the_same_time_is_completing_once(hub: Hub) -> None:
    """A client that grew tired of waiting and asked again: both calls succeed."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG)
    await asyncio.gather(*(parts.complete() for _ in range(5)))
    assert await holds(hub, repo, BIG)
    assert await stored(hub, BIG) == BIG
    assert await added(hub) == 1


async def test_two_clients_of_one_user_both_succeed(hub: Hub) -> None:
    """Both were offered the same upload; the slower one's parts come when it is complete, and are thrown away."""
    repo = await hub.repo()
    fast, slow = await in_parts(hub, repo), await in_parts(hub, repo)
    await slow.send(BIG, 1)
    await fast.send(BIG)
    await fast.complete()
    await slow.send(b"?" * len(BIG), 2, 3)
    await slow.complete()
    assert await stored(hub, BIG) == BIG
    assert leftovers(hub) == []


async def test_a_part_that_ends_too_late_leaves_nothing(hub: Hub) -> None:
    """It was under way when the upload was completed: its bytes are nowhere."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG)
    late = parts.hrefs[0]
    async with hub.app.uploads.receive_part(late.repo, late.sha256, parts.id, "1", late.query) as incoming:
        await parts.complete()
        await write(incoming, b"?" * 10)
    assert await stored(hub, BIG) == BIG
    assert leftovers(hub) == []


async def test_a_link_is_good_for_one_part(hub: Hub) -> None:
    """The number, the upload and the part size are signed; a part's link completes nothing."""
    repo = await hub.repo()
    parts, other = await in_parts(hub, repo), await in_parts(hub, repo, b"z" * 25)
    href = parts.hrefs[0]
    for upload, number, query in (
        (parts.id, "2", href.query),
        (parts.id, "0", href.query),
        (parts.id, "x", href.query),
        (other.id, "1", href.query),
        ("../../secret", "1", href.query),
        (parts.id, "1", href.query | {"part_size": "25"}),
        (parts.id, "1", href.query | {"part_size": "0"}),
    ):
        with pytest.raises(LinkRefused):
            async with hub.app.uploads.receive_part(href.repo, href.sha256, upload, number, query):
                pass
    await parts.send(BIG)
    parts.end.query, good = href.query, parts.end.query
    with pytest.raises(LinkRefused):
        await parts.complete()
    assert not await holds(hub, repo, BIG)
    parts.end.query = good
    await parts.complete()
    assert await holds(hub, repo, BIG)


async def test_the_client_must_mean_this_file(hub: Hub) -> None:
    """The oid in the body of `complete` is the one that the link was signed for."""
    repo = await hub.repo()
    parts = await in_parts(hub, repo)
    await parts.send(BIG)
    with pytest.raises(Invalid, match="not of"):
        await parts.complete(oid=sha(SMALL))
    assert not await holds(hub, repo, BIG)
    await parts.complete()
    assert await holds(hub, repo, BIG)


async def test_many_parts_become_larger_ones(hub: Hub) -> None:
    """No answer has more than 8 000 URLs for one file."""
    repo = await hub.repo()
    roomy = replace(hub.app.uploads, config=replace(hub.app.config, part_size=1, lfs_max=10**9))
    wanted = lfs.BatchRequest("upload", (lfs.Wanted("a" * 64, 25_000),), ("multipart",))
    found = await roomy.batch(hub.ann, repo, wanted, base=BASE)
    assert found.objects[0].actions is not None
    parts = Parts(roomy, found.objects[0].actions["upload"])
    assert (parts.size, len(parts.hrefs)) == (4, 6250)


# verify, copy, list, sweep


async def test_verify_says_whether_it_is_there(hub: Hub) -> None:
    """By sha256 and size, to whoever may read."""
    repo = await hub.repo(private=True)
    digest = await hub.large(repo, SMALL)
    await hub.app.uploads.verify(hub.ann, repo, digest, len(SMALL))
    with pytest.raises(Invalid):
        await hub.app.uploads.verify(hub.ann, repo, digest, 5)
    with pytest.raises(EntryNotFound):
        await hub.app.uploads.verify(hub.ann, repo, sha(BIG), len(BIG))
    with pytest.raises(RepoNotFound):
        await hub.app.uploads.verify(hub.bob, repo, digest, len(SMALL))


async def test_a_copy_needs_no_bytes(hub: Hub) -> None:
    """What the source holds the target holds too; what it does not comes back, with a reason."""
    source, target = await hub.repo("source"), await hub.repo("target")
    digest = await hub.large(source, SMALL)
    refused = await hub.app.uploads.duplicate(hub.ann, source, target, [digest, digest, sha(BIG)])
    assert [refusal.sha256 for refusal in refused] == [sha(BIG)]
    assert refused[0].error
    assert await holds(hub, target, SMALL)
    assert (await hub.again(target)).storage == len(SMALL)
    await hub.app.uploads.duplicate(hub.ann, source, target, [digest])
    assert (await hub.again(target)).storage == len(SMALL)
    assert await added(hub) == 1


async def test_a_copy_needs_the_right_to_both(hub: Hub) -> None:
    """Reading the source and writing of some kind to the target."""
    secret, public = await hub.repo("secret", private=True), await hub.repo("public")
    digest = await hub.large(secret, SMALL)
    with pytest.raises(RepoNotFound):
        await hub.app.uploads.duplicate(hub.bob, secret, public, [digest])
    with pytest.raises(RepoNotFound):
        await hub.app.uploads.duplicate(hub.bob, public, secret, [digest])
    assert not await holds(hub, public, SMALL)


async def test_large_files_are_listed(hub: Hub) -> None:
    """By sha256, a page at a time."""
    repo = await hub.repo()
    digests = sorted([await hub.large(repo, bytes([n])) for n in range(5)])
    first = await hub.app.uploads.files(hub.ann, repo, limit=3)
    rest = await hub.app.uploads.files(hub.ann, repo, after=first[-1].sha256)
    assert [large.sha256 for large in [*first, *rest]] == digests
    assert first[0].size == 1


async def test_the_sweep_removes_what_has_expired(hub: Hub) -> None:
    """Rows and part files, once no link to them can be good any more; also those of a repo that is gone."""
    repo, gone, hands = await hub.repo(), await hub.repo("gone"), Hands()
    later = replace(hub.app.uploads, clock=hands)
    parts, others = await in_parts(hub, repo), await in_parts(hub, gone)
    await parts.send(BIG, 1)
    await others.send(BIG, 1)
    await hub.app.repos.delete(hub.ann, gone)
    assert len(leftovers(hub)) == 2
    hands.ahead = 119
    assert await later.sweep() == 0
    hands.ahead = 121
    assert await later.sweep() == 2
    assert leftovers(hub) == []
    assert await uploads.find(hub.app.db, parts.id) is None
    assert await later.sweep() == 0


async def storage(hub: Hub, repo: Repo) -> int:
    """The size that lists show, and the one that is counted again in the background."""
    now = (await hub.again(repo)).storage
    assert await sizes.held(hub.app.db, repo.id) == now
    return now


@pytest.mark.parametrize("content", [SMALL, BIG])
async def test_what_a_stranger_sends_counts_once_it_is_merged(hub: Hub, content: bytes) -> None:
    """Whoever may propose may fill a repo with files, and not the figure of its owner."""
    repo = await hub.repo()
    if content is SMALL:
        await put(hub.app.uploads, await upload_href(hub, repo, content, hub.bob), content)
    else:
        parts = await in_parts(hub, repo, content, hub.bob)
        await parts.send(content)
        await parts.complete()
    assert await storage(hub, repo) == 0
    named = lines(AddLfs("a.bin", sha(content), len(content)))
    await hub.app.commits.commit(hub.bob, repo, "main", named, propose=True)
    assert await storage(hub, repo) == 0
    await hub.app.discussions.merge(hub.ann, repo, 1)
    assert await storage(hub, repo) == len(content)
    await hub.commit(repo, CopyFile("b.bin", "a.bin"))
    assert await storage(hub, repo) == len(content)


async def test_what_an_owner_sends_counts_at_once(hub: Hub) -> None:
    """Also what she has copied from elsewhere; a stranger's copy does not."""
    repo, other = await hub.repo(), await hub.repo("other")
    await put(hub.app.uploads, await upload_href(hub, repo, SMALL), SMALL)
    assert await storage(hub, repo) == len(SMALL)
    await hub.app.uploads.duplicate(hub.bob, repo, other, [sha(SMALL)])
    assert await storage(hub, other) == 0
    await hub.commit(other, AddLfs("a.bin", sha(SMALL), None))
    assert await storage(hub, other) == len(SMALL)
