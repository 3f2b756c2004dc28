"""The documentation against the code: whatever can be set, called, typed or refused has its line, and it is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import hubreg
from docs import generate
from hubreg.api.routes import ROUTES, Route
from hubreg.cli.main import app
from hubreg.config import Config

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
FENCE = re.compile(r"```sh\n(.*?)```", re.DOTALL)
TYPED = re.compile(r"(?:.*[ (])?(hubreg|\./scripts/serve) ([a-z-][^|>#)]*)")
VARIABLE = re.compile(r"\bHUBREG_(?!NAME\b)[A-Z_]+")
MODULE = re.compile(r"`([a-z_/]+\.py)`")
SCRIPT = re.compile(r"\bscripts/[a-z-]+")


def page(path: Path) -> str:
    return str(path.relative_to(ROOT))


def typed(path: Path) -> Iterator[list[str]]:
    """The words of every `hubreg` command that a page tells people to type."""
    for block in FENCE.findall(path.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if found := TYPED.match(line):
                yield found[2].split() if found[1] == "hubreg" else ["serve", *found[2].split()]


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_generated_parts_are_what_the_code_says(path: Path) -> None:
    """Settings, commands, errors, routes. Fails until `scripts/docs` was run after the code changed."""
    text = path.read_text()
    assert text == generate.rendered(text), "run scripts/docs"


def test_every_part_is_on_some_page() -> None:
    """What can be generated is shown: a page that lost its mark would go unnoticed otherwise."""
    shown = {found[2] for path in PAGES for found in generate.PART.finditer(path.read_text())}
    assert shown == set(generate.PARTS)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.methods} {route.path}")
def test_every_route_says_what_it_answers(route: Route) -> None:
    """The first line of its handler's docstring is a sentence."""
    assert re.fullmatch(r"[A-Z`].+\.", route.summary)


@pytest.mark.parametrize("setting", fields(Config), ids=lambda setting: setting.name)
def test_every_setting_says_what_it_is(setting: Any) -> None:
    """In a sentence or two."""
    assert re.fullmatch(r"[A-Z].+\.", setting.metadata["help"])


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link is to a file of this tree."""
    broken = [target for target in LINK.findall(path.read_text()) if not (path.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_modules_on_the_pages_exist(path: Path) -> None:
    """Every file of code that a page names is there."""
    named = MODULE.findall(path.read_text())
    assert not [
        name for name in named if not (ROOT / name).exists() and not (ROOT / "hubreg" / name).exists()
    ]


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_commands_on_the_pages_exist(path: Path) -> None:
    """What people are told to type is a command with such options."""
    for words in typed(path):
        command: Any = get_command(app)
        for word in words:
            if not hasattr(command, "commands") or word.startswith("-"):
                break
            assert word in command.commands, f"hubreg {' '.join(words)}"
            command = command.commands[word]
        known = {
            flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        asked = {word.split("=")[0] for word in words if word.startswith("--")} - {"--help"}
        assert asked <= known, f"hubreg {' '.join(words)}"


def test_pages_show_commands() -> None:
    """The test above has something to look at."""
    shown = {words[0] for path in PAGES for words in typed(path)}
    assert shown >= {"serve", "user", "org", "token"}


@pytest.mark.parametrize("path", PAGES, ids=page)
def test_scripts_and_variables_on_the_pages_exist(path: Path) -> None:
    """A page that names a script or a variable of ours names one that is there."""
    text = path.read_text()
    assert not [script for script in SCRIPT.findall(text) if not (ROOT / script).exists()]
    assert set(VARIABLE.findall(text)) <= {f"HUBREG_{setting.name.upper()}" for setting in fields(Config)}


def test_the_changelog_has_this_version() -> None:
    """A release is described before it is made."""
    assert f"\n## {hubreg.__version__}" in (ROOT / "CHANGELOG.md").read_text()
