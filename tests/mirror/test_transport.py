"""HTTP to upstream: what is followed, what is refused, who sees which token, and what a hostile upstream can do."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from hubreg.errors import UpstreamBusy, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from hubreg.mirror.transport import Answer, Transport
from hubreg.store.mirror import Upstream
from tests.fakehub import FakeHub, Generated
from tests.fakehub.egress import EgressProxy, certificate

pytestmark = pytest.mark.anyio

BIG = Generated(3_000_000, 1)
TOKEN = "hf_secret_of_the_server"
FILE = "/org/name/resolve/main/model.safetensors"
INFO = "/api/models/org/name"


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        fake.user("server", token=TOKEN)
        fake.model("org/name").commit({"config.json": b"{}", "model.safetensors": BIG})
        yield fake


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport(silence=1)
    yield transport
    await transport.close()


def upstream(fake: FakeHub, **changed: object) -> Upstream:
    return Upstream(**{"id": 1, "name": "hub", "url": fake.url, "hosts": ("127.0.0.2",), **changed})  # type: ignore[arg-type]


async def asked(
    transport: Transport, to: Upstream, path: str = INFO, limit: int = 1 << 20, seconds: float = 5
) -> Answer:
    return await transport.call(to, "GET", path, token=TOKEN, limit=limit, timeout=seconds)


async def got(
    transport: Transport, to: Upstream, path: str = FILE, start: int = 0, end: int | None = None
) -> bytes:
    async with transport.open(to, path, token=TOKEN, start=start, end=end) as body:
        return b"".join([chunk async for chunk in body.chunks()])


@contextmanager
def raw(*answers: bytes | Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says exactly this, a connection each; its URL, and what it was asked."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with closing(connection):
                    try:
                        heads.append(connection.recv(65536))
                        if callable(answer):
                            answer(connection)
                        else:
                            connection.sendall(answer)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heads
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


# what works


async def test_a_file_comes_from_the_cdn_and_the_token_does_not_go_there(
    fake: FakeHub, transport: Transport
) -> None:
    """PITFALLS 14, 38: the CDN refuses whoever sends Authorization, and would learn the token."""
    assert await got(transport, upstream(fake)) == BIG.read()
    hub, cdn = fake.requests
    assert (hub.site, hub.token, cdn.site, cdn.token) == ("hub", TOKEN, "cdn", None)


async def test_ranges(fake: FakeHub, transport: Transport) -> None:
    """The body says which part it is, and of how much."""
    async with transport.open(upstream(fake), FILE, token=None, start=10, end=30) as body:
        assert (body.status, body.start, body.end, body.size) == (206, 10, 30, BIG.size)
        assert b"".join([chunk async for chunk in body.chunks()]) == BIG.read(10, 30)


async def test_a_range_that_is_ignored_is_told(fake: FakeHub, transport: Transport) -> None:
    """A 200 begins at 0, whatever was asked for."""
    fake.ignore_range("*")
    async with transport.open(upstream(fake), FILE, token=None, start=10) as body:
        assert (body.status, body.start, body.end, body.size) == (200, 0, BIG.size, BIG.size)


async def test_a_relative_307_of_a_small_file_is_followed(fake: FakeHub, transport: Transport) -> None:
    """PITFALLS 2, 5: at the upstream, with its token, and never packed."""
    assert await got(transport, upstream(fake), "/org/name/resolve/main/config.json") == b"{}"
    assert [(seen.kind, seen.token, seen.headers["accept-encoding"]) for seen in fake.requests] == [
        ("resolve", TOKEN, "identity"),
        ("cached", TOKEN, "identity"),
    ]


async def test_a_post_is_sent_again_where_it_is_redirected(fake: FakeHub, transport: Transport) -> None:
    """PITFALLS 16: with its body."""
    fake.alias("old", fake.model("org/name"))
    commit = fake.model("org/name").head()
    answer = await transport.call(
        upstream(fake), "POST", f"/api/models/old/paths-info/{commit}", token=TOKEN,
        json=b'{"paths":["config.json"]}', limit=1 << 20, timeout=5,
    )  # fmt: skip
    assert (answer.status, b"config.json" in answer.body) == (200, True)
    assert [(seen.method, seen.token) for seen in fake.requests] == [("POST", TOKEN)] * 2


async def test_json_is_unpacked(fake: FakeHub, transport: Transport) -> None:
    """Upstream packs what is large; the limit holds for what comes out."""
    fake.gzip_from = 0
    answer = await asked(transport, upstream(fake))
    assert (answer.headers["content-encoding"], answer.body[:1]) == ("gzip", b"{")


async def test_errors_come_as_they_are(fake: FakeHub, transport: Transport) -> None:
    """With status, headers and body: what they mean is for the caller."""
    answer = await asked(transport, upstream(fake), "/api/models/org/missing")
    assert (answer.status, answer.headers["x-error-code"]) == (404, "RepoNotFound")


# where it does not go


async def test_a_redirect_to_another_host_is_refused(fake: FakeHub, transport: Transport) -> None:
    """Nothing is sent there; the signature in the URL is not repeated."""
    with pytest.raises(UpstreamFailed, match=r"127\.0\.0\.2, which is none of its hosts") as raised:
        await got(transport, upstream(fake, hosts=()))
    assert raised.value.status == 424
    assert "Signature" not in raised.value.message
    assert [seen.site for seen in fake.requests] == ["hub"]


@pytest.mark.parametrize("host", ["evil.example.org", "cdn.example.org.evil.net", "xcdn.example.org"])
async def test_only_whole_labels_of_a_host_count(fake: FakeHub, transport: Transport, host: str) -> None:
    """A name that ends or begins like one that is allowed is another name."""
    fake.redirect("*", f"http://{host}/x")
    with pytest.raises(UpstreamFailed, match="none of its hosts"):
        await got(transport, upstream(fake, hosts=("cdn.example.org", ".cdn.example.org")))


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest", "http://[::1]/", "http://10.0.0.1/", "//127.1/"]
)
async def test_a_redirect_to_a_private_address_is_refused(
    fake: FakeHub, transport: Transport, location: str
) -> None:
    """An address is no host of any suffix."""
    fake.redirect("*", location)
    with pytest.raises(UpstreamFailed, match="none of its hosts"):
        await got(transport, upstream(fake, hosts=(".hf.co", ".org")))


class Names(ThreadedResolver):
    """Every name is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve("127.0.0.2", port, family)
        return [{**address, "hostname": host} for address in found]


