"""What the process says: one JSON object per line, whole, without secrets."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.server.logs import LONGEST, MOST, AccessLog, Lines, access_line, configure, iso, redact


@pytest.fixture
def output(tmp_path: Path) -> Iterator[tuple[Lines, Path]]:
    """Lines, and the file that they go to."""
    path = tmp_path / "stderr"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield Lines(handle), path
    os.close(handle)


def parsed(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def scope(
    path: bytes = b"/", query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = (), **state: str
) -> dict[str, Any]:
    return {
        "method": "GET",
        "raw_path": path,
        "query_string": query,
        "headers": list(headers),
        "client": ("192.0.2.7", 1234),
        "state": state,
    }


# one line a request


def test_a_request_is_one_line() -> None:
    """With everything that is asked of a log: when, what, who, how long, how much, from where."""
    request = scope(b"/a/b", b"x=1", ((b"user-agent", b"hf/2.4"),), request_id="id", user="ann")
    line = access_line(1_700_000_000.25, request, 206, 12345, 0.0123456)
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "at": "2023-11-14T22:13:20.250Z",
        "id": "id",
        "method": "GET",
        "path": "/a/b?x=1",
        "status": 206,
        "user": "ann",
        "agent": "hf/2.4",
        "ms": 12.35,
        "bytes": 12345,
        "address": "192.0.2.7",
    }


def test_how_much_a_request_brings() -> None:
    """The length that was announced, where it is a number."""
    lines = [
        access_line(0, scope(headers=((b"content-length", text),)), 200, 0, 0)
        for text in (b"77", b"x", b"9" * 99)
    ]
    assert [json.loads(line).get("received") for line in lines] == [77, None, None]


def test_the_address_behind_a_proxy() -> None:
    """Where the boundary knows better than the socket, its word counts; a socket may have no address."""
    assert json.loads(access_line(0, scope(address="203.0.113.9"), 200, 0, 0))["address"] == "203.0.113.9"
    request = {**scope(), "client": None}
    del request["state"]
    line = json.loads(access_line(0, request, 200, 0, 0))
    assert (line["address"], line["user"], line["id"]) == ("", "", "")


@given(st.binary(), st.binary(), st.binary())
def test_whatever_a_client_sends_is_one_line(path: bytes, query: bytes, agent: bytes) -> None:
    """No byte of it ends the line or breaks the JSON, and it has a reasonable length."""
    line = access_line(0, scope(path, query, ((b"user-agent", agent),)), 200, 0, 0)
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert found["agent"] == agent[:LONGEST].decode("latin-1")


def test_long_paths_are_cut() -> None:
    """A log is no place for 60 kB of path."""
    line = access_line(0, scope(b"/" * 60_000, b"x" * 60_000, ((b"user-agent", b"a" * 60_000),)), 200, 0, 0)
    assert len(line) < 3 * LONGEST


@pytest.mark.parametrize(
    "query",
    [
        b"token=SECRET",
        b"a=1&signature=SECRET&b=2",
        b"X-Amz-Signature=SECRET",
        b"X-Amz-Credential=SECRET&X-Amz-Security-Token=SECRET",
        b"Signature=SECRET",
        b"api_key=SECRET&apikey=SECRET&key=SECRET",
        b"client_secret=SECRET&password=SECRET",
        b"sig=SECRET",
        b"expires=1&signature=SECRET",
        b"token=SECRET=SECRET",
        b"hf_token=SECRET",
    ],
)
def test_secrets_are_not_written(query: bytes) -> None:
    """The value of everything that may open a door is replaced, the rest stays."""
    line = access_line(0, scope(b"/x", query), 200, 0, 0)
    assert b"SECRET" not in line
    assert b"***" in line


def test_what_is_no_secret_stays() -> None:
    """Names, and values of other names, can be searched for."""
    query = b"search=token&author=key&limit=5&cursor=abc"
    assert redact(query) == query
    assert redact(b"a=1&token=s&b=2") == b"a=1&token=***&b=2"
    assert redact(b"") == b""


# the thread that writes


def test_what_was_recorded_is_written_at_the_end(output: tuple[Lines, Path]) -> None:
    """`close` waits for every line, in the order of the requests."""
    lines, path = output
    access = AccessLog(lines)
    for n in range(2000):
        access.record(scope(b"/%d" % n), 200, n, 0)
    access.close()
    assert [line["bytes"] for line in parsed(path)] == list(range(2000))


def test_what_was_recorded_is_written_soon(output: tuple[Lines, Path]) -> None:
    """Nobody has to close the log to read it, the first time or later."""
    lines, path = output
    access = AccessLog(lines)
    for n in range(3):
        access.record(scope(b"/%d" % n), 200, 0, 0)
        while len(parsed(path)) <= n:
            threading.Event().wait(0.01)
    access.close()
    assert [line["path"] for line in parsed(path)] == ["/0", "/1", "/2"]


def test_when_nobody_reads_lines_are_counted(output: tuple[Lines, Path]) -> None:
    """Memory has an end: beyond it lines are dropped, and one line says how many."""
    lines, path = output
    access = AccessLog(lines)
    request = scope()
    with lines._between_threads:  # as if the terminal were stopped
        for _ in range(MOST + 5000):
            access.record(request, 200, 0, 0)
    access.close()
    found = parsed(path)
    lost = [line["lost"] for line in found if "lost" in line]
    assert len(lost) == 1
    assert len(found) - 1 + lost[0] == MOST + 5000
    assert lost[0] >= 4000


# whole lines


def test_processes_and_threads_do_not_tear_lines() -> None:
    """Whoever writes to the shared descriptor, every line is there, whole and once."""
    program = str(Path(__file__).with_name("talkers.py"))
    ended = run([sys.executable, program], capture_output=True, check=True, timeout=60)
    found = [json.loads(line) for line in ended.stderr.splitlines()]
    assert sorted(line["from"] for line in found) == [
        [w, t, n] for w in range(4) for t in range(3) for n in range(50)
    ]
    assert all(len(line["filler"]) == line["from"][2] * 300 for line in found)


def test_a_descriptor_that_does_not_block() -> None:
    """Whoever shares stderr may have made it so: a line that does not fit is waited with, not cut."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines, line = Lines(writing), b"x" * 1000 + b"\n"
    writer = threading.Thread(target=lambda: [lines.write(line) for _ in range(500)])
    writer.start()
    with os.fdopen(reading, "rb") as end:
        got = end.read(500 * len(line))
    writer.join()
    assert got == line * 500
    os.close(writing)


