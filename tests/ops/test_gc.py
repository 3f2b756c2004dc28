"""The collector: what nothing refers to goes, what anything or anybody may count on stays."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hubreg.errors import Damaged
from hubreg.formats import lfs
from hubreg.formats.gitobjects import EMPTY_TREE
from hubreg.model import AddLfs, DeleteFile, Oid
from hubreg.ops.gc import Collected, would
from hubreg.store import log, mirror, objects, xet
from hubreg.store.repos import Repo
from tests.hub.conftest import add
from tests.ops.conftest import DAY, Keeper, named
from tests.xet_client import File, Package, Term, Xorb, package, sha256_of, some

pytestmark = pytest.mark.anyio

CONTENT, OTHER = some(900_000), some(600_000, 1)
LATER = 100.0  # days: everything that was ever seen was seen long ago


async def test_what_commits_lead_to_stays(keeper: Keeper) -> None:
    """Files of every kind, also those that only an old commit has, and those of a squashed branch."""
    repo = await keeper.hub.repo()
    await keeper.hub.commit(repo, add("a/b/small.txt", "small"), add("gone.txt", "of the first commit"))
    plain = await keeper.plain(repo, CONTENT)
    sent = package(OTHER, per_xorb=3)
    await keeper.send(repo, sent)
    await keeper.index()
    commit = (await keeper.hub.commit(repo, DeleteFile("gone.txt"), DeleteFile("xet.bin"))).id
    await keeper.hub.app.commits.squash(keeper.hub.ann, await keeper.hub.again(repo), "main")
    files = keeper.files()
    assert await keeper.collect(LATER) == Collected()
    assert keeper.files() == files
    assert await keeper.content(plain) == CONTENT
    assert await keeper.content(sent.sha256) == OTHER
    assert await keeper.hub.content(repo, "a/b/small.txt", commit) == b"small"


async def test_what_a_deleted_repo_held_goes(keeper: Keeper) -> None:
    """Everything, at last; what another repo holds too stays."""
    repo, other = await keeper.hub.repo(), await keeper.hub.repo("other")
    both = some(50_000, 7)
    await keeper.hub.commit(repo, add("small.txt", "only here"))
    await keeper.plain(repo, CONTENT)
    await keeper.plain(repo, both, "both.bin")
    await keeper.plain(other, both, "both.bin")
    await keeper.send(repo, package(OTHER))
    await keeper.index()
    await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
    found = await keeper.survey(LATER)
    done = await keeper.collect(LATER)
    assert done.xorbs == 2  # a stored one and a virtual one
    assert done.bytes > len(CONTENT) + len(OTHER)
    assert would(found).bytes == done.bytes
    assert await keeper.content(sha256_of(both)) == both
    await keeper.hub.app.repos.delete(keeper.hub.ann, other)
    await keeper.collect(LATER)
    assert keeper.files() == set()
    for table in (
        "objects",
        "files",
        "xorbs",
        "xorb_uses",
        "xet_files",
        "xet_chunks",
        "lfs_objects",
        "unindexed",
    ):
        assert await keeper.rows(table) == 0, table


async def test_the_log_says_what_went(keeper: Keeper) -> None:
    """By name, as the system's doing."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
    await keeper.collect(LATER)
    links = await log.read(keeper.hub.app.db, 0, 1000)
    bodies = [link.body for link in links if b"system:storage:collect" in link.body]
    assert any(sha256.encode() in body for body in bodies)


@pytest.mark.parametrize(("days", "stays"), [(0, True), (27, True), (30, False)])
async def test_a_large_file_may_wait_for_its_commit(keeper: Keeper, days: int, stays: bool) -> None:
    """Four weeks, however it came."""
    repo = await keeper.hub.repo()
    plain = await keeper.hub.large(repo, CONTENT)
    sent = package(OTHER)
    await keeper.uploaded(repo, sent)
    await keeper.collect(days)
    held = await objects.has_large(keeper.hub.app.db, repo.id, [plain, sent.sha256])
    assert (plain in held, sent.sha256 in held) == (stays, stays)
    if stays:
        assert await keeper.content(sent.sha256) == OTHER


