"""The shape of the code: which layer may import which, what stays out of the pure ones, how long things may get."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import hubreg

# Each layer imports only from itself and from those before it. The last line is the ways in, which may use each other.
ORDER = [
    {"errors", "model", "config", "__init__"},
    {"formats"},
    {"store"},
    {"identity"},
    {"mirror"},
    {"hub"},
    {"registry"},
    {"ops"},
    {"app"},
    {"api", "web", "server", "cli", "__main__"},
]
ROOT = Path(hubreg.__path__[0])
MODULES = sorted(ROOT.rglob("*.py"))

# What waits, reads a clock, draws a random number or talks to somebody.
IMPURE = set(
    "asyncio anyio threading httpx aiosqlite sqlite3 starlette uvicorn socket subprocess time random secrets".split()
)

# Which database is underneath, and which HTTP library, is known here and nowhere else.
CONFINED = {
    "sqlite3": {"store"},
    "aiosqlite": {"store"},
    "starlette": {"api", "web", "server"},
    "uvicorn": {"server"},
    "typer": {"cli"},
    "rich": {"cli"},
    "aiohttp": {"mirror"},
}

# Libraries whose module is not called as they are.
MODULE_OF = {"pyyaml": "yaml"}

# Imports inside a function, each with its reason.
LATE = {
    ("hubreg.server.supervisor", "uvloop"),  # does not exist on every platform
    ("hubreg.cli.serve", "hubreg.cli.serving.run"),  # other commands start three times as fast without it
    ("hubreg.cli.upkeep", "hubreg.ops.upkeep.Upkeep"),  # the same
    ("hubreg.mirror.distant", "hubreg.mirror.transport.Transport"),  # servers that mirror nothing do without
    ("hubreg.cli.pull", "hubreg.cli.pulling.Asked"),  # the same
    ("hubreg.cli.pull", "hubreg.cli.pulling.run"),  # the same
    ("hubreg.cli.policies", "hubreg.cli.checking.run"),  # the same
}

LONGEST_FUNCTION = 60  # lines
LARGEST_MODULE = 450  # lines of code, without blank lines, comments and docstrings
LONGER: dict[str, str] = {}  # module, or module.function -> why it is longer all the same
SQL = re.compile(r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE)\s", re.MULTILINE)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    return ".".join(("hubreg", *path.relative_to(ROOT).with_suffix("").parts))


def layer(dotted: str) -> str:
    return dotted.split(".")[1]


def rank(dotted: str) -> int:
    return next(number for number, layers in enumerate(ORDER) if layer(dotted) in layers)


def imports(node: ast.AST) -> Iterator[str]:
    """Every module imported in `node`, also inside functions: a late import is still an import."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            yield from (f"{found.module}.{alias.name}" for alias in found.names)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_upwards(path: Path) -> None:
    """A module imports only from its own layer or from one listed before it."""
    for target in imports(tree(path)):
        if target.startswith("hubreg.") and target != "hubreg.__version__":
            assert rank(target) <= rank(name(path)), f"{name(path)} imports {target}"


@pytest.mark.parametrize("path", [path for path in MODULES if layer(name(path)) == "formats"], ids=name)
def test_formats_do_no_io(path: Path) -> None:
    """Formats import nothing that waits, reads a clock or draws a random number."""
    assert not {target.split(".")[0] for target in imports(tree(path))} & IMPURE


@pytest.mark.parametrize("library", CONFINED)
def test_libraries_stay_where_they_belong(library: str) -> None:
    """Swapping the database or the HTTP library touches one layer."""
    users = {layer(name(p)) for p in MODULES if library in {t.split(".")[0] for t in imports(tree(p))}}
    assert users <= CONFINED[library]


def test_dependencies_are_what_is_imported() -> None:
    """pyproject.toml asks for every library that hubreg imports, and for none that it does not."""
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[A-Za-z0-9_-]+", requirement) for requirement in project["dependencies"]}
    asked = {found[0].lower().replace("-", "_") for found in names if found}
    used = {target.split(".")[0] for path in MODULES for target in imports(tree(path))}
    assert {MODULE_OF.get(name_, name_) for name_ in asked} == used - sys.stdlib_module_names - {"hubreg"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_are_at_the_top(path: Path) -> None:
    """An import inside a function hides what a module needs; each has its reason in `LATE`."""
    late = {(name(path), target) for function in functions(path) for target in imports(function)}
    assert late <= LATE


@pytest.mark.parametrize("path", [path for path in MODULES if layer(name(path)) != "store"], ids=name)
def test_sql_is_in_the_store(path: Path) -> None:
    """No text outside `store/` is SQL."""
    texts = [node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and SQL.match(text)]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_fit_a_screen(path: Path) -> None:
    """A function that does not is two."""
    sizes = {f"{name(path)}.{f.name}": (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(path)}
    assert not {key: size for key, size in sizes.items() if size > LONGEST_FUNCTION and key not in LONGER}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_stay_small(path: Path) -> None:
    """A module past the limit has two subjects."""
    assert code_lines(path) <= LARGEST_MODULE or name(path) in LONGER


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_say_what_they_promise(path: Path) -> None:
    """Every module with code begins with a docstring."""
    assert not tree(path).body or ast.get_docstring(tree(path))


def code_lines(path: Path) -> int:
    lines = path.read_text().splitlines()
    prose: set[int] = set()
    for node in ast.walk(tree(path)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node):
            text = node.body[0]
            prose |= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    code = [line.strip() for number, line in enumerate(lines, 1) if number not in prose]
    return sum(bool(line) and not line.startswith("#") for line in code)
