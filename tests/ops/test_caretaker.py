"""The server's side of upkeep: one process of its own at a time, with the server's settings, that ends with it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubreg.config import Config
from hubreg.ops import caretaker
from hubreg.ops.caretaker import caretaking, sweeping, turn
from hubreg.store.db import Database, wall
from hubreg.store.layout import Layout
from tests.ops.conftest import Keeper, named
from tests.xet_client import some

pytestmark = pytest.mark.anyio

CONTENT = some(900_000)
PATIENCE = 60.0  # seconds: a process has to start on a busy machine


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOOK", "_PAUSE"):
        monkeypatch.setattr(caretaker, name, 0.02)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 another process does it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(keeper: Keeper, **settings: Any) -> AsyncIterator[None]:
    app = keeper.hub.app
    config = replace(app.config, xet_index_from=1, **settings)
    async with caretaking(app.db, app.layout, config, app.uploads.sweep):
        yield


async def exists(path: Path) -> bool:
    return path.exists()


def is_free(layout: Layout) -> bool:
    with turn(layout) as ours:
        return ours


async def test_a_file_is_indexed_while_the_server_runs(keeper: Keeper) -> None:
    """By another process, which waits for more; this one sees it as soon as it is done. It ends with the server."""
    repo = await keeper.hub.repo()
    async with running(keeper):
        sha256 = await keeper.plain(repo, CONTENT)

        async def offered() -> bool:
            return await keeper.offered(sha256) is not None

        await until(offered)
        assert await keeper.offered(sha256) == named(CONTENT)
        assert not is_free(keeper.hub.app.layout)  # it waits for more
        other = await keeper.plain(repo, CONTENT[:-1], "other.bin")

        async def both() -> bool:
            return await keeper.offered(other) is not None

        await until(both)
    assert is_free(keeper.hub.app.layout)


async def test_several_workers_make_one_process(keeper: Keeper) -> None:
    """Whichever is first; the others find it at work."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)

    async def offered() -> bool:
        return await keeper.offered(sha256) is not None

    async with running(keeper), running(keeper), running(keeper):
        await until(offered)
    assert await keeper.rows("xet_files") == 1
    assert is_free(keeper.hub.app.layout)


