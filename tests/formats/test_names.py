"""Names: what may be an account, a repo, a ref, a path, and what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Invalid, InvalidPath
from hubreg.formats import names


def accepts(check: Callable[[str], object], name: str) -> bool:
    try:
        check(name)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize(
    "name", ["gpt2", "__DUMMY_HUB_USER__", "a", "Llama-3.1-8B", "v0.1_x", "1", "_", "a" * 96]
)
def test_ordinary_names_are_names(name: str) -> None:
    """Letters, digits and `._-` inside make a name of an account and of a repo."""
    assert accepts(names.check_account_name, name)
    assert accepts(names.check_repo_name, name)


BAD_NAMES = ["", "-a", "a-", ".a", "a.", "a--b", "a..b", "a/b", "a b", "é", "a\n", "a" * 97, "x.git", "x.GIT", "@a",
             "a\0", "..", ".", "%2e", "\u212a"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_a_url_or_a_folder_could_misread_is_no_name(name: str) -> None:
    """The Hub's rules (HUB 1.2) hold for both segments of a repo id."""
    assert not accepts(names.check_account_name, name)
    assert not accepts(names.check_repo_name, name)
    assert not accepts(names.parse_repo_id, f"ok/{name}")
    assert not accepts(names.parse_repo_id, f"{name}/ok")


@pytest.mark.parametrize("name", ["api", "API", "datasets", "resolve-cache", "v2", "oauth", "settings"])
def test_words_of_urls_are_no_accounts(name: str) -> None:
    """An account of that name would hide a page in any case of its letters; a repo would not."""
    assert not accepts(names.check_account_name, name)
    assert accepts(names.check_repo_name, name)


def test_a_repo_id_is_two_names_or_one() -> None:
    """A bare name has no namespace, and more than one slash is no repo id."""
    assert names.parse_repo_id("openai-community/GPT2") == ("openai-community", "GPT2")
    assert names.parse_repo_id("gpt2") == (None, "gpt2")
    for bad in ("a/b/c", "/a", "a/", "/", "a//b"):
        assert not accepts(names.parse_repo_id, bad)


def test_names_are_looked_up_in_lower_case() -> None:
    """ASCII only: the sign for Kelvin is not the letter k."""
    assert names.repo_key("OpenAI-Community", "GPT2") == "openai-community/gpt2"
    assert names.key("\u212a") != "k"


def git_accepts(ref: str) -> bool:
    return subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0


REFS = ["main", "a/b", "feature/x.y", "v1.0", "ünï", "a@b", "@", "a..b", "a.lock", "a.lock/b", "a/.b", ".a", "a.",
        "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a@{1}", "a//b", "/a", "a/", "a\x7f", "a\tb", "a]",
        "x.locked"]  # fmt: skip


@pytest.mark.parametrize("name", REFS)
def test_git_agrees_on_what_may_be_a_branch(name: str) -> None:
    """C git is the judge; it takes `@` below refs/heads, which we leave to mean HEAD."""
    expected = git_accepts(f"refs/heads/{name}") and name != "@"
    assert accepts(names.check_branch, name) == expected
    assert accepts(names.check_tag, name) == expected


@given(st.text("ab./@{~^:?*[\\-] \x7f\x1fé", max_size=8))
def test_no_ref_gets_past_us_that_git_refuses(name: str) -> None:
    """Whatever we let through, git can store."""
    if accepts(names.check_branch, name):
        assert git_accepts(f"refs/heads/{name}")


@pytest.mark.parametrize("name", ["", "HEAD", "refs/heads/a", "a" * 40, "0" * 40, "-d", "a" * 300, "\ud800"])
def test_a_ref_that_reads_like_something_else_is_refused(name: str) -> None:
    """A commit id, HEAD, a full ref name and an option are not branches, and the Hub's words say so."""
    with pytest.raises(Invalid, match=r"^Invalid reference for a branch$"):
        names.check_branch(name)
    with pytest.raises(Invalid, match=r"^Invalid reference for a tag$"):
        names.check_tag(name)


def test_commit_ids_are_hex_of_a_certain_length() -> None:
    """40 digits are an id, 4 to 40 may stand for one; other characters never, line ends included."""
    assert names.is_commit_id("0123456789abcdefABCDef0123456789abcdef01")
    assert names.is_abbreviation("abcd")
    for bad in ("", "abc", "g" * 40, "a" * 41, "a" * 39 + "\n", "a" * 40 + "\n", "٠" * 40):
        assert not names.is_commit_id(bad)
        assert not names.is_abbreviation(bad)


@pytest.mark.parametrize(
    "path",
    ["a", "config.json", "a/b/c.bin", r"folder/..\..\..\file", "...", "a/.gitignore", ".gitattributes", "é/ü",
     "a b", "x.git/y", "gıt~1", "git~2", "~", "-", "a" * 255, "日本語.txt", "..a", r"a\b", "%2e%2e/x"],
)  # fmt: skip
def test_ordinary_paths_pass(path: str) -> None:
    """Whatever git and file systems can hold, backslashes included: four tests of the Python client rely on it."""
    assert accepts(names.check_path, path)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/../b", "./a", "a/./b", r"..\ddd", "a\0b", "a\nb", "\x1b[2J",
     "a\x9bb", "\ud800", "é" * 128, "a" * 256, "a/" * 500 + "b", ".git", "a/.GIT/config", ".git.", ".git ", "GIT~1",
     ".git. .", ".git::$INDEX_ALLOCATION", r"a\.git\hooks", ".g\u200cit", "\ufeff.git"],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    """422, as on the Hub: what leaves the repo, what git's own folder could be, what is no text."""
    with pytest.raises(InvalidPath):
        names.check_path(path)


@given(st.text(max_size=30) | st.text("./\\ git~1GIT\0", max_size=12))
def test_a_path_that_passes_is_safe_to_join(path: str) -> None:
    """No accepted path has an empty, `.` or `..` segment, a control character, or bytes that are not UTF-8."""
    if not accepts(names.check_path, path):
        return
    assert all(segment not in ("", ".", "..") for segment in path.encode().decode().split("/"))
    assert all(ord(c) >= 32 for c in path)
    assert ".git" not in path.lower().split("/")


@pytest.mark.parametrize(
    "name",
    [
        ".gitmodules", ".GitModules", ".gitmodules . ", ".gitmodules::$INDEX", "gitmod~1", "GITMOD~4 ", "gi7eba~1",
        "GI7EB~10", "g~100000", "~1234567", ".git\u200cmodules", ".gitattributes", "gitatt~1", "gi7d29~9", ".gitignore",
        "gitign~2", "gi250a~1",
    ],
)  # fmt: skip
def test_files_that_git_reads_are_known(name: str) -> None:
    """In every spelling that git's own fsck looks for."""
    assert names.is_git_file(name)


@pytest.mark.parametrize(
    "name",
    [
        "gitmodules",
        ".gitmodule",
        ".gitmodulesx",
        "x.gitmodules",
        "gitmod~5",
        "gitmod~12",
        "gi7eba~0",
        "gi7ebb~1",
        "~1",
    ],
)
def test_others_are_not_taken_for_them(name: str) -> None:
    """Nobody's file is refused for a likeness."""
    assert not names.is_git_file(name)
