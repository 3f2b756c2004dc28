"""What blobs in a directory promise beyond `test_blobs.py`: every step may fail, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hubreg.errors import Busy, Damaged
from hubreg.model import Sha256
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs

pytestmark = pytest.mark.anyio

T = TypeVar("T")

CONTENT = b"content" * 1000
DIGEST = Sha256(hashlib.sha256(CONTENT).hexdigest())
STEPS = ["create", "open", "write", "sync", "rename", "sync_directory"]


class FailingDisk(Disk):
    """A disk whose `step` fails once, before or after it was done."""

    def __init__(self, step: str, *, done: bool) -> None:
        self.step, self.done = step, done

    def create(self, path: Path) -> int:
        return self._take("create", super().create, path)

    def open(self, path: Path) -> int:
        return self._take("open", super().open, path)

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        self._take("write", super().write, handle, data, offset)

    def sync(self, handle: int) -> None:
        self._take("sync", super().sync, handle)

    def rename(self, source: Path, target: Path) -> None:
        self._take("rename", super().rename, source, target)

    def sync_directory(self, path: Path) -> None:
        self._take("sync_directory", super().sync_directory, path)

    def _take(self, step: str, method: Callable[..., T], *args: Any) -> T:
        if step != self.step:
            return method(*args)
        self.step = ""
        if self.done:
            found = method(*args)
            if isinstance(found, int):  # nobody gets to know of this descriptor
                self.close(found)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
async def blobs(layout: Layout) -> AsyncIterator[LocalBlobs]:
    blobs = LocalBlobs(layout)
    yield blobs
    blobs.close()


async def publish(blobs: LocalBlobs) -> None:
    async with blobs.create() as upload:
        upload.write(CONTENT[:100])
        upload.write(CONTENT[100:])
        await upload.publish(DIGEST)


async def put(blobs: LocalBlobs) -> None:
    await blobs.put([b"first", CONTENT, b"last"])


async def parts(blobs: LocalBlobs) -> None:
    blobs.part("upload", 100).write(CONTENT[100:])
    blobs.part("upload", 0).write(CONTENT[:100])
    await blobs.assemble("upload", DIGEST, len(CONTENT))
    await blobs.drop_parts("upload")


WAYS: dict[str, Callable[[LocalBlobs], Any]] = {"publish": publish, "put": put, "parts": parts}


def takes(way: str, step: str) -> bool:
    return step != ("create" if way == "parts" else "open")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("way", "step"), [(way, step) for way in WAYS for step in STEPS if takes(way, step)])
async def test_a_step_that_fails(layout: Layout, way: str, step: str, done: bool) -> None:
    """
    The failure comes through; the blob is there whole or not at all; no descriptor stays open; what is left is swept;
    and the same again works.
    """
    disk = FailingDisk(step, done=done)
    blobs = LocalBlobs(layout, disk)
    await blobs.size(DIGEST)
    before = descriptors()
    with pytest.raises(OSError, match="No space left"):
        await WAYS[way](blobs)
    assert disk.step == "", "the step was not taken"
    assert descriptors() == before
    assert await blobs.size(DIGEST) in (None, len(CONTENT))
    if way != "parts" and not (step == "create" and done):
        assert list(layout.incoming.iterdir()) == []
    blobs.sweep()
    await WAYS[way](blobs)
    assert layout.blob(DIGEST).read_bytes() == CONTENT
    blobs.close()


async def test_an_upload_goes_on_after_a_write_that_failed(layout: Layout) -> None:
    """It cannot be published: what was hashed is not what the file has."""
    blobs = LocalBlobs(layout, FailingDisk("write", done=False))
    async with blobs.create() as upload:
        with pytest.raises(OSError, match="No space left"):
            upload.write(CONTENT)
        with pytest.raises(Damaged, match="Not all of the content"):
            await upload.publish()
    assert list(layout.incoming.iterdir()) == []
    blobs.close()


async def test_a_blob_is_for_this_user_alone(layout: Layout, blobs: LocalBlobs) -> None:
    """Files and directories are closed to everybody else, however they came."""
    await publish(blobs)
    await parts(blobs)
    assert layout.blob(DIGEST).stat().st_mode & 0o777 == 0o600
    for directory in (layout.root, layout.incoming, layout.blobs, layout.blob(DIGEST).parent):
        assert directory.stat().st_mode & 0o777 == 0o700


async def test_a_path_to_send_from(layout: Layout, blobs: LocalBlobs) -> None:
    """The backend has a file for every blob, and names it whether the blob is there or not."""
    path = blobs.path(DIGEST)
    assert path is not None
    assert not path.exists()
    await publish(blobs)
    assert path.read_bytes() == CONTENT


async def test_readers_and_writers_leave_no_descriptor_open(blobs: LocalBlobs) -> None:
    """Reading to the end, leaving early, being cancelled, failing to find: all are closed."""
    await publish(blobs)
    before = descriptors()
    async for _ in blobs.read(DIGEST):
        pass
    reader = blobs.read(DIGEST)
    await anext(reader)
    await reader.aclose()
    task = asyncio.create_task(anext(blobs.read(DIGEST)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(Damaged):
        await anext(blobs.read(Sha256("0" * 64)))
    for _ in range(20):
        task = asyncio.create_task(publish(blobs))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert descriptors() == before


# multipart uploads


async def test_no_part_is_written_while_parts_are_put_together(layout: Layout, blobs: LocalBlobs) -> None:
    """Between hashing and publishing a late part is refused at once; it does not hold up a thread either."""
    part = blobs.part("upload", 0)
    part.write(CONTENT)
    handle = os.open(layout.parts("upload"), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as `assemble` holds it
    with pytest.raises(Busy, match="being put together"):
        part.write(b"evil")
    os.close(handle)
    await blobs.assemble("upload", DIGEST, len(CONTENT))
    assert layout.blob(DIGEST).read_bytes() == CONTENT


async def test_parts_are_not_put_together_while_one_is_written(layout: Layout, blobs: LocalBlobs) -> None:
    """`assemble` waits for a write that is under way in whatever process."""
    blobs.part("upload", 0).write(b"X" + CONTENT[1:])
    handle = os.open(layout.parts("upload"), os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_SH)  # as a part holds it
    assembling = asyncio.create_task(blobs.assemble("upload", DIGEST, len(CONTENT)))
    await asyncio.sleep(0.05)
    assert not assembling.done()
    os.pwrite(handle, CONTENT[:1], 0)
    os.close(handle)
    await assembling
    assert layout.blob(DIGEST).read_bytes() == CONTENT


async def test_the_size_is_looked_at_first(layout: Layout, blobs: LocalBlobs) -> None:
    """A terabyte of nothing is refused without being read."""
    blobs.part("upload", 1 << 40).write(b"end")
    with pytest.raises(Damaged, match="parts make 1099511627779 bytes"):
        await blobs.assemble("upload", DIGEST, len(CONTENT))
    await blobs.drop_parts("upload")


# sweeping


async def test_sweeping_removes_what_dead_uploads_left(layout: Layout, blobs: LocalBlobs) -> None:
    """Temporary files go; blobs and multipart uploads, which outlive a restart, stay."""
    await publish(blobs)
    for _ in range(3):
        layout.temporary().write_bytes(b"half")
    blobs.part("upload", 0).write(b"part")
    assert blobs.sweep() == 3
    assert list(layout.incoming.iterdir()) == [layout.parts("upload")]
    assert layout.blob(DIGEST).exists()


async def test_sweeping_multipart_uploads_that_nobody_knows(layout: Layout, blobs: LocalBlobs) -> None:
    """Given the ids of those under way, the files of all others go as well."""
    for upload in ("alive", "orphan"):
        blobs.part(upload, 0).write(CONTENT)
        await blobs.assemble(upload, DIGEST, len(CONTENT))
        blobs.part(upload, 0).write(b"late part")
    assert blobs.sweep(alive=["alive", "has-no-part-yet"]) == 2
    assert set(layout.incoming.iterdir()) == {layout.parts("alive"), layout.done("alive")}
