"""
Upload of 1 GiB by LFS: in one body and in parts, by a raw client and by huggingface_hub, one and 8 at once.

Each way has a server and a data directory of its own, so that the peak memory is that way's. Beside it stands what
`sha256sum`, `cp` and `sync` take for the same bytes: a server reads them off a socket instead of a file, and does the
rest. huggingface_hub is taken from this environment, or from those that `scripts/compat` makes.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from scripts.benches.content import MIB, Bulk, Hub
from scripts.benches.processes import ROOT, Apart, Server, clean_environment, hubreg
from scripts.benches.report import Report

AT_ONCE = 8
GB = 1e9
MOST_MEMORY = 200  # MB of 10**6 bytes

_CLIENT = """
import sys
from huggingface_hub import HfApi
HfApi().upload_file(path_or_fileobj=sys.argv[1], path_in_repo="model.safetensors", repo_id=sys.argv[2])
"""


_HASH = [sys.executable, "-c", "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One way to upload, once."""

    cost: float  # CPU s/GB of the server
    rate: float  # GB/s, all clients together
    peak: int  # bytes of memory


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    size = (32 if quick else 1024) * MIB
    rounds = rounds or (1 if quick else 3)
    files = [Bulk(size, seed) for seed in range(AT_ONCE)]
    for bulk in files:
        _ = bulk.sha256  # not while something is measured
    on_disk = place / "model.safetensors"
    files[0].write(on_disk)
    python = _python_with_client()
    ways: dict[str, Callable[[], Turn]] = {}
    for name, multipart_from in (("basic", size + 1), ("multipart", 1)):
        ways[f"{name}, raw client"] = partial(_raw, place / "raw", files[:1], name, multipart_from)
        ways[f"{name}, {AT_ONCE} raw clients at once"] = partial(
            _raw, place / "raw", files, name, multipart_from
        )
        if python:
            ways[f"{name}, huggingface_hub"] = partial(
                _stock, place / "stock", on_disk, python, multipart_from
            )
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    tools: dict[str, Callable[[], float]] = {
        "sha256sum + cp + sync": partial(_by_tools, on_disk, place / "copy", ["sha256sum"], 1),
        "sha256 of Python + cp + sync": partial(_by_tools, on_disk, place / "copy", _HASH, 1),
        f"the same, {AT_ONCE} at once": partial(_by_tools, on_disk, place / "copy", _HASH, AT_ONCE),
    }
    costs: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, tool in tools.items():
            costs[name].append(tool())
        for name, way in ways.items():
            turns[name].append(way())
    return _report(size, rounds, turns, costs, bool(python))


def _python_with_client() -> str:
    """An interpreter that has huggingface_hub; "" where there is none."""
    others = [ROOT / ".compat" / name / "bin" / "python" for name in ("venv-new", "venv-mid")]
    for python in (Path(sys.executable), *filter(Path.exists, others)):
        if subprocess.run([python, "-c", "import huggingface_hub"], capture_output=True).returncode == 0:
            return str(python)
    return ""


# ways


def _raw(place: Path, files: Sequence[Bulk], transfer: str, multipart_from: int) -> Turn:
    with hubreg(place, multipart_from=multipart_from) as server, Hub(server, place) as hub:
        repo = hub.create("taken")
        began, before = time.perf_counter(), server.cpu()
        with ExitStack() as stack:
            clients = [stack.enter_context(Apart(_send, server, place, repo, bulk)) for bulk in files]
            chosen = {client.result() for client in clients}
        turn = _turn(server, began, before, sum(bulk.size for bulk in files))
        if chosen != {transfer}:
            raise SystemExit(f"the server chose {chosen}, not {transfer}")
        hub.commit(repo, {}, {f"{number}.safetensors": bulk for number, bulk in enumerate(files)})
    shutil.rmtree(place)
    return turn


def _send(_: Connection, server: Server, place: Path, repo: str, bulk: Bulk) -> str:
    with Hub(server, place) as hub:
        return hub.send(repo, bulk, ("basic", "multipart"))


def _stock(place: Path, file: Path, python: str, multipart_from: int) -> Turn:
    with hubreg(place, multipart_from=multipart_from) as server, Hub(server, place) as hub:
        repo = hub.create("taken")
        env = clean_environment() | {
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": hub.token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(place / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        began, before = time.perf_counter(), server.cpu()
        subprocess.run(
            [python, "-c", _CLIENT, str(file), repo], env=env, check=True, stdout=subprocess.DEVNULL
        )
        turn = _turn(server, began, before, file.stat().st_size)
    shutil.rmtree(place)
    return turn


def _turn(server: Server, began: float, before: float, size: int) -> Turn:
    took = time.perf_counter() - began
    return Turn((server.cpu() - before) / size * GB, size / took / GB, server.peak())


# the same bytes without a server


def _by_tools(file: Path, copy: Path, hashing: Sequence[str | Path], count: int) -> float:
    """CPU s/GB of hashing a file, copying it and syncing the copy, `count` times at once."""
    before = _cpu_of_children()
    copies = [copy.with_suffix(f".{number}") for number in range(count)]
    script = '"$@" >/dev/null && cp --reflink=never "$FROM" "$TO" && sync "$TO"'
    command = ["sh", "-c", script, "sh", *hashing, file]
    running = [
        subprocess.Popen(command, env=os.environ | {"FROM": str(file), "TO": str(to)}) for to in copies
    ]
    if sum(abs(process.wait()) for process in running):
        raise SystemExit(f"{hashing[0]}, cp or sync failed")
    used = _cpu_of_children() - before
    for to in copies:
        to.unlink()
    return used / count / file.stat().st_size * GB


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _report(
    size: int, rounds: int, turns: dict[str, list[Turn]], tools: dict[str, list[float]], has_client: bool
) -> Report:
    report = Report(f"upload: {size // MIB} MiB by LFS, one worker, median of {rounds} rounds")
    for name, costs in tools.items():
        report.fact(name, f"{median(costs):.2f} CPU s/GB")
    for name, found in turns.items():
        cost, rate = median(turn.cost for turn in found), median(turn.rate for turn in found)
        peak = max(turn.peak for turn in found) / 1e6
        shown = f"peak {peak:.0f} MB, {cost:.2f} CPU s/GB, {rate:.2f} GB/s"
        report.at_most(name, peak, MOST_MEMORY, " MB", shown)
    if not has_client:
        report.notes.append(
            "huggingface_hub is not here: scripts/compat --setup-only venv-new makes an environment."
        )
    report.notes.append("The peak is the highest of all rounds. Rates are those of the clients and the disk.")
    return report
