"""Xet from the use cases' side: who may send what, what a shard must prove, and who may read what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hubreg.errors import (
    EntryNotFound,
    HubregError,
    Invalid,
    InvalidCredentials,
    LinkRefused,
    NotFound,
    RangeUnsatisfiable,
    Refused,
    RepoNotFound,
    TooLarge,
)
from hubreg.formats.chunking import chunk_hash, dedup_hmac, hash_bytes, is_global, range_hash
from hubreg.formats.terms import Terms
from hubreg.formats.xorb import decode_chunks
from hubreg.hub.xet import Xet
from hubreg.hub.xet_reconstruction import Reconstruction
from hubreg.hub.xet_tokens import Holder
from hubreg.hub.xet_uploads import Progress
from hubreg.model import Actor, AddLfs, Sha256, XetHash
from hubreg.store import log, objects
from hubreg.store.db import Clock, Database, SqliteTx
from hubreg.store.layout import Layout
from hubreg.store.repos import Repo
from hubreg.store.xorbs import Held, Xorbs
from tests.hub.conftest import Hub
from tests.xet_client import LZ4, File, Package, Term, Xorb, cut, nodes, package, sha256_of, shard, some

pytestmark = pytest.mark.anyio

CONTENT = some(700_000)


@dataclass(frozen=True)
class Client:
    """Whoever sends to one repo."""

    xet: Xet
    holder: Holder

    async def xorbs(self, xorbs: Sequence[Xorb]) -> None:
        for xorb in xorbs:
            async with self.xet.uploads.receive(xorb.name) as incoming:
                incoming.write(xorb.body)
                await incoming.finish()

    async def shard(self, body: bytes, progress: Progress | None = None) -> bool:
        async with self.xet.uploads.scratch() as sent:
            sent.write(body)
            return await self.xet.uploads.take(self.holder, sent, progress or Progress())

    async def send(self, sent: Package) -> bool:
        await self.xorbs(sent.xorbs)
        return await self.shard(sent.shard)


async def holder(hub: Hub, repo: Repo, actor: Actor | None = None, *, write: bool = True) -> Holder:
    token = hub.app.xet.tokens.issue(actor or hub.ann, repo, write=write, propose=write)
    return await hub.app.xet.tokens.holder(f"Bearer {token.text}")


async def client(hub: Hub, repo: Repo, actor: Actor | None = None) -> Client:
    return Client(hub.app.xet, await holder(hub, repo, actor))


async def content(hub: Hub, sha256: Sha256) -> bytes:
    return b"".join([piece async for piece in hub.app.blobs.read(sha256)])


async def held(hub: Hub, repo: Repo) -> dict[Sha256, int]:
    return {row.sha256: row.size for row in await objects.large(hub.app.db, repo.id, "", 1000)}


async def nothing_published(hub: Hub, repo: Repo) -> bool:
    rows = await hub.app.db.all("SELECT hash FROM xet_files UNION ALL SELECT hash FROM xet_chunks")
    return not rows and not await held(hub, repo)


# what a good client sends


@pytest.mark.parametrize("per_xorb", [2, 1000])
@pytest.mark.parametrize("scheme", [0, LZ4])
async def test_a_file_comes_by_xet_and_is_committed(hub: Hub, per_xorb: int, scheme: int) -> None:
    """Once its shard is taken the repo holds the file, by sha256, like any large one; a commit names it."""
    repo = await hub.repo()
    sent = package(CONTENT, per_xorb=per_xorb, scheme=scheme)
    assert await (await client(hub, repo)).send(sent)
    assert await held(hub, repo) == {sent.sha256: len(CONTENT)}
    await hub.commit(repo, AddLfs("model.bin", sent.sha256, len(CONTENT)))
    snapshot = await hub.app.snapshots.at(repo, "main")
    entry = await hub.app.snapshots.entry(snapshot, "model.bin")
    assert await hub.app.xet.hash(entry) == sent.file.name
    assert await content(hub, sent.sha256) == CONTENT


async def test_the_log_says_what_came(hub: Hub) -> None:
    """One link for a shard, with each file that is new to the repo."""
    repo = await hub.repo()
    sent = package(CONTENT)
    await (await client(hub, repo)).send(sent)
    [link] = [link for link in await log.read(hub.app.db, 0, 100) if b"repo:large:receive" in link.body]
    assert sent.sha256.encode() in link.body
    assert b'"name":"ann"' in link.body


async def test_once_more_changes_nothing(hub: Hub) -> None:
    """The same xorb and shard again, also by two at once: all are content, and all is there once."""
    repo = await hub.repo()
    sent = package(CONTENT, per_xorb=3)
    ann = await client(hub, repo)
    assert sorted(await asyncio.gather(*(ann.send(sent) for _ in range(5)))) == [False] * 4 + [True]
    assert not await ann.send(sent)
    count = await hub.app.db.one("SELECT COUNT(*) FROM xorbs")
    assert count == (len(sent.xorbs),)
    assert len([p for p in hub.app.layout.xorbs.rglob("*") if p.is_file()]) == len(sent.xorbs)
    assert list(hub.app.layout.incoming.iterdir()) == []


async def test_a_changed_file_sends_only_what_changed(hub: Hub) -> None:
    """Terms may name xorbs that came long ago, with others that came now."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    await ann.send(package(CONTENT))
    chunks = cut(CONTENT)
    old, new = Xorb(tuple(chunks)), Xorb((b"something new",))
    changed = b"".join(chunks[:4]) + b"something new" + b"".join(chunks[5:])
    file = File((Term(old, 0, 4), Term(new, 0, 1), Term(old, 5, len(chunks))), sha256_of(changed))
    await ann.xorbs([new])
    assert await ann.shard(shard([file], [new]))
    assert await content(hub, sha256_of(changed)) == changed


