"""`hubreg mirror pull`, as far as `--help` needs it. What it does is `hubreg.cli.pulling`."""

from __future__ import annotations

from typing import Annotated

import typer

from hubreg.cli.answers import refusals
from hubreg.cli.options import AsJson, ConfigFile, DataDirectory
from hubreg.config import load
from hubreg.model import RepoType


def pull(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="namespace/name")],
    revision: Annotated[str, typer.Option(help="A branch, a tag, or a commit.")] = "main",
    kind: Annotated[RepoType, typer.Option("--type", help="What it is.")] = RepoType.MODEL,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Only such files: '*.safetensors', 'data/'.", show_default=False
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No such files.", show_default=False)
    ] = None,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Fetch the files of an upstream repo now, so that nobody waits for them later.

    Beside a running server this may be used at any time. What is here already is not fetched again; after a stop, the
    next pull, or the next who asks for a file, goes on from what has come.
    """
    from hubreg.cli.pulling import Asked, run

    with refusals(as_json=as_json):
        asked = Asked(repo, kind, revision, tuple(include or ()), tuple(exclude or ()))
        raise typer.Exit(run(load(config, {"data": data}), asked, as_json=as_json))
