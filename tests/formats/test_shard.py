"""Shards: what clients of every age send is read; what they claim is held against the xorbs; answers read back."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import HubregError, Invalid, TooLarge
from hubreg.formats.chunking import (
    Node,
    chunk_hash,
    dedup_hmac,
    file_hash,
    hash_bytes,
    hash_string,
    merkle_root,
    range_hash,
)
from hubreg.formats.shard import MAX_SHARD, Shard, Term, parse_shard, render_dedup_shard
from hubreg.formats.xorb import MAX_CHUNKS, ChunkIndex

TAG = b"HFRepoMetaData\0" + bytes.fromhex("55 69 67 45 6a 7b 81 57 83 a5 bd d9 5c cd d1 4a a9")
BOOKEND = b"\xff" * 32 + bytes(16)
KEY = bytes(range(32))


@dataclass(frozen=True)
class File:
    """A file as a client writes it down."""

    hash: bytes
    terms: Sequence[Term]
    sha256: str | None = None

    def render(self) -> bytes:
        proofs = [term.range_hash for term in self.terms if term.range_hash is not None]
        flags = bool(proofs) << 31 | (self.sha256 is not None) << 30
        parts = [struct.pack("<32sII8x", self.hash, flags, len(self.terms))]
        parts += [struct.pack("<32s4xIII", t.xorb, t.unpacked, t.start, t.end) for t in self.terms]
        parts += [struct.pack("<32s16x", proof) for proof in proofs]
        if self.sha256 is not None:
            parts.append(hash_bytes(self.sha256) + bytes(16))
        return b"".join(parts)


@dataclass(frozen=True)
class Xorb:
    """A xorb as a client writes it down."""

    hash: bytes
    nodes: Sequence[Node]
    marked: frozenset[int] = frozenset()
    flags: int = 0
    size: int = 7

    def render(self) -> bytes:
        total = sum(node.size for node in self.nodes)
        parts = [struct.pack("<32sIIII", self.hash, self.flags, len(self.nodes), total, self.size)]
        at = 0
        for number, node in enumerate(self.nodes):
            parts.append(struct.pack("<32sIII4x", node.hash, at, node.size, (number in self.marked) << 31))
            at += node.size
        return b"".join(parts)


@dataclass(frozen=True)
class Upload:
    files: Sequence[File] = ()
    xorbs: Sequence[Xorb] = ()
    tail: bytes = b""
    footer_size: int = 0
    head: bytes = field(default=TAG)
    version: int = 2

    def render(self) -> bytes:
        parts = [self.head, struct.pack("<QQ", self.version, self.footer_size)]
        parts += [*(file.render() for file in self.files), BOOKEND]
        parts += [*(xorb.render() for xorb in self.xorbs), BOOKEND, self.tail]
        return b"".join(parts)


def name(number: int) -> bytes:
    return chunk_hash(b"%d" % number)


NODES = [Node(name(number), 100 + number) for number in range(6)]
INDEX = ChunkIndex.plain(b"".join(node.hash for node in NODES), [node.size for node in NODES])
ROOT = merkle_root(NODES)
CONTENT = sha256(b"content").hexdigest()


def term(start: int, end: int) -> Term:
    """A true term over the six chunks."""
    return Term(ROOT, INDEX.unpacked(start, end), start, end, range_hash(INDEX.hashes(start, end)))


FILE = File(file_hash(NODES), [term(0, 2), term(2, 6)], CONTENT)
UPLOAD = Upload([FILE], [Xorb(ROOT, NODES, marked=frozenset([0, 4]))])

hashes = st.binary(min_size=32, max_size=32).filter(lambda raw: raw != b"\xff" * 32)
numbers = st.integers(0, 2**32 - 1)
proofs = st.one_of(st.none(), hashes)
term_lists = st.one_of(
    st.lists(st.builds(Term, hashes, numbers, numbers, numbers, hashes), max_size=4),
    st.lists(st.builds(Term, hashes, numbers, numbers, numbers, st.none()), max_size=4),
)
files = st.builds(File, hashes, term_lists, st.one_of(st.none(), hashes.map(bytes.hex)))
nodes = st.lists(st.builds(Node, hashes, st.integers(1, 1 << 17)), min_size=1, max_size=5)
xorbs = st.builds(Xorb, hashes, nodes, st.frozensets(st.integers(0, 4)), numbers, numbers)

# --- reading ---


@given(st.lists(files, max_size=4), st.lists(xorbs, max_size=4), st.binary(max_size=300))
def test_a_shard_is_read_as_it_was_written(files: list[File], xorbs: list[Xorb], tail: bytes) -> None:
    """With and without range hashes and sha256, and whatever comes after the second section."""
    shard = parse_shard(Upload(files, xorbs, tail, footer_size=200).render())
    assert [(f.hash, list(f.terms), f.sha256) for f in shard.files] == [
        (f.hash, list(f.terms), f.sha256) for f in files
    ]
    assert [(x.hash, x.flags, x.size) for x in shard.xorbs] == [(x.hash, x.flags, x.size) for x in xorbs]
    for read, written in zip(shard.xorbs, xorbs, strict=True):
        assert read.unpacked == sum(node.size for node in written.nodes)
        assert read.chunks["hash"].tobytes() == b"".join(node.hash for node in written.nodes)
        assert read.chunks["size"].tolist() == [node.size for node in written.nodes]
        assert read.marked() == sorted(number for number in written.marked if number < len(written.nodes))


@pytest.mark.parametrize("footer_size", [0, 200])
@pytest.mark.parametrize("tail", [b"", bytes(200), bytes(12 * 3 + 200), b"\xff" * 4096])
def test_footers_of_clients_of_every_age(footer_size: int, tail: bytes) -> None:
    """None, one that is announced and missing, lookups and a footer, noise (XET 6.2)."""
    shard = parse_shard(replace(UPLOAD, tail=tail, footer_size=footer_size).render())
    assert (len(shard.files), len(shard.xorbs)) == (1, 1)


def test_a_sha256_is_written_as_people_write_it() -> None:
    """In the shard each eight bytes are reversed."""
    reversed_ = b"".join(bytes.fromhex(CONTENT)[at : at + 8][::-1] for at in range(0, 32, 8))
    assert reversed_ in UPLOAD.render()
    assert parse_shard(UPLOAD.render()).files[0].sha256 == CONTENT


def test_entries_are_a_list() -> None:
    """Length, places, and as many walks as one likes."""
    shard = parse_shard(Upload([FILE, replace(FILE, hash=name(1))]).render())
    assert len(shard.files) == 2
    assert shard.files[1].hash == name(1)
    assert shard.files[0].terms[1] == term(2, 6)
    assert list(shard.files[0].terms) == list(shard.files[0].terms) == [term(0, 2), term(2, 6)]
    with pytest.raises(IndexError):
        shard.files[2]


def test_an_empty_file_and_a_shard_of_nothing() -> None:
    """A file without terms, and no entries at all."""
    assert list(parse_shard(Upload([File(bytes(32), [], CONTENT)]).render()).files[0].terms) == []
    assert len(parse_shard(Upload().render()).files) == len(parse_shard(Upload().render()).xorbs) == 0


# --- refusing ---


def test_a_shard_that_is_cut_short_anywhere_is_refused() -> None:
    """At every byte before the end of the second section."""
    whole = UPLOAD.render()
    assert len(parse_shard(whole).xorbs) == 1
    for end in range(len(whole)):
        with pytest.raises(Invalid):
            parse_shard(whole[:end])


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        bytes(48 * 4),
        replace(UPLOAD, head=TAG[:-1] + b"\0").render(),
        replace(UPLOAD, version=1).render(),
        replace(UPLOAD, version=3).render(),
        Upload(xorbs=[Xorb(ROOT, [])]).render(),
        Upload(xorbs=[Xorb(ROOT, [Node(name(0), 1)] * (MAX_CHUNKS + 1))]).render(),
        TAG + struct.pack("<QQ32sII8x", 2, 0, ROOT, 0, 0xFFFFFFFF) + BOOKEND * 2,
        TAG + struct.pack("<QQ32sII8x", 2, 0, ROOT, 0xFFFFFFFF, 0xFFFFFFFF) + BOOKEND * 2,
        TAG + struct.pack("<QQ32sII8x", 2, 0, ROOT, 1 << 30, 2) + BOOKEND * 2,
        TAG
        + struct.pack("<QQ", 2, 0)
        + BOOKEND
        + struct.pack("<32sIIII", ROOT, 0, 0xFFFFFFFF, 1, 1)
        + BOOKEND,
    ],
)
def test_what_is_no_shard_is_refused(bad: bytes) -> None:
    """Another format or version, xorbs of no chunk and of too many, counts that reach past the end."""
    with pytest.raises(Invalid):
        parse_shard(bad)


def test_an_overlong_shard_is_refused() -> None:
    """Before it is looked at."""
    with pytest.raises(TooLarge):
        parse_shard(bytes(MAX_SHARD + 1))


@given(st.binary(max_size=400))
def test_noise_is_refused(data: bytes) -> None:
    """No bytes make the parser fail in another way, or succeed; unless they are two empty sections."""
    for shard in (data, TAG + struct.pack("<QQ", 2, 0) + data):
        with pytest.raises(HubregError):
            parse_shard(shard)


@given(st.integers(48, 48 + 48 * 14), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_read(at: int, value: int) -> None:
    """Nothing but `Invalid` comes of it, now or when the entries are read."""
    data = bytearray(UPLOAD.render())
    at = min(at, len(data) - 1)
    data[at] = value
    try:
        shard = parse_shard(bytes(data))
    except Invalid:
        return
    assert [list(file.terms) for file in shard.files]
    assert [xorb.marked() for xorb in shard.xorbs]


def test_a_shard_of_a_million_entries_stays_small() -> None:
    """As many files as 64 MiB can name: they become objects one at a time."""
    entry = File(ROOT, []).render()
    count = (MAX_SHARD - 3 * 48) // len(entry)
    data = Upload().render()[:48] + entry * count + BOOKEND + BOOKEND
    tracemalloc.start()
    shard = parse_shard(data)
    assert len(shard.files) == count > 10**6
    assert shard.files[count - 1].hash == ROOT
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_million_tiny_chunks_are_listed() -> None:
    """In xorbs of 8192, without an object for each."""
    entry = Xorb(ROOT, [Node(name(0), 1)] * MAX_CHUNKS).render()
    shard = parse_shard(TAG + struct.pack("<QQ", 2, 0) + BOOKEND + entry * 125 + BOOKEND)
    assert sum(len(xorb.chunks) for xorb in shard.xorbs) == 125 * MAX_CHUNKS > 10**6


# --- holding it against what is stored ---


def test_a_true_term_gives_its_chunks() -> None:
    """All terms of a file together are what its hash is over."""
    (file,) = parse_shard(UPLOAD.render()).files
    chunks = [node for term in file.terms for node in term.check(INDEX)]
    assert chunks == NODES
    assert file_hash(chunks) == file.hash


@pytest.mark.parametrize(
    ("start", "end"), [(0, 7), (6, 7), (3, 3), (4, 2), (6, 6), (2**32 - 1, 2), (0, 2**32 - 1)]
)
def test_a_term_outside_its_xorb_is_refused(start: int, end: int) -> None:
    """Past the end, empty, backwards."""
    with pytest.raises(Invalid, match="lies outside"):
        replace(term(0, 6), start=start, end=end).check(INDEX)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_term_of_another_length_is_refused(change: int) -> None:
    """The sum of its chunks counts."""
    with pytest.raises(Invalid, match="bytes that the shard says"):
        replace(term(1, 3), unpacked=term(1, 3).unpacked + change).check(INDEX)


@pytest.mark.parametrize("proof", [None, bytes(32), ROOT, term(0, 2).range_hash])
def test_a_term_of_a_stranger_is_refused(proof: bytes | None) -> None:
    """Who knows a xorb's name and not its chunks has no right range hash."""
    with pytest.raises(Invalid, match="range hash"):
        replace(term(1, 3), range_hash=proof).check(INDEX)


