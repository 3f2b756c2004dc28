"""`hubreg mirror`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Hubreg = Callable[..., Result]
Answered = Callable[..., Any]


def test_an_upstream_and_its_rules(answered: Answered, hubreg: Hubreg, tmp_path: Path) -> None:
    """Added, listed in order, changed, removed; the token is told of and never shown (PITFALLS 38)."""
    token = tmp_path / "token"
    token.write_text("hf_secret\n")
    answered(
        "mirror",
        "add",
        "hub",
        "https://hub.example/",
        "--for",
        "Org/*",
        "--for",
        "other",
        "--token-file",
        str(token),
    )
    answered("mirror", "deny", "acme")
    listed = answered("mirror", "list")
    [hub] = listed["upstreams"]
    assert (hub["name"], hub["url"], hub["token"], hub["active"]) == (
        "hub",
        "https://hub.example",
        True,
        True,
    )
    assert [(rule["for"], rule["mode"], rule["ttl"]) for rule in hub["rules"]] == [
        ("org/*", "mirror", 60),
        ("other", "mirror", 60),
    ]
    [denied] = listed["denied"]
    shown = hubreg("mirror", "list").stdout
    assert "acme" in shown
    assert "secret" not in shown + str(listed)
    answered("mirror", "remove", str(denied["id"]))
    answered("mirror", "add", "hub", "https://new.example", "--for", "other")
    [hub] = answered("mirror", "list")["upstreams"]
    assert (hub["url"], hub["token"], len(hub["rules"])) == ("https://new.example", False, 2)
    assert answered("mirror", "remove", "hub") == {"name": "hub", "forgotten": True}
    assert answered("mirror", "list") == {"upstreams": [], "denied": []}


def test_a_linked_token(answered: Answered, hubreg: Hubreg, tmp_path: Path) -> None:
    """From a file; without one it is forgotten."""
    answered("mirror", "add", "hub", "https://hub.example")
    answered("user", "add", "ann")
    token = tmp_path / "token"
    token.write_text("hf_secret")
    assert answered("mirror", "link", "ann", "hub", "--token-file", str(token))["linked"]
    assert not answered("mirror", "link", "ann", "hub")["linked"]


def test_status(answered: Answered, hubreg: Hubreg) -> None:
    """Of a mirror that has fetched nothing yet."""
    answered("mirror", "add", "hub", "https://hub.example")
    assert answered("mirror", "status") == {
        "files": 0, "bytes": 0, "budget": 0, "oldest": None, "least_lately_used": None, "hits": 0, "bytes_saved": 0,
        "misses": 0, "bytes_fetched": 0, "evicted": 0, "bytes_evicted": 0, "repos": {"hub": 0},
    }  # fmt: skip
    assert "bytes saved" in hubreg("mirror", "status").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "hub", "ftp://x"), "no URL of a Hub"),
        (("add", "hub", "https://user:word@hub.example"), "no URL of a Hub"),
        (("add", "No Name", "https://hub.example"), "name of an upstream"),
        (("add", "hub", "https://hub.example", "--for", "a/b/c"), "no pattern"),
        (("add", "hub", "https://hub.example", "--host", "a b"), "no suffix of hosts"),
        (("add", "hub", "https://hub.example", "--token-file", "/none"), "No such file"),
        (("remove", "none"), "no upstream named none"),
        (("remove", "7"), "no rule 7"),
        (("pin", "org/model"), "has been mirrored yet"),
        (("grant", "org/model", "ann"), "has been mirrored yet"),
        (("link", "nobody", "hub"), "no user named nobody"),
    ],
)
def test_refusals(hubreg: Hubreg, words: tuple[str, ...], said: str) -> None:
    """A sentence on stderr, status 1."""
    result = hubreg("mirror", *words)
    assert result.exit_code == 1
    assert said in result.stderr
