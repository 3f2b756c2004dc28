"""
What a plain file is in Xet: chunks, and virtual xorbs over its bytes (XET 9).

A virtual xorb is a run of the file's chunks, one after the other. Serialized without compression it is the file's own
bytes with a header before each chunk, so it need not be kept: where it begins in the file and how long its chunks are
is enough.

`PlainFile` takes a stream of any length and holds a bounded part of it: what was fed since the last cut, and the chunk
list of the xorb that is being filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from hubreg.formats.chunking import DATA_KEY, Buffer, MerkleHash, Node, chunk_hash, hash_string, merkle_root
from hubreg.formats.xorb import HEADER_SIZE, MAX_CHUNKS, MAX_XORB, ChunkIndex
from hubreg.model import XetHash


class Cutter(Protocol):
    """Says where a stream is cut: `formats.chunking.Chunker`, or something that cuts alike and is faster."""

    def feed(self, data: Buffer) -> list[int]:
        """The lengths of chunks that are known to have ended."""
        ...

    def finish(self) -> list[int]:
        """The lengths of those that end with the stream."""
        ...


@dataclass(frozen=True, slots=True)
class VirtualXorb:
    """The first of its chunks begins `offset` bytes into the file."""

    hash: XetHash
    offset: int
    index: ChunkIndex


class PlainFile:
    """`feed` it the file from the beginning and `finish`; take the xorbs as they fill, and at the end the `hash`."""

    def __init__(self, cutter: Cutter) -> None:
        self._cutter = cutter
        self._uncut = b""  # what was fed and belongs to no chunk yet
        self._nodes: list[Node] = []  # of the xorb that is being filled
        self._serialized = 0
        self._offset = 0  # of that xorb in the file
        self._merkle = MerkleHash()
        self.first: XetHash | None = None
        """The first chunk of the file, which clients ask for by name (XET 7)."""

    def feed(self, data: Buffer) -> list[VirtualXorb]:
        """The next bytes. They are not kept, but for a copy of what follows the last cut."""
        view = memoryview(data)
        return self._take(self._cutter.feed(view), view)

    def finish(self) -> list[VirtualXorb]:
        xorbs = self._take(self._cutter.finish(), memoryview(b""))
        return [*xorbs, self._full()] if self._nodes else xorbs

    def hash(self) -> XetHash:
        """Of the file, once it is finished."""
        return XetHash(hash_string(self._merkle.file_hash()))

    def _take(self, lengths: list[int], view: memoryview) -> list[VirtualXorb]:
        """Chunks of these lengths, the first of which begins with what is uncut, and goes on in `view`."""
        xorbs = []
        uncut = memoryview(self._uncut)
        at = -len(uncut)
        for length in lengths:
            digest = _digest(uncut, view, at, at + length)
            at += length
            if self._serialized + HEADER_SIZE + length > MAX_XORB or len(self._nodes) == MAX_CHUNKS:
                xorbs.append(self._full())
            self._nodes.append(Node(digest, length))
            self._serialized += HEADER_SIZE + length
        self._uncut = bytes(uncut[at:] if at < 0 else b"") + view[max(0, at) :]
        if self.first is None and self._nodes:
            self.first = XetHash(hash_string(self._nodes[0].hash))
        return xorbs

    def _full(self) -> VirtualXorb:
        nodes, self._nodes, self._serialized = self._nodes, [], 0
        self._merkle.update(nodes)
        sizes = [node.size for node in nodes]
        index = ChunkIndex.plain(b"".join([node.hash for node in nodes]), sizes)
        xorb = VirtualXorb(XetHash(hash_string(merkle_root(nodes))), self._offset, index)
        self._offset += sum(sizes)
        return xorb


def _digest(uncut: memoryview, view: memoryview, start: int, end: int) -> bytes:
    """The hash of a chunk. Offsets are those in `view`, below 0 counted from the end of `uncut`, which comes before."""
    if start >= 0:
        return chunk_hash(view[start:end])
    if end <= 0:
        return chunk_hash(uncut[start : end or None])
    hashed = blake3(uncut[start:], key=DATA_KEY)
    hashed.update(view[:end])
    return hashed.digest()
