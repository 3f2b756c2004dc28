"""`hubreg upkeep`, `gc` and `xet`: what a data directory needs now and then, beside its server or without one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubreg.app import App, build
from hubreg.config import Config
from hubreg.identity.accounts import SYSTEM
from hubreg.model import Actor, RepoType, Sha256, TokenRole
from hubreg.ops import caretaker, directory
from hubreg.store import objects
from hubreg.store.db import wall
from hubreg.store.layout import Layout
from tests.cli.conftest import Hubreg
from tests.xet_client import package, sha256_of, some

CONTENT = some(1_500_000)
Answered = Callable[..., Any]


@pytest.fixture
def config(data: Path) -> Config:
    return Config(data=data)


@pytest.fixture
def plain(config: Config) -> Sha256:
    """A large file that came by LFS to `ann/model`, in a directory that no server holds."""

    async def fill() -> None:
        async with build(config) as app:
            actor = await ann(app)
            repo = await app.repos.create(actor, RepoType.MODEL, None, "model", private=False)
            async with app.blobs.create() as upload:
                upload.write(CONTENT)
                kept = await upload.publish()
            async with app.db.write() as tx:
                await objects.add_large(tx, repo.id, kept.sha256, kept.size)

    directory.prepare(config, wall)
    asyncio.run(fill())
    return sha256_of(CONTENT)


async def ann(app: App) -> Actor:
    await app.accounts.add_user(SYSTEM, "ann")
    token = await app.accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "test")
    return await app.credentials.actor(f"Bearer {token}")


@pytest.mark.parametrize("way", ["stdin", "SIGTERM"])
def test_a_server_s_process_ends_when_it_is_told_to(config: Config, plain: Sha256, way: str) -> None:
    """By the end of its input, or like all processes of a service: in order, whatever it is at."""
    words = [sys.executable, "-m", "hubreg", "upkeep", "--background", "--data", str(config.data)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert plain in process.stdout.readline().decode()  # from here on it waits for more
        if way == "stdin":
            process.stdin.close()
        else:
            process.terminate()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_upkeep_indexes_and_says_so(hubreg: Hubreg, plain: Sha256) -> None:
    """A line for each file; nothing is left to do the second time."""
    result = hubreg("upkeep")
    assert result.exit_code == 0, result.output
    assert f"{plain}: indexed as {package(CONTENT).file.name} ({len(CONTENT)} bytes" in result.stdout
    again = hubreg("upkeep")
    assert (again.exit_code, again.stdout) == (0, "")


def test_upkeep_for_machines(hubreg: Hubreg, plain: Sha256) -> None:
    """JSON, one object a line."""
    result = hubreg("upkeep", "--json")
    [told] = map(json.loads, result.stdout.splitlines())
    assert (told["sha256"], told["xet"], told["size"]) == (plain, package(CONTENT).file.name, len(CONTENT))


@pytest.mark.parametrize("setting", ["--no-xet-index", "--xet-index-from=2000000"])
def test_upkeep_keeps_to_the_settings(hubreg: Hubreg, plain: Sha256, setting: str) -> None:
    """As a server would."""
    assert plain not in hubreg("upkeep", setting).stdout
    assert plain in hubreg("upkeep").stdout


def test_upkeep_tries_again_what_was_given_up(hubreg: Hubreg, plain: Sha256, config: Config) -> None:
    """Whoever repaired a file asks for it."""
    blob = Layout(config.data).blob(plain)
    blob.write_bytes(b"damaged")
    result = hubreg("upkeep")
    assert result.exit_code == 0
    assert f"{plain}: The blob {plain} has the sha256" in result.stdout
    assert plain in hubreg("upkeep").stdout
    blob.write_bytes(CONTENT)
    assert "indexed as" in hubreg("upkeep").stdout


def test_only_one_is_at_it(hubreg: Hubreg, config: Config, plain: Sha256) -> None:
    """A person is told so; the process of a server goes away quietly."""
    with caretaker.turn(Layout(config.data)):
        refused = hubreg("upkeep")
        assert refused.exit_code == 1
        assert "Another process is at it." in refused.stderr
        assert plain not in refused.output
        told = json.loads(hubreg("upkeep", "--json").stderr)
        assert told["error"]


def test_gc_removes_what_is_old_enough(
    hubreg: Hubreg, answered: Answered, plain: Sha256, config: Config
) -> None:
    """A dry run says what would go; then it goes; then there is nothing more. What is young is not touched."""
    layout = Layout(config.data)
    stray = layout.incoming / "dead"
    stray.write_bytes(bytes(1234))
    os.utime(stray, (time.time() - 100_000,) * 2)
    dry = hubreg("gc", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "would be removed" in dry.stdout
    assert any(line.split() == ["bytes", "1,234"] for line in dry.stdout.splitlines()), dry.stdout
    assert stray.exists()
    expected = {"large_files": 0, "xorbs": 0, "blobs": 0, "strays": 1, "rows": 0, "bytes": 1234}
    assert answered("gc", "--dry-run") == expected
    assert answered("gc") == expected
    assert not stray.exists()
    assert answered("gc") == dict.fromkeys(expected, 0)
    assert layout.blob(plain).exists()
    assert "would" not in hubreg("gc").stdout


def test_gc_refuses_to_judge_what_is_damaged(hubreg: Hubreg, plain: Sha256, config: Config) -> None:
    """One sentence, and nothing is removed."""

    async def damage() -> None:
        async with build(config) as app, app.db.write() as tx:
            await tx.run("DELETE FROM objects")

    asyncio.run(damage())
    refused = hubreg("gc")
    assert refused.exit_code == 1
    assert "is missing. Nothing was removed." in " ".join(refused.stderr.split())
    assert Layout(config.data).blob(plain).exists()


def test_the_epoch_is_shown_and_begun_anew(hubreg: Hubreg, answered: Answered, config: Config) -> None:
    """1 at first; a server that starts then has it in the URL that clients remember."""
    assert answered("xet", "epoch") == {"epoch": 1}
    result = hubreg("xet", "epoch", "--bump")
    assert result.exit_code == 0
    assert "The epoch is 2 from the server's next start on." in result.stdout
    assert hubreg("xet", "epoch").stdout.strip() == "2"

    async def path() -> str:
        async with build(config) as app:
            return app.xet.tokens.path

    assert asyncio.run(path()) == "/cas/e2"