async def renew_by_lfs(keeper: Keeper, repo: Repo) -> None:
    """A client asks before it sends, and is told that there is no need to."""
    asked = lfs.Wanted(sha256_of(CONTENT), len(CONTENT))
    request = lfs.BatchRequest("upload", (asked,))
    answer = await keeper.hub.app.uploads.batch(keeper.hub.ann, repo, request, base="http://hub")
    assert answer.objects[0].actions is None


async def renew_by_xet(keeper: Keeper, repo: Repo) -> None:
    await keeper.uploaded(repo, package(CONTENT))


async def renew_by_copy(keeper: Keeper, repo: Repo) -> None:
    source = await keeper.hub.repo("source")
    await keeper.plain(source, CONTENT)
    assert await keeper.hub.app.uploads.duplicate(keeper.hub.ann, source, repo, [sha256_of(CONTENT)]) == []


@pytest.mark.parametrize("renew", [None, renew_by_lfs, renew_by_xet, renew_by_copy])
async def test_a_large_file_that_is_sent_again_waits_anew(
    keeper: Keeper, renew: Callable[[Keeper, Repo], Awaitable[None]] | None
) -> None:
    """Whoever sends it, or is told that it is here, has four weeks from then on to commit it."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.hub.large(repo, CONTENT)
    async with keeper.hub.app.db.write() as tx:
        await tx.run("UPDATE lfs_objects SET created_at = created_at - ?", 27 * DAY)
    if renew is not None:
        await renew(keeper, repo)
    await keeper.collect(2)
    held = await objects.has_large(keeper.hub.app.db, repo.id, [sha256])
    assert (sha256 in held) == (renew is not None)


@pytest.mark.parametrize(("days", "stays"), [(1, True), (28, True), (30, False)])
async def test_a_xorb_that_came_or_was_told_of_stays(keeper: Keeper, days: int, stays: bool) -> None:
    """Clients remember it for four weeks: their next upload must find it, and a virtual one's blob with it."""
    repo = await keeper.hub.repo()
    await keeper.plain(repo, CONTENT)
    await keeper.index()
    base, sent = package(CONTENT), package(OTHER)
    await keeper.uploaded(repo, sent)
    assert await keeper.hub.app.xet.uploads.holds(base.xorbs[0].name)  # from here on it is counted on
    await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
    await keeper.collect(days)
    again = await keeper.hub.repo("again")
    for package_, content in ((base, CONTENT), (sent, OTHER)):
        here = await xet.find_xorb(keeper.hub.app.db, package_.xorbs[0].name) is not None
        assert here is stays
        if stays:  # so the client sends the shard alone
            await keeper.send(again, package_, f"{len(content)}.bin")
            assert await keeper.content(package_.sha256) == content


async def test_a_virtual_xorb_that_nobody_was_told_of(keeper: Keeper) -> None:
    """Goes as soon as its file does."""
    repo = await keeper.hub.repo()
    await keeper.plain(repo, CONTENT)
    await keeper.index()
    await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
    await keeper.collect(2)
    assert await keeper.rows("xorbs") == 0


async def test_the_base_of_another_file_stays(keeper: Keeper) -> None:
    """A file that was made of chunks of a plain one is whole when that one's repo is gone."""
    repo, other = await keeper.hub.repo(), await keeper.hub.repo("tuned")
    base = await keeper.plain(repo, CONTENT)
    await keeper.index()
    whole, more = package(CONTENT), Xorb((some(9000, 8),))
    content = CONTENT + more.chunks[0]
    file = File((*whole.file.terms, Term(more, 0, 1)), sha256_of(content))
    await keeper.send(other, Package(content, (*whole.xorbs, more), file))
    await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
    await keeper.collect(LATER)
    assert base in keeper.files()
    assert await keeper.content(sha256_of(content)) == content
    assert await keeper.offered(base) is None


