"""Snapshots: names to commits to entries, and listings in pages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubreg.errors import EntryNotFound, RevisionNotFound
from hubreg.model import EntryKind
from tests.hub.conftest import Hub, add

pytestmark = pytest.mark.anyio

FILES = [
    "a.txt", "a/b.txt", "a/c/d.txt", "a/c/e/f.txt", "a-b/x.txt", "a0.txt", "b/y.txt", "z.txt", "é/ü.txt",
]  # fmt: skip
LISTED = [
    "a", "a/c", "a/c/e", "a/c/e/f.txt", "a/c/d.txt", "a/b.txt",
    "a-b", "a-b/x.txt",
    "b", "b/y.txt",
    "é", "é/ü.txt",
    ".gitattributes", "a.txt", "a0.txt", "z.txt",
]  # fmt: skip


async def test_folders_come_before_files_at_every_level(hub: Hub) -> None:
    """A folder is followed by what it holds; each level is sorted as git sorts it."""
    repo = await hub.repo()
    await hub.commit(repo, *[add(path) for path in FILES])
    assert sorted(await hub.tree(repo)) == sorted(LISTED)
    listed = await hub.tree(repo)
    assert listed[-4:] == [".gitattributes", "a.txt", "a0.txt", "z.txt"]
    assert listed.index("a/c/e/f.txt") < listed.index("a/c/d.txt") < listed.index("a/b.txt")
    assert all(listed.index(path.rpartition("/")[0]) < listed.index(path) for path in listed if "/" in path)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 15, 16, 17])
@pytest.mark.parametrize("recursive", [True, False])
async def test_pages_make_up_the_listing(hub: Hub, limit: int, recursive: bool) -> None:
    """Whatever their size, pages hold every entry once and in order, and the last one says so."""
    repo = await hub.repo()
    await hub.commit(repo, *[add(path) for path in FILES])
    snapshot = await hub.app.snapshots.at(repo, "main")
    for folder in ("", "a", "a/c"):
        whole, last = await hub.app.snapshots.page(snapshot, folder, recursive=recursive)
        assert last is None
        collected, cursor = [], ""
        for _ in range(40):
            page, following = await hub.app.snapshots.page(
                snapshot, folder, recursive=recursive, after=cursor, limit=limit
            )
            assert len(page) <= limit
            collected += page
            if following is None:
                break
            cursor = following
        assert collected == whole


@pytest.mark.parametrize("cursor", ["nowhere", "a/nowhere", "/", "..", "a.txt/x", "\0", "zz" * 5000])
async def test_a_cursor_of_ones_own_making_is_harmless(hub: Hub, cursor: str) -> None:
    """A page behind a path that does not exist is some page of the same folder, never an error or another folder."""
    repo = await hub.repo()
    await hub.commit(repo, *[add(path) for path in FILES])
    snapshot = await hub.app.snapshots.at(repo, "main")
    page, _ = await hub.app.snapshots.page(snapshot, "a", recursive=True, after=cursor)
    assert all(entry.path.startswith("a/") for entry in page)


async def test_a_file_is_no_folder_and_an_absent_path_neither(hub: Hub) -> None:
    """Both are `EntryNotFound`, and carry the commit that lacks them."""
    repo = await hub.repo()
    made = await hub.commit(repo, add("a/b.txt"))
    snapshot = await hub.app.snapshots.at(repo, "main")
    for path in ("a/b.txt", "absent", "a/b.txt/c", "a/b.txt/"):
        with pytest.raises(EntryNotFound) as refused:
            await hub.app.snapshots.page(snapshot, path, recursive=False)
        assert refused.value.headers == {"X-Repo-Commit": made.id}
    for path in ("a", "", "absent", "A/b.txt", "a//b.txt"):
        with pytest.raises(EntryNotFound):
            await hub.app.snapshots.entry(snapshot, path)


async def test_revisions_are_branches_tags_refs_and_abbreviations(hub: Hub) -> None:
    """In this order; HEAD and nothing at all are `main`."""
    repo = await hub.repo()
    made = await hub.commit(repo, add("a.txt"))
    await hub.app.refs.create_tag(hub.ann, repo, "v1", "main")
    await hub.app.refs.create_branch(hub.ann, repo, "dev/x")
    resolve = hub.app.snapshots.resolve
    for name in (
        None,
        "",
        "HEAD",
        "main",
        "v1",
        "dev/x",
        "refs/heads/main",
        "refs/tags/v1",
        made.id,
        made.id[:7],
        made.id.upper(),
    ):
        assert await resolve(repo, name) == made.id
    for name in (
        "v2",
        "refs/heads/v1",
        "refs/tags/main",
        "0" * 40,
        made.id[:3],
        made.id + "0",
        "main/",
        "../main",
        "refs/",
    ):
        with pytest.raises(RevisionNotFound, match="Invalid rev id: "):
            await resolve(repo, name)


async def test_a_commit_of_another_repo_is_no_revision(hub: Hub) -> None:
    """Commit ids are secrets of nobody, so they open only the repo they are of."""
    repo, other = await hub.repo(), await hub.repo("other")
    made = await hub.commit(other, add("a.txt"))
    with pytest.raises(RevisionNotFound):
        await hub.app.snapshots.resolve(repo, made.id)


async def test_an_answer_of_before_a_write_is_forgotten(hub: Hub) -> None:
    """A branch that moves, moves for everybody at once."""
    repo = await hub.repo()
    for n in range(3):
        made = await hub.commit(repo, add("a.txt", str(n)))
        assert await hub.app.snapshots.resolve(repo, "main") == made.id


async def test_paths_that_exist_are_found_and_others_left_out(hub: Hub) -> None:
    """Folders count; a path asked twice is answered once."""
    repo = await hub.repo()
    await hub.commit(repo, add("a/b.txt"))
    snapshot = await hub.app.snapshots.at(repo, "main")
    found = await hub.app.snapshots.entries(snapshot, ["a", "absent", "a/b.txt", "a/", "", "a/b.txt"])
    assert [(e.path, e.kind) for e in found] == [("a", EntryKind.DIRECTORY), ("a/b.txt", EntryKind.FILE)]


NUMBERS = itertools.count()  # a repo of its own for each example
SEGMENT = st.sampled_from(["a", "b", "a.b", "a-", "A", "ü"])
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)


@given(paths=PATHS, limit=st.integers(1, 5))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_any_tree_is_listed_whole_in_pages(hub: Hub, paths: list[str], limit: int) -> None:
    """For any set of paths, pages of any size make up the listing of exactly these files."""
    paths = [
        p for p in dict.fromkeys(paths) if not any(q != p and (q + "/").startswith(p + "/") for q in paths)
    ]
    repo = await hub.repo(f"m{next(NUMBERS)}")
    await hub.commit(repo, *[add(path) for path in paths])
    snapshot = await hub.app.snapshots.at(repo, "main")
    files, cursor = [], ""
    while True:
        page, following = await hub.app.snapshots.page(
            snapshot, "", recursive=True, after=cursor, limit=limit
        )
        files += [entry.path for entry in page if entry.kind is EntryKind.FILE]
        if following is None:
            break
        cursor = following
    assert sorted(files) == sorted([*paths, ".gitattributes"])
    assert [entry.path for entry in await hub.app.snapshots.files(snapshot)] == files


async def test_the_folders_of_a_new_commit_are_at_hand(hub: Hub) -> None:
    """Whoever asks for them next does not wait for rows to be read and parsed."""
    repo = await hub.repo()
    await hub.commit(repo, *[add(path) for path in FILES])
    async with hub.app.db.write() as tx:
        await tx.run("DELETE FROM objects WHERE kind = 'tree'")
    listed = await hub.tree(repo)
    assert sorted(listed) == sorted(LISTED)
    assert await hub.content(repo, "a/c/e/f.txt") == b"content"
