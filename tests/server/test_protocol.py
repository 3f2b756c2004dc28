"""Requests and responses on the wire: files, order, reuse, limits, and what the log is told."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hubreg.api.bodies import ZERO_COPY, ClientGone, FileBody
from hubreg.server.protocol import CLIENT_GONE, Limits
from tests.server.wire import App, Client, Line, answering, connected, request, serving

pytestmark = pytest.mark.anyio

CONTENT = random.Random(2).randbytes(5_000_000)
QUICK = Limits(head_seconds=0.3, idle_seconds=0.4, head_bytes=4096, discard_bytes=1 << 20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


def files(path: Path) -> App:
    """`/START-END` answers that piece of the file, END not included; `/` a few bytes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await answering(b"few")(scope, receive, send)
            return
        start, _, end = scope["path"][1:].partition("-")
        body = FileBody(path, size=len(CONTENT), start=int(start), end=int(end), status=206)
        await body(scope, receive, send)

    return app


# files


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (0, len(CONTENT)),
        (1, len(CONTENT)),
        (len(CONTENT) - 1, len(CONTENT)),
        (70_000, 1_200_000),
        (5, 5),
    ],
)
async def test_a_piece_of_a_file(file: Path, start: int, end: int) -> None:
    """Exactly the bytes from start to end arrive, and the headers say which they are."""
    async with serving(files(file)) as served, connected(served) as client:
        answer = await client.get(f"/{start}-{end}")
        assert answer.status == 206
        assert answer.body == CONTENT[start:end]
        if start < end:
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
        await served.logged(1)
        assert served.lines == [Line("GET", f"/{start}-{end}".encode(), 206, end - start)]


async def test_a_file_for_which_the_pump_has_no_descriptors(file: Path) -> None:
    """It comes all the same, and the connection goes on; one that ends too soon is cut."""
    async with serving(files(file)) as served, connected(served) as client:
        served.pump.most = 0
        for begin, end in ((0, len(CONTENT)), (70_000, 3_000_000), (5, 5)):
            assert (await client.get(f"/{begin}-{end}", "HEAD")).headers["content-length"] == f"{end - begin}"
            assert (await client.get(f"/{begin}-{end}")).body == CONTENT[begin:end]
            assert (await client.get("/")).body == b"few"
        await served.logged(9)
        assert [line.written for line in served.lines[1::3]] == [len(CONTENT), 2_930_000, 0]


async def test_a_connection_is_used_again(file: Path) -> None:
    """Files, small answers and heads follow each other on one connection, each where the last one ended."""
    async with serving(files(file)) as served, connected(served) as client:
        rng = random.Random(3)
        for _ in range(40):
            start, size = rng.randrange(4_000_000), rng.choice([1, 1000, 300_000, 1_000_000])
            method = rng.choice(["GET", "HEAD"])
            answer = await client.get(f"/{start}-{start + size}", method)
            assert answer.headers["content-length"] == str(size)
            assert answer.body == (b"" if method == "HEAD" else CONTENT[start : start + size])
            assert (await client.get("/")).body == b"few"
        await served.logged(80)
        assert all(line.written == 0 for line in served.lines if line.method == "HEAD")


async def test_requests_that_come_together_are_answered_in_order(file: Path) -> None:
    """A client that does not wait for answers gets them one after the other."""
    async with serving(files(file)) as served, connected(served) as client:
        client.send(b"".join(request("GET", f"/{n}-{n + 100_000}") + request("GET", "/") for n in range(10)))
        for n in range(10):
            assert (await client.answer()).body == CONTENT[n : n + 100_000]
            assert (await client.answer()).body == b"few"
        await served.logged(20)


async def test_many_clients_at_once(file: Path) -> None:
    """Big and small answers side by side, each client with its own bytes."""

    async def one(n: int) -> None:
        async with connected(served) as client:
            assert (await client.get(f"/{n}-{n + 1_000_000}")).body == CONTENT[n : n + 1_000_000]
            assert (await client.get("/")).body == b"few"

    async with serving(files(file)) as served:
        await asyncio.gather(*(one(n) for n in range(30)))


async def test_a_client_that_asks_to_close(file: Path) -> None:
    """The connection ends after the last byte, not before."""
    async with serving(files(file)) as served, connected(served) as client:
        client.send(request("GET", f"/0-{len(CONTENT)}", connection="close"))
        assert (await client.head()).headers["connection"] == "close"
        assert await client.rest() == CONTENT


