"""
A 10 000-file repo on a server of 2 000 repos, beside the same request where both are small.

Two servers, one process each, are asked in turns on one connection. The small one has 10 repos; its repo of
comparison holds as many files as the answer shows (1 000 for a tree page of 1 000 entries), so that answers are of
equal length and the ratio says what the rest of the repo, and of the server, costs. The `wide` repo has its files in
one folder, the `deep` one in folders of 100. Everything is private and asked for with a token.

Unless a line says otherwise both servers have answered the same before. "After a write": something else was
committed in between, which is when the server forgets what it knows of names and rights. "After a commit": to that
very repo.
"""

from __future__ import annotations

import base64
import gc
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from scripts.benches.content import Hub
from scripts.benches.processes import Server, hubreg
from scripts.benches.report import Report, percentile
from scripts.benches.wire import Wire, request, seconds

MOST = 1.5  # times the small case


@dataclass(frozen=True, slots=True)
class Sizes:
    files: int = 10_000
    page: int = 1_000  # entries of a tree page, and files of the small repo
    repos: int = 2_000
    few: int = 10  # repos of the small server
    requests: int = 500  # a round, of each case
    writes: int = 100  # a round, of each case that something is written for


@dataclass(slots=True)
class Side:
    """One of the two servers, filled."""

    server: Server
    token: str
    sizes: Sizes
    files: int
    repos: list[str]
    wide: str
    deep: str
    other: str
    commit: str  # of `wide`
    written: int = 0
    wire: Wire = field(init=False)

    def connect(self) -> Wire:
        """Only when it is used: a server does not wait for ever for a request."""
        self.wire = Wire(self.server)
        return self.wire

    def get(self, path: str) -> bytes:
        return request("GET", path, self.token)

    def info(self, repo: str, query: str = "") -> bytes:
        return self.get(f"/api/models/{repo}{query}")

    def tree(self, path: str) -> bytes:
        return self.get(f"/api/models/{path}limit={self.sizes.page}")

    def resolve(self, repo: str, revision: str, path: str) -> bytes:
        return request("HEAD", f"/{repo}/resolve/{revision}/{path}", self.token)

    def edit(self, repo: str) -> bytes:
        """A request that commits another content of one file."""
        self.written += 1
        content = base64.b64encode(b"%d\n" % (1_000_000 + self.written)).decode()
        path = "000/00.txt" if repo == self.deep else "data/00000.txt"
        lines = [
            {"key": "header", "value": {"summary": "edit"}},
            {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}},
        ]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        head = request("POST", f"/api/models/{repo}/commit/main", self.token)
        return head[:-2] + b"content-length: %d\r\n\r\n" % len(body) + body


@dataclass(slots=True)
class Case:
    """
    A request, by its number, to either side. `judged`: it has a target. `distinct`: how many different ones there are,
    each asked once before any is measured. `writes`: the repo that is committed to before each.
    """

    what: str
    request: Callable[[Side, int], bytes]
    status: int = 200
    judged: bool = True
    distinct: Callable[[Side], int] = lambda side: 1
    writes: Callable[[Side], str] | None = None
    small: list[list[float]] = field(default_factory=list)  # seconds, by round
    large: list[list[float]] = field(default_factory=list)


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    sizes = Sizes(files=300, page=100, repos=30, few=3, requests=20, writes=3) if quick else Sizes()
    rounds = rounds or (1 if quick else 5)
    with hubreg(place / "small") as small_server, hubreg(place / "large") as large_server:
        few = _fill(small_server, place / "small", sizes, sizes.page, sizes.few)
        many = _fill(large_server, place / "large", sizes, sizes.files, sizes.repos)
        with few.connect(), many.connect():
            cases = _cases(sizes)
            for case in cases:
                _check(case, few, many)
            for _ in range(rounds):
                for case in cases:
                    _round(case, few, many, sizes)
    return _report(cases, sizes, rounds)


def _fill(server: Server, place: Path, sizes: Sizes, files: int, repos: int) -> Side:
    with Hub(server, place) as hub:
        names = [hub.create(f"model-{number:04}") for number in range(repos)]
        wide, deep, other = (hub.create(name) for name in ("wide", "deep", "other"))
        commit = hub.commit(wide, {_path(n): b"%d\n" % n for n in range(files)})
        hub.commit(deep, {f"{n // 100:03}/{n % 100:02}.txt": b"%d\n" % n for n in range(files)})
        return Side(server, hub.token, sizes, files, names, wide, deep, other, commit)


def _path(number: int) -> str:
    return f"data/{number:05}.txt"


# requests, by number


def _page(side: Side, number: int) -> bytes:
    return side.tree(f"{side.wide}/tree/main/data?")


def _recursive_page(side: Side, number: int) -> bytes:
    return side.tree(f"{side.deep}/tree/main?recursive=true&")


def _page_with_commits(side: Side, number: int) -> bytes:
    return side.get(f"/api/models/{side.wide}/tree/main/data?expand=1")


def _info(side: Side, number: int) -> bytes:
    return side.info(side.wide, "?expand[]=sha&expand[]=tags")


def _info_of_any(side: Side, number: int) -> bytes:
    return side.info(side.repos[number % len(side.repos)])


