"""What every blob backend promises. A new one adds one line to `BACKENDS` and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from hubreg.errors import Damaged
from hubreg.formats.gitobjects import object_oid
from hubreg.model import Sha256
from hubreg.store.blobs import CHUNK, Blobs, Content
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs

pytestmark = pytest.mark.anyio


class Backend(Protocol):
    """A backend under test: its blobs, what it holds of unfinished uploads, and its end."""

    blobs: Blobs

    def leftovers(self) -> list[str]: ...

    def close(self) -> None: ...


class Local:
    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.layout.prepare()
        self.blobs = LocalBlobs(self.layout)

    def leftovers(self) -> list[str]:
        return [path.name for path in self.layout.incoming.iterdir()]

    def close(self) -> None:
        self.blobs.close()


BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "local": Local,
}


@pytest.fixture(params=BACKENDS)
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    backend = BACKENDS[request.param](tmp_path / "data")
    yield backend.blobs
    assert backend.leftovers() == [], "an upload left its bytes behind"
    backend.close()


def sha256(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


def content_of(content: bytes) -> Content:
    return Content(sha256(content), len(content), object_oid("blob", content))


async def put(blobs: Blobs, content: bytes) -> Sha256:
    async with blobs.create() as upload:
        upload.write(content)
        await upload.publish(sha256(content), len(content))
    return sha256(content)


async def get(blobs: Blobs, digest: Sha256, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(digest, start, end)])


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7]


def some(size: int) -> bytes:
    """Bytes that are nowhere the same."""
    return random.Random(size).randbytes(size)


# what goes in comes out


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_written_is_read_back(blobs: Blobs, size: int) -> None:
    """A published blob has the size and the bytes that were written, on both sides of a chunk's edge."""
    digest = await put(blobs, some(size))
    assert await blobs.size(digest) == size
    assert await get(blobs, digest) == some(size)
    assert all([len(chunk) <= CHUNK async for chunk in blobs.read(digest)])


async def test_content_may_come_in_any_pieces(blobs: Blobs) -> None:
    """Pieces of every kind, empty ones too, are one content; a view may be used again after the call."""
    buffer = bytearray(b"second ")
    async with blobs.create() as upload:
        for piece in (b"", b"first ", buffer, memoryview(b"third ")[:5], b"", bytes(2 * CHUNK)):
            upload.write(piece)
        buffer[:] = b"REUSED!"
        found = await upload.publish(git=True)
    assert found == content_of(b"first second third" + bytes(2 * CHUNK))
    assert await get(blobs, found.sha256, 0, 18) == b"first second third"


@pytest.mark.parametrize("size", SIZES)
async def test_git_names_content_in_one_piece_and_in_several(blobs: Blobs, size: int) -> None:
    """The oid is git's own however the content came; it is left out where nobody asked."""
    for pieces in ([some(size)], [some(size)[:10], some(size)[10:]]):
        async with blobs.create() as upload:
            for piece in pieces:
                upload.write(piece)
            assert await upload.publish(git=True) == content_of(some(size))
    async with blobs.create() as upload:
        upload.write(some(size))
        assert (await upload.publish()).oid is None


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 1), (3, 7), (3, None), (9, 10), (10, None), (0, 99), (99, None), (7, 3)]
)
async def test_a_range_is_that_slice(blobs: Blobs, start: int, end: int | None) -> None:
    """Reading from start to end gives what slicing the content would."""
    digest = await put(blobs, b"0123456789")
    assert await get(blobs, digest, start, end) == b"0123456789"[start:end]


@pytest.mark.parametrize(("start", "end"), [(CHUNK - 1, CHUNK + 1), (1, 3 * CHUNK), (2 * CHUNK, None)])
async def test_a_range_over_the_edges_of_chunks(blobs: Blobs, start: int, end: int | None) -> None:
    """The same where the range takes several chunks."""
    content = some(3 * CHUNK + 7)
    digest = await put(blobs, content)
    assert await get(blobs, digest, start, end) == content[start:end]


async def test_a_reader_may_leave_early(blobs: Blobs) -> None:
    """Whoever stops after a chunk disturbs neither the blob nor other readers."""
    digest = await put(blobs, some(3 * CHUNK + 7))
    reader = blobs.read(digest)
    async for _ in reader:
        break
    assert await get(blobs, digest) == some(3 * CHUNK + 7)
    del reader


# what is not there


async def test_a_blob_that_is_not_there(blobs: Blobs) -> None:
    """It has no size, and reading it says that something is wrong: its name came from somewhere."""
    assert await blobs.size(sha256(b"absent")) is None
    with pytest.raises(Damaged, match="missing"):
        await get(blobs, sha256(b"absent"))