async def test_a_response_of_several_pieces(file: Path) -> None:
    """Bytes and pieces of files in any order make one body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with file.open("rb") as opened:
            await send(start(len(CONTENT) + 6))
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})
            await send({"type": ZERO_COPY, "file": opened, "count": 1_000_000, "more_body": True})
            await send({"type": ZERO_COPY, "file": opened.fileno(), "offset": 1_000_000, "more_body": True})
            await send({"type": "http.response.body", "body": b"xyz"})

    async with serving(app) as served, connected(served) as client:
        for _ in range(2):
            assert (await client.get()).body == b"abc" + CONTENT + b"xyz"
        await served.logged(2)
        assert served.lines[0].written == len(CONTENT) + 6


def start(length: int, status: int = 200) -> dict[str, Any]:
    headers = [(b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def test_a_big_answer_before_a_file(file: Path) -> None:
    """What the loop has not written yet is written before the file: nothing overtakes."""
    before = random.Random(4).randbytes(3_000_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with file.open("rb") as opened:
            await send(start(len(before) + len(CONTENT)))
            await send({"type": "http.response.body", "body": before, "more_body": True})
            await send({"type": ZERO_COPY, "file": opened})

    async with serving(app) as served, connected(served) as client:
        assert (await client.get()).body == before + CONTENT


# clients that leave, or are slow


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_in_the_middle(file: Path, how: str) -> None:
    """The transfer ends, the log says how much went out, and no descriptor stays open (`serving` looks)."""
    async with serving(files(file)) as served:
        for _ in range(20):
            async with connected(served, receive_buffer=8192) as client:
                client.send(request("GET", f"/0-{len(CONTENT)}"))
                await client.head()
                if how == "reset":
                    client.reset()
        await served.empty()
        assert len(served.lines) == 20
        assert all(line.status == 206 and line.written < len(CONTENT) for line in served.lines)


async def test_a_client_that_leaves_before_the_answer() -> None:
    """It is logged with a status of its own, and the application learns of it."""
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        heard.append((await receive())["type"])

    async with serving(app) as served:
        async with connected(served) as client:
            client.send(request("GET"))
            await client.sent()
            await asyncio.sleep(0.05)
        await served.empty()
        assert heard == ["http.disconnect"]
        assert served.lines == [Line("GET", b"/", CLIENT_GONE, 0)]


async def test_an_application_that_finds_its_client_gone() -> None:
    """`ClientGone` passes without an answer and without a word in the log of failures."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ClientGone

    async with serving(app) as served, connected(served) as client:
        client.send(request("GET"))
        assert await client.rest() == b""
        await served.empty()
        assert served.lines == [Line("GET", b"/", CLIENT_GONE, 0)]


