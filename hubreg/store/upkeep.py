"""
Rows of what is done beside the requests: large files to be indexed for Xet, repos whose size is to be counted again;
and numbers that are about the whole directory.

What makes such work necessary writes it down in its own transaction, so that none is forgotten, however a process ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hubreg.model import Sha256, XetHash
from hubreg.store.db import Database, Reader, Row, Tx, marks

_TRIES = 3  # what ended so many processes will end the next
_BATCH = 1000  # values in one statement


# indexing


@dataclass(frozen=True, slots=True)
class Unindexed:
    """A large file of `size` bytes that is kept plain and has no Xet hash yet."""

    sha256: Sha256
    size: int


async def add_unindexed(tx: Tx, sha256: Sha256, size: int) -> None:
    """A repo holds this file from now on: to be indexed, unless it is known by a Xet hash already, or empty."""
    await tx.run(
        "INSERT INTO unindexed (sha256, size, added_at) SELECT ?, ?, ?"
        " WHERE ? > 0 AND NOT EXISTS (SELECT 1 FROM xet_files WHERE sha256 = ?) ON CONFLICT (sha256) DO NOTHING",
        sha256, size, tx.now, size, sha256,
    )  # fmt: skip


async def index_waits(reader: Reader, smallest: int) -> bool:
    """Whether `next_unindexed` would find any; cheap, however many wait."""
    row = await reader.one("SELECT 1 FROM unindexed WHERE size >= ? AND tries < ? LIMIT 1", smallest, _TRIES)
    return row is not None


async def next_unindexed(reader: Reader, smallest: int) -> Unindexed | None:
    """What to index next: those first that were begun least often, then the oldest. None where nothing is left."""
    row = await reader.one(
        "SELECT sha256, size FROM unindexed WHERE size >= ? AND tries < ? ORDER BY tries, added_at, sha256 LIMIT 1",
        smallest, _TRIES,
    )  # fmt: skip
    return Unindexed(*row) if row else None


async def begin_indexing(tx: Tx, sha256: Sha256) -> bool:
    """
    Note that a file is begun: one that ends its process each time must not keep the others waiting for ever. False
    where no repo holds it any more; then it is forgotten.
    """
    if not await is_held(tx, sha256):
        await end_indexing(tx, sha256)
        return False
    await tx.run("UPDATE unindexed SET tries = tries + 1 WHERE sha256 = ?", sha256)
    return True


async def stop_indexing(tx: Tx, sha256: Sha256) -> None:
    """Take back that a file was begun: whoever did was told to stop, which says nothing about the file."""
    await tx.run("UPDATE unindexed SET tries = tries - 1 WHERE sha256 = ? AND tries > 0", sha256)


async def give_up_indexing(tx: Tx, sha256: Sha256) -> None:
    """There is no use in another try."""
    await tx.run("UPDATE unindexed SET tries = ? WHERE sha256 = ?", _TRIES, sha256)


async def end_indexing(tx: Tx, sha256: Sha256) -> None:
    await tx.run("DELETE FROM unindexed WHERE sha256 = ?", sha256)


async def retry_indexing(tx: Tx) -> None:
    """Begin again with those that were given up."""
    await tx.run("UPDATE unindexed SET tries = 0 WHERE tries > 0")


async def is_held(reader: Reader, sha256: Sha256) -> bool:
    """Whether any repo holds this file."""
    return await reader.one("SELECT 1 FROM lfs_objects WHERE sha256 = ? LIMIT 1", sha256) is not None


# sizes of repos


async def recount_waits(reader: Reader) -> bool:
    return await reader.one("SELECT 1 FROM repos WHERE recount > 0 LIMIT 1") is not None


async def to_recount(db: Database, limit: int) -> list[tuple[int, int]]:
    """Repos whose size is to be counted: id, and how many changes there were."""
    rows = await db.all("SELECT id, recount FROM repos WHERE recount > 0 LIMIT ?", limit)
    return [(row[0], row[1]) for row in rows]


async def recount_holders(tx: Tx, sha256: Sha256) -> None:
    """What this file takes up has changed, so count again what holds it."""
    await tx.run(
        "UPDATE repos SET recount = recount + 1 WHERE id IN (SELECT repo_id FROM lfs_objects WHERE sha256 = ?)",
        sha256,
    )


async def set_storage(tx: Tx, repo_id: int, size: int, changes: int) -> None:
    """The size of a repo after so many changes. Where there are more by now it will be counted once more."""
    await tx.run("UPDATE repos SET storage = ?, recount = recount - ? WHERE id = ?", size, changes, repo_id)


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A large file of a repo; `terms` are packed (`formats.terms.Terms`), None where it has no Xet hash."""

    sha256: Sha256
    size: int
    terms: bytes | None


async def held_files(db: Database, repo_id: int, after: str, limit: int) -> list[HeldFile]:
    """
    Those that count in the size of a repo, by sha256, from behind `after`. Of several Xet forms the one that is
    offered.
    """
    rows = await db.scan(
        "SELECT held.sha256, held.size, (SELECT terms FROM xet_files WHERE xet_files.sha256 = held.sha256"
        " ORDER BY created_at, hash LIMIT 1) FROM lfs_objects AS held"
        " WHERE held.repo_id = ? AND held.proposed = 0 AND held.sha256 > ? ORDER BY held.sha256 LIMIT ?",
        repo_id, after, limit,
    )  # fmt: skip
    return [HeldFile(*row) for row in rows]


async def xorb_sizes(db: Database, hashes: Sequence[XetHash]) -> dict[XetHash, tuple[int, int]]:
    """Of each of these xorbs the bytes of its packed index and of its content."""
    found: dict[XetHash, tuple[int, int]] = {}
    for start in range(0, len(hashes), _BATCH):
        part = hashes[start : start + _BATCH]
        rows: list[Row] = await db.scan(
            f"SELECT hash, LENGTH(chunks), unpacked FROM xorbs WHERE hash IN ({marks(len(part))})",  # noqa: S608
            *part,
        )
        found.update({row[0]: (row[1], row[2]) for row in rows})
    return found


# numbers

_EPOCH = "xet-epoch"


async def xet_epoch(reader: Reader) -> int:
    """Part of the URL under which Xet clients remember what they know of this server (XET 11); 1 at first."""
    row = await reader.one("SELECT value FROM numbers WHERE name = ?", _EPOCH)
    return int(row[0]) if row else 1


async def set_xet_epoch(tx: Tx, epoch: int) -> None:
    await tx.run(
        "INSERT INTO numbers (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        _EPOCH, epoch,
    )  # fmt: skip