async def test_a_process_that_fails_is_in_the_log(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tried again: it is no reason for the server to end, now or when it is stopped."""
    await keeper.plain(await keeper.hub.repo(), CONTENT)
    ways = iter([[sys.executable, "-c", "raise SystemExit('no luck')"], ["/nowhere/hubreg"]])
    again = [sys.executable, "-c", "print('not what was expected')"]
    monkeypatch.setattr(caretaker, "command", lambda _: next(ways, again))

    async def said() -> bool:
        messages = [record.getMessage() for record in caplog.records]
        return messages.count("upkeep failed") > 1

    async with running(keeper):
        await until(said)
    texts = [record.getMessage() for record in caplog.records]
    assert any("upkeep ended with status 1: no luck" in text for text in texts)


async def test_it_goes_on_after_an_error_of_its_own(keeper: Keeper, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that could not be read for a moment is no reason to index nothing until the next start."""
    sha256 = await keeper.plain(await keeper.hub.repo(), CONTENT)

    class Failing(Database):
        left = 2

        def version(self) -> int:
            if self.left:
                self.left -= 1
                raise OSError("disk I/O error")
            return super().version()

    async def offered() -> bool:
        return await keeper.offered(sha256) is not None

    app = keeper.hub.app
    db = Failing(app.layout.database, wall)
    await db.open()
    async with caretaking(db, app.layout, replace(app.config, xet_index_from=1), app.uploads.sweep):
        await until(offered)
    await db.close()
    assert [record.getMessage() for record in caplog.records].count("upkeep failed") == 2


async def test_a_process_may_end_by_itself(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server ends, it hears of that, and has a moment to take back what it began."""
    await keeper.plain(await keeper.hub.repo(), CONTENT)
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    program = (
        "import pathlib, sys;"
        f" pathlib.Path({str(begun)!r}).touch(); sys.stdin.read(); pathlib.Path({str(ended)!r}).touch()"
    )
    monkeypatch.setattr(caretaker, "command", lambda _: [sys.executable, "-c", program])
    async with running(keeper):
        await until(lambda: exists(begun))
        assert not ended.exists()
    assert ended.exists()


async def test_a_process_that_does_not_end_is_ended(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server does not wait for it for ever."""
    await keeper.plain(await keeper.hub.repo(), CONTENT)
    begun = tmp_path / "begun"
    program = (
        f"import os, pathlib, time; pathlib.Path({str(begun)!r}).write_text(str(os.getpid()));"
        " time.sleep(3600)"
    )
    monkeypatch.setattr(caretaker, "command", lambda _: [sys.executable, "-c", program])
    monkeypatch.setattr(caretaker, "_GRACE", 0.02)

    async def told() -> bool:
        return await exists(begun) and begun.read_text() != ""

    async with running(keeper):
        await until(told)
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


async def test_what_the_process_tells_is_in_the_log(
    keeper: Keeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was indexed, and one that could not be."""
    await keeper.plain(await keeper.hub.repo(), CONTENT)
    lines = b'{"sha256": "aa", "xet": "bb", "size": 1, "cpu_seconds": 0.5}\n{"sha256": "cc", "error": "Damaged."}\n'
    program = f"import sys; sys.stdout.buffer.write({lines!r})"
    monkeypatch.setattr(caretaker, "command", lambda _: [sys.executable, "-c", program])
    caplog.set_level(logging.INFO, "hubreg.upkeep")

    async def said() -> bool:
        return any("cc was not indexed: Damaged." in record.getMessage() for record in caplog.records)

    async with running(keeper):
        await until(said)
    assert any("indexed aa as bb: 1 bytes" in record.getMessage() for record in caplog.records)


async def test_nothing_is_started_where_nothing_waits(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much else is written."""
    started: list[Config] = []

    def command(config: Config) -> list[str]:
        started.append(config)
        return [sys.executable, "-c", ""]

    monkeypatch.setattr(caretaker, "command", command)
    repo = await keeper.hub.repo()
    async with running(keeper):
        for _ in range(10):
            await keeper.hub.app.repos.set_settings(keeper.hub.ann, repo, private=True)
            await asyncio.sleep(0.03)
    assert started == []


async def test_dead_uploads_are_swept_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """Also after a time when it did not work."""
    turns = iter([2, OSError("the disk is full"), 0, 1])
    done = asyncio.Event()

    async def sweep() -> int:
        found = next(turns, None)
        if isinstance(found, OSError):
            raise found
        if found is None:
            done.set()
            return 0
        return found

    caplog.set_level(logging.INFO, "hubreg.upkeep")
    task = asyncio.ensure_future(sweeping(sweep, every=0.001))
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    task.cancel()
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "removed 2 uploads that nobody can go on with",
        "expired uploads could not be removed",
        "removed 1 uploads that nobody can go on with",
    ]


def test_it_is_one_process_s_turn(tmp_path: Path) -> None:
    """Whoever comes while another one is at it is told so, and gets its turn afterwards."""
    layout = Layout(tmp_path)
    with turn(layout) as first, turn(layout) as second:
        assert (first, second) == (True, False)
    assert is_free(layout)


def test_the_process_has_the_servers_settings(config: Config) -> None:
    """All of them, whatever the environment says."""
    given = replace(
        config, xet_index_from=77, anonymous=not config.anonymous, public_url="https://hub.example"
    )
    words = caretaker.command(given)
    assert words[:4] == [sys.executable, "-m", "hubreg", "upkeep"]
    assert f"--data={config.data.absolute()}" in words
    assert "--xet-index-from=77" in words
    assert ("--anonymous" if given.anonymous else "--no-anonymous") in words
    assert "--public-url=https://hub.example" in words
