"""`hubreg serve`, as far as `--help` needs it. What it does, and all that serving loads, is `hubreg.cli.serving`."""

from __future__ import annotations

from typing import Any

import typer

from hubreg.cli.answers import refusals
from hubreg.cli.options import ConfigFile, with_settings
from hubreg.config import load


@with_settings
def serve(config: ConfigFile = None, **flags: Any) -> None:
    """
    Serve a data directory. The first start makes it, and an administrator.

    Every option is a setting. It can also stand in the TOML file under its name with _ for -, or in an environment
    variable HUBREG_NAME; an option beats the variable, which beats the file.

    The first start prints the token of the user `admin` on stderr, once, and keeps it in DIR/admin-token. SIGTERM or
    Ctrl-C stops the server when the transfers under way have finished, a second one at once.
    """
    from hubreg.cli.serving import run

    with refusals(as_json=False):
        raise typer.Exit(run(load(config, flags)))
