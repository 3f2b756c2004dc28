"""
Rows: connections, transactions, migrations. The only module that knows which database is underneath.

SQL elsewhere in `store/` is plain text with `?` for values, in the subset that SQLite and PostgreSQL share. On
SQLite a point read runs at once in the event loop: measured at 12 us, against 74 for a hop to a thread. Whatever may
take long goes through `scan`. Writing is one connection per process behind an asyncio lock, with a file lock across
processes, and **group commit**: transactions run one after the other as savepoints of one outer transaction, and a
committer that queued behind them makes them all durable with one fsync. Nobody is told "done" before that fsync.

A `Tx` carries `now`: all rows of one change have one time.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import aiosqlite

from hubreg.errors import Unusable
from hubreg.model import Millis
from hubreg.store.threads import run_in

Row = tuple[Any, ...]
Clock = Callable[[], Millis]

# More rows than this in one statement, and a thread is cheaper than holding the event loop.
_INLINE_ROWS = 64

_SQLITE_WORDS = {"INT": "INTEGER", "ROWID": "INTEGER PRIMARY KEY AUTOINCREMENT", "BYTES": "BLOB"}


class Reader(Protocol):
    """What row functions read through: the database, or a transaction and what it has written so far."""

    async def one(self, sql: str, *values: object) -> Row | None: ...

    async def all(self, sql: str, *values: object) -> list[Row]: ...


class Tx(Protocol):
    """One transaction. Nothing but calls of this object may be awaited inside it: every other writer waits."""

    now: Millis

    async def one(self, sql: str, *values: object) -> Row | None: ...

    async def all(self, sql: str, *values: object) -> list[Row]: ...

    async def run(self, sql: str, *values: object) -> int:
        """Execute; the number of rows changed."""
        ...

    async def many(self, sql: str, rows: Sequence[Row]) -> None: ...


def wall() -> Millis:
    """The time, as rows have it."""
    return Millis(time.time_ns() // 1_000_000)


def marks(count: int) -> str:
    """`?, ?, ?` for an IN list."""
    return ", ".join("?" * count)


class SqliteTx:
    def __init__(self, connection: sqlite3.Connection, executor: ThreadPoolExecutor, now: Millis) -> None:
        self._connection, self._executor, self.now = connection, executor, now

    async def one(self, sql: str, *values: object) -> Row | None:
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    async def all(self, sql: str, *values: object) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    async def run(self, sql: str, *values: object) -> int:
        return self._connection.execute(sql, values).rowcount

    async def many(self, sql: str, rows: Sequence[Row]) -> None:
        if len(rows) <= _INLINE_ROWS:
            self._connection.executemany(sql, rows)
        else:
            await run_in(self._executor, self._connection.executemany, sql, rows)


class Database:
    """SQLite, as many processes as like to. `open` it in the process and loop that use it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lock = asyncio.Lock()
        self._waiting: list[asyncio.Future[None]] = []
        self._committer: asyncio.Task[None] | None = None
        self._begun = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="hubreg-db")

    async def open(self) -> None:
        self._writer = _connect(self._path)
        self._reader = _connect(self._path)
        self._reader.execute("PRAGMA query_only = ON")
        self._version = self._reader.cursor()
        self._guard = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        self._scanner = await aiosqlite.connect(
            f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
        )

    async def close(self) -> None:
        """Wait for what is being written, then let go of everything."""
        while True:
            async with self._lock:
                if (committer := self._committer) is None:
                    await self._scanner.close()
                    self._executor.shutdown(wait=True)
                    self._reader.close()
                    self._writer.close()
                    os.close(self._guard)
                    self._guard = -1  # whoever writes now must not lock what has this number next
                    return
            await asyncio.wait([committer])

    # reading

    def version(self) -> int:
        """A number that changes whenever any process has changed anything: what caches of rows are checked by."""
        return int(self._version.execute("PRAGMA data_version").fetchone()[0])

    async def one(self, sql: str, *values: object) -> Row | None:
        row: Row | None = self._reader.execute(sql, values).fetchone()
        return row

    async def all(self, sql: str, *values: object) -> list[Row]:
        return self._reader.execute(sql, values).fetchall()

    async def scan(self, sql: str, *values: object) -> list[Row]:
        """Like `all`, for queries that read many rows to find few: runs in a thread of its own."""
        async with self._scanner.execute(sql, values) as cursor:
            return [tuple(row) for row in await cursor.fetchall()]

    # writing

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqliteTx]:
        """
        A transaction: durable once the block has been left, gone if the block raises.

        Leaving the block waits for the group's fsync. A failure of that fsync raises in every writer of the group.
        A caller that is cancelled during that wait does not learn how it ended.
        """
        async with self._lock:
            if not self._begun:
                await self._begin()
            self._writer.execute("SAVEPOINT one")
            try:
                yield SqliteTx(self._writer, self._executor, self._clock())
                self._writer.execute("RELEASE one")
            except BaseException as failure:
                self._undo(failure)
                raise
            durable = asyncio.get_running_loop().create_future()
            self._waiting.append(durable)
            if self._committer is None:
                self._committer = asyncio.create_task(self._commit())
        await durable

    async def _begin(self) -> None:
        try:
            if not self._is_our_turn():
                # Another process writes. The wait is short (42 ms at most with four writers), but not the loop's to
                # wait.
                await run_in(self._executor, fcntl.flock, self._guard, fcntl.LOCK_EX)
            self._writer.execute("BEGIN IMMEDIATE")
        except BaseException:
            fcntl.flock(self._guard, fcntl.LOCK_UN)
            raise
        self._begun = True

    def _is_our_turn(self) -> bool:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _undo(self, failure: BaseException) -> None:
        """Take back what one writer did. The rest of its group goes on, unless it has gone down with it."""
        try:
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
        except sqlite3.Error:
            # After a full disk or an I/O error SQLite has rolled back everything since BEGIN.
            lost = sqlite3.OperationalError("another write of the same group ended its transaction")
            lost.__cause__ = failure
            group, self._waiting = self._waiting, []
            _settle(group, lost)
        if not self._waiting:
            self._end("ROLLBACK")

    async def _commit(self) -> None:
        # The lock is fair: whoever was waiting for it when this task asked has run and joins this group.
        async with self._lock:
            group, self._waiting = self._waiting, []
            self._committer = None
            if not group:
                return  # it has been told already: see `_undo`
            try:
                await run_in(self._executor, self._end, "COMMIT")
            except Exception as failure:
                _settle(group, failure)
            else:
                _settle(group)

    def _end(self, how: str) -> None:
        try:
            if self._writer.in_transaction:
                self._writer.execute(how)
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise
        finally:
            self._begun = False
            fcntl.flock(self._guard, fcntl.LOCK_UN)


