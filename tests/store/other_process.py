"""
Another process that writes to the same database: `other_process.py DATABASE ROUNDS TASKS`.

Each of TASKS tasks adds 1 to the counter ROUNDS times by reading it and writing it back.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hubreg.model import Millis
from hubreg.store.db import Database


async def count(db: Database, rounds: int) -> None:
    for _ in range(rounds):
        async with db.write() as tx:
            row = await tx.one("SELECT data FROM objects WHERE oid = 'counter'")
            assert row is not None
            await tx.run("UPDATE objects SET data = ? WHERE oid = 'counter'", b"%d" % (int(row[0]) + 1))


async def main(path: str, rounds: str, tasks: str) -> None:
    db = Database(Path(path), lambda: Millis(0))
    await db.open()
    await asyncio.gather(*(count(db, int(rounds)) for _ in range(int(tasks))))
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
