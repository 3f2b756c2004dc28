"""
Shards: which terms a file is made of, and which chunks are in a xorb (XET 6.2).

A client uploads one after its xorbs. `parse_shard` reads it from front to back and ignores what comes after the
second section: by version, clients send a footer, announce one and send none, or neither. It checks the layout
only. What the shard says of xorbs, terms and hashes is a claim, for the caller to hold against what is stored.
A shard may list hundreds of thousands of files and terms: they are kept as the bytes they came in, and become
objects one at a time.

`render_dedup_shard` makes the other kind, the answer to a dedup query: no files, and a footer.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from hubreg.errors import Invalid, TooLarge
from hubreg.formats.chunking import HASH_SIZE, NO_HASH, Buffer, Node, dedup_hmac, hash_string, range_hash
from hubreg.formats.xorb import MAX_CHUNKS, ChunkIndex
from hubreg.model import Sha256

MAX_SHARD = 64 * 1024 * 1024  # bytes

_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
_VERSION = 2
_HEAD = struct.Struct("<32sQQ")  # tag, version, size of the footer
_FILE_HEAD = struct.Struct("<32sII8x")  # hash, flags, number of terms
_TERM = struct.Struct("<32s4xIII")  # hash of the xorb, bytes, first chunk, chunk after the last
_PROOF = struct.Struct("<32s16x")
_XORB_HEAD = struct.Struct("<32sIIII")  # hash, flags, number of chunks, bytes unpacked, bytes serialized
_CHUNK = np.dtype(
    [("hash", f"V{HASH_SIZE}"), ("start", "<u4"), ("size", "<u4"), ("flags", "<u4"), ("unused", "<u4")]
)
_RECORD = 48  # bytes of each of these
_BOOKEND = b"\xff" * HASH_SIZE + bytes(16)  # ends a section

_WITH_PROOFS, _WITH_SHA256 = 1 << 31, 1 << 30  # flags of a file
_GLOBAL = 1 << 31  # flag of a chunk
_FOOTER = struct.Struct("<9Q32s12Q")
_FOOTER_VERSION = 1


# --- what is in one ---


@dataclass(frozen=True, slots=True)
class Term:
    """
    A piece of a file: the chunks of a xorb from `start` to before `end`, `unpacked` bytes together.

    `range_hash` proves that whoever wrote the term knows its chunks, not only the xorb's name.
    """

    xorb: bytes
    unpacked: int
    start: int
    end: int
    range_hash: bytes | None

    def check(self, index: ChunkIndex) -> list[Node]:
        """The term's chunks, out of the index of its xorb. Raises `Invalid` for a term that does not agree with it."""
        name = f"The term of chunks {self.start} to {self.end} of xorb {hash_string(self.xorb)}"
        if not self.start < self.end <= len(index):
            raise Invalid(f"{name} lies outside: the xorb has {len(index)} chunks.")
        if index.unpacked(self.start, self.end) != self.unpacked:
            raise Invalid(f"{name} does not have the {self.unpacked} bytes that the shard says.")
        if self.range_hash is None or range_hash(index.hashes(self.start, self.end)) != self.range_hash:
            raise Invalid(f"{name} comes without the right range hash.")
        return index.nodes(self.start, self.end)


T = TypeVar("T")


