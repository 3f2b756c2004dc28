"""Fetches side by side: what they cost together."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from hubreg.formats.gitwire import Fetch
from hubreg.hub.git import Git
from hubreg.model import Oid
from hubreg.store.db import Database
from tests.hub.conftest import Hub, Watched, add

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("held", [50_000, 1])
async def test_a_history_is_read_once_for_all_who_wait(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """Also one that is too large to be held; and again when it has grown."""
    monkeypatch.setattr("hubreg.hub.git._COMMITS", held)
    repo = await hub.repo()
    watched = Watched(hub.app.db)
    git = Git(cast("Database", watched), hub.app.access, hub.app.git.packing)
    for n in range(3):
        head = Oid((await hub.commit(repo, add("a", f"{n}"))).id)
        watched.asked.clear()
        answers = await asyncio.gather(
            *(git.fetch(hub.eve, repo, Fetch(wants=[head], done=True)) for _ in range(8))
        )
        assert len([sql for sql in watched.asked if "objects.data" in sql]) == 1
        for answer in answers:
            pieces = [piece async for piece in answer]
            assert b"".join(pieces).startswith(b"0008NAK\nPACK")
