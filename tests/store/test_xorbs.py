"""Xorbs on disk: what came is read back as content, every step may fail, and nothing false is ever there."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hubreg.errors import Damaged, Invalid, TooLarge
from hubreg.formats.chunking import hash_bytes
from hubreg.formats.terms import Terms, render_terms
from hubreg.formats.xorb import ChunkIndex
from hubreg.model import XetHash
from hubreg.store import xet
from hubreg.store.blobs import CHUNK
from hubreg.store.db import Database
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.xet import XetFile
from hubreg.store.xetblobs import XetBlobs
from hubreg.store.xorbs import Held, Xorbs, pieces
from tests.xet_client import LZ4, PLAIN, Package, Xorb, package, sha256_of, some

pytestmark = pytest.mark.anyio

T = TypeVar("T")

CONTENT = some(3 * CHUNK + 12_345)
STEPS = ["create", "write", "truncate", "sync", "rename", "sync_directory"]
FOOTER = b"XETBLOB" + bytes(200)


class FailingDisk(Disk):
    """A disk whose `step` fails once, before or after it was done."""

    def __init__(self, step: str, *, done: bool) -> None:
        self.step, self.done = step, done

    def _take(self, step: str, method: Callable[..., T], *args: Any) -> T:
        if step != self.step:
            return method(*args)
        self.step = ""
        if self.done:
            found = method(*args)
            if isinstance(found, int):
                self.close(found)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create(self, path: Path) -> int:
        return self._take("create", super().create, path)

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        self._take("write", super().write, handle, data, offset)

    def truncate(self, handle: int, size: int) -> None:
        self._take("truncate", super().truncate, handle, size)

    def sync(self, handle: int) -> None:
        self._take("sync", super().sync, handle)

    def rename(self, source: Path, target: Path) -> None:
        self._take("rename", super().rename, source, target)

    def sync_directory(self, path: Path) -> None:
        self._take("sync_directory", super().sync_directory, path)


@pytest.fixture
async def xorbs(layout: Layout, db: Database) -> AsyncIterator[Xorbs]:
    xorbs = Xorbs(layout, db)
    yield xorbs
    xorbs.close()


async def send(xorbs: Xorbs, xorb: Xorb, *, body: bytes | None = None, name: XetHash | None = None) -> bool:
    """Upload a xorb, in pieces that end anywhere."""
    body = xorb.body if body is None else body
    async with xorbs.create() as upload:
        for at in range(0, len(body), 100_001):
            upload.write(body[at : at + 100_001])
        return await xorbs.publish(upload, name or xorb.name)


def terms_of(sent: Package) -> Terms:
    rows = [
        (t.xorb.hash, sum(map(len, t.xorb.chunks[t.start : t.end])), t.start, t.end) for t in sent.file.terms
    ]
    return Terms(render_terms(rows))


async def add_file(db: Database, sent: Package) -> None:
    """The row of a file, as an accepted shard makes it."""
    terms = terms_of(sent)
    packed = render_terms([(hash_bytes(s.xorb), s.unpacked, s.start, s.end) for s in terms])
    async with db.write() as tx:
        uses = [(xorb, place) for place, xorb in enumerate(terms.xorbs())]
        await xet.insert_file(tx, XetFile(sent.file.name, sent.sha256, len(sent.content), packed), uses)


async def read(xorbs: Xorbs, terms: Terms, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in xorbs.read(terms, start, end)])


def files(layout: Layout) -> list[Path]:
    return [path for path in layout.xorbs.rglob("*") if path.is_file()]


# in and out


@pytest.mark.parametrize("scheme", [PLAIN, LZ4])
@pytest.mark.parametrize("per_xorb", [1, 7, 1000])
async def test_content_is_read_back(xorbs: Xorbs, scheme: int, per_xorb: int) -> None:
    """However it was cut into xorbs and compressed, the content is what was sent; so is each part of it."""
    sent = package(CONTENT, per_xorb=per_xorb, scheme=scheme)
    for xorb in sent.xorbs:
        assert await send(xorbs, xorb)
    terms = terms_of(sent)
    assert terms.size == len(CONTENT)
    assert await xorbs.sha256(terms) == sent.sha256
    for start, end in [
        (0, len(CONTENT)),
        (0, 1),
        (CHUNK - 1, CHUNK + 1),
        (12_345, 2 * CHUNK),
        (len(CONTENT) - 1, 1 << 60),
    ]:
        assert await read(xorbs, terms, start, end) == CONTENT[start:end]


async def test_pieces_are_small(xorbs: Xorbs) -> None:
    """Nothing larger than the blob store's own pieces is ever held."""
    sent = package(CONTENT)
    await send(xorbs, sent.xorbs[0])
    assert all([0 < len(piece) <= CHUNK async for piece in xorbs.read(terms_of(sent), 5, len(CONTENT) - 5)])


