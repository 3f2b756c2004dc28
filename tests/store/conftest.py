"""A data directory of its own for each test, and the rows in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copyfile

import pytest

from hubreg.model import RepoType
from hubreg.store import accounts, repos
from hubreg.store.db import Database, migrate
from hubreg.store.layout import Layout
from hubreg.store.repos import Repo
from tests.store.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data directory without rows."""
    layout = Layout(tmp_path / "data")
    layout.prepare()
    return layout


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is up to date and empty, to be copied: making one takes several syncs."""
    path = tmp_path_factory.mktemp("migrated") / "hubreg.db"
    migrate(path)
    return path


@pytest.fixture
async def db(migrated: Path, tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    layout = Layout(tmp_path / "data")
    layout.root.mkdir(exist_ok=True)
    copyfile(migrated, layout.database)
    db = Database(layout.database, clock)
    await db.open()
    yield db
    await db.close()


@pytest.fixture
async def three(db: Database) -> list[Repo]:
    """Three repos without content, `ann/one` to `ann/three`."""
    async with db.write() as tx:
        ann = await accounts.insert(tx, public_id="a", kind="user", name="Ann", key="ann", fullname="Ann")
        for name in ("one", "two", "three"):
            await repos.insert(
                tx,
                public_id=name,
                type_=RepoType.MODEL,
                namespace_id=ann,
                name=name,
                key=f"ann/{name}",
                creator_id=ann,
                private=False,
                sdk="",
            )
    found = [await repos.find(db, RepoType.MODEL, f"ann/{name}") for name in ("one", "two", "three")]
    return [repo for repo, _ in filter(None, found)]
