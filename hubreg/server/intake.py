"""
One request body, taken off the socket by threads: the ASGI extension `hubreg.request.spool`.

`receive()` copies every byte four times and crosses the event loop every 64 KiB; for a weight file that is
more work than hashing it. Here the transport stops reading, and a thread receives into one 1 MiB buffer and
hands it to the sink, until exactly `Content-Length` bytes have come. No thread ever waits for a client: when
the socket is empty the thread is given back, and the loop watches the socket.

`await scope["extensions"]["hubreg.request.spool"]["into"](write)` returns the number of bytes; `write` gets
views that are valid during the call only. Not offered under TLS or for chunked bodies.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from starlette.types import Scope

from hubreg.api.bodies import BATCH, ClientGone, announced, threaded

if TYPE_CHECKING:
    from hubreg.server.protocol import Cycle

Write = Callable[[bytes | memoryview], object]

STINT = 16 << 20  # bytes after which a thread goes back into the pool, so that other work gets its turn
ENOUGH = 128 << 10  # bytes that make it worth waking up for


class Intake:
    """The body of one request, from the moment the handler asks for it."""

    def __init__(self, cycle: Cycle, idle_seconds: float) -> None:
        self.cycle = cycle
        self.idle_seconds = idle_seconds
        self.left = 0  # bytes still in the socket or at the client
        self.held = 0  # bytes in the buffer, not yet handed over

    async def into(self, write: Write) -> int:
        """Hand the whole body to `write`, in threads; `ClientGone` when it does not come."""
        cycle, protocol = self.cycle, self.cycle.protocol
        if cycle.disconnected or protocol.transport.is_closing():
            raise ClientGone
        if protocol.cycle is cycle and cycle.more_body:
            protocol.flow.pause_reading()
            self.left = (announced(cast("Scope", cycle.scope)) or 0) - protocol.body_seen
        first = bytes(cycle.body)  # what the parser had already
        cycle.body = bytearray()
        cycle.message_event.clear()
        if not self.left:
            await threaded(write, first)
            return len(first)
        total = len(first) + self.left
        if cycle.waiting_for_100_continue:
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        own = socket.socket(fileno=os.dup(protocol.descriptor()))
        protocol.intake = own
        try:
            await self._take(own, write, first)
        except ClientGone:
            cycle.disconnected = True
            cycle.transport.abort()
            raise
        finally:
            protocol.intake = None
            _wake_at(own, 1)  # an option of the connection, not of the duplicate
            own.close()
            protocol.taken(cycle, self.left)
        return total

    async def _take(self, own: socket.socket, write: Write, first: bytes) -> None:
        buffer = memoryview(bytearray(BATCH))
        if len(first) < BATCH:
            buffer[: len(first)] = first
            self.held = len(first)
        else:
            await threaded(write, first)
        while True:
            before = self.left
            dry = await threaded(self._stint, own, write, buffer)
            if not self.left:
                return
            if dry:
                _wake_at(own, min(ENOUGH, self.left))
                if not await _readable(own, self.idle_seconds) and before == self.left:
                    raise ClientGone

    def _stint(self, own: socket.socket, write: Write, buffer: memoryview) -> bool:
        """In a thread: take what has come. True when the socket is empty."""
        budget = STINT
        while self.left and budget > 0:
            try:
                size = own.recv_into(buffer[self.held :], min(self.left, BATCH - self.held))
            except BlockingIOError:
                return True
            except OSError:
                raise ClientGone from None
            if not size:
                raise ClientGone
            self.left -= size
            self.held += size
            budget -= size
            if self.held == BATCH or not self.left:
                full, self.held = self.held, 0
                write(buffer[:full])
        return False


async def _readable(own: socket.socket, seconds: float) -> bool:
    """Wait in the loop until enough has come (or the client has gone); False after `seconds`."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(own.fileno(), _settle, ready)
    try:
        async with asyncio.timeout(seconds):
            await ready
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(own.fileno())
    return True


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _wake_at(own: socket.socket, size: int) -> None:
    with suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
