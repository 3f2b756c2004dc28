"""
Bytes that hf_xet sends of a changed 200 MB bf16 file: by who sends it, and by how the server came to its base.

The client is huggingface_hub as it is installed, each with a home of its own. What counts is what the server's access
log says it received from it on Xet's side, shards included. The base came by Xet, or by LFS as one plain file that the
server indexed by itself.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from scripts.benches.content import Hub
from scripts.benches.processes import Server, hubreg
from scripts.benches.report import Report

MOST = 0.6  # MB
MB = 1e6
PATIENCE = 120.0  # seconds for a file to be indexed
_CLIENT = """
import sys
from huggingface_hub import HfApi
repo, file = sys.argv[1:]
api = HfApi()
api.create_repo(repo, exist_ok=True)
api.upload_file(path_or_fileobj=file, path_in_repo="w.safetensors", repo_id=repo)
"""


def weights(size: int, seed: int) -> bytes:
    """What the parameters of a model look like in bf16."""
    values = np.random.default_rng(seed).normal(0, 0.02, size // 2).astype("<f4")
    return (values.view("<u4") >> 16).astype("<u2").tobytes()


def inserted(base: bytes, seed: int) -> bytes:
    third = len(base) // 3
    return base[:third] + random.Random(seed).randbytes(1000) + base[third:]


def overwritten(base: bytes, seed: int) -> bytes:
    half = len(base) // 2
    return base[:half] + random.Random(seed).randbytes(5000) + base[half + 5000 :]


def appended(base: bytes, seed: int) -> bytes:
    return base + random.Random(seed).randbytes(2000)


def all_three(base: bytes, seed: int) -> bytes:
    return appended(overwritten(inserted(base, seed), seed + 1), seed + 2)


CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "an insert": inserted,
    "an overwrite": overwritten,
    "an append": appended,
    "all three": all_three,
}


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of one server, all with the administrator's token."""

    server: Server
    place: Path
    token: str

    def send(self, home: str, repo: str, content: bytes, **variables: str) -> int:
        """Upload a file by the client at this home; the bytes that the server received by Xet."""
        file = self.place / "sent"
        file.write_bytes(content)
        start = self._log.stat().st_size
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env = {
            "HF_HOME": str(self.place / home),
            "HF_ENDPOINT": self.server.url,
            "HF_TOKEN": self.token,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", _CLIENT, repo, str(file)],
            env=kept | env | variables,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"the client failed: {done.stderr[-2000:]}")
        return self._received(start)

    @property
    def _log(self) -> Path:
        return self.place / "server.log"

    def _received(self, start: int) -> int:
        lines = self._log.read_bytes()[start:].splitlines()
        told = [json.loads(line) for line in lines if line.startswith(b"{")]
        return sum(one.get("received", 0) for one in told if one.get("path", "").startswith("/cas/"))


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    del rounds  # bytes are the same each time
    size = (20 if quick else 200) * 1_000_000
    seeds = count(1)
    report = Report(f"dedup: a bf16 file of {size // 1_000_000} MB")
    with hubreg(place, xet_index=True) as server, Hub(server, place) as hub:
        clients = Clients(server, place, hub.token)

        def row(who: str, home: str, repo: str, base: bytes) -> None:
            for change, make in CHANGES.items():
                chosen = f"fresh-{next(seeds)}" if home == "fresh" else home
                sent = clients.send(chosen, repo, make(base, 1000 * next(seeds))) / MB
                report.at_most(f"{who}, {change}", sent, MOST, " MB", f"{sent:.3f} MB")

        base = weights(size, 1)
        report.fact("the base, by Xet", f"{clients.send('first', 'admin/base', base) / MB:.1f} MB")
        row("same client", "first", "admin/base", base)
        row("fresh client", "fresh", "admin/base", base)
        row("fresh client, other repo", "fresh", "admin/other", base)
        plain = weights(size, 2)
        sent = clients.send("lfs", "admin/plain", plain, HF_HUB_DISABLE_XET="1")
        report.fact("another base, by LFS", f"{sent / MB:.1f} MB by Xet, indexed {_indexed(hub):.1f} s later")
        row("against the plain file", "fresh", "admin/plain", plain)
        row("against the plain file, other repo", "fresh", "admin/tuned", plain)
    return report


def _indexed(hub: Hub) -> float:
    """Seconds until the plain file is offered by Xet."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        found, _ = hub.call("GET", "/api/models/admin/plain/tree/main")
        if any("xetHash" in entry for entry in found):
            return time.monotonic() - began
        time.sleep(0.1)
    raise SystemExit("the plain file was not indexed")
