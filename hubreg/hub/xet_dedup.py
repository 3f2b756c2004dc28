"""
What lets a client leave out chunks that are here already, whoever sent them (XET 7).

A client asks for a chunk by its hash, and gets the xorb that has it and those near it in the same files, all with the
HMACs of their chunks. It recognises what it has itself; of the rest it learns lengths, and nothing that would pass for
knowing the content. The name of a xorb of one chunk is that chunk's hash, and whoever has a chunk's hash may name the
chunk in a shard and read it: such xorbs are only told to those who asked for them by that very name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hubreg.errors import NotFound
from hubreg.formats.chunking import hash_bytes
from hubreg.formats.shard import render_dedup_shard
from hubreg.model import XetHash
from hubreg.store import xet
from hubreg.store.db import Clock, Database
from hubreg.store.fresh import Bounded
from hubreg.store.xorbs import Held, Xorbs

_SECONDS = (
    7 * 24 * 3600
)  # that clients use an answer for without asking: far less than xorbs are kept for (XET 11)
_MOST_XORBS = 32  # in one answer
_MOST_CHUNKS = 40_000  # likewise: 2 MB
_KEPT = 16 << 20  # bytes of answers
_FRESH = 3600  # seconds that an answer may be given again


@dataclass(frozen=True, slots=True)
class XetDedup:
    """`key`: 32 bytes, under which chunks are named in answers."""

    db: Database
    xorbs: Xorbs
    clock: Clock
    key: bytes
    _answers: Bounded[tuple[XetHash, int], bytes] = field(
        default_factory=lambda: Bounded(_KEPT, len), init=False
    )

    async def near(self, chunk: XetHash) -> bytes:
        """A shard that lists the xorbs around a chunk. Raises `NotFound` for one that is not known."""
        xorb = await xet.xorb_of_chunk(self.db, chunk)
        if xorb is None:
            raise NotFound("No xorb is known to have this chunk.")
        now = self.clock() // 1000
        answer = self._answers.get((xorb, now // _FRESH))
        if answer is None:
            answer = await self._render(xorb, now)
            self._answers.put((xorb, now // _FRESH), answer)
        return answer

    async def _render(self, xorb: XetHash, now: int) -> bytes:
        found: list[Held] = []
        chunks = 0
        for hash_ in [xorb, *await xet.neighbours(self.db, xorb, _MOST_XORBS - 1)]:
            held = await self.xorbs.intact(hash_)  # or clients would build upon what is lost
            if held is None or (hash_ != xorb and len(held.index) == 1):
                continue
            chunks += len(held.index)
            if found and chunks > _MOST_CHUNKS:
                break
            found.append(held)
        stale = await xet.stale_offers(self.db, [held.hash for held in found], self.clock())
        if stale:
            async with self.db.write() as tx:
                gone = set(stale) - await xet.offer(tx, stale)
            found = [held for held in found if held.hash not in gone]
        if not found:
            raise NotFound("No xorb is known to have this chunk.")
        listed = [(hash_bytes(held.hash), held.index) for held in found]
        return await self.xorbs.in_thread(render_dedup_shard, listed, self.key, now, now + _SECONDS)
