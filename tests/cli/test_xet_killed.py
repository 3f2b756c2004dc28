"""A server as a process, and clients of its Xet side that end in the middle or come at the same time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hubreg.store.layout import Layout
from tests.xet_client import package, some

SENT = package(some(9_000_000))
[XORB] = SENT.xorbs
PATIENCE = 20.0  # seconds


class Cas:
    """The content-addressed side of a live server, for `admin/model`."""

    def __init__(self, data: Path, line: str) -> None:
        self.layout, self.url = Layout(data), urlsplit(line.split()[-1])
        admin = {"Authorization": f"Bearer {self.layout.admin_token.read_text().strip()}"}
        body = json.dumps({"name": "model"}).encode()
        assert self._send("POST", "/api/repos/create", body, admin).status == 200
        answer = self._send("GET", "/api/models/admin/model/xet-write-token/main", b"", admin)
        facts = json.loads(answer.read())
        self.path, self.token = (
            urlsplit(facts["casUrl"]).path,
            {"Authorization": f"Bearer {facts['accessToken']}"},
        )

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HTTPResponse:
        connection = HTTPConnection(self.url.hostname or "", self.url.port, timeout=PATIENCE)
        connection.request(method, path, body, {**headers, "Connection": "close"})
        return connection.getresponse()

    def post(self, path: str, body: bytes) -> Any:
        answer = self._send("POST", self.path + path, body, self.token)
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())

    def is_here(self) -> bool:
        path = f"{self.path}/v1/xorbs/default/{XORB.name}"
        return self._send("HEAD", path, b"", self.token).status == 200

    def head(self) -> bytes:
        """Of a request that sends the xorb."""
        return (
            f"POST {self.path}/v1/xorbs/default/{XORB.name} HTTP/1.1\r\nHost: hub\r\n"
            f"Authorization: {self.token['Authorization']}\r\nContent-Length: {len(XORB.body)}\r\n\r\n"
        ).encode()

    def files(self) -> list[Path]:
        places = (self.layout.xorbs, self.layout.incoming)
        return [path for place in places for path in place.rglob("*") if path.is_file()]

    def settled(self) -> None:
        """Wait until nothing is left of what was on its way."""
        deadline = time.monotonic() + PATIENCE
        while self.files() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.files() == []


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cas]:
    place = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "hubreg", "serve", "--data", str(place / "data"), "--port", "0"]
    with open(place / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert server.stdout is not None
    try:
        yield Cas(place / "data", server.stdout.readline())
    finally:
        server.terminate()
        server.wait(PATIENCE)
        server.stdout.close()


@pytest.mark.parametrize("part", [0, 7, 300_000, 5_000_000, len(XORB.body) - 1])
def test_a_client_that_leaves_in_the_middle_of_a_xorb(cas: Cas, part: int) -> None:
    """Nothing is published, and nothing left behind."""
    with socket.create_connection((cas.url.hostname, cas.url.port)) as connection:
        connection.sendall(cas.head() + XORB.body[:part])
    cas.settled()
    assert not cas.is_here()


def test_a_client_that_is_killed_in_the_middle_of_a_xorb(cas: Cas) -> None:
    """SIGKILL, while it would go on sending."""
    program = (
        "import socket, sys, time\n"
        "body = sys.stdin.buffer.read()\n"
        f"connection = socket.create_connection(({cas.url.hostname!r}, {cas.url.port}))\n"
        "connection.sendall(body)\n"
        "print('sent', flush=True)\n"
        "time.sleep(60)\n"
    )
    client = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(cas.head() + XORB.body[:4_000_000])
    client.stdin.close()
    assert client.stdout.readline() == b"sent\n"
    deadline = time.monotonic() + PATIENCE
    while not cas.files() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert cas.files(), "it was not under way"
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    client.stdout.close()
    cas.settled()
    assert not cas.is_here()


def test_the_same_xorb_by_several_at_once(cas: Cas) -> None:
    """Each is answered, one is told that it was new, one file is kept, and the shard of either is taken."""
    path = f"/v1/xorbs/default/{XORB.name}"
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: cas.post(path, XORB.body), range(4)))
    assert sorted(answer["was_inserted"] for answer in answers) == [False, False, False, True]
    [file] = cas.files()
    assert file.read_bytes() == XORB.body
    assert cas.post("/v1/shards", SENT.shard) == {"result": 1}
