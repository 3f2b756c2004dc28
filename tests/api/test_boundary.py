"""What is the same for every request: its name, the caller's address, URLs, CORS, and how errors are said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from hubreg import errors
from hubreg.api import answers
from hubreg.api.asgi import Api
from hubreg.api.bodies import ClientGone
from hubreg.api.boundary import EXPOSED
from hubreg.api.requests import Request
from hubreg.api.routes import Route, Table
from hubreg.errors import HubregError
from tests.api.conftest import Connect, Hub, People

pytestmark = pytest.mark.anyio


class Raises:
    """A handler that raises whatever the test put in it, or says where it is."""

    error: Exception | None = None

    async def __call__(self, request: Request) -> Response:
        """Raise."""
        if self.error is not None:
            raise self.error
        return answers.json(request, {"base": request.place.base, "path": request.path})


@pytest.fixture
def raises(api: Api) -> Raises:
    handler = Raises()
    api.table = Table(
        [
            Route("GET", "/api/raise", handler),
            Route("GET", "/raise/resolve", handler, text=True),
            Route("POST", "/raise.git/batch", handler, git=True),
            *[route for route in _routes() if route.path != "/api/raise"],
        ]
    )
    return handler


def _routes() -> Iterator[Route]:
    yield Route("GET POST", "/api/two", Raises())


behind_a_proxy = pytest.mark.parametrize("settings", [{"trusted_proxies": "10.0.0.0/8, ::1"}], ids=[""])
under_a_public_url = pytest.mark.parametrize(
    "settings", [{"public_url": "https://example.org/hub/"}], ids=[""]
)


# names and addresses


async def test_a_request_has_a_name_that_holds_the_clients_trace(hub: Hub) -> None:
    """The client prints it in every error, and its tests look for their own id in it (CLIENT_API 0)."""
    response = await hub.get(
        "/api/whoami-v2", headers={"X-Amzn-Trace-Id": "0b1f4f9e-1c7e-4b5e-9a55-1a1c2b3d4e5f"}
    )
    assert re.fullmatch(
        r"Root=1-[0-9a-f-]+;0b1f4f9e-1c7e-4b5e-9a55-1a1c2b3d4e5f", response.headers["X-Request-Id"]
    )


async def test_no_two_requests_have_one_name(hub: Hub) -> None:
    """Not even those of one client that sends the same trace id each time."""
    trace = {"X-Amzn-Trace-Id": "same"}
    names = {(await hub.get("/health", headers=trace)).headers["X-Request-Id"] for _ in range(3)}
    assert len(names) == 3


async def test_a_given_name_is_kept(hub: Hub) -> None:
    """On answers of every kind: success, refusal, no such route, a file that is not there."""
    for path in ("/health", "/api/models/no/repo", "/nothing/at/all/here", "/no/repo/resolve/main/f"):
        response = await hub.get(path, headers={"X-Request-Id": "custom-id"})
        assert response.headers["X-Request-Id"] == "custom-id"


@pytest.mark.parametrize("given", ["two words", "x" * 201, "é"])
async def test_a_name_that_is_none_is_not_echoed(hub: Hub, given: str) -> None:
    """A header is echoed only as far as it is printable, one word and short."""
    response = await hub.get("/health", headers={b"X-Request-Id": given.encode("latin-1")})
    assert response.headers["X-Request-Id"].startswith("Root=1-")


async def test_the_log_is_told_who_called(api: Api, people: People) -> None:
    """Name, address and user of a request are left in its scope for the access log."""
    scope = _scope("/api/whoami-v2", [(b"authorization", f"Bearer {people.ann}".encode())])
    await _run(api, scope)
    assert scope["state"]["user"] == "ann"
    assert scope["state"]["address"] == "192.0.2.7"
    assert scope["state"]["request_id"]


def _scope(
    path: str, headers: list[tuple[bytes, bytes]] | None = None, method: str = "GET"
) -> dict[str, Any]:
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "scheme": "http", "headers": headers or [], "client": ("192.0.2.7", 1), "server": ("198.51.100.1", 8080),
    }  # fmt: skip


async def _run(api: Api, scope: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await api(scope, receive, send)
    return sent


async def test_urls_begin_with_the_host_that_the_client_used(raises: Raises, hub: Hub) -> None:
    """Clients refuse URLs of another host, so the caller's own is repeated (CLIENT_API 0)."""
    response = await hub.get("/api/raise", headers={"Host": "models.example:8443"})
    assert response.json()["base"] == "http://models.example:8443"


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "x@evil.example", 'x"', "[::1", ""])
async def test_a_host_that_is_none_is_not_repeated(raises: Raises, api: Api, host: str) -> None:
    """What is no host and port never becomes part of a URL: the server's own address does."""
    sent = await _run(api, _scope("/api/raise", [(b"host", host.encode())]))
    assert b'"base":"http://198.51.100.1:8080"' in sent[1]["body"]


