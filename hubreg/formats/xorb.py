"""
Xorbs: up to 8192 chunks, compressed one by one, back to back (XET 6.1).

A serialized chunk is a header of 8 bytes and a payload. `XorbReader` checks an upload as it arrives: it never holds
more than one chunk, and no payload unpacks to more than its header says, which is at most 128 KiB. What it found
is a `ChunkIndex`, which is all that is needed later to serve ranges and to judge shards.

Unpacking and hashing let other threads run; call them in one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lz4.frame
import numpy as np
import numpy.typing as npt

from hubreg.errors import Damaged, Invalid, TooLarge
from hubreg.formats.chunking import (
    GLOBAL_AT,
    HASH_SIZE,
    MAX_CHUNK,
    Buffer,
    Node,
    chunk_hash,
    hash_string,
    merkle_root,
)

MAX_XORB = 64 * 1024 * 1024  # bytes, serialized
MAX_CHUNKS = 8192
HEADER_SIZE = 8

_MAX_PAYLOAD = 2 * MAX_CHUNK  # what the clients' own parser accepts
_MAX_FOOTER = 1024 * 1024
_FOOTER = b"XETBLOB"
_PLAIN, _LZ4, _GROUPED_LZ4 = 0, 1, 2
_HEADER = struct.Struct("<II")


# --- the index ---


@dataclass(frozen=True, slots=True)
class XorbChunk:
    """A chunk of a xorb. Its `offset`, that of its header, is in the serialized form; `size` in bytes, unpacked."""

    hash: bytes
    size: int
    offset: int


_PACKED = struct.Struct(f"<{HASH_SIZE}sII")
_RECORD = np.dtype([("hash", f"V{HASH_SIZE}"), ("size", "<u4"), ("offset", "<u4")])
ENTRY_SIZE = _RECORD.itemsize  # bytes of a chunk in a packed index


class ChunkIndex:
    """The chunks of one xorb, in 40 bytes each. Ranges of chunks end before `end`, as everywhere in Xet."""

    __slots__ = ("_records", "length")

    def __init__(self, records: npt.NDArray[np.void], length: int) -> None:
        self._records = records
        self.length = length
        """Bytes of the serialized chunks, their headers included."""

    @classmethod
    def parse(cls, packed: Buffer, length: int) -> ChunkIndex:
        """What `render` made, of a xorb of `length` bytes. Raises `Damaged` if it cannot be that."""
        if len(packed) % _RECORD.itemsize or not packed:
            raise Damaged("A xorb's chunk index has the wrong length.")
        return cls(np.frombuffer(packed, _RECORD), length)

    @classmethod
    def plain(cls, hashes: Buffer, sizes: Sequence[int]) -> ChunkIndex:
        """Of a xorb that is serialized without compression: `hashes` joined, and the `sizes` of the chunks."""
        records = np.empty(len(sizes), _RECORD)
        records["hash"] = np.frombuffer(hashes, f"V{HASH_SIZE}")
        records["size"] = sizes
        ends = np.cumsum(records["size"].astype(np.int64) + HEADER_SIZE)
        records["offset"][0] = 0
        records["offset"][1:] = ends[:-1]
        return cls(records, int(ends[-1]))

    def render(self) -> bytes:
        return self._records.tobytes()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> XorbChunk:
        name, size, offset = self._records[number].item()
        return XorbChunk(bytes(name), size, offset)

    def __iter__(self) -> Iterator[XorbChunk]:
        for name, size, offset in self._records.tolist():
            yield XorbChunk(bytes(name), size, offset)

    def hashes(self, start: int = 0, end: int | None = None) -> bytes:
        """The hashes of the chunks in a range, joined: what `range_hash` is taken over."""
        return self._records["hash"][start:end].tobytes()

    def sizes(self, start: int = 0, end: int | None = None) -> list[int]:
        sizes: list[int] = self._records["size"][start:end].tolist()
        return sizes

    def nodes(self, start: int = 0, end: int | None = None) -> list[Node]:
        return [Node(bytes(h), size) for h, size, _ in self._records[start:end].tolist()]

    def unpacked(self, start: int = 0, end: int | None = None) -> int:
        """The bytes that a range of chunks unpacks to."""
        return int(self._records["size"][start:end].sum(dtype=np.int64))

    def global_chunks(self) -> list[int]:
        """The numbers of the chunks of which `is_global` is true."""
        words = np.frombuffer(self.hashes(), "<u8").reshape(-1, HASH_SIZE // 8)
        numbers: list[int] = np.flatnonzero(words[:, -1] % GLOBAL_AT == 0).tolist()
        return numbers

    def chunks_at(self, start: int, end: int) -> tuple[int, int]:
        """The chunks that bytes of the serialized form, from `start` up to `end`, belong to."""
        offsets = self._records["offset"]
        first = int(np.searchsorted(offsets, start, "right")) - 1
        return first, max(first, int(np.searchsorted(offsets, end, "left")))

    def extent(self, start: int, end: int) -> tuple[int, int]:
        """Where a range of chunks begins and ends in the serialized form; the last byte is before the end."""
        last = self.length if end == len(self) else int(self._records["offset"][end])
        return int(self._records["offset"][start]), last


# --- one chunk ---


@dataclass(frozen=True, slots=True)
class _Header:
    payload: int
    scheme: int
    size: int


def _parse_header(data: Buffer) -> _Header:
    """Version, length of the payload in 3 bytes, scheme, size in 3 bytes; each within its bounds."""
    low, high = _HEADER.unpack_from(data)
    header = _Header(low >> 8, high & 0xFF, high >> 8)
    if low & 0xFF != 0:
        raise Invalid("A chunk of the xorb has a header of an unknown version.")
    if not 0 < header.size <= MAX_CHUNK:
        raise Invalid(f"A chunk has 1 to {MAX_CHUNK} bytes; the xorb has one of {header.size}.")
    if not 0 < header.payload <= _MAX_PAYLOAD:
        raise Invalid(
            f"A chunk's payload has 1 to {_MAX_PAYLOAD} bytes; the xorb has one of {header.payload}."
        )
    if header.scheme not in (_PLAIN, _LZ4, _GROUPED_LZ4):
        raise Invalid(f"A chunk of the xorb is compressed by the unknown scheme {header.scheme}.")
    return header


def _unpack(header: _Header, payload: memoryview) -> Buffer:
    """The chunk's bytes: exactly as many as its header says, or `Invalid`."""
    if header.scheme == _PLAIN:
        if header.payload != header.size:
            raise Invalid("An uncompressed chunk of the xorb has two lengths.")
        return payload
    data = _unpack_lz4(payload, header.size)
    return data if header.scheme == _LZ4 else _regroup(data)