class Entries(Generic[T]):
    """A read-only list whose items are made from the shard's bytes each time one is asked for."""

    __slots__ = ("_build", "_places")

    def __init__(self, places: array[int] | range, build: Callable[[int], T]) -> None:
        self._places = places
        self._build = build

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> T:
        return self._build(self._places[number])

    def __iter__(self) -> Iterator[T]:
        return map(self._build, self._places)


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file, by its Xet hash. That its content has this `sha256` is no more than said."""

    hash: bytes
    terms: Entries[Term]
    sha256: Sha256 | None


@dataclass(frozen=True, slots=True)
class ShardXorb:
    """A xorb as the shard lists it; `unpacked` and `size` (serialized) in bytes, neither of which proves anything."""

    hash: bytes
    flags: int
    unpacked: int
    size: int
    chunks: npt.NDArray[np.void]

    def check(self, index: ChunkIndex) -> None:
        """Raises `Invalid` if these are not the chunks of the xorb, which `index` has as they were measured."""
        same = len(self.chunks) == len(index) and self.chunks["size"].tolist() == index.sizes()
        if not same or self.chunks["hash"].tobytes() != index.hashes():
            raise Invalid(f"The shard lists other chunks of xorb {hash_string(self.hash)} than it has.")

    def marked(self) -> list[int]:
        """The numbers of the chunks that the client wants to be found by others (XET 7)."""
        numbers: list[int] = np.flatnonzero(self.chunks["flags"] & _GLOBAL).tolist()
        return numbers


@dataclass(frozen=True, slots=True)
class Shard:
    """It keeps the bytes it was parsed from."""

    files: Entries[ShardFile]
    xorbs: Entries[ShardXorb]


# --- reading an upload ---


def parse_shard(data: Buffer) -> Shard:
    """Raises `Invalid` for what is no shard, `TooLarge` for one that no client sends."""
    if len(data) > MAX_SHARD:
        raise TooLarge(f"A shard has at most {MAX_SHARD} bytes.")
    view = memoryview(data)
    try:
        tag, version, _footer_size = _HEAD.unpack_from(view)
        if tag != _TAG or version != _VERSION:
            raise Invalid("This is no shard, or one of an unknown version.")
        files, end = _section(view, _HEAD.size, _file_records)
        xorbs, _ = _section(view, end, _xorb_records)
    except struct.error:
        raise Invalid("The shard is cut short.") from None
    return Shard(
        Entries(files, lambda place: _file(view, place)), Entries(xorbs, lambda place: _xorb(view, place))
    )


def _section(view: memoryview, at: int, records: Callable[[memoryview, int], int]) -> tuple[array[int], int]:
    """Where each entry begins, and where the section ends. `records` tells how many an entry takes."""
    places = array("I")
    while view[at : at + _RECORD] != _BOOKEND:
        places.append(at)
        at += records(view, at) * _RECORD
        if at > len(view):
            raise Invalid("The shard is cut short.")
    return places, at + _RECORD


def _file_records(view: memoryview, at: int) -> int:
    _, flags, count = _FILE_HEAD.unpack_from(view, at)
    return int(1 + count * (2 if flags & _WITH_PROOFS else 1) + bool(flags & _WITH_SHA256))


def _xorb_records(view: memoryview, at: int) -> int:
    name, _, count, _, _ = _XORB_HEAD.unpack_from(view, at)
    if not 0 < count <= MAX_CHUNKS:
        raise Invalid(f"A xorb has 1 to {MAX_CHUNKS} chunks; the shard lists {count} of {hash_string(name)}.")
    return int(1 + count)


def _file(view: memoryview, at: int) -> ShardFile:
    name, flags, count = _FILE_HEAD.unpack_from(view, at)
    terms = at + _RECORD
    proofs = terms + count * _RECORD
    with_proofs = bool(flags & _WITH_PROOFS)

    def term(place: int) -> Term:
        xorb, unpacked, start, end = _TERM.unpack_from(view, place)
        proof = _PROOF.unpack_from(view, place - terms + proofs)[0] if with_proofs else None
        return Term(xorb, unpacked, start, end, proof)

    sha256 = None
    if flags & _WITH_SHA256:
        (digest,) = _PROOF.unpack_from(view, proofs + with_proofs * count * _RECORD)
        sha256 = Sha256(hash_string(digest))  # in the shard each 8 bytes of it are reversed (XET 4.1)
    return ShardFile(name, Entries(range(terms, proofs, _RECORD), term), sha256)


def _xorb(view: memoryview, at: int) -> ShardXorb:
    name, flags, count, unpacked, size = _XORB_HEAD.unpack_from(view, at)
    return ShardXorb(name, flags, unpacked, size, np.frombuffer(view, _CHUNK, count, at + _RECORD))


# --- answering a dedup query ---


def render_dedup_shard(
    xorbs: Iterable[tuple[bytes, ChunkIndex]], hmac_key: bytes, created: int, expiry: int
) -> bytes:
    """
    The shard that names the chunks of `xorbs`, each given as its hash and its index (XET 7).

    Chunks go by their HMAC under `hmac_key`, 32 bytes; only a key of zeros gives their hashes away. `created` and
    `expiry` are Unix seconds; from then on clients no longer use the shard.
    """
    listed = list(xorbs)
    body = b"".join([_HEAD.pack(_TAG, _VERSION, _FOOTER.size), _BOOKEND])
    section = len(body)
    body += b"".join([_render_xorb(name, index, hmac_key) for name, index in listed]) + _BOOKEND
    stored, unpacked = sum(i.length for _, i in listed), sum(i.unpacked() for _, i in listed)
    # Offset and count for files, xorbs and chunks. Clients make their own, but take the offsets for the ends of
    # sections: with others they allocate by a negative length, or find nothing.
    lookups = (len(body), 0) * 3
    footer = _FOOTER.pack(
        *(_FOOTER_VERSION, _HEAD.size, section, *lookups),
        hmac_key,
        *(created, expiry, 0, 0, 0, 0, 0, 0, stored, 0, unpacked, len(body)),
    )
    return body + footer


def _render_xorb(name: bytes, index: ChunkIndex, hmac_key: bytes) -> bytes:
    hashes = index.hashes()
    if hmac_key != NO_HASH:
        starts = range(0, len(hashes), HASH_SIZE)
        hashes = b"".join([dedup_hmac(hashes[at : at + HASH_SIZE], hmac_key) for at in starts])
    chunks = np.zeros(len(index), _CHUNK)
    chunks["hash"] = np.frombuffer(hashes, chunks["hash"].dtype)
    chunks["size"] = index.sizes()
    chunks["start"][1:] = np.cumsum(chunks["size"])[:-1]
    return _XORB_HEAD.pack(name, 0, len(index), index.unpacked(), index.length) + chunks.tobytes()
