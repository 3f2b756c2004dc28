"""
Git's packs (gitformat-pack, version 2) in the making: the one stream in which git sends objects.

Objects are whole, or deltas where the caller has one. `formats.unpacking` is the other direction.
"""

from __future__ import annotations

import hashlib
import re
import zlib

from hubreg.model import Oid

KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
CODES = {kind: code for code, kind in KINDS.items()}
OFFSET_DELTA, REF_DELTA = 6, 7  # in the place of a kind: a delta upon what is so far back, or has that name


class Encoder:
    """
    The bytes of a pack of `count` objects: those of `start`, of each object in any order, of `close`.

    An object is given whole, or as `begin`, pieces that add up to its size, `end`. Compressing is most of the work:
    call this in a thread.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._hash = hashlib.sha1(usedforsecurity=False)

    def start(self) -> bytes:
        return self._hashed(b"PACK" + (2).to_bytes(4) + self._count.to_bytes(4))

    def whole(self, kind: str, data: bytes) -> bytes:
        stream = _compressor(len(data))
        return self._hashed(_head(CODES[kind], len(data)) + stream.compress(data) + stream.flush())

    def delta(self, base: Oid, steps: bytes) -> bytes:
        """An object by what `steps` make of another one, which is in the same pack, before or behind it."""
        stream = _compressor(len(steps))
        head = _head(REF_DELTA, len(steps)) + bytes.fromhex(base)
        return self._hashed(head + stream.compress(steps) + stream.flush())

    def begin(self, kind: str, size: int) -> bytes:
        self._stream = _compressor(size)
        return self._hashed(_head(CODES[kind], size))

    def piece(self, data: bytes) -> bytes:
        return self._hashed(self._stream.compress(data))

    def end(self) -> bytes:
        return self._hashed(self._stream.flush())

    def close(self) -> bytes:
        return self._hash.digest()

    def _hashed(self, data: bytes) -> bytes:
        self._hash.update(data)
        return data


def _compressor(size: int) -> zlib._Compress:
    # Level 6 makes packs a few percent smaller and takes three times as long. Most objects are small, and for those
    # the work is making room for the usual window of 32 kB: 11 us with one of 4 kB, else 60 (measured at 840 bytes).
    return zlib.compressobj(1, wbits=12, memLevel=5) if size <= 4096 else zlib.compressobj(1)


def _head(code: int, size: int) -> bytes:
    """Kind and size: four bits of the size beside the kind, then seven to a byte, lowest first."""
    head = bytearray()
    byte, size = code << 4 | size & 15, size >> 4
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head)


_LINK = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)


def tree_links(data: bytes) -> tuple[list[tuple[bytes, Oid]], list[Oid]]:
    """The folders that a tree names, by name, and its files: in half of the time that `parse_tree` takes."""
    folders, files = [], []
    for mode, name, oid in _LINK.findall(data):
        if mode == b"40000":
            folders.append((name, Oid(oid.hex())))
        elif mode != b"160000":
            files.append(Oid(oid.hex()))
    return folders, files
