"""
HTTP/1.1 on sockets, a thread for each connection, and a ledger of everything that was asked.

No framework, since what the stand-in has to do no framework lets through: end a body early, announce a length that is
not the body's, send headers without end. Files go out by `sendfile` from blocking sockets; a bench that downloads
through this measures the other side.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, Literal, Self
from urllib.parse import parse_qsl

from tests.fakehub.content import Content, Piece, Plain, Span

Site = Literal["hub", "cdn"]
Headers = list[tuple[str, str]]

LONGEST_HEAD = 1 << 20
TURN = 1 << 20  # the most that goes out in one call
FLOOD = b"".join(b"x-flood-%06d: %b\r\n" % (number, b"a" * 1000) for number in range(64))


class Gone(Exception):
    """The connection ends here: the other side left, a script says so, or the stand-in stops."""


class BadRequest(Exception):
    """What came in is no HTTP that a client of the Hub would send."""


@dataclass(frozen=True)
class Request:
    """One request. `path` and `query` are as they were sent, percent-encoding and all."""

    site: Site
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def token(self) -> str | None:
        """The bearer token that came along. Another scheme counts as one, as it was sent."""
        value = self.headers.get("authorization")
        return value.removeprefix("Bearer ") if value is not None else None

    def values(self, name: str) -> list[str]:
        """All values of a parameter; `expand[]=a` is another way to write `expand=a` (HUB 1.5)."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        return [value for key, value in pairs if key in (name, f"{name}[]")]

    def value(self, name: str, default: str = "") -> str:
        values = self.values(name)
        return values[-1] if values else default

    def flag(self, name: str) -> bool:
        """`true`, `True` or `1` (HUB 1.5)."""
        return self.value(name).lower() in ("true", "1")

    def number(self, name: str, default: int) -> int:
        text = self.value(name)
        return int(text) if text.isdecimal() else default


@dataclass
class Seen:
    """
    A request as the ledger has it. What is below the line is filled in while it is answered.

    `sent` counts bytes of bodies, as they are handed to the kernel: when a client has all of an answer, so has `sent`.
    """

    number: int
    at: float  # time.monotonic() when its head was there
    site: Site
    host: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    token: str | None
    connection: int
    # ---
    kind: str = "other"  # info list tree paths-info refs commits xet-read-token whoami resolve cached raw content write
    repo: str = ""  # the canonical id
    file: str = ""  # the path in the repo
    user: str | None = None  # whose token it is
    status: int = 0
    sent: int = 0
    ended: float = 0  # time.monotonic() when its answer was out, or was given up
    done: bool = False  # the answer went out whole

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    def __str__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        ranged = f" [{self.range}]" if self.range else ""
        return f"{self.number} {self.site} {self.method} {self.path}{query}{ranged} {self.status} {self.sent}"


@dataclass(frozen=True, slots=True)
class Mark:
    """
    Something that happens to a body at `position`, counted in the file and not in the answer.

    `reached` is called then, in the sending thread; it may wait, and says whether it happens after all.
    """

    position: int
    what: Literal["cut", "reset", "flip", "stall"]
    reached: Callable[[], bool]


@dataclass
class Answer:
    """What goes back: `content` from `start` to `end`, and what a script does to it on the way."""

    status: int
    headers: Headers
    content: Content = field(default_factory=lambda: Plain(b""))
    start: int = 0
    end: int = -1
    is_file: bool = False  # its body is a file of a repo
    chunked: bool = False
    # --- by scripts only
    delay: float = 0
    hang_up: bool = False
    flood: int = 0  # bytes of headers without an end
    rate: int = 0  # bytes a second
    marks: list[Mark] = field(default_factory=list)
    until_closed: bool = False  # no length: the body ends where the connection does

    def __post_init__(self) -> None:
        if self.end < 0:
            self.end = self.content.size

    @classmethod
    def of(cls, status: int, type_: str, body: bytes) -> Self:
        """A body and its two headers."""
        return cls(status, [("content-type", type_), ("content-length", str(len(body)))], Plain(body))

    def set(self, name: str, value: str | None) -> None:
        """Replace a header, or take it away."""
        place = next((i for i, (key, _) in enumerate(self.headers) if key == name), len(self.headers))
        self.headers = [pair for pair in self.headers if pair[0] != name]
        if value is not None:
            self.headers.insert(place, (name, value))


