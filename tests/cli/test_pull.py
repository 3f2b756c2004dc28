"""`hubreg mirror pull`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.fakehub import FakeHub, Generated, Repo, lfs

Hubreg = Callable[..., Result]
Answered = Callable[..., Any]

NAME = "Org/Model"
BIG = Generated(3_000_000, 5)


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
def model(fake: FakeHub, answered: Answered) -> Repo:
    """Of an upstream that is mirrored; its files are nowhere else."""
    repo = fake.model(NAME)
    repo.commit({"README.md": b"hello", "data/a.bin": lfs(b"weights"), "empty": b""})
    answered("mirror", "add", "hub", fake.url, "--host", "127.0.0.2")
    return repo


def stored(data: Path, digest: str) -> Path:
    return data / "blobs" / digest[:2] / digest


def test_what_was_pulled_is_here(
    answered: Answered, hubreg: Hubreg, data: Path, fake: FakeHub, model: Repo
) -> None:
    """Every file once; the second time none of them, by the branch, the tag's commit, and without upstream."""
    model.commit({"big.bin": BIG, "again.bin": BIG})
    first = answered("mirror", "pull", NAME)
    size = 5 + 7 + 2 * BIG.size
    assert first == {
        "repo": NAME, "type": "model", "revision": "main", "commit": model.head(), "files": 5, "bytes": size,
        "fetched_files": 3, "fetched_bytes": size - BIG.size, "failed_files": 0,
    }  # fmt: skip
    assert stored(data, BIG.sha256).stat().st_size == BIG.size
    sent = fake.sent("big.bin") + fake.sent("again.bin")
    assert sent == BIG.size
    again = answered("mirror", "pull", NAME, "--revision", model.head())
    assert (again["fetched_files"], fake.sent("big.bin") + fake.sent("again.bin")) == (0, sent)
    said = hubreg("mirror", "pull", NAME)
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == (f"{NAME} at {model.head()} is here: 5 files, {size:,} bytes; 0 were fetched.\n")
    assert answered("mirror", "status")["files"] == 3


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--include", "*.md"], 1),
        (["--include", "data/"], 1),
        (["--include", "*.md", "--include", "*.bin"], 2),
        (["--exclude", "*.bin"], 2),
        (["--include", "*", "--exclude", "data/", "--exclude", "empty"], 1),
    ],
)
def test_some_files(answered: Answered, model: Repo, words: list[str], files: int) -> None:
    """By patterns as `hf download` has them."""
    assert answered("mirror", "pull", NAME, *words)["files"] == files


def test_a_dataset(answered: Answered, fake: FakeHub, model: Repo) -> None:
    """Of another type, by another branch than main."""
    fake.dataset(NAME).commit({"rows.csv": b"a,b"})
    pulled = answered("mirror", "pull", NAME, "--type", "dataset")
    assert (pulled["type"], pulled["fetched_bytes"]) == ("dataset", 3)