async def test_many_files_in_one_shard(hub: Hub) -> None:
    """A folder of small files is one xorb and one shard; progress is told by files."""
    repo = await hub.repo()
    contents = [b"file %d" % number for number in range(600)]
    xorb = Xorb(tuple(contents))
    files = [File((Term(xorb, at, at + 1),), sha256_of(text)) for at, text in enumerate(contents)]
    ann = await client(hub, repo)
    await ann.xorbs([xorb])
    progress = Progress()
    assert await ann.shard(shard(files, [xorb]), progress)
    assert (progress.verified, progress.total) == (600, 600)
    assert len(await held(hub, repo)) == 600
    assert await content(hub, sha256_of(b"file 417")) == b"file 417"


async def test_a_file_without_a_sha256_is_hashed_all_the_same(hub: Hub) -> None:
    """A client that leaves the sha256 out gets its file under the one that it has."""
    repo = await hub.repo()
    sent = package(CONTENT).lying(sha256=None)
    assert await (await client(hub, repo)).send(sent)
    assert await held(hub, repo) == {sent.sha256: len(CONTENT)}


async def test_an_empty_file_and_an_empty_shard(hub: Hub) -> None:
    """Nothing to do is no fault; an empty file is held, and never offered by Xet, which could not fetch it."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    assert not await ann.shard(shard([], []))
    empty = File((), sha256_of(b""))
    assert await ann.shard(shard([empty], []))
    assert await content(hub, sha256_of(b"")) == b""
    await hub.commit(repo, AddLfs("empty.bin", sha256_of(b""), 0))
    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(repo, "main"), "empty.bin")
    assert await hub.app.xet.hash(entry) is None


# what a bad one sends


def outside(sent: Package) -> Package:
    [term] = sent.file.terms
    return sent.lying(terms=(replace(term, end=term.end + 1),), hash=sent.file.right_hash)


SHARDS: dict[str, Any] = {
    "another sha256": (lambda sent: sent.lying(sha256=sha256_of(b"other")).shard, "has sha256"),
    "another file hash": (lambda sent: sent.lying(hash=b"\x01" * 32).shard, "make a file with the hash"),
    "a term past the xorb": (lambda sent: outside(sent).shard, "lies outside"),
    "a term of no chunk": (
        lambda sent: sent.lying(terms=(Term(sent.xorbs[0], 2, 2),), hash=b"\x01" * 32).shard,
        "lies outside",
    ),
    "a wrong length": (
        lambda sent: sent.lying(terms=(replace(sent.file.terms[0], unpacked=7),)).shard,
        "does not have the 7 bytes",
    ),
    "a wrong range hash": (
        lambda sent: sent.lying(terms=(replace(sent.file.terms[0], proof=bytes(32)),)).shard,
        "right range hash",
    ),
    "no range hash": (lambda sent: sent.lying(proofs=False).shard, "right range hash"),
    "an unknown xorb in a term": (
        lambda sent: sent.lying(terms=(replace(sent.file.terms[0], named=b"\x02" * 32),)).shard,
        "is not here",
    ),
    "an unknown xorb in the list": (
        lambda sent: shard([sent.file], [*sent.xorbs, Xorb((b"never sent",))]),
        "is not here",
    ),
    "the end missing": (lambda sent: sent.shard[:-60], "cut short"),
    "no shard": (lambda sent: b"\0" * 500, "no shard"),
    "nothing": (lambda sent: b"", "cut short"),
}


@pytest.mark.parametrize("fault", SHARDS)
async def test_a_shard_with_a_fault_publishes_nothing(hub: Hub, fault: str) -> None:
    """Whatever is wrong is said in a sentence, as the client's mistake; no file, no right, no chunk to be asked for."""
    make, sentence = SHARDS[fault]
    repo = await hub.repo()
    ann = await client(hub, repo)
    sent = package(CONTENT)
    await ann.xorbs(sent.xorbs)
    with pytest.raises(Invalid, match=sentence) as refusal:
        await ann.shard(make(sent))
    assert 400 <= refusal.value.status < 500
    assert await nothing_published(hub, repo)
    assert list(hub.app.layout.incoming.iterdir()) == []
    assert await ann.shard(sent.shard), "the right one is refused afterwards"


