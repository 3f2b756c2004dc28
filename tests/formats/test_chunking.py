"""Where streams are cut and what is hashed: the vectors, the client itself, and a rule written plainly."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hf_xet
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from hubreg.errors import Invalid
from hubreg.formats.chunking import (
    GEAR,
    INTERNAL_NODE_KEY,
    MASK,
    MAX_CHUNK,
    MIN_CHUNK,
    Chunker,
    MerkleHash,
    Node,
    chunk_hash,
    dedup_hmac,
    file_hash,
    hash_bytes,
    hash_string,
    is_global,
    merkle_root,
    range_hash,
)

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "xet-vectors.json").read_text())
CONTENT_OF = {
    "b'hello world'": b"hello world",
    "b'x'": b"x",
    "shake_128(b'hubreg-xet-1').digest(1_000_000)": hashlib.shake_128(b"hubreg-xet-1").digest(1_000_000),
    "bytes(300_000)": bytes(300_000),
    "bytes(range(256))*4096": bytes(range(256)) * 4096,
    "shake_128(b'hubreg-xet-2').digest(131072)": hashlib.shake_128(b"hubreg-xet-2").digest(131_072),
    "b''.join(b'%d,%d\\n'%(i,i*i) for i in range(100000))": b"".join(
        b"%d,%d\n" % (i, i * i) for i in range(100_000)
    ),
}


def noise(size: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def text(size: int) -> bytes:
    return b"".join(b"%d,%d\n" % (i, i * i) for i in range(size // 8 + 1))[:size]


def weights(size: int) -> bytes:
    """What a bf16 tensor looks like."""
    drawn = np.random.default_rng(2).normal(0, 0.02, size // 2 + 1).astype("<f4")
    return (drawn.view("<u4") >> 16).astype("<u2").tobytes()[:size]


CONTENTS: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "noise": noise,
    "text": text,
    "weights": weights,
}
BOUNDARIES = (0, MIN_CHUNK, MAX_CHUNK, 3 * MAX_CHUNK)
SIZES = sorted({max(0, edge + delta) for edge in BOUNDARIES for delta in (-1, 0, 1)} | {3_000_001})


def cut(*pieces: bytes) -> list[int]:
    chunker = Chunker()
    return [length for piece in pieces for length in chunker.feed(piece)] + chunker.finish()


def nodes(data: bytes) -> list[Node]:
    found, at = [], 0
    for length in cut(data):
        found.append(Node(chunk_hash(data[at : at + length]), length))
        at += length
    return found


def hashed_by_the_client(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    (info,) = hf_xet.hash_files([str(path)])
    return str(info.hash)


def cut_plainly(data: bytes) -> list[int]:
    """The rule of XET 8, a byte at a time."""
    gear = GEAR.tolist()
    lengths, size, rolling = [], 0, 0
    for byte in data:
        size += 1
        rolling = ((rolling << 1) + gear[byte]) % 2**64
        if size == MAX_CHUNK or (size >= MIN_CHUNK and rolling & MASK == 0):
            lengths.append(size)
            size = rolling = 0
    return lengths + [size] * bool(size)


def merged_plainly(level: list[Node]) -> bytes:
    """The rule of XET 4.3, one level after the other."""
    while len(level) > 1:
        above = []
        while level:
            end = len(level)
            if end > 2:
                stops = [
                    at + 1
                    for at in range(2, min(9, end))
                    if int.from_bytes(level[at].hash[24:], "little") % 4 == 0
                ]
                end = min([*stops, 9, end])
            group, level = level[:end], level[end:]
            lines = "".join(f"{hash_string(node.hash)} : {node.size}\n" for node in group)
            above.append(
                Node(blake3(lines.encode(), key=INTERNAL_NODE_KEY).digest(), sum(n.size for n in group))
            )
        level = above
    return level[0].hash if level else bytes(32)


# --- the vectors and the client ---


@pytest.mark.parametrize("vector", RECORDED["vectors"], ids=lambda vector: vector["content"][:30])
def test_vectors(vector: dict[str, Any]) -> None:
    """Cuts and all four hashes of contents that the clients' own library has hashed."""
    found = nodes(CONTENT_OF[vector["content"]])
    assert [node.size for node in found] == vector["chunk_lengths"]
    assert hash_string(found[0].hash) == vector["first_chunk_hash"]
    assert hash_string(merkle_root(found)) == vector["xorb_hash_all_chunks"]
    assert hash_string(file_hash(found)) == vector["file_hash"]
    assert hash_string(range_hash([node.hash for node in found])) == vector["range_hash_all"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CONTENTS)
