"""Files of mirrored repos by HTTP: while they come, and when they are here."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from hubreg.store import mirror
from tests.fakehub import Generated, Repo
from tests.mirror.conftest import Mirrored

pytestmark = pytest.mark.anyio

BIG = Generated(5_000_000, 3)
NAME = "Org/Model"


def url(model: Repo, path: str) -> str:
    return f"/{NAME}/resolve/{model.head()}/{path}"


async def asked(hub: Mirrored, path: str, **headers: str) -> httpx.Response:
    async with hub.client() as client:
        return await client.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


async def until_here(hub: Mirrored, sha256: str) -> None:
    while not await mirror.blobs(hub.app.db, [sha256]):  # noqa: ASYNC110 a row is no event
        await asyncio.sleep(0.01)


@pytest.fixture
def big(model: Repo) -> str:
    model.commit({"big.bin": BIG})
    return url(model, "big.bin")


async def test_a_small_file(hub: Mirrored, model: Repo) -> None:
    """Known by its git oid until it has come; its ETag is that, too."""
    answer = await asked(hub, url(model, "README.md"))
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["x-repo-commit"] == model.head()
    await until_here(hub, hashlib.sha256(b"hello").hexdigest())
    sent = hub.fake.sent("README.md")
    again = await asked(hub, url(model, "README.md"))
    assert (again.content, again.headers["etag"]) == (b"hello", answer.headers["etag"])
    assert hub.fake.sent("README.md") == sent == 5


async def test_a_large_file_while_it_comes_and_after(hub: Mirrored, big: str) -> None:
    """The same answer both times, but for the bytes that upstream sends: none the second time."""
    first = await asked(hub, big)
    await until_here(hub, BIG.sha256)
    second = await asked(hub, big)
    for answer in (first, second):
        assert (answer.status_code, hashlib.sha256(answer.content).hexdigest()) == (200, BIG.sha256)
        assert answer.headers["etag"] == f'"{BIG.sha256}"'
        assert answer.headers["content-length"] == str(BIG.size)
    assert hub.fake.sent("big.bin") == BIG.size


async def test_ranges_of_what_comes(hub: Mirrored, big: str) -> None:
    """As of a stored file: 206, 416, If-Range; HEAD begins no flight."""
    head = await hub.head(big)
    assert (head.headers["content-length"], hub.fake.sent("big.bin")) == (str(BIG.size), 0)
    part = await asked(hub, big, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, BIG.read(100, 200))
    assert part.headers["content-range"] == f"bytes 100-199/{BIG.size}"
    tail = await asked(hub, big, Range="bytes=-10")
    assert (tail.status_code, tail.content) == (206, BIG.read(BIG.size - 10))
    assert (await asked(hub, big, Range=f"bytes={BIG.size}-")).status_code == 416
    other = await asked(hub, big, Range="bytes=5-", If_Range='"other"')
    assert (other.status_code, len(other.content)) == (200, BIG.size)
    assert hub.fake.sent("big.bin") == BIG.size


async def test_who_has_a_part_of_a_wrong_file_gets_it_from_its_beginning(hub: Mirrored, big: str) -> None:
    """PITFALLS 22: the resume after a wrong byte is answered 200 from byte 0, also once the right file is here."""
    hub.fake.flip("big.bin", 0.5)
    got = b""
    with suppress(Exception):  # the connection is cut: what that is to a client depends on the client
        got = (await asked(hub, big)).content
    assert len(got) < BIG.size
    for _ in range(2):
        resumed = await asked(hub, big, Range="bytes=4000000-")
        assert (resumed.status_code, hashlib.sha256(resumed.content).hexdigest()) == (200, BIG.sha256)
        await until_here(hub, BIG.sha256)
    within = await asked(hub, big, Range="bytes=10-19")
    assert (within.status_code, within.content) == (206, BIG.read(10, 20))


@pytest.mark.parametrize(
    ("breaks", "status"),
    [
        (lambda hub: hub.fake.fail("big.bin", 503, times=None), 502),
        (lambda hub: hub.fake.html("/Org/*", times=None), 424),
        (lambda hub: hub.fake.redirect("/Org/*", "http://10.0.0.1/"), 424),
        (lambda hub: hub.fake.redirect_loop("/Org/*"), 424),
        (lambda hub: hub.fake.rate_limit("resolvers"), 429),
    ],
)
async def test_what_upstream_does_is_said(
    hub: Mirrored, big: str, breaks: Callable[[Mirrored], object], status: int
) -> None:
    """PITFALLS 8: never as a Hub's word for "not found"."""
    await hub.head(big)
    breaks(hub)
    answer = await asked(hub, big)
    assert (answer.status_code, answer.headers.get("x-error-code", "").startswith("Upstream")) == (
        status,
        True,
    )
    assert not await mirror.blobs(hub.app.db, [BIG.sha256])


async def test_what_is_offline_is_not_fetched(hub: Mirrored, big: str) -> None:
    """Of a listing that is here: 424 for the content that is not, and upstream is not asked."""
    assert (await hub.head(big)).status_code == 200
    await hub.rule("org/*", "offline")
    answer = await asked(hub, big)
    assert (answer.status_code, hub.fake.sent("big.bin")) == (424, 0)


async def test_raw(hub: Mirrored, model: Repo) -> None:
    """What git holds: a file comes by a flight and is kept, a large one is a pointer that needs none."""
    for _ in range(2):
        answer = await asked(hub, f"/{NAME}/raw/main/README.md")
        assert (answer.status_code, answer.content) == (200, b"hello")
        assert answer.headers["content-length"] == "5"
        await until_here(hub, hashlib.sha256(b"hello").hexdigest())
    assert hub.fake.sent("README.md") == 5
    pointer = await asked(hub, f"/{NAME}/raw/main/data/weights.bin")
    assert pointer.text.splitlines()[1] == f"oid sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert hub.fake.sent("weights.bin") == 0


async def test_raw_of_what_cannot_be_had(hub: Mirrored, model: Repo) -> None:
    """An answer in place of the file, and HEAD begins no flight."""
    assert (await hub.head(f"/{NAME}/raw/main/README.md")).headers["content-length"] == "5"
    assert hub.fake.sent("README.md") == 0
    hub.fake.flip("README.md", 0.5)
    answer = await asked(hub, f"/{NAME}/raw/main/README.md")
    assert (answer.status_code, answer.headers["x-error-code"]) == (424, "UpstreamFailed")
    model.commit({"empty": b""})
    hub.later(100)
    assert (await asked(hub, f"/{NAME}/raw/main/empty")).content == b""
