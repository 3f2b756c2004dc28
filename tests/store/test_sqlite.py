"""What is promised of SQLite beyond `test_db.py`: one sync for a group, failing disks, other processes, schemas."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubreg.errors import Unusable
from hubreg.model import Millis
from hubreg.store.db import Database, migrate, migrations, schema

pytestmark = pytest.mark.anyio

INSERT = "INSERT INTO objects (oid, kind, data) VALUES (?, 'tree', ?)"


class Counted(Database):
    """A database that keeps what was committed and what was promised in the order in which it happened."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, lambda: Millis(0))
        self.events: list[str] = []

    def _end(self, how: str) -> None:
        super()._end(how)
        self.events.append(how)

    async def add(self, oid: str, data: bytes = b"") -> None:
        async with self.write() as tx:
            await tx.run(INSERT, oid, data)
        self.events.append(oid)

    async def names(self) -> list[str]:
        return [row[0] for row in await self.all("SELECT oid FROM objects ORDER BY oid")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate(tmp_path / "rows.db")
    return tmp_path / "rows.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[Counted]:
    db = Counted(path)
    await db.open()
    yield db
    await db.close()


# group commit


async def test_writers_that_come_together_share_one_sync(db: Counted) -> None:
    """A hundred concurrent writes are committed together, and nobody is told before that."""
    oids = [f"{n:03}" for n in range(100)]
    await asyncio.gather(*(db.add(oid) for oid in oids))
    assert db.events == ["COMMIT", *oids]


async def test_a_writer_alone_does_not_wait_for_company(db: Counted) -> None:
    """Writes one after the other are each committed before the next begins."""
    await db.add("a")
    await db.add("b")
    assert db.events == ["COMMIT", "a", "COMMIT", "b"]


async def test_a_group_of_failures_is_not_committed(db: Counted) -> None:
    """Where every writer has raised, the transaction is rolled back and the lock let go."""
    for _ in range(2):
        with pytest.raises(LookupError):
            async with db.write() as tx:
                await tx.run(INSERT, "a", b"")
                raise LookupError
    assert db.events == ["ROLLBACK", "ROLLBACK"]


# disks that fail


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process may grow past what the write-ahead log has: the kernel fails the write."""
    wal = path.with_name(path.name + "-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_commit_that_fails_is_told_to_every_writer_of_the_group(db: Counted, path: Path) -> None:
    """When the disk does not take the commit all its writers raise, nothing of them stays, and the next one works."""
    await db.add("before")
    with full_disk(path):
        results = await asyncio.gather(*(db.add(oid, bytes(10_000)) for oid in "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [sqlite3.OperationalError] * 3
    assert await db.names() == ["before"]
    await db.add("after")
    assert await db.names() == ["after", "before"]


async def test_a_transaction_that_sqlite_has_ended_takes_its_group_with_it(db: Counted) -> None:
    """
    Some failures roll back everything since BEGIN: the writers before it in the group are told, those behind it
    begin anew.
    """

    async def end_it() -> None:
        async with db.write() as tx:
            await tx.run(INSERT.replace("INSERT", "INSERT OR ROLLBACK"), "first", b"")

    results = await asyncio.gather(db.add("first"), end_it(), db.add("behind"), return_exceptions=True)
    assert [type(result) for result in results] == [
        sqlite3.OperationalError,
        sqlite3.IntegrityError,
        type(None),
    ]
    assert await db.names() == ["behind"]


async def test_a_block_that_ignores_that_its_transaction_has_ended(db: Counted) -> None:
    """Leaving it as if nothing had happened raises: its rows are not there."""
    await db.add("taken")
    with pytest.raises(sqlite3.OperationalError):
        async with db.write() as tx:
            await tx.run(INSERT, "lost", b"")
            with pytest.raises(sqlite3.IntegrityError):
                await tx.run(INSERT.replace("INSERT", "INSERT OR ROLLBACK"), "taken", b"")
    await db.add("after")
    assert await db.names() == ["after", "taken"]


# other processes


@contextmanager
def another_process_writes(path: Path) -> Iterator[int]:
    """The lock is held through another open file, which for the kernel is somebody else."""
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield handle
    finally:
        os.close(handle)


async def test_the_loop_goes_on_while_another_process_writes(db: Counted, path: Path) -> None:
    """A writer waits for its turn without holding up readers, and has it when the other one is done."""
    await db.add("before")
    with another_process_writes(path):
        writer = asyncio.create_task(db.add("mine"))
        await asyncio.sleep(0.05)
        assert await db.names() == ["before"]
        assert not writer.done()
    await writer
    assert await db.names() == ["before", "mine"]


async def test_cancelled_while_another_process_writes(db: Counted, path: Path) -> None:
    """A writer that gave up waiting does not keep the lock that it still gets: the other process has it next."""
    with another_process_writes(path) as handle:
        writer = asyncio.create_task(db.add("cancelled"))
        await asyncio.sleep(0.05)
        writer.cancel()
        await asyncio.sleep(0.05)
        fcntl.flock(handle, fcntl.LOCK_UN)
        with pytest.raises(asyncio.CancelledError):
            await writer
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await db.add("next")
    assert await db.names() == ["next"]


async def test_a_write_that_cannot_begin_lets_go_of_the_lock(db: Counted, path: Path) -> None:
    """Whoever holds SQLite's own lock, a foreign tool, makes one writer fail, not every process wait."""
    db._writer.execute("PRAGMA busy_timeout = 0")
    tool = sqlite3.connect(path, isolation_level=None)
    tool.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        await db.add("mine")
    with another_process_writes(path):
        pass
    tool.close()
    await db.add("next")
    assert await db.names() == ["next"]


@pytest.mark.parametrize("name", ["100%25", "who? me", "a#b", "über", "a b"])
async def test_any_name_of_a_data_directory(tmp_path: Path, name: str) -> None:
    """What means something in a URI means nothing in a path."""
    path = tmp_path / name / "rows.db"
    path.parent.mkdir()
    migrate(path)
    db = Counted(path)
    await db.open()
    await db.add("a")
    assert await db.scan("SELECT oid FROM objects") == [("a",)]
    await db.close()


# schemas


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    """The first is 1 and each next one is one more."""
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_new_database_gets_the_newest_schema(tmp_path: Path) -> None:
    """`migrate` makes what is missing; once more changes nothing."""
    path = tmp_path / "rows.db"
    newest = migrations()[-1][0]
    assert schema(path) == (0, newest)
    assert not path.exists()
    assert migrate(path) == newest
    assert {"accounts", "repos", "refs", "log"} <= tables(path)
    before = tables(path)
    assert migrate(path) == newest
    assert tables(path) == before
    assert schema(path) == (newest, newest)


def test_a_newer_schema_is_refused(path: Path) -> None:
    """What this hubreg does not know it does not touch."""
    newest = migrations()[-1][0]
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {newest + 1}")
    connection.close()
    with pytest.raises(Unusable, match=f"schema {newest + 1}, written by a newer hubreg"):
        migrate(path)
    assert schema(path) == (newest + 1, newest)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """It is named, and stays as it was."""
    path = tmp_path / "rows.db"
    path.write_bytes(b"these are my holiday pictures" * 100)
    with pytest.raises(Unusable, match=r"rows\.db cannot be used"):
        migrate(path)
    assert path.read_bytes() == b"these are my holiday pictures" * 100


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """All steps are one transaction: the tables made before the failure are not there after it."""
    path = tmp_path / "rows.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE log (mine TEXT)")
    connection.close()
    with pytest.raises(Unusable, match="log already exists"):
        migrate(path)
    assert tables(path) == {"log"}
    assert schema(path)[0] == 0


async def test_two_processes_that_migrate_at_once(tmp_path: Path) -> None:
    """Both find the newest schema in the end, whoever was first."""
    path = tmp_path / "rows.db"
    program = f"from pathlib import Path; from hubreg.store.db import migrate; migrate(Path({str(path)!r}))"
    both = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(4)]
    assert [await one.wait() for one in both] == [0, 0, 0, 0]
    assert "log" in tables(path)
