"""
uvicorn's HTTP/1.1 protocol on httptools, and what hubreg adds to it:

- `http.response.zerocopysend` (ASGI extension): a file goes from the page cache to the socket by the pump
thread;
- `hubreg.request.spool` (extension of our own): a request body goes from the socket to a sink in threads;
- one access log entry per request, counted where the bytes are counted;
- limits: the size of a request's head, the time it may take, the time a client may take nothing.

Neither extension is offered under TLS, where the bytes must pass through the cipher. uvicorn is pinned: this
builds on names it calls private, and `tests/server/test_contract.py` says which.
"""

from __future__ import annotations

import asyncio
import http
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hubreg.api.bodies import BATCH, SPOOL, ZERO_COPY, ClientGone, announced, threaded
from hubreg.api.boundary import RequestIds
from hubreg.errors import Damaged
from hubreg.server.intake import Intake
from hubreg.server.logs import AccessLog, Scope
from hubreg.server.pump import Outcome, Pump, Transfer, acknowledged, available

logger = logging.getLogger("hubreg.server")

App = Callable[..., Awaitable[None]]

CLIENT_GONE = 499  # in the log only: the client left before there was a status

# How a request is refused that never becomes one: status and sentence.
UNREADABLE = (400, "Not a valid HTTP request.")
HOSTLESS = (400, "A request of HTTP/1.1 has one Host header.")  # RFC 9112, 3.2
TOO_LARGE = (431, "The request's headers are too large.")

FILES_ONLY: dict[str, dict[str, object]] = {ZERO_COPY: {}}  # shared by all requests without a body


@dataclass(frozen=True, slots=True)
class Limits:
    head_bytes: int = 64 << 10  # request line, headers and trailers together
    head_seconds: float = 30.0  # from a request's first byte (or from the connection) to the end of its head
    idle_seconds: float = 120.0  # a client that neither takes nor sends anything for so long is dropped
    discard_bytes: int = 64 << 20  # of a refused body, so that its client gets to read the refusal


class Cycle(RequestResponseCycle):
    """One request and its response. uvicorn makes it, `_start_asgi_task` turns it into this class."""

    protocol: HubregProtocol
    began: float
    status: int
    written: int

    async def run_asgi(self, app: App) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except ClientGone:
            self.transport.abort()
        except asyncio.CancelledError:
            self.transport.abort()  # the patience of a graceful shutdown has ended
        except BaseException:
            logger.exception("%s %s failed", self.scope["method"], self.scope["path"])
            await self._give_up()
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("%s %s was not answered", self.scope["method"], self.scope["path"])
                await self._give_up()
        finally:
            self.on_response = _nothing
            protocol = self.protocol
            del self.protocol  # the protocol holds its last cycle; not both ways
            if protocol.access is not None:
                written = 0 if self.scope["method"] == "HEAD" else self.written
                seconds = time.perf_counter() - self.began
                protocol.access.record(
                    cast("Scope", self.scope), self.status or CLIENT_GONE, written, seconds
                )

    async def receive(self) -> Any:
        """ASGI's `receive`. A body that is awaited and does not come is a client that has gone."""
        if self.body or not self.more_body:
            return await super().receive()
        protocol = self.protocol
        timer = protocol.loop.call_later(protocol.limits.idle_seconds, self.transport.abort)
        try:
            return await super().receive()
        finally:
            timer.cancel()

    async def _give_up(self) -> None:
        if self.response_started:
            self.transport.abort()
        elif not self.disconnected:
            await self.send_500_response()

    def send(self, message: Any) -> Any:
        """ASGI's `send`. Not a coroutine function itself: one frame less for every message."""
        kind = message["type"]
        if kind == "http.response.body":
            self.written += len(message.get("body", b""))
        elif kind == "http.response.start":
            self.status = message["status"]
            if self.waiting_for_100_continue and self.more_body:
                self.keep_alive = False  # whether the body will still come is the client's choice
        elif kind == ZERO_COPY:
            return self._send_file(message)
        return super().send(message)

    async def _send_file(self, message: dict[str, Any]) -> None:
        if self.disconnected:
            return
        if not self.response_started or self.response_complete or self.chunked_encoding is not False:
            raise RuntimeError(f"{ZERO_COPY} needs a response that has begun, with a Content-Length")
        more_body = message.get("more_body", False)
        if self.scope["method"] != "HEAD":
            file = message["file"]
            file = file if isinstance(file, int) else file.fileno()
            offset = message.get("offset") or 0
            count = message.get("count")
            if count is None:
                count = os.fstat(file).st_size - offset
            if count > self.expected_content_length:
                raise RuntimeError("Response content longer than Content-Length")
            if count and not await self._pump(file, offset, count):
                return
        await super().send({"type": "http.response.body", "body": b"", "more_body": more_body})

    async def _pump(self, file: int, offset: int, count: int) -> bool:
        """Let the pump send, and wait. False when there is nobody left to send to."""
        protocol = self.protocol
        await protocol.drained()
        if self.disconnected or protocol.transport.is_closing():
            return False
        try:
            transfer = protocol.pump.send(protocol.descriptor(), file, offset, count)
        except OSError:
            return await self._copy(file, offset, count)  # the descriptors are used up
        protocol.transfer = transfer
        try:
            outcome = await transfer.done
        except asyncio.CancelledError:
            protocol.pump.stop(transfer)
            raise
        finally:
            protocol.transfer = None
            sent = count - transfer.left
            self.written += sent
            self.expected_content_length -= sent
        if outcome is Outcome.SENT:
            return True
        self._cut(short=outcome is Outcome.SHORT)
        return False

    async def _copy(self, file: int, offset: int, count: int) -> bool:
        """The same without the pump, and without descriptors of its own: slower, so only where it must be."""
        end = offset + count
        while offset < end:
            data = await threaded(os.pread, file, min(BATCH, end - offset), offset)
            if not data:
                self._cut(short=True)
            offset += len(data)
            await self.send({"type": "http.response.body", "body": data, "more_body": True})
            if self.disconnected:
                return False
        return True

    def _cut(self, *, short: bool) -> None:
        """Part of the body is out: the only way to say that the rest will not come is to cut the connection."""
        self.disconnected = True
        self.transport.abort()
        if short:
            raise Damaged("The stored file could not be read to its end.")


