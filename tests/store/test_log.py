"""Rows of the log: a chain that holds, in the order of the changes and with them."""

from __future__ import annotations

import asyncio
import json

import pytest

from hubreg.formats import chain
from hubreg.model import Actor
from hubreg.store import log
from hubreg.store.db import Database

pytestmark = pytest.mark.anyio

ANN = Actor(user_id=7, name="ann")


async def append(db: Database, subject: str) -> None:
    async with db.write() as tx:
        await log.append(tx, ANN, "test:thing:done", subject, size=3)


async def test_a_link_says_who_did_what_and_when(db: Database) -> None:
    """The body is JSON with the actor's id and name, the time of the transaction and the facts."""
    await append(db, "it")
    (link,) = await log.read(db, 0, 10)
    assert json.loads(link.body) == {
        "at": 1_700_000_000_000,
        "actor": {"id": 7, "name": "ann"},
        "tag": "test:thing:done",
        "subject": "it",
        "size": 3,
    }


async def test_the_chain_holds_whoever_writes_at_once(db: Database) -> None:
    """Serials have no gap and every link follows the one before."""
    await asyncio.gather(*(append(db, str(n)) for n in range(50)))
    links = list(chain.verify(await log.read(db, 0, 1000)))
    assert [link.serial for link in links] == list(range(1, 51))


async def test_a_change_that_failed_leaves_no_link(db: Database) -> None:
    """The link goes with its transaction, and the next one takes its serial."""
    await append(db, "first")
    with pytest.raises(LookupError):
        async with db.write() as tx:
            await log.append(tx, ANN, "test:thing:done", "undone")
            raise LookupError
    await append(db, "second")
    links = list(chain.verify(await log.read(db, 0, 10)))
    assert [json.loads(link.body)["subject"] for link in links] == ["first", "second"]


async def test_reading_on_from_a_cursor(db: Database) -> None:
    """Pages follow each other, and verification goes on from the last link that was trusted."""
    for n in range(5):
        await append(db, str(n))
    first = await log.read(db, 0, 3)
    rest = await log.read(db, first[-1].serial, 3)
    assert [link.serial for link in [*first, *rest]] == [1, 2, 3, 4, 5]
    assert list(chain.verify(rest, after=first[-1])) == rest
    assert await log.read(db, 5, 3) == []
