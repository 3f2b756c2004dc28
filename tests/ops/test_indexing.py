"""Files that came without Xet get a Xet hash: the client's, over the one plain copy, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hubreg.errors import Damaged
from hubreg.formats.chunking import MAX_CHUNK, Buffer, Chunker, chunk_hash, hash_string
from hubreg.formats.xorb import decode_chunks
from hubreg.model import XetHash
from hubreg.ops.indexing import Indexing
from hubreg.store import upkeep, xet
from hubreg.store.db import Database, SqliteTx, wall
from hubreg.store.upkeep import Unindexed
from hubreg.store.xorbs import pieces
from tests.ops.conftest import Keeper, named
from tests.xet_client import File, Package, Term, Xorb, cut, package, sha256_of, some

pytestmark = pytest.mark.anyio

CONTENT = some(900_000)


@pytest.mark.parametrize(
    "content",
    [b"x", some(MAX_CHUNK), bytes(3 * MAX_CHUNK), CONTENT, some(5_000_000, 3)],
    ids=["a byte", "a chunk", "zeros", "some", "more than one read"],
)
async def test_a_plain_file_gets_the_hash_that_clients_give_it(keeper: Keeper, content: bytes) -> None:
    """And is offered by it from then on; nothing of it is kept twice."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, content)
    files = keeper.files()
    assert await keeper.offered(sha256) is None
    assert await keeper.index() == [named(content)]
    assert await keeper.offered(sha256) == named(content)
    assert keeper.files() == files
    assert await keeper.waiting() is None


async def test_it_is_read_by_its_reconstruction(keeper: Keeper) -> None:
    """The serialized form that is made for a client unpacks to the file."""
    repo = await keeper.hub.repo()
    await keeper.plain(repo, CONTENT)
    await keeper.index()
    app = keeper.hub.app
    holder = await app.xet.tokens.holder(f"Bearer {app.xet.tokens.issue(keeper.hub.ann, repo).text}")
    made = await app.xet.reconstructions.of(holder, named(CONTENT))
    content = b""
    for term in made.terms:
        held = await app.xet.reconstructions.xorbs.get(term.xorb)
        whole = b""
        for piece in pieces(held, *held.index.extent(term.start, term.end)):
            data = held.path.read_bytes()
            whole += piece if isinstance(piece, bytes) else data[piece[0] : piece[1]]
        content += b"".join(bytes(chunk) for chunk in decode_chunks(whole))
    assert content == CONTENT


async def test_a_change_of_a_plain_file_sends_only_what_changed(keeper: Keeper) -> None:
    """A client that asks for the first chunk is told of the virtual xorb, and may build upon it."""
    repo = await keeper.hub.repo()
    base = await keeper.plain(repo, CONTENT)
    await keeper.index()
    files = keeper.files()
    first = XetHash(hash_string(chunk_hash(cut(CONTENT)[0])))
    assert await keeper.hub.app.xet.dedup.near(first)
    whole = package(CONTENT)
    assert await keeper.hub.app.xet.uploads.holds(whole.xorbs[0].name)
    other = await keeper.hub.repo("tuned")
    changed = some(9000, 8)
    more = Xorb((changed,))
    content = CONTENT + changed
    file = File((*whole.file.terms, Term(more, 0, 1)), sha256_of(content))
    await keeper.send(other, Package(content, (*whole.xorbs, more), file))
    assert len(keeper.files() - files) == 1
    assert await keeper.content(base) == CONTENT
    assert await keeper.content(sha256_of(content)) == content


async def test_what_came_by_xet_is_not_indexed(keeper: Keeper) -> None:
    """It has its hash; neither is what is empty."""
    repo = await keeper.hub.repo()
    await keeper.send(repo, package(CONTENT))
    await keeper.plain(repo, b"", "empty.bin")
    assert await keeper.waiting() is None


async def test_a_small_file_waits_for_ever(keeper: Keeper) -> None:
    """Below the smallest size that is asked for; the oldest of the others comes first."""
    repo = await keeper.hub.repo()
    await keeper.plain(repo, b"small", "a")
    first = await keeper.plain(repo, some(100, 1), "b")
    await keeper.plain(repo, some(200, 2), "c")
    assert await upkeep.next_unindexed(keeper.hub.app.db, 1000) is None
    assert await upkeep.next_unindexed(keeper.hub.app.db, 100) == Unindexed(first, 100)


