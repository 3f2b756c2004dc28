"""Bodies that git compresses: one whole gzip stream each, which costs no more than it makes."""

from __future__ import annotations

import base64
import gzip
import random
from contextlib import suppress

import httpx
import pytest

from hubreg.formats import pktline
from hubreg.formats.packs import Encoder
from tests.git.conftest import Hub, Live

pytestmark = pytest.mark.anyio

JUNK = 96 << 20
SPARE = 48 << 20  # bytes that the server may want for whatever it does besides


def posted(live: Live, repo: str, service: str, body: bytes) -> httpx.Response:
    given = base64.b64encode(f"user:{live.ann}".encode()).decode()
    headers = {"Authorization": f"Basic {given}", "Content-Encoding": "gzip"}
    return httpx.post(f"{live.url}/{repo}.git/{service}", content=body, headers=headers, timeout=60)


def branch(head: str) -> bytes:
    """A push of a new branch to a commit that is there."""
    line = pktline.encode(f"{'0' * 40} {head} refs/heads/x\0report-status side-band-64k".encode())
    encoder = Encoder(0)
    return line + b"0000" + encoder.start() + encoder.close()


async def test_a_compressed_push(hub: Hub, live: Live) -> None:
    """Is taken as any other."""
    repo = await hub.repo("compressed")
    answer = posted(live, "ann/compressed", "git-receive-pack", gzip.compress(branch(repo.head)))
    assert (answer.status_code, b"ok refs/heads/x" in answer.content) == (200, True)


async def test_a_compressed_body_that_is_cut_off_or_goes_on(hub: Hub, live: Live) -> None:
    """Neither is what was meant: 400 for a fetch as for a push, and nothing moves."""
    repo = await hub.repo("cut")
    wants = pktline.encode(f"want {repo.head}\n".encode()) + b"0000" + pktline.encode(b"done\n")
    for service, good in (("git-receive-pack", branch(repo.head)), ("git-upload-pack", wants)):
        whole = gzip.compress(good)
        for body in (whole[:-1], whole[:-8], whole + b"\0", whole + whole, b""):
            answer = posted(live, "ann/cut", service, body)
            assert (answer.status_code, "gzip" in answer.text) == (400, True), (service, body)
    assert [name for name, _, _ in (await hub.app.refs.list(hub.ann, repo)).branches] == ["main"]


async def test_bytes_behind_a_compressed_push_are_not_held(hub: Hub, live: Live) -> None:
    """zlib would keep all that comes after the end of its stream."""
    repo = await hub.repo("behind")
    before = live.memory()
    body = gzip.compress(branch(repo.head)) + random.Random(1).randbytes(1 << 20) * (JUNK >> 20)
    with suppress(httpx.HTTPError):  # the server may close while it is still being sent to
        assert posted(live, "ann/behind", "git-receive-pack", body).status_code == 400
    assert live.memory() - before < SPARE