async def test_other_chunks_than_a_xorb_has(hub: Hub) -> None:
    """A list of chunks that is not that of the xorb of this name would be believed by others: refused."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    sent = package(CONTENT)
    await ann.xorbs(sent.xorbs)
    wrong = sent.shard.replace(hash_bytes(Xorb((cut(CONTENT)[0],)).name), b"\x03" * 32)
    assert wrong != sent.shard
    with pytest.raises(Invalid, match="lists other chunks"):
        await ann.shard(wrong)
    assert await nothing_published(hub, repo)


async def test_a_false_sha256_does_not_poison_another_repo(hub: Hub) -> None:
    """Whoever claims the sha256 of somebody's file for other bytes changes nothing about that file."""
    mine, theirs = await hub.repo("mine"), await hub.repo("theirs")
    good, bad = package(CONTENT), package(some(50_000, seed=3))
    await (await client(hub, mine)).send(good)
    with pytest.raises(Invalid, match="has sha256"):
        await (await client(hub, theirs)).send(bad.lying(sha256=good.sha256))
    assert await content(hub, good.sha256) == CONTENT
    with pytest.raises(Invalid, match="has sha256"):  # and when the bytes are known already
        await (await client(hub, theirs)).send(good.lying(sha256=bad.sha256))
    assert await held(hub, theirs) == {}


async def test_knowing_a_hash_gives_no_right_to_content(hub: Hub) -> None:
    """The names of a file and of its xorbs are no proof that one has the chunks: only the range hash is."""
    mine, theirs = await hub.repo("mine", private=True), await hub.repo("theirs")
    sent = package(CONTENT)
    await (await client(hub, mine)).send(sent)
    thief = await client(hub, theirs)
    for term in (
        replace(sent.file.terms[0], proof=bytes(32)),
        replace(sent.file.terms[0], proof=b"\x05" * 32),
    ):
        with pytest.raises(Invalid, match="right range hash"):
            await thief.shard(shard([replace(sent.file, terms=(term,))], []))
    assert await held(hub, theirs) == {}


async def test_a_file_may_not_be_larger_than_the_limit(hub: Hub) -> None:
    """Terms may name one xorb many times over: what they make together has the limit that other uploads have."""
    repo = await hub.repo()
    uploads = replace(hub.app.xet.uploads, config=replace(hub.app.config, lfs_max=1_000_000))
    ann = Client(replace(hub.app.xet, uploads=uploads), await holder(hub, repo))
    sent = package(CONTENT)
    await ann.xorbs(sent.xorbs)
    with pytest.raises(TooLarge, match="at most 1000000 bytes"):
        await ann.shard(shard([File(sent.file.terms * 2)], []))
    assert await nothing_published(hub, repo)


def tiny(chunks: int = 8192) -> Xorb:
    """A xorb of chunks of 4 bytes."""
    return Xorb(tuple(number.to_bytes(4, "little") for number in range(chunks)))


class Looking(Xorbs):
    """Xorbs that count how often one is looked up."""

    def __init__(self, layout: Layout, db: Database) -> None:
        super().__init__(layout, db)
        self.found = 0

    async def find(self, hash_: XetHash) -> Held | None:
        self.found += 1
        return await super().find(hash_)


async def test_more_chunks_than_a_client_cuts(hub: Hub) -> None:
    """A term of 96 bytes may name 8192 chunks, which take long to look at: refused at the first that are too many."""
    repo = await hub.repo()
    looking = Looking(hub.app.layout, hub.app.db)
    uploads = replace(hub.app.xet.uploads, xorbs=looking)
    ann = Client(replace(hub.app.xet, uploads=uploads), await holder(hub, repo))
    xorbs = [tiny(), tiny(8191)]
    proofs = [range_hash([node.hash for node in nodes(xorb.chunks)]) for xorb in xorbs]
    hashes = [xorb.hash for xorb in xorbs]
    await ann.xorbs(xorbs)
    terms = tuple(
        Term(xorbs[at % 2], 0, 8192 - at % 2, 4 * (8192 - at % 2), proofs[at % 2], hashes[at % 2])
        for at in range(2000)
    )
    single = [File((term,)) for term in terms[:2]]
    looking.found = 0
    with pytest.raises(TooLarge, match="more chunks than any client cuts"):
        await ann.shard(shard([File(terms, hash=b"\x01" * 32)], []))
    assert 0 < looking.found <= 100
    with pytest.raises(TooLarge, match="more chunks than any client cuts"):
        await ann.shard(shard(single, []))
    assert await nothing_published(hub, repo)
    looking.close()


