"""Rows of git: trees and commits by oid, commits by repo, what a blob's oid stands for, and last commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hubreg.model import CommitId, Millis, Oid, Sha256
from hubreg.store.db import Reader, Row, Tx, marks

# SQLite takes 32 766 values in one statement; a page of a tree is 1 000.
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class File:
    """What the oid of a tree entry stands for. `lfs`: git holds a pointer of `pointer_size` bytes."""

    oid: Oid
    sha256: Sha256
    size: int
    lfs: bool
    pointer_size: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of one repo, in the parts that lists show. `depth` counts it and its ancestors."""

    id: CommitId
    tree: Oid
    parent: CommitId | None
    depth: int
    title: str
    message: str
    author: str
    at: Millis


async def find_object(reader: Reader, oid: str) -> tuple[str, bytes] | None:
    row = await reader.one("SELECT kind, data FROM objects WHERE oid = ?", oid)
    return (row[0], row[1]) if row else None


async def put_objects(tx: Tx, objects: Iterable[tuple[str, str, bytes]]) -> None:
    """(oid, kind, data) each. Writing one twice is harmless: the oid names the content."""
    rows: list[Row] = list(objects)
    await tx.many("INSERT INTO objects (oid, kind, data) VALUES (?, ?, ?) ON CONFLICT (oid) DO NOTHING", rows)


async def put_files(tx: Tx, files: Iterable[File]) -> None:
    rows: list[Row] = [(f.oid, f.sha256, f.size, int(f.lfs), f.pointer_size) for f in files]
    await tx.many(
        "INSERT INTO files (oid, sha256, size, lfs, pointer_size) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (oid) DO NOTHING",
        rows,
    )


async def files(reader: Reader, oids: Sequence[str]) -> dict[str, File]:
    found: dict[str, File] = {}
    for start in range(0, len(oids), _BATCH):
        part = oids[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT oid, sha256, size, lfs, pointer_size FROM files WHERE oid IN ({marks(len(part))})",  # noqa: S608
            *part,
        )
        for oid, sha256, size, lfs, pointer_size in rows:
            found[oid] = File(oid, sha256, size, bool(lfs), pointer_size)
    return found


_COMMIT = "id, tree, parent, depth, title, message, author, at"


async def insert_commit(tx: Tx, repo_id: int, commit: Commit) -> None:
    await tx.run(
        f"INSERT INTO commits (repo_id, {_COMMIT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 our own columns
        " ON CONFLICT (repo_id, id) DO NOTHING",
        repo_id, commit.id, commit.tree, commit.parent, commit.depth, commit.title, commit.message,
        commit.author, commit.at,
    )  # fmt: skip


async def find_commit(reader: Reader, repo_id: int, id_: str) -> Commit | None:
    row = await reader.one(f"SELECT {_COMMIT} FROM commits WHERE repo_id = ? AND id = ?", repo_id, id_)  # noqa: S608
    return Commit(*row) if row else None


async def commits(reader: Reader, repo_id: int, ids: Sequence[str]) -> dict[str, Commit]:
    found: dict[str, Commit] = {}
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT {_COMMIT} FROM commits WHERE repo_id = ? AND id IN ({marks(len(part))})",  # noqa: S608
            repo_id, *part,
        )  # fmt: skip
        found.update((row[0], Commit(*row)) for row in rows)
    return found


async def by_prefix(reader: Reader, repo_id: int, prefix: str) -> list[CommitId]:
    """Up to two commits whose id begins with `prefix`: one is an answer, two are an ambiguity."""
    rows = await reader.all(
        "SELECT id FROM commits WHERE repo_id = ? AND id >= ? AND id < ? ORDER BY id LIMIT 2",
        repo_id, prefix, prefix + "g",
    )  # fmt: skip
    return [row[0] for row in rows]


