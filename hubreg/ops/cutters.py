"""
What cuts streams into Xet's chunks: numpy, or where there is a C compiler the same loop compiled.

hubreg needs no compiler. Where one is at hand, 40 ms of it save two thirds of the time that indexing takes
(docs/decisions/0014). What was compiled is loaded and its file removed: nothing of it is kept, so nothing can be
outdated, or be put there by somebody else. It is used only if it cuts a sample just as numpy does.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hubreg.formats.chunking import GEAR, MASK, MAX_CHUNK, MIN_CHUNK, Buffer, Chunker
from hubreg.formats.virtual import Cutter

_SECONDS = 30  # that a compiler may take
_SAMPLE = 1 << 20  # bytes


def fastest(directory: Path) -> Callable[[], Cutter]:
    """The fastest cutter that works on this machine. What is compiled lies in `directory` for a moment."""
    return compiled(directory) or Chunker


def compiled(directory: Path) -> Callable[[], Cutter] | None:
    """A cutter in C; None where there is no compiler, where what it makes cannot be loaded, or cuts otherwise."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    target = directory / "cut.so"
    try:
        with resources.as_file(resources.files("hubreg.ops") / "cut.c") as source:
            command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(source)]
            subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)  # noqa: S603 our own source
        function: Any = ctypes.CDLL(str(target)).hubreg_cut
    except (OSError, subprocess.SubprocessError, AttributeError):
        return None
    finally:
        target.unlink(missing_ok=True)
    function.restype = ctypes.c_size_t
    pointer, number = ctypes.c_void_p, ctypes.c_uint64
    function.argtypes = [ctypes.POINTER(_Open), pointer, ctypes.c_size_t, pointer] + 3 * [number] + [pointer]
    made = partial(CompiledCutter, function)
    return made if _agrees(made()) else None


class _Open(ctypes.Structure):
    """`struct open_chunk`."""

    _fields_ = (("hash", ctypes.c_uint64), ("size", ctypes.c_uint64))


class CompiledCutter:
    """A `Cutter`. It lets other threads run meanwhile."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._open = _Open(0, 0)

    def feed(self, data: Buffer) -> list[int]:
        fresh = np.frombuffer(data, np.uint8)
        lengths = np.empty(len(fresh) // MIN_CHUNK + 1, np.uint32)
        found = self._function(
            self._open, fresh.ctypes.data, len(fresh), GEAR.ctypes.data, MASK, MIN_CHUNK, MAX_CHUNK,
            lengths.ctypes.data,
        )  # fmt: skip
        done: list[int] = lengths[:found].tolist()
        return done

    def finish(self) -> list[int]:
        size, self._open = int(self._open.size), _Open(0, 0)
        return [size] if size else []


def _agrees(cutter: Cutter) -> bool:
    """Whether a cutter cuts like `Chunker`: noise, where hashes decide, then what only sizes cut, fed in odd pieces."""
    noise = hashlib.shake_128(b"hubreg").digest(_SAMPLE)
    sample = noise + bytes(3 * MAX_CHUNK + 1) + noise[:MIN_CHUNK]
    step, other = 100_003, Chunker()
    pieces = [sample[at : at + step] for at in range(0, len(sample), step)]
    found = [length for piece in pieces for length in cutter.feed(piece)] + cutter.finish()
    return found == other.feed(sample) + other.finish()
