"""The stand-in as a process: what it is filled with, and its remote control."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from tests.fakehub import Generated
from tests.fakehub.__main__ import size
from tests.fakehub.process import Process


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with Process(
        "--recorded", "--file", "bench/one/model.safetensors=3M", "--files", "bench/many=20x1000"
    ) as process:
        yield process


@pytest.fixture(autouse=True)
def healed(process: Process) -> None:
    process.clear()
    process.forget()


def test_it_serves_what_the_command_line_asks_for(process: Process) -> None:
    """A generated file, a repo of many small ones, the recorded repos; the ledger is asked from outside."""
    url = f"{process.url}/bench/one/resolve/main/model.safetensors"
    answer = httpx.get(url, follow_redirects=True)
    assert hashlib.sha256(answer.content).hexdigest() == Generated(3 << 20, 0).sha256
    assert len(httpx.get(f"{process.url}/api/models/bench/many/tree/main").json()) == 20
    assert httpx.get(f"{process.url}/api/models/openai-community/gpt2/refs").status_code == 200
    assert process.sent("model.safetensors", repo="bench/one") == 3 << 20
    assert [seen.kind for seen in process.seen()] == ["resolve", "content", "tree", "refs"]
    assert process.pid > 0


def test_it_is_broken_and_healed_from_outside(process: Process) -> None:
    """Faults are set over HTTP; the control does not show in the ledger."""
    url = f"{process.url}/api/models/bench/one"
    process.fail("/api/models/bench/one", 503, times=None)
    assert httpx.get(url).status_code == 503
    process.clear()
    assert httpx.get(url).status_code == 200
    assert len(process.seen()) == 2


def test_the_remote_control_does_what_it_is_for(process: Process) -> None:
    """Nothing else can be called through it."""
    with pytest.raises(AttributeError, match="stop"):
        process.stop()
    assert httpx.post(f"{process.url}/-stand-in-/__init__").status_code == 404


@pytest.mark.parametrize(
    ("text", "bytes_"), [("512", 512), ("64K", 65536), ("1.5G", 3 << 29), ("2m", 2 << 20)]
)
def test_sizes_are_written_in_binary_units(text: str, bytes_: int) -> None:
    """As `--file` takes them."""
    assert size(text) == bytes_
