"""What commands say: the answer on stdout, a refusal in one sentence on stderr; both in JSON when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from hubreg.errors import HubregError, StorageFull
from hubreg.store.full import is_full

FAILED = 1  # refused, or failed; 2 is a command line that is not understood


def answer(text: str, facts: Mapping[str, object] | Sequence[object], *, as_json: bool) -> None:
    """`text` for people, `facts` for machines. One line either way, unless `text` has more."""
    typer.echo(msgspec.json.encode(facts).decode() if as_json else text)


def table(title: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under a heading, on stdout."""
    drawn = Table(*title, box=None, pad_edge=False)
    for row in rows:
        drawn.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(drawn)


@contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """A refusal inside the block ends the command with status 1, after saying what and, where known, what to do."""
    try:
        yield
    except HubregError as error:
        message, hint, kind = error.message, error.hint, type(error).__name__
    except Exception as error:
        if is_full(error):
            message, hint, kind = "The disk is full: nothing was changed.", "", StorageFull.__name__
        elif isinstance(error, OSError):
            message, hint, kind = f"{error.strerror}: {error.filename}.", "", type(error).__name__
        else:
            raise
    else:
        return
    if as_json:
        line = msgspec.json.encode({"error": kind, "message": message, "hint": hint}).decode()
    else:
        line = f"hubreg: {message} {hint}".rstrip()
    typer.echo(line, err=True)
    raise typer.Exit(FAILED)
