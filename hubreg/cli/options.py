"""Options: those that commands share, and one for every setting."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from hubreg.config import Config

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings.")]
DataDirectory = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help=f"Data directory of the server. Default: HUBREG_DATA, or {Config().data}.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines; errors too.")]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """
    Let `command(..., **flags)` take every setting of `Config` as an option of its name.

    A flag that is not given is None: `config.load` then asks the environment, the file and the default.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    named = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [_option(setting) for setting in fields(Config)]
    command.__signature__ = inspect.Signature([*named, *options])  # type: ignore[attr-defined]
    return command


def _option(setting: Field[Any]) -> inspect.Parameter:
    flag, kind, default = setting.name.replace("_", "-"), type(setting.default), str(setting.default)
    declared, metavar = f"--{flag}", {int: "N", str: "TEXT"}.get(kind)
    if kind is bool:
        declared = f"--{flag}/--no-{flag}"
        default = f"--{flag}" if setting.default else f"--no-{flag}"
    elif issubclass(kind, Path):
        kind, metavar = Path, "DIR"
    help_ = setting.metadata["help"] + (f" Default: {default}." if default else "")
    option = typer.Option(declared, metavar=metavar, help=help_, show_default=False)
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )
