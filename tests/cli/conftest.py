from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hubreg.cli.main import app
from hubreg.config import Config
from hubreg.ops import directory
from hubreg.store.db import wall

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
    """The command `hubreg` on `data`, which is there from its first call on."""
    runner = CliRunner(env={"HUBREG_DATA": str(data), "COLUMNS": "200", "TERM": "dumb"})

    def run(*words: str) -> Result:
        if not data.exists():
            directory.prepare(Config(data=data), wall)
        return runner.invoke(app, list(words))

    return run


@pytest.fixture
def answered(hubreg: Hubreg) -> Callable[..., Any]:
    """What a command that succeeds answers with `--json`."""

    def answer(*words: str) -> Any:
        result = hubreg(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return answer
