"""Each way to go wrong goes wrong in that way, as often as it was told to, and nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.fakehub import FakeHub, Generated

BIG = Generated(4_000_000, 3)
RESOLVE = "/org/name/resolve/main/model.safetensors"
CONFIG = "/org/name/resolve/main/config.json"


@pytest.fixture(autouse=True)
def repo(hub: FakeHub) -> None:
    hub.model("org/name").commit(
        {"config.json": b'{"a":1}', "model.safetensors": BIG, "other.bin": Generated(1000, 4)}
    )


@pytest.fixture
def url(client: httpx.Client) -> str:
    """The file on the CDN."""
    return str(client.head(RESOLVE).headers["location"])


def read(url: str, start: int = 0) -> bytes:
    """What arrives, even when it ends too early."""
    got = bytearray()
    headers = {"Range": f"bytes={start}-"} if start else {}
    with httpx.stream("GET", url, headers=headers) as answer:
        try:
            for piece in answer.iter_raw():
                got += piece
        except httpx.TransportError:
            pass
    return bytes(got)


@pytest.mark.parametrize("at", [0.5, 1_048_576, 3_999_999])
def test_a_cut_ends_the_body_there_once(at: float, hub: FakeHub, url: str) -> None:
    """So many bytes and not one more; the rest comes by a Range."""
    fault = hub.cut_after("model.safetensors", at)
    place = int(at * BIG.size) if at < 1 else int(at)
    assert read(url) == BIG.read(0, place)
    assert read(url, place) == BIG.read(place)
    assert (fault.fired, hub.sent("model.safetensors")) == (1, BIG.size)


def test_a_cut_waits_for_an_answer_that_has_its_place(hub: FakeHub, url: str) -> None:
    """A range behind it is whole, and does not use it up."""
    hub.cut_after("model.safetensors", 0.25)
    assert read(url, 2_000_000) == BIG.read(2_000_000)
    assert len(read(url)) == 1_000_000


def test_each_answer_can_be_cut(hub: FakeHub, url: str) -> None:
    """A line on which every attempt gets 1.5 MB further."""
    hub.cut_after("model.safetensors", 1_500_000, each=True, times=None)
    got, attempts = b"", 0
    while len(got) < BIG.size:
        got += read(url, len(got))
        attempts += 1
    assert (got == BIG.read(), attempts) == (True, 3)


def test_a_reset_is_one(hub: FakeHub, url: str) -> None:
    """The connection breaks, rather than ends."""
    hub.cut_after("model.safetensors", 0, reset=True)
    with pytest.raises(httpx.TransportError), httpx.stream("GET", url) as answer:
        answer.read()


def test_a_flipped_byte_is_one_byte(hub: FakeHub, url: str) -> None:
    """Right length, one byte wrong, once."""
    hub.flip("model.safetensors", 0.5)
    right, got = BIG.read(), read(url)
    assert len(got) == BIG.size
    assert [at for at in range(BIG.size) if got[at] != right[at]] == [2_000_000]
    assert read(url) == right


def test_a_stall_lasts_until_it_is_released(hub: FakeHub, url: str) -> None:
    """What comes before it arrives; the rest when the test says so."""
    fault = hub.stall("model.safetensors", 0.5)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(read(url)))
    reader.start()
    fault.wait()
    reader.join(0.2)
    assert reader.is_alive()
    assert hub.sent("model.safetensors") == BIG.size // 2
    fault.release()
    reader.join(10)
    assert got == [BIG.read()]


def test_a_stall_does_not_outlive_the_stand_in(hub: FakeHub, url: str) -> None:
    """Stopping lets nobody hang."""
    fault = hub.stall("model.safetensors", 0)
    reader = threading.Thread(target=read, args=(url,))
    reader.start()
    fault.wait()
    hub.stop()
    reader.join(10)
    assert not reader.is_alive()


def test_a_fault_that_nothing_comes_by_says_so(hub: FakeHub) -> None:
    """A test that waits in vain fails with a sentence."""
    with pytest.raises(AssertionError, match="nothing came by 'absent'"):
        hub.flip("absent", 0).wait(0.01)


def test_a_slow_line_is_slow_on_each_connection(hub: FakeHub, url: str) -> None:
    """Each takes as long as it would alone, at the same time: what segments are for."""
    hub.throttle("model.safetensors", 8_000_000)
    both = [threading.Thread(target=read, args=(url,)) for _ in range(2)]
    for reader in both:
        reader.start()
    for reader in both:
        reader.join()
    hub.settle()
    one, other = hub.seen(kind="content")
    assert min(seen.ended - seen.at for seen in (one, other)) > 0.4
    assert other.at < one.ended


@pytest.mark.parametrize("by", [-10, 10])
def test_a_wrong_length_is_announced(by: int, hub: FakeHub, url: str) -> None:
    """The header says one thing, the body another."""
    hub.wrong_length("model.safetensors", by)
    with httpx.stream("GET", url) as answer:
        assert int(answer.headers["content-length"]) == BIG.size + by


def test_a_body_may_have_no_length(hub: FakeHub, client: httpx.Client, url: str) -> None:
    """It ends where the connection does; that of JSON as well."""
    hub.without_length("model.safetensors", site="cdn")
    hub.without_length("/api/models/org/name")
    answer = httpx.get(url)
    assert ("content-length" in answer.headers, answer.content == BIG.read()) == (False, True)
    assert client.get("/api/models/org/name").json()["id"] == "org/name"


def test_a_range_may_be_ignored(hub: FakeHub, url: str) -> None:
    """200 and everything."""
    hub.ignore_range("model.safetensors")
    answer = httpx.get(url, headers={"Range": "bytes=10-20"})
    assert (answer.status_code, len(answer.content)) == (200, BIG.size)
    assert "content-range" not in answer.headers


def test_an_error_comes_so_many_times(hub: FakeHub, client: httpx.Client) -> None:
    """Twice, then it is well; other files are not touched, and no Hub code is sent."""
    hub.fail("model.safetensors", 503, times=2, site="hub")
    statuses = [client.get(path).status_code for path in (RESOLVE, CONFIG, RESOLVE, RESOLVE)]
    assert statuses == [503, 307, 503, 302]
    hub.fail("/api/models/*", 500, retry_after=7)
    failed = client.get("/api/models/org/name")
    assert (failed.status_code, failed.headers["retry-after"]) == (500, "7")
    assert "x-error-code" not in failed.headers


def test_faults_are_narrowed_down(hub: FakeHub, client: httpx.Client, url: str) -> None:
    """By site, method, kind and repo."""
    hub.fail("*", 500, times=None, site="cdn", method="GET")
    hub.fail("*", 502, times=None, kind="tree")
    hub.fail("*", 504, times=None, repo="org/another")
    assert client.get(RESOLVE).status_code == 302
    assert httpx.head(url).status_code == 200
    assert httpx.get(url).status_code == 500
    assert client.get("/api/models/org/name/tree/main").status_code == 502
    assert client.get("/api/models/org/name").status_code == 200


def test_a_page_comes_instead_of_json(hub: FakeHub, client: httpx.Client) -> None:
    """HTML with 200, as captive portals send it; JSON that ends in the middle."""
    hub.html("/api/models/org/name")
    assert client.get("/api/models/org/name").headers["content-type"].startswith("text/html")
    hub.broken_json("/api/models/org/name")
    broken = client.get("/api/models/org/name")
    assert broken.headers["content-type"].startswith("application/json")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        broken.json()


def test_a_slow_head_is_slow(hub: FakeHub, client: httpx.Client) -> None:
    """HEAD waits, GET does not."""
    fault = hub.delay("config.json", 30, method="HEAD")
    with pytest.raises(httpx.ReadTimeout):
        client.head(CONFIG, timeout=0.2)
    assert client.get(CONFIG).status_code == 307
    assert fault.fired == 1


def test_it_hangs_up(hub: FakeHub, client: httpx.Client) -> None:
    """No answer at all, once."""
    hub.hang_up("config.json")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(CONFIG)
    assert client.get(CONFIG).status_code == 307


def test_it_sends_one_elsewhere(hub: FakeHub, client: httpx.Client) -> None:
    """To a private address; in a circle."""
    hub.redirect("model.safetensors", "http://10.0.0.1/secret")
    sent = client.get(RESOLVE)
    assert (sent.status_code, sent.headers["location"]) == (302, "http://10.0.0.1/secret")
    assert "x-linked-size" in sent.headers
    hub.redirect_loop("config.json")
    with pytest.raises(httpx.TooManyRedirects):
        client.get(CONFIG, follow_redirects=True)


def test_headers_without_an_end_stop_when_the_other_side_does(hub: FakeHub, client: httpx.Client) -> None:
    """A client that has had enough ends it; what went out is counted."""
    hub.endless_headers("config.json")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(CONFIG)
    (seen,) = hub.seen("config.json")
    assert 10_000 < seen.sent < 100 << 20


def test_a_body_without_an_end(hub: FakeHub, client: httpx.Client) -> None:
    """JSON that never ends, of no announced length."""
    hub.endless_body("/api/models/org/name")
    got = 0
    with client.stream("GET", "/api/models/org/name") as answer:
        for piece in answer.iter_raw():
            got += len(piece)
            if got > 20 << 20:
                break
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("again", [False, True])
def test_a_listing_without_an_end(again: bool, hub: FakeHub, client: httpx.Client) -> None:
    """There is always a next page, with new entries or the same."""
    hub.endless_listing("/api/models/org/name/tree/*", again=again)
    url, names = "/api/models/org/name/tree/main", set()
    for _ in range(5):
        answer = client.get(url)
        names |= {item["path"] for item in answer.json()}
        url = answer.links["next"]["url"]
    assert len(names) == (1000 if again else 5000)


def test_headers_can_be_changed_or_missing(hub: FakeHub, client: httpx.Client) -> None:
    """As proxies in between do."""
    hub.set_header("model.safetensors", "X-Linked-Size", "7")
    hub.set_header("config.json", "X-Repo-Commit", None)
    assert client.head(RESOLVE).headers["x-linked-size"] == "7"
    assert "x-repo-commit" not in client.head(CONFIG).headers


def test_whoever_is_logged_in_has_a_limit_of_another_kind(hub: FakeHub, client: httpx.Client) -> None:
    """By bucket, with another text; a page of HTML where that is wanted."""
    token = hub.user("alice")
    hub.rate_limit("resolvers", times=1)
    assert client.get("/api/models/org/name").status_code == 200
    limited = client.get(CONFIG, headers={"Authorization": f"Bearer {token}"})
    assert limited.status_code == 429
    assert "quota of 5000 resolvers requests" in limited.json()["error"]
    hub.rate_limit("api", html=True, times=1)
    assert client.get("/api/models/org/name").headers["content-type"].startswith("text/html")


def test_everything_heals(hub: FakeHub, client: httpx.Client) -> None:
    """`clear` takes all faults away, `cancel` one."""
    one = hub.fail("config.json", 500, times=None)
    hub.fail("model.safetensors", 500, times=None)
    assert client.get(CONFIG).status_code == 500
    one.cancel()
    assert client.get(CONFIG).status_code == 307
    assert client.get(RESOLVE).status_code == 500
    hub.clear()
    assert client.get(RESOLVE).status_code == 302


@pytest.fixture
def line(hub: FakeHub) -> Iterator[socket.socket]:
    """A connection to the Hub without a client on it."""
    address = httpx.URL(hub.url)
    with socket.create_connection((address.host, address.port or 80), timeout=5) as line:
        yield line


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
)
def test_what_is_no_http_is_refused(sent: bytes, line: socket.socket) -> None:
    """400 and the end, and nothing broken inside."""
    line.sendall(sent)
    assert line.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_requests_follow_one_another_on_a_connection(line: socket.socket, hub: FakeHub) -> None:
    """A body in chunks is read to its end, and the next request is found behind it."""
    head = b"POST /api/models/org/name/paths-info/main HTTP/1.1\r\ncontent-type: application/json\r\n"
    chunks = b'9\r\n{"paths":\r\n10\r\n["config.json"]}\r\n0\r\n\r\n'
    chunks = b'9\r\n{"paths":\r\n' + b'%x\r\n["config.json"]}\r\n0\r\n\r\n' % len(b'["config.json"]}')
    line.sendall(head + b"transfer-encoding: chunked\r\n\r\n" + chunks)
    line.sendall(b"HEAD /api/models/org/name HTTP/1.1\r\nconnection: close\r\n\r\n")
    got = b""
    while part := line.recv(65536):
        got += part
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert b'"path":"config.json"' in got
    assert len({seen.connection for seen in hub.requests}) == 1
