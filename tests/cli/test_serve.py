"""`hubreg serve`, as a process: how it starts, what it says, how it stops."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pytest
from typer.testing import Result

from hubreg.cli.serving import is_exposed
from hubreg.config import Config

Hubreg = Callable[..., Result]
Serve = Callable[..., "Server"]


class Server:
    """`hubreg serve` on a free port, once it listens."""

    def __init__(self, data: Path, log: Path, *flags: str) -> None:
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command(data, *flags), stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        self.line = self._output().readline()
        if not self.line:
            self.end()
            pytest.fail(log.read_text())
        self.url = urlsplit(self.line.split()[-1])

    def _output(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def get(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=10)
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse()

    def log_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(20)
        assert self._output().read() == "", "more on stdout than the one line"
        self.end()
        return status

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._output().close()


def command(data: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "hubreg", "serve", "--data", str(data), "--port", "0", *flags]


def refused(data: Path, *flags: str) -> str:
    """What a server that does not start says on stderr."""
    done = subprocess.run(command(data, *flags), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.fixture
def serve(data: Path, tmp_path: Path) -> Iterator[Serve]:
    """Starts servers on `data`; whatever is left at the end is killed."""
    servers: list[Server] = []

    def start(*flags: str) -> Server:
        servers.append(Server(data, tmp_path / f"log-{len(servers)}", *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


def test_a_first_start(serve: Serve, data: Path) -> None:
    """It makes the directory, serves, tells the administrator's token in the log once, and keeps it."""
    server = serve()
    assert re.fullmatch(r"hubreg is listening on http://127\.0\.0\.1:\d+\n", server.line)
    assert server.get("/api/agent-harnesses").status == 200
    assert server.stop() == 0
    token = (data / "admin-token").read_text().strip()
    assert [line["token"] for line in server.log_lines() if "token" in line] == [token]
    assert {path.stat().st_mode & 0o077 for path in data.iterdir()} == {0}, "somebody else may read the data"

    again = serve()
    assert again.get("/api/agent-harnesses").status == 200
    assert again.stop(signal.SIGINT) == 0
    assert token not in again.log.read_text()


def test_commands_work_while_the_server_runs(serve: Serve, hubreg: Hubreg) -> None:
    """A token that is made beside a running server opens it at once, in every worker; a revoked one no more."""
    server = serve("--workers", "2")
    assert hubreg("user", "add", "alice").exit_code == 0
    token = hubreg("token", "create", "alice", "--role", "write", "--name", "laptop").stdout.strip()

    def who() -> tuple[int, object]:
        connection = http.client.HTTPConnection(server.url.hostname or "", server.url.port, timeout=10)
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        connection.request("GET", "/api/whoami-v2", headers=headers)
        with connection.getresponse() as response:
            return response.status, json.load(response).get("name")

    assert {who() for _ in range(8)} == {(200, "alice")}
    for words in ("token revoke alice laptop", "token create alice --role read --name laptop"):
        assert hubreg(*words.split()).exit_code == 0
        assert {who() for _ in range(8)} == {(401, None)}


def test_a_second_server_is_refused(serve: Serve, data: Path) -> None:
    """On one data directory, in one sentence, which names the process that is in the way."""
    server = serve()
    said = refused(data)
    assert said.startswith(
        f"hubreg: Another hubreg (process {server.process.pid}) holds the data directory {data}."
    )
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_server_makes_way(serve: Serve, workers: str) -> None:
    """After SIGKILL, which takes no lock file away, the next start serves."""
    serve("--workers", workers).process.kill()
    deadline = time.monotonic() + 5
    while True:  # orphaned workers notice at once, and then still have to end
        try:
            assert serve().stop() == 0
        except pytest.fail.Exception:
            if time.monotonic() > deadline:
                raise
        else:
            return


