"""Rows of multipart uploads under way."""

from __future__ import annotations

import pytest

from hubreg.model import Millis, Sha256
from hubreg.store import uploads
from hubreg.store.db import Database
from tests.store.clock import Clock

pytestmark = pytest.mark.anyio

DIGEST = Sha256("ab" * 32)


async def begin(db: Database, id_: str, *, user_id: int = 7) -> uploads.Multipart:
    async with db.write() as tx:
        return await uploads.insert(tx, id_, 1, user_id, DIGEST, 100, 64)


async def test_an_upload_and_its_parts(db: Database) -> None:
    """It is found by its id; a part that came twice is the last one; after `delete` nothing is there."""
    begun = await begin(db, "one")
    assert await uploads.find(db, "one") == begun
    async with db.write() as tx:
        await uploads.put_part(tx, "one", 2, "second")
        await uploads.put_part(tx, "one", 1, "wrong")
        await uploads.put_part(tx, "one", 1, "first")
    assert await uploads.parts(db, "one") == {1: "first", 2: "second"}
    assert await uploads.ids(db) == {"one"}
    async with db.write() as tx:
        await uploads.delete(tx, "one")
    assert await uploads.find(db, "one") is None
    assert await uploads.parts(db, "one") == {}
    assert await uploads.ids(db) == set()


async def test_an_upload_is_gone_on_with_by_who_began_it(db: Database, clock: Clock) -> None:
    """The newest of the same content, user and repo, unless it is too old."""
    await begin(db, "old")
    clock.at += 1000
    newest = await begin(db, "new")
    await begin(db, "of somebody else", user_id=8)
    assert await uploads.under_way(db, 1, 7, DIGEST, Millis(0)) == newest
    assert await uploads.under_way(db, 1, 7, DIGEST, newest.created_at) == newest
    assert await uploads.under_way(db, 1, 7, DIGEST, Millis(newest.created_at + 1)) is None
    assert await uploads.under_way(db, 2, 7, DIGEST, Millis(0)) is None
    assert await uploads.under_way(db, 1, 7, Sha256("cd" * 32), Millis(0)) is None


async def test_uploads_that_are_too_old(db: Database, clock: Clock) -> None:
    """Those that began before a time, of whatever repo."""
    old = await begin(db, "old")
    clock.at += 1000
    await begin(db, "new")
    assert await uploads.older_than(db, Millis(old.created_at)) == []
    assert await uploads.older_than(db, Millis(old.created_at + 1)) == [old]
