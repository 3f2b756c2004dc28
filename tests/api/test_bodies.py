"""Bodies in and out, on the bare ASGI messages; over a socket they are in `tests/server/`."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from hubreg.api.bodies import (
    BATCH,
    SMALL,
    SPOOL,
    ZERO_COPY,
    ClientGone,
    FileBody,
    announced,
    chunks,
    read_body,
    spool,
    threaded,
)
from hubreg.errors import Damaged, HubregError, Invalid, TooLarge

pytestmark = pytest.mark.anyio

CONTENT = random.Random(7).randbytes(2 * BATCH + 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "content").write_bytes(CONTENT)
    return tmp_path / "content"


# out


async def answer(body: FileBody, method: str = "GET", **scope: Any) -> list[dict[str, Any]]:
    """What the response sends to a client that stays."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    await body({"type": "http", "method": method, **scope}, receive, send)
    return sent


def headers(messages: list[dict[str, Any]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in messages[0]["headers"]}


def content(messages: list[dict[str, Any]]) -> bytes:
    assert [message.get("more_body", False) for message in messages[1:]] == [True] * (len(messages) - 2) + [
        False
    ]
    return b"".join(message["body"] for message in messages[1:])


@pytest.mark.parametrize(
    ("start", "end"), [(0, len(CONTENT)), (0, 1), (BATCH, BATCH + 1), (1, BATCH + 1), (1, BATCH + 2), (7, 7)]
)
async def test_a_piece_of_a_file_is_read(file: Path, start: int, end: int) -> None:
    """Where the server has nothing better: in batches, with the length in front."""
    messages = await answer(FileBody(file, size=len(CONTENT), start=start, end=end))
    assert messages[0]["status"] == 200
    assert headers(messages) == {"content-length": str(end - start)}
    assert content(messages) == CONTENT[start:end]
    assert all(len(message["body"]) <= BATCH for message in messages[1:])


async def test_a_piece_of_a_file_is_handed_over(file: Path) -> None:
    """Where the server offers zero-copy it gets the open file, where to begin and how much."""
    messages = await answer(FileBody(file, size=len(CONTENT), start=3, end=10), extensions={ZERO_COPY: {}})
    handle = messages[1].pop("file")
    assert messages[1] == {"type": ZERO_COPY, "offset": 3, "count": 7}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


async def test_headers_of_the_caller_come_first(file: Path) -> None:
    """As a mapping, or raw as the hot path has them."""
    given = {"ETag": '"x"', "Content-Type": "text/plain"}
    messages = await answer(FileBody(file, size=5, end=5, headers=given))
    assert headers(messages) == {"etag": '"x"', "content-type": "text/plain", "content-length": "5"}
    messages = await answer(FileBody(file, size=5, end=5, headers=[(b"etag", b'"x"')]))
    assert headers(messages) == {"etag": '"x"', "content-length": "5"}


@pytest.mark.parametrize(
    ("size", "start", "end", "expected"),
    [(10, 0, 1, "bytes 0-0/10"), (10, 3, 10, "bytes 3-9/10"), (0, 0, 0, "bytes */0")],
)
async def test_a_part_says_which_it_is(file: Path, size: int, start: int, end: int, expected: str) -> None:
    """With status 206 the header is there; of no bytes it is in the form for none."""
    messages = await answer(FileBody(file, size=size, start=start, end=end, status=206))
    assert headers(messages)["content-range"] == expected


@pytest.mark.parametrize(("start", "end"), [(0, 11), (2, 5), (0, 0)])
async def test_content_that_is_in_memory(start: int, end: int) -> None:
    """It is sent in one piece, or not at all for HEAD."""
    body = FileBody(b"hello world", size=11, start=start, end=end)
    assert content(await answer(body)) == b"hello world"[start:end]
    messages = await answer(body, "HEAD")
    assert headers(messages) == {"content-length": str(end - start)}
    assert content(messages) == b""


async def test_a_head_needs_no_file(tmp_path: Path) -> None:
    """The headers are those of GET, and nothing is opened."""
    messages = await answer(FileBody(tmp_path / "absent", size=99), "HEAD")
    assert headers(messages) == {"content-length": "99"}
    assert content(messages) == b""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("end", [0, 5])
async def test_a_descriptor_is_closed(file: Path, method: str, end: int) -> None:
    """Whoever hands one over need not think of it again, whatever is asked."""
    handle = os.open(file, os.O_RDONLY)
    messages = await answer(FileBody(handle, size=len(CONTENT), end=end), method)
    assert content(messages) == (CONTENT[:end] if method == "GET" else b"")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


async def test_a_file_that_is_not_what_it_should_be(file: Path, tmp_path: Path) -> None:
    """Missing or too short it is damage, said before anything is sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for body in (FileBody(tmp_path / "absent", size=5), FileBody(file, size=len(CONTENT) + 1)):
        with pytest.raises(Damaged):
            await body({"type": "http", "method": "GET"}, _never, send)
    assert sent == []


async def test_a_file_that_becomes_shorter(file: Path) -> None:
    """What was sent was sent; the rest is damage, and the response does not end as if it were whole."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        os.truncate(file, 10)

    with pytest.raises(Damaged):
        await FileBody(file, size=len(CONTENT))({"type": "http", "method": "GET"}, _never, send)
    assert all(message.get("more_body", True) for message in sent)


async def test_a_client_that_leaves_is_not_read_for(file: Path) -> None:
    """Batches end soon after it has gone; `send` would go on in silence."""
    gone = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 2:
            gone.set()
        await asyncio.sleep(0.01)

    await FileBody(file, size=len(CONTENT))({"type": "http", "method": "GET"}, receive, send)
    assert len(sent) == 2


async def _never() -> Any:
    await asyncio.Event().wait()


# in


def incoming(
    parts: Iterable[bytes], length: int | None = None, *, ends: bool = True, **extensions: Any
) -> Request:
    """A request whose body comes in these parts, after which its client stays, or leaves before the end."""
    given = list(parts)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": True} for part in given
    ]
    messages.append({"type": "http.request", "more_body": False} if ends else {"type": "http.disconnect"})
    coming = iter(messages)

    async def receive() -> Any:
        await asyncio.sleep(0)
        return next(coming)

    total = sum(len(part) for part in given) if length is None else length
    head = [(b"transfer-encoding", b"chunked")] if length == -1 else [(b"content-length", b"%d" % total)]
    return Request({"type": "http", "method": "PUT", "headers": head, "extensions": extensions}, receive)


