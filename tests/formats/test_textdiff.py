"""Unified diffs, with `git apply` as the judge of whether they say the truth."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubreg.formats.gitobjects import EXECUTABLE, FILE, LINK, object_oid
from hubreg.formats.textdiff import Budget, Version, unified
from hubreg.model import Oid

# Few different lines, so that much is in common; ends of line that are none to git; a last line without an end.
lines = st.sampled_from(["a", "b", "c", "\r", "\f", "\u2028", "", " x ", "-- y", "é"])
texts = st.builds(
    lambda rows, end: "\n".join(rows) + end, st.lists(lines, max_size=14), st.sampled_from(["", "\n"])
)


def version(content: bytes | None, mode: int = FILE) -> Version:
    return Version(object_oid("blob", content or b""), mode, content)


def at_random(seed: int) -> str:
    return "".join(Random(seed).choices(["a\n", "b\n"], k=200_000))


def changed_lines(diff: str) -> list[str]:
    """The lines that a diff adds and takes away."""
    body = diff.partition("\n@@")[2].split("\n")[1:]
    return [row for row in body if row.startswith(("+", "-"))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=st.none() | texts, new=st.none() | texts, name=st.sampled_from(["f", "a b", "é", 'q"\\t\tx']))
def test_git_makes_the_new_text_from_the_old(
    tmp_path: Path, old: str | None, new: str | None, name: str
) -> None:
    """`git apply` takes every diff of two texts, and makes exactly the new one: created, changed or deleted."""
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if old is not None:
        path.write_bytes(old.encode())
    was, now = (None if text is None else version(text.encode()) for text in (old, new))
    diff = unified(name, was, now)
    assert (diff == "") == (old == new)
    if diff:
        subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff.encode(), check=True)
    assert (path.read_bytes().decode() if path.exists() else None) == new


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_diff_is_as_short_as_can_be(old: list[str], new: list[str]) -> None:
    """As many lines stay as the longest common subsequence has, computed the slow way."""
    common = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, was in enumerate(old):
        for j, now in enumerate(new):
            common[i + 1][j + 1] = common[i][j] + 1 if was == now else max(common[i][j + 1], common[i + 1][j])
    diff = unified("f", *(version("".join(f"{row}\n" for row in rows).encode()) for rows in (old, new)))
    assert len(changed_lines(diff)) == len(old) + len(new) - 2 * common[-1][-1]


def test_a_change_reads_as_git_writes_it() -> None:
    """Head, modes, oids, two hunks with three lines around each, and the note on a missing end of line."""
    old = [f"{n}\n" for n in range(1, 21)]
    new = [*old[:2], "three\n", *old[3:19], "20"]
    was, now = version("".join(old).encode()), version("".join(new).encode())
    assert unified("docs/numbers.txt", was, now) == (
        "diff --git a/docs/numbers.txt b/docs/numbers.txt\n"
        f"index {was.oid}..{now.oid} 100644\n"
        "--- a/docs/numbers.txt\n"
        "+++ b/docs/numbers.txt\n"
        "@@ -1,6 +1,6 @@\n 1\n 2\n-3\n+three\n 4\n 5\n 6\n"
        "@@ -17,4 +17,4 @@\n 17\n 18\n 19\n-20\n+20\n\\ No newline at end of file\n"
    )


@pytest.mark.parametrize("name", ["f", "a b", "é", 'q"\\t\tx'])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, ""),
        (None, "x"),
        ("x\n", None),
        ("x\n", ""),
        ("1234567890", "1\n"),
        ("1\n2\n3\n4\n5\n6\n7\n8\n", "one\n2\n3\n4\n5\n6\n7\neight\n"),
        ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "one\n2\n3\n4\n5\n6\n7\n8\nnine\n"),
        ("1\n2\n3\n4\n5\n", "1\n2\n3\n4\nnew\n5\n"),
        ("a\0b", "a\0c"),
    ],
)
def test_git_writes_the_same(tmp_path: Path, old: str | None, new: str | None, name: str) -> None:
    """Letter for letter `git diff` of two trees: names in need of quotes, empty ranges, hunks that touch or do not."""

    def git(*arguments: str) -> str:
        command = ["git", "-c", "core.quotePath=false", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout.decode()

    def tree(text: str | None) -> str:
        (tmp_path / name).unlink(missing_ok=True)
        if text is not None:
            (tmp_path / name).write_bytes(text.encode())
        git("add", "-A")
        return git("write-tree").strip()

    git("init", "-q")
    versions = [None if text is None else version(text.encode()) for text in (old, new)]
    assert unified(name, *versions) == git("diff", "--full-index", tree(old), tree(new))


@pytest.mark.parametrize(
    ("old", "new", "body"),
    [
        (None, version(b""), ["new file mode 100644", f"index {'0' * 40}..{object_oid('blob', b'')}"]),
        (
            version(b"", EXECUTABLE),
            None,
            ["deleted file mode 100755", f"index {object_oid('blob', b'')}..{'0' * 40}"],
        ),
        (version(b"x"), version(b"x", EXECUTABLE), ["old mode 100644", "new mode 100755"]),
    ],
)
def test_changes_without_lines_have_a_head_only(
    old: Version | None, new: Version | None, body: list[str]
) -> None:
    """An empty file that comes or goes, and a mode that changes."""
    assert unified("f", old, new).split("\n") == ["diff --git a/f b/f", *body, ""]


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe", None])
def test_what_is_no_text_is_said_to_differ(content: bytes | None) -> None:
    """A NUL, bytes that are not UTF-8, or content that was too large to load: git's one line, on either side."""
    other = Version(Oid("1" * 40), FILE, content)
    assert unified("f", version(b"text"), other).endswith("\nBinary files a/f and b/f differ\n")
    assert unified("f", None, other).endswith("\nBinary files /dev/null and b/f differ\n")
    assert unified("f", other, None).endswith("\nBinary files a/f and /dev/null differ\n")


