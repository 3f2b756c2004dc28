"""The hub of `tests/hub`, and what is done beside its requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from hubreg.formats.chunking import Chunker
from hubreg.hub.xet_uploads import Progress
from hubreg.model import Actor, AddLfs, Millis, Sha256, XetHash
from hubreg.ops.gc import Collected, Collector, Survey
from hubreg.ops.indexing import Indexing
from hubreg.store import upkeep, xet
from hubreg.store.db import wall
from hubreg.store.local import LocalBlobs
from hubreg.store.repos import Repo
from hubreg.store.upkeep import Unindexed
from tests.hub.conftest import Hub, config, hub, prepared
from tests.xet_client import Package, package

__all__ = ["config", "hub", "prepared"]

DAY = 24 * 3600 * 1000  # milliseconds


@dataclass(frozen=True)
class Keeper:
    """Whoever keeps a hub in order. What is collected is so as of some days later."""

    hub: Hub
    blobs: LocalBlobs

    async def plain(self, repo: Repo, content: bytes, path: str = "plain.bin") -> Sha256:
        """A large file that came by LFS, and a commit that names it."""
        sha256 = await self.hub.large(repo, content)
        await self.hub.commit(repo, AddLfs(path, sha256, len(content)))
        return sha256

    async def send(
        self, repo: Repo, sent: Package, path: str = "xet.bin", actor: Actor | None = None
    ) -> None:
        """A large file by Xet, and a commit that names it."""
        await self.uploaded(repo, sent, actor)
        await self.hub.commit(repo, AddLfs(path, sent.sha256, len(sent.content)))

    async def uploaded(self, repo: Repo, sent: Package, actor: Actor | None = None) -> None:
        """The same without the commit; xorbs that are here already are not sent."""
        uploads, tokens = self.hub.app.xet.uploads, self.hub.app.xet.tokens
        for xorb in sent.xorbs:
            if not await uploads.holds(xorb.name):
                async with uploads.receive(xorb.name) as incoming:
                    incoming.write(xorb.body)
                    await incoming.finish()
        token = tokens.issue(actor or self.hub.ann, repo, write=True)
        async with uploads.scratch() as scratch:
            scratch.write(sent.shard)
            await uploads.take(await tokens.holder(f"Bearer {token.text}"), scratch, Progress())

    @property
    def indexing(self) -> Indexing:
        return Indexing(self.hub.app.db, self.hub.app.layout, Chunker)

    async def index(self) -> list[XetHash | None]:
        """Everything that waits."""
        done: list[XetHash | None] = []
        while (wanted := await self.waiting()) is not None:
            done.append(await self.indexing.index(wanted))
        return done

    async def waiting(self) -> Unindexed | None:
        return await upkeep.next_unindexed(self.hub.app.db, 1)

    async def offered(self, sha256: Sha256) -> XetHash | None:
        return (await xet.hashes(self.hub.app.db, [sha256])).get(sha256)

    async def content(self, sha256: Sha256) -> bytes:
        return b"".join([piece async for piece in self.hub.app.blobs.read(sha256)])

    def collector(self, days: float) -> Collector:
        return Collector(self.hub.app.db, self.blobs, lambda: Millis(wall() + int(days * DAY)))

    async def survey(self, days: float) -> Survey:
        return await self.collector(days).survey()

    async def collect(self, days: float) -> Collected:
        collector = self.collector(days)
        return await collector.remove(await collector.survey())

    async def rows(self, table: str) -> int:
        row = await self.hub.app.db.one(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 the tests' own words
        assert row is not None
        return int(row[0])

    def files(self) -> set[str]:
        """The names of all blobs and xorbs on the disk."""
        layout = self.hub.app.layout
        return {path.name for place in (layout.blobs, layout.xorbs) for path in place.glob("*/*")}


@pytest.fixture
async def keeper(hub: Hub) -> AsyncIterator[Keeper]:
    blobs = LocalBlobs(hub.app.layout)
    yield Keeper(hub, blobs)
    blobs.close()


def named(content: bytes) -> XetHash:
    """The Xet hash that a client gives to a file."""
    return package(content).file.name