def _unpack_lz4(frame: memoryview, size: int) -> bytes:
    context = lz4.frame.create_decompression_context()
    try:
        # One byte more than there should be tells a frame that goes on; nothing is unpacked beyond it.
        data, used, ended = lz4.frame.decompress_chunk(context, frame, max_length=size + 1)
    except RuntimeError as error:
        raise Invalid("A chunk of the xorb is not an LZ4 frame.") from error
    if len(data) != size or used != len(frame) or not ended:
        raise Invalid(f"A chunk of the xorb does not unpack to the {size} bytes that its header says.")
    return bytes(data)


def _regroup(grouped: bytes) -> Buffer:
    """
    Undo BG4: the bytes whose index is 0 modulo 4 come first, then those of 1, of 2, of 3.

    Widening whole groups to 32-bit words and shifting them into place is several times as fast as moving bytes.
    """
    whole, rest = divmod(len(grouped), 4)
    data = np.frombuffer(grouped, np.uint8)
    starts = [number * whole + min(number, rest) for number in range(4)]  # the first groups are a byte longer
    buffer = np.empty(whole + 1, "<u4")
    words = buffer[:whole]
    np.copyto(words, data[starts[3] : starts[3] + whole])
    for start in (starts[2], starts[1], starts[0]):
        words <<= 8
        words |= data[start : start + whole].astype("<u4")
    regrouped = buffer.view(np.uint8)[: len(grouped)]
    regrouped[4 * whole :] = data[[start + whole for start in starts[:rest]]]
    return regrouped.data


def unpack_chunk(serialized: Buffer) -> Buffer:
    """The bytes of one serialized chunk. Raises `Invalid` for what is none, or goes on after it."""
    view = memoryview(serialized)
    if len(view) < HEADER_SIZE:
        raise Invalid("The xorb ends in the middle of a chunk.")
    header = _parse_header(view)
    if len(view) != HEADER_SIZE + header.payload:
        raise Invalid("The xorb ends in the middle of a chunk.")
    return _unpack(header, view[HEADER_SIZE:])