# what happens between the survey and the removal


async def hold_it(keeper: Keeper) -> None:
    repo = await keeper.hub.repo("second")
    await keeper.hub.large(repo, CONTENT)


async def send_it(keeper: Keeper) -> None:
    await keeper.uploaded(await keeper.hub.repo("second"), package(CONTENT))


async def fetch_it(keeper: Keeper) -> None:
    async with keeper.blobs.create() as upload:
        upload.write(CONTENT)
        await upload.publish()
    async with keeper.hub.app.db.write() as tx:
        await mirror.put_blob(tx, sha256_of(CONTENT), len(CONTENT))


MEANWHILE: list[Callable[[Keeper], Awaitable[None]]] = [hold_it, send_it, fetch_it]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
async def test_what_is_needed_again_meanwhile_stays(
    keeper: Keeper, meanwhile: Callable[[Keeper], Awaitable[None]]
) -> None:
    """A survey is out of date when it is done: each removal looks once more."""
    repo = await keeper.hub.repo("waits")
    await keeper.hub.large(repo, CONTENT)
    await keeper.index()
    await keeper.hub.app.repos.delete(keeper.hub.ann, repo)
    collector = keeper.collector(LATER)
    found = await collector.survey()
    assert found.blobs
    await meanwhile(keeper)
    await collector.remove(found)
    assert await keeper.content(sha256_of(CONTENT)) == CONTENT


async def test_a_commit_meanwhile_keeps_its_files(keeper: Keeper) -> None:
    """A large file that had waited for four weeks, and text that was in a deleted repo."""
    repo, old = await keeper.hub.repo("waits"), await keeper.hub.repo("old")
    await keeper.hub.commit(old, add("text.txt", "the same text"))
    large = await keeper.hub.large(repo, CONTENT)
    await keeper.hub.app.repos.delete(keeper.hub.ann, old)
    async with keeper.hub.app.db.write() as tx:  # it was all long ago
        await tx.run("UPDATE objects SET seen_at = 0")
        await tx.run("UPDATE files SET seen_at = 0")
        await tx.run("UPDATE lfs_objects SET created_at = 0")
    for path in keeper.hub.app.layout.blobs.glob("*/*"):
        os.utime(path, (1, 1))
    collector = keeper.collector(0)
    found = await collector.survey()
    assert found.holdings
    assert found.files
    await keeper.hub.commit(repo, AddLfs("late.bin", large, len(CONTENT)), add("text.txt", "the same text"))
    await collector.remove(found)
    assert await keeper.content(large) == CONTENT
    assert await keeper.hub.content(repo, "text.txt") == b"the same text"
    assert await objects.has_large(keeper.hub.app.db, repo.id, [large])


async def test_a_push_under_way_keeps_what_it_has_written(keeper: Keeper) -> None:
    """A large one writes trees, commits and files ahead of its refs; it has more than a day until they count."""
    repo = await keeper.hub.repo()
    content = b"of a push"
    [kept] = await keeper.blobs.put([content])
    assert kept.oid is not None
    made = Oid("c" * 40)
    async with keeper.hub.app.db.write() as tx:
        await objects.put_objects(tx, [(made, "commit", b"tree " + EMPTY_TREE.encode())])
        await objects.put_files(tx, [objects.File(kept.oid, kept.sha256, kept.size, False, 0)])
        await objects.put_last_commits(tx, repo.id, [(made, "", b"")])
    assert await keeper.collect(0.9) == Collected()
    assert await keeper.content(kept.sha256) == content
    assert (await keeper.collect(3)).rows == 2
    assert (await keeper.collect(3)).rows == 1  # the list goes when its commit has gone
    assert await keeper.rows("last_commits") == 1  # of the repo's first commit


# the mirror


