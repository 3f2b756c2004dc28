"""The command `hubreg`."""

from __future__ import annotations

import os
import platform
from typing import Annotated

import typer

import hubreg
from hubreg.cli.accounts import orgs, tokens, users
from hubreg.cli.answers import answer
from hubreg.cli.mirror import mirror
from hubreg.cli.options import AsJson
from hubreg.cli.policies import check, drop, policies, release, require
from hubreg.cli.pull import pull
from hubreg.cli.serve import serve
from hubreg.cli.upkeep import collect, run_upkeep, xet
from hubreg.store.db import migrations

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 refused or failed (one sentence on stderr says why), 2 not understood.",
)
app.command()(serve)
app.add_typer(users, name="user")
app.add_typer(orgs, name="org")
app.add_typer(tokens, name="token")
mirror.command("pull")(pull)
for policy_command in (require, policies, check, release, drop):
    mirror.command()(policy_command)
app.add_typer(mirror, name="mirror")
app.command("upkeep")(run_upkeep)
app.command("gc")(collect)
app.add_typer(xet, name="xet")


@app.command()
def version(as_json: AsJson = False) -> None:
    """
    Print the version.
    """
    schema = migrations()[-1][0]
    facts = {"version": hubreg.__version__, "schema": schema, "python": platform.python_version()}
    answer(f"hubreg {hubreg.__version__}", facts, as_json=as_json)


def print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """
    hubreg: a self-hosted registry that speaks the Hugging Face Hub's protocol.

    Start here:  hubreg serve

    Then:  HF_ENDPOINT=http://127.0.0.1:8080 HF_TOKEN=$(cat hubreg-data/admin-token) hf upload admin/my-model ./my-model
    """


def main() -> None:
    """What the console script calls."""
    os.umask(0o077)  # whatever is written is for this user alone, also in a directory that others may enter
    app()
