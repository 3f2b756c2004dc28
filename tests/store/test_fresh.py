"""Answers held in process: never older than the last write, never more than there is room for."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import pytest

from hubreg.store.db import Database
from hubreg.store.fresh import Bounded, Fresh

pytestmark = pytest.mark.anyio


async def write(db: Database) -> None:
    async with db.write() as tx:
        await tx.run("INSERT INTO objects (oid, kind, data) SELECT COUNT(*), 'tree', '0' FROM objects")


async def test_an_answer_is_held_until_somebody_writes(db: Database) -> None:
    """The first look-up misses, the next ones hit, and one write makes all of them miss."""
    fresh: Fresh[str, int] = Fresh(db)
    for key in "ab":
        assert fresh.get(key) is None
        fresh.put(key, 1)
    assert (fresh.get("a"), fresh.get("b")) == (1, 1)
    await write(db)
    assert (fresh.get("a"), fresh.get("b")) == (None, None)


async def test_another_process_that_writes_is_somebody(db: Database, tmp_path: Path) -> None:
    """An answer is forgotten just the same when the write came from elsewhere."""
    fresh: Fresh[str, int] = Fresh(db)
    async with db.write() as tx:
        await tx.run("INSERT INTO objects (oid, kind, data) VALUES ('counter', '', '0')")
    assert fresh.get("a") is None
    fresh.put("a", 1)
    other = Path(__file__).with_name("other_process.py")
    run([sys.executable, other, tmp_path / "data" / "hubreg.db", "1", "1"], check=True)
    assert fresh.get("a") is None


async def test_an_answer_that_was_read_before_a_write_is_not_held_after_it(db: Database) -> None:
    """
    Somebody misses and reads; meanwhile somebody else writes, and a third one looks something up. What the first one
    read may be old: it is not put among what is new.
    """
    for third in ("a", "another"):
        fresh: Fresh[str, str] = Fresh(db)
        assert fresh.get("a") is None
        await write(db)
        assert fresh.get(third) is None
        fresh.put("a", "old")
        assert fresh.get("a") is None
        fresh.put("a", "new")
        assert fresh.get("a") in (None, "new")


async def test_there_is_room_for_so_many(db: Database) -> None:
    """Neither answers nor look-ups that found nothing pile up."""
    fresh: Fresh[int, int] = Fresh(db, limit=10)
    for n in range(100):
        assert fresh.get(-n - 1) is None
        assert fresh.get(n) is None
        fresh.put(n, n)
        assert fresh.get(n) == n
        assert len(fresh._held) <= 10
        assert len(fresh._asked) <= 10


def test_what_was_used_last_is_kept() -> None:
    """When there is no room for all, the one that was not looked at for longest goes."""
    bounded: Bounded[str, int] = Bounded(2)
    bounded.put("a", 1)
    bounded.put("b", 2)
    assert bounded.get("a") == 1
    bounded.put("c", 3)
    assert [bounded.get(key) for key in "abc"] == [1, None, 3]


def test_answers_weigh_what_they_weigh() -> None:
    """Room is for a weight, not a number; an answer replaced by a lighter one makes room."""
    bounded: Bounded[str, bytes] = Bounded(10, len)
    bounded.put("a", bytes(6))
    bounded.put("b", bytes(4))
    bounded.put("a", bytes(2))
    bounded.put("c", bytes(4))
    assert [bounded.get(key) is not None for key in "abc"] == [True, True, True]
    bounded.put("d", bytes(5))
    assert [bounded.get(key) is not None for key in "abcd"] == [False, False, True, True]


def test_an_answer_that_is_heavier_than_all_the_room() -> None:
    """It is held alone: whoever asks for it again and again is served from it."""
    bounded: Bounded[str, bytes] = Bounded(10, len)
    bounded.put("a", bytes(3))
    bounded.put("b", bytes(100))
    assert (bounded.get("a"), bounded.get("b")) == (None, bytes(100))
    bounded.put("c", bytes(3))
    assert (bounded.get("b"), bounded.get("c")) == (None, bytes(3))
