"""The compiled cutter: the same cuts as numpy's, or none at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubreg.formats.chunking import MAX_CHUNK, MIN_CHUNK, Chunker
from hubreg.formats.virtual import Cutter
from hubreg.ops import cutters

COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Cutter]:
    found = cutters.compiled(tmp_path_factory.mktemp("cutter"))
    assert found is not None
    return found


def cut(cutter: Cutter, content: bytes, pieces: list[int]) -> list[int]:
    lengths = []
    for start, end in zip([0, *pieces], [*pieces, len(content)], strict=True):
        lengths += cutter.feed(memoryview(content)[start:end])
    return lengths + cutter.finish()


@needs_compiler
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.tuples(st.booleans(), st.integers(0, 3 * MAX_CHUNK)), max_size=4),
    seed=st.integers(0, 1000),
    pieces=st.lists(st.integers(0, 12 * MAX_CHUNK), max_size=5),
)
def test_it_cuts_as_numpy_does(
    made: Callable[[], Cutter], parts: list[tuple[bool, int]], seed: int, pieces: list[int]
) -> None:
    """Noise and runs of one byte, of any length, fed in any pieces."""
    random = np.random.default_rng(seed)
    content = b"".join(random.bytes(size) if noisy else bytes(size) for noisy, size in parts)
    ends = sorted(min(piece, len(content)) for piece in pieces)
    assert cut(made(), content, ends) == cut(Chunker(), content, [])


@needs_compiler
@pytest.mark.parametrize(
    "size", [1, MIN_CHUNK - 1, MIN_CHUNK, MIN_CHUNK + 1, MAX_CHUNK - 1, MAX_CHUNK, MAX_CHUNK + 1]
)
def test_it_keeps_the_bounds_of_a_chunk(made: Callable[[], Cutter], size: int) -> None:
    """Nothing but the end of the stream ends a small one, and 128 KiB end every one."""
    whole, rest = divmod(size, MAX_CHUNK)
    assert cut(made(), bytes(size), []) == [MAX_CHUNK] * whole + [rest] * bool(rest)


@needs_compiler
def test_nothing_of_it_is_kept(tmp_path: Path) -> None:
    """What was loaded is no file any more."""
    assert cutters.compiled(tmp_path) is not None
    assert list(tmp_path.iterdir()) == []


def compiler(directory: Path, *lines: str) -> None:
    """A `cc` that does something else."""
    path = directory / "cc"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def test_without_a_compiler_numpy_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hubreg needs none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cutters.compiled(tmp_path) is None
    assert cutters.fastest(tmp_path) is Chunker


@pytest.mark.parametrize("line", ["exit 1", "exit 0", "echo no library > $5"])
def test_a_compiler_that_does_not_work_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """It fails, makes nothing, or makes what cannot be loaded."""
    compiler(tmp_path, line)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert cutters.compiled(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["cc"]


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"), [("(hash << 1)", "(hash << 2)"), ("found = 0", "found = (largest--, 0)")]
)
def test_what_cuts_otherwise_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    """A chunk of another length would have another name than the same has at a client's."""
    source = Path(cutters.__file__).with_name("cut.c").read_text()
    assert right in source
    (tmp_path / "wrong.c").write_text(source.replace(right, wrong))
    compiler(tmp_path, f"exec {COMPILER} -O2 -shared -fPIC -o $5 {tmp_path}/wrong.c")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert cutters.compiled(tmp_path) is None
