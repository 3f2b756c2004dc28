"""What waits to be done beside the requests, and that to look for it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from hubreg.model import Sha256
from hubreg.store import upkeep
from hubreg.store.db import Database, Row
from hubreg.store.upkeep import Unindexed

pytestmark = pytest.mark.anyio


@dataclass
class Explained:
    """A reader that remembers how SQLite went about each statement."""

    db: Database
    plans: list[str] = field(default_factory=list)

    async def one(self, sql: str, *values: Any) -> Row | None:
        steps = await self.db.all(f"EXPLAIN QUERY PLAN {sql}", *values)
        self.plans += [step[3] for step in steps]
        return await self.db.one(sql, *values)

    async def all(self, sql: str, *values: Any) -> list[Row]:
        return await self.db.all(sql, *values)


async def test_small_files_that_wait_are_not_looked_at(db: Database) -> None:
    """They may be many, and each server looks every few seconds: what is large enough is found by its size."""
    async with db.write() as tx:
        for number in range(1, 50):
            await upkeep.add_unindexed(tx, Sha256(f"{number:064x}"), number)
    reader = Explained(db)
    assert await upkeep.index_waits(reader, 49)
    assert not await upkeep.index_waits(reader, 50)
    assert await upkeep.next_unindexed(reader, 49) == Unindexed(Sha256(f"{49:064x}"), 49)
    searches = [plan for plan in reader.plans if "unindexed" in plan]
    assert len(searches) == 3
    assert all("INDEX unindexed_by_size (size>?)" in plan for plan in searches)


async def test_what_is_given_up_does_not_wait(db: Database) -> None:
    """Until it is to be tried again."""
    sha256 = Sha256("a" * 64)
    async with db.write() as tx:
        await upkeep.add_unindexed(tx, sha256, 10)
        await upkeep.give_up_indexing(tx, sha256)
    assert not await upkeep.index_waits(db, 1)
    async with db.write() as tx:
        await upkeep.retry_indexing(tx)
    assert await upkeep.index_waits(db, 1)
