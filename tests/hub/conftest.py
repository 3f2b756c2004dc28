"""A hub with three people: `ann` owns what the tests make, `bob` is a stranger, `eve` sent no credentials."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hubreg.app import App, build
from hubreg.config import Config
from hubreg.formats.commitlines import FileLine, Line
from hubreg.hub.commits import Committed
from hubreg.identity.accounts import SYSTEM
from hubreg.model import ANONYMOUS, Actor, CommitHeader, RepoType, Sha256, TokenRole
from hubreg.ops import directory
from hubreg.store import objects
from hubreg.store.db import Database, Row, wall
from hubreg.store.repos import Repo


async def lines(
    *operations: Line, summary: str = "a change", parent: str | None = None
) -> AsyncIterator[Line]:
    """A commit's lines, header first."""
    yield CommitHeader(summary, parent=parent)
    for operation in operations:
        yield operation


def add(path: str, content: bytes | str = b"content") -> FileLine:
    return FileLine(path, content.encode() if isinstance(content, str) else content)


class Watched:
    """A database that keeps what it is asked."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def scan(self, sql: str, *values: object) -> list[Row]:
        self.asked.append(sql)
        return await self._db.scan(sql, *values)

    async def all(self, sql: str, *values: object) -> list[Row]:
        self.asked.append(sql)
        return await self._db.all(sql, *values)


@dataclass(frozen=True, slots=True)
class Hub:
    """The use cases, and who calls them."""

    app: App
    ann: Actor
    bob: Actor
    eve: Actor = ANONYMOUS

    async def repo(self, name: str = "model", *, private: bool = False) -> Repo:
        return await self.app.repos.create(self.ann, RepoType.MODEL, None, name, private=private)

    async def again(self, repo: Repo) -> Repo:
        """The repo as it is now."""
        return await self.app.repos.find(self.ann, repo.ref.type, repo.ref.full)

    async def commit(
        self,
        repo: Repo,
        *operations: Line,
        revision: str = "main",
        parent: str | None = None,
        summary: str = "a change",
    ) -> Committed:
        taken = lines(*operations, summary=summary, parent=parent)
        return await self.app.commits.commit(self.ann, repo, revision, taken)

    async def tree(self, repo: Repo, revision: str = "main", folder: str = "") -> list[str]:
        """Every path below a folder, in listing order."""
        snapshot = await self.app.snapshots.at(repo, revision)
        entries, _ = await self.app.snapshots.page(snapshot, folder, recursive=True, limit=10_000)
        return [entry.path for entry in entries]

    async def content(self, repo: Repo, path: str, revision: str = "main") -> bytes:
        snapshot = await self.app.snapshots.at(repo, revision)
        return await self.app.snapshots.content(await self.app.snapshots.entry(snapshot, path))

    async def large(self, repo: Repo, content: bytes, *, proposed: bool = False) -> Sha256:
        """Content in large file storage, as if it had been uploaded."""
        async with self.app.blobs.create() as upload:
            upload.write(content)
            kept = await upload.publish()
        async with self.app.db.write() as tx:
            await objects.add_large(tx, repo.id, kept.sha256, kept.size, proposed=proposed)
        assert kept.sha256 == hashlib.sha256(content).hexdigest()
        return kept.sha256


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data")


@pytest.fixture
async def hub(config: Config, prepared: None) -> AsyncIterator[Hub]:
    async with build(config) as app:
        actors = []
        for name in ("ann", "bob"):
            await app.accounts.add_user(SYSTEM, name)
            token = await app.accounts.create_token(SYSTEM, name, TokenRole.WRITE, "test")
            actors.append(await app.credentials.actor(f"Bearer {token}"))
        yield Hub(app, *actors)


@pytest.fixture
def prepared(config: Config) -> None:
    directory.prepare(config, wall)
