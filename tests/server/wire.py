"""The server's protocol on loopback, and a client that sends exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from hubreg.server.logs import AccessLog, Scope
from hubreg.server.protocol import Limits, configured
from hubreg.server.pump import Pump

App = Callable[..., Awaitable[None]]
PATIENCE = 10.0  # seconds after which a test that waits has failed


@dataclass(frozen=True, slots=True)
class Line:
    """What the access log is told of a request."""

    method: str
    path: bytes
    status: int
    written: int


@dataclass
class Requests:
    """In the place of the access log: what it would be told."""

    lines: list[Line] = field(default_factory=list)

    def record(self, scope: Scope, status: int, written: int, seconds: float) -> None:
        self.lines.append(Line(scope["method"], scope["raw_path"], status, written))


@dataclass(frozen=True, slots=True)
class Served:
    port: int
    pump: Pump
    requests: Requests
    state: ServerState

    @property
    def lines(self) -> list[Line]:
        return self.requests.lines

    def small_buffers(self) -> None:
        """From now on the kernel takes little of what the clients do not read."""
        for connection in self.state.connections:
            sock = connection.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 10)

    async def logged(self, count: int) -> None:
        """Until so many requests have been answered or given up, and logged."""
        async with asyncio.timeout(PATIENCE):
            while len(self.lines) < count or self.state.tasks:  # noqa: ASYNC110 (no event of theirs tells)
                await asyncio.sleep(0.001)

    async def empty(self) -> None:
        """Until every connection is closed."""
        async with asyncio.timeout(PATIENCE):
            while self.state.connections or self.state.tasks or self.pump.transfers:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    app: App,
    *,
    limits: Limits | None = None,
    keep_alive: int = 5,
    tls: ssl.SSLContext | None = None,
    max_connections: int | None = None,
) -> AsyncIterator[Served]:
    """`app` served on a free port. At the end nothing of it may be left: no task, no transfer, no descriptor."""
    limits = limits or Limits()
    requests, pump, state = Requests(), Pump(limits.idle_seconds), ServerState()
    protocol = configured(pump, limits, cast("AccessLog", requests))
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive,
        limit_concurrency=max_connections,
    )
    config.load()
    loop = asyncio.get_running_loop()
    made: Callable[[], Any] = lambda: protocol(config, state, {}, loop)  # noqa: E731
    server = await loop.create_server(made, "127.0.0.1", 0, ssl=tls)
    served = Served(server.sockets[0].getsockname()[1], pump, requests, state)
    try:
        async with connected(served):
            pass  # what the loop opens for its first connection and keeps
        await served.empty()
        before = descriptors()
        yield served
        for connection in list(state.connections):
            connection.transport.abort()
        await served.empty()
        await _closed(before)
    finally:
        server.close()
        await server.wait_closed()
        pump.close()


async def _closed(before: set[str]) -> None:
    """Loops close sockets a turn or two after they are told to."""
    for _ in range(400):
        if not descriptors() - before:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"descriptors are left open: {descriptors() - before}")


def descriptors() -> set[str]:
    """What this process has open, each with its number."""
    found: set[str] = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(f"{number}: {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection. What it waits for must come within `PATIENCE`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def sent(self) -> None:
        """Until the kernel has what was sent. Raises where the server has gone."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def head(self) -> Answer:
        """Status and headers; the body is still to come."""
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in lines)
        return Answer(int(first.split(" ")[1]), headers, b"")

    async def answer(self, method: str = "GET") -> Answer:
        """A whole response with a Content-Length."""
        head = await self.head()
        body = b""
        if method != "HEAD" and head.status >= 200:
            body = await self.read(int(head.headers["content-length"]))
        return Answer(head.status, head.headers, body)

    async def get(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        self.send(request(method, path, **headers))
        return await self.answer(method)

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, however it ends."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while part := await self.reader.read(1 << 16):
                    data += part
            except ConnectionError:
                pass
        return data

    def reset(self) -> None:
        """Leave at once, as a process does that is killed with bytes unread."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


def request(method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str) -> bytes:
    """The bytes of a request. A header's name has `_` for `-`; with a body it has a Content-Length."""
    head = f"{method} {path} HTTP/1.1\r\nHost: test\r\n"
    if body is not None and "content_length" not in headers:
        headers["content_length"] = str(len(body))
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return head.encode("latin-1") + b"\r\n" + (body or b"")


@asynccontextmanager
async def connected(
    served: Served, *, receive_buffer: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """A client of the server; with a small `receive_buffer` the server soon notices when it does not read."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", served.port))
    limit = receive_buffer or 1 << 20
    name = "localhost" if tls is not None else None
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit, ssl=tls, server_hostname=name)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError, ssl.SSLError):  # the server was first
            await writer.wait_closed()


def answering(body: bytes, status: int = 200) -> App:
    """An application that always says the same and reads nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
