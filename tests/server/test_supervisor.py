"""Processes: from start to an orderly end, and every disorderly one."""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from hubreg.errors import Unusable
from hubreg.server.supervisor import bind, url

SERVER = Path(__file__).with_name("small_server.py")
PEM = Path(__file__).with_name("localhost.pem")
CONTENT = random.Random(6).randbytes(20_000_000)
PATIENCE = 10.0


class Started:
    """A server in a process of its own, its output in files."""

    def __init__(self, directory: Path, *, limits: str = "", **settings: Any) -> None:
        """`limits` are what `ulimit` sets first."""
        under = ["sh", "-c", f'ulimit {limits} && exec "$0" "$@"'] if limits else []
        self.directory = directory
        self.errors = directory / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*under, sys.executable, str(SERVER), str(directory), json.dumps(settings)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def announced(self) -> str:
        """The first line on stdout: where it listens, or why not."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "the server says nothing"
        return self.process.stdout.readline().rstrip("\n")

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged. Every line is JSON."""
        return [json.loads(line) for line in self.errors.read_text().splitlines()]

    def complete(self, workers: int) -> None:
        """Until all of its workers serve: one that is stopped before has nothing to end."""
        wait_for(lambda: self.lives().count("began") == workers)

    def lives(self) -> list[str]:
        lives = self.directory / "lives"
        return [line.split()[0] for line in lives.read_text().splitlines()] if lives.exists() else []

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts servers, and sees that they end."""
    (tmp_path / "file").write_bytes(CONTENT)
    started: list[Started] = []

    def start(**settings: Any) -> Started:
        started.append(Started(tmp_path, **settings))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def port(server: Started) -> int:
    match = re.fullmatch(r"hubreg is listening on http://127\.0\.0\.1:(\d+)", server.announced())
    assert match, server.errors.read_text()
    return int(match[1])


def get(port: int, path: str = "/") -> bytes:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


class SlowReader:
    """A download that stops after its head until somebody reads on."""

    def __init__(self, port: int, path: str = "/file") -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
        if path == "/file":
            self.file = self.sock.makefile("rb")
            while self.file.readline() != b"\r\n":
                pass

    def rest(self) -> bytes:
        return self.file.read(len(CONTENT))

    def close(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
        self.sock.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def refuses(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return False
    return True


both = pytest.mark.parametrize("workers", [1, 2])


# starting


@both
def test_it_says_where_it_listens_and_serves(start: Callable[..., Started], workers: int) -> None:
    """One line on stdout once somebody serves; one signal later it has ended in good order."""
    server = start(workers=workers)
    number = port(server)
    assert get(number, "/file") == CONTENT
    server.complete(workers)
    server.process.terminate()
    assert server.ended() == 0
    assert server.lives().count("began") == server.lives().count("ended") == workers
    assert refuses(number)


@both
def test_a_port_in_use(start: Callable[..., Started], workers: int) -> None:
    """It is said before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start(workers=workers, port=taken.getsockname()[1])
        assert re.match(
            r"refused: Cannot listen on 127\.0\.0\.1:\d+: Address already in use", server.announced()
        )
        assert server.ended() == 2
    assert server.lives() == []


def test_an_application_that_refuses_to_start(start: Callable[..., Started], tmp_path: Path) -> None:
    """Alone it raises what the application said."""
    (tmp_path / "fails").write_text("refuses")
    server = start(workers=1)
    assert server.announced() == "refused: The cellar is full of water. Pump it out."
    assert server.ended() == 2


def test_workers_that_refuse_to_start(start: Callable[..., Started], tmp_path: Path) -> None:
    """What stops the first one will stop the next: the server ends, and the log says why in one line each."""
    (tmp_path / "fails").write_text("refuses")
    server = start(workers=2)
    assert server.ended() == 1
    said = {line["message"] for line in server.lines() if line["logger"] == "hubreg.server"}
    assert said == {"The cellar is full of water. Pump it out."}