async def test_forwarded_headers_of_a_stranger_are_not_believed(raises: Raises, hub: Hub) -> None:
    """Without trusted proxies nobody may say where hubreg is."""
    forwarded = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.9",
    }
    assert (await hub.get("/api/raise", headers=forwarded)).json()["base"] == "http://hub.test"


@behind_a_proxy
async def test_a_trusted_proxys_headers_count(raises: Raises, connect: Connect) -> None:
    """Host and scheme of URLs are those that the proxy was asked by."""
    hub = connect(client=("10.1.2.3", 1))
    forwarded = {"X-Forwarded-Host": "hub.example", "X-Forwarded-Proto": "https"}
    assert (await hub.get("/api/raise", headers=forwarded)).json()["base"] == "https://hub.example"


@behind_a_proxy
async def test_what_the_proxy_added_is_at_the_end(raises: Raises, connect: Connect) -> None:
    """A proxy that appends to what the caller had sent is believed, and the caller is not."""
    hub = connect(client=("10.1.2.3", 1))
    forwarded = {"X-Forwarded-Host": "evil.example, hub.example", "X-Forwarded-Proto": "http,https"}
    assert (await hub.get("/api/raise", headers=forwarded)).json()["base"] == "https://hub.example"
    twice = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Host", "hub.example")]
    assert (await hub.get("/api/raise", headers=twice)).json()["base"] == "http://hub.example"


@behind_a_proxy
async def test_nonsense_from_a_trusted_proxy_does_not_count(raises: Raises, connect: Connect) -> None:
    """Neither a scheme that is none nor a host that is none."""
    hub = connect(client=("10.1.2.3", 1))
    forwarded = {"X-Forwarded-Host": "a/b", "X-Forwarded-Proto": "javascript"}
    assert (await hub.get("/api/raise", headers=forwarded)).json()["base"].startswith("http://")
    assert "a/b" not in (await hub.get("/api/raise", headers=forwarded)).json()["base"]


