"""Rows of Xet: xorbs and what is in them, files as terms over xorbs, and the chunks that clients ask for by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hubreg.model import Millis, Sha256, XetHash
from hubreg.store.db import Database, Reader, Row, Tx, marks

_BATCH = 1000  # values in one statement
_MOST_FILES = (
    16  # that are looked at for the neighbours of a xorb: a base model's is in those of all its variants
)
_DAY = 24 * 3600 * 1000  # milliseconds: how exactly it is known when a xorb was last offered


@dataclass(frozen=True, slots=True)
class Xorb:
    """
    A xorb: `size` bytes serialized, `chunks` the packed index of it (`formats.xorb.ChunkIndex`).

    One that came by Xet is the file with that `tag` (`Layout.xorb`). A virtual one has no file: its chunks are the
    bytes of the blob `plain_sha256` from `plain_offset` on, and its serialized form is made when it is asked for.
    """

    hash: XetHash
    tag: str
    size: int
    unpacked: int
    chunks: bytes
    plain_sha256: Sha256 | None = None
    plain_offset: int = 0


@dataclass(frozen=True, slots=True)
class XetFile:
    """A file whose content was seen to have this sha256; `terms` are packed (`formats.terms.Terms`)."""

    hash: XetHash
    sha256: Sha256
    size: int
    terms: bytes


# xorbs

_XORB = "hash, tag, size, unpacked, chunks, plain_sha256, plain_offset"


async def insert_xorb(tx: Tx, xorb: Xorb) -> bool:
    """False where one of that name is there already, which then stays: its file and its offsets go together."""
    added = await tx.run(
        f"INSERT INTO xorbs ({_XORB}, created_at, offered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT (hash) DO NOTHING",
        xorb.hash, xorb.tag, xorb.size, xorb.unpacked, xorb.chunks, xorb.plain_sha256, xorb.plain_offset,
        tx.now, tx.now if xorb.plain_sha256 is None else 0,
    )  # fmt: skip
    return added == 1


async def replace_xorb(tx: Tx, xorb: Xorb) -> None:
    """The same xorb, in another place and form: what its row said is not there any more."""
    await tx.run(
        "UPDATE xorbs SET tag = ?, size = ?, unpacked = ?, chunks = ?, plain_sha256 = ?, plain_offset = ?,"
        " offered_at = ? WHERE hash = ?",
        xorb.tag, xorb.size, xorb.unpacked, xorb.chunks, xorb.plain_sha256, xorb.plain_offset, tx.now, xorb.hash,
    )  # fmt: skip


async def find_xorb(reader: Reader, hash_: XetHash) -> Xorb | None:
    row = await reader.one(f"SELECT {_XORB} FROM xorbs WHERE hash = ?", hash_)  # noqa: S608 our own columns
    return Xorb(*row) if row else None


async def tag_of_xorb(reader: Reader, hash_: XetHash) -> str | None:
    """None where there is no such xorb."""
    row = await reader.one("SELECT tag FROM xorbs WHERE hash = ?", hash_)
    return row[0] if row else None


async def stale_offers(reader: Reader, hashes: Sequence[XetHash], now: Millis) -> list[XetHash]:
    """Of these xorbs those that were last offered a day ago or more."""
    found: list[XetHash] = []
    for start in range(0, len(hashes), _BATCH):
        part = hashes[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT hash FROM xorbs WHERE hash IN ({marks(len(part))}) AND offered_at < ?",  # noqa: S608
            *part, now - _DAY,
        )  # fmt: skip
        found += [row[0] for row in rows]
    return found


async def offer(tx: Tx, hashes: Iterable[XetHash]) -> set[XetHash]:
    """
    Clients are told of these xorbs from now on: whoever collects must leave them for long enough (XET 11). Those that
    are here; of one that was collected a moment ago nobody may be told.
    """
    sql = "UPDATE xorbs SET offered_at = ? WHERE hash = ?"
    return {hash_ for hash_ in hashes if await tx.run(sql, tx.now, hash_)}


async def count_xorbs(reader: Reader, hashes: Sequence[XetHash]) -> int:
    """How many of these, all different, there are."""
    found = 0
    for start in range(0, len(hashes), _BATCH):
        part = hashes[start : start + _BATCH]
        row = await reader.one(f"SELECT COUNT(*) FROM xorbs WHERE hash IN ({marks(len(part))})", *part)  # noqa: S608
        found += int(row[0]) if row else 0
    return found


# files

_FILE = "hash, sha256, size, terms"


async def insert_file(tx: Tx, file: XetFile, xorbs: Sequence[tuple[XetHash, int]]) -> bool:
    """
    A file and the xorbs that it is made of, each with the number of its first term. False where it is there already.
    """
    added = await tx.run(
        f"INSERT INTO xet_files ({_FILE}, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",  # noqa: S608
        file.hash, file.sha256, file.size, file.terms, tx.now,
    )  # fmt: skip
    if added:
        rows: list[Row] = [(file.hash, xorb, place) for xorb, place in xorbs]
        await tx.many("INSERT INTO xorb_uses (file, xorb, place) VALUES (?, ?, ?)", rows)
    return added == 1


async def find_file(reader: Reader, hash_: XetHash) -> XetFile | None:
    row = await reader.one(f"SELECT {_FILE} FROM xet_files WHERE hash = ?", hash_)  # noqa: S608 our own columns
    return XetFile(*row) if row else None


async def known_files(reader: Reader, hashes: Sequence[XetHash]) -> dict[XetHash, tuple[Sha256, int]]:
    """Of these files those that are here: sha256 and size."""
    found: dict[XetHash, tuple[Sha256, int]] = {}
    for start in range(0, len(hashes), _BATCH):
        part = hashes[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT hash, sha256, size FROM xet_files WHERE hash IN ({marks(len(part))})",  # noqa: S608
            *part,
        )
        found.update({row[0]: (row[1], row[2]) for row in rows})
    return found


async def hashes(reader: Reader, digests: Sequence[Sha256]) -> dict[Sha256, XetHash]:
    """
    By which Xet hash content of these sha256 is offered: of several that it came by, always the same, the first.
    """
    found: dict[Sha256, XetHash] = {}
    for start in range(0, len(digests), _BATCH):
        part = digests[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT sha256, hash FROM xet_files WHERE sha256 IN ({marks(len(part))})"  # noqa: S608
            " ORDER BY created_at DESC, hash DESC",
            *part,
        )
        found.update(dict(rows))
    return found


# chunks by name, and the xorbs that lie near one


async def add_chunks(tx: Tx, rows: Sequence[tuple[XetHash, XetHash]]) -> None:
    """(chunk, xorb that has it) each. A chunk that is known already keeps its xorb."""
    await tx.many(
        "INSERT INTO xet_chunks (hash, xorb) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING", list(rows)
    )


async def xorb_of_chunk(reader: Reader, chunk: XetHash) -> XetHash | None:
    row = await reader.one("SELECT xorb FROM xet_chunks WHERE hash = ?", chunk)
    return row[0] if row else None


async def neighbours(db: Database, xorb: XetHash, limit: int) -> list[XetHash]:
    """
    Up to `limit` other xorbs of files that use this one, those first that come soon after it: whoever sends something
    like such a file will need them next (XET 7).
    """
    rows = await db.scan(
        "SELECT near.xorb FROM (SELECT file, place FROM xorb_uses WHERE xorb = ? ORDER BY file LIMIT ?) AS here"
        " JOIN xorb_uses AS near ON near.file = here.file WHERE near.xorb <> ?"
        " GROUP BY near.xorb ORDER BY MIN(CASE WHEN near.place > here.place THEN near.place - here.place"
        " ELSE 1000000000 + here.place - near.place END) LIMIT ?",
        xorb, _MOST_FILES, xorb, limit,
    )  # fmt: skip
    return [row[0] for row in rows]
