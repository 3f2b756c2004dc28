"""Rows of git: trees and commits by oid, commits by repo, what a blob's oid stands for, and last commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hubreg.errors import Conflict
from hubreg.formats.gitobjects import COMMIT_HEAD
from hubreg.model import CommitId, Millis, Oid, Sha256
from hubreg.store import upkeep
from hubreg.store.db import Database, Reader, Row, Tx, marks

# SQLite takes 32 766 values in one statement; a page of a tree is 1 000.
_BATCH = 1000
_DAY = 24 * 3600 * 1000  # milliseconds


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


@dataclass(frozen=True, slots=True)
class Large:
    """A large file that a repo holds, and when it was last sent, to the day."""

    sha256: Sha256
    size: int
    created_at: Millis


async def find_object(reader: Reader, oid: str) -> tuple[str, bytes] | None:
    row = await reader.one("SELECT kind, data FROM objects WHERE oid = ?", oid)
    return (row[0], row[1]) if row else None


async def contents(db: Database, oids: Sequence[str]) -> dict[str, bytes]:
    """Those of the objects that are here, by oid. Many or large ones at once are for the caller not to ask for."""
    sql = f"SELECT oid, data FROM objects WHERE oid IN ({marks(len(oids))})"  # noqa: S608
    return dict(await db.scan(sql, *oids))


async def known(db: Database, oids: Sequence[Oid]) -> set[Oid]:
    """Those of the oids that mean a tree or a file to whichever repo."""
    found: set[Oid] = set()
    for start in range(0, len(oids), _BATCH):
        part = oids[start : start + _BATCH]
        asked = marks(len(part))
        rows = await db.scan(
            f"SELECT oid FROM objects WHERE oid IN ({asked}) AND kind = 'tree'"  # noqa: S608
            f" UNION ALL SELECT oid FROM files WHERE oid IN ({asked})",
            *part, *part,
        )  # fmt: skip
        found.update(row[0] for row in rows)
    return found


async def put_objects(tx: Tx, objects: Iterable[tuple[str, str, bytes]]) -> None:
    """
    (oid, kind, data) each. Writing one twice is harmless: the oid names the content.

    One that is here already is noted as seen, to the day: whoever collects must leave it (`store.garbage`).
    """
    rows: list[Row] = [(*row, tx.now) for row in objects]
    await tx.many(
        "INSERT INTO objects (oid, kind, data, seen_at) VALUES (?, ?, ?, ?) ON CONFLICT (oid) DO UPDATE"  # noqa: S608
        f" SET seen_at = excluded.seen_at WHERE objects.seen_at < excluded.seen_at - {_DAY}",
        rows,
    )


async def put_files(tx: Tx, put: Iterable[File]) -> None:
    """
    Likewise. Raises `Conflict` where one of them is here as something else: git's SHA-1 can be made to name two
    contents, and what an oid stands for is the same in every repo.
    """
    put = list(put)
    known = await files(tx, [file.oid for file in put])
    require_same(put, known)
    rows: list[Row] = [(f.oid, f.sha256, f.size, int(f.lfs), f.pointer_size, tx.now) for f in put]
    await tx.many(
        "INSERT INTO files (oid, sha256, size, lfs, pointer_size, seen_at) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT (oid) DO UPDATE SET seen_at = excluded.seen_at"
        f" WHERE files.seen_at < excluded.seen_at - {_DAY}",
        rows,
    )


def require_same(put: Iterable[File], known: Mapping[str, File]) -> None:
    """Raise `Conflict` for a file whose oid is known as that of another content."""
    for file in put:
        same = known.get(file.oid, file)
        if (same.sha256, same.lfs) != (file.sha256, file.lfs):
            raise Conflict(
                f"The oid {file.oid} stands for other content here: its SHA-1 collides with another's."
            )


async def keep_files(tx: Tx, oids: Sequence[str]) -> list[str]:
    """
    Note files that are here as seen, in the transaction that comes to refer to them; those that are not here any more
    come back.
    """
    known = await files(tx, oids)
    await tx.many(
        "UPDATE files SET seen_at = ? WHERE oid = ? AND seen_at < ?",
        [(tx.now, oid, tx.now - _DAY) for oid in known],
    )
    return [oid for oid in oids if oid not in known]


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


async def insert_commits(tx: Tx, repo_id: int, made: Sequence[Commit]) -> None:
    rows: list[Row] = [
        (repo_id, c.id, c.tree, c.parent, c.depth, c.title, c.message, c.author, c.at) for c in made
    ]
    await tx.many(
        f"INSERT INTO commits (repo_id, {_COMMIT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 our own columns
        " ON CONFLICT (repo_id, id) DO NOTHING",
        rows,
    )


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


async def every_commit(db: Database, repo_id: int) -> list[tuple[CommitId, bytes]]:
    """
    All commits of a repo, also those that no ref leads to any more, each as git begins it: tree, parents, author and
    committer are there, the message may be cut.
    """
    rows = await db.scan(
        "SELECT commits.id, substr(objects.data, 1, ?) FROM commits JOIN objects ON objects.oid = commits.id"
        " WHERE commits.repo_id = ?",
        COMMIT_HEAD, repo_id,
    )  # fmt: skip
    return [(id_, data) for id_, data in rows]


async def by_prefix(reader: Reader, repo_id: int, prefix: str) -> list[CommitId]:
    """Up to two commits whose id begins with `prefix`: one is an answer, two are an ambiguity."""
    rows = await reader.all(
        "SELECT id FROM commits WHERE repo_id = ? AND id >= ? AND id < ? ORDER BY id LIMIT 2",
        repo_id, prefix, prefix + "g",
    )  # fmt: skip
    return [row[0] for row in rows]


async def history(db: Database, repo_id: int, start: CommitId, skip: int, limit: int) -> list[Commit]:
    """The commits from `start` towards the root along first parents, newest first."""
    newest = await find_commit(db, repo_id, start)
    if newest is None:
        return []
    # Depth falls by one with each step, so it says where the page begins and lets the walk end with it.
    first = newest.depth - skip
    columns = ", ".join(f"commits.{name}" for name in _COMMIT.split(", "))
    rows = await db.scan(
        "WITH RECURSIVE line (id, parent, depth) AS ("  # noqa: S608 our own columns
        " SELECT id, parent, depth FROM commits WHERE repo_id = ? AND id = ?"
        " UNION ALL SELECT commits.id, commits.parent, commits.depth FROM commits"
        " JOIN line ON commits.repo_id = ? AND commits.id = line.parent WHERE line.depth > ?)"
        f" SELECT {columns} FROM line JOIN commits ON commits.repo_id = ? AND commits.id = line.id"
        " WHERE line.depth <= ? ORDER BY line.depth DESC LIMIT ?",
        repo_id, start, repo_id, first - limit + 1, repo_id, first, limit,
    )  # fmt: skip
    return [Commit(*row) for row in rows]


async def is_ancestor(db: Database, repo_id: int, ancestor: CommitId, of: CommitId) -> bool:
    """Whether a commit is on the line of first parents that leads from `of` to the root."""
    rows = await db.scan(
        "WITH RECURSIVE line (id, parent) AS ("
        " SELECT id, parent FROM commits WHERE repo_id = ? AND id = ?"
        " UNION ALL SELECT commits.id, commits.parent FROM commits"
        " JOIN line ON commits.repo_id = ? AND commits.id = line.parent)"
        " SELECT 1 FROM line WHERE id = ?",
        repo_id, of, repo_id, ancestor,
    )  # fmt: skip
    return bool(rows)


async def copy_history(tx: Tx, source_id: int, target_id: int, ids: Sequence[CommitId]) -> None:
    """These commits of one repo, and what is kept with them, for a duplicate; and the right to all its large files."""
    copied: list[Row] = [(target_id, source_id, id_) for id_ in ids]
    await tx.many(
        f"INSERT INTO commits (repo_id, {_COMMIT})"  # noqa: S608 our own columns
        f" SELECT ?, {_COMMIT} FROM commits WHERE repo_id = ? AND id = ?",
        copied,
    )
    await tx.many(
        "INSERT INTO last_commits (repo_id, commit_id, path, data)"
        " SELECT ?, commit_id, path, data FROM last_commits WHERE repo_id = ? AND commit_id = ?",
        copied,
    )
    await tx.run(
        "INSERT INTO lfs_objects (repo_id, sha256, size, created_at, proposed)"
        " SELECT ?, sha256, size, created_at, proposed FROM lfs_objects WHERE repo_id = ?",
        target_id, source_id,
    )  # fmt: skip


async def put_last_commits(tx: Tx, repo_id: int, folders: Iterable[tuple[CommitId, str, bytes]]) -> None:
    """(commit, path, list) each."""
    rows: list[Row] = [(repo_id, commit, path, data) for commit, path, data in folders]
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


async def large(reader: Reader, repo_id: int, after: str, limit: int) -> list[Large]:
    """Those that the repo holds, by sha256, from behind `after`."""
    rows = await reader.all(
        "SELECT sha256, size, created_at FROM lfs_objects WHERE repo_id = ? AND sha256 > ? ORDER BY sha256 LIMIT ?",
        repo_id, after, limit,
    )  # fmt: skip
    return [Large(*row) for row in rows]


async def add_large(tx: Tx, repo_id: int, sha256: Sha256, size: int, *, proposed: bool = False) -> None:
    """The repo holds this file. One that is `proposed` does not count in its size until `accept_large`."""
    added = await tx.run(
        "INSERT INTO lfs_objects (repo_id, sha256, size, created_at, proposed) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (repo_id, sha256) DO NOTHING",
        repo_id, sha256, size, tx.now, int(proposed),
    )  # fmt: skip
    if added:
        await upkeep.add_unindexed(tx, sha256, size)
        if not proposed:
            await _count(tx, repo_id, size)


async def stale_large(reader: Reader, repo_id: int, digests: Sequence[Sha256], now: Millis) -> list[Sha256]:
    """Of these files those that the repo holds, and has held for a day or more since they were last sent."""
    found: list[Sha256] = []
    for start in range(0, len(digests), _BATCH):
        part = digests[start : start + _BATCH]
        rows = await reader.all(
            f"SELECT sha256 FROM lfs_objects WHERE repo_id = ? AND sha256 IN ({marks(len(part))})"  # noqa: S608
            " AND created_at < ?",
            repo_id, *part, now - _DAY,
        )  # fmt: skip
        found += [row[0] for row in rows]
    return found


async def renew_large(tx: Tx, repo_id: int, digests: Iterable[Sha256]) -> None:
    """These are sent once more: whoever collects leaves them as long as if they had come now."""
    await tx.many(
        "UPDATE lfs_objects SET created_at = ? WHERE repo_id = ? AND sha256 = ? AND created_at < ?",
        [(tx.now, repo_id, sha256, tx.now - _DAY) for sha256 in digests],
    )


async def accept_large(tx: Tx, repo_id: int, digests: Sequence[Sha256]) -> None:
    """Those of the files that were proposed are the repo's own from now on."""
    for start in range(0, len(digests), _BATCH):
        part = digests[start : start + _BATCH]
        rows = await tx.all(
            f"SELECT sha256, size FROM lfs_objects WHERE repo_id = ? AND proposed = 1"  # noqa: S608
            f" AND sha256 IN ({marks(len(part))})",
            repo_id, *part,
        )  # fmt: skip
        for sha256, size in rows:
            await tx.run(
                "UPDATE lfs_objects SET proposed = 0 WHERE repo_id = ? AND sha256 = ?", repo_id, sha256
            )
            await _count(tx, repo_id, size)


async def _count(tx: Tx, repo_id: int, size: int) -> None:
    """In full, until it is counted what it shares with the repo's other files."""
    await tx.run("UPDATE repos SET storage = storage + ?, recount = recount + 1 WHERE id = ?", size, repo_id)
