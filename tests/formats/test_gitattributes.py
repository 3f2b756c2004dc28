"""Which path is in LFS and which is ignored, with C git as the judge."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubreg.formats.gitattributes import DATASET, DEFAULT, Attributes, Ignore, looks_binary, rule_for
from hubreg.formats.gitobjects import object_oid


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judge")
    git(path, "init", "-q")
    return path


def git(repo: Path, *command: str, paths: list[str] | None = None) -> list[str]:
    """What C git says of the paths, without anybody's settings."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(repo), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", "-C", str(repo), *command],
        input="".join(f"{path}\0" for path in paths or []).encode(),
        capture_output=True,
        env=environment,
        check=False,
    )
    return done.stdout.decode().split("\0")[:-1]


def git_lfs_paths(repo: Path, attributes: str, paths: list[str]) -> set[str]:
    (repo / ".gitattributes").write_text(attributes, newline="")
    said = git(repo, "check-attr", "--stdin", "-z", "filter", paths=paths)
    return {path for path, value in zip(said[0::3], said[2::3], strict=True) if value == "lfs"}


def git_ignored_paths(repo: Path, ignore: str, paths: list[str]) -> set[str]:
    (repo / ".gitignore").write_text(ignore, newline="")
    return set(git(repo, "check-ignore", "--no-index", "--stdin", "-z", paths=paths))


segments = st.text("abc.*é-]!#\\[ ", min_size=1, max_size=4).filter(lambda s: s not in (".", ".."))
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
pieces = st.sampled_from(
    "a b . * * ? / / ** **/ /** [ab] [!a] [^b] [a-c] []a] [[:alpha:]] [[:nope:]] [a \\a \\* \\ ! # é [b-a] [a\\]] - ]"
    " [!]a] [a-] \\[ \\/ c**".split()
)
patterns = (
    st.lists(pieces, min_size=1, max_size=7).map("".join).filter(lambda p: not re.search(r"\[[^\]]*/", p))
)
says = st.sampled_from(
    ["filter=lfs", "filter=lfs -text", "-filter", "!filter", "filter", "filter=other", "text"]
)
with_git = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@with_git
@given(
    st.lists(st.tuples(patterns, says).map(" ".join), max_size=5).map("\n".join),
    st.lists(paths, min_size=20, max_size=20),
)
def test_git_agrees_on_attributes(repo: Path, text: str, paths: list[str]) -> None:
    """Any lines, any paths: C git and we put the same files into LFS."""
    attributes = Attributes(text)
    assert {path for path in paths if attributes.is_lfs(path)} == git_lfs_paths(repo, text, paths)


@with_git
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "", "!"]), patterns, st.sampled_from(["", "", "/", " ", "\\ ", "\r"])
        ).map("".join),
        max_size=5,
    ).map("\n".join),
    st.lists(paths, min_size=20, max_size=20),
)
def test_git_agrees_on_what_is_ignored(repo: Path, text: str, paths: list[str]) -> None:
    """Any lines, any paths: C git and we leave out the same files."""
    ignore = Ignore(text)
    assert {path for path in paths if ignore.ignores(path)} == git_ignored_paths(repo, text, paths)


ODD_FILES = [
    "\ufeff*.a filter=lfs\n*.b filter=lfs",
    "  *.a filter=lfs  \r\n\t*.b\tfilter=lfs\r\n# *.c filter=lfs",
    '"a b.a" filter=lfs\n"*.b" filter=lfs\n"é\\303\\251.c" filter=lfs\n"x\\ty" filter=lfs',
    '"unfinished filter=lfs\n"*.a filter=lfs',
    "[attr]big filter=lfs -text\n*.a big\n*.b -big\n*.c big -filter",
    "*.a filter=lfs\nsub/ filter=lfs\nsub/** filter=lfs\n!*.b filter=lfs",
    "*.a filter=lfs text\n*.a text\n*.b filter=lfs filter=x\n*.c\n",
    "a.* filter=lfs\x0c\nsub/*\x0bfilter=lfs\n*.c\u00a0filter=lfs\n*.b \u0085filter=lfs",
]


