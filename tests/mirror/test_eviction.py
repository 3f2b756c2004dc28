"""What is counted of uses, and what goes when the mirror is above its budget."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import time
from contextlib import suppress

import pytest

from hubreg.errors import Damaged
from hubreg.hub.xet_tokens import Holder
from hubreg.identity.accounts import SYSTEM
from hubreg.model import ANONYMOUS, RepoType, Sha256, XetHash
from hubreg.ops.eviction import Evicted, Eviction, housekeeping
from hubreg.store import mirror, objects
from tests.fakehub import Repo, lfs
from tests.mirror.conftest import NAME, Mirrored

pytestmark = pytest.mark.anyio

HOUR = 3600
OLD, NEW = b"o" * 40_000, b"n" * 30_000


def named(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


@pytest.fixture
async def full(hub: Mirrored, model: Repo) -> Mirrored:
    """Two large files and a small one are here; the small one came last, all of them hours ago."""
    hub.clock.at = int(time.time() * 1000) + 30_000
    model.commit({"old.bin": lfs(OLD), "new.bin": lfs(NEW)})
    for path, content in (("old.bin", OLD), ("new.bin", NEW), ("README.md", b"hello")):
        assert await fetched(hub, path) == content
        await until_here(hub, content)
        hub.later(3 * HOUR)
    return hub


async def fetched(hub: Mirrored, path: str, **headers: str) -> bytes:
    async with hub.client() as client:
        answer = await client.get(f"/{NAME}/resolve/main/{path}", headers=headers, follow_redirects=True)
    assert answer.status_code in (200, 206), answer.text
    return answer.content


async def until_here(hub: Mirrored, content: bytes) -> None:
    while not await mirror.blobs(hub.app.db, [named(content)]):  # noqa: ASYNC110 a row is no event
        await asyncio.sleep(0.01)


def eviction(hub: Mirrored, budget: int) -> Eviction:
    return Eviction(hub.app.db, hub.app.arriving.blobs, hub.clock, budget)


async def here(hub: Mirrored) -> set[bytes]:
    """Which of the files have a row, and a blob, and these agree."""
    known = await mirror.blobs(hub.app.db, [named(content) for content in (OLD, NEW, b"hello")])
    on_disk = {c for c in (OLD, NEW, b"hello") if hub.app.layout.blob(named(c)).exists()}
    assert {named(content) for content in on_disk} == known
    return on_disk


async def test_hits_are_counted_in_batches(full: Mirrored) -> None:
    """A GET from the beginning is one, a resume and a HEAD are none; nothing is written before they are saved."""
    version = full.app.db.version()
    assert await fetched(full, "old.bin") == OLD
    assert await fetched(full, "old.bin", Range="bytes=0-9") == OLD[:10]
    assert await fetched(full, "old.bin", Range="bytes=9-") == OLD[9:]
    await full.head(f"/{NAME}/resolve/main/old.bin")
    assert await fetched(full, "README.md") == b"hello"
    totals = await mirror.totals(full.app.db)
    assert (totals.hits, totals.misses, totals.fetched) == (0, 3, 70_005)
    await full.app.arriving.uses.save()
    totals = await mirror.totals(full.app.db)
    assert (totals.hits, totals.saved, totals.misses) == (3, 2 * 40_000 + 5, 3)
    assert full.app.db.version() != version
    version = full.app.db.version()
    await full.app.arriving.uses.save()
    assert full.app.db.version() == version, "nothing new is not written"


async def test_uses_that_could_not_be_written_are_kept(full: Mirrored) -> None:
    """They count with the next ones."""
    uses = full.app.arriving.uses
    await fetched(full, "old.bin")
    async with full.app.db.write() as tx:
        await tx.run("ALTER TABLE mirror_counts RENAME TO elsewhere")
    with pytest.raises(sqlite3.OperationalError):
        await uses.save()
    async with full.app.db.write() as tx:
        await tx.run("ALTER TABLE elsewhere RENAME TO mirror_counts")
    uses.use(named(OLD), whole=True)
    await uses.save()
    assert (await mirror.totals(full.app.db)).hits == 2


async def test_what_is_not_the_mirrors_is_not_written(full: Mirrored) -> None:
    """Uses of hosted files, which Xet tells of too, are no reason for a write."""
    version = full.app.db.version()
    full.app.arriving.uses.use(named(b"hosted"), whole=True)
    await full.app.arriving.uses.save()
    assert full.app.db.version() == version


async def test_what_xet_puts_together_is_used(full: Mirrored) -> None:
    """Whoever asks for the terms of a file is about to read it."""
    hash_ = XetHash("a" * 64)
    async with full.app.db.write() as tx:
        await tx.run("INSERT INTO xet_files VALUES (?, ?, 0, x'', 0)", hash_, named(OLD))
    repo = await full.app.repos.find(ANONYMOUS, RepoType.MODEL, NAME)
    holder = Holder(ANONYMOUS, repo, write=False)
    with suppress(Exception):  # of a file without terms; that it was asked for is enough
        await full.app.xet.reconstructions.of(holder, hash_)
    await full.app.arriving.uses.save()
    assert (await mirror.totals(full.app.db)).hits == 1


async def test_the_least_lately_used_goes_and_comes_back(full: Mirrored) -> None:
    """Only as much as must, by when it was sent last; a next request fetches it again."""
    assert await eviction(full, 0).run() == Evicted()
    assert await eviction(full, 70_005).run() == Evicted()
    await fetched(full, "old.bin")
    await full.app.arriving.uses.save()
    full.later(3 * HOUR)
    assert await eviction(full, 70_000).run() == Evicted(1, 30_000)
    assert await here(full) == {OLD, b"hello"}
    totals = await mirror.totals(full.app.db)
    assert (totals.blobs, totals.evicted, totals.freed, totals.misses) == (2, 1, 30_000, 3)
    assert await fetched(full, "new.bin") == NEW
    await until_here(full, NEW)
    assert await here(full) == {OLD, NEW, b"hello"}
    assert (await mirror.totals(full.app.db)).misses == 4


async def test_what_is_in_use_stays(full: Mirrored) -> None:
    """What was sent in the last hour, also a part of it, whatever the budget."""
    await fetched(full, "old.bin", Range="bytes=9-")
    await full.app.arriving.uses.save()
    assert await eviction(full, 1).run() == Evicted(2, 30_005)
    assert await here(full) == {OLD}


async def test_who_reads_it_reads_on(full: Mirrored) -> None:
    """A file that was opened before it went is read to its end."""
    with full.app.layout.blob(named(OLD)).open("rb") as reading:
        assert (await eviction(full, 1).run()).files == 3
        assert reading.read() == OLD


async def test_what_is_pinned_stays(full: Mirrored) -> None:
    """All that the commit of a pinned name holds, until it is unpinned."""
    await full.app.upstreams.pin(SYSTEM, RepoType.MODEL, NAME, "main", pinned=True)
    assert await eviction(full, 1).run() == Evicted()
    await full.app.upstreams.pin(SYSTEM, RepoType.MODEL, NAME, "main", pinned=False)
    assert (await eviction(full, 1).run()).files == 3
    assert await here(full) == set()


async def test_while_it_is_not_known_what_is_pinned_nothing_goes(full: Mirrored) -> None:
    """A tree that is missing."""
    await full.app.upstreams.pin(SYSTEM, RepoType.MODEL, NAME, "main", pinned=True)
    async with full.app.db.write() as tx:
        await tx.run("DELETE FROM objects")
    with pytest.raises(Damaged):
        await eviction(full, 1).run()
    assert len(await here(full)) == 3


async def test_what_a_hosted_repo_has_stays(full: Mirrored) -> None:
    """It would not free anything, and the hosted repo would lose it."""
    actor = await full.app.credentials.actor(f"Bearer {full.ann}")
    own = await full.app.repos.create(actor, RepoType.MODEL, None, "own")
    async with full.app.db.write() as tx:
        await objects.add_large(tx, own.id, named(OLD), len(OLD))
    assert await eviction(full, 1).run() == Evicted(2, 30_005)
    assert await here(full) == {OLD}


async def test_what_a_xet_client_was_told_of_stays(full: Mirrored) -> None:
    """For four weeks: its next upload may count on it (XET 11). Then what Xet has of it goes too."""
    async with full.app.db.write() as tx:
        for digest, offered in ((named(OLD), tx.now), (named(NEW), 0)):
            await tx.run(
                "INSERT INTO xorbs (hash, tag, size, unpacked, chunks, plain_sha256, created_at, offered_at)"
                " VALUES (?, '', 1, 1, x'', ?, 0, ?)",
                digest[::-1], digest, offered,
            )  # fmt: skip
    assert await eviction(full, 1).run() == Evicted(2, 30_005)
    assert await here(full) == {OLD}
    full.later(30 * 24 * HOUR)
    assert await eviction(full, 1).run() == Evicted(1, 40_000)
    assert await here(full) == set()


async def test_one_process_at_a_time(full: Mirrored) -> None:
    """Two would each free what is too much."""
    async with full.app.db.write() as tx:
        assert await mirror.claim(tx, "evict", 60)
    assert await eviction(full, 1).run() == Evicted()
    async with full.app.db.write() as tx:
        await mirror.release(tx, "evict")
    assert (await eviction(full, 1).run()).files == 3


async def test_the_server_keeps_house(full: Mirrored) -> None:
    """Now and then, and what was counted last is written when it stops."""
    uses = full.app.arriving.uses
    async with housekeeping(uses, eviction(full, 1), 0.01), asyncio.timeout(10):
        while (await mirror.totals(full.app.db)).blobs:  # noqa: ASYNC110 a row is no event
            await asyncio.sleep(0.01)
    await fetched(full, "old.bin")
    await until_here(full, OLD)
    async with housekeeping(uses, eviction(full, 0), 1000):
        await fetched(full, "old.bin")
    assert (await mirror.totals(full.app.db)).hits == 1