def test_the_client_agrees(kind: str, size: int, tmp_path: Path) -> None:
    """The file hash that `hf_xet` computes, around every size at which a rule begins or ends."""
    data = CONTENTS[kind](size)
    assert hash_string(file_hash(nodes(data))) == hashed_by_the_client(tmp_path / "data", data)


@pytest.mark.parametrize("size", [(64 << 20) - 1, 64 << 20, (64 << 20) + 1])
def test_the_client_agrees_about_a_file_as_large_as_a_xorb(size: int, tmp_path: Path) -> None:
    """A thousand chunks: a tree of several levels, and more than fits one xorb."""
    data = noise(size, seed=size)
    assert hash_string(file_hash(nodes(data))) == hashed_by_the_client(tmp_path / "data", data)


def test_the_table_is_the_crates() -> None:
    """The 256 constants, by their digest."""
    assert hashlib.sha256(GEAR.astype("<u8").tobytes()).hexdigest() == (
        "e1d3936666d7ae7a977c958e9afcc75f90aaca758ce5fbe4ece61dffefe1912c"
    )


# --- cutting ---


@pytest.mark.parametrize("kind", CONTENTS)
def test_cuts_are_where_the_plain_rule_has_them(kind: str) -> None:
    """Hashing a block at a time finds what hashing a byte at a time finds."""
    data = CONTENTS[kind](600_007)
    assert cut(data) == cut_plainly(data)


def test_a_cut_before_the_least_size_does_not_count() -> None:
    """Bytes that end a chunk wherever they stand, put every kilobyte: only those from 8 KiB on do."""
    data = CONTENT_OF["shake_128(b'hubreg-xet-1').digest(1_000_000)"]
    ender = data[cut(data)[0] - 64 : cut(data)[0]]
    period = bytes(1024 - 64) + ender
    assert cut(period * 100) == cut_plainly(period * 100)
    assert set(cut(period * 100)[:-1]) == {MIN_CHUNK}


@given(st.lists(st.integers(0, 100_000), max_size=8), st.sampled_from(sorted(CONTENTS)))
@settings(max_examples=25, deadline=None)
def test_how_a_stream_is_fed_does_not_matter(lengths: list[int], kind: str) -> None:
    """Pieces of any length, empty ones too, give the same cuts."""
    data = CONTENTS[kind](500_000)
    pieces, at = [], 0
    for length in lengths:
        pieces.append(data[at : at + length])
        at += length
    assert cut(*pieces, data[at:]) == cut(data)


def test_bytes_may_come_one_at_a_time() -> None:
    """The smallest pieces there are."""
    data = noise(150_000)
    assert cut(*[data[at : at + 1] for at in range(len(data))]) == cut(data)


def test_views_are_fed_as_bytes_are() -> None:
    """What comes off a socket or out of a file is a bytearray or a view of one."""
    data = noise(400_000)
    assert cut(bytearray(data)) == cut(memoryview(data)) == cut(data)  # type: ignore[arg-type]


def test_an_empty_stream_has_no_chunk() -> None:
    """And its hash is zeros."""
    assert cut() == cut(b"") == []
    assert file_hash([]) == merkle_root([]) == bytes(32)


@given(st.integers(0, 2**32), st.integers(0, 600_000))
@settings(max_examples=20, deadline=None)
def test_chunks_have_the_sizes_they_may_have(seed: int, size: int) -> None:
    """All of the stream, no chunk too large, and none but the last too small."""
    lengths = cut(noise(size, seed))
    assert sum(lengths) == size
    assert all(MIN_CHUNK <= length <= MAX_CHUNK for length in lengths[:-1])
    assert all(1 <= length <= MAX_CHUNK for length in lengths[-1:])