async def test_a_term_may_begin_and_end_inside_a_xorb(xorbs: Xorbs) -> None:
    """A file that takes chunks from the middle of xorbs, some of them twice."""
    xorb = package(CONTENT).xorbs[0]
    await send(xorbs, xorb)
    picked = [(2, 5), (2, 3), (len(xorb.chunks) - 1, len(xorb.chunks)), (0, 1)]
    content = b"".join(b"".join(xorb.chunks[start:end]) for start, end in picked)
    rows = [(xorb.hash, sum(map(len, xorb.chunks[start:end])), start, end) for start, end in picked]
    terms = Terms(render_terms(rows))
    assert await read(xorbs, terms, 0, terms.size) == content
    assert await read(xorbs, terms, 40_000, len(content) - 7) == content[40_000:-7]


class Watched(Xorbs):
    """Xorbs that tell how often one was looked up, and how much was taken to a thread at once."""

    def __init__(self, layout: Layout, db: Database) -> None:
        super().__init__(layout, db)
        self.found = 0
        self.trips: list[int] = []

    async def find(self, hash_: XetHash) -> Held | None:
        self.found += 1
        return await super().find(hash_)

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        if args and isinstance(args[-1], list):
            self.trips.append(len(args[-1]))
        return await super().in_thread(function, *args)


async def test_tiny_terms_leave_others_their_turn(layout: Layout, db: Database) -> None:
    """However little they unpack to, some hundred terms are looked at without a pause; their xorb is found once."""
    xorb = Xorb(tuple(b"%04d" % number for number in range(8)))
    watched = Watched(layout, db)
    try:
        await send(watched, xorb)
        terms = Terms(render_terms([(xorb.hash, 4, at % 8, at % 8 + 1) for at in range(3000)]))
        content = b"".join(b"%04d" % (at % 8) for at in range(3000))
        watched.trips.clear()
        assert await read(watched, terms, 2, len(content)) == content[2:]
        assert await watched.sha256(terms) == sha256_of(content)
        assert sum(watched.trips) == 6000
        assert max(watched.trips) <= 256
        assert watched.found == 2
    finally:
        watched.close()


async def test_a_footer_is_dropped(xorbs: Xorbs, layout: Layout) -> None:
    """What old clients put behind the chunks is not kept: offsets and sizes are those of the chunks alone."""
    xorb = package(CONTENT, footer=FOOTER).xorbs[0]
    await send(xorbs, xorb)
    [kept] = files(layout)
    assert kept.read_bytes() == replace(xorb, footer=b"").body


async def test_the_same_in_another_form_does_not_replace_it(
    xorbs: Xorbs, layout: Layout, db: Database
) -> None:
    """A xorb's name says nothing of its compression: what came first stays, with its own offsets, and is read."""
    plain, packed = package(CONTENT).xorbs[0], package(CONTENT, scheme=LZ4).xorbs[0]
    assert plain.name == packed.name
    assert await send(xorbs, packed)
    assert not await send(xorbs, plain)
    [kept] = files(layout)
    assert kept.read_bytes() == packed.body
    assert await xorbs.sha256(terms_of(package(CONTENT))) == sha256_of(CONTENT)


async def test_one_that_was_collected_and_sent_again_in_another_form(xorbs: Xorbs, db: Database) -> None:
    """What is held of a xorb in memory is not taken for the file that has its name now."""
    sent = package(CONTENT)
    await send(xorbs, sent.xorbs[0])
    held = await xorbs.get(sent.xorbs[0].name)
    async with db.write() as tx:
        await tx.run("DELETE FROM xorbs")
    held.path.unlink()
    assert await xorbs.find(held.hash) is None
    await send(xorbs, package(CONTENT, scheme=LZ4).xorbs[0])
    assert await xorbs.sha256(terms_of(sent)) == sent.sha256


# what is wrong


async def test_what_is_wrong_leaves_nothing(xorbs: Xorbs, layout: Layout, db: Database) -> None:
    """Another's name, a byte too few, a byte too many: refused, no file, no row."""
    xorb = package(CONTENT).xorbs[0]
    other = package(some(1000, seed=9)).xorbs[0]
    for wrong in ({"name": other.name}, {"body": xorb.body[:-1]}, {"body": xorb.body + b"\0"}, {"body": b""}):
        with pytest.raises(Invalid):
            await send(xorbs, xorb, **wrong)  # type: ignore[arg-type]
    assert files(layout) == list(layout.incoming.iterdir()) == []
    assert await db.one("SELECT COUNT(*) FROM xorbs") == (0,)


