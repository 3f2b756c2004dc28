"""`hubreg user`, `org`, `token`."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hubreg.cli.main import app
from hubreg.config import Config
from hubreg.identity.credentials import Credentials
from hubreg.model import Actor, OrgRole, TokenRole
from hubreg.ops import directory
from hubreg.ops.directory import opened
from hubreg.store.db import wall
from hubreg.store.layout import Layout

Hubreg = Callable[..., Result]
Answered = Callable[..., Any]


def actor(data: Path, token: str) -> Actor:
    async def found() -> Actor:
        async with opened(Layout(data), wall) as db:
            return await Credentials(db).actor(f"Bearer {token}")

    return asyncio.run(found())


def test_a_token_of_a_new_user_opens_the_server(hubreg: Hubreg, data: Path) -> None:
    """User, organisation, membership, token: what an operator does for a colleague."""
    assert (
        hubreg("user", "add", "alice", "--fullname", "Alice A", "--email", "alice@example.org").exit_code == 0
    )
    assert hubreg("org", "add", "acme").exit_code == 0
    assert hubreg("org", "member", "acme", "alice", "--role", "write").exit_code == 0
    result = hubreg("token", "create", "alice", "--role", "write", "--name", "laptop")
    assert re.fullmatch(r"hf_[A-Za-z0-9]{34}\n", result.stdout)
    found = actor(data, result.stdout.strip())
    assert (found.name, found.admin, found.token_role) == ("alice", False, TokenRole.WRITE)
    assert found.roles["acme"] is OrgRole.WRITE


def test_answers_for_machines(answered: Answered) -> None:
    """With `--json` stdout is one JSON value, and it says what there is now."""
    assert answered("user", "add", "root", "--admin") == {
        "name": "root", "fullname": "root", "email": "", "admin": True, "disabled": False,
    }  # fmt: skip
    assert answered("org", "add", "acme", "--private-by-default", "--fullname", "Acme") == {
        "name": "acme", "fullname": "Acme", "private_by_default": True,
    }  # fmt: skip
    assert answered("org", "member", "Acme", "ROOT", "--role", "read") == {
        "org": "Acme", "user": "ROOT", "role": "read",
    }  # fmt: skip
    token = answered("token", "create", "root", "--role", "read", "--name", "ci")
    assert token.pop("token").startswith("hf_")
    assert token == {"user": "root", "name": "ci", "role": "read"}
    assert [user["name"] for user in answered("user", "list")] == ["admin", "root"]


def test_users_are_listed_for_people(hubreg: Hubreg) -> None:
    """Names that look like markup are printed as they are."""
    hubreg("user", "add", "alice", "--fullname", "[bold]Alice[/bold] :smile:")
    lines = hubreg("user", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "admin", "alice"]
    assert "[bold]Alice[/bold] :smile:" in lines[2]


@pytest.mark.parametrize(
    "words",
    ["user list", "user add ann", "org add acme", "token list admin", "gc --dry-run", "upkeep", "xet epoch"],
)
def test_only_the_server_makes_a_directory(words: str, tmp_path: Path) -> None:
    """A name that was mistyped is told, and nothing is made there."""
    data = tmp_path / "typo"
    result = CliRunner().invoke(app, [*words.split(), "--data", str(data)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"hubreg: There is no data directory at {data}."
        " `hubreg serve` makes it; --data or HUBREG_DATA names another.\n"
    )
    assert not data.exists()


def test_a_token_is_revoked(hubreg: Hubreg, answered: Answered, data: Path) -> None:
    """It opens nothing any more, is not listed, and its name is free again; the user's other tokens stay."""
    answered("user", "add", "ann")
    made = {
        name: answered("token", "create", "ann", "--role", "read", "--name", name)["token"]
        for name in ("a", "b")
    }
    listed = answered("token", "list", "ANN")
    assert [(token["name"], token["role"]) for token in listed] == [("a", "read"), ("b", "read")]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT.*Z", token["created_at"]) for token in listed)
    assert not [token for token in made.values() if token in hubreg("token", "list", "ann").stdout]
    assert answered("token", "revoke", "ann", "a") == {"user": "ann", "name": "a"}
    assert [actor(data, made[name]).name for name in ("a", "b")] == ["", "ann"]
    assert [token["name"] for token in answered("token", "list", "ann")] == ["b"]
    again = answered("token", "create", "ann", "--role", "read", "--name", "a")["token"]
    assert actor(data, again).name == "ann"


