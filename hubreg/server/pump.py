"""
One thread that sends files to sockets.

`sendfile` in the event loop makes every other request wait for the copy (and for the disk, when the file is
not in the page cache); a thread per download does not scale to slow readers. So one thread waits with epoll
for the sockets that can take more and moves pages from file to socket, with the interpreter lock released
while it does.

The pump works on duplicates of both descriptors and closes those itself, so nobody has to wait for it: the
loop may close its socket, and a handler its file, at any moment.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import fcntl
import os
import select
import socket
import struct
import sys
import termios
import threading
import time
from collections import deque
from contextlib import suppress

# A socket gets all that it takes at once, but not so much that the next has to wait for long: a few milliseconds. To
# wait for it anew after each MiB costs half as much CPU again as the copy itself.
PIECE = 2 << 20
TURN = 16 << 20

# What `sendfile` says when the other side has gone. Anything else is the file's fault.
GONE = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
    }
)

_BYTES_ACKED = slice(120, 128)  # tcpi_bytes_acked of struct tcp_info, linux/tcp.h
_TCP_INFO = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None

available = hasattr(select, "epoll") and hasattr(os, "eventfd")


class Outcome(enum.Enum):
    SENT = "sent"
    GONE = "gone"  # the client closed, or took nothing for too long
    SHORT = "short"  # the file ended before `count` bytes, or could not be read
    STOPPED = "stopped"  # by `stop`, or with the pump


class Transfer:
    """`left` bytes from `offset` of a file, on their way to a socket."""

    __slots__ = ("done", "file", "left", "moved", "offset", "queued", "socket")

    def __init__(self, sock: int, file: int, offset: int, left: int, done: asyncio.Future[Outcome]) -> None:
        self.socket = sock
        self.file = file
        self.offset = offset
        self.left = left
        self.done = done
        self.moved = time.monotonic()  # when the client last took something
        self.queued = -1  # bytes in the kernel that it has not acknowledged, when last asked

    def settle(self, outcome: Outcome) -> None:
        if not self.done.done():
            self.done.set_result(outcome)


class Pump:
    """The thread, and what it is told: `send` and `stop` from the loop, `close` at the end."""

    def __init__(self, idle_seconds: float = 120.0, most: int = sys.maxsize) -> None:
        """Of more than `most` transfers at once the pump takes none: each is two descriptors more than its caller's."""
        self.idle_seconds = idle_seconds
        self.most = most
        self.transfers: dict[int, Transfer] = {}
        self._orders: deque[Transfer | None] = deque()  # to be stopped; None: close
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def send(self, sock: int, file: int, offset: int, count: int) -> Transfer:
        """Begin to send; `done` will say how it ended. Raises OSError when a descriptor is no good, or none is left."""
        if len(self.transfers) >= self.most:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        own = os.dup(sock)
        try:
            transfer = Transfer(own, os.dup(file), offset, count, done)
        except OSError:
            os.close(own)
            raise
        # In this order: the thread may see the socket writable before `register` returns.
        self.transfers[own] = transfer
        self._poll.register(own, select.EPOLLOUT)
        if len(self.transfers) == 1:
            self._rouse()  # it sleeps without a limit, and this client may never take anything
        return transfer

    def stop(self, transfer: Transfer) -> None:
        """Give up a transfer; its descriptors are closed soon, `done` becomes STOPPED if nothing else."""
        self._orders.append(transfer)
        self._rouse()

    def close(self) -> None:
        """Stop every transfer and end the thread."""
        self._orders.append(None)
        self._rouse()
        self._thread.join()
        self._poll.close()
        os.close(self._wake)

    def _rouse(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        tick = min(1.0, self.idle_seconds / 4)
        looked = time.monotonic()
        while True:
            for number, _ in self._poll.poll(tick if self.transfers else -1):
                if number == self._wake:
                    os.eventfd_read(self._wake)  # before the orders are: what comes later rouses again
                else:
                    self._push(self.transfers[number])
            while self._orders:
                order = self._orders.popleft()
                if order is None:
                    for transfer in list(self.transfers.values()):
                        self._end(transfer, Outcome.STOPPED)
                    return
                self._end(order, Outcome.STOPPED)
            if self.transfers and time.monotonic() - looked >= tick:
                looked = time.monotonic()
                self._drop_stalled(looked)

    def _push(self, transfer: Transfer) -> None:
        """Send until the socket takes no more."""
        before = transfer.left
        while transfer.left and before - transfer.left < TURN:
            count = min(transfer.left, PIECE)
            try:
                sent = os.sendfile(transfer.socket, transfer.file, transfer.offset, count)
            except BlockingIOError:
                break
            except OSError as error:
                self._end(transfer, Outcome.GONE if error.errno in GONE else Outcome.SHORT)
                return
            if sent == 0:
                self._end(transfer, Outcome.SHORT)
                return
            transfer.offset += sent
            transfer.left -= sent
        if transfer.left == 0:
            self._end(transfer, Outcome.SENT)
        elif transfer.left < before:
            transfer.moved = time.monotonic()
            transfer.queued = -1

    def _end(self, transfer: Transfer, outcome: Outcome) -> None:
        if self.transfers.get(transfer.socket) is not transfer:
            return  # it ended before the order to stop it was read; the number may be another's by now
        del self.transfers[transfer.socket]
        self._poll.unregister(transfer.socket)
        os.close(transfer.socket)
        os.close(transfer.file)
        with suppress(RuntimeError):  # the loop is closed; nobody waits any more
            transfer.done.get_loop().call_soon_threadsafe(transfer.settle, outcome)

    def _drop_stalled(self, now: float) -> None:
        for transfer in list(self.transfers.values()):
            if now - transfer.moved < self.idle_seconds / 2:
                continue
            # A slow reader frees too little of a big socket buffer for epoll to call it writable, yet it does
            # read: only when the kernel's queue stood still over the second half as well is it gone.
            queued = unacknowledged(transfer.socket)
            if queued == transfer.queued:
                self._end(transfer, Outcome.GONE)
            else:
                transfer.queued = queued
                transfer.moved = now


def acknowledged(sock: socket.socket) -> int:
    """
    How many bytes the other side has acknowledged since the connection began. No buffer in between shows so much:
    under TLS there are three. Always 0 where the system does not tell.
    """
    if _TCP_INFO is None:
        return 0
    info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED.stop)
    return int.from_bytes(info[_BYTES_ACKED], sys.byteorder)


def unacknowledged(sock: int) -> int:
    """How many bytes the kernel holds that the other side has not acknowledged."""
    answer: bytes = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])
