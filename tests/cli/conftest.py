from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hubreg.cli.main import app

Hubreg = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HUBREG_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def hubreg(data: Path) -> Hubreg:
    """The command `hubreg` on `data`; what it is asked first makes the directory."""
    runner = CliRunner(env={"HUBREG_DATA": str(data), "COLUMNS": "200", "TERM": "dumb"})
    return lambda *words: runner.invoke(app, list(words))


@pytest.fixture
def answered(hubreg: Hubreg) -> Callable[..., Any]:
    """What a command that succeeds answers with `--json`."""

    def answer(*words: str) -> Any:
        result = hubreg(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return answer