def test_newer_data_is_refused(data: Path, hubreg: Hubreg) -> None:
    """A data directory that a newer hubreg wrote is not touched."""
    hubreg("user", "list")
    connection = sqlite3.connect(data / "hubreg.db")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    assert refused(data).startswith("hubreg: This data directory has schema 9999, written by a newer hubreg")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--workers", "0"), "hubreg: workers must be at least 1, not 0."),
        (("--port", "70000"), "hubreg: port must be 0 to 65535, not 70000."),
        (
            ("--public-url", "hub.example.org"),
            "hubreg: public_url must be a plain http(s) URL, not 'hub.example.org'.",
        ),
        (("--trusted-proxies", "10.0.0.0/99"), "hubreg: trusted_proxies: "),
        (("--ssl-certfile", "cert.pem"), "hubreg: ssl_certfile and ssl_keyfile are needed together."),
        (
            ("--ssl-certfile", "no.pem", "--ssl-keyfile", "no.pem"),
            "hubreg: The certificate no.pem cannot be read: ",
        ),
        (("--host", "no.such.host.invalid"), "hubreg: Cannot listen on no.such.host.invalid"),
        (("--config", "no.toml"), "hubreg: The configuration file no.toml cannot be read"),
    ],
)
def test_settings_that_do_not_work_are_refused(data: Path, flags: tuple[str, ...], said: str) -> None:
    """In one sentence, before anything listens."""
    assert refused(data, *flags).splitlines()[-1].startswith(said)


def test_settings_come_from_file_environment_and_flags(data: Path, tmp_path: Path) -> None:
    """The flag beats the variable, which beats the file."""
    file = tmp_path / "hubreg.toml"
    file.write_text("workers = 0\nport = 70000\n")
    environment = os.environ | {"HUBREG_WORKERS": "-1", "HUBREG_PORT": "70001"}
    done = subprocess.run(
        command(data, "--config", str(file)), env=environment, capture_output=True, text=True, timeout=20
    )
    assert done.stderr == "hubreg: workers must be at least 1, not -1.\n"


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_refused(data: Path) -> None:
    """With the port, and what is probably wrong."""
    with taken_port() as port:
        assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in refused(
            data, "--port", str(port)
        )


@pytest.mark.parametrize(
    ("config", "exposed"),
    [
        (Config(), False),
        (Config(host="localhost"), False),
        (Config(host="::1"), False),
        (Config(host="0.0.0.0"), True),
        (Config(host="hub.example.org"), True),
        (Config(host="0.0.0.0", ssl_certfile="c", ssl_keyfile="k"), False),
        (Config(host="0.0.0.0", trusted_proxies="10.0.0.1"), False),
        (Config(host="0.0.0.0", public_url="https://hub.example.org"), False),
        (Config(host="0.0.0.0", public_url="http://hub.example.org"), True),
    ],
)
def test_who_is_warned(config: Config, exposed: bool) -> None:
    """Whoever serves others in the clear is told, unless the settings speak of TLS or of a proxy."""
    assert is_exposed(config) is exposed


def test_the_warning_is_in_the_log(serve: Serve) -> None:
    """One line of JSON like every other, so that a log reader need not skip text."""
    server = serve("--host", "0.0.0.0")
    assert server.stop() == 0
    assert any("tokens travel in the clear" in str(line["message"]) for line in server.log_lines())


def test_a_start_is_quick(serve: Serve, hubreg: Hubreg) -> None:
    """A migrated data directory answers within 1.2 s. The best of three: a busy machine is no slow program."""
    hubreg("user", "list")
    seconds = []
    for _ in range(3):
        server = serve()
        assert server.get("/health").status == 200
        seconds.append(time.monotonic() - server.started)
        assert server.stop() == 0
    assert min(seconds) < 1.2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_idle_worker_is_small(serve: Serve, workers: str) -> None:
    """It takes less than 100 MB, all that it shares with others counted."""
    server = serve("--workers", workers)
    assert server.get("/api/models").status == 200
    pids = [server.process.pid, *map(int, children(server.process.pid))]
    assert len(pids) == (1 if workers == "1" else 3)
    for pid in pids:
        resident = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]
        assert int(resident) < 100_000


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