async def test_what_the_mirror_keeps_stays(keeper: Keeper) -> None:
    """No commit names it here, and it has been here for long; once the mirror drops it, it goes."""
    repo = await keeper.hub.repo("mirrored")
    large, regular = await keeper.hub.large(repo, CONTENT), sha256_of(b"regular")
    await keeper.blobs.put([b"regular"])
    async with keeper.hub.app.db.write() as tx:
        await tx.run("UPDATE repos SET upstream_id = 1 WHERE id = ?", repo.id)
        await mirror.put_blob(tx, large, len(CONTENT))
        await mirror.put_blob(tx, regular, 7)
    assert await keeper.collect(LATER) == Collected()
    assert await keeper.content(large) == CONTENT
    assert await keeper.content(regular) == b"regular"
    async with keeper.hub.app.db.write() as tx:
        await mirror.drop_blob(tx, large)
        await mirror.drop_blob(tx, regular)
    assert (await keeper.collect(LATER)).large_files == 1
    assert {large, regular}.isdisjoint(keeper.files())


async def test_the_mirror_fetches_again_meanwhile(keeper: Keeper) -> None:
    """What it had dropped, and what a collector was about to take from its repo."""
    repo = await keeper.hub.repo("mirrored")
    large = await keeper.hub.large(repo, CONTENT)
    async with keeper.hub.app.db.write() as tx:
        await tx.run("UPDATE repos SET upstream_id = 1 WHERE id = ?", repo.id)
    collector = keeper.collector(LATER)
    found = await collector.survey()
    assert found.holdings
    async with keeper.hub.app.db.write() as tx:
        await mirror.put_blob(tx, large, len(CONTENT))
        await objects.add_large(tx, repo.id, large, len(CONTENT))
    await collector.remove(found)
    assert await keeper.content(large) == CONTENT
    assert await objects.has_large(keeper.hub.app.db, repo.id, [large])


# what is damaged, and what no row names


async def test_nothing_is_removed_where_a_tree_is_missing(keeper: Keeper) -> None:
    """What it led to cannot be told from what nothing leads to."""
    repo = await keeper.hub.repo()
    await keeper.hub.commit(repo, add("folder/file.txt"))
    [(tree,)] = await keeper.hub.app.db.all("SELECT tree FROM commits ORDER BY depth DESC LIMIT 1")
    async with keeper.hub.app.db.write() as tx:
        await tx.run("DELETE FROM objects WHERE oid = ?", tree)
    with pytest.raises(Damaged, match=f"The tree {tree} is missing."):
        await keeper.collect(LATER)


async def test_files_that_no_row_names(keeper: Keeper) -> None:
    """What died between a file and its row goes after a day; what is on its way, and parts of uploads, stay."""
    layout = keeper.hub.app.layout
    old: list[Path] = [layout.xorb(package(CONTENT).xorbs[0].name, "dead"), layout.incoming / "dead"]
    young: list[Path] = [layout.xorb(package(OTHER).xorbs[0].name, "new"), layout.incoming / "new"]
    parts = layout.parts("under-way")
    for path in (*old, *young, parts):
        path.write_bytes(b"12345")
    day = time.time() - 1.1 * DAY / 1000
    for path in (*old, parts):
        os.utime(path, (day, day))
    done = await keeper.collect(0)
    assert (done.strays, done.bytes) == (2, 10)
    assert [path.exists() for path in (*old, *young, parts)] == [False, False, True, True, True]


async def test_an_indexing_that_was_begun_keeps_its_xorbs(keeper: Keeper) -> None:
    """They are no file's yet, and were never told of."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    await keeper.index()
    async with keeper.hub.app.db.write() as tx:
        await tx.run("DELETE FROM xorb_uses")
        await tx.run("DELETE FROM xet_files")
        await tx.run("INSERT INTO unindexed (sha256, size, added_at) VALUES (?, 1, 0)", sha256)
    await keeper.collect(LATER)
    assert await keeper.rows("xorbs") == 1
    assert await keeper.index() == [named(CONTENT)]
    async with keeper.hub.app.db.write() as tx:
        await tx.run("DELETE FROM xorb_uses")
        await tx.run("DELETE FROM xet_files")
    await keeper.collect(LATER)
    assert await keeper.rows("xorbs") == 0
