"""Rows of contents that came from upstreams, to be taken away again: which may go, and what goes with one."""

from __future__ import annotations

from hubreg.model import Millis, Sha256
from hubreg.store import mirror
from hubreg.store.db import Database, Reader, Tx

# Not what a hosted repo has; not what a Xet client was told of lately, and may build an upload on (XET 11); and not
# what another file's chunks are taken from.
_MAY_GO = (
    " used_at < ? AND NOT EXISTS (SELECT 1 FROM files WHERE files.sha256 = mirror_blobs.sha256)"
    " AND NOT EXISTS (SELECT 1 FROM lfs_objects JOIN repos ON repos.id = repo_id"
    " WHERE lfs_objects.sha256 = mirror_blobs.sha256 AND upstream_id IS NULL)"
    " AND NOT EXISTS (SELECT 1 FROM xorbs WHERE plain_sha256 = mirror_blobs.sha256 AND (offered_at >= ?"
    " OR EXISTS (SELECT 1 FROM xorb_uses JOIN xet_files ON xet_files.hash = file"
    " WHERE xorb = xorbs.hash AND xet_files.sha256 <> mirror_blobs.sha256)))"
)


async def size(reader: Reader) -> int:
    """Bytes that are kept for the mirror."""
    row = await reader.one("SELECT COALESCE(SUM(size), 0) FROM mirror_blobs")
    return int(row[0]) if row else 0


async def candidates(db: Database, used: Millis, offered: Millis) -> list[tuple[Sha256, int]]:
    """
    What may go, with its size, what was not used for the longest first: nothing that was used since `used`, or that a
    Xet client was told of since `offered`. What is pinned is among it.
    """
    return await db.scan(
        f"SELECT sha256, size FROM mirror_blobs WHERE {_MAY_GO} ORDER BY used_at, hits, sha256",  # noqa: S608
        used, offered,
    )  # fmt: skip


async def evict(tx: Tx, sha256: Sha256, used: Millis, offered: Millis) -> bool:
    """Forget a content, if it still may go: then nothing refers to its blob any more."""
    sql = f"SELECT size FROM mirror_blobs WHERE sha256 = ? AND {_MAY_GO}"  # noqa: S608
    row = await tx.one(sql, sha256, used, offered)
    if row is None:
        return False
    await tx.run(
        "DELETE FROM xet_chunks WHERE xorb IN (SELECT hash FROM xorbs WHERE plain_sha256 = ?)", sha256
    )
    await tx.run("DELETE FROM xorb_uses WHERE file IN (SELECT hash FROM xet_files WHERE sha256 = ?)", sha256)
    await tx.run("DELETE FROM xet_files WHERE sha256 = ?", sha256)
    await tx.run("DELETE FROM xorbs WHERE plain_sha256 = ?", sha256)
    await tx.run("DELETE FROM unindexed WHERE sha256 = ?", sha256)
    await tx.run(
        "UPDATE repos SET recount = recount + 1 WHERE id IN (SELECT repo_id FROM lfs_objects WHERE sha256 = ?)",
        sha256,
    )
    await tx.run("DELETE FROM lfs_objects WHERE sha256 = ?", sha256)
    await mirror.drop_blob(tx, sha256)
    await mirror.count(tx, evicted=1, freed=row[0])
    return True