@pytest.mark.parametrize("path", ["/big", f"/0-{len(CONTENT)}"])
async def test_a_client_that_takes_nothing_is_dropped(file: Path, path: str) -> None:
    """Of a big answer as of a file, after the time that a client may take nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (answering(CONTENT) if scope["path"] == "/big" else files(file))(scope, receive, send)

    async with serving(app, limits=QUICK) as served, connected(served, receive_buffer=8192) as client:
        client.send(request("GET", path))
        await client.head()
        await served.empty()
        assert [(line.path, line.status) for line in served.lines] == [
            (path.encode(), 200 if path == "/big" else 206)
        ]
        assert len(await client.rest()) < len(CONTENT)


@pytest.mark.parametrize("then", ["keep-alive", "close"])
async def test_a_client_that_does_not_take_the_end_is_dropped(then: str) -> None:
    """Also where the application is done and only the loop still holds the last bytes."""
    async with (
        serving(answering(bytes(100_000)), limits=QUICK, keep_alive=60) as served,
        connected(served, receive_buffer=8192) as client,
    ):
        await client.get("/", "HEAD")
        served.small_buffers()
        client.send(request("GET", connection=then))
        await served.logged(2)
        assert served.state.connections
        await served.empty()


async def test_a_slow_client_gets_everything() -> None:
    """Whoever takes something within the time may take several times as long over all of it."""
    limits = Limits(idle_seconds=0.5)
    async with (
        serving(answering(CONTENT[:400_000]), limits=limits) as served,
        connected(served, receive_buffer=32 << 10) as client,
    ):
        assert (await client.get("/", "HEAD")).status == 200
        served.small_buffers()
        client.send(request("GET"))
        await client.head()
        got = b""
        for _ in range(40):
            got += await client.read(2500)
            await asyncio.sleep(0.03)
        assert got + await client.read(300_000) == CONTENT[:400_000]


# answers that go wrong


@pytest.mark.parametrize("most", [sys.maxsize, 0])
async def test_a_file_that_is_shorter_than_it_should_be(file: Path, most: int) -> None:
    """Known before the first byte it is a failure that is answered; later the connection is cut."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/before":
            await FileBody(file, size=len(CONTENT) + 1)(scope, receive, send)
            return
        handle = os.open(file, os.O_RDWR)
        await send(start(len(CONTENT)))
        os.ftruncate(handle, 1000)
        try:
            await send({"type": ZERO_COPY, "file": handle, "count": len(CONTENT)})
        finally:
            os.close(handle)

    async with serving(app) as served:
        served.pump.most = most
        async with connected(served) as client:
            assert (await client.get("/before")).status == 500
        async with connected(served) as client:
            client.send(request("GET", "/while"))
            assert (await client.head()).headers["content-length"] == str(len(CONTENT))
            assert await client.rest() == CONTENT[:1000]
        await served.empty()
        assert [(line.status, line.written) for line in served.lines] == [(500, 21), (200, 1000)]


async def _raises(send: Any) -> None:
    raise LookupError("a bug")


async def _says_nothing(send: Any) -> None:
    return


async def _raises_later(send: Any) -> None:
    await send(start(10))
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise LookupError("a bug")


async def _stops_half_way(send: Any) -> None:
    await send(start(10))
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def _says_too_much(send: Any) -> None:
    await send(start(4))
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    await send({"type": ZERO_COPY, "file": 0, "count": 1})