@behind_a_proxy
@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("192.0.2.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),  # the first is the caller's own invention
        ("lies, 10.9.9.9", "10.9.9.9"),
        ("", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
async def test_the_callers_address_behind_proxies(api: Api, forwarded: str, address: str) -> None:
    """Is the last one in the list that is no proxy of ours."""
    scope = _scope("/health", [(b"x-forwarded-for", forwarded.encode())]) | {"client": ("10.1.2.3", 1)}
    await _run(api, scope)
    assert scope["state"]["address"] == address


@under_a_public_url
async def test_every_absolute_url_begins_with_the_public_url(hub: Hub) -> None:
    """Whatever the Host says."""
    response = await hub.post("/api/repos/create", json={"name": "model"})
    assert response.json()["url"] == "https://example.org/hub/ann/model"


@under_a_public_url
@pytest.mark.parametrize("prefix", ["/hub", "", "/hub/"])
async def test_the_public_urls_path_is_taken_off_and_put_back(hub: Hub, prefix: str) -> None:
    """A proxy may pass it on or not; relative Locations have it in any case (PITFALLS 17)."""
    await hub.made()
    response = await hub.get(f"{prefix}/ann/model/resolve/main/.gitattributes")
    assert response.headers["Location"].startswith("/hub/ann/model/resolve/")
    response = await hub.get(f"{prefix}/api/models/Ann/Model/refs")
    assert response.headers["Location"] == "/hub/api/models/ann/model/refs"


@under_a_public_url
async def test_a_path_that_only_begins_like_the_public_urls_is_another(hub: Hub) -> None:
    """`/hubris` is not below `/hub`."""
    assert (await hub.get("/hubhealth")).status_code == 404


@under_a_public_url
async def test_links_to_the_next_page_begin_with_the_public_url(hub: Hub) -> None:
    """They are absolute, and followed as they are."""
    await hub.made()
    await hub.made("ann/other")
    link = (await hub.get("/api/models?limit=1")).headers["Link"]
    assert link.startswith("<https://example.org/hub/api/models?limit=1&cursor=")


# CORS


async def test_the_origin_is_echoed(hub: Hub) -> None:
    """As the Hub does, with the headers that scripts may read (HUB 3.1); never with credentials."""
    headers = (await hub.get("/health", headers={"Origin": "https://app.example"})).headers
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert headers["Access-Control-Expose-Headers"].encode() == EXPOSED
    assert "Access-Control-Allow-Credentials" not in headers
    assert "Origin" in headers["Vary"]


async def test_without_an_origin_nothing_is_said(hub: Hub) -> None:
    """Clients that are no browsers are spared the bytes; caches are told that there is a difference."""
    headers = (await hub.get("/health")).headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["Vary"] == "Origin"


async def test_refusals_have_an_origin_too(hub: Hub) -> None:
    """A script that cannot read the refusal could not tell what happened."""
    for path in ("/api/models/no/repo", "/nothing/at/all/here", "/no/repo/resolve/main/f"):
        response = await hub.get(path, headers={"Origin": "https://app.example"})
        assert response.status_code >= 400
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_preflight_is_answered(hub: Hub, method: str) -> None:
    """200, the origin, method and headers as asked; no repo is looked for."""
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,range",
    }
    response = await hub.options("/no/repo/resolve/main/f", headers=asked)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert response.headers["Access-Control-Allow-Methods"] == method
    assert response.headers["Access-Control-Allow-Headers"] == "authorization,range"


# errors


def every_error(root: type[HubregError] = HubregError) -> Iterator[type[HubregError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


HOSTILE = "no\r\nSet-Cookie: a=b ✗ \x07"


@pytest.mark.parametrize("kind", [*every_error()], ids=lambda kind: kind.__name__)
async def test_every_error_has_one_shape(raises: Raises, hub: Hub, kind: type[HubregError]) -> None:
    """Its status, its word, its sentence as one line of latin-1, and a JSON body with the sentence as it is."""
    raises.error = kind(HOSTILE, hint="ask an admin")
    response = await hub.get("/api/raise")
    assert response.status_code == kind.status
    assert response.headers["X-Error-Code"] == (kind.code or "InternalError")
    assert response.headers["X-Error-Message"] == "no Set-Cookie: a=b ? ?"
    assert response.json() == {"error": HOSTILE, "hint": "ask an admin"}
    assert ("WWW-Authenticate" in response.headers) == (kind.status == 401)


@pytest.mark.parametrize("kind", [*every_error()], ids=lambda kind: kind.__name__)
async def test_every_error_of_a_file_is_text(raises: Raises, hub: Hub, kind: type[HubregError]) -> None:
    """On resolve routes the body is the bare sentence (HUB 4.1); the headers are the same."""
    raises.error = kind("A sentence.")
    response = await hub.get("/raise/resolve")
    assert (response.status_code, response.text) == (kind.status, "A sentence.")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Error-Code"] == (kind.code or "InternalError")


async def test_git_is_asked_for_basic_credentials(raises: Raises, hub: Hub) -> None:
    """git and git-lfs know no Bearer, and git-lfs shows `message`."""
    raises.error = errors.Unauthenticated("Who are you?")
    response = await hub.post("/raise.git/batch")
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert response.json()["message"] == "Who are you?"
    assert (await hub.get("/api/raise")).headers["WWW-Authenticate"] == (
        'Bearer realm="Authentication required", charset="UTF-8"'
    )


async def test_an_error_carries_its_headers_and_body(raises: Raises, hub: Hub) -> None:
    """A relative `url` in the body is made absolute: clients parse the repo's name off it."""
    raises.error = errors.RepoExists(
        "taken", headers={"X-Repo-Commit": "c" * 40}, body={"url": "/ann/model", "n": 1}
    )
    response = await hub.get("/api/raise")
    assert response.headers["X-Repo-Commit"] == "c" * 40
    assert response.json() == {"error": "taken", "url": "http://hub.test/ann/model", "n": 1}


@pytest.mark.parametrize("path", ["/api/raise", "/raise/resolve"])
async def test_an_unexpected_error_says_nothing_of_itself(
    raises: Raises, hub: Hub, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was not raised on purpose reaches the log, never the client."""
    raises.error = RuntimeError("postgres://user:secret@db")
    response = await hub.get(path)
    assert response.status_code == 500
    assert "secret" not in response.text + str(response.headers)
    assert f"GET {path} failed" in caplog.text
    assert "secret" in caplog.text


async def test_a_message_that_is_no_text_is_still_said(raises: Raises, hub: Hub) -> None:
    """A path may hold what is no UTF-8; the refusal that quotes it is answered all the same."""
    raises.error = errors.InvalidPath("the path \udcff")
    response = await hub.get("/api/raise")
    assert (response.status_code, response.json()["error"]) == (422, "the path ?")


async def test_a_client_that_left_is_nobodys_failure(
    raises: Raises, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """`ClientGone` passes through untouched: the server knows what to do with it."""
    raises.error = ClientGone()
    with pytest.raises(ClientGone):
        await _run(api, _scope("/api/raise"))
    assert not caplog.records


async def test_an_error_after_the_beginning_can_only_cut(api: Api) -> None:
    """No second answer is begun: the exception goes to the server, which cuts the connection."""

    class Breaks(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise errors.Damaged("half-way")

    async def handler(request: Request) -> Response:
        return Breaks()

    api.table = Table([Route("GET", "/breaks", handler)])
    with pytest.raises(errors.Damaged):
        await _run(api, _scope("/breaks"))


# methods and routes


async def test_head_works_wherever_get_does(hub: Hub) -> None:
    """With the length of the body that GET would have."""
    await hub.made()
    for path in ("/api/models/ann/model", "/api/models/ann/model/tree/main", "/health", "/api/models"):
        get, head = await hub.get(path), await hub.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(get.content))


async def test_another_method_is_told_which_there_are(hub: Hub) -> None:
    """405 with Allow."""
    response = await hub.delete("/api/models/ann/model/refs")
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert response.headers["X-Error-Code"] == "MethodNotAllowed"


@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH"])
async def test_where_only_post_is_answered(hub: Hub, method: str) -> None:
    """The sentence names the method that was asked with, and the one that would do."""
    response = await hub.request(method, "/api/repos/move")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert response.headers["X-Error-Message"] == f"{method} is not allowed here, only POST is."


async def test_no_such_route(hub: Hub) -> None:
    """404 in JSON, with a code that clients take for none of theirs."""
    response = await hub.get("/api/models/ann/model/no-such-verb/main")
    assert response.status_code == 404
    assert response.headers["X-Error-Code"] == "NotFound"
    assert "error" in response.json()


async def test_slashes_may_be_doubled(hub: Hub) -> None:
    """Some clients put their own slash behind an endpoint that ends in one (CLIENTS requirement 14)."""
    await hub.made()
    assert (await hub.get("http://hub.test//api/models/ann/model")).status_code == 200
    assert (await hub.get("http://hub.test//ann/model//resolve/main/.gitattributes")).status_code == 307


async def test_a_url_that_is_no_utf8_is_refused(hub: Hub) -> None:
    """400 and not 500, as text where files are asked for."""
    response = await hub.get(httpx.URL("http://hub.test/ann/model/resolve/main/%FF"))
    assert (response.status_code, response.text) == (400, "The URL is not UTF-8.")
    assert (await hub.get("/api/models/ann/model/tree/%C3%28")).status_code == 400
