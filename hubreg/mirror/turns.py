"""
One question to an upstream at a time, however many ask it: in this process by a task that all wait for, and among the
processes by a row that one of them holds.

Whoever leaves does not stop it: the task belongs to nobody. A process that dies with the row is waited for until the
row has run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from hubreg.store import mirror
from hubreg.store.db import Database

T = TypeVar("T")

_HELD = 40.0  # seconds; renewed by whoever takes longer
_POLL = 0.03


class Turns:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._running: dict[str, asyncio.Task[Any]] = {}

    def begin(
        self, name: str, look: Callable[[], Awaitable[T | None]], work: Callable[[], Awaitable[T]]
    ) -> asyncio.Task[T]:
        """The task that does what is called `name`: the one that is at it, or a new one."""
        task = self._running.get(name)
        if task is None:
            task = asyncio.ensure_future(self._run(name, look, work))
            self._running[name] = task
            task.add_done_callback(lambda done: self._over(name, done))
        return task

    async def once(
        self, name: str, look: Callable[[], Awaitable[T | None]], work: Callable[[], Awaitable[T]]
    ) -> T:
        """
        What `work` comes to, done once for all who ask at the same time. `look` finds what another process has done
        meanwhile, None where it still is to be done.
        """
        return await asyncio.shield(self.begin(name, look, work))

    async def renew(self, name: str) -> None:
        """Whoever is at it still is."""
        async with self._db.write() as tx:
            await mirror.release(tx, name)
            await mirror.claim(tx, name, _HELD)

    async def _run(
        self, name: str, look: Callable[[], Awaitable[T | None]], work: Callable[[], Awaitable[T]]
    ) -> T:
        while not await self._claim(name):
            await asyncio.sleep(_POLL)
            found = await look()
            if found is not None:
                return found
        try:
            found = await look()
            return found if found is not None else await work()
        finally:
            async with self._db.write() as tx:
                await mirror.release(tx, name)

    async def _claim(self, name: str) -> bool:
        async with self._db.write() as tx:
            return await mirror.claim(tx, name, _HELD)

    def _over(self, name: str, task: asyncio.Task[Any]) -> None:
        self._running.pop(name, None)
        if not task.cancelled():
            task.exception()  # it was told to whoever waited, if anybody did

    async def close(self) -> None:
        """Stop what is under way."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError, Exception):
                await task