def decode_chunks(serialized: Buffer) -> list[Buffer]:
    """
    The bytes of each of some whole chunks, back to back, as they are kept. Raises `Damaged` if they are not whole.

    Those that are not compressed are views of `serialized`.
    """
    view = memoryview(serialized)
    chunks = []
    start = 0
    try:
        while start < len(view):
            header = _parse_header(view[start : start + HEADER_SIZE])
            end = start + HEADER_SIZE + header.payload
            chunks.append(_unpack(header, view[start + HEADER_SIZE : end]))
            start = end
    except (Invalid, struct.error) as error:
        raise Damaged("A stored xorb is damaged.") from error
    if start != len(view):
        raise Damaged("A stored xorb is cut short.")
    return chunks


# --- serializing without compression ---


def raw_header(length: int) -> bytes:
    """The header of a chunk of `length` bytes that is not compressed."""
    return _HEADER.pack(length << 8, length << 8)


def raw_headers(lengths: Sequence[int]) -> bytes:
    """The headers of such chunks, joined: 8 bytes each, to be put before their chunks (XET 9)."""
    words = np.asarray(lengths, "<u4") << 8
    return np.repeat(words, 2).astype("<u4").tobytes()


# --- an upload ---


class XorbReader:
    """
    Checks a serialized xorb as it comes, in pieces of any length: `feed` each, then `finish`.

    A footer, as old clients send it, is recognised and left out: `length` says how many of the bytes are chunks and
    are to be kept. After an error the reader is of no more use.
    """

    def __init__(self) -> None:
        self._held = bytearray()  # of a chunk that has not come to its end
        self._records = bytearray()  # as in a `ChunkIndex`
        self._count = 0
        self._footer = False
        self._dropped = 0
        self.length = 0
        """Bytes of the chunks so far, headers included."""

    def feed(self, data: Buffer) -> None:
        """The next bytes. Raises `Invalid` or `TooLarge` as soon as the xorb cannot be right any more."""
        view = memoryview(data)
        at = self._complete_held(view) if self._held else 0
        while not self._footer and (taken := self._take_chunk(view[at:])):
            at += taken
        if self._footer:
            self._drop(len(view) - at)
        else:
            self._held += view[at:]

    def finish(self, expected: bytes) -> ChunkIndex:
        """The index, if the xorb is whole and its hash is `expected`. Raises `Invalid` otherwise."""
        if self._held:
            raise Invalid("The xorb ends in the middle of a chunk.")
        if not self._records:
            raise Invalid("The xorb has no chunk.")
        index = ChunkIndex.parse(bytes(self._records), self.length)
        root = merkle_root(index.nodes())
        if root != expected:
            raise Invalid(f"The hash of this xorb is {hash_string(root)}, not {hash_string(expected)}.")
        return index

    def _complete_held(self, view: memoryview) -> int:
        """Complete the chunk that was begun, first its header, as far as `view` goes. Returns what it took of it."""
        taken = 0
        while self._held and taken < len(view) and not self._footer:
            missing = self._wanted() - len(self._held)
            self._held += view[taken : taken + missing]
            taken += missing
            if taken <= len(view) and self._take_chunk(memoryview(bytes(self._held))):
                self._held.clear()
        return min(taken, len(view))

    def _wanted(self) -> int:
        """The bytes of the chunk that was begun, or those that tell."""
        held = self._held
        return HEADER_SIZE if len(held) < HEADER_SIZE else HEADER_SIZE + _parse_header(held).payload

    def _take_chunk(self, view: memoryview) -> int:
        """Check the chunk that `view` begins with. Returns its length; 0 if it is not all there."""
        if len(view) < HEADER_SIZE:
            return 0
        if view[: len(_FOOTER)] == _FOOTER:
            self._footer = True
            return 0
        header = _parse_header(view)
        end = HEADER_SIZE + header.payload
        if self._count == MAX_CHUNKS:
            raise TooLarge(f"A xorb has at most {MAX_CHUNKS} chunks.")
        if self.length + end > MAX_XORB:
            raise TooLarge(f"A xorb has at most {MAX_XORB} bytes.")
        if len(view) < end:
            return 0
        data = _unpack(header, view[HEADER_SIZE:end])
        self._records += _PACKED.pack(chunk_hash(data), header.size, self.length)
        self._count += 1
        self.length += end
        return end

    def _drop(self, count: int) -> None:
        self._held.clear()
        self._dropped += count
        if self._dropped > _MAX_FOOTER:
            raise TooLarge("The footer of the xorb is too long.")
