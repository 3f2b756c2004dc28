"""
SIGKILL at every step of an upload, a commit and what else changes something: after the next start everything that
somebody was told is there, whole, nothing is half visible, and the same can be done again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hubreg.app import App, build
from hubreg.formats import chain
from hubreg.formats.terms import Terms
from hubreg.identity.accounts import SYSTEM
from hubreg.model import Actor, CommitId, EntryKind, RepoType
from hubreg.ops import directory
from hubreg.store import log, objects, repos, uploads, xet
from hubreg.store.db import wall
from hubreg.store.layout import Layout
from hubreg.store.repos import Repo, Search
from tests.crash.cases import CASES, TOKEN, prepare, settings

VICTIM = Path(__file__).with_name("victim.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """Where corpses are kept. In memory where that can be: what SIGKILL leaves is in the page cache anyway."""
    memory = Path("/dev/shm")  # noqa: S108 (a directory of its own is made there)
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an administrator and a repo, closed in good order."""
    path = tmp_path_factory.mktemp("crash") / "data"
    config = settings(path)

    async def fill() -> None:
        async with build(config) as app:
            await app.accounts.add_first_administrator("admin", TOKEN)
            await prepare(app, await app.credentials.actor(f"Bearer {TOKEN}"))

    layout = Layout(path)
    layout.prepare()
    directory.migrate(layout.database)
    asyncio.run(fill())
    return path


@dataclass(frozen=True)
class Corpse:
    """What a dead process left: its data directory, and what it had told."""

    path: Path
    told: list[dict[str, Any]]


def kill(case: str, base: Path, room: Path, *runs: int) -> list[Corpse]:
    """The case killed at each of its steps, or so many times from outside; the last one step by step got through."""
    command = [sys.executable, str(VICTIM), case, str(base), str(room), *map(str, runs)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, timeout=100, env=env)
    paths = sorted((path for path in room.iterdir() if path.is_dir()), key=lambda path: int(path.name))
    return [Corpse(path, told_by(path)) for path in paths]


def told_by(path: Path) -> list[dict[str, Any]]:
    file = path.with_name(f"{path.name}.told")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("case", [name for name in CASES if name != "busy"])
def test_killed_at_every_step(case: str, base: Path, room: Path) -> None:
    """Each step of each case."""
    corpses = kill(case, base, room)
    assert len(corpses) > 8, "too few steps: is the disk still what is counted?"
    assert corpses[-1].told, "nobody was told anything"
    for corpse in corpses:
        revive(corpse, case)


def test_killed_at_any_moment(base: Path, room: Path) -> None:
    """Also inside a system call, or of SQLite's: a process that does everything by turns is killed from outside."""
    corpses = kill("busy", base, room, 8)
    assert len(corpses) == 8
    for corpse in corpses:
        revive(corpse)


def revive(corpse: Corpse, case: str = "") -> None:
    """Start again, look at everything, and do what was not finished."""
    config = settings(corpse.path)
    check_rows(Layout(corpse.path).database)
    with directory.serving(config, wall):

        async def look() -> None:
            async with build(config) as app:
                await check_files(app)
                await check_log(app)
                await check_repos(app)
                for facts in corpse.told:
                    await check_told(app, facts)
                if case:
                    await again(app, case)

        asyncio.run(look())


async def again(app: App, case: str) -> None:
    """A client that tries once more gets through."""
    told: list[dict[str, Any]] = []
    actor = await app.credentials.actor(f"Bearer {TOKEN}")
    await CASES[case](app, actor, lambda **facts: told.append(facts))
    for facts in told:
        await check_told(app, facts)


