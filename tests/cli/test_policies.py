"""`hubreg mirror require`, `policies`, `check`, `release`, `drop`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from typer.testing import Result

from hubreg.api.asgi import Api
from hubreg.app import build
from hubreg.config import Config
from tests.fakehub import FakeHub

Hubreg = Callable[..., Result]
Answered = Callable[..., Any]


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        fake.model("Org/Model").commit({"config.json": b"{}", "model.py": b"import os"})
        yield fake


async def ask(data: Path, path: str) -> int:
    """The status of a server's answer."""
    async with build(Config(data=data)) as app:
        front = httpx.ASGITransport(Api(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=front, base_url="http://hub.test") as client:
            return (await client.get(path)).status_code


@pytest.fixture
def get(data: Path) -> Callable[[str], int]:
    return lambda path: anyio.run(ask, data, path)


def test_a_dry_run_and_what_it_foretells(
    answered: Answered, hubreg: Hubreg, fake: FakeHub, get: Callable[[str], int]
) -> None:
    """What is here is judged without asking upstream; then refused, released, and free again."""
    answered("mirror", "add", "hub", fake.url)
    assert get("/api/models/Org/Model") == 200
    assert answered("mirror", "check") == []
    [made] = answered("mirror", "require", "code", "--else", "quarantine", "--for", "org/*")
    assert made == {"id": made["id"], "for": "org/*", "subject": "code", "values": [], "else": "quarantine"}
    answered("mirror", "require", "licence", "mit", "--else", "warn")
    fake.forget()
    [found] = answered("mirror", "check")
    assert (found["repo"], found["verdict"]) == ("Org/Model", "quarantine")
    assert "model.py" in found["why"]
    assert "its licence is not said" in found["why"]
    assert "quarantine" in hubreg("mirror", "check").stdout
    assert fake.seen() == []
    assert get("/api/models/Org/Model") == 403
    answered("mirror", "release", "org/model", "--revision", found["commit"])
    [found] = answered("mirror", "check")
    assert found["verdict"] == "warn"
    assert get("/api/models/Org/Model") == 200
    assert [each["subject"] for each in answered("mirror", "policies")] == ["code", "licence"]
    assert "licence mit" in hubreg("mirror", "policies").stdout
    for each in answered("mirror", "policies"):
        answered("mirror", "drop", str(each["id"]))
    assert answered("mirror", "check") == []


@pytest.mark.parametrize(
    "words",
    [
        ("require", "size", "much"),
        ("require", "formats", "safetensors"),
        ("require", "code", "--for", "a/b/c"),
        ("drop", "7"),
        ("release", "org/none"),
    ],
)
def test_nonsense_is_refused(hubreg: Hubreg, words: tuple[str, ...]) -> None:
    """In a sentence."""
    result = hubreg("mirror", *words)
    assert result.exit_code == 1
    assert result.stderr.strip().endswith(".")