def test_a_user_is_disabled_and_enabled(hubreg: Hubreg, answered: Answered, data: Path) -> None:
    """All of their tokens at once, and the same tokens again. Twice is once."""
    answered("user", "add", "ann")
    token = answered("token", "create", "ann", "--role", "read", "--name", "a")["token"]
    for _ in range(2):
        assert answered("user", "disable", "Ann")["disabled"] is True
        assert actor(data, token).name == ""
    assert hubreg("user", "list").stdout.splitlines()[2].endswith("user, disabled")
    assert hubreg("user", "enable", "ann").stdout == "ann is enabled.\n"
    assert actor(data, token).name == "ann"


def test_a_member_is_removed(hubreg: Hubreg, answered: Answered, data: Path) -> None:
    """Their role is gone, in their tokens too; who is no member cannot be removed."""
    for name in ("ann", "bob"):
        answered("user", "add", name)
    answered("org", "add", "acme")
    token = answered("token", "create", "ann", "--role", "read", "--name", "a")["token"]
    answered("org", "member", "acme", "ann", "--role", "admin")
    answered("org", "member", "acme", "bob", "--role", "read")
    assert answered("org", "members", "acme") == [
        {"user": "ann", "role": "admin"},
        {"user": "bob", "role": "read"},
    ]
    assert answered("org", "remove", "acme", "ann") == {"org": "acme", "user": "ann"}
    assert [line.split() for line in hubreg("org", "members", "acme").stdout.splitlines()] == [
        ["user", "role"],
        ["bob", "read"],
    ]
    assert "acme" not in actor(data, token).roles
    assert "ann is no member of acme." in hubreg("org", "remove", "acme", "ann").stderr


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("user add ROOT", "Conflict", "The name ROOT is taken by user root."),
        ("org add root", "Conflict", "The name root is taken by user root."),
        ("user add a/b", "Invalid", "'a/b' cannot be the name of an account."),
        ("user add api", "Invalid", "The name 'api' is reserved."),
        ("user add eve --email eve", "Invalid", "'eve' is not an e-mail address."),
        ("org member acme root --role read", "AccountNotFound", "There is no organisation named acme."),
        ("token create bob --role read --name x", "AccountNotFound", "There is no user named bob."),
        ("token create root --role read --name ' '", "Invalid", "A token needs a name of 1 to 100 printable"),
        ("token revoke root laptop", "NotFound", "root has no token named laptop."),
        ("token list bob", "AccountNotFound", "There is no user named bob."),
        ("user disable bob", "AccountNotFound", "There is no user named bob."),
        ("org members root", "AccountNotFound", "There is no organisation named root."),
        ("token create root --role read --name ci", "Conflict", "root has a token named ci already."),
        (
            "user list --config no.toml",
            "Unusable",
            "The configuration file no.toml cannot be read: No such file",
        ),
    ],
)
def test_refusals(hubreg: Hubreg, words: str, error: str, message: str) -> None:
    """One sentence on stderr, nothing on stdout, status 1; with `--json` the same as JSON."""
    hubreg("user", "add", "root")
    hubreg("token", "create", "root", "--role", "read", "--name", "ci")
    for_people, for_machines = hubreg(*shlex.split(words)), hubreg(*shlex.split(words), "--json")
    assert (for_people.exit_code, for_people.stdout) == (1, "")
    assert for_people.stderr.startswith(f"hubreg: {message}")
    assert len(for_people.stderr.splitlines()) == 1
    assert (for_machines.exit_code, for_machines.stdout) == (1, "")
    said = json.loads(for_machines.stderr)
    assert said["error"] == error
    assert said["message"].startswith(message)


@pytest.mark.parametrize(
    "words",
    [
        "user add",
        "user remove alice",
        "org member acme alice",
        "org member acme alice --role owner",
        "token create alice --role fineGrained --name x",
        "serve --port eighty",
        "nonsense",
    ],
)
def test_what_is_not_understood_has_a_status_of_its_own(
    hubreg: Hubreg, answered: Answered, words: str
) -> None:
    """Status 2, and nothing has happened."""
    result = hubreg(*words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert [user["name"] for user in answered("user", "list")] == ["admin"]


def test_commands_read_the_same_settings_as_the_server(hubreg: Hubreg, tmp_path: Path) -> None:
    """`--config` names the file that the server is started with; `--data` beats it."""
    file = tmp_path / "hubreg.toml"
    file.write_text(f'data = "{tmp_path / "elsewhere"}"\n')
    directory.prepare(Config(data=tmp_path / "here"), wall)
    assert hubreg("user", "list", "--config", str(file), "--data", str(tmp_path / "here")).exit_code == 0
    said = CliRunner().invoke(app, ["user", "list", "--config", str(file)]).stderr
    assert f"There is no data directory at {tmp_path / 'elsewhere'}." in said
