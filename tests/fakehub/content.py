"""
What files of the stand-in hold: bytes that a test wrote, or gigabytes that are nowhere.

A `Generated` file is a shared pool of random bytes read in blocks of 1 MiB. Where in the pool a block begins depends on
the seed and on the block's number, and no two blocks of a file begin at the same place: whoever puts a piece at the
wrong offset, or takes it from another file, gets another SHA-256. Sending one is `sendfile` from the page cache, so it
costs next to nothing at any size.

Contents are hashed when they are first committed, not when they are first asked for: nothing on the wire waits for it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Protocol

BLOCK = 1 << 20
POOL = 8 << 20
STEP = 2_654_435_761  # a prime that does not divide POOL - BLOCK: every block begins elsewhere


@dataclass(frozen=True, slots=True)
class Span:
    """`count` bytes of the pool from `offset`: what `sendfile` is given."""

    descriptor: int
    offset: int
    count: int

    def view(self) -> memoryview:
        """The bytes themselves, for whoever cannot use the descriptor (TLS, a hash)."""
        return memoryview(_pool()[1])[self.offset : self.offset + self.count]


Piece = bytes | Span


@cache
def _pool() -> tuple[int, mmap.mmap]:
    """The random bytes that all generated files are made of. They live as long as the process."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fakehub")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    os.write(descriptor, random.Random(1).randbytes(POOL))
    return descriptor, mmap.mmap(descriptor, POOL, prot=mmap.PROT_READ)


class Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Content:
    """The bytes of a file, and the three ids that the Hub knows them by."""

    size: int

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """The bytes from `start` to `end`, in pieces of at most 1 MiB where they are generated."""
        raise NotImplementedError

    def digest(self, into: Hash) -> str:
        """The hex digest of all of it."""
        for piece in self.pieces(0, self.size):
            into.update(piece if isinstance(piece, bytes) else piece.view())
        return into.hexdigest()

    @cached_property
    def sha256(self) -> str:
        return self.digest(hashlib.sha256())

    @cached_property
    def oid(self) -> str:
        """The id of these bytes as a git blob."""
        return self.digest(hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False))

    @cached_property
    def xet(self) -> str:
        """A Xet hash: 64 hex digits that are not the SHA-256. Nobody can recompute it; there is no CAS behind it."""
        return hashlib.sha256(b"xet" + self.sha256.encode()).hexdigest()

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """A part of it in memory."""
        stop = self.size if end is None else min(end, self.size)
        return b"".join(p if isinstance(p, bytes) else bytes(p.view()) for p in self.pieces(start, stop))


class Plain(Content):
    """Bytes that a test wrote."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        if start < end:
            yield self.data[start:end]


@cache
def _sha256(size: int, seed: int, head: bytes) -> str:
    """Once a process for the same bytes: tests like to commit the same gigabyte."""
    return Generated(size, seed, head=head).digest(hashlib.sha256())


class Generated(Content):
    """
    `size` bytes that follow from `seed`, behind a `head` where one is given (a safetensors header, say).

    `sha256` states the hash where it is known and hashing would take minutes; it is taken on trust.
    """

    def __init__(self, size: int, seed: int = 0, *, head: bytes = b"", sha256: str = "") -> None:
        if len(head) > size:
            raise ValueError("the head is longer than the file")
        self.size, self.seed, self.head, self._stated = size, seed, head, sha256
        digest = hashlib.sha256(str(seed).encode()).digest()
        self._begin = int.from_bytes(digest[:8], "big")

    @cached_property
    def sha256(self) -> str:
        return self._stated or _sha256(self.size, self.seed, self.head)

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        if start < len(self.head):
            yield self.head[start:end]
            start = len(self.head)
        descriptor, _ = _pool()
        while start < end:
            number, within = divmod(start, BLOCK)
            offset = (self._begin + number * STEP) % (POOL - BLOCK)
            count = min(BLOCK - within, end - start)
            yield Span(descriptor, offset + within, count)
            start += count


class Declared(Content):
    """
    Content that is stated to have ids it does not have: recorded files whose bytes nobody kept.

    Enough for metadata. Whoever downloads and verifies it must find it wrong.
    """

    def __init__(self, content: Content, *, oid: str = "", sha256: str = "", xet: str = "") -> None:
        self.content, self.size = content, content.size
        self._oid, self._sha256, self._xet = oid, sha256, xet

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        return self.content.pieces(start, end)

    @cached_property
    def sha256(self) -> str:
        return self._sha256 or self.content.sha256

    @cached_property
    def oid(self) -> str:
        return self._oid or self.content.oid

    @cached_property
    def xet(self) -> str:
        return self._xet or super().xet


@dataclass(frozen=True)
class File:
    """A file of a repo: `large` ones are LFS, and on Xet unless told otherwise (HUB 6.1)."""

    content: Content
    large: bool = False
    xet: bool = True

    @property
    def size(self) -> int:
        return self.content.size

    @cached_property
    def pointer(self) -> bytes:
        """The LFS pointer, which is what git holds of a large file (HUB 8.4)."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.content.sha256}\nsize {self.size}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        """The id of the git blob: the pointer's for a large file (HUB 5.3)."""
        return Plain(self.pointer).oid if self.large else self.content.oid

    @property
    def xet_hash(self) -> str | None:
        return self.content.xet if self.large and self.xet else None


def lfs(content: Content | bytes, *, xet: bool = True) -> File:
    """A large file, whatever its size."""
    return File(Plain(content) if isinstance(content, bytes) else content, large=True, xet=xet)


def regular(content: Content | bytes) -> File:
    """A file that git holds itself, whatever its size."""
    return File(Plain(content) if isinstance(content, bytes) else content)


def as_file(value: File | Content | bytes | str) -> File:
    """What a test wrote down: bytes and text are regular files, generated content is a large one."""
    if isinstance(value, File):
        return value
    if isinstance(value, str):
        value = value.encode()
    return regular(value) if isinstance(value, bytes | Plain) else lfs(value)
