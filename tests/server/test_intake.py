"""Request bodies: whole in every size and chunking, refused, cut short, or never sent; and what comes behind them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request

from hubreg.api.bodies import BATCH, SMALL, SPOOL, ClientGone, read_body, spool
from hubreg.errors import HubregError, Invalid, TooLarge
from hubreg.server.protocol import CLIENT_GONE, Limits
from tests.server.wire import App, answering, connected, request, serving

pytestmark = pytest.mark.anyio

QUICK = Limits(head_seconds=5, idle_seconds=0.4, discard_bytes=1 << 20)
SIZES = [0, 1, 1000, SMALL - 1, SMALL, SMALL + 1, BATCH, 3 * BATCH + 7]


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Kept:
    """A sink that keeps what it is given, and notices being called twice at once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._alone = threading.Lock()

    def write(self, data: bytes | memoryview) -> None:
        assert self._alone.acquire(blocking=False)
        self.data += data
        self._alone.release()


def name(data: bytes | bytearray) -> bytes:
    return b"%d %s" % (len(data), hashlib.sha256(data).hexdigest().encode())


async def taking(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the length and the hash of the body; `/small` reads it in one piece."""
    request_ = Request(scope, receive)
    if scope["path"] == "/small":
        data: bytes | bytearray = await read_body(request_, 1 << 30)
        total = len(data)
    else:
        sink = Kept()
        total = await spool(request_, sink)
        data = sink.data
    assert total == len(data)
    await answering(name(data))(scope, receive, send)


# whole bodies


@pytest.mark.parametrize("path", ["/", "/small"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_body_arrives_whole(size: int, path: str) -> None:
    """Whatever its size, twice on one connection, with a request without a body between them."""
    async with serving(taking) as served, connected(served) as client:
        for _ in range(2):
            client.send(request("PUT", path, some(size)))
            assert (await client.answer()).body == name(some(size))
            assert (await client.get(path)).body == name(b"")
        await served.logged(4)
        assert [line.status for line in served.lines] == [200] * 4


@pytest.mark.parametrize("piece", [1000, 65_536, 1_000_000])
@pytest.mark.parametrize("size", [SMALL, BATCH + 1, 3 * BATCH + 7])
async def test_a_body_in_pieces(size: int, piece: int) -> None:
    """However it is cut, beginning with the head alone."""
    whole = request("PUT", "/", some(size))
    async with serving(taking) as served, connected(served) as client:
        client.send(whole[: len(whole) - size])
        await asyncio.sleep(0.01)
        for at in range(len(whole) - size, len(whole), piece):
            client.send(whole[at : at + piece])
            await client.sent()
            if piece > 1000:
                await asyncio.sleep(0.001)
        assert (await client.answer()).body == name(some(size))


@pytest.mark.parametrize("size", [1, SMALL, 3 * BATCH + 7])
async def test_a_body_whose_last_byte_takes_its_time(size: int) -> None:
    """It is waited for, in the kernel and not in a thread."""
    whole = request("PUT", "/", some(size))
    async with serving(taking) as served, connected(served) as client:
        client.send(whole[:-1])
        await asyncio.sleep(0.1)
        client.send(whole[-1:])
        assert (await client.answer()).body == name(some(size))


@pytest.mark.parametrize("path", ["/", "/small"])
@pytest.mark.parametrize("sizes", [[], [1], [5, 100_000, 1], [1_000_000, 1_000_000], [1] * 300])
async def test_a_body_without_a_length(sizes: list[int], path: str) -> None:
    """A chunked body is as long as it turns out to be."""
    async with serving(taking) as served, connected(served) as client:
        for _ in range(2):
            client.send(request("POST", path, transfer_encoding="chunked"))
            for size in sizes:
                client.send(b"%x\r\n%s\r\n" % (size, some(size)))
                await client.sent()
            client.send(b"0\r\n\r\n")
            assert (await client.answer()).body == name(b"".join(some(size) for size in sizes))


async def test_many_uploads_at_once() -> None:
    """More than there are threads: none waits for another one's client."""

    async def upload(n: int) -> None:
        async with connected(served) as client:
            data = some(BATCH + n)
            whole = request("PUT", "/", data)
            client.send(whole[:-10])
            await all_here.wait()
            client.send(whole[-10:])
            assert (await client.answer()).body == name(data)

    all_here = asyncio.Barrier(40)
    async with serving(taking) as served:
        await asyncio.gather(*(upload(n) for n in range(40)))


async def test_what_comes_behind_a_body_is_the_next_request() -> None:
    """Requests that come together with a big body, before or behind it, are answered in order."""
    async with serving(taking) as served, connected(served) as client:
        sizes = [0, SMALL, 5, 2 * BATCH, 0, SMALL + 1]
        client.send(b"".join(request("PUT", "/", some(size)) for size in sizes))
        for size in sizes:
            assert (await client.answer()).body == name(some(size))
        assert (await client.get("/")).body == name(b"")


# 100-continue


@pytest.mark.parametrize("size", [5, SMALL, 3 * BATCH])
async def test_a_client_that_waits_to_be_asked(size: int) -> None:
    """It is asked when the application wants the body, once."""
    async with serving(taking) as served, connected(served) as client:
        for _ in range(2):
            client.send(request("PUT", "/", expect="100-continue", content_length=str(size)))
            assert (await client.head()).status == 100
            client.send(some(size))
            assert (await client.answer()).body == name(some(size))


async def test_a_client_that_does_not_wait_to_be_asked() -> None:
    """Its body is the body all the same."""
    async with serving(taking) as served, connected(served) as client:
        client.send(request("PUT", "/", some(SMALL), expect="100-continue"))
        answer = await client.answer()
        while answer.status == 100:
            answer = await client.answer()
        assert answer.body == name(some(SMALL))


async def test_a_client_that_is_refused_instead_of_asked() -> None:
    """The answer says that the connection ends: whether the body will still come is the client's choice."""
    async with serving(answering(b"no", 403)) as served, connected(served) as client:
        client.send(request("PUT", "/", expect="100-continue", content_length=str(BATCH)))
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (403, "close")
        assert await client.rest() == b""


# clients that vanish


@pytest.mark.parametrize("path", ["/", "/small"])
@pytest.mark.parametrize("sent", [0, 10, SMALL, BATCH + 5])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_vanishes(sent: int, how: str, path: str) -> None:
    """The application hears `ClientGone`, whatever of the body was there; nothing is answered or left open."""
    heard: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await taking(scope, receive, send)
        except BaseException as failure:
            heard.append(failure)
            raise

    async with serving(app) as served:
        async with connected(served) as client:
            client.send(request("PUT", path, content_length=str(3 * BATCH)) + some(sent))
            await client.sent()
            await asyncio.sleep(0.02)
            if how == "reset":
                client.reset()
        await served.empty()
        assert [type(failure) for failure in heard] == [ClientGone]
        assert [line.status for line in served.lines] == [CLIENT_GONE]


async def test_a_client_that_has_vanished_before_it_is_asked() -> None:
    """An application that takes its time before it reads learns of it then."""
    began, go_on = asyncio.Event(), asyncio.Event()
    heard: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await go_on.wait()
        with pytest.raises(ClientGone) as gone:
            await taking(scope, receive, send)
        heard.append(gone.value)
        raise gone.value

    async with serving(app) as served:
        async with connected(served) as client:
            client.send(request("PUT", "/", content_length=str(BATCH)))
            await began.wait()
        await asyncio.sleep(0.05)
        go_on.set()
        await served.empty()
        assert len(heard) == 1


@pytest.mark.parametrize("path", ["/", "/small"])
@pytest.mark.parametrize("sent", [0, 1000, SMALL])
async def test_a_client_that_sends_nothing_any_more(sent: int, path: str) -> None:
    """After the time that it may be silent it is taken to have gone, on both ways in."""
    async with serving(taking, limits=QUICK) as served, connected(served) as client:
        client.send(request("PUT", path, content_length=str(BATCH)) + some(sent))
        assert await client.rest() == b""
        await served.empty()
        assert [line.status for line in served.lines] == [CLIENT_GONE]


@pytest.mark.parametrize("path", ["/", "/small"])
async def test_a_client_that_sends_slowly(path: str) -> None:
    """A byte now and then is not nothing: the whole may take several times as long as a silence."""
    data = some(SMALL)
    async with serving(taking, limits=QUICK) as served, connected(served) as client:
        client.send(request("PUT", path, content_length=str(len(data))) + data[:-10])
        for at in range(len(data) - 10, len(data)):
            await asyncio.sleep(0.15)
            client.send(data[at : at + 1])
        assert (await client.answer()).body == name(data)


# refusals


class Failing(Kept):
    """A sink whose disk is full after so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: bytes | memoryview) -> None:
        super().write(data)
        if len(self.data) > self.room:
            raise OSError("full")


def judging(judge: Callable[[Request], Awaitable[object]]) -> App:
    """An application that answers 200, or the status of the refusal."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            await answering(b"next")(scope, receive, send)
            return
        status = 200
        try:
            await judge(Request(scope, receive))
        except HubregError as refusal:
            status = refusal.status
        except OSError:
            status = 507
        await answering(b"judged", status)(scope, receive, send)

    return app


@pytest.mark.parametrize("size", [10, SMALL, BATCH, 3 * BATCH])
async def test_a_body_that_nobody_reads(size: int) -> None:
    """It is passed over, and the next request on the connection is answered."""
    app = judging(lambda request_: asyncio.sleep(0))
    async with serving(app) as served, connected(served) as client:
        for _ in range(2):
            client.send(request("PUT", "/", some(size)))
            assert (await client.answer()).body == b"judged"
            assert (await client.get()).body == b"next"


@pytest.mark.parametrize("room", [0, SMALL, BATCH, 2 * BATCH])
async def test_a_sink_that_fails(room: int) -> None:
    """The application answers, the rest of the body is passed over, and the connection goes on."""
    app = judging(lambda request_: spool(request_, Failing(room)))
    async with serving(app) as served, connected(served) as client:
        for _ in range(2):
            client.send(request("PUT", "/", some(3 * BATCH)))
            assert (await client.answer()).status == 507
            assert (await client.get()).body == b"next"


async def test_a_refused_body_that_is_too_long_to_be_passed_over() -> None:
    """The refusal is sent, and the connection ends when more came than is worth reading."""
    async with serving(judging(_refuse), limits=QUICK) as served, connected(served) as client:
        client.send(request("PUT", "/", content_length=str(1 << 30)))
        assert (await client.answer()).status == 413
        with pytest.raises((ConnectionError, RuntimeError)):
            for _ in range(1000):
                client.send(bytes(100_000))
                await client.sent()
        await served.empty()


async def _refuse(request_: Request) -> None:
    raise TooLarge("no")


@pytest.mark.parametrize("rest", [b"", b"x" * 1000])
async def test_a_refused_body_that_does_not_come(rest: bytes) -> None:
    """After the refusal the connection is kept as long as any other, whatever else its client sends."""
    async with serving(judging(_refuse), keep_alive=1) as served, connected(served) as client:
        client.send(request("PUT", "/", content_length=str(BATCH)))
        assert (await client.answer()).status == 413
        client.send(rest)
        assert await client.rest() == b""
        await served.empty()


async def test_a_sink_that_fails_and_a_client_that_sends_no_more() -> None:
    """The same where a part of the body was taken."""
    app = judging(lambda request_: spool(request_, Failing(0)))
    async with serving(app, keep_alive=1) as served, connected(served) as client:
        client.send(request("PUT", "/", content_length=str(3 * BATCH)) + some(BATCH))
        assert (await client.answer()).status == 507
        client.send(b"x")
        assert await client.rest() == b""
        await served.empty()


# lengths


@pytest.mark.parametrize(
    ("limit", "expected", "size", "status"),
    [
        (10, None, 10, 200),
        (10, None, 11, 413),
        (None, 10, 10, 200),
        (None, 10, 11, 413),
        (None, 10, 9, 400),
        (SMALL, None, SMALL, 200),
        (SMALL, None, SMALL + 1, 413),
        (None, SMALL, SMALL, 200),
        (None, SMALL, SMALL + 1, 413),
        (None, BATCH, SMALL, 400),
        (None, 0, 0, 200),
        (0, None, 1, 413),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_length_of_a_body(
    chunked: bool, limit: int | None, expected: int | None, size: int, status: int
) -> None:
    """More than allowed or expected is 413, less than expected 400, announced or not; the next request is answered."""
    app = judging(lambda request_: spool(request_, Kept(), limit=limit, expected=expected))
    async with serving(app) as served, connected(served) as client:
        if chunked:
            client.send(request("PUT", "/", transfer_encoding="chunked"))
            client.send((b"%x\r\n%s\r\n" % (size, some(size)) if size else b"") + b"0\r\n\r\n")
        else:
            client.send(request("PUT", "/", some(size)))
        assert (await client.answer()).status == status
        assert (await client.get()).body == b"next"


@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_length_of_a_small_body(chunked: bool, size: int, status: int) -> None:
    """`read_body` has a limit too."""
    app = judging(lambda request_: read_body(request_, 10))
    async with serving(app) as served, connected(served) as client:
        if chunked:
            client.send(request("PUT", "/", transfer_encoding="chunked"))
            client.send(b"%x\r\n%s\r\n0\r\n\r\n" % (size, some(size)))
        else:
            client.send(request("PUT", "/", some(size)))
        assert (await client.answer()).status == status


async def test_a_body_that_was_begun_the_other_way() -> None:
    """What the application has received already is not lost to the sink that takes the rest."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        first = await receive()
        sink = Kept()
        await scope["extensions"][SPOOL]["into"](sink.write)
        await answering(name(first["body"] + bytes(sink.data)))(scope, receive, send)

    async with serving(app) as served, connected(served) as client:
        data = some(BATCH)
        client.send(request("PUT", "/", content_length=str(len(data))) + data[:1000])
        await asyncio.sleep(0.05)
        client.send(data[1000:])
        assert (await client.answer()).body == name(data)
        assert (await client.get("/")).status == 500  # a GET has no such extension
        await client.rest()


async def test_an_upload_that_is_cancelled() -> None:
    """The thread is done with the sink before the application goes on; the connection ends."""
    sink, ended = Kept(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            async with asyncio.timeout(0.1):
                await spool(Request(scope, receive), sink)
        except TimeoutError:
            taken = len(sink.data)
            await asyncio.sleep(0.05)
            assert len(sink.data) == taken
            ended.set()
            raise ClientGone from None

    async with serving(app) as served, connected(served) as client:
        client.send(request("PUT", "/", content_length=str(3 * BATCH)) + some(BATCH))
        async with asyncio.timeout(5):
            await ended.wait()
        assert await client.rest() == b""
        await served.empty()


def test_refusals_have_the_status_that_these_tests_mean() -> None:
    """413 and 400 are what the errors say of themselves."""
    assert (TooLarge.status, Invalid.status) == (413, 400)