async def history(reader: Reader, repo_id: int, start: CommitId, skip: int, limit: int) -> list[Commit]:
    """The commits from `start` towards the root, newest first."""
    columns = ", ".join(f"commits.{name}" for name in _COMMIT.split(", "))
    rows = await reader.all(
        f"WITH RECURSIVE line ({_COMMIT}) AS ("  # noqa: S608 our own columns
        f" SELECT {_COMMIT} FROM commits WHERE repo_id = ? AND id = ?"
        f" UNION ALL SELECT {columns} FROM commits JOIN line ON commits.repo_id = ? AND commits.id = line.parent)"
        f" SELECT {_COMMIT} FROM line ORDER BY depth DESC LIMIT ? OFFSET ?",
        repo_id, start, repo_id, limit, skip,
    )  # fmt: skip
    return [Commit(*row) for row in rows]


async def is_ancestor(reader: Reader, repo_id: int, ancestor: CommitId, of: CommitId) -> bool:
    row = await reader.one(
        "WITH RECURSIVE line (id, parent) AS ("
        " SELECT id, parent FROM commits WHERE repo_id = ? AND id = ?"
        " UNION ALL SELECT commits.id, commits.parent FROM commits"
        " JOIN line ON commits.repo_id = ? AND commits.id = line.parent)"
        " SELECT 1 FROM line WHERE id = ?",
        repo_id, of, repo_id, ancestor,
    )  # fmt: skip
    return row is not None


async def copy_history(tx: Tx, source_id: int, target_id: int) -> None:
    """Every commit of one repo, and what is kept with them, for another: a duplicate, or the other end of a copy."""
    await tx.run(
        f"INSERT INTO commits (repo_id, {_COMMIT})"  # noqa: S608 our own columns
        f" SELECT ?, {_COMMIT} FROM commits WHERE repo_id = ?",
        target_id, source_id,
    )  # fmt: skip
    await tx.run(
        "INSERT INTO last_commits (repo_id, commit_id, path, data)"
        " SELECT ?, commit_id, path, data FROM last_commits WHERE repo_id = ?",
        target_id, source_id,
    )  # fmt: skip
    await tx.run(
        "INSERT INTO lfs_objects (repo_id, sha256, size, created_at)"
        " SELECT ?, sha256, size, created_at FROM lfs_objects WHERE repo_id = ?",
        target_id, source_id,
    )  # fmt: skip


async def put_last_commits(
    tx: Tx, repo_id: int, commit_id: CommitId, folders: Iterable[tuple[str, bytes]]
) -> None:
    rows: list[Row] = [(repo_id, commit_id, path, data) for path, data in folders]
    await tx.many(
        "INSERT INTO last_commits (repo_id, commit_id, path, data) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, commit_id, path) DO NOTHING",
        rows,
    )


async def last_commits(reader: Reader, repo_id: int, commit_id: CommitId, path: str) -> bytes | None:
    row = await reader.one(
        "SELECT data FROM last_commits WHERE repo_id = ? AND commit_id = ? AND path = ?",
        repo_id, commit_id, path,
    )  # fmt: skip
    return row[0] if row else None


# large files: which repo holds which


async def has_large(reader: Reader, repo_id: int, digests: Sequence[str]) -> dict[Sha256, int]:
    """Of these sha256 those that the repo holds, with their sizes."""
    found: dict[Sha256, int] = {}
    for start in range(0, len(digests), _BATCH):
        part = digests[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT sha256, size FROM lfs_objects WHERE repo_id = ? AND sha256 IN ({marks(len(part))})",  # noqa: S608
            repo_id, *part,
        )  # fmt: skip
        found.update(dict(rows))
    return found


async def add_large(tx: Tx, repo_id: int, sha256: Sha256, size: int) -> None:
    added = await tx.run(
        "INSERT INTO lfs_objects (repo_id, sha256, size, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, sha256) DO NOTHING",
        repo_id, sha256, size, tx.now,
    )  # fmt: skip
    if added:
        await tx.run("UPDATE repos SET storage = storage + ? WHERE id = ?", size, repo_id)