async def test_deleting_twice_is_deleting_once(blobs: Blobs) -> None:
    """A deleted blob is gone, and deleting it again is no error."""
    digest = await put(blobs, b"old")
    await blobs.delete(digest)
    await blobs.delete(digest)
    assert await blobs.size(digest) is None


async def test_a_reader_keeps_what_is_deleted_meanwhile(blobs: Blobs) -> None:
    """A blob that is deleted while it is read is read to its end, or `Damaged`: never cut short in silence."""
    content = some(3 * CHUNK + 7)
    digest = await put(blobs, content)
    reader = blobs.read(digest)
    chunks = [await anext(reader)]
    await blobs.delete(digest)
    try:
        chunks += [chunk async for chunk in reader]
    except Damaged:
        return
    assert b"".join(chunks) == content


# what is refused


@pytest.mark.parametrize(
    ("expected", "size"),
    [(sha256(b"original"), None), (sha256(b"original"), 8), (None, 7), (None, 9), (sha256(b"tampered"), 7)],
)
async def test_wrong_bytes_are_never_published(
    blobs: Blobs, expected: Sha256 | None, size: int | None
) -> None:
    """Publishing what is not what was expected raises, and leaves no blob of either name."""
    async with blobs.create() as upload:
        upload.write(b"tampered")
        with pytest.raises(Damaged):
            await upload.publish(expected, size)
    assert await blobs.size(sha256(b"original")) is None
    assert await blobs.size(sha256(b"tampered")) is None


async def test_an_upload_left_early_leaves_nothing(blobs: Blobs) -> None:
    """An upload that fails half way is thrown away, and the failure is the caller's own."""
    with pytest.raises(RuntimeError, match="client went away"):
        async with blobs.create() as upload:
            upload.write(b"half")
            raise RuntimeError("client went away")
    assert await blobs.size(sha256(b"half")) is None


async def test_an_upload_that_is_cancelled_leaves_nothing(blobs: Blobs) -> None:
    """The same for a task that is cancelled while it waits for more."""

    async def upload() -> None:
        async with blobs.create() as upload:
            upload.write(b"half")
            await asyncio.sleep(60)

    task = asyncio.create_task(upload())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await blobs.size(sha256(b"half")) is None


async def test_an_upload_without_a_byte_may_be_left(blobs: Blobs) -> None:
    """Nothing is written, nothing is published, nothing is left."""
    async with blobs.create():
        pass
    assert await blobs.size(sha256(b"")) is None


async def test_an_upload_is_published_once(blobs: Blobs) -> None:
    """After it the upload takes nothing and publishes nothing: what it would publish has no bytes any more."""
    async with blobs.create() as upload:
        upload.write(b"once")
        await upload.publish()
        with pytest.raises(ValueError, match="published"):
            upload.write(b"more")
        with pytest.raises(ValueError, match="published"):
            await upload.publish()
    assert await get(blobs, sha256(b"once")) == b"once"


async def test_cancelled_while_publishing(blobs: Blobs) -> None:
    """Whoever is cancelled then may or may not have published, but wholly, and nothing is left lying about."""
    content = some(3 * CHUNK + 7)

    async def upload() -> None:
        await put(blobs, content)

    for _ in range(10):
        task = asyncio.create_task(upload())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if await blobs.size(sha256(content)) is not None:
            assert await get(blobs, sha256(content)) == content
        await blobs.delete(sha256(content))


# many at once


async def test_the_same_blob_written_by_many_at_once(blobs: Blobs) -> None:
    """Writers of equal content do not disturb each other: all succeed, and one blob is there."""
    await asyncio.gather(*(put(blobs, b"same") for _ in range(20)))
    assert await get(blobs, sha256(b"same")) == b"same"


async def test_a_blob_that_is_there_is_published_again(blobs: Blobs) -> None:
    """It stays what it is for those who read it meanwhile."""
    content = some(2 * CHUNK)
    digest = await put(blobs, content)
    reader = blobs.read(digest)
    first = await anext(reader)
    await put(blobs, content)
    assert first + b"".join([chunk async for chunk in reader]) == content


async def test_several_small_blobs_together(blobs: Blobs) -> None:
    """`put` names each content in the order it was given, the same one twice and the empty one too."""
    contents = [b"a", b"", b"bb", b"a", some(CHUNK + 1)]
    assert await blobs.put(contents) == [content_of(content) for content in contents]
    for content in contents:
        assert await get(blobs, sha256(content)) == content
    assert await blobs.put([]) == []


# multipart uploads