async def test_a_name_below_a_suffix_must_not_lead_inside(fake: FakeHub) -> None:
    """Whoever controls a name of the CDN's domain does not get at what is inside; one named in full may be there."""
    transport = Transport(names=Names)
    fake.redirect("*", fake.cdn_url.replace("127.0.0.2", "a.cdn.example.org") + "/x", site="hub")
    with pytest.raises(UpstreamFailed, match="an address inside"):
        await got(transport, upstream(fake, hosts=(".example.org",)))
    assert [seen.site for seen in fake.requests] == ["hub"]
    with pytest.raises(UpstreamUnreachable, match="refused a URL"):
        await got(transport, upstream(fake, hosts=("a.cdn.example.org",)))
    assert fake.requests[-1].site == "cdn"
    await transport.close()


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.2/x", "http://", "http://[zz/", "data:,x"]
)
async def test_a_redirect_to_no_url_is_refused(fake: FakeHub, transport: Transport, location: str) -> None:
    """With a sentence."""
    fake.redirect("*", location)
    with pytest.raises(UpstreamFailed):
        await got(transport, upstream(fake))


async def test_circles_end(fake: FakeHub, transport: Transport) -> None:
    """After a handful of requests, for calls and for files; 424, since to ask again changes nothing."""
    fake.redirect_loop("*")
    with pytest.raises(UpstreamFailed, match="in a circle") as raised:
        await got(transport, upstream(fake))
    assert raised.value.status == 424
    with pytest.raises(UpstreamFailed, match="in a circle"):
        await asked(transport, upstream(fake))
    assert len(fake.requests) < 15


async def test_calls_stay_at_the_upstream(fake: FakeHub, transport: Transport) -> None:
    """The hosts of files say nothing of repos."""
    fake.redirect("/api/*", f"{fake.cdn_url}/api/models/org/name", status=307)
    with pytest.raises(UpstreamFailed, match="none of its hosts"):
        await asked(transport, upstream(fake))


async def test_another_port_is_another_host(fake: FakeHub, transport: Transport) -> None:
    """The token does not go to whatever else listens on the upstream's machine."""
    with raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (url, heads):
        fake.redirect("*", f"{url}/x")
        with pytest.raises(UpstreamFailed, match="none of its hosts"):
            await got(transport, upstream(fake))
        assert heads == []


# what goes wrong


async def test_a_page_is_no_file(fake: FakeHub, transport: Transport) -> None:
    """A captive portal answers 200 to everything."""
    fake.html("/org/*")
    with pytest.raises(UpstreamFailed, match="a web page") as raised:
        await got(transport, upstream(fake))
    assert raised.value.status == 424


async def test_headers_without_an_end(fake: FakeHub, transport: Transport) -> None:
    """10 GB of them: upstream gets rid of no more than fits into buffers."""
    fake.endless_headers("*", times=2)
    with pytest.raises(UpstreamFailed):
        await asked(transport, upstream(fake))
    with pytest.raises(UpstreamFailed):
        await got(transport, upstream(fake))
    await asyncio.to_thread(fake.settle)
    assert max(seen.sent for seen in fake.requests) < 32 << 20