async def test_a_damaged_file_is_not_offered(keeper: Keeper) -> None:
    """Its bytes are not what its name says: it is refused, given up, and no client is ever told of it."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    path = keeper.hub.app.layout.blob(sha256)
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(Damaged, match=f"{sha256} has the sha256 {sha256_of(path.read_bytes())}"):
        await keeper.indexing.index(Unindexed(sha256, len(CONTENT)))
    assert await keeper.offered(sha256) is None
    assert await keeper.rows("xet_files") == 0
    assert await keeper.waiting() is None
    async with keeper.hub.app.db.write() as tx:
        await upkeep.retry_indexing(tx)
    path.write_bytes(CONTENT)
    assert await keeper.index() == [named(CONTENT)]


async def test_a_file_that_is_missing_is_tried_a_few_times(keeper: Keeper) -> None:
    """It does not keep the others waiting."""
    repo = await keeper.hub.repo()
    gone = await keeper.plain(repo, CONTENT)
    keeper.hub.app.layout.blob(gone).unlink()
    there = await keeper.plain(repo, some(50_000, 5), "there")
    tried = []
    while (wanted := await keeper.waiting()) is not None:
        tried.append(wanted.sha256)
        if wanted.sha256 == gone:
            with pytest.raises(Damaged):
                await keeper.indexing.index(wanted)
        else:
            await keeper.indexing.index(wanted)
    assert tried == [gone, there, gone, gone]
    assert await keeper.offered(there) is not None


async def test_a_file_that_nobody_holds_any_more_is_forgotten(keeper: Keeper) -> None:
    """Also in the middle, when a collector may have taken it away: no xorb leads to where it was."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    wanted = Unindexed(sha256, len(CONTENT))

    class Leaving(Database):
        """The repo is gone before the second transaction, which writes the xorbs that were found."""

        @asynccontextmanager
        async def write(self) -> AsyncIterator[SqliteTx]:
            if await keeper.rows("unindexed WHERE tries = 1") and await keeper.rows("lfs_objects"):
                await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
            async with super().write() as tx:
                yield tx

    db = Leaving(keeper.hub.app.layout.database, wall)
    await db.open()
    try:
        assert await Indexing(db, keeper.hub.app.layout, Chunker).index(wanted) is None
    finally:
        await db.close()
    assert await keeper.waiting() is None
    assert await keeper.rows("xorbs") == await keeper.rows("xet_files") == 0
    async with keeper.hub.app.db.write() as tx:
        await upkeep.add_unindexed(tx, sha256, len(CONTENT))
    assert await keeper.indexing.index(wanted) is None
    assert await keeper.waiting() is None


async def test_whoever_is_stopped_in_the_middle_begins_again(keeper: Keeper) -> None:
    """Xorbs that were written ahead are no file; the next try finds them and comes to the same."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)

    class Stopped(Chunker):
        def finish(self) -> list[int]:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await Indexing(keeper.hub.app.db, keeper.hub.app.layout, Stopped).index(
            Unindexed(sha256, len(CONTENT))
        )
    assert await keeper.offered(sha256) is None
    assert await keeper.index() == [named(CONTENT)]


async def test_to_be_stopped_is_no_try(keeper: Keeper) -> None:
    """However often a server is stopped while it reads a file, the file is not given up."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    wanted = Unindexed(sha256, len(CONTENT))
    reading: list[asyncio.Future[Any]] = []

    class Stopping(Chunker):
        def feed(self, data: Buffer) -> list[int]:
            reading[-1].cancel()
            return super().feed(data)

    for _ in range(5):
        indexing = Indexing(keeper.hub.app.db, keeper.hub.app.layout, Stopping)
        reading.append(asyncio.ensure_future(indexing.index(wanted)))
        with pytest.raises(asyncio.CancelledError):
            await reading[-1]
        assert await keeper.waiting() == wanted
    assert await keeper.rows("unindexed WHERE tries = 0") == 1
    assert await keeper.index() == [named(CONTENT)]


async def test_what_two_files_share_is_one_xorb(keeper: Keeper) -> None:
    """Content that is there as a xorb already, of another file or by Xet, stays what it is."""
    repo = await keeper.hub.repo()
    await keeper.send(repo, package(CONTENT))
    [before] = await keeper.hub.app.db.all("SELECT hash, tag, plain_sha256 FROM xorbs")
    async with keeper.hub.app.db.write() as tx:  # as if it had not come as a file: only its xorb is here
        await tx.run("DELETE FROM xorb_uses")
        await tx.run("DELETE FROM xet_files")
    other = await keeper.hub.repo("plain")
    sha256 = await keeper.plain(other, CONTENT)
    async with keeper.hub.app.db.write() as tx:
        await upkeep.add_unindexed(tx, sha256, len(CONTENT))
    assert await keeper.index() == [named(CONTENT)]
    assert await keeper.hub.app.db.all("SELECT hash, tag, plain_sha256 FROM xorbs") == [before]
    assert await keeper.content(sha256) == CONTENT


async def test_a_file_comes_by_xet_while_it_is_indexed(keeper: Keeper) -> None:
    """Both make the same of it."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    await asyncio.gather(keeper.index(), keeper.uploaded(repo, package(CONTENT, per_xorb=3)))
    assert await keeper.offered(sha256) == named(CONTENT)
    assert await keeper.waiting() is None
    file = await xet.find_file(keeper.hub.app.db, named(CONTENT))
    assert file is not None
    assert file.sha256 == sha256
