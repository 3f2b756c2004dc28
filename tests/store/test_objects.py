"""Rows of git: objects, what a blob's oid stands for, commits and their line, who holds which large file."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from hubreg.errors import Conflict
from hubreg.model import CommitId, Millis, Oid, Sha256
from hubreg.store import objects
from hubreg.store.db import Database
from hubreg.store.objects import Commit, File
from hubreg.store.repos import Repo

pytestmark = pytest.mark.anyio

REPO, OTHER, EMPTY = 1, 2, 3


def id_of(n: int) -> CommitId:
    return CommitId(hashlib.sha1(b"%d" % n, usedforsecurity=False).hexdigest())


def commit(n: int, parent: int | None = None, depth: int | None = None) -> Commit:
    parent_id = None if parent is None else id_of(parent)
    return Commit(id_of(n), Oid("t" * 40), parent_id, depth or n, f"title {n}", "", "ann", Millis(n))


@pytest.fixture
async def line(db: Database, three: list[Repo]) -> list[Commit]:
    """2 500 commits one after the other, in two repos, and one beside them in the first."""
    assert [repo.id for repo in three] == [REPO, OTHER, EMPTY]
    made = [commit(n, n - 1 if n > 1 else None) for n in range(1, 2501)]
    async with db.write() as tx:
        await objects.insert_commits(tx, OTHER, made)
        await objects.insert_commits(tx, REPO, [*made, commit(9999, 1200, depth=1201)])
    return made


async def test_objects_are_kept_by_oid(db: Database) -> None:
    """Writing one twice is harmless; one that is not there is None."""
    for _ in range(2):
        async with db.write() as tx:
            await objects.put_objects(tx, [("a" * 40, "tree", b"\0tree"), ("b" * 40, "commit", b"commit")])
    assert await objects.find_object(db, "a" * 40) == ("tree", b"\0tree")
    assert await objects.find_object(db, "c" * 40) is None


async def test_what_an_oid_stands_for(db: Database) -> None:
    """Any number of oids at once; those that nobody put in are left out; the first one who put one in is right."""
    made = [File(Oid(f"{n:040}"), Sha256(f"{n:064}"), n, n % 2 == 1, n % 2 * 130) for n in range(2500)]
    async with db.write() as tx:
        await objects.put_files(tx, made)
        await objects.put_files(tx, made[:10])
    async with db.write() as tx:
        with pytest.raises(Conflict, match="collides"):
            await objects.put_files(tx, [File(Oid(f"{1:040}"), Sha256("f" * 64), 5, True, 0)])
        with pytest.raises(Conflict, match="collides"):
            await objects.put_files(tx, [replace(made[1], lfs=False)])
    oids = [file.oid for file in made]
    assert await objects.files(db, [*oids, "f" * 40]) == dict(zip(oids, made, strict=True))
    assert await objects.files(db, []) == {}


async def test_commits_by_id(db: Database, line: list[Commit]) -> None:
    """One or any number, each in the repo that it was asked of."""
    assert await objects.find_commit(db, REPO, id_of(7)) == line[6]
    assert await objects.find_commit(db, EMPTY, id_of(7)) is None
    found = await objects.commits(db, REPO, [made.id for made in line] + ["f" * 40])
    assert found == {made.id: made for made in line}
    assert await objects.commits(db, OTHER, [id_of(9999)]) == {}


async def test_an_abbreviated_id(db: Database, line: list[Commit]) -> None:
    """One answer is the commit, two say that there are more, none is none; the whole id is its own beginning."""
    wanted = line[0].id
    assert await objects.by_prefix(db, REPO, wanted[:10]) == [wanted]
    assert await objects.by_prefix(db, REPO, wanted) == [wanted]
    assert len(await objects.by_prefix(db, REPO, wanted[:1])) == 2
    assert await objects.by_prefix(db, EMPTY, wanted[:10]) == []


@pytest.mark.parametrize(
    ("start", "skip", "limit", "expected"),
    [
        (2500, 0, 3, [2500, 2499, 2498]),
        (2500, 2490, 100, [*range(10, 0, -1)]),
        (5, 3, 1, [2]),
        (5, 5, 10, []),
        (1, 0, 10, [1]),
        (5, 0, 0, []),
        (9999, 0, 3, [9999, 1200, 1199]),
        (12345, 0, 3, []),
    ],
)
async def test_history_is_walked_from_anywhere(
    db: Database, line: list[Commit], start: int, skip: int, limit: int, expected: list[int]
) -> None:
    """Newest first along the parents of that commit, a page at a time; a commit that is not there has none."""
    page = await objects.history(db, REPO, id_of(start), skip, limit)
    assert [made.id for made in page] == [id_of(n) for n in expected]
    assert all(made == line[n - 1] for made, n in zip(page, expected, strict=True) if n != 9999)


@pytest.mark.parametrize(
    ("ancestor", "of", "expected"),
    [(1, 2500, True), (7, 7, True), (2500, 1, False), (1200, 9999, True), (1201, 9999, False)],
)
async def test_who_descends_from_whom(
    db: Database, line: list[Commit], ancestor: int, of: int, expected: bool
) -> None:
    """A commit is its own ancestor; one of another line is none."""
    assert await objects.is_ancestor(db, REPO, id_of(ancestor), id_of(of)) is expected


async def test_last_commits_of_a_folder(db: Database, line: list[Commit]) -> None:
    """They are kept per commit and folder, the first answer for good."""
    async with db.write() as tx:
        first = line[0].id
        await objects.put_last_commits(tx, REPO, [(first, "", b"root"), (first, "a/b", b"deep")])
        await objects.put_last_commits(tx, REPO, [(first, "", b"again")])
    assert await objects.last_commits(db, REPO, line[0].id, "") == b"root"
    assert await objects.last_commits(db, REPO, line[0].id, "a/b") == b"deep"
    assert await objects.last_commits(db, REPO, line[0].id, "a") is None
    assert await objects.last_commits(db, OTHER, line[0].id, "") is None


@pytest.mark.usefixtures("line")
async def test_which_repo_holds_which_large_file(db: Database) -> None:
    """A file is held by the repos it was added to, and counts once in the storage of each."""
    one, two = Sha256("1" * 64), Sha256("2" * 64)
    async with db.write() as tx:
        await objects.add_large(tx, REPO, one, 100)
        await objects.add_large(tx, REPO, one, 100)
        await objects.add_large(tx, REPO, two, 20)
        await objects.add_large(tx, OTHER, two, 20)
    assert await objects.has_large(db, REPO, [one, two, "3" * 64]) == {one: 100, two: 20}
    assert await objects.has_large(db, OTHER, [one, two]) == {two: 20}
    assert await objects.has_large(db, OTHER, []) == {}
    assert await db.all("SELECT storage FROM repos ORDER BY id") == [(120,), (20,), (0,)]


async def test_a_history_is_copied(db: Database, line: list[Commit]) -> None:
    """A duplicate has the commits that are named, what is kept with them, and the right to the large files."""
    async with db.write() as tx:
        await objects.put_last_commits(tx, REPO, [(id_, "", b"root") for id_ in (line[0].id, line[2499].id)])
        await objects.add_large(tx, REPO, Sha256("1" * 64), 100)
        await objects.copy_history(tx, REPO, EMPTY, [id_of(n) for n in range(1, 2500)])
    assert len(await objects.history(db, EMPTY, id_of(2499), 0, 10_000)) == 2499
    assert await objects.find_commit(db, EMPTY, id_of(2500)) is None
    assert await objects.last_commits(db, EMPTY, line[2499].id, "") is None
    assert await objects.last_commits(db, EMPTY, line[0].id, "") == b"root"
    assert await objects.has_large(db, EMPTY, ["1" * 64]) == {"1" * 64: 100}
