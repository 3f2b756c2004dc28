"""
Bytes in and out of handlers, streamed.

Out: `FileBody` answers with a piece of a file. Where the server offers `http.response.zerocopysend` the file
goes from the page cache to the socket without passing through Python; elsewhere (TLS, another server) it is
read in threads, 1 MiB at a time, never faster than the client takes it.

In: `spool` hands a request body to a sink in a thread, about 1 MiB at a time; `read_body` collects a small
one. Where the server offers `hubreg.request.spool` a big body never passes through the event loop at all.

A client that leaves is nobody's fault: `ClientGone` says so, is no `HubregError`, and must pass through the
boundary untouched. There is nobody left to answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hubreg.errors import Damaged, Invalid, TooLarge

BATCH = 1 << 20  # what one trip to a thread carries
SMALL = 256 << 10  # a body below this is not worth taking off the socket by another thread

ZERO_COPY = "http.response.zerocopysend"
SPOOL = "hubreg.request.spool"

T = TypeVar("T")


class ClientGone(Exception):
    """The client left in the middle of a body. Logged as one access line, never as a failure."""


class Incoming(Protocol):
    """What is read from: a Starlette `Request`, or anything else with these two."""

    @property
    def scope(self) -> Scope: ...

    @property
    def receive(self) -> Receive: ...


class Sink(Protocol):
    """Where a body goes: called in a thread, one call at a time. `data` is valid only during the call."""

    def write(self, data: bytes | memoryview, /) -> object: ...


async def threaded(function: Callable[..., T], *args: Any) -> T:
    """
    Run `function` in a thread; when cancelled, wait for it before passing the cancellation on.

    `asyncio.to_thread` returns at once when cancelled while its thread runs on: whoever then closes the file
    that the thread still writes to may see the bytes arrive in another file that got the same descriptor.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function, *args)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # taken note of: the cancellation is what counts now
        raise


class FileBody(Response):
    """
    A response whose body is the bytes from `start` up to, not including, `end` of a file of `size` bytes.

    `source` is a path, opened when the body is sent (never for HEAD); an open descriptor, which this
    response owns and closes; or the whole content of a small file. `Content-Length` is always set,
    `Content-Range` with status 206. A file that turns out shorter than `end` is `Damaged`: before the first
    byte that is an answer, later a cut connection.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | int | bytes,
        *,
        size: int,
        start: int = 0,
        end: int | None = None,
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.source = source
        self.size = size
        self.start = start
        self.end = size if end is None else end
        self.status_code = status
        self.background = None
        self.raw_headers = _raw(headers)
        self.raw_headers.append((b"content-length", b"%d" % (self.end - self.start)))
        if status == 206:
            self.raw_headers.append((b"content-range", b"bytes %d-%d/%d" % (self.start, self.end - 1, size)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(self.source, bytes) or scope["method"] == "HEAD" or self.start == self.end:
            if isinstance(self.source, int):
                os.close(self.source)
            body = b""
            if isinstance(self.source, bytes) and scope["method"] != "HEAD":
                body = self.source[self.start : self.end]
            await self._begin(send)
            await send({"type": "http.response.body", "body": body})
            return
        opened = self.source if isinstance(self.source, int) else os.open(self.source, os.O_RDONLY)
        try:
            if os.fstat(opened).st_size < self.end:
                raise Damaged("The stored file is shorter than it should be.")
            await self._begin(send)
            if ZERO_COPY in scope.get("extensions", ()):
                count = self.end - self.start
                await send({"type": ZERO_COPY, "file": opened, "offset": self.start, "count": count})
            else:
                await self._copy(opened, receive, send)
        finally:
            os.close(opened)

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _copy(self, opened: int, receive: Receive, send: Send) -> None:
        """Read and send by turns. `send` is silent about a client that left, so `receive` is watched."""
        gone = asyncio.ensure_future(_departure(receive))
        try:
            at = self.start
            while at < self.end and not gone.done():
                data = await threaded(os.pread, opened, min(BATCH, self.end - at), at)
                if not data:
                    raise Damaged("The stored file became shorter while it was sent.")
                at += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": at < self.end})
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone


def _raw(headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] | None) -> list[tuple[bytes, bytes]]:
    if isinstance(headers, Mapping):
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return list(headers or ())


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def chunks(request: Incoming) -> AsyncIterator[bytes]:
    """The body as it arrives; `ClientGone` when it stops in the middle."""
    receive = request.receive
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if body := message.get("body", b""):
            yield body
        if not message.get("more_body", False):
            return


def announced(scope: Scope) -> int | None:
    """The length that the client announced, None for a chunked body; 0 where there is no body."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise Invalid("Content-Length is not a number.")
            length = int(value)
        elif name == b"transfer-encoding":
            return None
    return length


async def read_body(request: Incoming, limit: int) -> bytes:
    """A small body in one piece: `TooLarge` past `limit`, before reading where the length was announced."""
    length = announced(request.scope)
    if length is not None and length > limit:
        raise _past(limit)
    parts: list[bytes] = []
    total = 0
    async for part in chunks(request):
        total += len(part)
        if total > limit:
            raise _past(limit)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def spool(
    request: Incoming, sink: Sink, *, limit: int | None = None, expected: int | None = None
) -> int:
    """
    Stream the body into `sink` and return its length.

    `TooLarge` past `limit` or past the `expected` length, `Invalid` when a whole body is shorter than
    `expected`, both without reading where the announced length says so already. `ClientGone` when the client
    leaves. Whatever the sink raises comes through; the sink is never called again after an error, nor still
    running when this returns.
    """
    length = announced(request.scope)
    if length is not None:
        _judge(length, limit, expected)
        into = request.scope.get("extensions", {}).get(SPOOL)
        if into is not None and length >= SMALL:
            taken: int = await into["into"](sink.write)
            return taken
    total = 0
    batch: list[bytes] = []
    held = 0
    async for part in chunks(request):
        total += len(part)
        if limit is not None and total > limit:
            raise _past(limit)
        if expected is not None and total > expected:
            raise _longer(expected)
        batch.append(part)
        held += len(part)
        if held >= BATCH:
            await threaded(_pour, sink.write, batch)
            batch, held = [], 0
    if expected is not None and total < expected:
        raise _shorter(total, expected)
    if batch:
        await threaded(_pour, sink.write, batch)
    return total


def _pour(write: Callable[[bytes], object], batch: list[bytes]) -> None:
    write(batch[0] if len(batch) == 1 else b"".join(batch))


def _judge(length: int, limit: int | None, expected: int | None) -> None:
    if limit is not None and length > limit:
        raise _past(limit)
    if expected is not None and length > expected:
        raise _longer(expected)
    if expected is not None and length < expected:
        raise _shorter(length, expected)


def _past(limit: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {limit} bytes.")


def _longer(expected: int) -> TooLarge:
    return TooLarge(f"The request body is longer than the announced {expected} bytes.")


def _shorter(total: int, expected: int) -> Invalid:
    return Invalid(f"The request body ended after {total} of {expected} bytes.")
