"""Work that waits in rows: done to the last, one thing at a time, and told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hubreg.ops.caretaker import waits
from hubreg.ops.upkeep import Upkeep
from hubreg.store import upkeep
from tests.ops.conftest import Keeper, named
from tests.xet_client import File, Package, Term, package, sha256_of, some

pytestmark = pytest.mark.anyio

CONTENT = some(900_000)


async def run(keeper: Keeper, **settings: Any) -> list[dict[str, object]]:
    told: list[dict[str, object]] = []
    app = keeper.hub.app
    config = replace(app.config, **{"xet_index_from": 1, **settings})
    await Upkeep(app.db, app.layout, config).run(lambda facts: told.append(dict(facts)))
    return told


@pytest.mark.parametrize("native", [True, False])
async def test_everything_is_done(keeper: Keeper, native: bool) -> None:
    """Files get their hash, repos their size; each file is told with what it took. A second run finds nothing."""
    repo = await keeper.hub.repo()
    large = await keeper.plain(repo, CONTENT)
    small = await keeper.plain(repo, b"small", "small.bin")
    told = await run(keeper, xet_native=native)
    assert {one["sha256"]: one["xet"] for one in told} == {large: named(CONTENT), small: named(b"small")}
    assert {one["sha256"]: one["size"] for one in told} == {large: len(CONTENT), small: 5}
    assert all(float(str(one["seconds"])) >= 0 <= float(str(one["cpu_seconds"])) for one in told)
    assert not await waits(keeper.hub.app.db, keeper.hub.app.config)
    assert (await keeper.hub.again(repo)).storage == len(CONTENT) + 5
    assert await run(keeper) == []


async def test_what_the_settings_leave_out(keeper: Keeper) -> None:
    """Small files, or all; sizes are counted all the same."""
    repo = await keeper.hub.repo()
    sha256 = await keeper.plain(repo, CONTENT)
    assert await run(keeper, xet_index=False) == []
    assert await run(keeper, xet_index_from=len(CONTENT) + 1) == []
    assert not await upkeep.recount_waits(keeper.hub.app.db)
    assert await keeper.offered(sha256) is None
    assert not await waits(keeper.hub.app.db, replace(keeper.hub.app.config, xet_index=False))


async def test_a_file_that_cannot_be_indexed_is_told(keeper: Keeper) -> None:
    """And the next one is done."""
    repo = await keeper.hub.repo()
    damaged = await keeper.plain(repo, CONTENT)
    keeper.hub.app.layout.blob(damaged).write_bytes(b"damaged")
    other = await keeper.plain(repo, some(50_000, 3), "other.bin")
    told = {one["sha256"]: one for one in await run(keeper)}
    assert f"The blob {damaged} has the sha256" in str(told[damaged]["error"])
    assert "xet" not in told[damaged]
    assert told[other]["xet"] == named(some(50_000, 3))


async def test_a_size_counts_shared_chunks_once(keeper: Keeper) -> None:
    """Until it is counted, a repo's size is that of its files."""
    repo = await keeper.hub.repo()
    await keeper.plain(repo, CONTENT)
    await keeper.index()
    [whole] = package(CONTENT).xorbs
    content = b"".join(whole.chunks[:3])
    await keeper.send(
        repo, Package(content, (whole,), File((Term(whole, 0, 3),), sha256_of(content))), "part.bin"
    )
    assert (await keeper.hub.again(repo)).storage == len(CONTENT) + len(content)
    await run(keeper)
    assert (await keeper.hub.again(repo)).storage == len(CONTENT)
