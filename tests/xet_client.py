"""
What a Xet client makes of a file: chunks, xorbs and the shard. Every part can be made wrong on purpose.

Cutting and hashing are hubreg's own, which `tests/formats` holds against recordings of the real client; serialization
is written down here once more.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import lz4.frame

from hubreg.formats.chunking import Chunker, Node, chunk_hash, file_hash, hash_string, merkle_root, range_hash
from hubreg.model import Sha256, XetHash

PLAIN, LZ4 = 0, 1
TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
BOOKEND = b"\xff" * 32 + bytes(16)


def some(size: int, seed: int = 0) -> bytes:
    """Bytes that are nowhere the same."""
    return random.Random(seed).randbytes(size)


def sha256_of(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


def cut(content: bytes) -> list[bytes]:
    """The chunks that a client makes of a file."""
    chunker = Chunker()
    lengths = [*chunker.feed(content), *chunker.finish()]
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    return [content[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def nodes(chunks: Sequence[bytes]) -> list[Node]:
    return [Node(chunk_hash(chunk), len(chunk)) for chunk in chunks]


@dataclass(frozen=True)
class Xorb:
    """A xorb as it is sent: `body` to the URL that ends with `name`."""

    chunks: tuple[bytes, ...]
    scheme: int = PLAIN
    footer: bytes = b""

    @property
    def hash(self) -> bytes:
        return merkle_root(nodes(self.chunks))

    @property
    def name(self) -> XetHash:
        return XetHash(hash_string(self.hash))

    @property
    def body(self) -> bytes:
        return b"".join(serialized(chunk, self.scheme) for chunk in self.chunks) + self.footer


def serialized(chunk: bytes, scheme: int = PLAIN) -> bytes:
    payload = lz4.frame.compress(chunk) if scheme == LZ4 else chunk
    return (
        bytes([0, *len(payload).to_bytes(3, "little"), scheme, *len(chunk).to_bytes(3, "little")]) + payload
    )


@dataclass(frozen=True)
class Term:
    """A term as a shard has it. Without a `proof` it is the right one."""

    xorb: Xorb
    start: int
    end: int
    unpacked: int | None = None
    proof: bytes | None = None
    named: bytes | None = None  # the xorb's hash, if it is to be another

    def render(self) -> bytes:
        unpacked = (
            sum(map(len, self.xorb.chunks[self.start : self.end])) if self.unpacked is None else self.unpacked
        )
        return struct.pack("<32sIIII", self.named or self.xorb.hash, 0, unpacked, self.start, self.end)

    def render_proof(self) -> bytes:
        proof = self.proof
        if proof is None:
            proof = range_hash([node.hash for node in nodes(self.xorb.chunks[self.start : self.end])])
        return struct.pack("<32s16x", proof)


@dataclass(frozen=True)
class File:
    """A file as a shard has it. Without a `hash` it is the right one; `sha256` None is left out."""

    terms: tuple[Term, ...]
    sha256: Sha256 | None = None
    hash: bytes | None = None
    proofs: bool = True

    @property
    def right_hash(self) -> bytes:
        return file_hash(
            nodes([chunk for term in self.terms for chunk in term.xorb.chunks[term.start : term.end]])
        )

    @property
    def name(self) -> XetHash:
        return XetHash(hash_string(self.hash or self.right_hash))

    def render(self) -> bytes:
        flags = (1 << 31 if self.proofs else 0) | (1 << 30 if self.sha256 else 0)
        records = [struct.pack("<32sII8x", self.hash or self.right_hash, flags, len(self.terms))]
        records += [term.render() for term in self.terms]
        records += [term.render_proof() for term in self.terms] if self.proofs else []
        if self.sha256:
            digest = bytes.fromhex(self.sha256)
            records.append(b"".join(digest[at : at + 8][::-1] for at in range(0, 32, 8)) + bytes(16))
        return b"".join(records)


def shard(files: Sequence[File], xorbs: Sequence[Xorb], *, flags: int = 0) -> bytes:
    """`flags` of every chunk: 1 << 31 marks it as one that others may ask for."""
    parts = [struct.pack("<32sQQ", TAG, 2, 0), *(file.render() for file in files), BOOKEND]
    for xorb in xorbs:
        unpacked = sum(map(len, xorb.chunks))
        parts.append(struct.pack("<32sIIII", xorb.hash, 0, len(xorb.chunks), unpacked, len(xorb.body)))
        start = 0
        for node in nodes(xorb.chunks):
            parts.append(struct.pack("<32sIIII", node.hash, start, node.size, flags, 0))
            start += node.size
    return b"".join([*parts, BOOKEND])


@dataclass(frozen=True)
class Package:
    """A file, ready to be sent."""

    content: bytes
    xorbs: tuple[Xorb, ...]
    file: File = field(repr=False)

    @property
    def sha256(self) -> Sha256:
        return sha256_of(self.content)

    @property
    def shard(self) -> bytes:
        return shard([self.file], self.xorbs)

    def lying(self, **changes: object) -> Package:
        """The same with something else about the file."""
        return replace(self, file=replace(self.file, **changes))


def package(content: bytes, *, per_xorb: int = 1000, scheme: int = PLAIN, footer: bytes = b"") -> Package:
    """A file in xorbs of so many chunks each."""
    chunks = cut(content)
    xorbs = tuple(
        Xorb(tuple(chunks[at : at + per_xorb]), scheme, footer) for at in range(0, len(chunks), per_xorb)
    )
    terms = tuple(Term(xorb, 0, len(xorb.chunks)) for xorb in xorbs)
    return Package(content, xorbs, File(terms, sha256_of(content)))
