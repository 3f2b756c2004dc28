"""Under TLS the same answers come by the ordinary way: read in threads, encrypted, never by zero-copy."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import ssl
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from hubreg.api.bodies import BATCH, FileBody, spool
from hubreg.server.protocol import Limits
from tests.server.wire import answering, connected, request, serving

pytestmark = pytest.mark.anyio

PEM = Path(__file__).with_name("localhost.pem")
CONTENT = random.Random(5).randbytes(3 * BATCH + 7)


@pytest.fixture
def ours() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@pytest.fixture
def theirs() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(PEM))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "content").write_bytes(CONTENT)
    return tmp_path / "content"


def files(path: Path) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (scope["scheme"], scope.get("extensions", {})) == ("https", {})
        start, _, end = scope["path"][1:].partition("-")
        await FileBody(path, size=len(CONTENT), start=int(start), end=int(end))(scope, receive, send)

    return app


async def test_pieces_of_a_file(file: Path, ours: ssl.SSLContext, theirs: ssl.SSLContext) -> None:
    """Byte for byte, one after the other on one connection, on both sides of a batch's size."""
    async with serving(files(file), tls=ours) as served, connected(served, tls=theirs) as client:
        for start, end in [
            (0, len(CONTENT)),
            (5, BATCH + 5),
            (5, BATCH + 6),
            (7, 7),
            (len(CONTENT) - 1, len(CONTENT)),
        ]:
            assert (await client.get(f"/{start}-{end}")).body == CONTENT[start:end]
            assert (await client.get(f"/{start}-{end}", "HEAD")).headers["content-length"] == str(end - start)
        await served.logged(10)
        assert sum(line.written for line in served.lines) == len(CONTENT) + 2 * BATCH + 2


async def test_a_body(ours: ssl.SSLContext, theirs: ssl.SSLContext) -> None:
    """It arrives whole, and the connection goes on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        hashed = hashlib.sha256()
        total = await spool(Request(scope, receive), _Sink(hashed))
        await answering(b"%d %s" % (total, hashed.hexdigest().encode()))(scope, receive, send)

    async with serving(app, tls=ours) as served, connected(served, tls=theirs) as client:
        for data in (CONTENT, b"", CONTENT[:1000]):
            client.send(request("PUT", "/", data))
            expected = b"%d %s" % (len(data), hashlib.sha256(data).hexdigest().encode())
            assert (await client.answer()).body == expected


class _Sink:
    def __init__(self, hashed: Any) -> None:
        self.write = hashed.update


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves(
    file: Path, ours: ssl.SSLContext, theirs: ssl.SSLContext, how: str
) -> None:
    """Reading ends with it, and nothing stays open."""
    async with serving(files(file), tls=ours) as served:
        for _ in range(5):
            async with connected(served, tls=theirs, receive_buffer=16 << 10) as client:
                client.send(request("GET", f"/0-{len(CONTENT)}"))
                await client.head()
                if how == "reset":
                    client.reset()
        await served.empty()
        assert all(line.written < len(CONTENT) for line in served.lines)


async def test_a_client_that_takes_nothing(file: Path, ours: ssl.SSLContext, theirs: ssl.SSLContext) -> None:
    """It is dropped after the time that it may take nothing; one that is slow is not."""
    async with serving(files(file), tls=ours, limits=Limits(idle_seconds=0.5)) as served:
        async with connected(served, tls=theirs, receive_buffer=16 << 10) as client:
            await client.get("/0-1", "HEAD")
            served.small_buffers()
            client.send(request("GET", f"/0-{len(CONTENT)}"))
            await client.head()
            await served.empty()
        async with connected(served, tls=theirs, receive_buffer=16 << 10) as client:
            await client.get("/0-1", "HEAD")
            served.small_buffers()
            client.send(request("GET", f"/0-{len(CONTENT)}"))
            await client.head()
            got = b""
            for _ in range(30):
                got += await client.read(10_000)
                await asyncio.sleep(0.03)
            assert got + await client.read(len(CONTENT) - len(got)) == CONTENT


async def test_a_file_that_becomes_shorter(file: Path, ours: ssl.SSLContext, theirs: ssl.SSLContext) -> None:
    """The connection is cut: what the client has is not taken for the whole."""
    async with (
        serving(files(file), tls=ours) as served,
        connected(served, tls=theirs, receive_buffer=16 << 10) as client,
    ):
        await client.get("/0-1", "HEAD")
        served.small_buffers()
        client.send(request("GET", f"/0-{len(CONTENT)}"))
        await client.head()
        os.truncate(file, 1_500_000)
        assert len(await client.rest()) < len(CONTENT)
        await served.empty()


async def test_plain_http_on_a_tls_port(ours: ssl.SSLContext) -> None:
    """There is no answer that it could read; the connection ends and the server goes on."""
    async with serving(answering(b"few"), tls=ours) as served:
        async with connected(served) as client:
            client.send(request("GET"))
            assert b"few" not in await client.rest()
        theirs = ssl.create_default_context(cafile=str(PEM))
        async with connected(served, tls=theirs) as client:
            assert (await client.get()).body == b"few"
