"""
How much a repo holds: the bytes of its large files, what several of them share counted once.

Files share chunks where they were sent by Xet, or were indexed for it and a later one was made of them. What two repos
share is counted in both: a repo's size does not change with what others do. A file that is not known as chunks counts
as a whole, and so does what is held twice because no client saw that it is the same.
"""

from __future__ import annotations

from hubreg.formats.terms import Terms, merged
from hubreg.formats.xorb import ENTRY_SIZE, ChunkIndex
from hubreg.model import XetHash
from hubreg.store import upkeep, xet
from hubreg.store.db import Database

_FILES = 50  # that are looked at together
_RANGES = 64  # of one xorb, before they are merged

Range = tuple[int, int]  # of chunks, the end exclusive


async def held(db: Database, repo_id: int) -> int:
    """The size of a repo in bytes."""
    total, after = 0, ""
    ranges: dict[XetHash, list[Range]] = {}
    while files := await upkeep.held_files(db, repo_id, after, _FILES):
        after = files[-1].sha256
        for file in files:
            if file.terms is None:
                total += file.size
            else:
                _add(ranges, Terms(file.terms))
    sizes = await upkeep.xorb_sizes(db, list(ranges))
    for hash_, used in ranges.items():
        packed, unpacked = sizes.get(hash_, (0, 0))
        whole = [(0, packed // ENTRY_SIZE)]
        total += unpacked if merged(used) == whole else await _part(db, hash_, merged(used))
    return total


def _add(ranges: dict[XetHash, list[Range]], terms: Terms) -> None:
    for span in terms:
        used = ranges.setdefault(span.xorb, [])
        used.append((span.start, span.end))
        if len(used) > _RANGES:
            used[:] = merged(used)


async def _part(db: Database, hash_: XetHash, ranges: list[Range]) -> int:
    xorb = await xet.find_xorb(db, hash_)
    if xorb is None:
        return 0  # the files that use it were removed meanwhile
    index = ChunkIndex.parse(xorb.chunks, xorb.size)
    return sum(index.unpacked(start, end) for start, end in ranges)
