"""
Rows for the collector: everything that refers to something, to be judged at leisure; and for each kind of thing its
removal, which looks once more, in its transaction, whether something has come to refer to it.

That second look is why nothing else has to wait for the collector. It relies on three things that writers do:

- who refers to an object or to a file of git's notes it as seen in the same transaction (`objects.put_objects`,
  `put_files`, `keep_files`), unless a commit of the same repo, or of the one it is copied from, refers to it already;
- who tells a client of a xorb notes it as offered first (`xet.offer`), and who makes a file of xorbs looks in that
  transaction whether they are there;
- who refers to a blob that no row names has published it a moment before (`local.withdraw`).
"""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.model import CommitId, Millis, Oid, Sha256, XetHash
from hubreg.store.db import Database, Tx
from hubreg.store.objects import File

# what there is


@dataclass(frozen=True, slots=True)
class Holding:
    """A large file that a repo holds."""

    repo_id: int
    sha256: Sha256
    size: int


async def holdings(db: Database) -> list[tuple[Holding, Millis]]:
    """All, and since when."""
    rows = await db.scan("SELECT repo_id, sha256, size, created_at FROM lfs_objects")
    return [(Holding(*row[:3]), row[3]) for row in rows]


async def mirrored(db: Database) -> set[int]:
    """Repos that are an upstream's. They hold what the mirror keeps, whether a listing names it yet or not."""
    return {row[0] for row in await db.scan("SELECT id FROM repos WHERE upstream_id IS NOT NULL")}


async def fetched(db: Database) -> set[Sha256]:
    """What the mirror keeps (`mirror.drop_blob`)."""
    return {row[0] for row in await db.scan("SELECT sha256 FROM mirror_blobs")}


async def trees(db: Database) -> dict[int, set[Oid]]:
    """The root trees of all commits, by repo."""
    found: dict[int, set[Oid]] = {}
    for repo_id, tree in await db.scan("SELECT repo_id, tree FROM commits"):
        found.setdefault(repo_id, set()).add(tree)
    return found


async def commits(db: Database) -> set[CommitId]:
    return {row[0] for row in await db.scan("SELECT DISTINCT id FROM commits")}


async def tags(db: Database) -> set[Oid]:
    """Annotated ones, by their own oids."""
    return {row[0] for row in await db.scan("SELECT DISTINCT tag FROM refs WHERE tag IS NOT NULL")}


async def objects(db: Database, before: Millis) -> list[tuple[str, int]]:
    """Those last seen before then, and their sizes."""
    rows = await db.scan("SELECT oid, LENGTH(data) FROM objects WHERE seen_at < ?", before)
    return [(row[0], row[1]) for row in rows]


async def files(db: Database) -> list[tuple[File, Millis]]:
    """All, and when each was last seen."""
    rows = await db.scan("SELECT oid, sha256, size, lfs, pointer_size, seen_at FROM files")
    return [(File(row[0], row[1], row[2], bool(row[3]), row[4]), row[5]) for row in rows]


