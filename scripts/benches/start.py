"""
From exec to the first answer on a migrated data directory; memory of an idle worker; what a server imports.

A start is timed from just before the process is made until GET /health is answered. Which modules a serving process
has loaded is read off the interpreter's own record (`-X importtime`) of a server that has answered requests: the
libraries of clients, scanners and trainers must not be among them.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from scripts.benches.content import Hub
from scripts.benches.processes import clean_environment, hubreg, hubreg_command, memory, running
from scripts.benches.report import Report
from scripts.benches.wire import Wire, request

MB = 1e6
SECONDS, MEGABYTES = 1.2, 100

# What only clients, scanners, tests and trainers need. Some are hubreg's own dependencies, for other commands.
UNWANTED = frozenset(
    "huggingface_hub hf_xet httpx httpx2 httpcore requests urllib3 aiohttp torch transformers datasets fsspec"
    " safetensors tokenizers pandas pyarrow dulwich pygit2 picklescan fickling modelscan yara hypothesis"
    " pytest tqdm filelock".split()
)
_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|\s+(\S+)")


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    rounds = rounds or (2 if quick else 10)
    with hubreg(place) as server, Hub(server, place) as hub:
        repo = hub.create("there")  # migrated, and not empty
        commit = hub.commit(repo, {"config.json": b"{}"})
        asked = [
            request("GET", path, hub.token)
            for path in ("/health", f"/api/models/{repo}", f"/{repo}/resolve/{commit}/config.json")
        ]
    took = {workers: [_start(place, workers) for _ in range(rounds)] for workers in (1, 2)}
    report = Report(f"start: a migrated data directory, median of {rounds} starts")
    for workers, found in took.items():
        shown = f"{median(found):.2f} s (slowest {max(found):.2f} s)"
        report.at_most(f"exec to first answer, {_workers(workers)}", median(found), SECONDS, " s", shown)
    for workers in (1, 2):
        largest, shared = _memory(place, workers, 0.2 if quick else 2.0)
        shown = f"{largest / MB:.0f} MB (all processes, shared pages once: {shared / MB:.0f} MB)"
        report.at_most(f"idle RSS of a worker, {_workers(workers)}", largest / MB, MEGABYTES, " MB", shown)
    _imports(place, asked, report)
    return report


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _start(place: Path, workers: int) -> float:
    began = time.perf_counter()
    command = hubreg_command(place / "data", workers)
    with running(command, place, clean_environment()) as server, Wire(server) as wire:
        wire.expect(request("GET", "/health"), 200)
        return time.perf_counter() - began


def _memory(place: Path, workers: int, rest: float) -> tuple[int, int]:
    """RSS of the largest worker some time after the start, and the memory of all its processes together."""
    with hubreg(place, workers=workers) as server, Wire(server) as wire:
        wire.expect(request("GET", "/health"), 200)
        time.sleep(rest)
        largest = max(memory(pid, "VmRSS") for pid in server.workers())
        return largest, sum(memory(pid, "Pss", "smaps_rollup") for pid in server.family())


def _imports(place: Path, asked: list[bytes], report: Report) -> None:
    (place / "server.log").unlink()
    command = [sys.executable, "-X", "importtime", *hubreg_command(place / "data")]
    with running(command, place, clean_environment()) as server, Wire(server) as wire:
        for line in asked:
            wire.expect(line, 200)
    own: dict[str, int] = defaultdict(int)
    modules = 0
    for micros, _, module in _LINE.findall((place / "server.log").read_text()):
        own[module.partition(".")[0]] += int(micros)
        modules += 1
    unwanted = sorted(UNWANTED & own.keys())
    report.at_most(
        "client and scanning libraries loaded", len(unwanted), 0, "", ", ".join(unwanted) or "none"
    )
    standard = sys.stdlib_module_names
    outside = sorted((name for name in own if name not in standard), key=lambda name: -own[name])
    report.fact("modules loaded", f"{modules}, of them from outside the standard library:")
    for name in outside[:12]:
        report.fact(f"    {name}", f"{own[name] / 1000:.0f} ms to import")
    report.notes.append(
        "Import times are those under the interpreter's own stopwatch, which slows them down."
    )
    report.notes.append(f"Looked for: {' '.join(sorted(UNWANTED))}.")