async def test_one_chunk_again_and_again(hub: Hub) -> None:
    """Zeros are one chunk of 128 KiB, named by as many terms as it takes; so is a file of the shortest chunks."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    for size, times in [(131_072, 2000), (8128, 20_000)]:
        xorb = Xorb((bytes(size),), LZ4)
        proof, name = range_hash([node.hash for node in nodes(xorb.chunks)]), xorb.hash
        file = File((Term(xorb, 0, 1, size, proof, name),) * times)
        await ann.xorbs([xorb])
        assert await ann.shard(shard([file], []))
        assert (await held(hub, repo))[sha256_of(bytes(size * times))] == size * times


async def test_the_files_of_a_shard_have_a_limit_together(hub: Hub) -> None:
    """Many files may be made of one xorb, each within the limit: all of them would have to be read."""
    repo = await hub.repo()
    uploads = replace(hub.app.xet.uploads, config=replace(hub.app.config, lfs_max=1_000_000))
    ann = Client(replace(hub.app.xet, uploads=uploads), await holder(hub, repo))
    sent = package(CONTENT)
    await ann.xorbs(sent.xorbs)
    with pytest.raises(TooLarge, match="4000000 bytes together"):
        await ann.shard(shard([sent.file] * 6, []))
    assert await ann.shard(shard([sent.file] * 5, []))


async def test_a_client_that_leaves_in_the_middle(hub: Hub) -> None:
    """A xorb of which the rest never comes leaves nothing; so does a shard that is given up while it is checked."""
    repo = await hub.repo()
    sent = package(CONTENT)
    async with hub.app.xet.uploads.receive(sent.xorbs[0].name) as incoming:
        incoming.write(sent.xorbs[0].body[:300_000])
    ann = await client(hub, repo)
    await ann.xorbs(sent.xorbs)
    waiting = Waiting(hub.app.layout, hub.app.db, len(CONTENT))
    ann = replace(ann, xet=replace(ann.xet, uploads=replace(ann.xet.uploads, xorbs=waiting)))
    async with asyncio.timeout(60):
        task = asyncio.create_task(ann.shard(sent.shard))
        await waiting.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    waiting.close()
    assert await nothing_published(hub, repo)
    assert list(hub.app.layout.incoming.iterdir()) == []


async def test_the_repo_goes_while_a_shard_is_checked(hub: Hub) -> None:
    """Nothing is written for a repo that is not there any more."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    sent = package(CONTENT)
    await ann.xorbs(sent.xorbs)
    await hub.app.repos.delete(hub.ann, repo)
    with pytest.raises(RepoNotFound):
        await ann.shard(sent.shard)
    assert await nothing_published(hub, repo)


class Waiting(Xorbs):
    """Xorbs out of which files of one size are not read before they may be."""

    def __init__(self, layout: Layout, db: Database, size: int) -> None:
        super().__init__(layout, db)
        self.size, self.reached, self.may = size, asyncio.Event(), asyncio.Event()

    async def sha256(self, terms: Terms) -> Sha256:
        if terms.size == self.size:
            self.reached.set()
            await self.may.wait()
        return await super().sha256(terms)


async def test_nobody_makes_all_others_wait(hub: Hub) -> None:
    """Whoever sends more shards than can be checked at once waits for their own; another's is taken meanwhile."""
    mine, theirs = await hub.repo("mine"), await hub.repo("theirs")
    long, short = package(CONTENT), package(CONTENT[:300_000])
    waiting = Waiting(hub.app.layout, hub.app.db, len(CONTENT))
    xet = replace(hub.app.xet, uploads=replace(hub.app.xet.uploads, xorbs=waiting))
    ann = Client(xet, await holder(hub, mine))
    bob = Client(xet, await holder(hub, theirs, hub.bob))
    await ann.xorbs([*long.xorbs, *short.xorbs])
    many = [asyncio.create_task(ann.shard(long.shard)) for _ in range(30)]
    async with asyncio.timeout(60):
        assert await bob.shard(short.shard)
        assert not any(task.done() for task in many)
        waiting.may.set()
        assert sorted(await asyncio.gather(*many)) == [False] * 29 + [True]
    waiting.close()


@pytest.mark.parametrize("damage", ["removed", "cut off"])
async def test_a_xorb_whose_bytes_are_gone_may_be_sent_again(hub: Hub, damage: str) -> None:
    """Its row alone is no reason to say that it is here, nor to take a shard; the next upload of it mends it."""
    repo, other = await hub.repo(), await hub.repo("other")
    sent = package(CONTENT, per_xorb=3)
    ann = await client(hub, repo)
    await ann.send(sent)
    for path in hub.app.layout.xorbs.glob("*/*"):
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1])
    assert not any([await hub.app.xet.uploads.holds(xorb.name) for xorb in sent.xorbs])
    with pytest.raises(NotFound):
        await hub.app.xet.dedup.near(XetHash(Xorb((cut(CONTENT)[0],)).name))
    for target in (repo, other):  # known to one, new to the other
        with pytest.raises(Invalid, match="not here"):
            await (await client(hub, target)).shard(sent.shard)
    assert not await (await client(hub, repo)).send(sent)
    assert all([await hub.app.xet.uploads.holds(xorb.name) for xorb in sent.xorbs])
    assert await (await client(hub, other)).shard(sent.shard)
    assert await content(hub, sent.sha256) == CONTENT


async def test_a_xorb_that_cannot_be_read_is_no_fault_of_the_moment(hub: Hub) -> None:
    """A shard that needs it is refused for good: of an error of the server's, clients would try it again and again."""
    repo = await hub.repo()
    sent = package(CONTENT, scheme=LZ4)
    ann = await client(hub, repo)
    await ann.xorbs(sent.xorbs)
    [path] = hub.app.layout.xorbs.glob("*/*")
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(Invalid, match="cannot be read back"):
        await ann.shard(sent.shard)
    assert await nothing_published(hub, repo)