async def test_parts_in_any_order_make_a_blob(blobs: Blobs) -> None:
    """Each part is written where it begins, in whatever pieces and order; together they are the content."""
    content = some(2 * CHUNK + 5)
    for offset in (CHUNK, 2 * CHUNK, 0):
        part = blobs.part("upload", offset)
        piece = content[offset : offset + CHUNK]
        part.write(piece[:3])
        part.write(memoryview(piece)[3:])
    found = await blobs.assemble("upload", sha256(content), len(content))
    await blobs.drop_parts("upload")
    assert (found.sha256, found.size) == (sha256(content), len(content))
    assert await get(blobs, sha256(content)) == content


async def test_a_part_is_named_by_its_bytes(blobs: Blobs) -> None:
    """Equal bytes have equal names, others another one, whatever pieces they came in."""
    one, two, other = (blobs.part("upload", n * 10) for n in range(3))
    one.write(b"abcd")
    two.write(b"ab")
    two.write(b"cd")
    other.write(b"abce")
    assert one.etag() == two.etag() != other.etag()
    await blobs.drop_parts("upload")


async def test_a_part_may_be_sent_again(blobs: Blobs) -> None:
    """The last one counts: a client repeats what was cut off."""
    blobs.part("upload", 0).write(b"wro")
    blobs.part("upload", 0).write(b"right")
    await blobs.assemble("upload", sha256(b"right"), 5)
    await blobs.drop_parts("upload")
    assert await get(blobs, sha256(b"right")) == b"right"


@pytest.mark.parametrize("wrong", [b"tampered!", b"short", b"much longer than announced"])
async def test_parts_that_make_something_else(blobs: Blobs, wrong: bytes) -> None:
    """They are not published, and stay: what was wrong can be sent again."""
    blobs.part("upload", 0).write(wrong)
    with pytest.raises(Damaged):
        await blobs.assemble("upload", sha256(b"original!"), 9)
    assert await blobs.size(sha256(b"original!")) is None
    assert await blobs.size(sha256(wrong)) is None
    await blobs.drop_parts("upload")


async def test_a_part_that_is_missing(blobs: Blobs) -> None:
    """A hole is no content; neither is an upload of which nothing has come."""
    blobs.part("upload", 4).write(b"last")
    with pytest.raises(Damaged):
        await blobs.assemble("upload", sha256(b"1st last"), 8)
    blobs.part("upload", 0).write(b"1st ")
    await blobs.assemble("upload", sha256(b"1st last"), 8)
    await blobs.drop_parts("upload")
    with pytest.raises(Damaged, match="No part"):
        await blobs.assemble("unknown", sha256(b"whatever"), 8)


async def test_putting_parts_together_twice(blobs: Blobs) -> None:
    """A client that did not hear the answer asks again, one after the other or at once, and hears it."""
    content = some(2 * CHUNK)
    blobs.part("upload", 0).write(content)
    both = [blobs.assemble("upload", sha256(content), len(content)) for _ in range(4)]
    answers = [*await asyncio.gather(*both), await blobs.assemble("upload", sha256(content), len(content))]
    assert {(answer.sha256, answer.size) for answer in answers} == {(sha256(content), len(content))}
    assert await get(blobs, sha256(content)) == content
    await blobs.drop_parts("upload")
    with pytest.raises(Damaged):
        await blobs.assemble("upload", sha256(content), len(content))


async def test_a_blob_that_is_there_is_no_upload_of_it(blobs: Blobs) -> None:
    """Whoever knows a name and a size has not sent the bytes: not without a part, not after other parts."""
    digest = await put(blobs, b"not yours")
    with pytest.raises(Damaged):
        await blobs.assemble("upload", digest, 9)
    blobs.part("upload", 0).write(b"mine only")
    await blobs.assemble("upload", sha256(b"mine only"), 9)
    with pytest.raises(Damaged):
        await blobs.assemble("upload", digest, 9)
    await blobs.drop_parts("upload")


async def test_a_late_part_does_not_change_the_blob(blobs: Blobs) -> None:
    """A part that was begun before the parts were put together, or after, is no part of the blob."""
    early = blobs.part("upload", 0)
    early.write(b"good")
    await blobs.assemble("upload", sha256(b"good"), 4)
    early.write(b"evil")
    blobs.part("upload", 0).write(b"evil")
    assert await get(blobs, sha256(b"good")) == b"good"
    await blobs.drop_parts("upload")


async def test_uploads_do_not_share_parts(blobs: Blobs) -> None:
    """Two uploads of different ids are apart; dropping one leaves the other; dropping twice is fine."""
    blobs.part("one", 0).write(b"one")
    blobs.part("two", 0).write(b"two")
    await blobs.drop_parts("one")
    await blobs.drop_parts("one")
    await blobs.assemble("two", sha256(b"two"), 3)
    await blobs.drop_parts("two")
    with pytest.raises(Damaged):
        await blobs.assemble("one", sha256(b"one"), 3)
