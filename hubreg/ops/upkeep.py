"""
Work that waits in rows: files to be indexed for Xet, repos to be counted. Done by one process of a directory at a time,
a server's or `hubreg upkeep`.

The servers start that process when there is something to do (`ops.caretaker`). It is none of theirs, so that what it
computes does not hold up what they answer, and it only gets what they leave of the processor and the disk. Who it is, a
lock says, which the kernel gives up when its process ends, however it ends: the next one begins where that was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hubreg.config import Config
from hubreg.errors import Busy, Damaged
from hubreg.formats.chunking import Chunker
from hubreg.formats.virtual import Cutter
from hubreg.ops import cutters, sizes
from hubreg.ops.indexing import Indexing
from hubreg.store import upkeep
from hubreg.store.db import Database
from hubreg.store.layout import Layout
from hubreg.store.upkeep import Unindexed

_REPOS = 100  # that are counted before it is looked for a file
_LINGER = 30.0  # seconds that a server's process waits for more: to start it takes 0.6 of the processor
_LOOK = 1.0  # seconds between two looks

Tell = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class Upkeep:
    db: Database
    layout: Layout
    config: Config

    async def run(self, tell: Tell, *, linger: bool = False) -> None:
        """
        Do all that waits; `tell` hears of each file that was indexed or could not be. To `linger` is to wait a while
        for more. Blocks the event loop.
        """
        indexing = Indexing(self.db, self.layout, self._new_cutter())
        seen, idle = -1, time.monotonic()
        while True:
            if seen != (seen := self.db.version()) and await self._step(indexing, tell):
                seen, idle = -1, time.monotonic()
            elif linger and time.monotonic() - idle < _LINGER:
                await asyncio.sleep(_LOOK)
            else:
                return

    def _new_cutter(self) -> Callable[[], Cutter]:
        return cutters.fastest(self.layout.incoming) if self.config.xet_native else Chunker

    async def _step(self, indexing: Indexing, tell: Tell) -> bool:
        """Do something of it. False when nothing was left."""
        counted = await self._count()
        if self.config.xet_index:
            wanted = await upkeep.next_unindexed(self.db, self.config.xet_index_from)
            if wanted is not None:
                await _index(indexing, wanted, tell)
                return True
        return counted

    async def _count(self) -> bool:
        waiting = await upkeep.to_recount(self.db, _REPOS)
        counted = [(repo_id, await sizes.held(self.db, repo_id), changes) for repo_id, changes in waiting]
        if counted:
            async with self.db.write() as tx:
                for repo_id, size, changes in counted:
                    await upkeep.set_storage(tx, repo_id, size, changes)
        return bool(counted)


async def _index(indexing: Indexing, wanted: Unindexed, tell: Tell) -> None:
    began, cpu = time.monotonic(), time.process_time()
    told: dict[str, object] = {"sha256": wanted.sha256, "size": wanted.size}
    try:
        told["xet"] = await indexing.index(wanted)
    except (Busy, Damaged) as error:
        told["error"] = error.message
    told["seconds"] = round(time.monotonic() - began, 3)
    told["cpu_seconds"] = round(time.process_time() - cpu, 3)
    tell(told)