@both
def test_an_application_with_a_bug(start: Callable[..., Started], tmp_path: Path, workers: int) -> None:
    """The server ends, and the log has the traceback."""
    (tmp_path / "fails").write_text("breaks")
    server = start(workers=workers)
    assert server.ended() == 1
    assert any("LookupError: a bug" in line["message"] + line.get("traceback", "") for line in server.lines())


def test_a_certificate_that_is_none(start: Callable[..., Started], tmp_path: Path) -> None:
    """It is a refusal like any other, and names the file."""
    server = start(ssl_certfile=str(tmp_path / "file"), ssl_keyfile=str(tmp_path / "file"))
    assert server.announced().startswith(f"refused: {tmp_path / 'file'} is no certificate in PEM, or ")
    assert server.ended() == 2


@pytest.mark.parametrize("missing", ["ssl_certfile", "ssl_keyfile"])
def test_a_certificate_that_is_missing(start: Callable[..., Started], tmp_path: Path, missing: str) -> None:
    """Which of the two files it is, is said."""
    server = start(**{"ssl_certfile": str(PEM), "ssl_keyfile": str(PEM), missing: str(tmp_path / "none.pem")})
    what = {"ssl_certfile": "certificate", "ssl_keyfile": "private key"}[missing]
    said = f"refused: The {what} {tmp_path / 'none.pem'} cannot be read: No such file or directory."
    assert server.announced().startswith(said)
    assert server.ended() == 2