def test_a_xorb_is_the_one_that_was_measured() -> None:
    """Its chunks, one by one."""
    (xorb,) = parse_shard(UPLOAD.render()).xorbs
    xorb.check(INDEX)
    assert xorb.marked() == [0, 4]


@pytest.mark.parametrize(
    "listed",
    [
        NODES[:-1],
        [*NODES, NODES[0]],
        NODES[::-1],
        [NODES[0]._replace(hash=name(9)), *NODES[1:]],
        [*NODES[:-1], NODES[-1]._replace(size=1)],
    ],
)
def test_a_xorb_of_other_chunks_is_refused(listed: list[Node]) -> None:
    """Fewer, more, in another order, of another hash or length."""
    (xorb,) = parse_shard(Upload(xorbs=[Xorb(ROOT, listed)]).render()).xorbs
    with pytest.raises(Invalid, match=hash_string(ROOT)):
        xorb.check(INDEX)


# --- answering a dedup query ---


def answer(key: bytes = KEY) -> tuple[bytes, Shard]:
    data = render_dedup_shard([(ROOT, INDEX), (name(7), INDEX)], key, 1000, 2000)
    return data, parse_shard(data)


def test_an_answer_names_chunks_by_their_hmac() -> None:
    """No hash of a chunk is in it; sizes and the xorbs' own hashes are."""
    data, shard = answer()
    assert not any(node.hash in data for node in NODES)
    assert len(shard.files) == 0
    assert [xorb.hash for xorb in shard.xorbs] == [ROOT, name(7)]
    xorb = shard.xorbs[0]
    assert (xorb.unpacked, xorb.size) == (INDEX.unpacked(), INDEX.length)
    assert xorb.chunks["size"].tolist() == INDEX.sizes()
    assert xorb.chunks["start"].tolist() == [0, 100, 201, 303, 406, 510]
    assert xorb.chunks["hash"].tobytes() == b"".join(dedup_hmac(node.hash, KEY) for node in NODES)


def test_an_answer_without_a_key_names_them_as_they_are() -> None:
    """A key of zeros is none."""
    _, shard = answer(bytes(32))
    shard.xorbs[0].check(INDEX)


def test_an_answer_ends_with_a_footer() -> None:
    """200 bytes: where the sections are, the key, when it was made and ends, and where itself is (XET 6.2)."""
    data, _ = answer()
    words = struct.unpack("<9Q32s12Q", data[-200:])
    assert data[40:48] == (200).to_bytes(8, "little")
    assert words[:3] == (1, 48, 96)
    assert words[9:12] == (KEY, 1000, 2000)
    assert words[-1] == len(data) - 200
    assert data[48:96] == data[len(data) - 248 : len(data) - 200] == BOOKEND
