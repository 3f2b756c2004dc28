"""
Processes that are killed: `victim.py CASE BASE OUT` does the case in a copy of the data directory BASE, again and
again, and each time dies by SIGKILL one step later than the time before, until a time gets through. The copies are
OUT/1, OUT/2, ...; beside each, OUT/1.told and so on have what was told before the end, a line of JSON each.

    victim.py CASE BASE OUT RUNS    the case is killed from outside instead, RUNS times, later each time

A step is whatever is done to a file by a `Disk` (a write is two: half of the bytes, the rest), and the beginning, every
statement and the end of a transaction.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

from hubreg import app as wiring
from hubreg.store.db import Database, Row, SqliteTx
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.xorbs import Xorbs
from tests.crash.cases import CASES, TOKEN, settings

Step = Callable[[], None]


class DeadlyDisk(Disk):
    def __init__(self, step: Step) -> None:
        self.step = step

    def create(self, path: Path) -> int:
        self.step()
        return super().create(path)

    def open(self, path: Path) -> int:
        self.step()
        return super().open(path)

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        half = len(data) // 2
        self.step()
        super().write(handle, data[:half], offset)
        self.step()
        super().write(handle, data[half:], offset + half)

    def truncate(self, handle: int, size: int) -> None:
        self.step()
        super().truncate(handle, size)

    def sync(self, handle: int) -> None:
        self.step()
        super().sync(handle)

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self.step()
        super().sync_directory(path)

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)


class DeadlyTx(SqliteTx):
    def __init__(self, tx: SqliteTx, step: Step) -> None:
        super().__init__(tx._connection, tx._executor, tx.now)
        self.step = step

    async def run(self, sql: str, *values: object) -> int:
        self.step()
        return await super().run(sql, *values)

    async def many(self, sql: str, rows: Sequence[Row]) -> None:
        self.step()
        await super().many(sql, rows)


class DeadlyDatabase(Database):
    step: Step

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqliteTx]:
        self.step()
        async with super().write() as tx:
            yield DeadlyTx(tx, self.step)

    def _end(self, how: str) -> None:
        self.step()
        super()._end(how)
        self.step()


def dying(at: int) -> Step:
    """Counts; at that step the process is no more."""
    left = at

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


async def do(case: str, directory: Path, step: Step, **settings_: Any) -> None:
    """The case, with every step counted."""
    wired: Any = wiring
    wired.Database = type("Deadly", (DeadlyDatabase,), {"step": staticmethod(step)})
    wired.LocalBlobs = lambda layout: LocalBlobs(layout, DeadlyDisk(step))
    wired.Xorbs = lambda layout, db: Xorbs(layout, db, DeadlyDisk(step))
    told = os.open(f"{directory}.told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(**facts: object) -> None:
        os.write(told, json.dumps(facts).encode() + b"\n")

    async with wiring.build(settings(directory)) as app:
        await CASES[case](app, await app.credentials.actor(f"Bearer {TOKEN}"), tell)


def forked(case: str, directory: Path, step: Step) -> int:
    """A child that does it."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        asyncio.run(do(case, directory, step))
        status = 0
    finally:
        os._exit(status)


def step_by_step(case: str, base: Path, out: Path) -> None:
    for at in range(1, 1000):
        directory = out / str(at)
        copytree(base, directory)
        _, status = os.waitpid(forked(case, directory, dying(at)), 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(os.waitstatus_to_exitcode(status))


def from_outside(case: str, base: Path, out: Path, runs: int) -> None:
    for run in range(1, runs + 1):
        directory = out / str(run)
        copytree(base, directory)
        child = forked(case, directory, lambda: None)
        told = Path(f"{directory}.told")
        while not told.exists():
            time.sleep(0.001)
        time.sleep(0.011 * run)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    name, base_, out_, *runs_ = sys.argv[1:]
    assert Layout(Path(base_)).database.exists()
    if runs_:
        from_outside(name, Path(base_), Path(out_), int(runs_[0]))
    else:
        step_by_step(name, Path(base_), Path(out_))