def _settle(group: Iterable[asyncio.Future[None]], failure: BaseException | None = None) -> None:
    for durable in group:
        if durable.done():
            continue  # its writer was cancelled
        if failure is None:
            durable.set_result(None)
        else:
            durable.set_exception(failure)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=512
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -8000")
    return connection


def migrations() -> list[tuple[int, str]]:
    """Every migration, in order: its number and its SQL."""
    files = resources.files("hubreg.store.migrations")
    names = sorted(file.name for file in files.iterdir() if file.name.endswith(".sql"))
    return [(int(name[:4]), files.joinpath(name).read_text()) for name in names]


def schema(path: Path) -> tuple[int, int]:
    """The version that the schema at `path` has, 0 where there is none yet, and the newest that this hubreg knows."""
    newest = migrations()[-1][0]
    if not path.exists():
        return 0, newest
    with _migrating(path) as connection:
        return _version(connection), newest


def migrate(path: Path) -> int:
    """
    Bring the schema at `path` up to date, all steps in one transaction; the version it then has.

    Raises `Unusable` when the data was written by a newer hubreg: going on would damage what this one does not know.
    """
    steps = migrations()
    newest = steps[-1][0]
    with _migrating(path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        have = _version(connection)
        if have > newest:
            raise Unusable(
                f"This data directory has schema {have}, written by a newer hubreg; this one knows {newest}.",
                hint="Start the newer version, or restore a backup made before the upgrade.",
            )
        for number, sql in steps:
            if number > have:
                for statement in _statements(sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    return newest


@contextmanager
def _migrating(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of its own. What is there may be anything: a file that is no database is `Unusable`."""
    try:
        with closing(_connect(path)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise Unusable(
            f"The database {path} cannot be used: {error}.",
            hint="Is the disk full, or the file damaged? Nothing was changed.",
        ) from error


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(sql: str) -> Iterable[str]:
    sql = re.sub(r"--[^\n]*", "", sql)
    for word, native in _SQLITE_WORDS.items():
        sql = re.sub(rf"\b{word}\b", native, sql)
    return (part for part in sql.split(";") if part.strip())
