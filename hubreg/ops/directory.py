"""
A data directory before anything runs on it: made, of this schema, with an administrator, held by one server.

Everything here may be killed at any step and done again. What it does not do is wait: a directory that another
server holds is refused at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from hubreg.config import Config
from hubreg.errors import Unusable
from hubreg.identity.accounts import Accounts
from hubreg.identity.credentials import new_token
from hubreg.mirror import growing
from hubreg.store import accounts, uploads
from hubreg.store.db import Clock, Database, migrate, schema
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs

FIRST = "admin"  # the user that a new directory begins with


@dataclass(frozen=True, slots=True)
class Prepared:
    """`token` is the first administrator's, where this very call made one; `layout.admin_token` keeps it."""

    layout: Layout
    token: str | None = None


@contextmanager
def serving(config: Config, clock: Clock) -> Iterator[Prepared]:
    """
    The data directory, ready, swept, and held as its one server until the block is left.

    Children forked inside the block hold it as well, and the kernel lets go when the last of them has ended, however
    it ended. Raises `Unusable` when somebody else holds it, or it cannot be used.
    """
    layout = Layout(config.data)
    layout.prepare()
    with _held(layout):
        prepared = _prepare(layout, clock)
        LocalBlobs(layout).sweep(alive=asyncio.run(_under_way(layout, clock)))
        growing.sweep(layout.flights, Disk())
        yield prepared


def existing(config: Config, clock: Clock) -> Prepared:
    """
    `prepare`, where there is a data directory already. Raises `Unusable` where there is none: whoever mistyped its name
    wants to know, and not to begin another one.
    """
    layout = Layout(config.data)
    if not layout.database.exists():
        raise Unusable(
            f"There is no data directory at {layout.root}.",
            hint="`hubreg serve` makes it; --data or HUBREG_DATA names another.",
        )
    return prepare(config, clock)


def prepare(config: Config, clock: Clock) -> Prepared:
    """
    The data directory, made where it is missing, for somebody who works beside its server or without one. Raises
    `Unusable`.

    A directory that needs an upgrade gets it only while no server runs: under a running one the schema stays.
    """
    layout = Layout(config.data)
    layout.prepare()
    if _is_current(layout) and asyncio.run(_has_administrator(layout, clock)):
        return Prepared(layout)
    with _held(layout):
        return _prepare(layout, clock)


@asynccontextmanager
async def opened(layout: Layout, clock: Clock) -> AsyncIterator[Database]:
    """The rows of a directory that is ready."""
    db = Database(layout.database, clock)
    await db.open()
    try:
        yield db
    finally:
        await db.close()


def _prepare(layout: Layout, clock: Clock) -> Prepared:
    migrate(layout.database)
    layout.read_secret()
    if asyncio.run(_has_administrator(layout, clock)):
        return Prepared(layout)
    # The file first: killed in between, the next start finds no administrator and writes another token.
    token = new_token()
    layout.write_private(layout.admin_token, f"{token}\n".encode())
    asyncio.run(_add_administrator(layout, clock, token))
    return Prepared(layout, token)


def _is_current(layout: Layout) -> bool:
    have, newest = schema(layout.database)
    return have == newest and layout.secret.exists()


async def _has_administrator(layout: Layout, clock: Clock) -> bool:
    async with opened(layout, clock) as db:
        return await accounts.has_administrator(db)


async def _add_administrator(layout: Layout, clock: Clock, token: str) -> None:
    async with opened(layout, clock) as db:
        await Accounts(db).add_first_administrator(FIRST, token)


async def _under_way(layout: Layout, clock: Clock) -> set[str]:
    async with opened(layout, clock) as db:
        return await uploads.ids(db)


@contextmanager
def _held(layout: Layout) -> Iterator[None]:
    try:
        handle = os.open(layout.server_lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unusable(f"The data directory {layout.root} cannot be used: {error.strerror}.") from error
    try:
        _take(handle, layout)
        yield
    finally:
        os.close(handle)


def _take(handle: int, layout: Layout) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        raise Unusable(
            f"Another hubreg (process {holder}) holds the data directory {layout.root}.",
            hint="Stop it first, or name another directory with --data.",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
