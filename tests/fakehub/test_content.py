"""Generated files: the same bytes from wherever they are read, at any size, and never the same twice."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakehub.content import BLOCK, Content, Declared, File, Generated, Plain, Span, as_file, lfs
from tests.fakehub.repos import Tree

SIZE = 3 * BLOCK + 12_345
WHOLE = Generated(SIZE, 1, head=b"a head").read()


@given(st.integers(0, SIZE), st.integers(0, SIZE))
def test_any_range_is_that_part_of_the_whole(start: int, end: int) -> None:
    """Where reading begins and ends does not change what is read."""
    assert Generated(SIZE, 1, head=b"a head").read(start, end) == WHOLE[start:end]


def test_the_head_stands_in_front_of_the_bytes_that_are_there_without_it() -> None:
    """A header does not shift what comes behind it."""
    assert WHOLE[:6] == b"a head"
    assert Generated(SIZE, 1).read()[6:] == WHOLE[6:]
    with pytest.raises(ValueError, match="longer than the file"):
        Generated(3, head=b"four")


def test_no_two_blocks_of_a_large_file_begin_at_the_same_place() -> None:
    """A block in another's place is another file: 50 000 of them, 48 GiB."""
    pieces = Generated(50_000 * BLOCK, 7).pieces(0, 50_000 * BLOCK)
    offsets = [piece.offset for piece in pieces if isinstance(piece, Span)]
    assert len(offsets) == len(set(offsets)) == 50_000


def test_another_seed_is_another_file() -> None:
    """Files of two seeds share no block at the same place."""
    one, other = Generated(SIZE, 1), Generated(SIZE, 2)
    assert all(one.read(at, at + 16) != other.read(at, at + 16) for at in range(0, SIZE, BLOCK))


def test_ids_are_those_of_the_bytes() -> None:
    """SHA-256, and git's id of a blob."""
    generated = Generated(SIZE, 1, head=b"a head")
    assert generated.sha256 == hashlib.sha256(WHOLE).hexdigest()
    assert generated.oid == hashlib.sha1(b"blob %d\0" % SIZE + WHOLE, usedforsecurity=False).hexdigest()
    assert Plain(WHOLE).sha256 == generated.sha256


def test_declared_ids_are_taken_as_they_are() -> None:
    """What is stated goes before what is so; the rest is so."""
    declared = Declared(Plain(b"some"), sha256="a" * 64)
    assert (declared.sha256, declared.oid, declared.size) == ("a" * 64, Plain(b"some").oid, 4)
    assert declared.read() == b"some"
    assert declared.xet != Plain(b"some").xet


def test_what_a_test_writes_down_becomes_a_file() -> None:
    """Bytes and text are regular files, generated content is large, and a file stays as it is."""
    assert as_file("text") == as_file(b"text") or as_file("text").oid == as_file(b"text").oid
    assert not as_file(b"x").large
    assert as_file(Generated(10)).large
    large = lfs(b"x", xet=False)
    assert as_file(large) is large
    assert large.xet_hash is None


def test_a_tree_has_the_id_that_git_gives_it(tmp_path: Path) -> None:
    """git itself is asked, about folders whose order is easily got wrong."""
    contents: dict[str, bytes] = {
        "a.txt": b"1",
        "a/b/c.txt": b"2",
        "a-b": b"3",
        "ab": b"",
        "ü/ß.txt": b"4",
        "z/last": b"5",
    }
    run(tmp_path, "init", "-q")
    for path, data in contents.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    run(tmp_path, "add", ".")
    tree = Tree({path: as_file(data) for path, data in contents.items()})
    assert tree.oid == run(tmp_path, "write-tree")
    listed = run(tmp_path, "-c", "core.quotePath=false", "ls-files").splitlines()
    assert [path for path in tree.paths("", recursive=True) or () if path in contents] == listed


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_pointer_of_a_large_file_is_what_git_holds() -> None:
    """Its id is the pointer's, not the content's."""
    file: File = lfs(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    assert (
        file.pointer.decode() == f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 7\n"
    )
    assert file.oid == Plain(file.pointer).oid
    content: Content = file.content
    assert file.oid != content.oid
