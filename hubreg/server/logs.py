"""
Everything the process says, as one JSON object per line on stderr.

The access log is filled by the protocol itself, once per request: the hot path appends a tuple; a thread
renders and writes what has gathered, at most 100 ms later. Workers share stderr: lines are written whole,
under a lock that all processes forked from one parent respect.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import select
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec

PAUSE = 0.1  # seconds between two writes
MOST = 100_000  # lines kept when nobody reads stderr; beyond it lines are dropped and counted
LONGEST = 2048  # characters of a path or an agent that are worth keeping

SECRET = re.compile(
    rb"(?i)((?:^|&)[^=&]*(?:token|signature|secret|password|credential|apikey|api_key|sig|key)=)[^&]*"
)

Scope = MutableMapping[str, Any]
Entry = tuple[float, Scope, int, int, float]  # when it ended, scope, status, bytes, seconds

encode = msgspec.json.Encoder().encode


class Lines:
    """Whole lines to one descriptor, whoever else writes there. Make it before forking."""

    def __init__(self, descriptor: int = 2) -> None:
        self.descriptor = descriptor
        self._between_threads = threading.Lock()
        self._between_processes = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._between_threads = threading.Lock()

    def write(self, data: bytes) -> None:
        """All of `data`; silently nothing when nobody listens any more."""
        with self._between_threads:
            lock = self._between_processes.fileno()
            fcntl.lockf(lock, fcntl.LOCK_EX)
            try:
                while data:
                    data = data[self._write(data) :]
            except OSError:
                pass
            finally:
                fcntl.lockf(lock, fcntl.LOCK_UN)

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self.descriptor, data)
        except BlockingIOError:
            # Somebody who shares stderr has made it non-blocking. Half a line must not stay.
            select.select([], [self.descriptor], [])
            return 0


class AccessLog:
    """One line per request. `record` is called in the loop, the rest happens in a thread."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.lost = 0
        self._entries: deque[Entry] = deque()
        self._wake = threading.Event()
        self._awake = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def record(self, scope: Scope, status: int, written: int, seconds: float) -> None:
        if len(self._entries) >= MOST:
            self.lost += 1
            return
        self._entries.append((time.time(), scope, status, written, seconds))
        if not self._awake:
            self._awake = True
            self._wake.set()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            if not self._closing:
                time.sleep(PAUSE)
            # Cleared before the entries are taken: what is appended from now on sets it again.
            self._wake.clear()
            self._awake = False
            self._write()
        self._write()

    def _write(self) -> None:
        gathered: list[bytes] = []
        while self._entries:
            gathered.append(access_line(*self._entries.popleft()))
            if len(gathered) == 512:
                self.lines.write(b"".join(gathered))
                gathered = []
        if self.lost:
            lost, self.lost = self.lost, 0
            line = {"at": iso(time.time()), "level": "warning", "message": "access lines lost", "lost": lost}
            gathered.append(encode(line) + b"\n")
        if gathered:
            self.lines.write(b"".join(gathered))


def access_line(at: float, scope: Scope, status: int, written: int, seconds: float) -> bytes:
    state = scope.get("state", {})
    client = scope.get("client")
    path = scope.get("raw_path", b"")
    if query := scope.get("query_string"):
        path = path + b"?" + redact(query)
    line = {
        "at": iso(at),
        "id": state.get("request_id", ""),
        "method": scope["method"],
        "path": text(path),
        "status": status,
        "user": state.get("user", ""),
        "agent": text(header(scope["headers"], b"user-agent")),
        "ms": round(seconds * 1000, 2),
        "bytes": written,
        "address": state.get("address") or (client[0] if client else ""),
    }
    announced = header(scope["headers"], b"content-length")
    if announced.isdigit() and len(announced) < 20:
        line["received"] = int(announced)
    return encode(line) + b"\n"


def redact(query: bytes) -> bytes:
    """The query string with the values of what may open a door replaced."""
    return SECRET.sub(rb"\1***", query)


def text(raw: bytes) -> str:
    return raw[:LONGEST].decode("latin-1")


def header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    for name, value in headers:
        if name == wanted:
            return value
    return b""


def iso(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class JsonLines(logging.Handler):
    """The logging of everything else, in the same form: at once, with the traceback in one field."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line: dict[str, object] = {
                "at": iso(record.created),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info and record.exc_info[1] is not None:
                line["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
            self.lines.write(encode(line) + b"\n")
        except Exception:
            self.handleError(record)


def configure(lines: Lines, level: int = logging.INFO) -> None:
    """Send everything that is logged in this process to `lines`."""
    root = logging.getLogger()
    root.handlers[:] = [JsonLines(lines)]
    root.setLevel(level)
    # uvicorn warns of every malformed request, and tells of every start; the supervisor says what matters.
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.ERROR))
