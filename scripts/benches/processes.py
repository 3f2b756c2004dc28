"""
Processes under measurement: started, found by their line on stdout, read through /proc, ended by pid.

CPU time is what the kernel charged to the process and its children, user and system together. It says what a request
costs even when others use the machine, which wall time does not.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 30.0  # seconds for a process to start or to end


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers at `host:port`. `pid` is the process that was started; its children count with it."""

    pid: int
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return sum(_cpu(pid) for pid in self.family())

    def own_cpu(self) -> float:
        """The same of the process itself, without its children."""
        return _cpu(self.pid)

    def family(self) -> list[int]:
        """The process, its children, and theirs."""
        found = [self.pid]
        for pid in found:  # grows while it is walked
            found += _children(pid)
        return found

    def workers(self) -> list[int]:
        """Those that answer requests: its children, or the process itself where it has none."""
        return _children(self.pid) or [self.pid]

    def peak(self) -> int:
        """The most bytes that any one of its processes ever had in memory."""
        return max(memory(pid, "VmHWM") for pid in self.family())


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += map(int, (task / "children").read_text().split())
    return children


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int, name: str, file: str = "status") -> int:
    """A line of /proc/PID/status (VmRSS, VmHWM) or smaps_rollup (Pss), in bytes."""
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


# starting and ending


@contextmanager
def running(
    command: Sequence[str | Path], place: Path, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A process that says `... http://HOST:PORT` on stdout when it serves. Its log goes to a file in `place`."""
    log = place / "server.log"
    with open(log, "ab") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=env, text=True
        )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        host, _, port = line.strip().rpartition("//")[2].rpartition(":")
        if not port.isdigit():
            raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-2000:]}")
        yield Server(process.pid, host, int(port))
    finally:
        _end(process)


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def hubreg_command(data: Path, workers: int = 1) -> list[str | Path]:
    command = Path(sys.prefix) / "bin" / "hubreg"
    return [command, "serve", "--data", data, "--port", "0", "--workers", str(workers)]


def clean_environment(**settings: object) -> dict[str, str]:
    """This process's, with these settings of hubreg and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUBREG_")}
    return kept | {f"HUBREG_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def hubreg(place: Path, *, workers: int = 1, **settings: object) -> Iterator[Server]:
    """
    `hubreg serve` as it is installed, on a data directory in `place`, access log on. It indexes nothing for Xet beside
    what is measured, unless it is told to.
    """
    place.mkdir(exist_ok=True)
    command = hubreg_command(place / "data", workers)
    with running(command, place, clean_environment(**{"xet_index": False, **settings})) as server:
        yield server


@contextmanager
def nginx(place: Path, root: Path) -> Iterator[Server]:
    """nginx with one worker and sendfile, serving the files under `root`."""
    program = installed("nginx", "nginx-light")
    place.mkdir(exist_ok=True)
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;\n"
        "events { worker_connections 512; }\n"
        f"http {{ access_log {place}/access.log; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f"  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;\n"
        f"  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    command = [program, "-p", str(place), "-c", f"{place}/nginx.conf", "-e", f"{place}/error.log"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process, place / "error.log")
        yield Server(process.pid, "127.0.0.1", port)
    finally:
        _end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit(f"nginx did not start:\n{log.read_text()[-2000:] if log.exists() else ''}")


def installed(program: str, package: str) -> str:
    """Where a program is; on Debian, as root, installed when it is missing."""
    where = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if shutil.which(program, path=where) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], check=True)
    found = shutil.which(program, path=where)
    if found is None:
        raise SystemExit(f"{program} is missing: install it ({package} on Debian).")
    return found


# clients, in processes of their own: what they do must not wait for what the bench does


class Apart(Generic[T]):
    """A call in a process of its own. `result` waits for it; leaving the block ends it."""

    def __init__(self, function: Callable[..., T], *args: object) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_call, args=(theirs, function, args), daemon=True)
        self._process.start()
        theirs.close()

    def result(self) -> T:
        good, value = self._ours.recv()
        self._process.join()
        if not good:
            raise SystemExit(f"a client failed: {value}")
        return cast("T", value)

    def stop(self) -> None:
        """Tell the function, which watches its `Connection`, that it is enough."""
        self._ours.send(None)

    def __enter__(self) -> Apart[T]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()
        self._ours.close()


def _call(theirs: Connection, function: Callable[..., object], args: tuple[object, ...]) -> None:
    try:
        answer = True, function(theirs, *args)
    except BaseException as error:
        answer = False, f"{type(error).__name__}: {error}"
    theirs.send(answer)