def test_an_insert_moves_only_the_chunks_around_it() -> None:
    """What it is all for: the same content is cut alike wherever it stands."""
    data = noise(4_000_000)
    changed = data[:1_000_000] + b"an insert" + data[1_000_000:]
    before, after = {node.hash for node in nodes(data)}, {node.hash for node in nodes(changed)}
    assert len(after - before) <= 3


# --- merging ---

hashes = st.binary(min_size=32, max_size=32)
trees = st.lists(st.builds(Node, hashes, st.integers(1, MAX_CHUNK)), max_size=60)


@given(trees)
def test_merging_as_they_come_is_merging_level_by_level(level: list[Node]) -> None:
    """Groups that are merged as they fill come out as the plain rule has them."""
    assert merkle_root(level) == merged_plainly(level)


@pytest.mark.parametrize("byte", [0, 1])
@pytest.mark.parametrize("count", [*range(1, 31), 81, 82, 83, 729, 730, 1000])
def test_groups_of_the_smallest_and_of_the_largest_size(count: int, byte: int) -> None:
    """Hashes that all end a group, and hashes of which none does."""
    level = [Node(struct.pack("<3QQ", at, 0, 0, 4 * at + byte), 1 + at) for at in range(count)]
    assert merkle_root(level) == merged_plainly(level)


@given(trees, st.lists(st.integers(0, 20), max_size=10))
def test_how_chunks_are_given_does_not_matter(level: list[Node], lengths: list[int]) -> None:
    """Pieces of any length give the same root, and asking for it on the way changes nothing."""
    merkle, at = MerkleHash(), 0
    for length in lengths:
        merkle.update(level[at : at + length])
        assert merkle.root() == merkle_root(level[: at + length])
        at += length
    merkle.update(level[at:])
    assert merkle.file_hash() == file_hash(level)


def test_a_large_tree_is_never_held() -> None:
    """The tree over a hundred thousand chunks keeps a few nodes of each level."""
    merkle = MerkleHash()
    for start in range(0, 100_000, 1000):
        merkle.update(
            [Node(blake3(b"%d" % number).digest(), 65_536) for number in range(start, start + 1000)]
        )
    held: Iterable[list[Node]] = merkle._levels
    assert all(len(level) < 9 for level in held)


# --- writing hashes ---


def test_a_hash_is_written_in_words() -> None:
    """Each 8 bytes are reversed."""
    raw = bytes.fromhex(RECORDED["hash_string"]["raw_hex"])
    assert hash_string(raw) == RECORDED["hash_string"]["string"]


@given(hashes)
def test_a_hash_comes_back_as_it_was(raw: bytes) -> None:
    """Any 32 bytes."""
    assert hash_bytes(hash_string(raw)) == raw


@pytest.mark.parametrize(
    "text", ["", "0" * 63, "0" * 65, "F" * 64, "g" * 64, " " + "0" * 63, "０" * 64, "0" * 64 + "\n"]
)
def test_what_is_no_hash_is_refused(text: str) -> None:
    """A wrong length, upper case, digits that are not ASCII, a line's end."""
    with pytest.raises(Invalid):
        hash_bytes(text)


def test_one_chunk_in_1024_is_asked_for() -> None:
    """The last word decides."""
    assert is_global(struct.pack("<4Q", 1, 1, 1, 2048))
    assert not is_global(struct.pack("<4Q", 0, 0, 0, 1023))


def test_a_chunk_goes_by_another_name_under_each_key() -> None:
    """A name from one answer says nothing about another's."""
    chunk = chunk_hash(b"x")
    assert dedup_hmac(chunk, bytes(32)) != dedup_hmac(chunk, bytes([1]) * 32) != chunk
    assert dedup_hmac(chunk, bytes([1]) * 32) == blake3(chunk, key=bytes([1]) * 32).digest()


def test_hashes_are_joined_or_listed() -> None:
    """A range's hashes in either form."""
    several = [chunk_hash(b"a"), chunk_hash(b"b")]
    assert range_hash(several) == range_hash(b"".join(several)) == range_hash(tuple(several))
