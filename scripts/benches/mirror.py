"""
A file that is only upstream, cold and warm: by one client, and by 32 at once, through a mirror.

The upstream is a stand-in on loopback that sends from memory, by a redirect to its CDN. Beside the mirror, in the same
run: `curl` from the stand-in to disk and then `sha256sum`, as one does who has no mirror. Every cold turn has a file of
its own.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from scripts.benches.content import MIB
from scripts.benches.processes import (
    Apart,
    Server,
    clean_environment,
    hubreg,
    hubreg_command,
    installed,
    memory,
)
from scripts.benches.report import Report, ratio
from scripts.benches.wire import Address, Answer, Wire, request
from tests.fakehub.process import Process

FLEET = 32
GB = 1e9
REPO = "Bench/Cold"


@dataclass(frozen=True, slots=True)
class Turn:
    """One file, by one client or a fleet: seconds, CPU seconds of the server, seconds to each client's first byte."""

    took: float
    cpu: float
    first: tuple[float, ...]

    @property
    def spread(self) -> float:
        """How long after the first of the clients the last one had a byte."""
        return max(self.first) - min(self.first)


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    size = (64 if quick else 1024) * MIB
    rounds = rounds or (1 if quick else 3)
    files = [f"model-{number}.bin" for number in range(2 * rounds)]
    stocked = [word for file in files for word in ("--file", f"{REPO}/{file}={size}")]
    turns: dict[str, list[Turn]] = {"cold": [], "fleet": [], "warm": []}
    curls: list[float] = []
    upstream: dict[str, float] = {}
    installed("curl", "curl")
    with Process(*stocked) as fake, hubreg(place / "hubreg") as server:
        _mirror(place / "hubreg" / "data", fake.url)
        paths = {file: _path(server, file) for file in files}
        idle = _resident(server)
        for file in files[:rounds]:
            turns["fleet"].append(_turn(server, paths[file], FLEET, size))
            upstream[file] = fake.sent(file) / size
        grown = server.peak() - idle
        for file in files[rounds:]:
            curls.append(_curl(place, f"{fake.url}/{REPO}/resolve/main/{file}"))
            upstream[file] = -fake.sent(file) / size
            turns["cold"].append(_turn(server, paths[file], 1, size))
            upstream[file] += fake.sent(file) / size
            turns["warm"].append(_turn(server, paths[file], 1, size))
    return _report(size, rounds, turns, curls, max(upstream.values()), grown)


def _mirror(data: Path, url: str) -> None:
    """Let the server mirror the stand-in, whose CDN is on another address."""
    command = [hubreg_command(data)[0], "mirror", "add", "hub", url, "--host", "127.0.0.2", "--data", data]
    subprocess.run(command, check=True, env=clean_environment(), stdout=subprocess.DEVNULL)


def _path(server: Server, file: str) -> str:
    """Where a file is by its commit. With it the mirror knows the listing, but no byte of the file."""
    with Wire(server) as wire:
        location = wire.expect(request("HEAD", f"/{REPO}/resolve/main/{file}"), 307).header("location")
    return urlsplit(location).path


def _resident(server: Server) -> int:
    return max(memory(pid, "VmRSS") for pid in server.family())


def _curl(place: Path, url: str) -> float:
    """Seconds for `curl` to disk and `sha256sum` of what it wrote."""
    target = place / "curled"
    began = time.perf_counter()
    subprocess.run(["curl", "-sSfL", "-o", target, url], check=True)
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - began
    target.unlink()
    return took


def _turn(server: Server, path: str, clients: int, size: int) -> Turn:
    before = server.cpu()
    asked = request("GET", path)
    with Apart(_download, (server.host, server.port), asked, clients, size) as fleet:
        took, first = fleet.result()
    return Turn(took, server.cpu() - before, tuple(first))


def _download(
    _: Connection, address: Address, asked: bytes, clients: int, size: int
) -> tuple[float, list[float]]:
    """Fetch a file by so many clients at once; the seconds until all have it, and until each had a byte of it."""
    ready = threading.Barrier(clients + 1)
    first: list[float] = []
    failures: list[str] = []

    def fetch() -> None:
        with socket.create_connection(address) as connection:
            ready.wait()
            connection.sendall(asked)
            head, got = b"", 0
            while b"\r\n\r\n" not in head and (some := connection.recv(1 << 16)):
                head += some
            head, _, rest = head.partition(b"\r\n\r\n")
            buffer, count = bytearray(1 << 20), len(rest) or connection.recv_into(bytearray(1))
            first.append(time.perf_counter())
            length = int(Answer(0, head, b"").header("content-length") or 0)
            while count:
                got += count
                count = connection.recv_into(buffer) if got < length else 0
            if got != size:
                failures.append(f"{got} of {size} bytes: {head[:200]!r}")

    threads = [threading.Thread(target=fetch, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise ConnectionError(failures[0])
    return time.perf_counter() - began, [at - began for at in first]


def _report(
    size: int, rounds: int, turns: dict[str, list[Turn]], curls: list[float], upstream: float, grown: int
) -> Report:
    report = Report(f"mirror: {size // MIB} MiB from upstream, one worker, median of {rounds} rounds")
    cold, fleet, warm = turns["cold"], turns["fleet"], turns["warm"]
    report.fact("curl to disk, then sha256sum", f"{median(curls):.2f} s")
    report.fact("cold, 1 client", f"{median(t.took for t in cold):.2f} s, {_cost(cold, size):.2f} CPU s/GB")
    report.at_most("cold / curl and sha256sum", ratio([t.took for t in cold], curls), 1.3, " x")
    took, cost = median(t.took for t in fleet), _cost(fleet, FLEET * size)
    report.fact(f"cold, {FLEET} clients at once", f"{took:.2f} s, {cost:.2f} CPU s/GB sent")
    report.at_most(
        "bytes from upstream / size of the file, at most", upstream, 1.0, " x", f"{upstream:.4f} x"
    )
    report.at_most(f"first byte, last of {FLEET} behind first", max(t.spread for t in fleet), 0.5, " s")
    report.at_most("memory over idle", grown / MIB, 150, " MiB", f"{grown / MIB:.0f} MiB")
    report.fact("warm, 1 client", f"{median(t.took for t in warm):.2f} s, {_cost(warm, size):.2f} CPU s/GB")
    return report


def _cost(turns: list[Turn], size: int) -> float:
    return median(turn.cpu for turn in turns) / (size / GB)