def check_rows(path: Path) -> None:
    """The database as SQLite sees it."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        connection.close()


async def check_files(app: App) -> None:
    """Blobs are what they are called; what dead uploads left is gone, but for parts that can be gone on with."""
    for path in app.layout.blobs.glob("*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    for hash_, tag, size in await app.db.all("SELECT hash, tag, size FROM xorbs WHERE plain_sha256 IS NULL"):
        assert app.layout.xorb(hash_, tag).stat().st_size == size
    for (plain,) in await app.db.all("SELECT plain_sha256 FROM xorbs WHERE plain_sha256 IS NOT NULL"):
        assert app.layout.blob(plain).exists()
    await check_xet(app)
    alive = await uploads.ids(app.db)
    for path in app.layout.incoming.iterdir():
        assert path.stem in alive
        assert path.suffix in (".parts", ".done")


async def check_xet(app: App) -> None:
    """Whatever is offered by Xet is what it is called, however it is kept: unverified content is never published."""
    for hash_, sha256, size in await app.db.all("SELECT hash, sha256, size FROM xet_files"):
        file = await xet.find_file(app.db, hash_)
        assert file is not None
        content = b"".join([part async for part in app.xet.uploads.xorbs.read(Terms(file.terms), 0, size)])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)


async def check_log(app: App) -> None:
    links = await log.read(app.db, 0, 100_000)
    assert len(list(chain.verify(links))) == len(links) > 0


async def check_repos(app: App) -> None:
    """Every ref of every repo leads to a commit, its trees and the content of all its files."""
    for repo in await everything(app):
        refs = dict(await repos.refs(app.db, repo.id))
        assert repo.head == refs["refs/heads/main"]
        for name, commit in refs.items():
            assert await objects.find_commit(app.db, repo.id, commit) is not None, name
            await check_content(app, repo, commit)


async def everything(app: App) -> list[Repo]:
    return [repo for type_ in RepoType for repo in await repos.search(app.db, Search(type_, None))]


async def check_content(app: App, repo: Repo, commit: CommitId) -> None:
    snapshot = await app.snapshots.of(repo, commit)
    for entry in await app.snapshots.files(snapshot):
        assert entry.kind is EntryKind.FILE
        assert entry.sha256 is not None
        content = b"".join([chunk async for chunk in app.blobs.read(entry.sha256)])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.size, entry.sha256)
        if entry.lfs:
            assert await objects.has_large(app.db, repo.id, [entry.sha256]) == {entry.sha256: entry.size}


async def check_told(app: App, facts: dict[str, Any]) -> None:
    """One thing that somebody was told."""
    if "repo" in facts:
        await app.repos.find(SYSTEM, RepoType(facts["type"]), facts["repo"])
        return
    repo = await app.repos.find(SYSTEM, RepoType.MODEL, "admin/model")
    if "large" in facts:
        assert list(await objects.has_large(app.db, repo.id, [facts["large"]])) == [facts["large"]]
        assert app.layout.blob(facts["large"]).exists()
    elif "xet" in facts:
        assert await xet.hashes(app.db, [facts["sha256"]]) == {facts["sha256"]: facts["xet"]}
        assert list(await objects.has_large(app.db, repo.id, [facts["sha256"]])) == [facts["sha256"]]
    elif "gone" in facts:
        assert not app.layout.blob(facts["gone"]).exists()
        assert not await app.db.all("SELECT 1 FROM files WHERE sha256 = ?", facts["gone"])
        assert await xet.hashes(app.db, [facts["gone"]]) == {}
    elif "ref" in facts:
        assert await repos.find_ref(app.db, repo.id, facts["ref"]) is not None
    elif "pull" in facts:
        assert await repos.find_ref(app.db, repo.id, f"refs/pr/{facts['pull']}") is not None
    else:
        await check_commit(app, repo, facts)


async def check_commit(app: App, repo: Repo, facts: dict[str, Any]) -> None:
    """The commit is in the repo, has the file, and the log knows of it."""
    actor = Actor(name="reader", admin=True)
    located = await app.content.locate(
        actor, RepoType.MODEL, repo.ref.full, facts.get("commit", "main"), facts["path"]
    )
    assert located.entry.sha256 == facts["sha256"]
    links = await log.read(app.db, 0, 100_000)
    assert any(located.commit.encode() in link.body for link in links)