def test_nobody_listens_any_more() -> None:
    """A closed terminal is no reason to fail, nor to keep the others waiting: the lock is let go."""
    reading, writing = os.pipe()
    lines = Lines(writing)
    os.close(reading)
    lines.write(b"said to nobody\n")
    os.close(writing)
    reading, lines.descriptor = os.pipe()
    lines.write(b"said to somebody\n")
    assert os.read(reading, 100) == b"said to somebody\n"
    os.close(reading)
    os.close(lines.descriptor)


# everything else that is logged


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn.error")
    before = root.handlers[:], root.level, uvicorn.level
    yield root
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    uvicorn.setLevel(before[2])


@pytest.mark.usefixtures("root")
def test_messages_have_the_same_form(output: tuple[Lines, Path]) -> None:
    """Level, logger and message, at once; what is below the level is not written."""
    lines, path = output
    configure(lines, logging.WARNING)
    logging.getLogger("hubreg.test").warning("%d of\n%s", 5, "a\tkind")
    logging.getLogger("hubreg.test").info("too quiet")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    (line,) = parsed(path)
    assert line.pop("at")
    assert line == {"level": "warning", "logger": "hubreg.test", "message": "5 of\na\tkind"}


@pytest.mark.usefixtures("root")
def test_a_traceback_is_a_field(output: tuple[Lines, Path]) -> None:
    """The line stays one line."""
    lines, path = output
    configure(lines)
    try:
        raise LookupError("first\nsecond")
    except LookupError:
        logging.getLogger("hubreg.test").exception("it failed")
    (line,) = parsed(path)
    assert line["message"] == "it failed"
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["traceback"].endswith("LookupError: first\nsecond\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1.9999, "1970-01-01T00:00:01.999Z"),
        (1e9, "2001-09-09T01:46:40.000Z"),
    ],
)
def test_times_are_in_utc(seconds: float, text: str) -> None:
    """To the millisecond, in the form that sorts as text."""
    assert iso(seconds) == text
