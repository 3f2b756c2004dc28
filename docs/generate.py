"""
The parts of these pages that repeat what the code says: written from it, and compared with it by tests/test_docs.py.

`scripts/docs` writes them anew. Each part stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from hubreg import errors
from hubreg.api import site
from hubreg.api.routes import ROUTES
from hubreg.cli.main import app
from hubreg.config import Config
from hubreg.errors import HubregError

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    """Every setting, under the four names that it has."""
    rows = []
    for setting in fields(Config):
        default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
        default = f"`{default}`" if default else ""
        rows.append((f"`{setting.name}`", f"`{option(setting.name)}`", default, setting.metadata["help"]))
    return table(("setting", "option", "default", "what it is"), rows)


def option(name: str) -> str:
    flag = name.replace("_", "-")
    return f"--no-{flag}" if getattr(Config(), name) is True else f"--{flag}"


def commands() -> str:
    """What `--help` says, of every command."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="hubreg", indent=1)
    return text.strip() + "\n"


def refusals() -> str:
    """Every error class with its status, its word on the wire, and its meaning."""
    rows = [
        (f"`{kind.__name__}`", str(kind.status), f"`{kind.code}`" if kind.code else "", summary(kind))
        for kind in error_classes()
    ]
    return table(("class", "status", "X-Error-Code", "meaning"), rows)


def error_classes() -> Iterator[type[HubregError]]:
    """All of the tree, in the order in which they are defined."""
    for found in vars(errors).values():
        if isinstance(found, type) and issubclass(found, HubregError):
            yield found


def answered() -> str:
    """Every route that does something."""
    rows = [(r.methods, f"`{r.path}`", r.summary) for r in ROUTES if r.handler is not site.unsupported]
    return table(("method", "path", "answer"), rows)


def unsupported() -> str:
    """Every route that is answered 501: what they have in common, and the words that follow it."""
    lines = []
    for route in ROUTES:
        if route.handler is site.unsupported:
            before, _, words = route.path.partition("{word:")
            words = words.partition("}")[0] or "(itself)"
            before = re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", before).replace("{dot}", "[.git]")
            lines.append(f"- `{before}`: {', '.join(words.split('|'))}\n")
    return "".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (settings, commands, refusals, answered, unsupported)
}


def summary(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((thing.__doc__ or "").strip().split("\n\n")[0].split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rendered(page: str) -> str:
    """A page with its generated parts as they should be."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", page)


def main() -> None:
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text()
        if (now := rendered(page)) != page:
            path.write_text(now)
            typer.echo(f"wrote {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