async def test_an_answer_without_an_end(fake: FakeHub, transport: Transport) -> None:
    """It is read up to the limit."""
    fake.endless_body("/api/*")
    with pytest.raises(UpstreamFailed, match="without an end"):
        await asked(transport, upstream(fake))
    await asyncio.to_thread(fake.settle)
    assert fake.requests[0].sent < 32 << 20


async def test_a_packed_answer_that_grows_without_an_end(transport: Transport) -> None:
    """A small one that would unpack to a gigabyte is read up to the limit."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb
    with raw(answer) as (url, _), pytest.raises(UpstreamFailed, match="without an end"):
        await asked(transport, Upstream(1, "hub", url), limit=1 << 16)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 9-3/20\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
async def test_what_is_no_answer(transport: Transport, answer: bytes) -> None:
    """A sentence about upstream, for files as for calls."""
    with raw(answer) as (url, _), pytest.raises(UpstreamFailed):
        await got(transport, Upstream(1, "hub", url), start=5)


async def test_a_cut_body_gives_what_came_and_then_fails(fake: FakeHub, transport: Transport) -> None:
    """Never as if it had been all of it (PITFALLS 24); nothing that was not sent."""
    fake.cut_after("model.safetensors", 1_000_000)
    come = 0
    with pytest.raises(UpstreamUnreachable):
        async with transport.open(upstream(fake), FILE, token=None) as body:
            async for chunk in body.chunks():
                come += len(chunk)
    assert come <= 1_000_000


async def test_an_expired_url_may_be_right_the_next_time(fake: FakeHub, transport: Transport) -> None:
    """PITFALLS 23: a 403 of the CDN is no refusal of the Hub."""
    fake.answer("model.safetensors", 403, [], b"", site="cdn")
    with pytest.raises(UpstreamUnreachable):
        await got(transport, upstream(fake))
    assert await got(transport, upstream(fake)) == BIG.read()


async def test_failures_by_kind(fake: FakeHub, transport: Transport) -> None:
    """502 and 504 where trying again may help, 429 with its seconds, else 424; never "not found" (PITFALLS 8)."""
    to = upstream(fake)
    for status, kind in ((503, UpstreamUnreachable), (504, UpstreamTimeout), (404, UpstreamFailed)):
        fake.fail("/org/*", status)
        with pytest.raises(kind) as raised:
            await got(transport, to)
        assert type(raised.value) is kind
    fake.fail("/org/*", 429, retry_after=7)
    with pytest.raises(UpstreamBusy) as busy:
        await got(transport, to)
    assert busy.value.headers == {"Retry-After": "7"}
    fake.hang_up("/org/*", times=2)
    with pytest.raises(UpstreamUnreachable):
        await got(transport, to)
    fake.clear()
    fake.stop()
    with pytest.raises(UpstreamUnreachable):
        await asked(transport, to)
    fake.start()


async def test_silence_ends(fake: FakeHub, transport: Transport) -> None:
    """Before an answer and in the middle of a file."""
    fake.stall("model.safetensors", 1_000_000)
    with pytest.raises(UpstreamTimeout):
        await got(transport, upstream(fake))
    fake.delay("/api/*", 2)
    with pytest.raises(UpstreamTimeout):
        await asked(transport, upstream(fake), seconds=0.2)


async def test_a_proxy_and_a_certificate_in_between(tmp_path: Path) -> None:
    """Both as they are configured for the upstream, under the Hub's real names; without the CA it is refused."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    hub, cdn = "huggingface.co", "us.aws.cdn.hf.co"
    tls, trusted = await asyncio.to_thread(certificate, tmp_path, hub, cdn)
    transport = Transport()
    with FakeHub(tls=tls) as fake, EgressProxy({hub: fake.address("hub"), cdn: fake.address("cdn")}) as proxy:
        fake.public_url, fake.cdn_public_url = f"https://{hub}", f"https://{cdn}"
        fake.model("org/name").commit({"model.safetensors": BIG})
        plain = Upstream(1, "hub", f"https://{hub}", hosts=(".hf.co",), proxy=proxy.url)
        with pytest.raises(UpstreamFailed, match="certificate"):
            await got(transport, plain)
        to = Upstream(1, "hub", f"https://{hub}", hosts=(".hf.co",), proxy=proxy.url, ca_file=str(trusted))
        assert await got(transport, to) == BIG.read()
        fake.redirect("*", f"http://{cdn}/x")
        with pytest.raises(UpstreamFailed, match="from https to plain http"):
            await got(transport, to)
        await transport.close()


async def test_gzip_that_ends_early(transport: Transport) -> None:
    """Half of a packed answer is none."""
    half = gzip.compress(b"x" * 100_000)[:-9]
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" + half
    with raw(answer) as (url, _), pytest.raises(UpstreamUnreachable):
        await asked(transport, Upstream(1, "hub", url))
