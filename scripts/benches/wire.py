"""
HTTP/1.1 clients that cost next to nothing: bytes out, bytes in.

A real client takes 3 to 4 CPU seconds for a GB from any server, and half a millisecond for a request: it would hide
what is to be measured here.
"""

from __future__ import annotations

import gc
import select
import socket
import threading
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

from scripts.benches.processes import Server

Address = tuple[str, int]


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        start = self.head.lower().find(b"\r\n" + name.lower().encode() + b":")
        if start < 0:
            return ""
        line = self.head[start + 2 :].partition(b"\r\n")[0]
        return line.partition(b":")[2].strip().decode("latin-1")


def request(method: str, path: str, token: str = "", host: str = "bench") -> bytes:
    """The bytes of a request without a body."""
    authorization = f"authorization: Bearer {token}\r\n" if token else ""
    agent = "user-agent: unknown/None; hf_hub/2.4.0; python/3.12.0\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{agent}{authorization}\r\n".encode()


class Wire:
    """One kept-alive connection, one request at a time."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((server.host, server.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, asked: bytes) -> Answer:
        self._socket.sendall(asked)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._some()
        head, parts = received[:end], [received[end + 4 :]]
        answer = Answer(int(head[9:12]), head, b"")
        if not asked.startswith(b"HEAD"):
            missing = int(answer.header("content-length") or 0) - len(parts[0])
            while missing > 0:
                parts.append(self._some())
                missing -= len(parts[-1])
        return answer._replace(body=b"".join(parts))

    def expect(self, asked: bytes, status: int) -> Answer:
        """`ask`, and no bench goes on with another answer than it is about."""
        answer = self.ask(asked)
        if answer.status != status:
            line = asked.partition(b"\r\n")[0].decode()
            raise SystemExit(f"{line}: {answer.status}, not {status}\n{answer.body[:500]!r}")
        return answer

    def _some(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server hung up")
        return data


def seconds(wire: Wire, asked: bytes) -> float:
    """How long one request takes."""
    began = time.perf_counter()
    wire.ask(asked)
    return time.perf_counter() - began


# functions for `processes.Apart`


def download(_: Connection, address: Address, asked: bytes, clients: int, size: int) -> float:
    """Fetch one file by several clients at once into memory that is used again; the seconds until all have it."""
    ready = threading.Barrier(clients + 1)
    failures: list[str] = []

    def fetch() -> None:
        with socket.create_connection(address) as connection:
            ready.wait()
            got = _drain(connection, asked)
            if got != size:
                failures.append(f"{got} of {size} bytes")

    threads = [threading.Thread(target=fetch, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise ConnectionError(failures[0])
    return time.perf_counter() - began


def _drain(connection: socket.socket, asked: bytes) -> int:
    """Ask, and read to the end of the announced length; the number of bytes of the body."""
    connection.sendall(asked)
    buffer = bytearray(1 << 20)
    head = b""
    while b"\r\n\r\n" not in head:
        some = connection.recv(1 << 16)
        if not some:
            return 0
        head += some
    head, _, rest = head.partition(b"\r\n\r\n")
    length = int(Answer(0, head, b"").header("content-length") or 0)
    got = len(rest)
    while got < length and (count := connection.recv_into(buffer)):
        got += count
    return got


def probe(told: Connection, server: Server, asked: bytes, status: int, pause: float) -> list[float]:
    """Ask again and again, `pause` seconds apart, until told to stop; how long each took, in seconds."""
    taken: list[float] = []
    gc.disable()
    with Wire(server) as wire:
        while not told.poll(pause):
            began = time.perf_counter()
            wire.expect(asked, status)
            taken.append(time.perf_counter() - began)
    return taken


def hammer(
    _: Connection, address: Address, asked: bytes, status: int, connections: int, lasting: float
) -> float:
    """
    HEAD requests on kept-alive connections, the next one as soon as an answer is there; answers per second.

    wrk would wait for the body of a HEAD's answer. One epoll loop does some 50 000 a second, twice what a worker can
    answer.
    """
    expected = b"HTTP/1.1 %d" % status
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _number in range(connections):
        connection = socket.create_connection(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
        connection.sendall(asked)
    count, began = 0, time.perf_counter()
    gc.disable()
    while (now := time.perf_counter()) < began + lasting:
        for number, _event in poll.poll(1.0):
            connection = sockets[number]
            answer = connection.recv(65536)
            if not answer.startswith(expected) or not answer.endswith(b"\r\n\r\n"):
                raise ConnectionError(f"unexpected answer {answer[:200]!r}")
            connection.sendall(asked)
            count += 1
    for connection in sockets.values():
        connection.close()
    return count / (now - began)
