"""Contents on their way here: one flight each, nothing wrong is completed or kept, nothing is fetched twice."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from hubreg.errors import HubregError, StorageFull, UpstreamFailed, UpstreamUnreachable
from hubreg.mirror import growing
from hubreg.mirror.fetching import Wanted
from hubreg.mirror.flights import HELD_BACK
from hubreg.mirror.growing import SEGMENT
from hubreg.model import Oid, Sha256
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from tests.fakehub import Content, FakeHub, Generated, Plain
from tests.mirror.flying import Base, base

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PATH = "/org/name/resolve/main/model.safetensors"
SMALL = Generated(3 * SEGMENT + 12345, 1)
LARGE = Generated(12 * SEGMENT + 777, 2)  # several connections


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Base]:
    async with base(tmp_path / "data") as here:
        yield here


def put(fake: FakeHub, content: Content) -> Wanted:
    fake.model("org/name").commit({"model.safetensors": content})
    return Wanted(content.size, Sha256(content.sha256))


async def got(here: Base, fake: FakeHub, wanted: Wanted, start: int = 0, end: int | None = None) -> str:
    """The sha256 of what a reader got, whole."""
    found = hashlib.sha256()
    async for chunk in here.flights.read(wanted, here.source(wanted, fake.url, PATH), start, end):
        found.update(chunk)
    return found.hexdigest()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 what is waited for is no event, and a test's time is limited anyway
        await asyncio.sleep(0.01)


def left(here: Base) -> list[str]:
    """What there is of flights in the directory."""
    return sorted(path.suffix for path in here.flights.layout.flights.iterdir())


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["one connection", "several"])
async def test_32_readers_are_one_flight(here: Base, fake: FakeHub, content: Content) -> None:
    """Upstream sends every byte once; all get all; it becomes a blob, once."""
    wanted = put(fake, content)
    found = await asyncio.gather(*(got(here, fake, wanted) for _ in range(32)))
    assert set(found) == {content.sha256}
    assert fake.sent("model.safetensors") == content.size
    await until(lambda: bool(here.rows.landings))
    assert [one.sha256 for one in here.rows.landings] == [content.sha256]
    assert here.flights.layout.blob(Sha256(content.sha256)).stat().st_size == content.size
    assert left(here) == []
    assert await got(here, fake, wanted) == content.sha256
    assert fake.sent("model.safetensors") == content.size


async def test_every_reader_gets_the_first_bytes_while_the_rest_is_not_there(
    here: Base, fake: FakeHub
) -> None:
    """Nobody waits for the file; the last bytes nobody gets before the rest."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", SMALL.size - 10)
    readers = [here.flights.read(wanted, here.source(wanted, fake.url, PATH)) for _ in range(8)]
    firsts = [await anext(reader) for reader in readers]
    assert all(SMALL.read(0, len(first)) == first for first in firsts)
    counts = [len(first) for first in firsts]

    async def go_on(number: int) -> None:
        async for chunk in readers[number]:
            counts[number] += len(chunk)

    tasks = [asyncio.create_task(go_on(number)) for number in range(8)]
    await until(lambda: min(counts) >= SMALL.size - HELD_BACK)
    assert set(counts) == {SMALL.size - HELD_BACK}
    stalled.release()
    await asyncio.gather(*tasks)
    assert set(counts) == {SMALL.size}


async def test_it_goes_on_without_readers(here: Base, fake: FakeHub) -> None:
    """A client that leaves stops nothing."""
    wanted = put(fake, SMALL)
    reader = here.flights.read(wanted, here.source(wanted, fake.url, PATH))
    await anext(reader)
    await reader.aclose()  # type: ignore[attr-defined]
    await until(lambda: bool(here.rows.landings))
    assert fake.sent("model.safetensors") == SMALL.size


