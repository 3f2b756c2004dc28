"""
Giving a Xet hash to a large file that came otherwise: its one plain copy is read once, and the virtual xorbs over it
become rows (XET 9).

Until the last transaction nobody is offered the file; its xorbs, which have rows before, others may build upon. Whoever
is killed before has left xorbs that no file uses; the next try finds them, or the collector does. The sha256 is taken
once more on the way: a file that was damaged since it came is not given another name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hubreg.errors import Busy, Damaged
from hubreg.formats.chunking import HASH_SIZE, hash_bytes, hash_string
from hubreg.formats.terms import render_terms
from hubreg.formats.virtual import Cutter, PlainFile, VirtualXorb
from hubreg.model import Sha256, XetHash
from hubreg.store import upkeep, xet
from hubreg.store.db import Database, Tx
from hubreg.store.layout import Layout
from hubreg.store.upkeep import Unindexed
from hubreg.store.xet import Xorb

_PIECE = 4 << 20  # bytes that are read at once
_TELLS_WHAT_IS_CACHED = hasattr(os, "RWF_NOWAIT") and hasattr(os, "posix_fadvise")
_TOGETHER = 16  # xorbs in one transaction: every write makes the servers' caches begin anew


@dataclass(slots=True)
class _Written:
    """What is known of the xorbs that have rows."""

    terms: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    uses: dict[XetHash, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Indexing:
    """`new_cutter` makes what cuts one file."""

    db: Database
    layout: Layout
    new_cutter: Callable[[], Cutter]

    async def index(self, wanted: Unindexed) -> XetHash | None:
        """
        Index one file; its Xet hash, or None where no repo holds it any more.

        Blocks the event loop for some milliseconds at a time. Raises `Damaged` where the file is not what it was, and
        `Busy` where it has to be begun again. To be cancelled does not count as a try.
        """
        async with self.db.write() as tx:
            if not await upkeep.begin_indexing(tx, wanted.sha256):
                return None
        try:
            return await self._index(wanted)
        except asyncio.CancelledError:
            async with self.db.write() as tx:
                await upkeep.stop_indexing(tx, wanted.sha256)
            raise

    async def _index(self, wanted: Unindexed) -> XetHash | None:
        file, hashed, written = PlainFile(self.new_cutter()), hashlib.sha256(), _Written()
        full: list[VirtualXorb] = []
        for piece in _pieces(self.layout.blob(wanted.sha256)):
            hashed.update(piece)
            full += file.feed(piece)
            if len(full) >= _TOGETHER:
                if not await self._write(wanted, full, written):
                    return None
                full = []
            await asyncio.sleep(0)
        full += file.finish()
        if hashed.hexdigest() != wanted.sha256:
            async with self.db.write() as tx:
                await upkeep.give_up_indexing(tx, wanted.sha256)
            raise Damaged(f"The blob {wanted.sha256} has the sha256 {hashed.hexdigest()}.")
        if not await self._write(wanted, full, written):
            return None
        return await self._finish(wanted, file, written)

    async def _write(self, wanted: Unindexed, full: Sequence[VirtualXorb], written: _Written) -> bool:
        """False where no repo holds the file any more: its blob may be gone, and no xorb may lead to it."""
        async with self.db.write() as tx:
            if not await upkeep.is_held(tx, wanted.sha256):
                await upkeep.end_indexing(tx, wanted.sha256)
                return False
            for xorb in full:
                await _insert(tx, wanted.sha256, xorb)
        for xorb in full:
            written.uses.setdefault(xorb.hash, len(written.terms))
            written.terms.append((hash_bytes(xorb.hash), xorb.index.unpacked(), 0, len(xorb.index)))
        return True

    async def _finish(self, wanted: Unindexed, file: PlainFile, written: _Written) -> XetHash | None:
        """From here on the file is offered."""
        terms = render_terms(written.terms)
        made = xet.XetFile(file.hash(), wanted.sha256, wanted.size, terms)
        async with self.db.write() as tx:
            if not await upkeep.is_held(tx, wanted.sha256):
                await upkeep.end_indexing(tx, wanted.sha256)
                return None
            if await xet.count_xorbs(tx, list(written.uses)) != len(written.uses):
                raise Busy("A xorb of another file, which has the same in it, was collected meanwhile.")
            await xet.insert_file(tx, made, list(written.uses.items()))
            if file.first is not None:
                await xet.add_chunks(tx, [(file.first, next(iter(written.uses)))])
            await upkeep.end_indexing(tx, wanted.sha256)
            await upkeep.recount_holders(tx, wanted.sha256)
        return made.hash


async def _insert(tx: Tx, sha256: Sha256, xorb: VirtualXorb) -> None:
    index = xorb.index
    row = Xorb(
        xorb.hash, secrets.token_hex(4), index.length, index.unpacked(), index.render(), sha256, xorb.offset
    )
    await xet.insert_xorb(tx, row)
    hashes = index.hashes()
    named = [hashes[HASH_SIZE * at : HASH_SIZE * (at + 1)] for at in index.global_chunks()]
    await xet.add_chunks(tx, [(XetHash(hash_string(chunk)), xorb.hash) for chunk in named])


def _pieces(path: Path) -> Iterator[memoryview]:
    """
    A file from front to back, each piece good until the next is taken.

    What was not in the page cache is put out of it again: it would take the place of what servers send.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise Damaged(f"The blob {path.name} is missing.") from None
    buffer = memoryview(bytearray(_PIECE))
    offset = 0
    try:
        while count := _read(handle, buffer, offset):
            yield buffer[:count]
            offset += count
    finally:
        os.close(handle)


def _read(handle: int, buffer: memoryview, offset: int) -> int:
    if not _TELLS_WHAT_IS_CACHED:
        return os.preadv(handle, [buffer], offset)
    with suppress(OSError):  # it is not cached, or the file system cannot tell
        if count := os.preadv(handle, [buffer], offset, os.RWF_NOWAIT):
            return count
    count = os.preadv(handle, [buffer], offset)
    os.posix_fadvise(handle, offset, count, os.POSIX_FADV_DONTNEED)
    return count
