"""A live hubreg on loopback, and the unmodified clients that are run against it, each in its own process."""

import json
import os
import re
import secrets
import shutil
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".compat"
SCRIPTS = Path(__file__).resolve().parent / "clients"
GUARD_SOURCE = ROOT / "tests" / "conformance" / "netguard.c"

LISTENING = re.compile(r"hubreg is listening on (http://127\.0\.0\.1:\d+)")
CLIENT_SECONDS = 300
# datasets puts this before the host of HF_ENDPOINT, and goes on without an answer
OWN_ERRANDS = re.compile(r"datasets-server\.")


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the server's access log."""

    method: str
    path: str
    status: int
    user: str
    agent: str
    bytes: int
    received: int

    @classmethod
    def read(cls, line: dict[str, Any]) -> Self:
        received = line.get("received", 0)  # the announced length of the body that came with it
        return cls(
            line["method"], line["path"], line["status"], line["user"], line["agent"], line["bytes"], received
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class Requests(list[Request]):
    """What the server saw while one client ran, in the order in which it answered."""

    def matching(self, pattern: str) -> "Requests":
        """Those whose line `METHOD path status` holds the regular expression."""
        return Requests(request for request in self if re.search(pattern, str(request)))

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "(none)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client printed, and what it asked the server for."""

    value: Any
    output: str
    requests: Requests


class Hub:
    """`hubreg serve` as a subprocess, its access log, and accounts made through its command line."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "stderr.log"
        self.url = ""
        beside = Path(sys.executable).with_name("hubreg")
        self.executable = os.environ.get("COMPAT_EXECUTABLE", str(beside))
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [self.executable, "serve", "--data", str(self.data), "--port", "0"]
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := LISTENING.search(line):
                self.url = found[1]
                return
        raise AssertionError(f"hubreg did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait(30)

    def command(self, *args: str) -> str:
        """Run the command line on the data directory while the server runs."""
        done = subprocess.run(
            [self.executable, *args, "--data", str(self.data)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"hubreg {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def token(self, user: str, role: str = "write") -> str:
        """A new token, found in what the command prints: the one word that looks like a token."""
        printed = self.command("token", "create", user, "--role", role, "--name", secrets.token_hex(4))
        found = re.search(r"hf_[A-Za-z0-9]{34,}", printed)
        assert found, f"llama.cpp and others drop tokens of another form: {printed!r}"
        return found[0]

    @property
    def admin_token(self) -> str:
        return (self.data / "admin-token").read_text().strip()

    def settled(self) -> int:
        """Wait until everything answered so far is in the log; its length then."""
        mark = secrets.token_hex(8)
        with urllib.request.urlopen(f"{self.url}/api/agent-harnesses?mark={mark}") as response:
            response.read()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if f"mark={mark}".encode() in self.log.read_bytes():
                return self.log.stat().st_size
            time.sleep(0.02)
        raise AssertionError("the access log does not show a request that was answered")

    def seen(self, start: int) -> Requests:
        """The requests logged from `start` on, without the marks of `settled`."""
        lines = self.log.read_bytes()[start:].splitlines()
        records = [json.loads(line) for line in lines if line.startswith(b"{")]
        return Requests(Request.read(r) for r in records if "method" in r and "mark=" not in r["path"])


class Client:
    """One environment of `.compat` with a home of its own, so a cold cache, pointed at the server."""

    def __init__(
        self, hub: Hub, environment: Path, home: Path, guard: Path | None, token: str | None
    ) -> None:
        self.hub = hub
        self.environment = environment
        self.home = home
        self.blocked = home / "blocked.log"
        home.mkdir(parents=True)
        self.variables = {
            "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets would count on another host
            "HF_XET_CACHE": str(home / "xet"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "NO_COLOR": "1",
            "CLIENT_MODULES": str(environment),
        }
        if token:
            self.variables["HF_TOKEN"] = token
        if guard:
            self.variables |= {"LD_PRELOAD": str(guard), "HUBCONF_NETLOG": str(self.blocked)}

    def run(
        self, script: str, *args: str | Path, fails: bool = False, cwd: Path | None = None, **variables: str
    ) -> Answer:
        """Run one of `clients/`; its last line is its answer, as JSON."""
        program = ["node"] if script.endswith(".mjs") else [str(self.environment / "bin" / "python")]
        return self.command(*program, SCRIPTS / script, *args, fails=fails, cwd=cwd, **variables)

    def command(
        self, *words: str | Path, fails: bool = False, cwd: Path | None = None, **variables: str
    ) -> Answer:
        """Run a program of the environment; it must succeed, and the server must not break on it."""
        start = self.hub.settled()
        done = subprocess.run(
            [str(word) for word in words],
            env=self.variables | variables,
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CLIENT_SECONDS,
        )
        self.hub.settled()
        requests = self.hub.seen(start)
        story = f"{' '.join(map(str, words))}\n{done.stdout[-4000:]}\nrequests:\n{requests}"
        assert (done.returncode != 0) == fails, f"ended with {done.returncode}: {story}"
        broken = [request for request in requests if request.status >= 500 and request.status != 501]
        assert not broken, f"the server broke: {story}"
        assert not (elsewhere := self.sent_elsewhere()), f"sent elsewhere: {elsewhere}\n{story}"
        return Answer(last_json(done.stdout), done.stdout, requests)

    def sent_elsewhere(self) -> list[str]:
        """Hosts that the client was kept from, but for those that it would ask of its own accord."""
        lines = self.blocked.read_text().splitlines() if self.blocked.exists() else []
        return [host for line in lines if not OWN_ERRANDS.match(host := json.loads(line)["target"])]


def last_json(output: str) -> Any:
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except ValueError:
        return None


def build_guard(folder: Path) -> Path | None:
    """The shim that keeps native code on loopback; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "netguard.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, GUARD_SOURCE, "-ldl"], check=True)
    return library


def tensors(*files: Path) -> dict[str, str]:
    """SHA-256 of each tensor's bytes in safetensors files, read without any library."""
    found = {}
    for file in files:
        data = file.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        for name, facts in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                begin, end = facts["data_offsets"]
                found[name] = sha256(data[8 + length + begin : 8 + length + end]).hexdigest()
    return found


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, but for the clients' own bookkeeping."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(folder).as_posix() for path in files}
    hidden = (".cache/", ".git/", ".gitattributes")
    return {n: sha256(p.read_bytes()).hexdigest() for p, n in names.items() if not n.startswith(hidden)}


def require(wanted: Sequence[tuple[Path, str]]) -> str | None:
    """What is missing of (path, name) pairs, as a sentence; None when all is there."""
    missing = [name for path, name in wanted if not path.exists()]
    return f"missing: {', '.join(missing)}; make it with scripts/compat --setup-only" if missing else None
