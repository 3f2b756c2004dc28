"""The thread that sends files: every byte once, no descriptor left, nobody waits for a client that has gone."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hubreg.server.pump import Outcome, Pump, Transfer, unacknowledged

pytestmark = pytest.mark.anyio

CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def anyio_backend() -> str:
    """Which loop it is that waits makes no difference to the thread."""
    return "asyncio"


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = Pump(idle_seconds=30)
    yield pump
    pump.close()
    assert pump.transfers == {}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    handle = os.open(path, os.O_RDONLY)
    yield handle
    os.close(handle)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
    ours.setblocking(False)
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs


async def outcome(transfer: Transfer) -> Outcome:
    async with asyncio.timeout(10):
        return await transfer.done


def copies(handle: int) -> int:
    """How many descriptors of this process are of the same file or socket."""
    wanted = os.readlink(f"/proc/self/fd/{handle}")
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{number}") == wanted
    return found


def take(client: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := client.recv(1 << 16)):
        data += part
    return bytes(data)


Ends = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 1), (0, 3_000_000), (1, 2_999_999), (2_999_999, 1), (12345, 1 << 20), (7, (1 << 20) + 1)],
)
async def test_every_byte_once(pump: Pump, file: int, ends: Ends, offset: int, count: int) -> None:
    """The piece that was asked for, in order, on both sides of a turn's size."""
    transfer = pump.send(ends[0].fileno(), file, offset, count)
    assert await asyncio.to_thread(take, ends[1], count) == CONTENT[offset : offset + count]
    assert await outcome(transfer) is Outcome.SENT
    assert transfer.left == 0
    assert copies(ends[0].fileno()) == copies(file) == 1


async def test_many_at_once(pump: Pump, file: int) -> None:
    """Transfers share the thread; each client gets its own piece."""

    async def one(n: int) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            transfer = pump.send(ours.fileno(), file, n * 1000, 1_000_000)
            assert await asyncio.to_thread(take, theirs, 1_000_000) == CONTENT[n * 1000 :][:1_000_000]
            assert await outcome(transfer) is Outcome.SENT

    await asyncio.gather(*(one(n) for n in range(20)))


async def test_the_caller_may_close_its_descriptors_at_once(pump: Pump, tmp_path: Path, ends: Ends) -> None:
    """The pump has its own: numbers that are used again by somebody else do no harm."""
    (tmp_path / "content").write_bytes(CONTENT)
    (tmp_path / "other").write_bytes(b"X" * len(CONTENT))
    handle = os.open(tmp_path / "content", os.O_RDONLY)
    transfer = pump.send(ends[0].fileno(), handle, 0, len(CONTENT))
    os.close(handle)
    ends[0].close()
    other = os.open(tmp_path / "other", os.O_RDONLY)
    assert await asyncio.to_thread(take, ends[1], len(CONTENT)) == CONTENT
    assert await outcome(transfer) is Outcome.SENT
    os.close(other)


async def test_a_file_that_is_too_short(pump: Pump, file: int, ends: Ends) -> None:
    """What there is arrives, and the transfer says that it was not all."""
    transfer = pump.send(ends[0].fileno(), file, 2_999_000, 5000)
    assert await asyncio.to_thread(take, ends[1], 1000) == CONTENT[-1000:]
    assert await outcome(transfer) is Outcome.SHORT
    assert transfer.left == 4000
    assert copies(ends[0].fileno()) == copies(file) == 1


async def test_something_that_is_no_file(pump: Pump, ends: Ends) -> None:
    """What cannot be sent is said to be short: the client is not to blame."""
    reading, writing = os.pipe()
    assert await outcome(pump.send(ends[0].fileno(), reading, 0, 5)) is Outcome.SHORT
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves(pump: Pump, file: int, ends: Ends, how: str) -> None:
    """In the middle, in order or by a reset: the transfer ends at once."""
    transfer = pump.send(ends[0].fileno(), file, 0, len(CONTENT))
    await asyncio.to_thread(take, ends[1], 1000)
    if how == "reset":
        ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends[1].close()
    assert await outcome(transfer) is Outcome.GONE
    assert transfer.left > 0
    assert copies(ends[0].fileno()) == copies(file) == 1


