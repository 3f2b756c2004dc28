"""A data directory made ready: by whom, how often, killed where."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from hubreg.config import Config
from hubreg.errors import Unusable
from hubreg.identity.accounts import SYSTEM, Accounts
from hubreg.identity.credentials import Credentials
from hubreg.model import Actor, Millis
from hubreg.ops.directory import FIRST, opened, prepare, serving
from hubreg.store.db import schema
from hubreg.store.layout import Layout


def clock() -> Millis:
    return Millis(1_700_000_000_000)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data")


@pytest.fixture
def layout(config: Config) -> Layout:
    return Layout(config.data)


def actor(layout: Layout, token: str) -> Actor:
    async def found() -> Actor:
        async with opened(layout, clock) as db:
            return await Credentials(db).actor(f"Bearer {token}")

    return asyncio.run(found())


def set_schema(layout: Layout, version: int) -> None:
    connection = sqlite3.connect(layout.database)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def test_the_first_preparation_makes_an_administrator(config: Config, layout: Layout) -> None:
    """The token that is returned is kept in a file that only this user may read, and opens everything."""
    token = prepare(config, clock).token
    assert token is not None
    assert layout.admin_token.read_text() == token + "\n"
    assert layout.admin_token.stat().st_mode & 0o777 == 0o600
    assert (actor(layout, token).name, actor(layout, token).admin) == (FIRST, True)


def test_later_preparations_make_nothing(config: Config, layout: Layout) -> None:
    """Neither a second call nor a server makes another token, also when the operator has put the file away."""
    prepare(config, clock)
    layout.admin_token.unlink()
    assert prepare(config, clock).token is None
    with serving(config, clock) as prepared:
        assert prepared.token is None
    assert not layout.admin_token.exists()


def test_a_token_whose_administrator_never_came_is_replaced(config: Config, layout: Layout) -> None:
    """Killed between the file and the rows, the next start writes a token that works."""
    layout.prepare()
    layout.write_private(layout.admin_token, b"hf_lost\n")
    with serving(config, clock) as prepared:
        assert prepared.token is not None
        assert layout.admin_token.read_text() == prepared.token + "\n"
        assert actor(layout, prepared.token).admin


def test_users_without_an_administrator_get_one(config: Config, layout: Layout) -> None:
    """Who came first does not matter: a directory never stays without somebody who may do everything."""
    prepare(config, clock)
    connection = sqlite3.connect(layout.database)
    connection.execute("DELETE FROM tokens")
    connection.execute("DELETE FROM accounts")
    connection.commit()
    connection.close()

    async def add() -> None:
        async with opened(layout, clock) as db:
            await Accounts(db).add_user(SYSTEM, "alice")

    asyncio.run(add())
    token = prepare(config, clock).token
    assert token is not None
    assert actor(layout, token).admin


def test_a_second_server_is_refused(config: Config) -> None:
    """One data directory has one server, and the refusal names the process that is in the way."""
    with (
        serving(config, clock),
        pytest.raises(Unusable, match=rf"process {os.getpid()}\) holds the data directory"),
        serving(config, clock),
    ):
        pytest.fail("two servers on one directory")
    with serving(config, clock):
        pass


def test_a_child_holds_the_directory_too(config: Config) -> None:
    """When a server's parent process is gone, its workers keep others out until the last of them has ended."""
    with serving(config, clock):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    with pytest.raises(Unusable), serving(config, clock):
        pytest.fail("the child still serves")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with serving(config, clock):
        pass


def test_others_may_work_beside_a_server(config: Config) -> None:
    """A command needs no lock on a directory that is ready."""
    with serving(config, clock) as prepared:
        assert prepare(config, clock).layout == prepared.layout


def test_the_schema_does_not_move_under_a_running_server(config: Config, layout: Layout) -> None:
    """A newer command beside an older server is refused rather than migrating what that server reads."""
    with serving(config, clock):
        set_schema(layout, 0)
        with pytest.raises(Unusable, match="holds the data directory"):
            prepare(config, clock)


def test_a_newer_schema_is_refused(config: Config, layout: Layout) -> None:
    """Data that a newer hubreg wrote is left alone, by servers and by commands."""
    prepare(config, clock)
    set_schema(layout, 9999)
    with pytest.raises(Unusable, match="schema 9999, written by a newer hubreg"), serving(config, clock):
        pytest.fail("served")
    with pytest.raises(Unusable, match="written by a newer hubreg"):
        prepare(config, clock)
    assert schema(layout.database)[0] == 9999


def test_what_is_no_database_is_refused(config: Config, layout: Layout) -> None:
    """A damaged file is said to be one, and stays as it is."""
    layout.prepare()
    layout.database.write_bytes(b"not a database " * 100)
    with pytest.raises(Unusable, match="cannot be used: file is not a database"):
        prepare(config, clock)
    assert layout.database.read_bytes() == b"not a database " * 100


def test_a_start_sweeps_what_dead_uploads_left(config: Config, layout: Layout) -> None:
    """Only a server does that: beside one, what looks dead may be alive. Uploads in parts outlive a restart."""
    prepare(config, clock)
    dead, orphan, parts = layout.temporary(), layout.parts("gone"), layout.parts("alive")
    for path in (dead, orphan, parts):
        path.write_bytes(b"half")
    connection = sqlite3.connect(layout.database)
    connection.execute(
        "INSERT INTO uploads (id, repo_id, user_id, sha256, size, part_size, created_at)"
        " VALUES ('alive', 1, 1, ?, 8, 4, 0)",
        ("0" * 64,),
    )
    connection.commit()
    connection.close()
    prepare(config, clock)
    assert dead.exists()
    with serving(config, clock):
        assert list(layout.incoming.iterdir()) == [parts]


def test_a_place_that_cannot_hold_data_is_refused(tmp_path: Path) -> None:
    """A file where the directory should be is a sentence, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="cannot be used"):
        prepare(Config(data=tmp_path / "file" / "data"), clock)