async def lists(db: Database) -> list[tuple[int, CommitId, str]]:
    """Those of last commits that were written ahead of a commit that never was: repo, commit, path."""
    rows = await db.scan(
        "SELECT repo_id, commit_id, path FROM last_commits"
        " WHERE NOT EXISTS (SELECT 1 FROM objects WHERE oid = commit_id)"
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def xet_files(db: Database) -> list[tuple[XetHash, Sha256]]:
    return [(row[0], row[1]) for row in await db.scan("SELECT hash, sha256 FROM xet_files")]


async def uses(db: Database) -> list[tuple[XetHash, XetHash]]:
    """(file, xorb) each."""
    return [(row[0], row[1]) for row in await db.scan("SELECT file, xorb FROM xorb_uses")]


@dataclass(frozen=True, slots=True)
class Stored:
    """A xorb: bytes of its file, which is named by `tag`; or the blob that a virtual one is part of."""

    hash: XetHash
    tag: str
    size: int
    plain_sha256: Sha256 | None
    offered_at: Millis


async def xorbs(db: Database) -> list[Stored]:
    rows = await db.scan("SELECT hash, tag, size, plain_sha256, offered_at FROM xorbs")
    return [Stored(*row) for row in rows]


async def unindexed(db: Database) -> set[Sha256]:
    """Blobs over which there may be virtual xorbs that no file uses yet."""
    return {row[0] for row in await db.scan("SELECT sha256 FROM unindexed")}


# removing it: True, or how many, where nothing had come to refer to it


async def remove_holding(tx: Tx, holding: Holding, before: Millis, seen_before: Millis) -> bool:
    """
    A large file that a repo has held since before then and no commit names, unless one was made since, or the mirror
    has fetched it again for its repo.
    """
    removed = await tx.run(
        "DELETE FROM lfs_objects WHERE repo_id = ? AND sha256 = ? AND created_at < ? AND NOT EXISTS"
        " (SELECT 1 FROM files WHERE files.sha256 = lfs_objects.sha256 AND lfs = 1 AND seen_at >= ?)"
        " AND NOT EXISTS (SELECT 1 FROM repos JOIN mirror_blobs ON mirror_blobs.sha256 = lfs_objects.sha256"
        " WHERE repos.id = lfs_objects.repo_id AND upstream_id IS NOT NULL)",
        holding.repo_id, holding.sha256, before, seen_before,
    )  # fmt: skip
    if removed:
        await tx.run("UPDATE repos SET recount = recount + 1 WHERE id = ?", holding.repo_id)
        await tx.run(
            "DELETE FROM unindexed WHERE sha256 = ? AND NOT EXISTS (SELECT 1 FROM lfs_objects WHERE sha256 = ?)",
            holding.sha256, holding.sha256,
        )  # fmt: skip
    return bool(removed)


async def remove_xet_file(tx: Tx, hash_: XetHash) -> bool:
    """A file as terms, whose content no repo holds."""
    sql = (
        "SELECT 1 FROM xet_files WHERE hash = ? AND sha256 NOT IN"
        " (SELECT sha256 FROM lfs_objects WHERE lfs_objects.sha256 = xet_files.sha256)"
    )
    if await tx.one(sql, hash_) is None:
        return False
    await tx.run("DELETE FROM xorb_uses WHERE file = ?", hash_)
    await tx.run("DELETE FROM xet_files WHERE hash = ?", hash_)
    return True


async def remove_xorb(tx: Tx, stored: Stored, before: Millis) -> bool:
    """One that no file uses, and that no client was told of since then."""
    sql = (
        "SELECT 1 FROM xorbs WHERE hash = ? AND tag = ? AND offered_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM xorb_uses WHERE xorb = xorbs.hash)"
        " AND NOT EXISTS (SELECT 1 FROM unindexed WHERE sha256 = xorbs.plain_sha256)"
    )
    if await tx.one(sql, stored.hash, stored.tag, before) is None:
        return False
    await tx.run("DELETE FROM xet_chunks WHERE xorb = ?", stored.hash)
    await tx.run("DELETE FROM xorbs WHERE hash = ?", stored.hash)
    return True


async def remove_object(tx: Tx, oid: str, before: Millis) -> bool:
    """An object that no commit leads to, unless it was seen since then."""
    return bool(await tx.run("DELETE FROM objects WHERE oid = ? AND seen_at < ?", oid, before))


async def remove_file(tx: Tx, oid: Oid, before: Millis) -> bool:
    """What an oid stands for that no commit leads to, unless it was seen since then."""
    return bool(await tx.run("DELETE FROM files WHERE oid = ? AND seen_at < ?", oid, before))


async def remove_list(tx: Tx, list_: tuple[int, CommitId, str]) -> bool:
    """One of those of `lists`."""
    removed = await tx.run(
        "DELETE FROM last_commits WHERE repo_id = ? AND commit_id = ? AND path = ?"
        " AND NOT EXISTS (SELECT 1 FROM objects WHERE oid = commit_id)",
        *list_,
    )
    return bool(removed)


async def is_referred_to(tx: Tx, sha256: Sha256) -> bool:
    """Whether any row needs this blob."""
    sql = (
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM files WHERE sha256 = ?)"
        " OR EXISTS (SELECT 1 FROM lfs_objects WHERE sha256 = ?)"
        " OR EXISTS (SELECT 1 FROM xorbs WHERE plain_sha256 = ?)"
        " OR EXISTS (SELECT 1 FROM mirror_blobs WHERE sha256 = ?)"
    )
    return await tx.one(sql, sha256, sha256, sha256, sha256) is not None