def test_files_that_fail_are_told_and_the_others_are_here(
    hubreg: Hubreg, data: Path, fake: FakeHub, model: Repo
) -> None:
    """Status 1 and a sentence for each of them; the next pull fetches what is missing."""
    model.commit({"big.bin": BIG})
    fake.flip("big.bin", 0.5)
    failed = hubreg("mirror", "pull", NAME)
    assert failed.exit_code == 1
    assert failed.stderr == (
        "hubreg: big.bin: The upstream sent other bytes than it said. Nothing of them was kept.\n"
    )
    assert "is here but for 1 files: 4 files" in failed.stdout
    assert not stored(data, BIG.sha256).exists()
    fake.fail("big.bin", 404, times=None)
    told = hubreg("mirror", "pull", NAME, "--json")
    assert (told.exit_code, json.loads(told.stdout)["failed_files"]) == (1, 1)
    assert json.loads(told.stderr)["path"] == "big.bin"
    fake.clear()
    assert hubreg("mirror", "pull", NAME).exit_code == 0
    assert stored(data, BIG.sha256).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Org/None"], "No upstream that is asked for it has a model Org/None."),
        (["../x"], "No upstream that is asked for it has a model ../x."),
        ([NAME, "--type", "dataset"], "No upstream that is asked for it has a dataset"),
        ([NAME, "--revision", "v9"], "Invalid rev id: v9"),
        ([NAME, "--revision", "0" * 40], "Invalid rev id: 000"),
        ([NAME, "--include", "*.gguf"], f"No file of {NAME} is called so."),
        (["admin/own"], "No upstream that is asked for it has a model admin/own."),
    ],
)
def test_what_cannot_be_pulled(hubreg: Hubreg, model: Repo, words: list[str], said: str) -> None:
    """A sentence, status 1."""
    result = hubreg("mirror", "pull", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_what_no_rule_lets_be_fetched(answered: Answered, hubreg: Hubreg, model: Repo) -> None:
    """A denied name, one that is offline, and a repo that came before the rule was taken away."""
    answered("mirror", "pull", NAME, "--include", "*.md")
    [rule] = answered("mirror", "list")["upstreams"][0]["rules"]
    answered("mirror", "deny", "org/*")
    answered("mirror", "deny", "other")
    assert "No rule lets Org/Model be fetched" in hubreg("mirror", "pull", NAME).stderr
    assert "does not let Other/Model be mirrored" in hubreg("mirror", "pull", "Other/Model").stderr
    for denied in answered("mirror", "list")["denied"]:
        answered("mirror", "remove", str(denied["id"]))
    answered("mirror", "remove", str(rule["id"]))
    assert "No rule lets Org/Model be fetched" in hubreg("mirror", "pull", NAME).stderr


def test_upstream_is_down(hubreg: Hubreg, answered: Answered, fake: FakeHub, model: Repo) -> None:
    """What is not known has failed; of what is known, what is not here has."""
    answered("mirror", "pull", NAME, "--include", "*.md")
    fake.stop()
    assert hubreg("mirror", "pull", "Org/Other").exit_code == 1
    result = hubreg("mirror", "pull", NAME)
    assert result.exit_code == 1
    assert result.stderr.startswith("hubreg: data/a.bin: The upstream hub cannot be reached")


def test_no_data_directory(model: Repo, tmp_path: Path, hubreg: Hubreg) -> None:
    """A name that is mistyped begins none."""
    result = hubreg("mirror", "pull", NAME, "--data", str(tmp_path / "none"))
    assert (result.exit_code, "There is no data directory" in result.stderr) == (1, True)
    assert not (tmp_path / "none").exists()


def pulling(data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hubreg", "mirror", "pull", NAME, "--data", str(data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_written(data: Path, size: int) -> None:
    deadline = time.monotonic() + 10
    while sum(part.stat().st_blocks * 512 for part in (data / "flights").glob("*.part")) < size:
        assert time.monotonic() < deadline, "what upstream sent is not written"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_next_one_goes_on(
    answered: Answered, data: Path, fake: FakeHub, model: Repo, number: signal.Signals
) -> None:
    """After Ctrl-C, which says so, or a kill: what has come is not fetched again."""
    big = Generated(24 << 20, 6)
    model.commit({"big.bin": big})
    stalled = fake.stall("big.bin", 0.6)
    process = pulling(data)
    stalled.wait()
    until_written(data, big.size // 2)
    process.send_signal(number)
    out, said = process.communicate(timeout=20)
    if number is signal.SIGINT:
        assert (process.returncode, out) == (130, "")
        assert "the next pull goes on from there" in said
    stalled.release()
    fake.clear()
    assert answered("mirror", "pull", NAME)["fetched_bytes"] == big.size
    assert stored(data, big.sha256).stat().st_size == big.size
    assert fake.sent("big.bin") < 1.5 * big.size
