"""Rows of multipart uploads under way."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.model import Millis, Sha256
from hubreg.store.db import Reader, Tx


@dataclass(frozen=True, slots=True)
class Multipart:
    """An upload in parts of `part_size` bytes; the last one is shorter."""

    id: str
    repo_id: int
    user_id: int
    sha256: Sha256
    size: int
    part_size: int
    created_at: Millis


_COLUMNS = "id, repo_id, user_id, sha256, size, part_size, created_at"


async def insert(
    tx: Tx, id_: str, repo_id: int, user_id: int, sha256: Sha256, size: int, part_size: int
) -> Multipart:
    await tx.run(
        f"INSERT INTO uploads ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 our own columns
        id_, repo_id, user_id, sha256, size, part_size, tx.now,
    )  # fmt: skip
    return Multipart(id_, repo_id, user_id, sha256, size, part_size, tx.now)


async def find(reader: Reader, id_: str) -> Multipart | None:
    row = await reader.one(f"SELECT {_COLUMNS} FROM uploads WHERE id = ?", id_)  # noqa: S608 our own columns
    return Multipart(*row) if row else None


async def under_way(
    reader: Reader, repo_id: int, user_id: int, sha256: Sha256, since: Millis
) -> Multipart | None:
    """The upload of this content that the user began last, not before `since`."""
    row = await reader.one(
        f"SELECT {_COLUMNS} FROM uploads"  # noqa: S608 our own columns
        " WHERE repo_id = ? AND user_id = ? AND sha256 = ? AND created_at >= ?"
        " ORDER BY created_at DESC LIMIT 1",
        repo_id, user_id, sha256, since,
    )  # fmt: skip
    return Multipart(*row) if row else None


async def ids(reader: Reader) -> set[str]:
    """Of all that are under way, or were left."""
    return {row[0] for row in await reader.all("SELECT id FROM uploads")}


async def older_than(reader: Reader, before: Millis) -> list[Multipart]:
    rows = await reader.all(f"SELECT {_COLUMNS} FROM uploads WHERE created_at < ?", before)  # noqa: S608
    return [Multipart(*row) for row in rows]


async def put_part(tx: Tx, upload_id: str, number: int, etag: str) -> None:
    await tx.run(
        "INSERT INTO upload_parts (upload_id, number, etag) VALUES (?, ?, ?)"
        " ON CONFLICT (upload_id, number) DO UPDATE SET etag = excluded.etag",
        upload_id, number, etag,
    )  # fmt: skip


async def parts(reader: Reader, upload_id: str) -> dict[int, str]:
    rows = await reader.all("SELECT number, etag FROM upload_parts WHERE upload_id = ?", upload_id)
    return {row[0]: row[1] for row in rows}


async def delete(tx: Tx, upload_id: str) -> None:
    await tx.run("DELETE FROM upload_parts WHERE upload_id = ?", upload_id)
    await tx.run("DELETE FROM uploads WHERE id = ?", upload_id)
