"""
What `server/protocol.py` and `server/supervisor.py` take for granted of uvicorn and httptools, most of it private.

uvicorn is pinned. When this fails after an upgrade, read the named place again before the pin is moved.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.server.wire import answering

pytestmark = pytest.mark.anyio

CYCLE = """
    scope transport flow disconnected keep_alive waiting_for_100_continue body more_body response_started
    response_complete chunked_encoding expected_content_length message_event on_response
""".split()
CONNECTION = """
    config loop parser flow transport scheme cycle pipeline connections tasks timeout_keep_alive
    timeout_keep_alive_task server_state
""".split()
OVERRIDDEN: list[tuple[type, str, list[str]]] = [
    (HttpToolsProtocol, "connection_made", ["self", "transport"]),
    (HttpToolsProtocol, "connection_lost", ["self", "exc"]),
    (HttpToolsProtocol, "data_received", ["self", "data"]),
    (HttpToolsProtocol, "on_message_begin", ["self"]),
    (HttpToolsProtocol, "on_url", ["self", "url"]),
    (HttpToolsProtocol, "on_header", ["self", "name", "value"]),
    (HttpToolsProtocol, "on_headers_complete", ["self"]),
    (HttpToolsProtocol, "on_body", ["self", "body"]),
    (HttpToolsProtocol, "on_response_complete", ["self"]),
    (HttpToolsProtocol, "send_400_response", ["self", "msg"]),
    (HttpToolsProtocol, "pause_writing", ["self"]),
    (HttpToolsProtocol, "resume_writing", ["self"]),
    (HttpToolsProtocol, "_start_asgi_task", ["self", "cycle", "app"]),
    (HttpToolsProtocol, "_unset_keepalive_if_required", ["self"]),
    (HttpToolsProtocol, "timeout_keep_alive_handler", ["self"]),
    (RequestResponseCycle, "run_asgi", ["self", "app"]),
    (RequestResponseCycle, "send", ["self", "message"]),
    (RequestResponseCycle, "receive", ["self"]),
    (RequestResponseCycle, "send_500_response", ["self"]),
    (uvicorn.Server, "startup", ["self", "sockets"]),
    (uvicorn.Server, "capture_signals", ["self"]),
    (uvicorn.Server, "handle_exit", ["self", "sig", "frame"]),
]


def test_this_is_the_uvicorn_that_was_read() -> None:
    """Another minor version has not been looked at."""
    assert uvicorn.__version__.startswith("0.54.")


@pytest.mark.parametrize(("owner", "name", "parameters"), OVERRIDDEN, ids=lambda value: str(value))
def test_what_is_overridden_or_called(owner: type, name: str, parameters: list[str]) -> None:
    """The method is there and takes what it took."""
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def connection() -> HttpToolsProtocol:
    config = uvicorn.Config(
        answering(b""), http=HttpToolsProtocol, ws="none", lifespan="off", log_config=None
    )
    config.load()
    return HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())


async def test_what_a_connection_has() -> None:
    """Its state has the names that are read and set."""
    protocol = connection()
    assert [name for name in CONNECTION if not hasattr(protocol, name)] == []


async def test_a_request_becomes_our_class() -> None:
    """
    uvicorn makes its own cycle, and hands it to `_start_asgi_task` before it runs: an instance without slots, so that
    its class can be changed.
    """
    started: list[tuple[RequestResponseCycle, Any]] = []

    class Probe(HttpToolsProtocol):
        def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
            started.append((cycle, app))

    plain = connection()
    protocol = Probe(plain.config, ServerState(), {}, asyncio.get_running_loop())
    server = await asyncio.get_running_loop().create_server(lambda: protocol, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
    async with asyncio.timeout(10):
        while not started or started[0][0].more_body:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.001)
    cycle, app = started[0]
    assert app is protocol.config.loaded_app
    assert [name for name in CYCLE if not hasattr(cycle, name)] == []
    assert not hasattr(type(cycle), "__slots__")
    assert (bytes(cycle.body), cycle.waiting_for_100_continue, cycle.response_complete) == (
        b"abc",
        True,
        False,
    )
    assert isinstance(cycle.flow, FlowControl)
    assert cycle.on_response == protocol.on_response_complete
    writer.transport.abort()
    server.close()
    await server.wait_closed()


def test_flow_control() -> None:
    """Reading and writing are paused through these, and `drain` waits for the second."""
    for name in ("pause_reading", "resume_reading", "pause_writing", "resume_writing", "drain"):
        assert callable(getattr(FlowControl, name))


def test_the_parser() -> None:
    """It can be made lenient as uvicorn makes it; what a callback raises comes out as its own error."""

    class Callbacks:
        def on_header(self, name: bytes, value: bytes) -> None:
            raise ValueError("too large")

    parser = httptools.HttpRequestParser(Callbacks())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    with pytest.raises(httptools.HttpParserCallbackError) as failure:
        parser.feed_data(b"GET / HTTP/1.1\r\nA: b\r\n\r\n")
    assert isinstance(failure.value, httptools.HttpParserError)


def test_a_body_is_lost_when_another_protocol_is_asked_for() -> None:
    """Why such a request is refused: httptools takes it to have none, whatever its Content-Length says."""
    bodies: list[bytes] = []

    class Callbacks:
        def on_body(self, body: bytes) -> None:
            bodies.append(body)

    parser = httptools.HttpRequestParser(Callbacks())
    with pytest.raises(httptools.HttpParserUpgrade):
        parser.feed_data(
            b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"
        )
    assert parser.should_upgrade()
    assert bodies == []


def test_settings_of_the_server() -> None:
    """`uvicorn.Config` takes every setting that the supervisor gives it."""
    given = """http loop ws lifespan interface log_config access_log proxy_headers server_header workers backlog
        limit_concurrency timeout_keep_alive timeout_graceful_shutdown ssl_certfile ssl_keyfile""".split()
    assert set(given) <= set(inspect.signature(uvicorn.Config).parameters)