async def test_stopping(pump: Pump, file: int, ends: Ends) -> None:
    """A transfer that is stopped ends; stopping it again, or after its end, stops nobody else."""
    transfer = pump.send(ends[0].fileno(), file, 0, len(CONTENT))
    pump.stop(transfer)
    pump.stop(transfer)
    assert await outcome(transfer) is Outcome.STOPPED
    assert copies(ends[0].fileno()) == copies(file) == 1
    other = pump.send(ends[0].fileno(), file, 0, len(CONTENT))
    pump.stop(transfer)
    assert await asyncio.to_thread(take, ends[1], 100_000)
    assert not other.done.done()
    pump.stop(other)
    assert await outcome(other) is Outcome.STOPPED


async def test_a_client_that_takes_nothing_is_dropped(file: int, ends: Ends) -> None:
    """When nothing moved for the time that it may take, also where it took nothing from the beginning."""
    pump = Pump(idle_seconds=0.2)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    try:
        while True:
            ends[0].send(bytes(4096))
    except BlockingIOError:
        pass  # there is no room for a single byte of the file
    assert await outcome(pump.send(ends[0].fileno(), file, 0, len(CONTENT))) is Outcome.GONE
    pump.close()


async def test_a_slow_client_is_not_dropped(file: int, ends: Ends) -> None:
    """
    It may take so little that its socket does not become writable within the time that a client may take nothing:
    the kernel's queue shows that it reads.
    """
    pump = Pump(idle_seconds=1)
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200 << 10)
    transfer = pump.send(ends[0].fileno(), file, 0, 1_000_000)
    got = bytearray()
    for _ in range(60):
        got += await asyncio.to_thread(ends[1].recv, 5000)
        await asyncio.sleep(0.05)
    got += await asyncio.to_thread(take, ends[1], 1_000_000 - len(got))
    assert bytes(got) == CONTENT[:1_000_000]
    assert await outcome(transfer) is Outcome.SENT
    pump.close()


async def test_the_thread_rests_when_there_is_nothing_to_do(pump: Pump, file: int, ends: Ends) -> None:
    """Neither orders that were carried out nor a client that takes nothing keep it busy."""
    pump.stop(pump.send(ends[0].fileno(), file, 0, len(CONTENT)))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        waiting = pump.send(ours.fileno(), file, 0, len(CONTENT))
        await asyncio.sleep(0.1)
        clock = time.pthread_getcpuclockid(pump._thread.ident or 0)
        before = time.clock_gettime(clock)
        await asyncio.sleep(0.3)
        assert time.clock_gettime(clock) - before < 0.03
        pump.stop(waiting)
        await outcome(waiting)


async def test_closing_stops_everything(file: int, ends: Ends) -> None:
    """Every transfer under way ends as stopped, and the thread ends."""
    pump = Pump()
    transfer = pump.send(ends[0].fileno(), file, 0, len(CONTENT))
    pump.close()
    assert await outcome(transfer) is Outcome.STOPPED
    assert not pump._thread.is_alive()


async def test_a_loop_that_has_ended_first(file: int, ends: Ends) -> None:
    """The thread outlives it: there is nobody to tell, nothing is kept, and others are served as before."""
    pump = Pump()
    before = set(os.listdir("/proc/self/fd"))

    def short_lived() -> None:
        async def begin() -> None:
            pump.send(ends[0].fileno(), file, 0, len(CONTENT))

        asyncio.run(begin())

    await asyncio.to_thread(short_lived)
    left, right = socket.socketpair()
    left.setblocking(False)
    transfer = pump.send(left.fileno(), file, 0, 5)
    assert await transfer.done is Outcome.SENT
    assert right.recv(5) == CONTENT[:5]
    left.close()
    right.close()
    pump.close()
    assert not pump.transfers
    assert not set(os.listdir("/proc/self/fd")) - before


@pytest.mark.parametrize("bad", ["socket", "file"])
async def test_a_descriptor_that_is_no_good(pump: Pump, file: int, ends: Ends, bad: str) -> None:
    """It is said at once, and nothing is kept of it."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        pump.send(-1 if bad == "socket" else ends[0].fileno(), -1 if bad == "file" else file, 0, 1)


def test_what_the_other_side_has_not_acknowledged(ends: Ends) -> None:
    """Nothing, before anything was sent; something, while it does not read."""
    assert unacknowledged(ends[0].fileno()) == 0
    try:
        while True:
            ends[0].send(bytes(1 << 16))
    except BlockingIOError:
        assert unacknowledged(ends[0].fileno()) > 0
