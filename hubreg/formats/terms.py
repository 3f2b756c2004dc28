"""
A file as Xet has it: terms, each a range of chunks of one xorb, as they are kept and as they are looked up.

A row of 44 bytes a term: a file of 50 GB has about a thousand, one that repeats itself chunk by chunk several hundred
thousand. So terms stay packed, and become values where they are needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hubreg.errors import Damaged
from hubreg.formats.chunking import HASH_SIZE, Buffer, hash_string
from hubreg.model import XetHash

_RECORD = np.dtype([("xorb", f"V{HASH_SIZE}"), ("unpacked", "<u4"), ("start", "<u4"), ("end", "<u4")])
_PACKED = struct.Struct(f"<{HASH_SIZE}sIII")  # the same


class Span(NamedTuple):
    """One term: the chunks from `start` up to `end` of a xorb, which unpack to so many bytes."""

    xorb: XetHash
    unpacked: int
    start: int
    end: int


def render_term(xorb: bytes, unpacked: int, start: int, end: int) -> bytes:
    """The hash of its xorb, raw, the bytes it unpacks to, its first chunk and the one behind its last."""
    return _PACKED.pack(xorb, unpacked, start, end)


def render_terms(terms: Iterable[tuple[bytes, int, int, int]]) -> bytes:
    """Several, in order; each as `render_term` takes it."""
    return b"".join([render_term(*term) for term in terms])


class Terms(Sequence[Span]):
    """The terms of one file, in order. `size` is that of the file, in bytes."""

    def __init__(self, packed: Buffer) -> None:
        if len(packed) % _RECORD.itemsize:
            raise Damaged("A list of terms has the wrong length.")
        self._records = np.frombuffer(packed, _RECORD)
        self._ends = np.cumsum(self._records["unpacked"], dtype=np.int64)
        self.size = int(self._ends[-1]) if len(self._ends) else 0

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> Span:  # type: ignore[override]  # `part` is for slices
        return _span(self._records[number].item())

    def __iter__(self) -> Iterator[Span]:
        return map(_span, self._records.tolist())

    def part(self, start: int, end: int) -> list[Span]:
        """Several in order. Of a xorb that is named often there is one name."""
        names: dict[bytes, XetHash] = {}
        found: list[Span] = []
        for xorb, unpacked, first, last in self._records[start:end].tolist():
            raw = bytes(xorb)
            name = names.get(raw)
            if name is None:
                name = names[raw] = XetHash(hash_string(raw))
            found.append(Span(name, unpacked, first, last))
        return found

    def begin(self, number: int) -> int:
        """Where in the file a term begins."""
        return int(self._ends[number - 1]) if number else 0

    def covering(self, start: int, end: int) -> tuple[int, int]:
        """The terms that have some of the bytes from `start` up to `end`: the first, and the one behind the last."""
        if start >= min(end, self.size):
            return 0, 0
        first = int(np.searchsorted(self._ends, start, side="right"))
        return first, int(np.searchsorted(self._ends, end, side="left")) + 1 if end < self.size else len(self)

    def xorbs(self) -> list[XetHash]:
        """The xorbs that the file is made of, each once, in the order of their first terms."""
        return list(
            dict.fromkeys([XetHash(hash_string(bytes(raw))) for raw in self._records["xorb"].tolist()])
        )


def _span(record: tuple[bytes, int, int, int]) -> Span:
    xorb, unpacked, start, end = record
    return Span(XetHash(hash_string(bytes(xorb))), unpacked, start, end)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same chunks in as few ranges as possible, in order; their ends are exclusive."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
