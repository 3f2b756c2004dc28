"""
Warm download of a 1 GiB LFS file by 8 clients at once, from hubreg and from nginx with sendfile.

Both send the very same file from the page cache, with one worker each, in turns; the clients, in a process of their
own, read into memory that they use again. In a third turn hubreg is asked for a HEAD every 5 ms meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.benches.content import MIB, Bulk, Hub
from scripts.benches.processes import Apart, Server, hubreg, nginx
from scripts.benches.report import Report, percentile, ratio
from scripts.benches.wire import Wire, download, probe, request

CLIENTS = 8
PAUSE = 0.005  # seconds between two HEADs
GB = 1e9


@dataclass(frozen=True, slots=True)
class Turn:
    """All clients have the file once. Rates are of the bytes of all of them."""

    rate: float  # GB/s
    cost: float  # CPU s/GB of the server
    heads: tuple[float, ...] = ()  # seconds that each HEAD took meanwhile


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    bulk = Bulk((64 if quick else 1024) * MIB)
    rounds = rounds or (1 if quick else 5)
    turns: dict[str, list[Turn]] = {"nginx": [], "hubreg": [], "asked": []}
    with hubreg(place / "hubreg") as server, Hub(server, place / "hubreg") as hub:
        repo = hub.create("served")
        hub.send(repo, bulk)
        path = f"/{repo}/resolve/{hub.commit(repo, {}, {'model.safetensors': bulk})}/model.safetensors"
        get, head = (request(method, path, hub.token) for method in ("GET", "HEAD"))
        blobs = place / "hubreg" / "data" / "blobs"
        plain = request("GET", f"/{bulk.sha256[:2]}/{bulk.sha256}")
        with nginx(place / "nginx", blobs) as other:
            _check(server, head, bulk.size)
            _turn(other, plain, bulk.size)  # warms the page cache
            _turn(server, get, bulk.size)
            for _ in range(rounds):
                turns["nginx"].append(_turn(other, plain, bulk.size))
                turns["hubreg"].append(_turn(server, get, bulk.size))
                turns["asked"].append(_turn(server, get, bulk.size, head))
            alone = _idle_heads(server, head, 0.5 if quick else 3.0)
    return _report(bulk.size, rounds, turns, alone)


def _check(server: Server, head: bytes, size: int) -> None:
    with Wire(server) as wire:
        answer = wire.expect(head, 200)
        if answer.header("content-length") != str(size):
            raise SystemExit(f"HEAD says {answer.header('content-length')} bytes, not {size}")


def _turn(server: Server, asked: bytes, size: int, head: bytes | None = None) -> Turn:
    heads: tuple[float, ...] = ()
    before = server.cpu()
    with Apart(download, (server.host, server.port), asked, CLIENTS, size) as clients:
        if head is None:
            took = clients.result()
        else:
            with Apart(probe, server, head, 200, PAUSE) as asking:
                took = clients.result()
                asking.stop()
                heads = tuple(asking.result())
    total = CLIENTS * size / GB
    return Turn(total / took, (server.cpu() - before) / total, heads)


def _idle_heads(server: Server, head: bytes, lasting: float) -> list[float]:
    with Apart(probe, server, head, 200, PAUSE) as asking:
        time.sleep(lasting)
        asking.stop()
        return asking.result()


def _report(size: int, rounds: int, turns: dict[str, list[Turn]], alone: list[float]) -> Report:
    ours, theirs, asked = turns["hubreg"], turns["nginx"], turns["asked"]
    report = Report(
        f"serve: {size // MIB} MiB to {CLIENTS} clients at once, one worker each, median of {rounds} rounds"
    )
    for name, found in (("nginx", theirs), ("hubreg", ours), ("hubreg, asked for HEADs", asked)):
        rate, cost = median(turn.rate for turn in found), median(turn.cost for turn in found)
        report.fact(name, f"{rate:.2f} GB/s, {cost:.3f} CPU s/GB")
    costs = ratio([turn.cost for turn in ours], [turn.cost for turn in theirs])
    rates = ratio([turn.rate for turn in ours], [turn.rate for turn in theirs])
    report.at_most("CPU per GB, hubreg / nginx", costs, 1.3, " x")
    report.at_least("throughput, hubreg / nginx", rates, 0.85, " x")
    p50 = median(percentile(turn.heads, 0.5) for turn in asked) * 1000
    p99 = median(percentile(turn.heads, 0.99) for turn in asked) * 1000
    count = sum(len(turn.heads) for turn in asked)
    report.at_most("HEAD p99 meanwhile", p99, 15, " ms", f"{p99:.1f} ms (p50 {p50:.1f} ms, {count} HEADs)")
    idle = f"p99 {percentile(alone, 0.99) * 1000:.1f} ms, p50 {percentile(alone, 0.5) * 1000:.1f} ms"
    report.fact("HEAD with no download beside it", idle)
    return report
