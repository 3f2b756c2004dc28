"""
Xet by its own clients: what one sends every other reads, and what is known already is not sent again.

The newest client runs by default; `--xet-matrix` runs every version of hf_xet that is claimed, with a Python client
that takes it, and the JavaScript one.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import Answer, Client, Hub

NEWEST = "venv-new"
OLD = ["0.1.4", "1.1.10", "1.2.0", "1.4.3", "1.5.2", "1.6.0", "1.7.1"]  # of hf_xet; the newest is in venv-new
CLIENTS = [*(f"xet-{version}" for version in OLD), "venv-mid", NEWEST, "node"]
MOST_SENT = 600_000  # bytes, for three small changes
# These also cut after exactly 8128 bytes where newer hf_xet, and so the index of plain files, does not: one chunk of
# some thirty is another. What they sent themselves they find all of.
CUT_OTHERWISE = ("xet-0.1.4", "node")
MOST_OTHERWISE = 3_600_000
INDEX_SECONDS = 60
WITH_XET = {"HF_HUB_DISABLE_XET": ""}


def weights(seed: int) -> bytes:
    """60 MB of what parameters in bf16 look like."""
    values = np.random.default_rng(seed).normal(0, 0.02, 30_000_000).astype("<f4")
    return (values.view("<u4") >> 16).astype("<u2").tobytes()


def changed(content: bytes, seed: int) -> bytes:
    """Something inserted, something overwritten, something appended."""
    made = random.Random(seed)
    third, half = len(content) // 3, len(content) // 2
    inserted = content[:third] + made.randbytes(1000) + content[third:half]
    return inserted + made.randbytes(5000) + content[half + 5000 :] + made.randbytes(2000)


def run(client: Client, *args: str | Path) -> Answer:
    script = "xet.mjs" if client.environment.name == "node" else "xet.py"
    return client.run(script, *args, **WITH_XET)


def sent(answer: Answer) -> int:
    """Bytes of xorbs."""
    return sum(request.received for request in answer.requests.matching(r"^POST /cas/e1/(?:v1/)?xorbs?/"))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def judge(new_client: NewClient, environment: str, folder: Path) -> None:
    """All that is claimed of one client."""
    repo, other = f"alice/by-{environment}", f"alice/beside-{environment}"
    seed = CLIENTS.index(environment)
    first = weights(seed)
    second, third = changed(first, 1), changed(first, 2)
    files = [folder / name for name in ("first", "second", "third")]
    for path, content in zip(files, (first, second, third), strict=True):
        path.write_bytes(content)
    client = new_client(environment)
    assert sent(run(client, "up", repo, "w.safetensors", files[0])) > 40_000_000
    # the same client knows what it sent; a fresh one asks, and is told of another repo's chunks
    again = sent(run(client, "up", repo, "w.safetensors", files[1]))
    fresh = sent(run(new_client(environment), "up", other, "w.safetensors", files[2]))
    print(f"{environment}: changes sent {again} bytes, by a fresh client {fresh}")
    assert 0 < again < MOST_SENT
    assert 0 < fresh < MOST_SENT
    for reader in dict.fromkeys((environment, NEWEST, "node")):
        answer = run(new_client(reader), "down", repo, "w.safetensors")
        assert answer.value == digest(second), reader
        assert answer.requests.matching("^GET /cas/e1/.*reconstructions?/"), f"{reader} did not read by Xet"
    plain = new_client(NEWEST).run("xet_plain.py", repo, "w.safetensors")
    assert plain.value == digest(second)
    assert not plain.requests.matching("^GET /cas/")


def judge_plain(new_client: NewClient, hub: Hub, environment: str, folder: Path) -> None:
    """All that is claimed of one client and a file that came without Xet."""
    repo, other = f"alice/plain-{environment}", f"alice/tuned-{environment}"
    first = weights(100 + CLIENTS.index(environment))
    path = folder / "first"
    path.write_bytes(first)
    sender = new_client("venv-old")
    answer = sender.command(sender.environment / "bin" / "hf", "upload", repo, path, "w.safetensors")
    assert answer.requests.matching("^PUT /lfs/")
    assert not answer.requests.matching("^POST /cas/")
    hash_ = offered(hub, sender.variables["HF_TOKEN"], repo)
    read = run(new_client(environment), "down", repo, "w.safetensors")
    assert read.value == digest(first)
    assert read.requests.matching(f"^GET /cas/e1/.*reconstructions?/{hash_}")
    path.write_bytes(changed(first, 1))
    tuned = sent(run(new_client(environment), "up", other, "w.safetensors", path))
    print(f"{environment}: changes of a plain file sent {tuned} bytes")
    assert 0 < tuned < (MOST_OTHERWISE if environment in CUT_OTHERWISE else MOST_SENT)
    for reader in dict.fromkeys((environment, NEWEST)):
        assert run(new_client(reader), "down", other, "w.safetensors").value == digest(path.read_bytes())


def offered(hub: Hub, token: str, repo: str) -> str:
    """Wait until a file is offered by Xet; its Xet hash. Listings and `resolve` agree at every moment."""
    deadline = time.monotonic() + INDEX_SECONDS
    while time.monotonic() < deadline:
        [listed] = ask(hub, token, f"/api/models/{repo}/tree/main").json("w.safetensors")
        # what a listing offers, `resolve` does; from then on for good
        header = ask(hub, token, f"/{repo}/resolve/main/w.safetensors", "HEAD").headers["X-Xet-Hash"]
        if "xetHash" in listed:
            assert header == listed["xetHash"]
            [again] = ask(hub, token, f"/api/models/{repo}/tree/main?expand=true").json("w.safetensors")
            assert again["xetHash"] == header
            return str(header)
        time.sleep(0.05)
    raise AssertionError("it was not indexed")


@dataclass(frozen=True, slots=True)
class Said:
    headers: Message
    body: bytes

    def json(self, path: str) -> list[dict[str, Any]]:
        return [entry for entry in json.loads(self.body) if entry["path"] == path]


def ask(hub: Hub, token: str, path: str, method: str = "GET") -> Said:
    request = urllib.request.Request(
        hub.url + path, headers={"Authorization": f"Bearer {token}"}, method=method
    )
    with urllib.request.urlopen(request) as response:
        return Said(response.headers, response.read())


@pytest.mark.quick
def test_the_newest_client_sends_and_reads_by_xet(new_client: NewClient, tmp_path: Path) -> None:
    """With default settings a file goes up in xorbs, its changes alone after that, and comes down by all doors."""
    judge(new_client, NEWEST, tmp_path)


@pytest.mark.xet_matrix
@pytest.mark.parametrize("environment", [name for name in CLIENTS if name != NEWEST])
def test_every_client_sends_and_reads_by_xet(new_client: NewClient, environment: str, tmp_path: Path) -> None:
    """The same with every other client, both ways."""
    judge(new_client, environment, tmp_path)


@pytest.mark.quick
def test_a_plain_file_is_read_and_built_upon_by_xet(new_client: NewClient, hub: Hub, tmp_path: Path) -> None:
    """A file that an old client sent by LFS is indexed in the background; then it is read, and built upon, by Xet."""
    judge_plain(new_client, hub, NEWEST, tmp_path)


@pytest.mark.xet_matrix
@pytest.mark.parametrize("environment", [name for name in CLIENTS if name != NEWEST])
def test_every_client_reads_and_builds_upon_a_plain_file(
    new_client: NewClient, hub: Hub, environment: str, tmp_path: Path
) -> None:
    """The same with every other client."""
    judge_plain(new_client, hub, environment, tmp_path)


@pytest.mark.xet_matrix
def test_several_ranges_in_one_request(new_client: NewClient, tmp_path: Path) -> None:
    """hf_xet with the setting that makes it ask for all ranges of a xorb at once."""
    first = weights(99)
    path = tmp_path / "w"
    path.write_bytes(first)
    client = new_client(NEWEST)
    run(client, "up", "alice/ranges", "w", path)
    path.write_bytes(changed(first, 1))
    run(client, "up", "alice/ranges", "w", path)
    reader = new_client(NEWEST)
    answer = reader.run(
        "xet.py", "down", "alice/ranges", "w", **WITH_XET, HF_XET_CLIENT_ENABLE_MULTIRANGE_FETCHING="1"
    )
    assert answer.value == digest(changed(first, 1))
    assert answer.requests.matching(r"^GET /cas/e1/xorb-ranges/\w+\?ranges=\d+-\d+(?:,|%2C)\S+ 206")