def test_a_file_that_becomes_a_link_goes_and_comes() -> None:
    """Git shows another type at the same path as a deletion and a creation."""
    old, new = version(b"text\n"), version(b"target", LINK)
    assert unified("f", old, new) == unified("f", old, None) + unified("f", None, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\n" * 100_000, "b\n" * 100_000),
        ("x\n" + at_random(1) + "y\n", "z\n" + at_random(2) + "w\n"),
        ("".join(f"{n}\n" for n in range(20_000)), "".join(f"{n}\n" for n in range(20_000, -1, -1))),
    ],
    ids=["nothing in common", "two lines at random", "upside down"],
)
def test_hostile_texts_are_replaced_as_a_whole(old: str, new: str) -> None:
    """Texts that would take the shortest diff minutes get a longer one that is as true."""
    diff = changed_lines(unified("f", version(old.encode()), version(new.encode())))
    assert "".join(row[1:] + "\n" for row in diff if row.startswith("+")) == new
    assert "".join(row[1:] + "\n" for row in diff if row.startswith("-")) == old


def test_files_share_a_budget() -> None:
    """When it is spent the rest is replaced as a whole, which is as true; what is easy gives back what it left."""
    old, new = version(b"a\nb\nc\nd\ne\n"), version(b"A\nb\nc\nd\nE\n")
    budget = Budget(30)
    assert "\n b\n c\n d\n" in unified("f", old, new, budget)
    left = budget.steps
    assert 0 < left < 30
    assert "\n b\n c\n d\n" not in unified("f", old, new, Budget(5))
    while budget.steps:
        unified("f", old, new, budget)
    text = unified("f", old, new, budget)
    assert "-a\n-b\n-c\n-d\n-e\n+A\n+b\n+c\n+d\n+E\n" in text
