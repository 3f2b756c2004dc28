"""The command itself: help, versions, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest
from typer.main import get_command
from typer.testing import Result

import hubreg as package
from hubreg.cli.main import app
from hubreg.config import Config
from hubreg.store.db import migrations

Hubreg = Callable[..., Result]

# Clients of the Hub and what they bring: nothing of hubreg loads these.
FOREIGN = "huggingface_hub httpx httpx2 requests torch hypothesis pydantic".split()
# What a server loads when it first asks an upstream.
UPSTREAM = ["aiohttp"]
# What serving loads, and no other command does; what only `hubreg upkeep` does.
SERVING = "numpy blake3 yaml starlette uvicorn httptools hubreg.app".split()
UPKEEP = "hubreg.ops.upkeep hubreg.ops.indexing hubreg.ops.cutters".split()


def commands(words: tuple[str, ...], command: object) -> Iterator[tuple[str, ...]]:
    """The words of a command and of all below it."""
    yield words
    for name, sub in getattr(command, "commands", {}).items():
        yield from commands((*words, name), sub)


@pytest.mark.parametrize("words", list(commands((), get_command(app))), ids=" ".join)
def test_every_command_explains_itself(hubreg: Hubreg, words: tuple[str, ...]) -> None:
    """`--help` says what the command does and what each option is for."""
    result = hubreg(*words, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    for line in result.stdout.splitlines():
        cells = line.strip("│ ").split("  ")
        if cells[0].strip(" *").startswith("--"):
            assert len(cells) > 1, f"{' '.join(words)}: {cells[0]} has no help"


@pytest.mark.parametrize("setting", [setting.name for setting in fields(Config)])
def test_every_setting_is_an_option_of_serve(hubreg: Hubreg, setting: str) -> None:
    """Whatever `Config` has can be given on the command line, and the help says what it is."""
    assert f"--{setting.replace('_', '-')}" in hubreg("serve", "--help").stdout


def test_version(hubreg: Hubreg) -> None:
    """For people, and for machines with the schema that this version writes."""
    assert hubreg("version").stdout == hubreg("--version").stdout == f"hubreg {package.__version__}\n"
    facts = json.loads(hubreg("version", "--json").stdout)
    assert (facts["version"], facts["schema"]) == (package.__version__, migrations()[-1][0])


def test_python_m_hubreg_is_the_same_command() -> None:
    """The package can be run where its script is not on the path."""
    result = subprocess.run(
        [sys.executable, "-m", "hubreg", "version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"hubreg {package.__version__}\n"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("hubreg.cli.main", [*FOREIGN, *UPSTREAM, *SERVING, *UPKEEP]),
        ("hubreg.cli.main, hubreg.cli.serving", [*FOREIGN, *UPSTREAM, *UPKEEP]),
    ],
    ids=["any command", "a server"],
)
def test_nothing_is_loaded_that_is_not_needed(modules: str, absent: list[str]) -> None:
    """The help and the accounts start at once; a server holds nothing in memory that it does not use."""
    script = f"import sys, {modules}; print([name for name in {absent} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
