"""How much a repo holds."""

from __future__ import annotations

import pytest

from hubreg.ops import sizes
from hubreg.store import upkeep
from hubreg.store.repos import Repo
from tests.ops.conftest import Keeper
from tests.xet_client import File, Package, Term, Xorb, cut, package, sha256_of, some

pytestmark = pytest.mark.anyio

CONTENT = some(900_000)


async def held(keeper: Keeper, repo: Repo) -> int:
    return await sizes.held(keeper.hub.app.db, repo.id)


async def test_an_empty_repo(keeper: Keeper) -> None:
    """Has nothing large."""
    assert await held(keeper, await keeper.hub.repo()) == 0


async def test_what_files_share_counts_once(keeper: Keeper) -> None:
    """Two files of the same chunks, one with a chunk more; in another repo all of it counts once more."""
    repo, other = await keeper.hub.repo(), await keeper.hub.repo("other")
    base = package(CONTENT, per_xorb=4)
    await keeper.send(repo, base)
    more = Xorb((some(5000, 9),))
    content = CONTENT + more.chunks[0]
    longer = Package(
        content, (*base.xorbs, more), File((*base.file.terms, Term(more, 0, 1)), sha256_of(content))
    )
    await keeper.send(repo, longer, "longer.bin")
    assert await held(keeper, repo) == len(content)
    await keeper.send(other, longer)
    assert await held(keeper, other) == await held(keeper, repo) == len(content)


async def test_a_part_of_a_xorb(keeper: Keeper) -> None:
    """Counts for the chunks that are used, however they overlap."""
    chunks = cut(CONTENT)
    xorb = Xorb(tuple(chunks))
    assert len(chunks) > 6
    repo = await keeper.hub.repo()
    for start, end in ((1, 4), (2, 5), (1, 2)):
        content = b"".join(chunks[start:end])
        sent = Package(content, (xorb,), File((Term(xorb, start, end),), sha256_of(content)))
        await keeper.send(repo, sent, f"{start}-{end}.bin")
    assert await held(keeper, repo) == sum(map(len, chunks[1:5]))


async def test_a_file_without_chunks_counts_whole(keeper: Keeper) -> None:
    """Until it is indexed; what it shares then counts once."""
    repo = await keeper.hub.repo()
    await keeper.plain(repo, CONTENT)
    await keeper.plain(repo, some(400, 1) + CONTENT, "shifted.bin")
    assert await held(keeper, repo) == 2 * len(CONTENT) + 400
    await keeper.index()
    assert await held(keeper, repo) == 2 * len(CONTENT) + 400  # two plain copies are two


async def test_many_files(keeper: Keeper) -> None:
    """More than are looked at together."""
    repo = await keeper.hub.repo()
    for number in range(60):
        await keeper.hub.large(repo, some(1000, number))
    assert await held(keeper, repo) == 60_000


async def test_a_change_while_it_is_counted_is_counted_again(keeper: Keeper) -> None:
    """What was counted before it does not pass for the last word."""
    repo = await keeper.hub.repo()
    await keeper.hub.large(repo, CONTENT)
    db = keeper.hub.app.db
    [(repo_id, changes)] = await upkeep.to_recount(db, 10)
    await keeper.hub.large(repo, some(10))
    async with db.write() as tx:
        await upkeep.set_storage(tx, repo_id, len(CONTENT), changes)
    assert await upkeep.recount_waits(db)
    assert len(await upkeep.to_recount(db, 10)) == 1