@pytest.mark.parametrize("at", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_connection_is_gone_on_from_there(
    here: Base, fake: FakeHub, at: float, reset: bool
) -> None:
    """By Range and a fresh URL (PITFALLS 23, 24); it costs no more than what was on its way."""
    wanted = put(fake, SMALL)
    cut = fake.cut_after("model.safetensors", at, reset=reset)
    assert await got(here, fake, wanted) == SMALL.sha256
    assert cut.fired == 1
    assert SMALL.size <= fake.sent("model.safetensors") <= SMALL.size + SEGMENT
    signed = [seen.query for seen in fake.seen("model.safetensors", site="cdn")]
    assert len(set(signed)) == len(signed) > 2


async def test_an_expired_url_is_replaced(here: Base, fake: FakeHub) -> None:
    """A 403 of the CDN in the middle of a flight is no refusal (PITFALLS 23)."""
    wanted = put(fake, SMALL)
    fake.answer("model.safetensors", 403, [], b"", site="cdn", times=2)
    assert await got(here, fake, wanted) == SMALL.sha256


async def test_an_upstream_without_ranges(here: Base, fake: FakeHub) -> None:
    """A 200 in answer to a Range is read from where the part is that was asked for."""
    wanted = put(fake, SMALL)
    fake.ignore_range("*")
    fake.cut_after("model.safetensors", 0.5)
    assert await got(here, fake, wanted) == SMALL.sha256


@pytest.mark.parametrize("at", [0, 0.5, SMALL.size - 1])
async def test_a_wrong_byte_is_never_completed_nor_kept(here: Base, fake: FakeHub, at: float) -> None:
    """All readers end without the last bytes; the next request gets a right file from its first byte on."""
    wanted = put(fake, SMALL)
    fake.flip("model.safetensors", at)
    failures = await asyncio.gather(*(got(here, fake, wanted) for _ in range(4)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {UpstreamFailed}
    assert here.rows.landings == []
    assert not here.flights.layout.blob(Sha256(SMALL.sha256)).exists()
    assert left(here) == [".wrong"]
    assert here.flights.is_distrusted(wanted)
    assert await got(here, fake, wanted) == SMALL.sha256
    assert here.flights.is_distrusted(wanted)  # who has a part of the wrong one may come yet


async def test_small_files_by_their_git_oid(here: Base, fake: FakeHub) -> None:
    """All that is known of a regular file; what it turned out to be is told."""
    content = Plain(b'{"a": 1}')
    fake.model("org/name").commit({"model.safetensors": content.data})
    wanted = Wanted(content.size, None, Oid(content.oid))
    assert await got(here, fake, wanted) == content.sha256
    await until(lambda: bool(here.rows.landings))
    assert [(one.sha256, one.oid) for one in here.rows.landings] == [(content.sha256, content.oid)]
    wrong = Wanted(content.size, None, Oid("0" * 40))
    with pytest.raises(UpstreamFailed, match="other bytes"):
        await got(here, fake, wrong)


async def test_a_file_without_bytes(here: Base, fake: FakeHub) -> None:
    """PITFALLS 6: it is a blob like any, and nobody is asked for a range of nothing."""
    wanted = Wanted(0, Sha256(hashlib.sha256().hexdigest()))
    assert await got(here, fake, wanted) == wanted.sha256
    async with here.flights.join(wanted, here.source(wanted, fake.url, PATH)) as flight:
        await flight.task
    assert here.flights.layout.blob(Sha256(str(wanted.sha256))).exists()
    assert fake.requests == []


@pytest.mark.parametrize("by", [-1, 1, -SMALL.size + 1])
async def test_another_size_than_was_said(here: Base, fake: FakeHub, by: int) -> None:
    """Said at once, and not tried again and again; nothing is kept as a file."""
    put(fake, SMALL)
    with pytest.raises(UpstreamFailed, match="another size") as raised:
        await got(here, fake, Wanted(SMALL.size + by, Sha256(SMALL.sha256)))
    assert raised.value.status == 424
    assert len(fake.seen(site="cdn")) < 3
    assert here.rows.landings == []


async def test_a_reader_ahead_does_not_wait_for_the_rest(here: Base, fake: FakeHub) -> None:
    """A range near the end comes by a connection of its own; nothing is fetched twice for it."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", 1000)
    whole = asyncio.create_task(got(here, fake, wanted))
    await asyncio.to_thread(stalled.wait)
    start = SMALL.size - HELD_BACK - 5000
    ahead = await got(here, fake, wanted, start, start + 100)
    assert ahead == hashlib.sha256(SMALL.read(start, start + 100)).hexdigest()
    stalled.release()
    assert await whole == SMALL.sha256
    assert fake.sent("model.safetensors") == SMALL.size


async def test_large_files_by_several_connections(here: Base, fake: FakeHub) -> None:
    """Where the CDN limits what one connection gets (here it gives nothing to the first)."""
    wanted = put(fake, LARGE)
    stalled = fake.stall("model.safetensors", 0)
    whole = asyncio.create_task(got(here, fake, wanted))
    async with here.flights.join(wanted, here.source(wanted, fake.url, PATH)) as flight:
        await until(lambda: flight.progress >= LARGE.size - 2 * SEGMENT)
    stalled.release()
    assert await whole == LARGE.sha256
    assert fake.sent("model.safetensors") == LARGE.size


async def test_an_upstream_that_is_gone(here: Base, fake: FakeHub) -> None:
    """Tried a few times, then said; what had come is gone on from."""
    wanted = put(fake, SMALL)
    fake.cut_after("model.safetensors", 0.5)
    fake.fail("/org/*", 503, times=None)
    with pytest.raises(UpstreamUnreachable):
        await got(here, fake, wanted)
    fake.clear()
    assert await got(here, fake, wanted) == SMALL.sha256


async def test_what_has_come_outlives_a_stop(tmp_path: Path, fake: FakeHub) -> None:
    """The next start goes on from there, and reads again what it hashes."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", 2 * SEGMENT + 1000)
    async with base(tmp_path / "data") as here:
        reader = here.flights.read(wanted, here.source(wanted, fake.url, PATH), 0, 2 * SEGMENT + 1000)
        assert sum([len(chunk) async for chunk in reader]) == 2 * SEGMENT + 1000
    stalled.cancel()
    await asyncio.to_thread(fake.settle)
    fake.forget()
    async with base(tmp_path / "data") as here:
        assert await got(here, fake, wanted) == SMALL.sha256
    assert fake.sent("model.safetensors") == SMALL.size - 2 * SEGMENT - 1000


async def test_what_nobody_goes_on_with_is_swept(here: Base, fake: FakeHub) -> None:
    """After a day; what is younger waits."""
    layout = here.flights.layout
    old, young = layout.flight("a-1", "part"), layout.flight("b-1", "part")
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    assert growing.sweep(layout.flights, Disk()) == 1
    assert left(here) == [".part"]
    assert young.exists()


class FullDisk(Disk):
    """Has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(handle, data, offset)


async def test_a_disk_that_becomes_full(tmp_path: Path, fake: FakeHub) -> None:
    """It is said, all readers end, nothing is kept as a file, and with room again it is gone on from there."""
    wanted = put(fake, SMALL)
    disk = FullDisk(SEGMENT)
    async with base(tmp_path / "data", disk) as here:
        failures = await asyncio.gather(*(got(here, fake, wanted) for _ in range(3)), return_exceptions=True)
        assert {type(failure) for failure in failures} == {StorageFull}
        assert here.rows.landings == []
        disk.room = SMALL.size
        assert await got(here, fake, wanted) == SMALL.sha256


async def test_a_file_that_would_not_fit_is_not_begun(here: Base, fake: FakeHub) -> None:
    """Before the first byte is asked for."""
    with pytest.raises(StorageFull):
        await got(here, fake, Wanted(1 << 56, Sha256("0" * 64)))
    assert fake.requests == []


# several processes


async def process(data: Path, fake: FakeHub, wanted: Wanted) -> asyncio.subprocess.Process:
    """Another process that reads the file, which has begun to."""
    arguments = [str(data), fake.url, PATH, str(wanted.size), str(wanted.sha256)]
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.mirror.flying", *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert started.stdout is not None
    assert await started.stdout.readline() == b"begun\n"
    return started


async def test_the_leader_is_killed_and_the_followers_finish(tmp_path: Path, fake: FakeHub) -> None:
    """Two processes; of what upstream sent, at most one segment more than the file."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", 0.5)
    leader = await process(tmp_path / "data", fake, wanted)
    async with base(tmp_path / "data") as here:
        whole = asyncio.create_task(got(here, fake, wanted))
        half = SMALL.size // 2  # what is here: whatever was on its way besides is lost with the leader
        part = await got(here, fake, wanted, 0, half)
        assert part == hashlib.sha256(SMALL.read(0, half)).hexdigest()
        leader.send_signal(signal.SIGKILL)
        await leader.wait()
        stalled.release()
        assert await whole == SMALL.sha256
    assert fake.sent("model.safetensors") <= SMALL.size + SEGMENT


async def test_followers_hear_of_a_failure(tmp_path: Path, fake: FakeHub) -> None:
    """A wrong byte is no more completed in the other process than where it came in."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", 0.5)
    fake.flip("model.safetensors", 0.6)
    leader = await process(tmp_path / "data", fake, wanted)
    async with base(tmp_path / "data") as here:
        reader = here.flights.read(wanted, here.source(wanted, fake.url, PATH))
        assert await anext(reader)
        stalled.release()
        with pytest.raises(HubregError, match="other bytes"):
            async for _ in reader:
                pass
        assert await leader.wait() == 1
        assert here.rows.landings == []
        assert fake.sent("model.safetensors") == SMALL.size


async def test_the_only_process_is_killed_and_the_next_goes_on(tmp_path: Path, fake: FakeHub) -> None:
    """From what is there."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", 0.5)
    killed = await process(tmp_path / "data", fake, wanted)
    part = Layout(tmp_path / "data").flight(wanted.key, "part")
    await until(lambda: part.stat().st_blocks * 512 >= SMALL.size // 2)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    stalled.release()
    async with base(tmp_path / "data") as here:
        assert await got(here, fake, wanted) == SMALL.sha256
    assert fake.sent("model.safetensors") <= SMALL.size + SEGMENT


async def test_two_processes_are_one_flight(tmp_path: Path, fake: FakeHub) -> None:
    """Upstream sends every byte once."""
    wanted = put(fake, SMALL)
    stalled = fake.stall("model.safetensors", 0.5)
    leader = await process(tmp_path / "data", fake, wanted)
    async with base(tmp_path / "data") as here:
        whole = asyncio.create_task(got(here, fake, wanted))
        await asyncio.sleep(0.05)
        stalled.release()
        assert await whole == SMALL.sha256
        assert await leader.wait() == 0
    assert fake.sent("model.safetensors") == SMALL.size
