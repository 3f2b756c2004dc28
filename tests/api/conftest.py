"""The whole application over a real data directory, and the people who call it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubreg.api.asgi import Api
from hubreg.app import App, build
from hubreg.config import Config
from hubreg.identity.accounts import SYSTEM
from hubreg.model import OrgRole, TokenRole
from hubreg.ops import directory
from hubreg.store.db import wall

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> dict[str, Any]:
    """An answer of the real Hub, as it was recorded (tests/golden/README.md)."""
    sample: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return sample


@dataclass(frozen=True, slots=True)
class People:
    """
    Tokens. `ann` owns what the tests make and administers the organisation `acme`, which makes repos private; `bob`
    is a stranger to her repos; `cat` may only read in `acme`.
    """

    ann: str
    bob: str
    cat: str
    ann_reads: str  # ann's too, but it may only read


class Hub(httpx.AsyncClient):
    """A client that asks as `ann` unless told otherwise, and knows how to make a repo and a commit."""

    async def made(self, name: str = "ann/model", type_: str = "model", **settings: Any) -> str:
        """A new repo; its id."""
        namespace, _, bare = name.partition("/")
        body = {"name": bare, "organization": namespace, "type": type_, **settings}
        response = await self.post("/api/repos/create", json=body)
        assert response.status_code == 200, response.text
        return name

    async def commit(
        self, api: str, files: dict[str, bytes], revision: str = "main", **query: Any
    ) -> dict[str, Any]:
        """Commit files to the repo at the API path `api`, e.g. `models/ann/model`; the answer."""
        lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "files", "description": ""}}]
        for path, content in files.items():
            value = {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}
            lines.append({"key": "file", "value": value})
        response = await self.post(
            f"/api/{api}/commit/{revision}", content=ndjson(*lines), params=query, headers=NDJSON
        )
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def large(self, api: str, path: str, content: bytes) -> str:
        """Commit a large file by way of LFS; its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        kind, repo = api.split("/", 1)
        web = repo if kind == "models" else api
        asked = {
            "operation": "upload",
            "transfers": ["basic"],
            "objects": [{"oid": sha256, "size": len(content)}],
        }
        batch = await self.post(f"/{web}.git/info/lfs/objects/batch", json=asked)
        [answer] = batch.json()["objects"]
        if "actions" in answer:
            sent = await self.put(answer["actions"]["upload"]["href"], content=content)
            assert sent.status_code == 200, sent.text
        value = {"path": path, "algo": "sha256", "oid": sha256, "size": len(content)}
        body = ndjson({"key": "header", "value": {"summary": "large"}}, {"key": "lfsFile", "value": value})
        response = await self.post(f"/api/{api}/commit/main", content=body, headers=NDJSON)
        assert response.status_code == 200, response.text
        return sha256


NDJSON = {"Content-Type": "application/x-ndjson"}


def ndjson(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


ANYBODY = {"Authorization": ""}  # as good as no credentials
STRANGE = bearer("hf_" + "x" * 34)  # a token of another hub


@pytest.fixture
def settings() -> dict[str, Any]:
    """What the configuration has beside its defaults; a test module may override it."""
    return {}


@pytest.fixture
def config(tmp_path: Path, settings: dict[str, Any]) -> Config:
    return Config(data=tmp_path / "data", **settings)


@pytest.fixture
def prepared(config: Config) -> None:
    directory.prepare(config, wall)


@pytest.fixture
async def app(config: Config, prepared: None) -> AsyncIterator[App]:
    async with build(config) as app:
        yield app


@pytest.fixture
async def people(app: App) -> People:
    for name in ("ann", "bob", "cat"):
        await app.accounts.add_user(SYSTEM, name, fullname=name.title(), email=f"{name}@example.org")
    await app.accounts.add_org(SYSTEM, "acme", fullname="Acme", private_by_default=True)
    await app.accounts.set_member(SYSTEM, "acme", "ann", OrgRole.ADMIN)
    await app.accounts.set_member(SYSTEM, "acme", "cat", OrgRole.READ)

    async def token(name: str, role: TokenRole = TokenRole.WRITE, called: str = "laptop") -> str:
        return await app.accounts.create_token(SYSTEM, name, role, called)

    return People(
        ann=await token("ann"),
        bob=await token("bob"),
        cat=await token("cat"),
        ann_reads=await token("ann", TokenRole.READ, "reader"),
    )


@pytest.fixture
def api(app: App) -> Api:
    return Api(app)


Connect = Callable[..., Hub]


@pytest.fixture
async def connect(api: Api) -> AsyncIterator[Connect]:
    """Clients of the application: `connect(token)`, closed when the test is over."""
    clients: list[Hub] = []

    def connect(
        token: str = "", base_url: str = "http://hub.test", client: tuple[str, int] = ("127.0.0.1", 1)
    ) -> Hub:
        transport = httpx.ASGITransport(api, raise_app_exceptions=False, client=client)
        hub = Hub(transport=transport, base_url=base_url, headers=bearer(token) if token else {})
        clients.append(hub)
        return hub

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
def hub(connect: Connect, people: People) -> Hub:
    """Ann's client."""
    return connect(people.ann)
