"""
HEAD of a file in a private repo, by commit and by branch, beside a raw ASGI answer.

16 connections, one worker, a token, the access log on. The raw answer comes from hubreg's own server (protocol,
supervisor, log) with an application that does nothing; the three are measured in turns.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.benches.content import Hub
from scripts.benches.processes import Apart, Server, clean_environment, hubreg, running
from scripts.benches.report import Report, ratio
from scripts.benches.wire import Wire, hammer, request

CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Turn:
    rate: float  # answers per second
    cost: float  # CPU microseconds of the server for each
    busy: float  # share of one core that the server used


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that is asked for, and the rate that it should reach as a share of the raw answer's."""

    what: str
    server: Server
    request: bytes
    status: int
    least: float = 1.0


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    lasting, rounds = (0.3, 1) if quick else (4.0, rounds or 5)
    raw_command = [sys.executable, "-m", "scripts.benches.raw"]
    (place / "raw").mkdir()
    with (
        hubreg(place / "hubreg") as server,
        running(raw_command, place / "raw", clean_environment()) as raw,
        Hub(server, place / "hubreg") as hub,
    ):
        repo = hub.create("asked")
        commit = hub.commit(repo, {"config.json": b"{}", "README.md": b"# A model\n"})
        by_commit, by_branch = (
            request("HEAD", f"/{repo}/resolve/{revision}/config.json", hub.token)
            for revision in (commit, "main")
        )
        everything = [
            Asked("raw ASGI answer", raw, by_commit, 200),
            Asked("by sha (200)", server, by_commit, 200, 0.4),
            Asked("by branch (307)", server, by_branch, 307, 0.3),
        ]
        for asked in everything:
            with Wire(asked.server) as wire:
                wire.expect(asked.request, asked.status)
            _turn(asked, lasting / 4)  # caches, and the interpreter's own
        turns: list[list[Turn]] = [[] for _ in everything]
        for _ in range(rounds):
            for asked, found in zip(everything, turns, strict=True):
                found.append(_turn(asked, lasting))
    return _report(everything, turns, rounds, lasting)


def _turn(asked: Asked, lasting: float) -> Turn:
    server = asked.server
    before = server.cpu()
    with Apart(
        hammer, (server.host, server.port), asked.request, asked.status, CONNECTIONS, lasting
    ) as client:
        rate = client.result()
    used = server.cpu() - before
    return Turn(rate, used / (rate * lasting) * 1e6, used / lasting)


def _report(everything: list[Asked], turns: list[list[Turn]], rounds: int, lasting: float) -> Report:
    report = Report(
        f"head: HEAD resolve, private repo, {CONNECTIONS} connections, one worker, access log on,"
        f" median of {rounds} x {lasting:g} s"
    )
    for asked, found in zip(everything, turns, strict=True):
        rate, cost, busy = (
            median(getattr(turn, name) for turn in found) for name in ("rate", "cost", "busy")
        )
        report.fact(asked.what, f"{rate:,.0f} a second, {cost:.0f} CPU us each, server busy {busy:.0%}")
    raw = turns[0]
    for asked, found in list(zip(everything, turns, strict=True))[1:]:
        rates = ratio([turn.rate for turn in found], [turn.rate for turn in raw])
        report.at_least(f"rate {asked.what} / raw", rates, asked.least, " x")
    for asked, found in list(zip(everything, turns, strict=True))[1:]:
        costs = ratio([turn.cost for turn in found], [turn.cost for turn in raw])
        report.fact(f"CPU each {asked.what} / raw", f"{costs:.2f} x")
    report.notes.append("A server that is not busy waited for a core or for the client: then trust the CPU.")
    return report
