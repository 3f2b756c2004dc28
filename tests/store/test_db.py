"""
What every database promises to the row modules. A new one adds one line to `DATABASES`; what is SQLite's alone is in
`test_sqlite.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hubreg.model import Millis
from hubreg.store.db import Database, Reader, migrate

pytestmark = pytest.mark.anyio

INSERT = "INSERT INTO objects (oid, kind, data) VALUES (?, ?, ?)"
OTHER_PROCESS = Path(__file__).with_name("other_process.py")


def sqlite(directory: Path) -> Database:
    migrate(directory / "rows.db")
    return Database(directory / "rows.db", lambda: Millis(1_700_000_000_000))


DATABASES: dict[str, Callable[[Path], Database]] = {
    "sqlite": sqlite,
}


@pytest.fixture(params=DATABASES)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    db = DATABASES[request.param](tmp_path)
    await db.open()
    yield db
    await db.close()


async def add(db: Database, oid: str, data: bytes = b"") -> None:
    async with db.write() as tx:
        await tx.run(INSERT, oid, "tree", data)


async def names(reader: Reader) -> list[str]:
    return [row[0] for row in await reader.all("SELECT oid FROM objects ORDER BY oid")]


async def other_process(tmp_path: Path, rounds: int, tasks: int = 1) -> asyncio.subprocess.Process:
    path = str(tmp_path / "rows.db")
    return await asyncio.create_subprocess_exec(
        sys.executable, str(OTHER_PROCESS), path, str(rounds), str(tasks)
    )


# transactions


async def test_what_was_written_is_read_by_every_way_of_reading(db: Database) -> None:
    """Once the block is left, `one`, `all` and `scan` give the same rows, with values of the same kinds."""
    await add(db, "a", b"\0\xff")
    sql = "SELECT oid, data, NULL, 1 FROM objects WHERE oid = ?"
    row = ("a", b"\0\xff", None, 1)
    assert await db.one(sql, "a") == row
    assert await db.all(sql, "a") == [row]
    assert await db.scan(sql, "a") == [row]


async def test_reading_nothing(db: Database) -> None:
    """A query without an answer is None or an empty list."""
    sql = "SELECT oid FROM objects WHERE oid = ?"
    assert await db.one(sql, "absent") is None
    assert await db.all(sql, "absent") == []
    assert await db.scan(sql, "absent") == []


async def test_a_block_that_raises_leaves_nothing(db: Database) -> None:
    """The caller's own exception comes through, and no row of the block stays."""
    with pytest.raises(LookupError, match="changed my mind"):
        async with db.write() as tx:
            await tx.run(INSERT, "a", "tree", b"")
            await tx.many(INSERT, [("b", "tree", b""), ("c", "tree", b"")])
            raise LookupError("changed my mind")
    assert await names(db) == []


async def test_a_statement_that_fails_fails_the_block(db: Database) -> None:
    """A row that breaks a constraint takes the rows before it with it, and the next write is not troubled."""
    await add(db, "taken")
    with pytest.raises(Exception, match="UNIQUE"):
        async with db.write() as tx:
            await tx.run(INSERT, "new", "tree", b"")
            await tx.run(INSERT, "taken", "tree", b"")
    await add(db, "later")
    assert await names(db) == ["later", "taken"]


async def test_a_writer_sees_what_it_has_written_and_nobody_else_does(db: Database) -> None:
    """Inside the block the rows are there, outside they are not before it is left."""
    async with db.write() as tx:
        await tx.run(INSERT, "a", "tree", b"")
        assert await names(tx) == ["a"]
        assert await tx.one("SELECT 1 FROM objects") == (1,)
        assert await names(db) == []
        assert await db.scan("SELECT 1 FROM objects") == []
    assert await names(db) == ["a"]


async def test_run_says_how_many_rows_changed(db: Database) -> None:
    """Rows that were changed count; those that were found as they should be, or not at all, do not."""
    async with db.write() as tx:
        await tx.many(INSERT, [("a", "tree", b""), ("b", "tree", b"")])
        again = INSERT + " ON CONFLICT (oid) DO NOTHING"
        assert await tx.run(again, "a", "tree", b"") == 0
        assert await tx.run(again, "c", "tree", b"") == 1
        assert await tx.run("UPDATE objects SET kind = ?", "blob") == 3
        assert await tx.run("DELETE FROM objects WHERE oid = ?", "absent") == 0


async def test_a_row_is_returned_by_the_statement_that_makes_it(db: Database) -> None:
    """`RETURNING` answers through `one`, and the row is there."""
    async with db.write() as tx:
        assert await tx.one(INSERT + " RETURNING oid", "a", "tree", b"") == ("a",)
    assert await names(db) == ["a"]


@pytest.mark.parametrize("count", [0, 1, 64, 65, 5000])
async def test_many_rows_at_once(db: Database, count: int) -> None:
    """Any number of rows arrives whole, on both sides of the size that goes to a thread."""
    async with db.write() as tx:
        await tx.many(INSERT, [(f"{n:06}", "tree", b"") for n in range(count)])
    assert await db.one("SELECT COUNT(*) FROM objects") == (count,)


async def test_all_rows_of_one_change_have_one_time(tmp_path: Path) -> None:
    """`now` is read once, when the transaction begins; the next transaction has its own."""
    migrate(tmp_path / "rows.db")
    times = iter([1000, 2000])
    db = Database(tmp_path / "rows.db", lambda: Millis(next(times)))
    await db.open()
    async with db.write() as tx:
        assert (tx.now, tx.now) == (1000, 1000)
    async with db.write() as tx:
        assert tx.now == 2000
    await db.close()


