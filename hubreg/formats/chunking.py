"""
Xet's chunks: where a stream is cut, and the hashes over chunks, xorbs, ranges and files (XET 4, 8).

All hashes are BLAKE3, 32 bytes. `Chunker` and `MerkleHash` take a stream of any length and hold a bounded part of
it. They work on many bytes a call and let other threads run meanwhile; still, call them in a thread.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from hubreg.errors import Invalid

Buffer: TypeAlias = bytes | bytearray | memoryview

HASH_SIZE = 32
NO_HASH = bytes(HASH_SIZE)  # of the empty file

# --- hashes ---

DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
INTERNAL_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
VERIFICATION_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
_FILE_KEY = bytes(32)

_WORDS = struct.Struct("<4Q")
_TEXT = re.compile(r"[0-9a-f]{64}")

_FEWEST, _MOST = 3, 9  # nodes that are merged into one; fewer only where a level ends
_MERGES_AT = 4  # a group ends after a node whose last word is a multiple of this
GLOBAL_AT = 1024  # likewise the chunks that clients ask for by name (XET 7)


def hash_string(raw: bytes) -> str:
    """The form in URLs and JSON: four little-endian 64-bit words, each as 16 hex digits (XET 4.1)."""
    return "{:016x}{:016x}{:016x}{:016x}".format(*_WORDS.unpack(raw))


def hash_bytes(text: str) -> bytes:
    """What `hash_string` made. Raises `Invalid` for what is no hash; upper-case digits are none."""
    if not _TEXT.fullmatch(text):
        raise Invalid("A hash is written as 64 lower-case hex digits.")
    return _WORDS.pack(*[int(text[at : at + 16], 16) for at in range(0, 64, 16)])


def chunk_hash(data: Buffer) -> bytes:
    return blake3(data, key=DATA_KEY).digest()


def range_hash(chunk_hashes: Sequence[bytes] | Buffer) -> bytes:
    """What proves that an uploader knows the chunks of a term: over their hashes, in order (XET 4.6)."""
    joined = chunk_hashes if isinstance(chunk_hashes, Buffer) else b"".join(chunk_hashes)
    return blake3(joined, key=VERIFICATION_KEY).digest()


def dedup_hmac(chunk_hash: bytes, key: bytes) -> bytes:
    """How a chunk is named in an answer to a dedup query, so that the answer gives no hash away (XET 7)."""
    return blake3(chunk_hash, key=key).digest()


def is_global(chunk_hash: bytes) -> bool:
    """Whether clients ask for this chunk wherever it stands in a file (XET 7)."""
    return bool(_WORDS.unpack(chunk_hash)[3] % GLOBAL_AT == 0)


class Node(NamedTuple):
    """A chunk, or a merge of several: its hash and its size in bytes, uncompressed."""

    hash: bytes
    size: int


def merkle_root(nodes: Sequence[Node]) -> bytes:
    """The hash of a xorb of these chunks (XET 4.4)."""
    merkle = MerkleHash()
    merkle.update(nodes)
    return merkle.root()


def file_hash(nodes: Sequence[Node]) -> bytes:
    """The hash of a file of these chunks (XET 4.5)."""
    merkle = MerkleHash()
    merkle.update(nodes)
    return merkle.file_hash()


class MerkleHash:
    """
    The root over a list of chunks that comes in pieces, with a bounded memory: of each level, what is not merged.

    A group ends where its own nodes say so, and the rule for short ends only concerns the end of a level. So
    groups can be merged as they fill, and come out as if each level had been walked after the one before it.
    """

    def __init__(self) -> None:
        self._levels: list[list[Node]] = [[]]

    def update(self, nodes: Iterable[Node]) -> None:
        """The next chunks. Each piece may have any length; a few thousand are cheaper than one at a time."""
        self._levels[0].extend(nodes)
        level = 0
        while level < len(self._levels):
            pending = self._levels[level]
            ends = _groups(pending)
            if ends:
                if level + 1 == len(self._levels):
                    self._levels.append([])
                self._levels[level + 1].extend(_merged(pending, ends))
                del pending[: ends[-1]]
            level += 1

    def root(self) -> bytes:
        """The root so far: of one chunk its own hash, of none 32 zero bytes."""
        carried: list[Node] = []  # what the level below ends with
        for pending in self._levels[:-1]:
            level = pending + carried
            carried = _merged(level, [len(level)]) if level else []
        level = self._levels[-1] + carried
        if len(level) > 1:
            level = _merged(level, [len(level)])
        return level[0].hash if level else NO_HASH

    def file_hash(self) -> bytes:
        """The hash of the file that consists of the chunks so far."""
        root = self.root()
        return NO_HASH if root == NO_HASH else blake3(root, key=_FILE_KEY).digest()


def _groups(nodes: Sequence[Node]) -> list[int]:
    """Where the groups end that are complete, whatever follows (XET 4.3)."""
    ends = []
    start = 0
    for end, node in enumerate(nodes, 1):
        size = end - start
        lowest = node.hash[24]  # byte of the last word
        if size >= _FEWEST and (lowest % _MERGES_AT == 0 or size == _MOST):
            ends.append(end)
            start = end
    return ends


def _merged(nodes: Sequence[Node], ends: Sequence[int]) -> list[Node]:
    """One node for each group: over a line of text for each of its nodes."""
    words = np.frombuffer(b"".join([node.hash for node in nodes[: ends[-1]]]), "<u8")
    digits = words.astype(">u8").tobytes().hex()
    lines = [f"{digits[64 * at : 64 * at + 64]} : {node.size}\n" for at, node in enumerate(nodes[: ends[-1]])]
    merged = []
    start = 0
    for end in ends:
        text = "".join(lines[start:end]).encode()
        size = sum([node.size for node in nodes[start:end]])
        merged.append(Node(blake3(text, key=INTERNAL_NODE_KEY).digest(), size))
        start = end
    return merged


# --- where a stream is cut ---

MIN_CHUNK = 8 * 1024  # bytes; only the last chunk of a file is smaller
MAX_CHUNK = 128 * 1024
MASK = 0xFFFF_0000_0000_0000
_NO_BIT_OF_MASK = np.uint64((1 << 64) - MASK)  # hashes below

_WINDOW = 64  # bytes that the rolling hash knows: each byte shifts it by one bit, and it has 64
_BLOCK = 32 * 1024  # bytes that are hashed at once: the scratch arrays stay in the processor's second cache


class Chunker:
    """
    Cuts a stream where Xet's clients cut it: after the first byte of a chunk of at least `MIN_CHUNK` bytes at which the
    rolling hash has no bit of `MASK`, at `MAX_CHUNK` otherwise (XET 8). The pieces that are fed do not matter.

    A chunk's hash starts anew, but by the time it counts it has forgotten all but the last 64 bytes. So the
    bytes where a cut is possible do not depend on where the chunk began: they are found for a block at a time, and
    the cuts chosen among them.
    """

    def __init__(self) -> None:
        self._bytes = np.zeros(_WINDOW + _BLOCK, np.uint8)  # the window before the block, then the block
        self._filled = 0  # bytes of the block that are there
        self._offset = 0  # of the block in the stream
        self._start = 0  # of the open chunk in the stream
        self._hashes = np.empty(_WINDOW + _BLOCK, np.uint64)
        self._shifted = np.empty(_WINDOW + _BLOCK, np.uint64)

    def feed(self, data: Buffer) -> list[int]:
        """The lengths of chunks that are known to have ended. They may come some calls later than their bytes."""
        lengths: list[int] = []
        fresh = np.frombuffer(data, np.uint8)
        at = 0
        while at < len(fresh):
            taken = min(len(fresh) - at, _BLOCK - self._filled)
            begin = _WINDOW + self._filled
            self._bytes[begin : begin + taken] = fresh[at : at + taken]
            at += taken
            self._filled += taken
            if self._filled == _BLOCK:
                lengths += self._cut_block()
        return lengths

    def finish(self) -> list[int]:
        """The lengths of the last chunks. Of an empty stream there are none."""
        lengths = self._cut_block()
        if self._offset > self._start:
            lengths.append(self._offset - self._start)
            self._start = self._offset
        return lengths

    def _cut_block(self) -> list[int]:
        """Take the block, choose the cuts in it, and begin the next."""
        lengths = []
        for possible in self._possible_cuts().tolist():
            lengths += self._full_chunks(possible)
            if possible - self._start >= MIN_CHUNK:
                lengths.append(possible - self._start)
                self._start = possible
        self._offset += self._filled
        lengths += self._full_chunks(self._offset)
        self._bytes[:_WINDOW] = self._bytes[self._filled : self._filled + _WINDOW]
        self._filled = 0
        return lengths

    def _full_chunks(self, until: int) -> list[int]:
        """The chunks up to there that nothing ends but their size."""
        count = (until - self._start) // MAX_CHUNK
        self._start += count * MAX_CHUNK
        return [MAX_CHUNK] * count

    def _possible_cuts(self) -> npt.NDArray[np.intp]:
        """The offsets in the stream, each after a byte of the block, at which the rolling hash lets a chunk end."""
        size = _WINDOW + self._filled
        hashes, shifted = self._hashes[:size], self._shifted[:size]
        # A mode that cannot fail needs no copy of `out`.
        GEAR.take(self._bytes[:size], out=hashes, mode="wrap")
        reach = 1
        while reach < _WINDOW:  # hashes of `reach` bytes make those of twice as many
            np.left_shift(hashes[:-reach], reach, out=shifted[reach:])
            hashes[reach:] += shifted[reach:]
            reach *= 2
        free = hashes[_WINDOW:] < _NO_BIT_OF_MASK
        return np.flatnonzero(free) + (self._offset + 1)


# The table of the Rust crate `gearhash`, by which Xet's clients cut. One row has the values of six bytes.
GEAR = np.array(
    [
        int(value, 16)
        for value in """
    b088d3a9e840f559 5652c7f739ed20d6 45b28969898972ab 6b0a89d5b68ec777 368f573e8b7a31b7 1dc636dce936d94b
    207a4c4e5554d5b6 a474b34628239acb 3b06a83e1ca3b912 90e78d6c2f02baf7 e1c92df7150d9a8a 8e95053a1086d3ad
    5a2ef4f1b83a0722 a50fac949f807fae 0e7303eb80d8d681 99b07edc1570ad0f 689d2fb555fd3076 00005082119ea468
    c4b08306a88fcc28 3eb0678af6374afd f19f87ab86ad7436 f2129fbfbe6bc736 481149575c98a4ed 0000010695477bc5
    1fba37801a9ceacc 3bf06fd663a49b6d 99687e9782e3874b 79a10673aa50d8e3 e4accf9e6211f420 2520e71f87579071
    2bd5d3fd781a8a9b 00de4dcddd11c873 eaa9311c5a87392f db748eb617bc40ff af579a8df620bf6f 86a6e5da1b09c2b1
    cc2fc30ac322a12e 355e2afec1f74267 2d99c8f4c021a47b bade4b4a9404cfc3 f7b518721d707d69 3286b6587bf32c20
    0000b68886af270c a115d6e4db8a9079 484f7e9c97b2e199 ccca7bb75713e301 bf2584a62bb0f160 ade7e813625dbcc8
    000070940d87955a 8ae69108139e626f bd776ad72fde38a2 fb6b001fc2fcc0cf c7a474b8e67bc427 baf6f11610eb5d58
    09cb1f5b6de770d1 b0b219e6977d4c47 00ccbc386ea7ad4a cc849d0adf973f01 73a3ef7d016af770 c807d2d386bdbdfe
    7f2ac9966c791730 d037a86bc6c504da f3f17c661eaa609d aca626b04daae687 755a99374f4a5b07 90837ee65b2caede
    6ee8ad93fd560785 0000d9e11053edd8 9e063bb2d21cdbd7 07ab77f12a01d2b2 ec550255e6641b44 78fb94a8449c14c6
    c7510e1bc6c0f5f5 0000320b36e4cae3 827c33262c8b1a2d 14675f0b48ea4144 267bd3a6498deceb f1916ff982f5035e
    86221b7ff434fb88 9dbecee7386f49d8 ea58f8cac80f8f4a 008d198692fc64d8 6d38704fbabf9a36 e032cb07d1e7be4c
    228d21f6ad450890 635cb1bfc02589a5 4620a1739ca2ce71 a7e7dfe3aae5fb58 0c10ca932b3c0deb 2727fee884afed7b
    a2df1c6df9e2ab1f 4dcdd1ac0774f523 000070ffad33e24e a2ace87bc5977816 9892275ab4286049 c2861181ddf18959
    bb9972a042483e19 ef70cd3766513078 00000513abfc9864 c058b61858c94083 09e850859725e0de 9197fb3bf83e7d94
    7e1e626d12b64bce 520c54507f7b57d1 bee1797174e22416 6fd9ac3222e95587 0023957c9adfbf3e a01c7d7e234bbe15
    aba2c758b8a38cbb 0d1fa0ceec3e2b30 0bb6a58b7e60b991 4333dd5b9fa26635 c2fd3b7d4001c1a3 fb41802454731127
    65a56185a50d18cb f67a02bd8784b54f 696f11dd67e65063 00002022fca814ab 8cd6be912db9d852 695189b6e9ae8a57
    ee9453b50ada0c28 d8fc5ea91a78845e ab86bf191a4aa767 0000c6b5c86415e5 267310178e08a22e ed2d101b078bca25
    3b41ed84b226a8fb 13e622120f28dc06 a315f5ebfb706d26 8816c34e3301bace e9395b9cbb71fdae 002ce9202e721648
    4283db1d2bb3c91c d77d461ad2b1a6a5 e2ec17e46eeb866b b8e0be4039fbc47c dea160c4d5299d04 7eec86c8d28c3634
    2119ad129f98a399 a6ccf46b61a283ef 2c52cedef658c617 2db4871169acdd83 0000f0d6f39ecbe9 3dd5d8c98d2f9489
    8a1872a22b01f584 f282a4c40e7b3cf2 8020ec2ccb1ba196 6693b6e09e59e313 0000ce19cc7c83eb 20cb5735f6479c3b
    762ebf3759d75a5b 207bfe823d693975 d77dc112339cd9d5 9ba7834284627d03 217dc513e95f51e9 b27b1a29fc5e7816
    00d5cd9831bb662d 71e39b806d75734c 7e572af006fb1a23 a2734f2f6ae91f85 bf82c6b5022cddf2 5c3beac60761a0de
    cdc893bb47416998 6d1085615c187e01 77f8ae30ac277c5d 917c6b81122a2c91 5b75b699add16967 0000cf6ae79a069b
    f3c40afa60de1104 2063127aa59167c3 621de62269d1894d d188ac1de62b4726 107036e2154b673c 0000b85f28553a1d
    f2ef4e4c18236f3d d9d6de6611b9f602 a1fc7955fb47911c eb85fd032f298dbd be27502fb3befae1 e3034251c4cd661e
    441364d354071836 0082b36c75f2983e b145910316fa66f0 021c069c9847caf7 2910dfc75a4b5221 735b353e1c57a8b5
    ce44312ce98ed96c bc942e4506bdfa65 f05086a71257941b fec3b215d351cead 00ae1055e0144202 f54b40846f42e454
    00007fd9c8bcbcc8 bfbd9ef317de9bfe a804302ff2854e12 39ce4957a5e5d8d4 ffb9e2a45637ba84 55b9ad1d9ea0818b
    00008acbf319178a 48e2bfc8d0fbfb38 8be39841e848b5e8 0e2712160696a08b d51096e84b44242a 1101ba176792e13a
    c22e770f4531689d 1689eff272bbc56c 00a92a197f5650ec bc765990bda1784e c61441e392fcb8ae 07e13a2ced31e4a0
    92cbe984234e9d4d 8f4ff572bb7d8ac5 0b9670c00b963bd0 62955a581a03eb01 645f83e5ea000254 41fce516cd88f299
    bbda9748da7a98cf 0000aab2fe4845fa 19761b069bf56555 8b8f5e8343b6ad56 3e5d1cfd144821d9 ec5c1e2ca2b0cd8f
    faf7e0fea7fbb57f 000000d3ba12961b da3f90178401b18e 70ff906de33a5feb 0527d5a7c06970e7 22d8e773607c13e9
    c9ab70df643c3bac eda4c6dc8abe12e3 ecef1f410033e78a 0024c2b274ac72cb 06740d954fa900b4 1d7a299b323d6304
    b3c37cb298cbead5 c986e3c76178739b 9fabea364b46f58a 6da214c5af85cc56 17a43ed8b7a38f84 6eccec511d9adbeb
    f9cab30913335afb 4a5e60c5f415eed2 00006967503672b4 9da51d121454bb87 84321e13b9bbc816 fb3d6fb6ab2fdd8d
    60305eed8e160a8d cbbf4b14e9946ce8 00004f63381b10c3 07d5b7816fcc4e10 e5a536726a6a8155 57afb23447a07fdd
    18f346f7abc9d394 636dc655d61ad33d cc8bab4939f7f3f6 63c7a906c1dd187b
    """.split()
    ],
    np.uint64,
)