class Kept:
    """What a sink was given, call by call, and the thread it came in."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.threads: set[int] = set()

    def write(self, data: bytes | memoryview) -> None:
        self.calls.append(bytes(data))
        self.threads.add(threading.get_ident())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], 0),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b"123")], 123),
        ([(b"transfer-encoding", b"chunked")], None),
        ([(b"transfer-encoding", b"gzip, chunked"), (b"content-length", b"5")], None),
    ],
)
def test_the_announced_length(given: list[tuple[bytes, bytes]], expected: int | None) -> None:
    """A number, none for a chunked body, 0 for a request without a body."""
    assert announced({"headers": given}) == expected


@pytest.mark.parametrize("text", [b"-1", b"1.5", b"", b"0x10", "²".encode(), b"1 2"])
def test_a_length_that_is_no_number(text: bytes) -> None:
    """Other servers than ours may let it through."""
    with pytest.raises(Invalid):
        announced({"headers": [(b"content-length", text)]})


@pytest.mark.parametrize("length", [None, -1])
async def test_a_small_body(length: int | None) -> None:
    """In one piece, announced or not, up to its limit."""
    assert await read_body(incoming([], length), 0) == b""
    assert await read_body(incoming([b"abc", b"", b"de"], length), 5) == b"abcde"
    with pytest.raises(TooLarge, match="larger than 4 bytes"):
        await read_body(incoming([b"abc", b"de"], length), 4)


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    """Not a byte of it is received; one that is announced too short neither, where a length is expected."""

    async def receive() -> Any:
        raise AssertionError("it is read")

    def announcing(length: int) -> Request:
        head = [(b"content-length", b"%d" % length)]
        return Request({"type": "http", "method": "PUT", "headers": head}, receive)

    with pytest.raises(TooLarge):
        await read_body(announcing(11), 10)
    with pytest.raises(TooLarge):
        await spool(announcing(11), Kept(), limit=10)
    with pytest.raises(TooLarge):
        await spool(announcing(11), Kept(), expected=10)
    with pytest.raises(Invalid):
        await spool(announcing(9), Kept(), expected=10)


async def test_a_client_that_leaves_in_the_middle() -> None:
    """`ClientGone`, in every way of reading, and nothing that looks like a whole body."""
    sink = Kept()
    for reading in (
        read_body(incoming([b"half"], 10, ends=False), 100),
        spool(incoming([b"half"], 10, ends=False), sink),
        spool(incoming([b"half"], -1, ends=False), sink),
    ):
        with pytest.raises(ClientGone):
            await reading
    assert sink.calls == []
    seen: list[bytes] = []
    with pytest.raises(ClientGone):
        async for part in chunks(incoming([b"a", b"b"], 10, ends=False)):
            seen.append(part)
    assert seen == [b"a", b"b"]


async def test_a_body_goes_to_the_sink_in_batches() -> None:
    """In order, off the event loop, about a megabyte at a time."""
    sink = Kept()
    parts = [CONTENT[at : at + 60_000] for at in range(0, len(CONTENT), 60_000)]
    assert await spool(incoming(parts, -1), sink) == len(CONTENT)
    assert b"".join(sink.calls) == CONTENT
    assert len(sink.calls) == 2
    assert BATCH <= len(sink.calls[0]) < BATCH + 60_000
    assert threading.get_ident() not in sink.threads


async def test_an_empty_body_does_not_trouble_the_sink() -> None:
    """There is nothing to write."""
    sink = Kept()
    assert await spool(incoming([]), sink) == 0
    assert await spool(incoming([], -1), sink, expected=0) == 0
    assert sink.calls == []


@pytest.mark.parametrize(
    ("limit", "expected", "refusal"),
    [(5, None, None), (4, None, TooLarge), (None, 5, None), (None, 4, TooLarge), (None, 6, Invalid)],
)
async def test_a_chunked_body_has_limits_too(
    limit: int | None, expected: int | None, refusal: type[HubregError] | None
) -> None:
    """They are seen as it comes: past the end nothing more is written, short of it nothing at all."""
    sink = Kept()
    spooling = spool(incoming([b"abc", b"de"], -1), sink, limit=limit, expected=expected)
    if refusal is None:
        assert await spooling == 5
    else:
        with pytest.raises(refusal):
            await spooling
        assert sink.calls == []


async def test_a_sink_that_fails() -> None:
    """Its failure comes through, and it is not called again."""

    class Full(Kept):
        def write(self, data: bytes | memoryview) -> None:
            super().write(data)
            raise OSError("full")

    sink = Full()
    with pytest.raises(OSError, match="full"):
        await spool(incoming([CONTENT, CONTENT], -1), sink)
    assert len(sink.calls) == 1


async def test_a_big_body_is_left_to_the_server() -> None:
    """Where it offers to; a small one, and one without a length, come the ordinary way."""
    taken: list[Any] = []

    async def into(write: Any) -> int:
        taken.append(write)
        return SMALL

    sink = Kept()
    assert await spool(incoming([], SMALL, **{SPOOL: {"into": into}}), sink) == SMALL
    assert taken == [sink.write]
    await spool(incoming([b"x" * (SMALL - 1)], SMALL - 1, **{SPOOL: {"into": into}}), sink)
    await spool(incoming([b"x" * SMALL], -1, **{SPOOL: {"into": into}}), sink)
    assert len(taken) == 1


async def test_a_cancelled_upload_waits_for_its_sink() -> None:
    """When `spool` has ended, the thread has too."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def write(self, data: bytes | memoryview) -> None:
            begun.set()
            may_end.wait(10)
            ended.set()

    spooling = asyncio.create_task(spool(incoming([b"abc"]), Slow()))
    await threaded(begun.wait, 10)
    spooling.cancel()
    await asyncio.sleep(0.01)
    assert not spooling.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await spooling
    assert ended.is_set()