@pytest.mark.parametrize("text", ODD_FILES)
def test_git_agrees_on_odd_files(repo: Path, text: str) -> None:
    """Byte order marks, line ends, quotes, macros, lines that make no sense."""
    paths = [
        "a.a",
        "a b.a",
        "x.b",
        "éé.c",
        "y.c",
        "sub/a.a",
        "sub/x.d",
        "sub/deep/x.c",
        "x\ty",
        '"*.a',
        "sub",
    ]
    attributes = Attributes(text)
    assert {path for path in paths if attributes.is_lfs(path)} == git_lfs_paths(repo, text, paths)


@with_git
@given(
    st.text("ab *?[]\\\"'!#é.-\t", min_size=1, max_size=8).filter(lambda s: s not in (".", "..")),
    st.booleans(),
)
def test_git_agrees_on_the_rule_for_one_path(repo: Path, name: str, deep: bool) -> None:
    """The line puts exactly that path into LFS: no namesake in another folder, nothing that it looks like."""
    path = f"dir/{name}" if deep else name
    others = [f"other/{path}", f"{path}x", f"x{path}", "a", "b"]
    text = f"{rule_for(path)}\n"
    expected = {path}
    assert git_lfs_paths(repo, text, [path, *others]) == expected | {o for o in others if o == path}
    assert Attributes(text).is_lfs(path)
    assert not any(Attributes(text).is_lfs(o) for o in others if o != path)


@pytest.mark.parametrize(
    ("text", "size", "oid"),
    [
        (DEFAULT, 1519, "a6344aac8c09253b3b630fb776ae94478aa0275b"),
        (DATASET, 2461, "1ef325f1b111266a6b26e0196871bd78baa8c2f3"),
    ],
)
def test_new_repos_begin_with_the_hubs_own_bytes(text: str, size: int, oid: str) -> None:
    """Git's names of the Hub's two files, as seen in its repos (HUB 8.4)."""
    assert len(text.encode()) == size
    assert object_oid("blob", text.encode()) == oid


@pytest.mark.parametrize(
    ("path", "lfs"),
    [("model.safetensors", True), ("a/b/pytorch_model.bin", True), ("saved_model/1/variables", True),
     ("saved_model/x", True), ("runs/events.out.tfevents.123", True), ("x.tar.zst.part", True), ("config.json", False),
     ("README.md", False), ("bin", False), ("model.bin/config.json", False), (".gitattributes", False)],
)  # fmt: skip
def test_the_default_rules_know_weights(path: str, lfs: bool) -> None:
    """Weights are large files, text beside them is not, and a folder's name says nothing of what is in it."""
    assert Attributes(DEFAULT).is_lfs(path) is lfs


def test_ten_thousand_rules_are_no_burden() -> None:
    """A repo whose every file has its own line is looked up by name, not line by line."""
    paths = [f"data/part [{n}].json" for n in range(10_000)]
    attributes = Attributes("".join(f"{rule_for(path)}\n" for path in paths))
    assert all(attributes.is_lfs(path) for path in paths)
    assert not attributes.is_lfs("data/part [10000].json")


def test_wildcards_beyond_measure_are_skipped() -> None:
    """A file of endless wildcards costs neither memory nor time, and the rules before it hold."""
    attributes = Attributes(
        "*.bin filter=lfs\n" + "".join(f"*-{n}-*b*c* filter=lfs\n" for n in range(100_000))
    )
    assert attributes.is_lfs("x.bin")
    assert not attributes.is_lfs("x-99999-bc")


@pytest.mark.parametrize(
    ("sample", "binary"),
    [(b"", False), (b"plain text\r\n\ttab\x0c", False), ("naïve façade 日本".encode(), False), (b"caf\xe9", False),
     (b"\x1b[1mcolour\x1b[0m", False), ("日本".encode()[:-1], False), (b"\x00", True), (b"\x89PNG\r\n\x1a\n", True),
     (b"PK\x03\x04", True), ("utf-16".encode("utf-16"), True), (b"\x80\x04\x95", True), (b"\x7f", True)],
)  # fmt: skip
def test_a_sample_is_text_or_it_is_not(sample: bytes, binary: bool) -> None:
    """Bytes that no text has make a file binary; a character cut in half does not."""
    assert looks_binary(sample) is binary
