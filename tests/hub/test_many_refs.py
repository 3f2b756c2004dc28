"""Pushes that move many refs: as many as people have, at a cost that grows with their number and no faster."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from hubreg.formats.gitwire import ZERO
from hubreg.model import Oid
from hubreg.store import repos
from hubreg.store.db import Database
from tests.hub.conftest import Hub, Watched
from tests.hub.test_pushes import commands, everything, packed, send

pytestmark = pytest.mark.anyio


def branches(count: int, head: str) -> list[tuple[str, str, str]]:
    return [(f"refs/heads/b{n}", ZERO, head) for n in range(count)]


async def test_as_many_as_one_push_may_move(hub: Hub) -> None:
    """Are made; one more and none is, and the person reads why. The list of all refs is read a few times only."""
    repo = await hub.repo()
    before = await everything(hub)
    said = await send(hub, repo, commands(*branches(1001, repo.head)) + packed([]))
    assert "unpack one push may move 1000 refs" in said
    assert await everything(hub) == before
    watched = Watched(hub.app.db)
    pushes = replace(hub.app.pushes, db=cast("Database", watched))
    async with pushes.receiving() as received:
        received.write(commands(*branches(1000, repo.head)) + packed([]))
        assert (await pushes.push(hub.ann, repo, received)).count(b"ok refs/heads/b") == 1000
    assert len(await repos.refs(hub.app.db, repo.id)) == 1001
    assert len([sql for sql in watched.asked if "FROM refs" in sql]) <= 10
    assert {commit for _, commit in await repos.refs(hub.app.db, repo.id)} == {Oid(repo.head)}