async def test_nothing_is_written_of_what_is_refused(xorbs: Xorbs, layout: Layout) -> None:
    """The piece in which the fault shows does not reach the disk."""
    async with xorbs.create() as upload:
        with pytest.raises(Invalid, match="unknown version"):
            upload.write(b"\x07" * 1000)
        assert list(layout.incoming.iterdir()) == []


async def test_too_many_chunks(xorbs: Xorbs) -> None:
    """A million chunks of one byte are no xorb."""
    body = package(b"x").xorbs[0].body
    async with xorbs.create() as upload:
        with pytest.raises(TooLarge, match="8192 chunks"):
            upload.write(body * 1_000_000)


async def test_a_damaged_file_is_never_read_as_content(xorbs: Xorbs) -> None:
    """A file that is cut short, that is gone, or whose headers are wrong, raises `Damaged`."""
    sent = package(CONTENT, scheme=LZ4)
    await send(xorbs, sent.xorbs[0])
    path = (await xorbs.get(sent.xorbs[0].name)).path
    whole = path.read_bytes()
    for wrong in (
        whole[:-1],
        b"\x01" + whole[1:],
        whole[:4] + b"\x07" + whole[5:],
        whole[:5] + b"\x01" + whole[6:],
    ):
        path.write_bytes(wrong)
        with pytest.raises(Damaged):
            await xorbs.sha256(terms_of(sent))
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        await xorbs.sha256(terms_of(sent))
    with pytest.raises(Damaged, match="missing"):
        await xorbs.sha256(terms_of(package(b"never sent")))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails(layout: Layout, db: Database, step: str, done: bool) -> None:
    """The failure comes through, no row says that the xorb is there, and the same again works."""
    disk = FailingDisk(step, done=done)
    xorbs = Xorbs(layout, db, disk)
    sent = package(CONTENT, footer=FOOTER)
    with pytest.raises(OSError, match="No space left"):
        await send(xorbs, sent.xorbs[0])
    assert disk.step == "", "the step was not taken"
    assert await xorbs.find(sent.xorbs[0].name) is None
    assert await send(xorbs, sent.xorbs[0])
    assert await xorbs.sha256(terms_of(sent)) == sent.sha256
    xorbs.close()


async def test_the_order_of_steps(layout: Layout, db: Database) -> None:
    """Written, synced, renamed, the directory synced, and only then a row."""
    steps: list[str] = []

    class Recording(FailingDisk):
        def _take(self, step: str, method: Callable[..., T], *args: Any) -> T:
            steps.append(step)
            return method(*args)

    xorbs = Xorbs(layout, db, Recording("", done=False))
    async with xorbs.create() as upload:
        upload.write(package(b"content").xorbs[0].body)
        async with db.write():  # holds up the row
            upload.finish(package(b"content").xorbs[0].name)
            assert await db.one("SELECT COUNT(*) FROM xorbs") == (0,)
    assert steps == ["create", "write", "sync", "rename", "sync_directory"]
    xorbs.close()


# virtual ones


async def virtual(layout: Layout, db: Database, content: bytes, before: bytes = b"") -> Package:
    """A plain blob, and a xorb that is the part of it behind `before`."""
    blobs = LocalBlobs(layout)
    await blobs.put([before + content])
    blobs.close()
    sent = package(content)
    [xorb] = sent.xorbs
    sizes = [len(chunk) for chunk in xorb.chunks]
    index = ChunkIndex.plain(b"".join(hash_bytes(Xorb((chunk,)).name) for chunk in xorb.chunks), sizes)
    row = xet.Xorb(
        xorb.name,
        "",
        index.length,
        index.unpacked(),
        index.render(),
        sha256_of(before + content),
        len(before),
    )
    async with db.write() as tx:
        assert await xet.insert_xorb(tx, row)
    return sent


@pytest.mark.parametrize("before", [b"", b"something else"])
async def test_a_virtual_xorb_is_read_from_its_blob(
    xorbs: Xorbs, layout: Layout, db: Database, before: bytes
) -> None:
    """The content, wherever in the blob it begins; and a serialized form like that of an upload, in any range."""
    sent = await virtual(layout, db, CONTENT, before)
    terms = terms_of(sent)
    assert await xorbs.sha256(terms) == sent.sha256
    assert await read(xorbs, terms, 777, 2 * CHUNK + 1) == CONTENT[777 : 2 * CHUNK + 1]
    held = await xorbs.get(sent.xorbs[0].name)
    body, blob = sent.xorbs[0].body, before + CONTENT
    offsets = [chunk.offset for chunk in held.index]
    edges = [(start + a, end + b) for start, end in pairwise(offsets) for a in (-1, 0, 1, 8) for b in (0, 1)]
    edges = [(start, end) for start, end in edges if 0 <= start < end]
    for start, end in [
        (0, len(body)),
        (3, 5),
        (5, 9),
        (8, 60_000),
        (1_000_003, 1_000_004),
        (len(body) - 1, len(body)),
        *edges,
    ]:
        parts = [p if isinstance(p, bytes) else blob[p[0] : p[1]] for p in pieces(held, start, end)]
        assert b"".join(parts) == body[start:end]


