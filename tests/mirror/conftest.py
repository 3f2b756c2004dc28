"""A server that mirrors a stand-in upstream, its clock in the test's hands, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from hubreg.api.asgi import Api
from hubreg.app import App, build
from hubreg.config import Config
from hubreg.identity.accounts import SYSTEM
from hubreg.identity.sealing import Sealing
from hubreg.mirror import sources
from hubreg.model import TokenRole
from hubreg.ops import directory
from hubreg.store import mirror
from hubreg.store.mirror import RuleRow, Upstream
from tests.fakehub import FakeHub, Repo, lfs
from tests.store.clock import Clock

NAME = "Org/Model"


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
def model(fake: FakeHub) -> Repo:
    repo = fake.model(NAME)
    repo.commit({"README.md": b"hello", "config.json": b"{}", "data/weights.bin": lfs(b"weights")})
    return repo


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data")


@pytest.fixture
def prepared(config: Config, clock: Clock) -> None:
    directory.prepare(config, clock)


@pytest.fixture
async def app(config: Config, clock: Clock, prepared: None) -> AsyncIterator[App]:
    async with build(config, clock) as app:
        yield app


@dataclass
class Mirrored:
    """The server and its upstream. `upstream` is the upstream's id here."""

    app: App
    api: Api
    fake: FakeHub
    clock: Clock
    upstream: int
    ann: str  # token of a user of this server

    def client(self, token: str = "") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://hub.test", headers=headers)

    async def get(self, path: str, token: str = "", method: str = "GET") -> httpx.Response:
        async with self.client(token) as client:
            return await client.request(method, path)

    async def head(self, path: str, token: str = "") -> httpx.Response:
        return await self.get(path, token, "HEAD")

    def later(self, seconds: float) -> None:
        self.clock.at += int(seconds * 1000)

    async def rule(
        self, pattern: str, mode: str, *, first: bool = True, ttl: int = 60, foreign: int = 0
    ) -> None:
        async with self.app.db.write() as tx:
            row = RuleRow(0, "", pattern, mode, self.upstream if mode != "deny" else None, ttl, foreign)
            await mirror.add_rule(tx, row, first=first)

    def calls(self, kind: str = "") -> int:
        """How many requests upstream has seen since the last `forget`."""
        return len(self.fake.seen(kind=kind) if kind else self.fake.seen())  # type: ignore[arg-type]


Upstreamed = Callable[..., Mirrored]


@pytest.fixture
async def hub(app: App, fake: FakeHub, model: Repo, clock: Clock) -> Mirrored:
    """Everything is mirrored from the stand-in, as nobody."""
    sealing = Sealing(app.layout.read_secret())
    async with app.db.write() as tx:
        kept = Upstream(0, "hub", fake.url, hosts=("127.0.0.2",))
        id_ = await mirror.put_upstream(tx, kept, sealing.seal("", sources.purpose("hub")))
        await mirror.add_rule(tx, RuleRow(0, "", "*", "mirror", id_, 60, 0))
    await app.accounts.add_user(SYSTEM, "ann")
    ann = await app.accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "laptop")
    return Mirrored(app, Api(app), fake, clock, id_, ann)
