"""Rows of a server without anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hubreg.store.db import Database, migrate
from tests.store.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def db(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    migrate(tmp_path / "rows.db")
    db = Database(tmp_path / "rows.db", clock)
    await db.open()
    yield db
    await db.close()