async def test_a_virtual_xorb_whose_blob_is_gone_is_replaced(
    xorbs: Xorbs, layout: Layout, db: Database
) -> None:
    """By an upload of the same; as long as the blob is there, it stays."""
    sent = await virtual(layout, db, CONTENT, b"something else")
    [xorb] = sent.xorbs
    assert not await send(xorbs, xorb)
    [blob] = layout.blobs.glob("*/*")
    blob.unlink()
    assert await xorbs.find(xorb.name)
    assert await xorbs.intact(xorb.name) is None
    assert await send(xorbs, xorb)
    assert await read(xorbs, terms_of(sent), 0, len(CONTENT)) == CONTENT
    assert not await send(xorbs, xorb)
    assert len(files(layout)) == 1


# content by sha256


@pytest.fixture
async def blobs(layout: Layout, db: Database, xorbs: Xorbs) -> AsyncIterator[XetBlobs]:
    plain = LocalBlobs(layout)
    yield XetBlobs(plain, xorbs, db)
    plain.close()


async def test_readers_do_not_see_how_content_is_kept(blobs: XetBlobs, xorbs: Xorbs, db: Database) -> None:
    """By sha256 a file that came by Xet is a blob like any other; only there is no file to send it from."""
    sent = package(CONTENT, per_xorb=9)
    for xorb in sent.xorbs:
        await send(xorbs, xorb)
    assert await blobs.size(sent.sha256) is None
    with pytest.raises(Damaged):
        _ = [piece async for piece in blobs.read(sent.sha256)]
    await add_file(db, sent)
    assert await blobs.size(sent.sha256) == len(CONTENT)
    assert blobs.path(sent.sha256) is None
    assert b"".join([piece async for piece in blobs.read(sent.sha256)]) == CONTENT
    assert b"".join([piece async for piece in blobs.read(sent.sha256, 10, 20)]) == CONTENT[10:20]
    assert [piece async for piece in blobs.read(sent.sha256, len(CONTENT))] == []
    [small] = await blobs.put([b"plain"])
    assert await blobs.get([small.sha256, sent.sha256, small.sha256]) == [b"plain", CONTENT, b"plain"]


async def test_a_plain_copy_is_read_first(
    blobs: XetBlobs, xorbs: Xorbs, db: Database, layout: Layout
) -> None:
    """Where there are both, nothing is unpacked; and the xorbs serve when the plain copy goes."""
    sent = package(CONTENT)
    await send(xorbs, sent.xorbs[0])
    await add_file(db, sent)
    await blobs.put([CONTENT])
    assert blobs.path(sent.sha256) == layout.blob(sent.sha256)
    (await xorbs.get(sent.xorbs[0].name)).path.rename(layout.root / "away")
    assert b"".join([piece async for piece in blobs.read(sent.sha256)]) == CONTENT
    (layout.root / "away").rename((await xorbs.get(sent.xorbs[0].name)).path)
    await blobs.delete(sent.sha256)
    assert b"".join([piece async for piece in blobs.read(sent.sha256)]) == CONTENT


async def test_one_of_several_representations_is_chosen_for_good(db: Database, clock: Any) -> None:
    """Two clients cut one content differently: it is offered by the hash that came first, then and later."""
    for hash_ in ("ff" * 32, "00" * 32):
        async with db.write() as tx:
            await xet.insert_file(tx, XetFile(XetHash(hash_), sha256_of(b""), 0, b""), [])
        clock.at += 1
    assert await xet.hashes(db, [sha256_of(b"")]) == {sha256_of(b""): "ff" * 32}


# which xorbs lie near


async def test_neighbours_come_in_the_order_in_which_they_are_needed(xorbs: Xorbs, db: Database) -> None:
    """First those behind it in a file, then those before it; nothing of files that do not use it."""
    sent = package(CONTENT, per_xorb=8)
    other = package(some(100_000, seed=5))
    for xorb in (*sent.xorbs, *other.xorbs):
        await send(xorbs, xorb)
    await add_file(db, sent)
    await add_file(db, other)
    names = [xorb.name for xorb in sent.xorbs]
    assert len(names) > 4
    assert await xet.neighbours(db, names[2], 100) == [*names[3:], names[1], names[0]]
    assert await xet.neighbours(db, names[2], 2) == names[3:5]
    assert await xet.neighbours(db, other.xorbs[0].name, 9) == []
