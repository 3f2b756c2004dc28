"""hubreg in front of hubreg: what the one hosts is there by the other, the same, and goes on when the first stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from hubreg.api.asgi import Api
from hubreg.app import App, build
from hubreg.config import Config
from hubreg.identity.accounts import SYSTEM
from hubreg.model import TokenRole
from hubreg.ops import directory
from tests.api.conftest import Hub
from tests.store.clock import Clock

pytestmark = pytest.mark.anyio

NAME = "ann/model"
API = f"/api/models/{NAME}"
LARGE = bytes(range(256)) * 4000


class Served:
    """An application on loopback until it is stopped."""

    def __init__(self, app: App) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(Api(app), lifespan="off", log_config=None, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._task = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Chain:
    """`first` hosts, as `ann`; `second` mirrors it, for anybody, and `bob` has an account there."""

    first: Hub
    second: httpx.AsyncClient
    served: Served
    mirror: App
    clock: Clock
    bob: str

    async def both(self, path: str) -> tuple[httpx.Response, httpx.Response]:
        """The two answers to one request of nobody's, redirects followed."""
        nobody = {"Authorization": ""}
        return await self.first.get(path, headers=nobody), await self.second.get(path)


@pytest.fixture
def configs(tmp_path: Path, clock: Clock) -> list[Config]:
    made = [Config(data=tmp_path / name) for name in ("first", "second")]
    for config in made:
        directory.prepare(config, clock)
    return made


@pytest.fixture
async def chain(configs: list[Config], clock: Clock) -> AsyncIterator[Chain]:
    async with build(configs[0], clock) as hosting, build(configs[1], clock) as mirroring:
        served = Served(hosting)
        await hosting.accounts.add_user(SYSTEM, "ann")
        token = await hosting.accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "laptop")
        await mirroring.accounts.add_user(SYSTEM, "bob")
        bob = await mirroring.accounts.create_token(SYSTEM, "bob", TokenRole.WRITE, "laptop")
        await mirroring.upstreams.configure(SYSTEM, served.url)
        front = httpx.ASGITransport(Api(mirroring), raise_app_exceptions=False)
        async with (
            Hub(
                base_url=served.url, headers={"Authorization": f"Bearer {token}"}, follow_redirects=True
            ) as first,
            httpx.AsyncClient(transport=front, base_url="http://hub.test", follow_redirects=True) as second,
        ):
            yield Chain(first, second, served, mirroring, clock, bob)
        await served.stop()


async def filled(chain: Chain) -> str:
    """A model with small files and a large one, a tag and a branch; the commit of `main`."""
    await chain.first.made()
    await chain.first.commit(
        f"models/{NAME}", {"config.json": b"{}", "data/a b.txt": b"a" * 5000, "empty": b""}
    )
    await chain.first.large(f"models/{NAME}", "weights.bin", LARGE)
    for path, body in ((f"{API}/branch/dev", {}), (f"{API}/tag/main", {"tag": "v1"})):
        assert (await chain.first.post(path, json=body)).status_code == 200
    return str((await chain.first.get(API)).json()["sha"])


async def test_the_same_answers(chain: Chain) -> None:
    """Ids, sizes, ETags and bytes of every file; refs, history and listings."""
    sha = await filled(chain)
    for path in (
        f"{API}/tree/main?recursive=1",
        f"{API}/tree/{sha}/data",
        f"{API}/refs",
        f"{API}/commits/main",
    ):
        ours, theirs = await chain.both(path)
        assert (theirs.status_code, theirs.json()) == (200, ours.json()), path
    ours, theirs = await chain.both(f"{API}?blobs=true")
    for key in ("id", "sha", "siblings", "private", "gated", "tags", "createdAt", "lastModified"):
        assert theirs.json()[key] == ours.json()[key], key
    for revision in ("main", "v1", "dev", sha):
        for file in ("config.json", "data/a%20b.txt", "empty", "weights.bin"):
            ours, theirs = await chain.both(f"/{NAME}/resolve/{revision}/{file}")
            assert theirs.content == ours.content
            for header in ("etag", "x-repo-commit", "content-length", "content-disposition", "content-type"):
                assert theirs.headers[header] == ours.headers[header], (file, header)


async def test_the_same_refusals(chain: Chain) -> None:
    """What is not there, and a private repo, are so for the mirror's callers too."""
    sha = await filled(chain)
    await chain.first.made("ann/secret", private=True)
    for path in (
        f"/{NAME}/resolve/{sha}/none",
        f"{API}/revision/none",
        "/api/models/ann/none",
        "/api/models/ann/secret",
    ):
        ours, theirs = await chain.both(path)
        assert (theirs.status_code, theirs.headers["x-error-code"]) == (
            ours.status_code,
            ours.headers["x-error-code"],
        )
        assert theirs.status_code in (401, 404)


async def test_a_renamed_repo(chain: Chain) -> None:
    """By its old name and by its new one."""
    sha = await filled(chain)
    moved = {"fromRepo": NAME, "toRepo": "ann/other", "type": "model"}
    assert (await chain.first.post("/api/repos/move", json=moved)).status_code == 200
    for name in (NAME, "ann/other", "Ann/Other"):
        answer = await chain.second.get(f"/api/models/{name}")
        assert (answer.json()["id"], answer.json()["sha"]) == ("ann/other", sha)


async def test_it_goes_on_alone(chain: Chain) -> None:
    """When the first stops, what was asked for once is there by every name that was asked for; more is not made up."""
    sha = await filled(chain)
    paths = [
        f"{API}/tree/main?recursive=1",
        f"{API}/refs",
        *(f"/{NAME}/resolve/{r}/weights.bin" for r in ("main", "v1", sha)),
    ]
    before = [(await chain.second.get(path)).content for path in paths]
    while not await chain.mirror.db.all("SELECT sha256 FROM mirror_blobs"):  # noqa: ASYNC110 a row is no event
        await asyncio.sleep(0.01)
    await chain.served.stop()
    chain.clock.at += 3_600_000
    after = [(await chain.second.get(path)).content for path in paths]
    assert after == before
    assert after[-1] == LARGE
    answer = await chain.second.get(f"/{NAME}/resolve/dev/config.json")
    assert (answer.status_code, answer.headers["x-error-code"]) == (502, "UpstreamUnreachable")


async def test_a_commit_is_seen_when_its_time_has_come(chain: Chain) -> None:
    """A name that was asked for lately means what it meant."""
    await filled(chain)
    path = f"/{NAME}/resolve/main/config.json"
    assert (await chain.second.get(path)).content == b"{}"
    await chain.first.commit(f"models/{NAME}", {"config.json": b"[]"})
    assert (await chain.second.get(path)).content == b"{}"
    chain.clock.at += 61_000
    assert (await chain.second.get(path)).content == b"[]"


async def test_a_user_of_the_second_writes_to_neither(chain: Chain) -> None:
    """Refused with the way out, and the first hears nothing of it."""
    sha = await filled(chain)
    await chain.second.get(API)
    headers = {"Authorization": f"Bearer {chain.bob}"}
    answer = await chain.second.post(f"{API}/branch/new", json={}, headers=headers)
    assert answer.status_code == 403
    assert "mirrored" in answer.text
    refs = (await chain.first.get(f"{API}/refs")).json()
    assert {(ref["name"], ref["targetCommit"]) for ref in refs["branches"]} == {("main", sha), ("dev", sha)}
