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
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hubreg.errors import Damaged, Invalid, TooLarge
from hubreg.formats.conditional import content_range
from hubreg.store.threads import run_in

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
    """Run `function` in one of the loop's threads; never left running by a caller that was cancelled."""
    return await run_in(None, function, *args)


class FileBody(Response):
    """
    A response whose body is the bytes from `start` up to, not including, `end` of a file of `size` bytes.

    `source` is a path, opened when the body is sent (never for HEAD); an open descriptor, which this
    response owns and closes; or the whole content of a small file. `Content-Length` is always set,
    `Content-Range` with status 206. A file that is missing or turns out shorter than `end` is `Damaged`: before
    the first byte that is an answer, later a cut connection.
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
            piece = content_range(self.start, self.end, size)
            self.raw_headers.append((b"content-range", piece.encode()))

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
        opened = self.source if isinstance(self.source, int) else _open(self.source)
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
        """Read and send by turns."""
        async with departures(receive) as gone:
            at = self.start
            while at < self.end and not gone.done():
                data = await threaded(os.pread, opened, min(BATCH, self.end - at), at)
                if not data:
                    raise Damaged("The stored file became shorter while it was sent.")
                at += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": at < self.end})


class StreamBody(Response):
    """
    A response whose body, the bytes from `start` up to `end` of something of `size` bytes, is made while it is sent.

    Nothing of `content` is taken for HEAD. What it raises before its first piece is an answer, later a cut connection.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        *,
        size: int,
        start: int = 0,
        end: int | None = None,
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.content = content
        self.left = (size if end is None else end) - start
        self.status_code = status
        self.background = None
        self.raw_headers = _raw(headers)
        self.raw_headers.append((b"content-length", b"%d" % self.left))
        if status == 206:
            self.raw_headers.append(
                (b"content-range", content_range(start, start + self.left, size).encode())
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD" or not self.left:
            await send(begin)
            await send({"type": "http.response.body"})
            return
        piece = await anext(self.content, b"")
        await send(begin)
        async with departures(receive) as gone:
            while piece and not gone.done():
                self.left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": self.left > 0})
                piece = await anext(self.content, b"") if self.left else b""
            if self.left and not gone.done():
                raise Damaged("The content ended before its announced length.")


class Arrival(Protocol):
    """A file that is on its way here."""

    @property
    def descriptor(self) -> int: ...

    def windows(self, start: int, end: int) -> AsyncIterator[tuple[int, int]]:
        """Ranges that are there, one behind the other, each as soon as it is; read before the next is asked for."""
        ...


class ArrivingBody(Response):
    """
    A response whose body is the bytes from `start` up to `end` of a file of `size` bytes, sent as the file comes.

    `arrival` is entered when the body is sent, never for HEAD. What it raises before there is a first byte is an
    answer, later a cut connection.
    """

    def __init__(
        self,
        arrival: Callable[[], AbstractAsyncContextManager[Arrival]],
        *,
        size: int,
        start: int,
        end: int,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self.arrival, self.start, self.end = arrival, start, end
        self.status_code = status
        self.background = None
        self.raw_headers = [*headers, (b"content-length", b"%d" % (end - start))]
        if status == 206:
            self.raw_headers.append((b"content-range", content_range(start, end, size).encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD" or self.start == self.end:
            await send(begin)
            await send({"type": "http.response.body"})
            return
        zero_copy = ZERO_COPY in scope.get("extensions", ())
        async with self.arrival() as arrival:
            windows = arrival.windows(self.start, self.end)
            window = await anext(windows)
            await send(begin)
            async with departures(receive) as gone:
                while not gone.done():
                    await self._send(arrival.descriptor, window, send, zero_copy=zero_copy)
                    if window[1] == self.end:
                        break
                    window = await anext(windows)

    async def _send(self, opened: int, window: tuple[int, int], send: Send, *, zero_copy: bool) -> None:
        start, end = window
        if zero_copy:
            piece = {"file": opened, "offset": start, "count": end - start, "more_body": end < self.end}
            await send({"type": ZERO_COPY, **piece})
            return
        for at in range(start, end, BATCH):
            data = await threaded(os.pread, opened, min(BATCH, end - at), at)
            more = at + len(data) < self.end
            await send({"type": "http.response.body", "body": data, "more_body": more})


class PiecesBody(Response):
    """
    A response whose body is put together of bytes, and of ranges (start, end) of one file, in that order.

    Large ranges go the way of `FileBody`; small ones are read together, for each trip costs more than the copy.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        pieces: Sequence[bytes | tuple[int, int]],
        *,
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.source, self.pieces = source, pieces
        self.status_code = status
        self.background = None
        self.raw_headers = _raw(headers)
        self.raw_headers.append((b"content-length", b"%d" % sum(map(_length, pieces))))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(begin)
            await send({"type": "http.response.body"})
            return
        opened = _open(self.source)
        try:
            if os.fstat(opened).st_size < max(piece[1] for piece in self.pieces if isinstance(piece, tuple)):
                raise Damaged("The stored file is shorter than it should be.")
            await send(begin)
            async with departures(receive) as gone:
                await self._send(opened, send, gone, large=ZERO_COPY in scope.get("extensions", ()))
        finally:
            os.close(opened)

    async def _send(self, opened: int, send: Send, gone: asyncio.Future[None], *, large: bool) -> None:
        batch: list[bytes | tuple[int, int]] = []
        for piece in _cut(self.pieces, None if large else BATCH):
            if large and isinstance(piece, tuple) and _length(piece) >= BATCH:
                await self._flush(opened, send, batch)
                start, end = piece
                await send(
                    {
                        "type": ZERO_COPY,
                        "file": opened,
                        "offset": start,
                        "count": end - start,
                        "more_body": True,
                    }
                )
            else:
                batch.append(piece)
                if sum(map(_length, batch)) >= BATCH:
                    await self._flush(opened, send, batch)
            if gone.done():
                return
        await self._flush(opened, send, batch)
        await send({"type": "http.response.body"})

    async def _flush(self, opened: int, send: Send, batch: list[bytes | tuple[int, int]]) -> None:
        if batch:
            body = await threaded(_gathered, opened, batch)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            batch.clear()


def _length(piece: bytes | tuple[int, int]) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


def _cut(pieces: Sequence[bytes | tuple[int, int]], limit: int | None) -> Iterator[bytes | tuple[int, int]]:
    """The same pieces, ranges longer than `limit` in several."""
    for piece in pieces:
        if limit is None or isinstance(piece, bytes):
            yield piece
            continue
        for start in range(piece[0], piece[1], limit):
            yield start, min(piece[1], start + limit)


def _gathered(opened: int, pieces: Sequence[bytes | tuple[int, int]]) -> bytes:
    parts = [
        piece if isinstance(piece, bytes) else os.pread(opened, piece[1] - piece[0], piece[0])
        for piece in pieces
    ]
    if any(len(part) != _length(piece) for part, piece in zip(parts, pieces, strict=True)):
        raise Damaged("The stored file became shorter while it was sent.")
    return b"".join(parts)


def _open(path: str | os.PathLike[str]) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise Damaged("The stored file is missing.") from None


def _raw(headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]] | None) -> list[tuple[bytes, bytes]]:
    if isinstance(headers, Mapping):
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return list(headers or ())


@asynccontextmanager
async def departures(receive: Receive) -> AsyncIterator[asyncio.Future[None]]:
    """Done as soon as the client leaves: `send` is silent about that, so `receive` is watched."""
    gone = asyncio.ensure_future(_departure(receive))
    try:
        yield gone
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


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
