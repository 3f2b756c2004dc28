"""Xorbs: what clients serialize is read back in any pieces, and what nobody should send is refused at once."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubreg.errors import Damaged, HubregError, Invalid, TooLarge
from hubreg.formats.chunking import MAX_CHUNK, Node, chunk_hash, hash_string, merkle_root, range_hash
from hubreg.formats.xorb import (
    MAX_CHUNKS,
    MAX_XORB,
    ChunkIndex,
    XorbChunk,
    XorbReader,
    decode_chunks,
    raw_header,
    raw_headers,
    unpack_chunk,
)

RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "xet-vectors.json").read_text())
PLAIN, LZ4, GROUPED = 0, 1, 2
ANY = b"\x77" * 32


def header(payload: int, size: int, scheme: int = PLAIN, version: int = 0) -> bytes:
    return bytes([version]) + payload.to_bytes(3, "little") + bytes([scheme]) + size.to_bytes(3, "little")


def grouped(data: bytes) -> bytes:
    return b"".join(data[number::4] for number in range(4))


def serialize(data: bytes, scheme: int = PLAIN) -> bytes:
    payload = data
    if scheme != PLAIN:
        payload = lz4.frame.compress(grouped(data) if scheme == GROUPED else data, store_size=False)
    return header(len(payload), len(data), scheme) + payload


def root(chunks: Sequence[bytes]) -> bytes:
    return merkle_root([Node(chunk_hash(chunk), len(chunk)) for chunk in chunks])


def read(serialized: bytes, expected: bytes = ANY, piece: int = 1 << 20) -> ChunkIndex:
    reader = XorbReader()
    for at in range(0, len(serialized), piece):
        reader.feed(serialized[at : at + piece])
    return reader.finish(expected)


def footer(chunks: Sequence[bytes]) -> bytes:
    """As hf_xet 1.1 and JavaScript append it (XET 6.1)."""
    count = len(chunks).to_bytes(4, "little")
    names = b"".join([chunk_hash(chunk) for chunk in chunks])
    hashes = b"XBLBHSH\0" + count + names
    ends = b"XBLBBND\0" + count + bytes(8 * len(chunks))
    whole = b"XETBLOB\1" + root(chunks) + hashes + ends + count + bytes(24)
    return whole + len(whole).to_bytes(4, "little")


compressible = st.builds(
    lambda data, times: (data * times)[:MAX_CHUNK], st.binary(min_size=1, max_size=400), st.integers(1, 400)
)
chunk_lists = st.lists(
    st.tuples(
        st.one_of(compressible, st.binary(min_size=1, max_size=2000)), st.sampled_from([PLAIN, LZ4, GROUPED])
    ),
    min_size=1,
    max_size=12,
)

# --- reading ---


@given(chunk_lists, st.integers(1, 5000), st.booleans())
@settings(deadline=None)
def test_a_xorb_in_any_pieces_is_read(chunks: list[tuple[bytes, int]], piece: int, old_client: bool) -> None:
    """Every scheme and size, with a footer and without one; the index says where each chunk is."""
    contents = [data for data, _ in chunks]
    parts = [serialize(data, scheme) for data, scheme in chunks]
    serialized = b"".join(parts)
    index = read(serialized + footer(contents) * old_client, root(contents), piece)
    assert index.length == len(serialized)
    assert list(index) == [
        XorbChunk(chunk_hash(data), len(data), sum(map(len, parts[:number])))
        for number, data in enumerate(contents)
    ]
    assert [bytes(data) for data in decode_chunks(serialized)] == contents


@given(st.binary(min_size=1, max_size=3000))
def test_grouped_bytes_come_back_in_order(data: bytes) -> None:
    """BG4 of any length modulo 4."""
    assert bytes(unpack_chunk(serialize(data, GROUPED))) == data


def test_grouping_is_the_clients() -> None:
    """The recorded example."""
    recorded = RECORDED["bg4_split"]
    payload = lz4.frame.compress(recorded["out"].encode())
    serialized = header(len(payload), 10, GROUPED) + payload
    assert bytes(unpack_chunk(serialized)).decode() == recorded["in"]


@pytest.mark.parametrize("block_size", [4, 5, 6, 7])
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("checksums", [True, False])
def test_frames_of_every_kind_are_unpacked(block_size: int, linked: bool, checksums: bool) -> None:
    """Blocks of 64 KiB to 4 MiB, linked or not, with checksums and the size, and without."""
    data = b"".join(b"%d," % number for number in range(40_000))[:MAX_CHUNK]
    payload = lz4.frame.compress(
        data,
        block_size=block_size,
        block_linked=linked,
        content_checksum=checksums,
        block_checksum=checksums,
        store_size=checksums,
    )
    assert unpack_chunk(header(len(payload), len(data), LZ4) + payload) == data


def test_views_are_read_as_bytes_are() -> None:
    """Bytes come off a socket as views of a buffer that is used again."""
    chunks = [b"one" * 1000, b"two" * 50, b"three" * 20_000]
    serialized = b"".join(serialize(chunk, LZ4) for chunk in chunks)
    reader, buffer = XorbReader(), bytearray(100)
    for at in range(0, len(serialized), 100):
        piece = serialized[at : at + 100]
        buffer[: len(piece)] = piece
        reader.feed(memoryview(buffer)[: len(piece)])
    assert len(reader.finish(root(chunks))) == 3


def test_the_largest_xorb_is_read() -> None:
    """8192 chunks; and 64 MiB to the byte."""
    chunks = [b"%d" % number for number in range(MAX_CHUNKS)]
    assert len(read(b"".join(map(serialize, chunks)), root(chunks))) == MAX_CHUNKS
    full = [bytes(MAX_CHUNK)] * 511 + [bytes(MAX_CHUNK - 512 * 8)] + [b""]
    serialized = b"".join(map(serialize, full[:-1]))
    assert len(serialized) == MAX_XORB
    assert read(serialized, root(full[:-1])).length == MAX_XORB


# --- refusing ---

CHUNK = serialize(b"a chunk" * 100, LZ4)
ROOT = root([b"a chunk" * 100])


@pytest.mark.parametrize(
    "cut", [0, 1, 7, 8, 9, len(CHUNK) - 1, len(CHUNK) + 7, len(CHUNK) + 8, 2 * len(CHUNK) - 1]
)
def test_a_xorb_that_is_cut_short_is_refused(cut: int) -> None:
    """In a header, in a payload, before the first chunk."""
    with pytest.raises(Invalid):
        read((CHUNK + CHUNK)[:cut], root([b"a chunk" * 100] * 2))


@pytest.mark.parametrize(
    "bad",
    [
        header(3, 3, version=1) + b"abc",
        header(3, 3, version=ord("X")) + b"abc",
        header(3, 3, scheme=3) + b"abc",
        header(3, 3, scheme=99) + b"abc",
        header(3, 2) + b"abc",
        header(3, 4) + b"abc",
        header(0, 0),
        header(0, 3),
        header(3, 0) + b"abc",
        header(0, 3, LZ4),
        header(1, MAX_CHUNK + 1, LZ4) + b"a",
        header(2 * MAX_CHUNK + 1, MAX_CHUNK, LZ4),
        header(0xFFFFFF, 0xFFFFFF),
        header(20, 3, LZ4) + b"this is not a frame.",
        header(len(CHUNK) - 8, 699, LZ4) + CHUNK[8:],
        header(len(CHUNK) - 8, 701, LZ4) + CHUNK[8:],
        header(len(CHUNK) - 9, 700, LZ4) + CHUNK[8:-1],
        header(len(CHUNK) - 4, 700, LZ4) + CHUNK[8:] + b"more",
        header(2 * len(CHUNK) - 16, 1400, LZ4) + CHUNK[8:] * 2,
        b"XETBLOX\1" + bytes(40),
    ],
)
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_chunk_that_is_none_is_refused(bad: bytes, piece: int) -> None:
    """Versions, schemes, lengths out of bounds or against each other, frames that end early, late or never."""
    with pytest.raises(Invalid):
        read(CHUNK + bad + CHUNK, piece=piece)
    with pytest.raises(Damaged):
        decode_chunks(CHUNK + bad + CHUNK)


def test_what_is_out_of_bounds_is_refused_by_its_header() -> None:
    """No byte of a payload is waited for."""
    reader = XorbReader()
    with pytest.raises(Invalid):
        reader.feed(header(2 * MAX_CHUNK + 1, MAX_CHUNK, LZ4))


def test_one_flipped_bit_anywhere_is_found() -> None:
    """In headers and payloads of every scheme."""
    data = np.random.default_rng(5).bytes(60)
    serialized = serialize(data) + serialize(data * 2, LZ4) + serialize(data, GROUPED)
    expected = root([data, data * 2, data])
    assert len(read(serialized, expected)) == 3
    survived = 0
    for at in range(8 * len(serialized)):
        flipped = bytearray(serialized)
        flipped[at // 8] ^= 1 << at % 8
        try:
            index = read(bytes(flipped), expected)
        except Invalid:
            continue
        # A frame can say the same in two ways (a flag of its header): what it unpacks to is what counts.
        survived += 1
        assert [bytes(chunk) for chunk in decode_chunks(flipped)] == [data, data * 2, data]
        assert len(index) == 3
    assert survived < 30


def test_a_xorb_under_anothers_name_is_refused() -> None:
    """The message says which hash it has."""
    with pytest.raises(Invalid, match=hash_string(ROOT)):
        read(CHUNK, ANY)


@given(st.permutations([b"one", b"two", b"three"]))
def test_chunks_in_another_order_are_another_xorb(chunks: list[bytes]) -> None:
    """Order is part of the name."""
    serialized = b"".join(map(serialize, chunks))
    if chunks == [b"one", b"two", b"three"]:
        assert len(read(serialized, root(chunks))) == 3
    else:
        with pytest.raises(Invalid):
            read(serialized, root([b"one", b"two", b"three"]))


@pytest.mark.parametrize("scheme", [LZ4, GROUPED])
@pytest.mark.parametrize("size", [1, 1000, MAX_CHUNK])
@pytest.mark.parametrize("announced", [True, False])
def test_a_bomb_is_not_unpacked(scheme: int, size: int, announced: bool) -> None:
    """A frame of 256 KiB that holds 60 MiB costs no more memory than a chunk."""
    payload = lz4.frame.compress(bytes(60 << 20), store_size=announced)
    assert len(payload) <= 2 * MAX_CHUNK  # so that it is not its length that is refused
    tracemalloc.start()
    with pytest.raises(Invalid):
        read(header(len(payload), size, scheme) + payload)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_million_tiny_chunks_are_refused() -> None:
    """At the first one too many, before they are all read."""
    tiny = serialize(b"x")
    reader = XorbReader()
    reader.feed(tiny * MAX_CHUNKS)
    with pytest.raises(TooLarge):
        reader.feed(tiny)
    with pytest.raises(TooLarge):
        XorbReader().feed(tiny * 1_000_000)


def test_an_overlong_xorb_is_refused() -> None:
    """At the header of the chunk that does not fit."""
    reader, full = XorbReader(), serialize(bytes(MAX_CHUNK))
    for _ in range(511):
        reader.feed(full)
    with pytest.raises(TooLarge):
        reader.feed(full)


def test_a_footer_has_an_end() -> None:
    """It is dropped, and cannot be used to send gigabytes."""
    reader = XorbReader()
    reader.feed(CHUNK + b"XETBLOB\1" + bytes(1 << 19))
    reader.feed(bytes(1 << 18))
    with pytest.raises(TooLarge):
        reader.feed(bytes(1 << 19))


def test_a_footer_alone_is_no_xorb() -> None:
    """Nor is a beginning of one behind the chunks."""
    with pytest.raises(Invalid):
        read(footer([b"x"]))
    with pytest.raises(Invalid):
        read(CHUNK + b"XETBLOB", ROOT)


@given(st.binary(max_size=300), st.integers(1, 300))
def test_noise_is_refused(data: bytes, piece: int) -> None:
    """No bytes make the reader fail in another way, or succeed."""
    for serialized in (data, CHUNK + data):
        with pytest.raises(HubregError):
            read(serialized, piece=piece)


@given(st.binary(max_size=100).flatmap(lambda tail: st.just(b"\x04\x22\x4d\x18" + tail)))
def test_noise_behind_a_frames_magic_is_refused(payload: bytes) -> None:
    """What looks like LZ4 for its first bytes."""
    with pytest.raises(Invalid):
        unpack_chunk(header(len(payload), 5, LZ4) + payload)


@pytest.mark.parametrize("data", [b"", CHUNK[:7], CHUNK[:-1], CHUNK + b"x"])
def test_one_chunk_is_one_chunk(data: bytes) -> None:
    """Nothing, a part of one, and one with something behind it are refused."""
    with pytest.raises(Invalid):
        unpack_chunk(data)


def test_what_a_reader_holds_is_one_chunk() -> None:
    """Sixty-four of them may be at work: an upload of 64 MiB is never in memory."""
    part = serialize(np.random.default_rng(1).bytes(MAX_CHUNK))
    tracemalloc.start()
    reader = XorbReader()
    for _ in range(400):
        for at in range(0, len(part), 50_000):
            reader.feed(part[at : at + 50_000])
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


# --- the index ---

CHUNKS = [b"one", b"twotwo", b"threethreethree"]
INDEX = read(b"".join(map(serialize, CHUNKS)), root(CHUNKS))


def test_an_index_is_40_bytes_a_chunk() -> None:
    """And comes back as it was."""
    packed = INDEX.render()
    assert len(packed) == 120
    again = ChunkIndex.parse(packed, INDEX.length)
    assert list(again) == list(INDEX)
    assert again.extent(0, 3) == INDEX.extent(0, 3) == (0, 48)


def test_an_index_answers_for_ranges() -> None:
    """Hashes, sizes and where the chunks are, of all and of some."""
    names = [chunk_hash(chunk) for chunk in CHUNKS]
    assert INDEX.hashes() == b"".join(names)
    assert range_hash(INDEX.hashes(1, 3)) == range_hash(names[1:3])
    assert INDEX.sizes(1) == [6, 15]
    assert INDEX.nodes(2, 3) == [Node(names[2], 15)]
    assert (INDEX.unpacked(), INDEX.unpacked(0, 2), INDEX.unpacked(1, 1)) == (24, 9, 0)
    assert (INDEX.extent(0, 1), INDEX.extent(1, 3)) == ((0, 11), (11, 48))
    assert INDEX[1] == XorbChunk(names[1], 6, 11)


def test_chunks_that_clients_ask_for_are_found() -> None:
    """The last word of the hash decides, as `is_global` says it."""
    chosen = bytes(24) + (4096).to_bytes(8, "little")
    assert ChunkIndex.plain(ANY + chosen + ANY + chosen, [1, 1, 1, 1]).global_chunks() == [1, 3]


@pytest.mark.parametrize("packed", [b"", bytes(39), bytes(41)])
def test_what_is_no_index_is_damaged(packed: bytes) -> None:
    """It has at least one chunk, and a whole number of them."""
    with pytest.raises(Damaged):
        ChunkIndex.parse(packed, 100)


# --- serializing without compression ---


@given(st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=20))
def test_a_virtual_xorb_is_a_xorb(chunks: list[bytes]) -> None:
    """Headers put between the chunks of a plain file are what a reader finds, at the offsets of its index."""
    sizes = [len(chunk) for chunk in chunks]
    headers = raw_headers(sizes)
    assert headers == b"".join(map(raw_header, sizes))
    serialized = b"".join(headers[8 * at : 8 * at + 8] + chunk for at, chunk in enumerate(chunks))
    index = ChunkIndex.plain(b"".join(map(chunk_hash, chunks)), sizes)
    measured = read(serialized, root(chunks))
    assert index.render() == measured.render()
    assert index.length == measured.length


def test_no_header_for_no_chunk() -> None:
    """An empty range has no bytes."""
    assert raw_headers([]) == b""