class Vanishing(Xorbs):
    """Xorbs that are collected as soon as a file was read out of them."""

    def __init__(self, layout: Layout, db: Database) -> None:
        super().__init__(layout, db)
        self.db = db

    async def sha256(self, terms: Terms) -> Sha256:
        found = await super().sha256(terms)
        async with self.db.write() as tx:
            await tx.run("DELETE FROM xorbs")
        return found


async def test_a_xorb_that_goes_while_a_shard_is_checked(hub: Hub) -> None:
    """A collector that takes a xorb at the last moment: refused, with what to do, instead of a file without bytes."""
    repo = await hub.repo()
    sent = package(CONTENT)
    ann = await client(hub, repo)
    await ann.xorbs(sent.xorbs)
    looking = Vanishing(hub.app.layout, hub.app.db)
    ann = replace(ann, xet=replace(ann.xet, uploads=replace(ann.xet.uploads, xorbs=looking)))
    with pytest.raises(Invalid, match="not here any more"):
        await ann.shard(sent.shard)
    looking.close()
    assert await nothing_published(hub, repo)


# tokens


async def test_a_token_is_what_access_allows(hub: Hub) -> None:
    """Reading for readers; writing for writers, and for whoever may propose where a proposal is meant."""
    public, private = await hub.repo("public"), await hub.repo("private", private=True)
    tokens = hub.app.xet.tokens
    assert tokens.issue(hub.eve, public)
    assert tokens.issue(hub.bob, public, write=True, propose=True)
    for actor, repo, how in [
        (hub.bob, public, {"write": True}),
        (hub.eve, public, {"write": True, "propose": True}),
        (hub.bob, private, {}),
        (hub.eve, private, {}),
        (hub.bob, private, {"write": True, "propose": True}),
    ]:
        with pytest.raises(HubregError) as refusal:
            tokens.issue(actor, repo, **how)
        assert refusal.value.status in (401, 403, 404)


async def test_a_token_cannot_be_altered(hub: Hub) -> None:
    """Another scope, repo, user or expiry, a cut or foreign token: 401."""
    repo, other = await hub.repo(), await hub.repo("other")
    text = hub.app.xet.tokens.issue(hub.ann, repo).text
    scope, public_id, user, expires, signature = text.split(".")
    for wrong in [
        f"write.{public_id}.{user}.{expires}.{signature}",
        f"{scope}.{other.public_id}.{user}.{expires}.{signature}",
        f"{scope}.{public_id}.1.{expires}.{signature}",
        f"{scope}.{public_id}.{user}.{int(expires) + 1}.{signature}",
        text[:-1], text + "0", "", "hf_" + "x" * 34, ".....", "read", "é" * 40,
    ]:  # fmt: skip
        with pytest.raises(InvalidCredentials):
            await hub.app.xet.tokens.holder(f"Bearer {wrong}")
    with pytest.raises(InvalidCredentials):
        await hub.app.xet.tokens.holder(None)


async def test_a_token_for_reading_does_not_write(hub: Hub) -> None:
    """The scope is looked at, and writing implies reading."""
    repo = await hub.repo()
    tokens = hub.app.xet.tokens
    read = f"Bearer {tokens.issue(hub.ann, repo).text}"
    assert (await tokens.holder(read)).repo.id == repo.id
    with pytest.raises(Refused, match="only for reading"):
        await tokens.holder(read, write=True)


async def test_a_token_ends_with_what_it_stands_for(hub: Hub) -> None:
    """A repo that is made private, or deleted, or a user who is disabled, ends the tokens that are out."""
    repo = await hub.repo()
    tokens = hub.app.xet.tokens
    anybody, bob = (f"Bearer {tokens.issue(actor, repo).text}" for actor in (hub.eve, hub.bob))
    ann = f"Bearer {tokens.issue(hub.ann, repo, write=True).text}"
    for text in (anybody, bob, ann):
        await tokens.holder(text)
    await hub.app.repos.set_settings(hub.ann, repo, private=True)
    for text in (anybody, bob):
        with pytest.raises(RepoNotFound):
            await tokens.holder(text)
    assert await tokens.holder(ann, write=True)
    await hub.app.repos.delete(hub.ann, await hub.again(repo))
    with pytest.raises(RepoNotFound):
        await tokens.holder(ann)


async def test_an_epoch_is_in_the_url(hub: Hub) -> None:
    """Another epoch is another URL, under which clients remember nothing."""
    tokens = replace(hub.app.xet.tokens, epoch=7)
    assert (hub.app.xet.tokens.path, tokens.path) == ("/cas/e1", "/cas/e7")


# reading