# several writers


async def test_nothing_is_lost_between_tasks(db: Database) -> None:
    """Tasks that read a row and write it back do not overwrite each other."""
    await add(db, "counter", b"0")

    async def count() -> None:
        async with db.write() as tx:
            row = await tx.one("SELECT data FROM objects WHERE oid = 'counter'")
            assert row is not None
            await tx.run("UPDATE objects SET data = ?", b"%d" % (int(row[0]) + 1))

    await asyncio.gather(*(count() for _ in range(100)))
    assert await db.one("SELECT data FROM objects") == (b"100",)


async def test_a_writer_that_fails_does_not_disturb_those_beside_it(db: Database) -> None:
    """Of writers that run together, those that raise leave nothing and the others everything."""

    async def write(n: int) -> None:
        async with db.write() as tx:
            await tx.run(INSERT, f"{n:02}", "tree", b"")
            if n % 3 == 0:
                raise LookupError(n)

    results = await asyncio.gather(*(write(n) for n in range(30)), return_exceptions=True)
    assert [n for n, result in enumerate(results) if result is not None] == list(range(0, 30, 3))
    assert await names(db) == [f"{n:02}" for n in range(30) if n % 3]


async def test_nothing_is_lost_between_processes(db: Database, tmp_path: Path) -> None:
    """Three processes of several tasks each, and this one, all count in one row, and every count is there."""
    await add(db, "counter", b"0")
    others = [await other_process(tmp_path, rounds=20, tasks=3) for _ in range(3)]
    for _ in range(20):
        async with db.write() as tx:
            row = await tx.one("SELECT data FROM objects WHERE oid = 'counter'")
            assert row is not None
            await tx.run("UPDATE objects SET data = ?", b"%d" % (int(row[0]) + 1))
    assert [await other.wait() for other in others] == [0, 0, 0]
    assert await db.one("SELECT data FROM objects") == (b"200",)


# what caches are checked by


async def test_the_version_changes_with_every_write(db: Database) -> None:
    """A write changes it; reading, and a block that raised, need not and are not taken for one."""
    versions = [db.version()]
    await db.one("SELECT 1")
    await db.scan("SELECT 1")
    assert db.version() == versions[0]
    for oid in "abc":
        await add(db, oid)
        versions.append(db.version())
    assert len(set(versions)) == 4


async def test_the_version_changes_when_another_process_writes(db: Database, tmp_path: Path) -> None:
    """A process that did nothing itself sees that another one has written, and reads what it wrote."""
    await add(db, "counter", b"0")
    before = db.version()
    assert await (await other_process(tmp_path, rounds=1)).wait() == 0
    assert db.version() != before
    assert await db.one("SELECT data FROM objects") == (b"1",)


# writers that are cancelled


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_while_others_write(db: Database) -> None:
    """A writer that is cancelled while it waits for its turn has written nothing, and nobody waits for it."""
    async with db.write() as tx:
        await tx.run(INSERT, "first", "tree", b"")
        waiting = asyncio.create_task(add(db, "cancelled"))
        behind = asyncio.create_task(add(db, "behind"))
        await asyncio.sleep(0)
        await cancel(waiting)
    await behind
    assert await names(db) == ["behind", "first"]


async def test_cancelled_in_the_middle_of_many_rows(db: Database) -> None:
    """Not one of the rows that a thread is still writing when its writer is cancelled is there afterwards."""
    rows = [(f"{n:06}", "tree", b"x" * 100) for n in range(100_000)]

    async def write() -> None:
        async with db.write() as tx:
            await tx.run(INSERT, "small", "tree", b"")
            await tx.many(INSERT, rows)

    task = asyncio.create_task(write())
    await asyncio.sleep(0.02)
    await cancel(task)
    await add(db, "later")
    assert await names(db) == ["later"]


async def test_cancelled_while_waiting_for_the_disk(db: Database) -> None:
    """A writer that is cancelled once its block is left may have written or not, but wholly, and others go on."""

    async def write() -> None:
        async with db.write() as tx:
            await tx.many(INSERT, [("a", "tree", b""), ("b", "tree", b"")])
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(write())
    beside = asyncio.create_task(add(db, "beside"))
    with pytest.raises(asyncio.CancelledError):
        await task
    await beside
    await add(db, "later")
    assert await names(db) in (["a", "b", "beside", "later"], ["beside", "later"])


# the end


async def test_closing_waits_for_writers_under_way(tmp_path: Path) -> None:
    """Every write that was asked for before `close` is there when the database is opened again."""
    db = sqlite(tmp_path)
    await db.open()
    writers = [asyncio.create_task(add(db, f"{n:02}")) for n in range(20)]
    await asyncio.sleep(0)
    await db.close()
    await asyncio.gather(*writers)
    again = Database(tmp_path / "rows.db", lambda: Millis(0))
    await again.open()
    assert len(await names(again)) == 20
    await again.close()


async def test_nobody_writes_to_a_closed_database(tmp_path: Path) -> None:
    """A writer that comes too late is told so."""
    db = sqlite(tmp_path)
    await db.open()
    await db.close()
    with pytest.raises(Exception, match=r"closed|negative|descriptor"):
        await add(db, "late")
