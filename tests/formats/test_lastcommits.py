"""Which commit last changed each entry of a folder."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import Damaged
from hubreg.formats.gitobjects import FILE, Folder, TreeEntry
from hubreg.formats.lastcommits import parse, render, step
from hubreg.model import CommitId, Oid


def commit(number: int) -> CommitId:
    return CommitId(f"{number:040x}")


commits = st.integers(0, 2**160 - 1).map(commit)


@given(
    st.lists(commits, max_size=4).flatmap(
        lambda some: st.lists(st.sampled_from(some)) if some else st.just([])
    )
)
def test_a_list_comes_back_as_it_was(commits: list[CommitId]) -> None:
    """Any commits in any order and any number of times."""
    assert parse(render(commits)) == tuple(commits)


@pytest.mark.parametrize(("distinct", "width"), [(1, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)])
def test_an_entry_costs_as_few_bytes_as_it_can(distinct: int, width: int) -> None:
    """Each commit is written once, and each entry as an index that is just wide enough."""
    commits = [commit(number) for number in range(distinct)]
    data = render([*commits, *commits])
    assert len(data) == 5 + 20 * distinct + 2 * distinct * width
    assert parse(data) == (*commits, *commits)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\0\0\0",
        render([commit(1)])[:-1],
        b"\0" + render([commit(1)])[1:],
        b"\3" + render([commit(1)])[1:],
        b"\2" + render([commit(1)])[1:],
        b"\2" + render([commit(1)])[1:] + b"\0\0",
        b"\1\xff\xff\xff\xff" + bytes(40),
        render([commit(1)])[:-1] + b"\1",
    ],
)
def test_what_is_no_list_is_damaged(data: bytes) -> None:
    """Cut short, an index wider or larger than there is, more commits announced than follow."""
    with pytest.raises(Damaged):
        parse(data)


@given(st.binary(max_size=60))
def test_noise_is_damaged_or_a_list(data: bytes) -> None:
    """No bytes make the parser fail in another way."""
    with suppress(Damaged):
        assert all(len(commit) == 40 for commit in parse(data))


def test_changed_and_unknown_entries_get_the_new_commit() -> None:
    """What changed has the new commit, what did not keeps its own, and what nobody knows of counts as changed."""
    entries = tuple(TreeEntry(name, FILE, Oid("1" * 40)) for name in ("changed", "kept", "unknown"))
    before = {"changed": commit(1), "gone": commit(2), "kept": commit(3)}
    after = step(before, Folder(entries, frozenset(["changed"])), commit(9))
    assert after == (commit(9), commit(3), commit(9))