class Ledger:
    """Every request in the order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Seen] = []
        self._count = 0

    def enter(self, request: Request, connection: int) -> Seen:
        with self._lock:
            self._count += 1
            seen = Seen(
                number=self._count,
                at=time.monotonic(),
                site=request.site,
                host=request.headers.get("host", ""),
                method=request.method,
                path=request.path,
                query=request.query,
                headers={name: value for name, value in request.headers.items() if name != "authorization"},
                token=request.token,
                connection=connection,
            )
            self._all.append(seen)
        return seen

    def strike(self, seen: Seen) -> None:
        """Take a request out again."""
        with self._lock:
            self._all.remove(seen)

    @property
    def requests(self) -> list[Seen]:
        with self._lock:
            return list(self._all)

    def settle(self, seconds: float = 5) -> None:
        """Wait until every answer has `ended`: a client can have all of it a moment earlier."""
        deadline = time.monotonic() + seconds
        while open_ones := [str(seen) for seen in self.requests if not seen.ended]:
            assert time.monotonic() < deadline, f"still being answered: {open_ones}"
            time.sleep(0.005)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._all.clear()


Respond = Callable[[Request, Seen], Answer]


class Listener:
    """One of the two servers. `failures` holds what broke in it: a test must find it empty."""

    def __init__(
        self, site: Site, host: str, port: int, respond: Respond, ledger: Ledger, tls: ssl.SSLContext | None
    ) -> None:
        self.site, self.host, self.port = site, host, port
        self.failures: list[BaseException] = []
        self.stopping = threading.Event()
        self._respond, self._ledger, self._tls = respond, ledger, tls
        self._listening: tuple[socket.socket, threading.Thread] | None = None
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._connections = 0

    def start(self) -> None:
        """Listen; on the same port as before when it was stopped in between."""
        self.stopping.clear()
        listening = socket.create_server((self.host, self.port), backlog=512)
        self.port = listening.getsockname()[1]
        acceptor = threading.Thread(
            target=self._accept, args=(listening,), name=f"fakehub-{self.site}", daemon=True
        )
        self._listening = listening, acceptor
        acceptor.start()

    def stop(self) -> None:
        """Close the port and every connection, in the middle of an answer too."""
        self.stopping.set()
        if self._listening is None:
            return
        listening, acceptor = self._listening
        self._listening = None
        _end(listening)
        acceptor.join(10)
        with self._lock:
            still_open = dict(self._open)
        for thread, connection in still_open.items():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # it was closed
            while True:
                connection, _ = listening.accept()
                if self._tls:
                    connection = self._tls.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    )
                self._connections += 1
                thread = threading.Thread(
                    target=self._converse, args=(connection, self._connections), daemon=True
                )
                with self._lock:
                    self._open[thread] = connection
                thread.start()

    def _converse(self, connection: socket.socket, number: int) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            with connection, connection.makefile("rb") as reader:
                while self._exchange(connection, reader, number):
                    pass
        except (Gone, OSError):  # ssl.SSLError is one
            pass
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            _end(connection)
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def _exchange(self, connection: socket.socket, reader: BinaryIO, number: int) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            request = read_request(
                reader, self.site, lambda: connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            )
        except BadRequest as error:
            body = str(error).encode()
            connection.sendall(
                b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            return False
        if request is None:
            return False
        seen = self._ledger.enter(request, number)
        try:
            answer = self._respond(request, seen)
            seen.status = answer.status
            if self.stopping.wait(answer.delay) or answer.hang_up:
                raise Gone
            Sending(connection, seen, answer, self.stopping).run(with_body=request.method != "HEAD")
            seen.done = True
        finally:
            seen.ended = time.monotonic()
        return not answer.until_closed and request.headers.get("connection", "").lower() != "close"


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def read_request(reader: BinaryIO, site: Site, go_on: Callable[[], None]) -> Request | None:
    """The next request of a connection, with its body; None when there is none. `go_on` invites the body."""
    line = reader.readline(LONGEST_HEAD).decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(f"no HTTP request: {line[:100]!r}")
    headers: dict[str, str] = {}
    while field_line := reader.readline(LONGEST_HEAD).decode("latin-1").rstrip("\r\n"):
        name, colon, value = field_line.partition(":")
        if not colon:
            raise BadRequest(f"no header: {field_line[:100]!r}")
        name = name.lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        go_on()
    path, _, query = words[1].partition("?")
    if "://" in path:  # as a proxy is asked
        path = "/" + path.partition("://")[2].partition("/")[2]
    return Request(site, words[0], path, query, headers, _read_body(reader, headers))


def _read_body(reader: BinaryIO, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return reader.read(int(headers.get("content-length", 0)))
    parts = []
    while size := int(reader.readline().split(b";")[0], 16):
        parts.append(reader.read(size))
        reader.readline()
    while reader.readline().strip():
        pass
    return b"".join(parts)


class Sending:
    """One answer on its way out."""

    def __init__(
        self, connection: socket.socket, seen: Seen, answer: Answer, stopping: threading.Event
    ) -> None:
        self.connection, self.seen, self.answer, self.stopping = connection, seen, answer, stopping

    def run(self, *, with_body: bool) -> None:
        """Send it, or raise Gone where it ends before its end."""
        answer = self.answer
        self.connection.sendall(render_head(answer))
        if answer.flood:
            self._flood()
        self.connection.sendall(b"\r\n")
        if with_body:
            self._send_body()

    def _flood(self) -> None:
        left = self.answer.flood
        while left > 0:
            self.connection.sendall(FLOOD)
            self.seen.sent += len(FLOOD)
            left -= len(FLOOD)

    def _send_body(self) -> None:
        position, end = self.answer.start, self.answer.end
        for mark in sorted(self.answer.marks, key=lambda mark: mark.position):
            if not position <= mark.position < end:
                continue
            self._send(position, mark.position)
            happens = mark.reached()
            if self.stopping.is_set():
                raise Gone
            position = mark.position + (self._apply(mark) if happens else 0)
        self._send(position, end)
        if self.answer.chunked:
            self.connection.sendall(b"0\r\n\r\n")

    def _apply(self, mark: Mark) -> int:
        """Do what a mark says; how many bytes it took the place of."""
        if mark.what == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if mark.what in ("reset", "cut"):
            raise Gone
        if mark.what == "flip":
            (byte,) = self.answer.content.read(mark.position, mark.position + 1)
            self._put(bytes([byte ^ 0xFF]))
            return 1
        return 0

    def _send(self, start: int, end: int) -> None:
        for piece in self.answer.content.pieces(start, end):
            for part in self._parts(piece):
                self._put(part)

    def _parts(self, piece: Piece) -> Iterator[Piece]:
        """A piece in what may go out at once; a slow line gets twenty parts a second."""
        if not self.answer.rate:
            yield piece
            return
        step = max(1, self.answer.rate // 20)
        size = len(piece) if isinstance(piece, bytes) else piece.count
        for at in range(0, size, step):
            count = min(step, size - at)
            yield (
                piece[at : at + count]
                if isinstance(piece, bytes)
                else Span(piece.descriptor, piece.offset + at, count)
            )
            if self.stopping.wait(count / self.answer.rate):
                raise Gone

    def _put(self, piece: Piece) -> None:
        if (
            isinstance(piece, Span)
            and not self.answer.chunked
            and not isinstance(self.connection, ssl.SSLSocket)
        ):
            self._sendfile(piece)
            return
        data = memoryview(piece) if isinstance(piece, bytes) else piece.view()
        if self.answer.chunked:
            self.connection.sendall(b"%x\r\n" % len(data))
        for at in range(0, len(data), TURN):
            part = data[at : at + TURN]
            self.seen.sent += len(part)
            self.connection.sendall(part)
        if self.answer.chunked:
            self.connection.sendall(b"\r\n")

    def _sendfile(self, span: Span) -> None:
        offset, left = span.offset, span.count
        while left:
            self.seen.sent += left  # before it is sent: a client that has it all may look here at once
            try:
                sent = os.sendfile(self.connection.fileno(), span.descriptor, offset, left)
            except OSError:
                self.seen.sent -= left
                raise
            self.seen.sent -= left - sent
            offset += sent
            left -= sent


def render_head(answer: Answer) -> bytes:
    """Status line and headers, without the empty line that ends them."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}"] + [f"{name}: {value}" for name, value in answer.headers]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