async def test_a_repo_gives_what_it_holds_and_nothing_else(hub: Hub) -> None:
    """A token of one repo says nothing of another's files, by whatever hash they are asked for."""
    mine, other = await hub.repo("mine", private=True), await hub.repo("other")
    sent = package(CONTENT)
    await (await client(hub, mine)).send(sent)
    reader = await holder(hub, other, hub.bob, write=False)
    for hash_ in (sent.file.name, sent.xorbs[0].name, XetHash("0" * 64)):
        with pytest.raises(EntryNotFound):
            await hub.app.xet.reconstructions.of(reader, hash_)
    await hub.app.uploads.duplicate(hub.ann, mine, other, [sent.sha256])
    assert (await hub.app.xet.reconstructions.of(reader, sent.file.name)).terms


async def fetched(hub: Hub, url: str, asked: Sequence[tuple[int, int]] | None = None) -> Any:
    path, _, query = url.partition("?")
    facts = dict(pair.split("=") for pair in query.split("&"))
    return await hub.app.xet.reconstructions.fetched(XetHash(path.rpartition("/")[2]), facts, asked)


async def put_together(
    hub: Hub, reader: Holder, hash_: XetHash, part: tuple[int, int] | None = None
) -> bytes:
    """What a client makes of a reconstruction."""
    found = await hub.app.xet.reconstructions.of(reader, hash_, part)
    have: dict[tuple[XetHash, int], bytes] = {}
    for xorb, fetches in found.xorbs.items():
        for fetch in fetches:
            for extent in fetch.extents:
                source, [(start, end)] = await fetched(hub, fetch.url, [extent.bytes])
                chunks = decode_chunks(source.path.read_bytes()[start:end])
                assert len(chunks) == extent.chunks[1] - extent.chunks[0]
                have.update({(xorb, extent.chunks[0] + at): bytes(c) for at, c in enumerate(chunks)})
    pieces = []
    for term in found.terms:
        piece = b"".join(have[term.xorb, at] for at in range(term.start, term.end))
        assert len(piece) == term.unpacked
        pieces.append(piece)
    content = b"".join(pieces)[found.offset :]
    return content if part is None else content[: part[1] - part[0]]


async def spread(hub: Hub, repo: Repo) -> tuple[Package, bytes]:
    """A file whose terms jump about in several xorbs and repeat."""
    sent = package(some(1_500_000), per_xorb=4)
    a, b, c = sent.xorbs[:3]
    terms = (Term(b, 1, 3), Term(a, 0, 2), Term(b, 0, 2), Term(c, 3, 4), Term(c, 0, 1), Term(a, 1, 2))
    whole = b"".join(b"".join(term.xorb.chunks[term.start : term.end]) for term in terms)
    made = Package(whole, sent.xorbs, File(terms, sha256_of(whole)))
    assert await (await client(hub, repo)).send(made)
    return made, whole


async def test_a_file_is_put_together_from_its_reconstruction(hub: Hub) -> None:
    """Whole, and any range of it; every term lies in one extent, and no extent has a chunk that is not needed."""
    repo = await hub.repo()
    sent, whole = await spread(hub, repo)
    reader = await holder(hub, repo, hub.bob, write=False)
    assert await put_together(hub, reader, sent.file.name) == whole
    middle = len(whole) // 2
    for part in [(0, 1), (0, 1 << 40), (middle, middle + 1), (70_000, 250_000), (len(whole) - 1, len(whole))]:
        assert await put_together(hub, reader, sent.file.name, part) == whole[part[0] : part[1]]
    found = await hub.app.xet.reconstructions.of(reader, sent.file.name)
    chunks = {
        xorb: [extent.chunks for fetch in fetches for extent in fetch.extents]
        for xorb, fetches in found.xorbs.items()
    }
    a, b, c = (xorb.name for xorb in sent.xorbs[:3])
    assert chunks == {b: [(0, 3)], a: [(0, 2)], c: [(0, 1), (3, 4)]}