def test_tls(start: Callable[..., Started]) -> None:
    """With a certificate the URL is https, and the answers are the same."""
    server = start(ssl_certfile=str(PEM), ssl_keyfile=str(PEM), workers=2)
    match = re.fullmatch(r"hubreg is listening on https://127\.0\.0\.1:(\d+)", server.announced())
    assert match
    context = ssl.create_default_context(cafile=str(PEM))
    with (
        socket.create_connection(("127.0.0.1", int(match[1])), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        sock.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert received.partition(b"\r\n\r\n")[2] == CONTENT


# stopping


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_transfer_under_way_is_finished(
    start: Callable[..., Started], workers: int, number: signal.Signals
) -> None:
    """After the signal nobody new is served, and who is being served gets everything."""
    server = start(workers=workers)
    at = port(server)
    reader = SlowReader(at)
    server.complete(workers)
    server.process.send_signal(number)
    wait_for(lambda: refuses(at))
    assert server.process.poll() is None
    assert reader.rest() == CONTENT
    assert server.ended() == 0
    assert server.lives().count("ended") == workers
    reader.close()


@both
def test_the_second_signal_ends_it_at_once(start: Callable[..., Started], workers: int) -> None:
    """Nobody waits for a client that takes nothing; the application is still told."""
    server = start(workers=workers, graceful_seconds=3600)
    at = port(server)
    reader = SlowReader(at)
    server.process.terminate()
    wait_for(lambda: refuses(at))
    server.process.terminate()
    assert server.ended() == 0
    assert len(reader.rest()) < len(CONTENT)
    reader.close()


@both
@pytest.mark.parametrize("path", ["/file", "/hang"])
def test_patience_has_an_end(start: Callable[..., Started], tmp_path: Path, workers: int, path: str) -> None:
    """A transfer or a request that does not end in the time for it is cut; the application ends in order."""
    server = start(workers=workers, graceful_seconds=0.2)
    at = port(server)
    reader = SlowReader(at, path)
    if path == "/hang":
        wait_for((tmp_path / "hanging").exists)
    server.complete(workers)
    server.process.terminate()
    assert server.ended() == 0
    assert server.lives().count("ended") == workers
    reader.close()


def test_it_has_as_many_descriptors_as_it_may(start: Callable[..., Started]) -> None:
    """What the shell gives to old programs is raised to what the machine allows."""
    server = start(limits="-Sn 256")
    assert get(port(server)) == b"%d" % server.process.pid
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    found = re.search(r"Max open files +(\d+) +(\d+)", limits)
    assert found
    assert found[1] == found[2] != "256"


def test_downloads_with_few_descriptors(start: Callable[..., Started]) -> None:
    """All that are let in get their file, also those for which the pump has none; the others are told to come back."""
    server = start(limits="-n 600")
    at = port(server)
    readers = [SlowReader(at) for _ in range(150)]
    try:
        assert get(at) == b"%d" % server.process.pid
        for reader in (readers[0], readers[-1]):
            assert reader.rest() == CONTENT
        readers += [SlowReader(at, "/hang") for _ in range(10)]
        with closing(HTTPConnection("127.0.0.1", at, timeout=PATIENCE)) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().status == 503
    finally:
        for reader in readers:
            reader.close()
    assert get(at) == b"%d" % server.process.pid
    assert not [line for line in server.lines() if line.get("level") == "error"]


def test_a_connection_that_is_kept_does_not_hold_up_the_end(start: Callable[..., Started]) -> None:
    """It is closed: nothing is under way on it."""
    server = start(graceful_seconds=3600)
    with closing(HTTPConnection("127.0.0.1", port(server), timeout=PATIENCE)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        server.process.terminate()
        assert server.ended() == 0


# workers


def test_a_worker_that_dies_is_replaced(start: Callable[..., Started]) -> None:
    """Another one takes its place, the log says so, and the end is as orderly as ever."""
    server = start(workers=2)
    at = port(server)
    first = int(get(at))
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: any(f"worker {first} ended" in line.get("message", "") for line in server.lines()))
    wait_for(lambda: server.lives().count("began") == 3)
    assert int(answer(at)) != first
    server.process.terminate()
    assert server.ended() == 0
    assert server.lives().count("ended") == 2


def answer(at: int) -> bytes:
    """An answer; a connection that was the dead worker's ends without one, and is tried again."""
    for _ in range(100):
        with suppress(OSError, HTTPException):
            return get(at)
        time.sleep(0.01)
    raise AssertionError("nobody answers")


def test_workers_whose_parent_was_killed_end_too(start: Callable[..., Started]) -> None:
    """They let transfers finish, as after a signal, and leave the port."""
    server = start(workers=2)
    at = port(server)
    reader = SlowReader(at)
    server.complete(2)
    server.process.kill()
    server.ended()
    wait_for(lambda: refuses(at))
    assert reader.rest() == CONTENT
    wait_for(lambda: server.lives().count("ended") == 2)
    reader.close()


@both
def test_one_line_a_request(start: Callable[..., Started], workers: int) -> None:
    """Whichever worker answers, the log has a line for each request, whole, and nothing else."""
    server = start(workers=workers)
    at = port(server)
    answered = [get(at, f"/?n={n}&token=SECRET") for n in range(50)]
    assert len(set(answered)) <= workers
    server.process.terminate()
    assert server.ended() == 0
    paths = sorted(
        (line["path"] for line in server.lines()), key=lambda path: int(path[4:].partition("&")[0])
    )
    assert paths == [f"/?n={n}&token=***" for n in range(50)]


def test_the_log_can_be_switched_off(start: Callable[..., Started]) -> None:
    """Then there is nothing on stderr but what goes wrong."""
    server = start(access_log=False)
    get(port(server))
    server.process.terminate()
    assert server.ended() == 0
    assert server.lines() == []


# the socket


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "256.256.256.256"])
def test_a_host_that_is_none(host: str) -> None:
    """It is named in the refusal."""
    with pytest.raises(Unusable, match=re.escape(f"Cannot listen on {host}")):
        bind(host, 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", r"http://127\.0\.0\.1:\d+"),
        ("localhost", r"http://127\.0\.0\.1:\d+"),
        ("", r"http://0\.0\.0\.0:\d+"),
    ],
)
def test_where_it_listens(host: str, expected: str) -> None:
    """A name is its IPv4 address where it has one; no host is every address."""
    with closing(bind(host, 0)) as listener:
        assert re.fullmatch(expected, url(listener, tls=False))


def test_where_it_listens_on_ipv6() -> None:
    """The address is in brackets."""
    try:
        listener = bind("::1", 0)
    except Unusable:
        pytest.skip("this machine has no IPv6")
    with closing(listener):
        assert re.fullmatch(r"https://\[::1\]:\d+", url(listener, tls=True))
