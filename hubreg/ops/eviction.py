"""
The mirror within its budget: what was not used for the longest goes first, and is fetched again when somebody asks.

What a pinned name holds never goes, nor what a hosted repo has too, nor what was sent in the last hour, or a Xet client
was told of in the last four weeks. So the budget may be exceeded: by what is in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hubreg.errors import Damaged
from hubreg.formats import gitobjects
from hubreg.formats.gitobjects import EMPTY_TREE, FOLDER
from hubreg.mirror.uses import Uses
from hubreg.model import Millis, Oid, Sha256
from hubreg.store import evictions, garbage, mirror, objects, repos
from hubreg.store.db import Clock, Database
from hubreg.store.local import LocalBlobs

log = logging.getLogger("hubreg.mirror")

_HOUR = 3_600_000  # milliseconds
_IN_USE = 2 * _HOUR  # since it was last used, which is known to the hour
_OFFERED = 29 * 24 * _HOUR  # since a Xet client was last told of it: 28 days (XET 11), known to the day
_BATCH = 50  # in one transaction
_EVERY = 60.0  # seconds between two looks
_TURN = 600.0  # seconds that one process may take


@dataclass(frozen=True, slots=True)
class Evicted:
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Eviction:
    """`budget` in bytes; 0: none."""

    db: Database
    blobs: LocalBlobs
    clock: Clock
    budget: int

    async def run(self) -> Evicted:
        """Bring the mirror below its budget, if it is above and no other process is at it."""
        if not self.budget or await evictions.size(self.db) <= self.budget:
            return Evicted()
        async with self.db.write() as tx:
            if not await mirror.claim(tx, "evict", _TURN):
                return Evicted()
        try:
            return await self._evict()
        finally:
            async with self.db.write() as tx:
                await mirror.release(tx, "evict")

    async def _evict(self) -> Evicted:
        excess = await evictions.size(self.db) - self.budget
        now = self.clock()
        used, offered = Millis(now - _IN_USE), Millis(now - _OFFERED)
        pinned = await self._pinned()
        may_go = [
            item for item in await evictions.candidates(self.db, used, offered) if item[0] not in pinned
        ]
        files = freed = at = 0
        while freed < excess and at < len(may_go):
            wanted: list[tuple[Sha256, int]] = []
            while at < len(may_go) and len(wanted) < _BATCH and freed + sum(s for _, s in wanted) < excess:
                wanted.append(may_go[at])
                at += 1
            gone, paths = await self._remove(wanted, used, offered)
            await asyncio.to_thread(self._unlink, paths)
            files += len(gone)
            freed += sum(gone)
        return Evicted(files, freed)

    async def _remove(
        self, items: Sequence[tuple[Sha256, int]], used: Millis, offered: Millis
    ) -> tuple[list[int], list[Path]]:
        """Their rows, and the names of their blobs: the sizes of those that went, and the files to be removed."""
        gone, paths = [], []
        async with self.db.write() as tx:
            for sha256, size in items:
                if not await evictions.evict(tx, sha256, used, offered):
                    continue
                gone.append(size)
                if not await garbage.is_referred_to(tx, sha256):
                    path = self.blobs.withdraw(sha256, used)
                    paths += [path] if path is not None else []
        return gone, paths

    async def _pinned(self) -> set[Sha256]:
        """What pinned names hold, as far as it is known. Raises `Damaged` where a tree is missing."""
        found: set[Sha256] = set()
        for repo_id, _, commit in await mirror.pins(self.db):
            repo = await repos.get(self.db, repo_id)
            row = await objects.find_commit(self.db, repo_id, commit)
            if repo is None:
                continue
            oids = (
                await mirror.entry_oids(self.db, repo_id, commit)
                if row is None
                else await self._walk(row.tree)
            )
            files = await mirror.files(self.db, repo.upstream_id or 0, list(oids))
            found |= {file.sha256 for file in files.values()}
        return found

    async def _walk(self, root: Oid) -> set[Oid]:
        """Every file below a tree."""
        files: set[Oid] = set()
        seen, waiting = {root}, [root] if root != EMPTY_TREE else []
        while waiting:
            tree = waiting.pop()
            data = (await objects.contents(self.db, [tree])).get(tree)
            if data is None:
                raise Damaged(f"The tree {tree} is missing.", hint="Nothing was evicted.")
            for entry in gitobjects.parse_tree(data):
                if entry.mode != FOLDER:
                    files.add(entry.oid)
                elif entry.oid not in seen and entry.oid != EMPTY_TREE:
                    seen.add(entry.oid)
                    waiting.append(entry.oid)
        return files

    def _unlink(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.blobs.disk.remove(path)


@asynccontextmanager
async def housekeeping(uses: Uses, eviction: Eviction, every: float = _EVERY) -> AsyncIterator[None]:
    """While inside, what was sent is written down and the budget kept, every so many seconds."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(every)
            try:
                await uses.save()
                done = await eviction.run()
                if done.files:
                    log.info("evicted %d files of the mirror, %d bytes", done.files, done.bytes)
            except Exception:
                log.exception("the mirror's budget could not be kept")

    task = asyncio.ensure_future(keep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await uses.save()
