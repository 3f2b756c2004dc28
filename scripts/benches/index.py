"""
Indexing a plain 1 GiB file for Xet, and what is served meanwhile: downloads and HEADs with and without it, in turns.

Each round has a file of its own, of random bytes, that comes by LFS and is then indexed by the server's own process.
While it is at it, that process is stopped (SIGSTOP) for every other turn of downloads and HEADs. Turns are short, so
that what else happens on the machine is the same for both. One more file is indexed with nothing beside it.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from scripts.benches.content import MIB, Bulk, Hub
from scripts.benches.processes import Apart, Server, hubreg
from scripts.benches.report import Report, percentile, ratio
from scripts.benches.wire import download, hammer, request

CLIENTS = 8
GB = 1e9
LEAST = 0.95  # of what is served without indexing beside it
PATIENCE = 120.0  # seconds for a file to be indexed


class Noise(Bulk):
    """A file of random bytes that never come again."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, seed)
        self._seed = seed

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        for at in range(start, self.size if end is None else end, MIB):
            yield np.random.default_rng((self._seed, at)).bytes(MIB)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the server did, first with downloads and then with HEADs; `indexing` is what went into that meanwhile."""

    rate: float  # GB/s
    cost: float  # CPU s/GB
    heads: float  # answers per second
    each: float  # CPU microseconds
    indexing: float  # CPU seconds


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the server in a turn."""

    server: Server
    get: bytes
    head: bytes
    size: int
    lasting: float

    def turn(self) -> Turn:
        address, total = (self.server.host, self.server.port), CLIENTS * self.size / GB
        before, others = self.server.own_cpu(), self._others()
        with Apart(download, address, self.get, CLIENTS, self.size) as clients:
            taken = clients.result()
        between = self.server.own_cpu()
        with Apart(hammer, address, self.head, 200, CLIENTS, self.lasting) as client:
            rate = client.result()
        each = (self.server.own_cpu() - between) / (rate * self.lasting) * 1e6
        return Turn(total / taken, (between - before) / total, rate, each, self._others() - others)

    def _others(self) -> float:
        return self.server.cpu() - self.server.own_cpu()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What the server does beside its requests is stopped meanwhile."""
        children = self.server.family()[1:]
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in children:
                os.kill(pid, signal.SIGCONT)


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    size = (256 if quick else 1024) * MIB
    served = Bulk((16 if quick else 192) * MIB)
    pairs: list[tuple[Turn, Turn]] = []
    costs: list[float] = []
    with hubreg(place, xet_index=True) as server, Hub(server, place) as hub:
        repo = hub.create("served")
        hub.send(repo, served)
        path = f"/{repo}/resolve/{hub.commit(repo, {}, {'w.bin': served})}/w.bin"
        get, head = (request(method, path, hub.token) for method in ("GET", "HEAD"))
        load = Load(server, get, head, served.size, 0.05 if quick else 0.5)
        indexing = Indexing(place)
        indexing.cost(served.sha256)
        load.turn()  # warms the page cache, and the interpreter's own
        for number in range(rounds or (1 if quick else 5)):
            sent = Noise(size, number)
            hub.send(repo, sent)
            indexing.begun()
            while True:
                pair = _pair(load, alone_first=len(pairs) % 2 == 1)
                if not indexing.begun(wait=False) and pairs:
                    break  # it was done before the pair was
                pairs.append(pair)
            costs.append(indexing.cost(sent.sha256))
        sent = Noise(size, 1000)
        hub.send(repo, sent)
        alone = indexing.cost(sent.sha256)
    return _report(size, pairs, costs, alone)


def _pair(load: Load, *, alone_first: bool) -> tuple[Turn, Turn]:
    """A turn beside indexing, and one without."""
    beside = None if alone_first else load.turn()
    with load.alone():
        without = load.turn()
    return beside or load.turn(), without


@dataclass(frozen=True, slots=True)
class Indexing:
    """What a server's process for it does, as its rows and its log tell."""

    place: Path

    def begun(self, *, wait: bool = True) -> bool:
        """Whether it is at a file; `wait` until it is."""
        with closing(sqlite3.connect(f"file:{self.place}/data/hubreg.db?mode=ro", uri=True)) as db:

            def look() -> list[Any]:
                return db.execute("SELECT sha256 FROM unindexed WHERE tries > 0").fetchall()

            return bool(_await(look) if wait else look())

    def cost(self, sha256: str) -> float:
        """Wait until a file is indexed; the CPU seconds that took."""
        [line] = _await(lambda: [line for line in self._log() if f"indexed {sha256}" in line])
        found = re.search(r"([0-9.]+) CPU seconds", line)
        if found is None:
            raise SystemExit(f"The log says nothing of the cost: {line}")
        return float(found[1])

    def _log(self) -> list[str]:
        return (self.place / "server.log").read_text().splitlines()


def _await(look: Callable[[], list[Any]]) -> list[Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise SystemExit("A file was not indexed.")


def _report(size: int, pairs: Sequence[tuple[Turn, Turn]], costs: Sequence[float], alone: float) -> Report:
    beside, without = zip(*pairs, strict=True)
    report = Report(f"index: {size // MIB} MiB of random bytes; median of {len(pairs)} pairs of turns")
    report.fact("indexing, nothing beside it", f"{alone:.2f} CPU s, {alone / size * GB:.2f} CPU s/GB")
    got = sum(turn.indexing for turn in beside) / len(costs)
    report.fact(
        "indexing beside what is served", f"{median(costs):.2f} CPU s, {got:.2f} of them in the turns"
    )
    for name, turns in (("without", without), ("beside indexing", beside)):
        rate, cost, heads, each = (
            median(getattr(turn, key) for turn in turns) for key in ("rate", "cost", "heads", "each")
        )
        report.fact(f"downloads {name}", f"{rate:.2f} GB/s, {cost:.3f} CPU s/GB")
        report.fact(f"HEADs {name}", f"{heads:,.0f} a second, {each:.0f} CPU us each")
    for what, key in (("downloads", "rate"), ("HEADs", "heads")):
        ours, others = ([getattr(turn, key) for turn in turns] for turns in (beside, without))
        shares = sorted(a / b for a, b in zip(ours, others, strict=True))
        middle = f"{percentile(shares, 0.25):.2f} to {percentile(shares, 0.75):.2f}"
        share = ratio(ours, others)
        report.at_least(
            f"{what}, beside / without", share, LEAST, " x", f"{share:.2f} x, half of them {middle}"
        )
    report.notes.append("Where pairs are far apart, others used the machine: take more rounds.")
    return report