class HubregProtocol(HttpToolsProtocol):
    """
    One connection. `configured` makes the class that uvicorn is given; the attributes above the line are its
    process's, the others the connection's.
    """

    limits = Limits()
    pump: Pump
    access: AccessLog | None = None
    ids: RequestIds
    # ---
    transfer: Transfer | None = None
    intake: socket.socket | None = None
    zero_copy = False
    body_seen = 0  # bytes of the current body that the parser has seen
    discard = 0  # bytes of a refused body that are still to come
    discarded = 0
    reading_head = True
    head = 0  # bytes since the piece in which the current request began or last brought bytes of its body
    fields = 0  # bytes of its URL, headers and trailers that the parser has told of
    method = url = b""  # of the current request, as far as they have come
    fault = UNREADABLE
    head_timer: asyncio.TimerHandle | None = None
    write_timer: asyncio.TimerHandle | None = None
    taken_before = 0  # what the client had taken when that timer was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.zero_copy = available and self.scheme == "http"
        self.head_timer = self.loop.call_later(self.limits.head_seconds, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_timers()
        self._unset_keepalive_if_required()
        if self.transfer is not None:
            self.pump.stop(self.transfer)
        if self.intake is not None:
            with suppress(OSError):  # the other side may have ended the connection already
                self.intake.shutdown(socket.SHUT_RDWR)  # its thread reads the end

    def data_received(self, data: bytes) -> None:
        if self.discard:
            data = self._discard(data)
            if not data:
                return
        self.head += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.head > self.limits.head_bytes:
            # A head in pieces, or a trailer or what stands beside a chunk's length: what httptools has gathered of
            # it so far it does not tell, and it gathers without end.
            self.fault = TOO_LARGE
            self.send_400_response("")
        elif self.reading_head:
            self._watch_head()
        elif self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # The rest of a body that was refused: uvicorn has taken this for the next request.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _watch_head(self) -> None:
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(self.limits.head_seconds, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.reading_head = True
        self.head = self.fields = 0
        self.method = b""

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reading_head:  # what trails a body is no header of the request (RFC 9110, 6.5.1)
            super().on_header(name, value)
        self._count(len(name) + len(value))

    def _count(self, size: int) -> None:
        self.fields += size
        if self.fields > self.limits.head_bytes:
            self.fault = TOO_LARGE
            raise ValueError("the head of the request is too large")

    def on_headers_complete(self) -> None:
        self.method = self.parser.get_method()
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self.fault = HOSTLESS
            raise ValueError("the request does not say for which host it is")
        if self.parser.should_upgrade() and announced(cast("Scope", self.scope)) != 0:
            # httptools takes it to have no body; an upload would silently be empty.
            raise ValueError("a request with a body asks for another protocol")
        self.body_seen = 0
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None
        super().on_headers_complete()
        self.reading_head = False

    def on_body(self, body: bytes) -> None:
        self.head = 0
        self.body_seen += len(body)
        if self.cycle.response_complete and self.body_seen > self.limits.discard_bytes:
            self.transport.close()
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the words of the API; with an answer under way, only by hanging up."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.transport.abort()
            return
        if self.transport.is_closing():
            return
        status, text = self.fault
        body = b'{"error":"%s"}' % text.encode()
        phrase = http.HTTPStatus(status).phrase.encode()
        scope = self._what_came()
        name = self.ids.name(dict(scope["headers"]))
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n"
            b"x-error-code: Invalid\r\nx-error-message: %s\r\nconnection: close\r\n\r\n%s"
            % (status, phrase, len(body), name, text.encode(), body)
        )
        self.transport.close()
        if self.access is not None:
            scope["state"] = {"request_id": name.decode("latin-1")}
            self.access.record(scope, status, len(body), 0.0)

    def _what_came(self) -> Scope:
        """As much of a scope as the log needs, of a request that was not read to the end of its head."""
        known = self.reading_head and self.headers is not None
        path, _, query = self.url.partition(b"?") if known else (b"", b"", b"")
        return {
            "method": self.method.decode("latin-1") if known else "",
            "raw_path": path,
            "query_string": query,
            "headers": self.headers if known else [],
            "client": self.client,
        }

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.write_timer is None and self.transport.get_write_buffer_size():
            self._watch_writing()  # a closed transport, too, waits for its client

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.write_timer is None:
            self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.write_timer is not None:
            self.write_timer.cancel()
            self.write_timer = None

    def _watch_writing(self) -> None:
        self.taken_before = acknowledged(self.transport.get_extra_info("socket"))
        self.write_timer = self.loop.call_later(self.limits.idle_seconds, self._judge_writing)

    def _judge_writing(self) -> None:
        """Drop a client that has taken nothing; a slow one may go on."""
        self.write_timer = None
        if not self.transport.get_write_buffer_size():
            return
        if acknowledged(self.transport.get_extra_info("socket")) > self.taken_before:
            self._watch_writing()
        else:
            self.transport.abort()

    def descriptor(self) -> int:
        """The socket's, to be duplicated."""
        return int(self.transport.get_extra_info("socket").fileno())

    async def drained(self) -> None:
        """Wait until the transport has written everything it was given."""
        transport = self.transport
        if transport.get_write_buffer_size() == 0:
            return
        transport.set_write_buffer_limits(high=0)
        try:
            await self.flow.drain()
        finally:
            transport.set_write_buffer_limits()

    def taken(self, cycle: RequestResponseCycle, left: int) -> None:
        """A body was taken off the socket but for `left` bytes. A new parser goes on behind it."""
        cycle.more_body = False
        if self.transport.is_closing():
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.discard = left
        self.discarded = 0
        self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = Cycle
        ours = cast("Cycle", cycle)
        ours.protocol = self
        ours.began = time.perf_counter()
        ours.status = ours.written = 0
        if self.zero_copy:
            scope: Any = cycle.scope
            if scope["method"] in ("PUT", "POST"):
                intake = Intake(ours, self.limits.idle_seconds)
                scope["extensions"] = {ZERO_COPY: {}, SPOOL: {"into": intake.into}}
            else:
                scope["extensions"] = FILES_ONLY
        super()._start_asgi_task(cycle, app)

    def _discard(self, data: bytes) -> bytes:
        """What of `data` belongs to the next request."""
        size = min(self.discard, len(data))
        self.discard -= size
        self.discarded += size
        if self.discarded > self.limits.discard_bytes:
            self.transport.close()
            return b""
        return data[size:]

    def _unset_timers(self) -> None:
        for timer in (self.head_timer, self.write_timer):
            if timer is not None:
                timer.cancel()


def configured(pump: Pump, limits: Limits, access: AccessLog | None) -> type[HubregProtocol]:
    """The protocol class of one process."""
    own = {"pump": pump, "limits": limits, "access": access, "ids": RequestIds()}
    return type("Configured", (HubregProtocol,), own)


def _nothing() -> None:
    return None