async def test_very_many_terms_are_not_looked_at_in_the_loop(hub: Hub) -> None:
    """What is made of them is made in threads, for two who ask at a time; of few terms, at once."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    xorb = Xorb(tuple(b"%04d" % number for number in range(9)))
    file = File(tuple(Term(xorb, at % 9, at % 9 + 1) for at in range(5000)))
    few = File(file.terms[:500])
    await ann.xorbs([xorb])
    await ann.shard(shard([file, few], []))
    may, two = threading.Event(), asyncio.Event()
    threads: list[int] = []
    loop = asyncio.get_running_loop()

    def render(found: Reconstruction) -> int:
        threads.append(threading.get_ident())
        if len(threads) == 2:
            loop.call_soon_threadsafe(two.set)
        may.wait(60)
        return len(found.terms)

    def ask(file: File) -> asyncio.Task[int]:
        return asyncio.create_task(ann.xet.reconstructions.rendered(ann.holder, file.name, render))

    many = [ask(file) for _ in range(6)]
    async with asyncio.timeout(60):
        await two.wait()
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(threads) == 2
    may.set()
    assert await asyncio.gather(*many) == [5000] * 6
    assert threading.get_ident() not in threads
    assert await ask(few) == 500
    assert threads[-1] == threading.get_ident()


async def test_past_the_end(hub: Hub) -> None:
    """A range that begins at the end is how clients find the end; of an empty file there is nothing to find."""
    repo = await hub.repo()
    sent, whole = await spread(hub, repo)
    reader = await holder(hub, repo, write=False)
    for start in (len(whole), 1 << 40):
        with pytest.raises(RangeUnsatisfiable):
            await hub.app.xet.reconstructions.of(reader, sent.file.name, (start, start + 9))
    empty = File((), sha256_of(b""))
    await (await client(hub, repo)).shard(shard([empty], []))
    assert (await hub.app.xet.reconstructions.of(reader, XetHash("0" * 64))).terms == []
    with pytest.raises(RangeUnsatisfiable):
        await hub.app.xet.reconstructions.of(reader, XetHash("0" * 64), (0, 9))


async def test_a_url_gives_its_ranges_and_no_byte_more(hub: Hub) -> None:
    """Other ranges, another xorb, more ranges than were signed, an altered or old signature: refused."""
    repo = await hub.repo()
    sent, _ = await spread(hub, repo)
    reader = await holder(hub, repo, write=False)
    found = await hub.app.xet.reconstructions.of(reader, sent.file.name)
    c = sent.xorbs[2].name
    [fetch] = found.xorbs[c]
    first, second = (extent.bytes for extent in fetch.extents)
    source, ranges = await fetched(hub, fetch.url)
    assert ranges == [first, second]
    assert (await fetched(hub, fetch.url, [second, first]))[1] == [second, first]
    assert (await fetched(hub, fetch.url, [(first[0] + 1, first[1] - 1)]))[1]
    with pytest.raises(Invalid, match="overlap"):
        await fetched(hub, fetch.url, [first, second, first])
    assert source.size == second[1]
    assert (await fetched(hub, fetch.url, [(second[0], 1 << 60)]))[1] == [second]
    for wrong in [
        (0, source.size),
        (0, 1 << 60),
        (first[0], first[1] + 1),
        (first[1], second[0]),
        (second[0] - 1, second[1]),
    ]:
        with pytest.raises(LinkRefused):
            await fetched(hub, fetch.url, [wrong])
    with pytest.raises(RangeUnsatisfiable):
        await fetched(hub, fetch.url, [(source.size, source.size + 1)])
    for url in [
        fetch.url.replace(c, sent.xorbs[0].name),
        fetch.url.replace("ranges=", "ranges=0-99999,"),
        fetch.url.replace("expires=", "expires=1"),
        fetch.url[:-1],
        fetch.url.partition("&")[0],
    ]:
        with pytest.raises(LinkRefused):
            await fetched(hub, url)


async def test_a_url_does_not_outlive_the_form_of_its_xorb(hub: Hub) -> None:
    """Collected, and sent again by somebody else who compresses it: at the same places there are other chunks now."""
    repo = await hub.repo()
    sent, _ = await spread(hub, repo)
    reader = await holder(hub, repo, write=False)
    found = await hub.app.xet.reconstructions.of(reader, sent.file.name)
    xorb = sent.xorbs[2]
    [fetch] = found.xorbs[xorb.name]
    async with hub.app.db.write() as tx:
        await tx.run("DELETE FROM xorb_uses")
        await tx.run("DELETE FROM xet_chunks")
        await tx.run("DELETE FROM xorbs")
    with pytest.raises(LinkRefused):
        await fetched(hub, fetch.url)
    await (await client(hub, repo)).xorbs([replace(xorb, scheme=LZ4)])
    with pytest.raises(LinkRefused):
        await fetched(hub, fetch.url)


# dedup


async def test_a_chunk_leads_to_what_lies_near_it(hub: Hub) -> None:
    """
    The first chunk of a file is known to anybody who may write, from whatever repo it came; the answer names the chunks
    of all the file's xorbs by their HMACs, and no chunk by its hash.
    """
    repo, other = await hub.repo("mine", private=True), await hub.repo("other")
    sent = package(CONTENT, per_xorb=5)
    await (await client(hub, repo)).send(sent)
    assert len(sent.xorbs) == 2
    assert await holder(hub, other)
    chunks = [XetHash(Xorb((chunk,)).name) for chunk in cut(CONTENT)]
    answer = await hub.app.xet.dedup.near(chunks[0])
    key = hub.app.xet.dedup.key
    for chunk in chunks:
        assert hash_bytes(chunk) not in answer
        assert dedup_hmac(hash_bytes(chunk), key) in answer
    for xorb in sent.xorbs:
        assert xorb.hash in answer
    with pytest.raises(NotFound):
        await hub.app.xet.dedup.near(XetHash("0" * 64))


async def test_a_xorb_of_one_chunk_is_not_told_to_its_neighbours(hub: Hub) -> None:
    """
    Its name is the hash of its chunk, which is all that it takes to read it: a private variant of a public model may
    have just one such chunk beside those that everybody knows.
    """
    public, private, other = (
        await hub.repo("public"),
        await hub.repo("private", private=True),
        await hub.repo("other"),
    )
    base, secret = package(CONTENT), Xorb((b"the one chunk that is different",))
    await (await client(hub, public)).send(base)
    variant = CONTENT + secret.chunks[0]
    file = File((*base.file.terms, Term(secret, 0, 1)), sha256_of(variant))
    ann = await client(hub, private)
    await ann.xorbs([secret])
    await ann.shard(shard([file], [secret]))
    assert secret.hash not in await hub.app.xet.dedup.near(XetHash(Xorb((cut(CONTENT)[0],)).name))
    assert await held(hub, other) == {}
    alone = package(b"small")
    await ann.send(alone)
    assert alone.xorbs[0].hash in await hub.app.xet.dedup.near(alone.xorbs[0].name)


async def test_which_chunks_may_be_asked_for(hub: Hub) -> None:
    """First ones of files, marked ones, and those whose hash says so; of a xorb whose shard was refused none."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    sent = package(CONTENT)
    await ann.xorbs(sent.xorbs)
    with pytest.raises(Invalid):
        await ann.shard(sent.lying(hash=bytes(32)).shard)
    assert await hub.app.db.all("SELECT * FROM xet_chunks") == []
    await ann.shard(sent.shard)
    names = [Xorb((chunk,)).name for chunk in cut(CONTENT)]
    known = {row[0] for row in await hub.app.db.all("SELECT hash FROM xet_chunks")}
    eligible = {name for name in names if int(name[48:], 16) % 1024 == 0}
    assert known == {names[0]} | eligible
    await ann.shard(shard([sent.file], sent.xorbs, flags=1 << 31))
    known = {row[0] for row in await hub.app.db.all("SELECT hash FROM xet_chunks")}
    assert known == set(names)


