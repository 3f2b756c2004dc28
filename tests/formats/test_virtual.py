"""A plain file as Xet has it: held against the client's own hash, and against the same cut in one piece."""

from __future__ import annotations

from pathlib import Path

import hf_xet
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.formats.chunking import Buffer, Chunker, Node, chunk_hash, file_hash, hash_string, merkle_root
from hubreg.formats.virtual import PlainFile, VirtualXorb
from hubreg.formats.xorb import HEADER_SIZE, MAX_CHUNKS, MAX_XORB, XorbReader, raw_header


class Every:
    """Cuts after every `length` bytes, which no file would be, and tells so as late as it is allowed to."""

    def __init__(self, length: int) -> None:
        self.length, self.fed = length, 0

    def feed(self, data: Buffer) -> list[int]:
        self.fed += len(data)
        return []

    def finish(self) -> list[int]:
        whole, rest = divmod(self.fed, self.length)
        return [self.length] * whole + ([rest] if rest else [])


def noise(size: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def taken(content: bytes, pieces: list[int]) -> tuple[PlainFile, list[VirtualXorb]]:
    """The file, fed in pieces that end there."""
    file, xorbs = PlainFile(Chunker()), list[VirtualXorb]()
    for start, end in zip([0, *pieces], [*pieces, len(content)], strict=True):
        xorbs += file.feed(memoryview(content)[start:end])
    return file, xorbs + file.finish()


@pytest.mark.parametrize(
    "content", [b"x", noise(8191), noise(700_000), bytes(400_000), b"a,b\n" * 100_000], ids=len
)
def test_the_hash_is_the_clients(content: bytes, tmp_path: Path) -> None:
    """Whoever uploads the same file finds the one that is here."""
    path = tmp_path / "file"
    path.write_bytes(content)
    [theirs] = hf_xet.hash_files([str(path)])
    assert taken(content, [])[0].hash() == theirs.hash


def test_an_empty_file_has_no_xorb() -> None:
    """And the hash that Xet gives it: zeros."""
    file, xorbs = taken(b"", [])
    assert (file.hash(), xorbs, file.first) == ("0" * 64, [], None)


@given(st.lists(st.integers(0, 300_000), max_size=6).map(sorted))
def test_pieces_do_not_matter(pieces: list[int]) -> None:
    """However it is fed, the same chunks come out, at the same places."""
    content = noise(300_000)
    file, [xorb] = taken(content, pieces)
    whole, [same] = taken(content, [])
    assert (file.hash(), file.first, xorb.hash) == (whole.hash(), whole.first, same.hash)
    assert xorb.index.render() == same.index.render()


def test_a_virtual_xorb_is_a_xorb() -> None:
    """With headers before its chunks it is what a client could have sent under that name."""
    content = noise(500_000)
    file, [xorb] = taken(content, [])
    reader, at = XorbReader(), xorb.offset
    for size in xorb.index.sizes():
        reader.feed(raw_header(size) + content[at : at + size])
        at += size
    assert at == len(content)
    index = reader.finish(merkle_root(xorb.index.nodes()))
    assert (index.render(), index.length) == (xorb.index.render(), xorb.index.length)
    assert xorb.hash == hash_string(merkle_root(index.nodes()))
    assert file.first == hash_string(chunk_hash(content[: xorb.index.sizes()[0]]))


@pytest.mark.parametrize(
    ("length", "full"), [(8, MAX_CHUNKS), (100_000, MAX_XORB // (100_000 + HEADER_SIZE))]
)
def test_xorbs_have_the_limits_of_xet(length: int, full: int) -> None:
    """As many chunks, or bytes with their headers, as a xorb may have; the next begins where it ends."""
    size = 2 * full * length + length
    content = (noise(1 << 20) * (size // (1 << 20) + 1))[:size]
    file = PlainFile(Every(length))
    assert file.feed(content) == []
    xorbs = file.finish()
    assert [len(xorb.index) for xorb in xorbs] == [full, full, 1]
    assert [xorb.offset for xorb in xorbs] == [0, full * length, 2 * full * length]
    pieces = [content[at : at + length] for at in range(0, len(content), length)]
    assert file.hash() == hash_string(file_hash([Node(chunk_hash(piece), length) for piece in pieces]))