def _by_sha(side: Side, number: int) -> bytes:
    return side.resolve(side.wide, side.commit, _path(side.sizes.page - 1))


def _any_by_sha(side: Side, number: int) -> bytes:
    return side.resolve(side.wide, side.commit, _path(number % side.files))


def _by_branch(side: Side, number: int) -> bytes:
    return side.resolve(side.wide, "main", _path(side.sizes.page - 1))


def _deep_by_branch(side: Side, number: int) -> bytes:
    return side.resolve(side.deep, "main", "000/01.txt")


def _any_by_branch(side: Side, number: int) -> bytes:
    return side.resolve(side.repos[number % len(side.repos)], "main", ".gitattributes")


def _cases(sizes: Sizes) -> list[Case]:
    page = f"tree page of {sizes.page:,}"
    all_repos: Callable[[Side], int] = lambda side: len(side.repos)  # noqa: E731
    nothing: Callable[[Side], int] = lambda side: 0  # noqa: E731
    to_wide, to_deep, elsewhere = (lambda s: s.wide), (lambda s: s.deep), (lambda s: s.other)
    return [
        Case(f"{page}, one folder", _page),
        Case(f"{page}, recursive", _recursive_page),
        Case(f"{page}, one folder, after a write", _page, writes=elsewhere),
        Case(f"{page}, recursive, after a commit", _recursive_page, writes=to_deep),
        Case(f"{page}, one folder, after a commit", _page, writes=to_wide),
        Case("tree page of 50 with last commits", _page_with_commits),
        Case("info, expand=sha,tags", _info),
        Case("info, expand=sha,tags, after a commit", _info, writes=to_wide),
        Case("info of any repo", _info_of_any, distinct=all_repos),
        Case("info of any repo, after a write", _info_of_any, writes=elsewhere),
        Case("resolve by sha", _by_sha),
        Case("resolve by sha, any file, after a write", _any_by_sha, writes=elsewhere),
        Case("resolve by branch", _by_branch, 307),
        Case("resolve by branch, any repo", _any_by_branch, 307, distinct=all_repos),
        Case("resolve by branch, any repo, after a write", _any_by_branch, 307, writes=elsewhere),
        Case("resolve by branch, folders of 100, after a commit", _deep_by_branch, 307, writes=to_deep),
        Case("resolve by branch, one folder, after a commit", _by_branch, 307, writes=to_wide),
        # without a target
        Case(
            "commit of one file, folders of 100", lambda s, n: s.edit(s.deep), judged=False, distinct=nothing
        ),
        Case("commit of one file, one folder", lambda s, n: s.edit(s.wide), judged=False, distinct=nothing),
        Case("info with all files", lambda s, n: s.info(s.wide), judged=False),
        Case("list of the 10 newest repos", lambda s, n: s.get("/api/models?limit=10"), judged=False),
        Case("search that finds 10", lambda s, n: s.get("/api/models?limit=10&search=model"), judged=False),
        Case("search that finds nothing", lambda s, n: s.get("/api/models?search=absent"), judged=False),
    ]


def _check(case: Case, small: Side, large: Side) -> None:
    """Both answer as expected; those that are compared, with as much."""
    lengths = []
    for side in (small, large):
        lengths.append(len(side.wire.expect(case.request(side, 0), case.status).body))
    if case.judged and max(lengths) > 1.05 * min(lengths) + 50:
        raise SystemExit(f"{case.what}: answers of {lengths[0]} and {lengths[1]} bytes cannot be compared")


def _round(case: Case, small: Side, large: Side, sizes: Sizes) -> None:
    sides: list[tuple[Side, list[float]]] = [(small, []), (large, [])]
    count = sizes.writes if case.writes is not None or not case.judged else sizes.requests
    if case.writes is None:
        for side, _ in sides:
            for number in range(case.distinct(side)):
                side.wire.ask(case.request(side, number))
    chosen = [random.randrange(10**6) for _ in range(count)]
    gc.disable()
    for number in chosen:
        for side, found in sides:
            if case.writes is not None:
                side.wire.expect(side.edit(case.writes(side)), 200)
            found.append(seconds(side.wire, case.request(side, number)))
    gc.enable()
    case.small.append(sides[0][1])
    case.large.append(sides[1][1])


def _report(cases: list[Case], sizes: Sizes, rounds: int) -> Report:
    report = Report(
        f"scale: {sizes.files:,} files and {sizes.repos:,} repos beside {sizes.page:,} files and {sizes.few} repos;"
        f" ms, small -> large, median of {rounds} rounds"
    )
    for case in cases:
        p50, _ = _compared(case, 0.5)
        p99, times = _compared(case, 0.99)
        shown = f"{times:.2f} x   p99 {p99}   p50 {p50}"
        if case.judged:
            report.at_most(case.what, times, MOST, " x", shown)
        else:
            report.fact(case.what, shown)
    report.notes.append(
        "The last lines have no target: they grow with the answer, with the folder, or with the list."
    )
    return report


def _compared(case: Case, share: float) -> tuple[str, float]:
    """A percentile on both sides, and how many times the small one the large one is, by the medians of the rounds."""
    small, large = (
        median(percentile(found, share) for found in side) * 1000 for side in (case.small, case.large)
    )
    return f"{small:6.2f} -> {large:6.2f}", large / small