async def _sends_a_file_of_no_length(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": ZERO_COPY, "file": 0, "count": 1})


@pytest.mark.parametrize("fault", [_raises, _says_nothing])
async def test_an_application_that_fails_before_its_answer(
    fault: Callable[[Any], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told that the server failed, and nothing of why; the log has one line of each kind."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await fault(send)

    async with serving(app) as served, connected(served) as client:
        answer = await client.get()
        assert (answer.status, answer.body) == (500, b"Internal Server Error")
        assert await client.rest() == b""
        await served.logged(1)
        assert served.lines == [Line("GET", b"/", 500, 21)]
        assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "fault", [_raises_later, _stops_half_way, _says_too_much, _sends_a_file_of_no_length]
)
async def test_an_application_that_fails_in_its_answer(
    fault: Callable[[Any], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is cut: whatever the client has is not taken for a whole answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await fault(send)

    async with serving(app) as served, connected(served) as client:
        client.send(request("GET"))
        rest = await client.rest()
        assert b"HTTP/1.1 200" in rest
        assert not rest.endswith(b"0\r\n\r\n")
        await served.empty()
        assert len(served.lines) == 1
        assert len(caplog.records) == 1


async def test_too_many_connections() -> None:
    """Beyond the limit there is an answer, and room again when somebody leaves."""
    async with serving(answering(b"few"), max_connections=2) as served:
        async with connected(served) as one:
            assert (await one.get()).status == 200
            async with connected(served) as two:
                assert (await two.get()).status == 503
        await served.empty()
        async with connected(served) as three:
            assert (await three.get()).status == 200
    assert [line.status for line in served.lines] == [200, 503, 200]


# requests that go wrong


def headers(size: int) -> bytes:
    """A head of that many bytes."""
    head = request("GET", "/").removesuffix(b"\r\n")
    while size - len(head) > 1000:
        head += b"X-Filler: %s\r\n" % (b"x" * 500)
    return head + b"X-Last: %s\r\n\r\n" % (b"x" * (size - len(head) - 12))


@pytest.mark.parametrize("pieces", [1, 10, 200])
async def test_a_head_of_reasonable_size(pieces: int) -> None:
    """It is read, in however many pieces it comes, a first and a second time."""
    async with (
        serving(answering(b"few"), limits=Limits(head_bytes=8192)) as served,
        connected(served) as client,
    ):
        for _ in range(2):
            await trickle(client, headers(8000), pieces)
            assert (await client.answer()).body == b"few"


async def trickle(client: Client, data: bytes, pieces: int) -> None:
    size = -(-len(data) // pieces)
    for at in range(0, len(data), size):
        client.send(data[at : at + size])
        await asyncio.sleep(0)


@pytest.mark.parametrize("pieces", [1, 10, 200])
@pytest.mark.parametrize(
    "head",
    [
        headers(10_000),
        request("GET", "/" + "x" * 10_000),
        request("GET", "/", x="y" * 10_000),
        b"GET / HTTP/1.1\r\n" + b"X" * 10_000,
        b"GET /" + b"x" * 10_000,
    ],
    ids=["many headers", "long URL", "long value", "endless name", "endless URL"],
)
async def test_a_head_that_is_too_large(head: bytes, pieces: int) -> None:
    """It is refused in the words of the API, whatever it is that is so large and however it comes."""
    async with (
        serving(answering(b"few"), limits=Limits(head_bytes=8192)) as served,
        connected(served) as client,
    ):
        answering_ = asyncio.create_task(client.answer())
        size = -(-len(head) // pieces)
        for at in range(0, 10 * len(head), size):
            client.send(head[at : at + size] or b"x" * size)
            await asyncio.sleep(0.001)
            if answering_.done():
                break
        answer = await answering_
        assert (answer.status, answer.headers["connection"]) == (431, "close")
        assert json.loads(answer.body) == {"error": "The request's headers are too large."}
        assert answer.headers["x-error-message"] == "The request's headers are too large."
        await client.rest()


async def test_a_head_behind_a_big_body() -> None:
    """What came before it in the same piece is not counted."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await answering(b"few")(scope, receive, send)

    async with serving(app, limits=QUICK) as served, connected(served) as client:
        whole = request("POST", "/", bytes(50_000)) + headers(4000)
        client.send(whole[:-3000])
        assert (await client.answer()).body == b"few"
        client.send(whole[-3000:])
        assert (await client.answer()).body == b"few"


CHUNKED = request("POST", "/", transfer_encoding="chunked")


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the body and says how many headers there were and how long the body was."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answering(b"%d %d" % (len(scope["headers"]), size))(scope, receive, send)


@pytest.mark.parametrize(
    ("begun", "endless"),
    [
        (CHUNKED + b"1\r\n{\r\n0\r\nX: ", b"a" * 1000),
        (CHUNKED + b"1\r\n{\r\n0\r\n", b"a" * 1000),
        (CHUNKED + b"1\r\n{\r\n0\r\n", b"X: %s\r\n" % (b"a" * 995)),
        (CHUNKED + b"1;", b"a" * 1000),
        (CHUNKED + b"1\r\n{\r\n1;", b"a" * 1000),
        (request("GET", "/"), b"\r\n" * 500),
    ],
    ids=["trailer value", "trailer name", "trailers", "chunk extension", "later extension", "empty lines"],
)
async def test_what_never_ends_outside_of_head_and_body(begun: bytes, endless: bytes) -> None:
    """It is cut after as many bytes as a head may have: the parser would gather all of it."""
    async with serving(reading, limits=Limits(head_bytes=8192)) as served, connected(served) as client:
        client.send(begun)
        sent = 0
        with suppress(ConnectionError):
            while not client.reader.at_eof() and sent < 1 << 20:
                client.send(endless)
                sent += len(endless)
                await client.sent()
                await asyncio.sleep(0.001)
        await client.rest()
        assert sent < 1 << 20
        await served.empty()


async def test_trailers_and_chunk_extensions_of_reasonable_size() -> None:
    """A body may have very many of them in all; trailers do not become headers of the request."""
    chunks = b"1;name=%s\r\n{\r\n" % (b"v" * 4000) * 50
    whole = CHUNKED + chunks + b"0\r\nX-Sum: %s\r\n\r\n" % (b"1" * 4000)
    async with serving(reading, limits=Limits(head_bytes=8192)) as served, connected(served) as client:
        for pieces in (1, 100, 1000):
            await trickle(client, whole, pieces)
            assert (await client.answer()).body == b"2 50"


@pytest.mark.parametrize(
    "garbage",
    [
        b"HELO mail.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /\xff HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT hub.example:443 HTTP/1.1\r\nHost: hub.example:443\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_request(garbage: bytes) -> None:
    """It is answered with a refusal, or by hanging up where an answer has begun, and the connection ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async with serving(app) as served, connected(served) as client:
        client.send(garbage)
        rest = await client.rest()
        assert rest.startswith(b"HTTP/1.1 400 Bad Request\r\n") or rest == b""
        assert not rest or rest.endswith(b'{"error":"Not a valid HTTP request."}')


@pytest.mark.parametrize("host", ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nhOST: a\r\n"])
async def test_a_request_names_its_host_once(host: str) -> None:
    """Proxies and we must not understand two different hosts; RFC 9112 wants a 400."""
    async with serving(answering(b"few")) as served, connected(served) as client:
        client.send(f"GET / HTTP/1.1\r\n{host}\r\n".encode())
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert json.loads(answer.body) == {"error": "A request of HTTP/1.1 has one Host header."}


async def test_http_1_0_knows_no_host() -> None:
    """Health checks of load balancers are often that old."""
    async with serving(answering(b"few")) as served, connected(served) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).body == b"few"


@pytest.mark.parametrize(
    ("sent", "method", "path"),
    [
        (b"HELO mail.example\r\n\r\n", "", b""),
        (b"GET /a?token=b HTTP/1.1\r\nno colon\r\n\r\n", "", b"/a"),
        (b"DELETE /a HTTP/1.1\r\n\r\n", "DELETE", b"/a"),
    ],
    ids=["no method", "a bad header", "no host"],
)
@pytest.mark.parametrize("before", [0, 1])
async def test_a_refusal_of_what_is_no_request_is_logged(
    before: int, sent: bytes, method: str, path: bytes
) -> None:
    """With a name that the client is told, and nothing of the request before it on the connection."""
    async with serving(answering(b"few")) as served, connected(served) as client:
        for _ in range(before):
            await client.get("/earlier")
        client.send(sent)
        answer = await client.answer()
        assert answer.headers["x-error-code"] == "Invalid"
        assert answer.headers["x-request-id"].startswith("Root=1-")
        assert served.lines[before:] == [Line(method, path, 400, len(answer.body))]


async def test_a_refusal_keeps_the_name_that_was_given() -> None:
    """A client that names its requests finds them in the log, refused or not."""
    async with serving(answering(b"few")) as served, connected(served) as client:
        client.send(b"GET / HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n")
        assert (await client.answer()).headers["x-request-id"] == "mine"


async def test_another_protocol_is_asked_for_without_a_body() -> None:
    """The wish is passed over, and the connection goes on as it was."""
    async with serving(answering(b"few")) as served, connected(served) as client:
        for _ in range(3):
            assert (await client.get("/", connection="Upgrade", upgrade="h2c")).body == b"few"
            assert (await client.get("/")).body == b"few"


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: te"])
async def test_a_head_that_does_not_come(said: bytes) -> None:
    """A connection on which no request begins or ends is closed after the time that a head may take."""
    async with serving(answering(b"few"), limits=QUICK) as served, connected(served) as client:
        client.send(said)
        assert await client.rest() == b""
        await served.empty()


async def test_a_second_head_that_does_not_come() -> None:
    """The time begins again with the first byte of the next request."""
    async with serving(answering(b"few"), limits=QUICK) as served, connected(served) as client:
        assert (await client.get()).body == b"few"
        client.send(b"GET / HT")
        assert await client.rest() == b""
        await served.empty()


async def test_a_connection_without_requests_is_closed() -> None:
    """After an answer it is kept for a while."""
    async with serving(answering(b"few"), keep_alive=1) as served, connected(served) as client:
        assert (await client.get()).body == b"few"
        assert await client.rest() == b""
        await served.empty()


async def test_the_path_arrives_as_it_was_sent() -> None:
    """`raw_path` keeps what was encoded, so that `refs%2Fpr%2F1` is one segment."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(scope["raw_path"] + b"?" + scope["query_string"])(scope, receive, send)

    async with serving(app) as served, connected(served) as client:
        answer = await client.get("/a//refs%2Fpr%2F1/%C3%A9?b=%2f&c")
        assert answer.body == b"/a//refs%2Fpr%2F1/%C3%A9?b=%2f&c"
