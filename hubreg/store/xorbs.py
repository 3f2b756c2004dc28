"""
Xorbs: chunks that came by Xet, kept as they came, and read back as content.

A xorb is named by what it unpacks to, so the same one may come in two serialized forms. Each upload therefore gets a
file name of its own, and the row that is written first says which file counts and where in it each chunk is: the two
cannot come apart. The order is that of `store.local`: written beside its place and checked on the way, synced, renamed,
the directory synced, then the row. Who is killed in between leaves a file that no row names, for the collector.

A virtual xorb has a row and no file: its chunks are bytes of a blob that is there anyway (XET 9).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hubreg.errors import Damaged
from hubreg.formats.chunking import Buffer, hash_bytes
from hubreg.formats.terms import Span, Terms
from hubreg.formats.xorb import HEADER_SIZE, ChunkIndex, XorbReader, decode_chunks, raw_header
from hubreg.model import Sha256, XetHash
from hubreg.store import xet
from hubreg.store.blobs import CHUNK
from hubreg.store.db import Database, Tx
from hubreg.store.disk import Disk
from hubreg.store.fresh import Bounded
from hubreg.store.layout import Layout
from hubreg.store.threads import run_in
from hubreg.store.xet import Xorb

T = TypeVar("T")

_INDEXES = 16 << 20  # bytes of chunk indexes that are held: of some 400 xorbs
_HASHED = 4 * CHUNK  # bytes of content that are hashed with one trip to a thread
_SPANS = 256  # terms that are looked at without a pause, however small they are


class XorbUpload:
    """
    A serialized xorb on its way in. Every chunk is unpacked and hashed as it comes; what is wrong is refused there and
    then, with `Invalid` or `TooLarge`, and no more of it is written.
    """

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout, self._disk = layout, disk
        self._path = layout.temporary()
        self._handle: int | None = None
        self._reader = XorbReader()
        self._written = 0

    @property
    def begun(self) -> bool:
        return self._handle is not None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        self._reader.feed(view)
        if self._handle is None:
            self._handle = self._disk.create(self._path)
        self._disk.write(self._handle, view, self._written)
        self._written += len(view)

    def finish(self, expected: XetHash) -> Xorb:
        """
        The xorb, in its place and durable, if it is whole and this is its hash. It is not there for anybody before it
        has a row. Raises `Invalid`.
        """
        index = self._reader.finish(hash_bytes(expected))
        assert self._handle is not None  # noqa: S101 there is a chunk, so there was a write
        xorb = Xorb(expected, secrets.token_hex(4), index.length, index.unpacked(), index.render())
        final = self._layout.xorb(xorb.hash, xorb.tag)
        if self._written != index.length:
            self._disk.truncate(self._handle, index.length)  # a footer
        self._disk.sync(self._handle)
        self._disk.rename(self._path, final)
        self._close()
        self._disk.sync_directory(final.parent)
        return xorb

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._disk.close(handle)

    def discard(self) -> None:
        if self.begun:
            self._close()
            self._disk.remove(self._path)


class Scratch:
    """Bytes that are needed for a moment, and too many to be held while they arrive. Nothing of it is durable."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self._handle: int | None = None
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._handle is None:
            self._handle = self._disk.create(self._path)
        view = memoryview(data).cast("B")
        self._disk.write(self._handle, view, self.size)
        self.size += len(view)

    def read(self) -> bytes:
        return os.pread(self._handle, self.size, 0) if self._handle is not None else b""

    def discard(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._disk.close(handle)
            self._disk.remove(self._path)


@dataclass(frozen=True, slots=True)
class Held:
    """A xorb that is here, and where its bytes are: its own file, or the blob that a virtual one is part of."""

    hash: XetHash
    tag: str
    size: int
    index: ChunkIndex
    path: Path
    virtual: bool
    plain_offset: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Bytes of a file that hold whole chunks, and which part of what they unpack to is wanted."""

    path: Path
    offset: int
    length: int
    plain: bool  # the bytes are the content
    skip: int
    take: int


class Xorbs:
    """The xorbs of a data directory. One per process and event loop."""

    def __init__(self, layout: Layout, db: Database, disk: Disk | None = None, threads: int = 4) -> None:
        self.layout, self.disk = layout, disk or Disk()
        self._db = db
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="hubreg-xorb")
        self._known: Bounded[XetHash, Held] = Bounded(_INDEXES, lambda held: 40 * len(held.index) + 500)

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await run_in(self._executor, function, *args)

    # in

    @asynccontextmanager
    async def create(self) -> AsyncIterator[XorbUpload]:
        """An upload; leaving it without `finish` throws it away."""
        upload = XorbUpload(self.layout, self.disk)
        try:
            yield upload
        finally:
            if upload.begun:
                await self.in_thread(upload.discard)

    async def publish(self, upload: XorbUpload, expected: XetHash) -> bool:
        """
        Keep what was uploaded; False if it was here already. Where only its row was, the upload takes its place. Raises
        `Invalid` for what has another hash.
        """
        xorb = await self.in_thread(upload.finish, expected)
        async with self._db.write() as tx:
            added = await xet.insert_xorb(tx, xorb)
            if not added and not await self._is_intact(tx, expected):
                await xet.replace_xorb(tx, xorb)
                added = True
        if not added:
            await self.in_thread(self.disk.remove, self.layout.xorb(xorb.hash, xorb.tag))
        return added

    async def _is_intact(self, tx: Tx, hash_: XetHash) -> bool:
        row = await xet.find_xorb(tx, hash_)
        return row is not None and _has_bytes(self._held(row))

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Scratch]:
        """A file that is gone when the context is left."""
        scratch = Scratch(self.layout.temporary(), self.disk)
        try:
            yield scratch
        finally:
            await self.in_thread(scratch.discard)

    # out

    async def find(self, hash_: XetHash) -> Held | None:
        held = self._known.get(hash_)
        # It may have been collected and sent again since, in another form.
        if held is None or held.tag != await xet.tag_of_xorb(self._db, hash_):
            row = await xet.find_xorb(self._db, hash_)
            if row is None:
                return None
            held = self._held(row)
            self._known.put(hash_, held)
        return held

    async def intact(self, hash_: XetHash) -> Held | None:
        """`find`, but None where the row is here and the bytes are not, as after a restore that lacked some."""
        held = await self.find(hash_)
        return held if held is not None and _has_bytes(held) else None

    async def get(self, hash_: XetHash) -> Held:
        """One that a row refers to. Raises `Damaged` where it is not there."""
        held = await self.find(hash_)
        if held is None:
            raise Damaged(f"The xorb {hash_} is missing.")
        return held

    def _held(self, row: Xorb) -> Held:
        virtual = row.plain_sha256 is not None
        path = self.layout.xorb(row.hash, row.tag)
        if row.plain_sha256 is not None:
            path = self.layout.blob(row.plain_sha256)
        index = ChunkIndex.parse(row.chunks, row.size)
        return Held(row.hash, row.tag, row.size, index, path, virtual, row.plain_offset)

    async def read(self, terms: Terms, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end` of a file of these terms, at most `CHUNK` at once."""
        async for stretches in self._batches(terms, start, end, CHUNK):
            yield await self.in_thread(_joined, stretches)

    async def sha256(self, terms: Terms) -> Sha256:
        """What the content of these terms really is."""
        hashed = hashlib.sha256()
        async for stretches in self._batches(terms, 0, terms.size, _HASHED):
            await self.in_thread(_hash, hashed, stretches)
        return Sha256(hashed.hexdigest())

    async def _batches(
        self, terms: Terms, start: int, end: int, limit: int
    ) -> AsyncIterator[Sequence[_Stretch]]:
        """
        The stretches that make up a part of a file, so many together that others get their turn: at most `_SPANS`, and
        what unpacks to `limit` bytes at most.
        """
        batch: list[_Stretch] = []
        size = 0
        held: Held | None = None
        first, last = terms.covering(start, end)
        at = terms.begin(first)
        for number in range(first, last, _SPANS):
            for span in terms.part(number, min(last, number + _SPANS)):
                if held is None or held.hash != span.xorb:
                    held = await self.get(span.xorb)
                skip = max(0, start - at)
                for stretch in _stretches(held, span, skip, min(span.unpacked, end - at) - skip):
                    if len(batch) == _SPANS or size + stretch.take > limit:
                        yield batch
                        batch, size = [], 0
                    batch.append(stretch)
                    size += stretch.take
                at += span.unpacked
        if batch:
            yield batch


def _has_bytes(held: Held) -> bool:
    try:
        size = held.path.stat().st_size
    except FileNotFoundError:
        return False
    return size >= (held.plain_offset + held.index.unpacked() if held.virtual else held.size)


def _stretches(held: Held, span: Span, skip: int, take: int) -> Iterator[_Stretch]:
    """`take` bytes of a term from `skip` on, in stretches of whole chunks that unpack to `CHUNK` bytes at most."""
    first, size = span.start, 0
    for number, length in enumerate(held.index.sizes(span.start, span.end), span.start):
        if not size and skip >= length:
            skip -= length
            first = number + 1
            continue
        if size + length > CHUNK:
            yield _stretch(held, first, number, skip, size - skip)
            take -= size - skip
            first, size, skip = number, 0, 0
        size += length
        if size - skip >= take:
            yield _stretch(held, first, number + 1, skip, take)
            return


def _stretch(held: Held, first: int, last: int, skip: int, take: int) -> _Stretch:
    if held.virtual:
        begin = held.plain_offset + held.index.unpacked(0, first)
        return _Stretch(held.path, begin + skip, take, True, 0, take)
    start, end = held.index.extent(first, last)
    return _Stretch(held.path, start, end - start, False, skip, take)


def pieces(held: Held, start: int, end: int) -> list[bytes | tuple[int, int]]:
    """
    The bytes from `start` up to `end` of a xorb's serialized form: bytes, and ranges of the file at its `path`. A
    virtual one is chunks of the file, each with a header before it.
    """
    if not held.virtual:
        return [(start, end)]
    found: list[bytes | tuple[int, int]] = []
    first, last = held.index.chunks_at(start, end)
    offset, content = held.index.extent(first, first)[0], held.plain_offset + held.index.unpacked(0, first)
    for size in held.index.sizes(first, last):
        low, high = max(0, start - offset), min(HEADER_SIZE + size, end - offset)
        if low < min(high, HEADER_SIZE):
            found.append(raw_header(size)[low:high])
        if high > max(low, HEADER_SIZE):
            found.append((content + max(0, low - HEADER_SIZE), content + high - HEADER_SIZE))
        offset, content = offset + HEADER_SIZE + size, content + size
    return found


def _joined(stretches: Sequence[_Stretch]) -> bytes:
    pieces = [piece for stretch in stretches for piece in _content(stretch)]
    return pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else b"".join(pieces)


def _hash(hashed: hashlib._Hash, stretches: Sequence[_Stretch]) -> None:
    for stretch in stretches:
        for piece in _content(stretch):
            hashed.update(piece)


def _content(stretch: _Stretch) -> list[Buffer]:
    """The wanted bytes of a stretch, in pieces."""
    data = _read(stretch)
    if stretch.plain:
        return [data]
    pieces: list[Buffer] = []
    skip, missing = stretch.skip, stretch.take
    for piece in decode_chunks(data):
        if skip >= len(piece):
            skip -= len(piece)
            continue
        wanted = memoryview(piece)[skip : skip + missing]
        skip = 0
        missing -= len(wanted)
        pieces.append(wanted)
        if not missing:
            break
    if missing:
        raise Damaged("A stored xorb has less in it than it should.")
    return pieces


def _read(stretch: _Stretch) -> bytes:
    try:
        handle = os.open(stretch.path, os.O_RDONLY)
    except FileNotFoundError:
        raise Damaged(f"The file {stretch.path.name} is missing.") from None
    try:
        data = os.pread(handle, stretch.length, stretch.offset)
    finally:
        os.close(handle)
    if len(data) != stretch.length:
        raise Damaged(f"The file {stretch.path.name} is shorter than it should be.")
    return data