async def test_how_many_chunks_of_a_xorb_may_be_asked_for(hub: Hub) -> None:
    """However many are marked: one for each 64 KiB of it, 32 at most; and none where no file uses the xorb."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    small, unused = tiny(500), Xorb(tuple(b"%05d" % number for number in range(500)))
    large = Xorb(tuple(bytes([number]) * 131_072 for number in range(40)), LZ4)
    await ann.xorbs([small, unused, large])
    files = [File((Term(small, 3, 4),)), File((Term(large, 2, 40),))]
    await ann.shard(shard(files, [small, unused, large], flags=1 << 31))
    rows = await hub.app.db.all("SELECT hash, xorb FROM xet_chunks")
    named = {xorb.name: len([row for row in rows if row[1] == xorb.name]) for xorb in (small, unused, large)}
    eligible = [node for node in nodes(small.chunks) if int.from_bytes(node.hash[24:], "little") % 1024 == 0]
    assert named[unused.name] == 0
    assert 2 <= named[small.name] <= 2 + len(eligible)  # the first one of the file, and one that is marked
    assert 32 <= named[large.name] <= 34


class Rows(Database):
    """A database that tells how many rows each transaction was given."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path, clock)
        self.given: list[int] = []

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqliteTx]:
        async with super().write() as tx:
            counted = CountedTx(tx)
            yield counted
        self.given.append(counted.rows)


class CountedTx(SqliteTx):
    def __init__(self, tx: SqliteTx) -> None:
        self.__dict__.update(tx.__dict__)
        self.rows = 0

    async def many(self, sql: str, rows: Sequence[Any]) -> None:
        self.rows += len(rows)
        await super().many(sql, rows)


async def test_a_shard_leaves_other_writers_their_turn(hub: Hub) -> None:
    """Whatever there is to be written of it is written in transactions of some thousand rows."""
    repo = await hub.repo()
    numbers = (number.to_bytes(4, "big") for number in range(1 << 20))
    eligible = [text for text in numbers if is_global(chunk_hash(text))][:40]
    xorbs = [Xorb((b"%d" % number, *eligible)) for number in range(200)]
    xorbs += [Xorb(tuple(b"%d of %d" % (at, number) for at in range(256))) for number in range(30)]
    files = [File((Term(xorb, 0, 1),)) for xorb in xorbs]
    db = Rows(hub.app.layout.database, hub.app.clock)
    await db.open()
    ann = await client(hub, repo)
    await ann.xorbs(xorbs)
    ann = replace(ann, xet=replace(ann.xet, uploads=replace(ann.xet.uploads, db=db)))
    assert await ann.shard(shard(files, xorbs, flags=1 << 31))
    assert sum(db.given) >= 200 * 32
    assert max(db.given) <= 5000
    await db.close()


async def test_who_is_told_of_a_xorb_may_count_on_it(hub: Hub) -> None:
    """Being asked for, named or sent again makes a xorb young, whatever tells its age to a collector."""
    repo = await hub.repo()
    ann = await client(hub, repo)
    sent = package(CONTENT)
    await ann.send(sent)

    async def age() -> None:
        async with hub.app.db.write() as tx:
            await tx.run("UPDATE xorbs SET offered_at = 5")

    async def is_young() -> bool:
        row = await hub.app.db.one("SELECT MIN(offered_at) FROM xorbs")
        return row is not None and row[0] > 5

    await age()
    assert await hub.app.xet.uploads.holds(sent.xorbs[0].name)
    assert await is_young()
    await age()
    await ann.shard(sent.shard)
    assert await is_young()
    await age()
    await hub.app.xet.dedup.near(XetHash(Xorb((cut(CONTENT)[0],)).name))
    assert await is_young()
