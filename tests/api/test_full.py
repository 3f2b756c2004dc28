"""A disk that fills up in the middle of a write: 507 with a sentence, and nothing is left of it."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from hubreg.api import boundary
from hubreg.app import App, build
from hubreg.config import Config
from hubreg.errors import StorageFull
from hubreg.store.disk import Disk
from hubreg.store.local import LocalBlobs
from hubreg.store.xetblobs import XetBlobs
from tests.api.conftest import NDJSON, Hub, ndjson
from tests.api.test_xet import Door, door  # noqa: F401 (a fixture)
from tests.xet_client import package, some

pytestmark = pytest.mark.anyio

CONTENT = some(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class FillingDisk(Disk):
    """Has room until it is told which `step` finds none."""

    step = ""
    number = errno.ENOSPC

    def create(self, path: Path) -> int:
        self._fail("create")
        return super().create(path)

    def open(self, path: Path) -> int:
        self._fail("create")
        return super().open(path)

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        if self.step == "write":
            super().write(handle, data[: len(data) // 2], offset)
        self._fail("write")
        super().write(handle, data, offset)

    def sync(self, handle: int) -> None:
        self._fail("sync")
        super().sync(handle)

    def rename(self, source: Path, target: Path) -> None:
        self._fail("rename")
        super().rename(source, target)

    def _fail(self, step: str) -> None:
        if step == self.step:
            raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def disk() -> FillingDisk:
    return FillingDisk()


@pytest.fixture
async def app(config: Config, prepared: None, disk: FillingDisk) -> AsyncIterator[App]:
    async with build(config) as app:
        assert isinstance(app.blobs, XetBlobs)
        assert isinstance(app.blobs._plain, LocalBlobs)
        app.blobs._plain.disk = app.blobs._xorbs.disk = disk
        yield app


Send = Callable[[], Awaitable[httpx.Response]]


async def lfs(hub: Hub, door: Door) -> Send:  # noqa: F811
    objects = [{"oid": SHA256, "size": len(CONTENT)}]
    asked = {"operation": "upload", "transfers": ["basic"], "objects": objects}
    batch = await hub.post("/ann/model.git/info/lfs/objects/batch", json=asked)
    href = batch.json()["objects"][0]["actions"]["upload"]["href"]
    return lambda: hub.put(href, content=CONTENT)


async def commit(hub: Hub, door: Door) -> Send:  # noqa: F811
    value = {"path": "notes.txt", "content": "a" * 10_000, "encoding": "utf-8"}
    body = ndjson({"key": "header", "value": {"summary": "notes"}}, {"key": "file", "value": value})
    return lambda: hub.post("/api/models/ann/model/commit/main", content=body, headers=NDJSON)


async def xorb(hub: Hub, door: Door) -> Send:  # noqa: F811
    cas, [sent] = await door(hub), package(CONTENT).xorbs
    return lambda: cas.post(f"/v1/xorbs/default/{sent.name}", content=sent.body)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["full", "quota"])
@pytest.mark.parametrize("step", ["create", "write", "sync", "rename"])
@pytest.mark.parametrize("way", [lfs, commit, xorb], ids=lambda way: way.__name__)
async def test_a_full_disk(
    hub: Hub,
    door: Door,  # noqa: F811
    app: App,
    disk: FillingDisk,
    caplog: pytest.LogCaptureFixture,
    way: Callable[[Hub, Door], Awaitable[Send]],
    step: str,
    number: int,
) -> None:
    """The client gets a sentence, the operator a line without a traceback; the same works once there is room."""
    await hub.made()
    send = await way(hub, door)
    before = {path for path in app.layout.root.rglob("*") if path.suffix not in (".db-wal", ".db-shm")}
    disk.step, disk.number = step, number
    with caplog.at_level(logging.ERROR, "hubreg.api"):
        response = await send()
    assert (response.status_code, response.headers["X-Error-Code"]) == (507, "StorageFull")
    assert response.headers["X-Error-Message"] == StorageFull.MESSAGE
    assert {
        path for path in app.layout.root.rglob("*") if path.suffix not in (".db-wal", ".db-shm")
    } == before
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("ERROR", None)]
    disk.step = ""
    assert (await send()).status_code == 200


async def test_a_full_database(hub: Hub, app: App) -> None:
    """SQLite says it in its own way; it comes to the same, and reading goes on."""
    await hub.made()
    async with app.db.write() as tx:
        pages = await tx.one("PRAGMA page_count")
        assert pages is not None
        await tx.one(f"PRAGMA max_page_count = {pages[0]}")
    files = [{"path": f"{n}", "content": f"{n}", "encoding": "utf-8"} for n in range(3000)]
    lines = [{"key": "file", "value": file} for file in files]
    body = ndjson({"key": "header", "value": {"summary": "many"}}, *lines)
    response = await hub.post("/api/models/ann/model/commit/main", content=body, headers=NDJSON)
    assert (response.status_code, response.headers["X-Error-Code"]) == (507, "StorageFull")
    assert [file["path"] for file in (await hub.get("/api/models/ann/model/tree/main")).json()] == [
        ".gitattributes"
    ]
    async with app.db.write() as tx:
        await tx.one("PRAGMA max_page_count = 1000000")
    again = await hub.post("/api/models/ann/model/commit/main", content=body, headers=NDJSON)
    assert again.status_code == 200


@pytest.mark.parametrize("error", [StorageFull(StorageFull.MESSAGE), OSError(errno.ENOSPC, "full")])
def test_the_operator_hears_of_it(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever noticed it, and whatever the client is told."""
    known = boundary.known(error, "PUT /lfs")
    assert (type(known), known.message) == (StorageFull, StorageFull.MESSAGE)
    assert [record.getMessage().startswith("PUT /lfs: the disk is full") for record in caplog.records] == [
        True
    ]
