"""
Blobs as files in a directory: written beside their final name, synced, renamed into place, the directory synced.

That order is the whole of it. A process killed between any two of these steps leaves a temporary file, which the next
start sweeps, or a blob that nobody refers to. Every system call that matters goes through `Disk`, so that tests can
record the order, fail any step, and rebuild what a power cut would have left.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from hubreg.errors import Damaged
from hubreg.formats.gitobjects import BlobHash
from hubreg.model import Oid, Sha256
from hubreg.store.blobs import CHUNK, Content
from hubreg.store.layout import Layout, sync_directory

T = TypeVar("T")


class Disk:
    """The steps of writing a file durably."""

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, handle: int, data: memoryview) -> None:
        while data:
            data = data[os.write(handle, data) :]

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def sync_directory(self, path: Path) -> None:
        sync_directory(path)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


class LocalUpload:
    """One blob on its way in. The file is opened by the first write, so an upload that never begins costs nothing."""

    def __init__(self, blobs: LocalBlobs) -> None:
        self._blobs, self._disk = blobs, blobs.disk
        self._path = blobs.layout.temporary()
        self._handle: int | None = None
        self._hash, self.size = hashlib.sha256(), 0
        self._first: bytes | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._handle is None:
            self._handle = self._disk.open(self._path)
        view = memoryview(data).cast("B")
        # A blob that came in one piece needs no second reading for git's name of it.
        self._first = bytes(view) if self.size == 0 and len(view) <= CHUNK else None
        self._hash.update(view)
        self._disk.write(self._handle, view)
        self.size += len(view)

    async def publish(
        self, expected: Sha256 | None = None, size: int | None = None, *, git: bool = False
    ) -> Content:
        def publish() -> Content:
            content = self.finish(expected, size, git=git)
            self._disk.sync_directory(self._blobs.layout.blob(content.sha256).parent)
            return content

        return await self._blobs.in_thread(publish)

    def finish(self, expected: Sha256 | None, size: int | None, *, git: bool) -> Content:
        """`publish` in the calling thread, but for the sync of the directory: the caller does that, once for many."""
        if self._handle is None:
            self.write(b"")
        found = Sha256(self._hash.hexdigest())
        if (expected is not None and found != expected) or (size is not None and self.size != size):
            raise Damaged(
                f"The content has sha256 {found} and {self.size} bytes,"
                f" not {expected or 'the sha256 it has'} and {self.size if size is None else size} bytes."
            )
        assert self._handle is not None  # noqa: S101 opened above
        oid = self._oid() if git else None
        self._disk.sync(self._handle)
        self._disk.rename(self._path, self._blobs.layout.blob(found))
        self.close()
        return Content(found, self.size, oid)

    def _oid(self) -> Oid:
        hashed = BlobHash(self.size)
        if self._first is not None or self._handle is None:
            hashed.update(self._first or b"")
        else:
            for offset in range(0, self.size, CHUNK):
                hashed.update(os.pread(self._handle, CHUNK, offset))
        return hashed.oid()

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def discard(self) -> None:
        if self._handle is not None:
            self.close()
            self._disk.remove(self._path)


class LocalBlobs:
    """Blobs under `layout.blobs`. One per process; its threads are shared by all that reads and writes there."""

    def __init__(self, layout: Layout, disk: Disk | None = None, threads: int = 8) -> None:
        self.layout, self.disk = layout, disk or Disk()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="hubreg-disk")

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def size(self, digest: Sha256) -> int | None:
        # A stat of a name in the page cache: 2 us, less than a thread hop.
        try:
            return os.stat(self.layout.blob(digest)).st_size
        except FileNotFoundError:
            return None

    def path(self, digest: Sha256) -> Path | None:
        return self.layout.blob(digest)

    async def read(self, digest: Sha256, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        handle = await self.in_thread(lambda: os.open(self.layout.blob(digest), os.O_RDONLY))
        try:
            while end is None or start < end:
                want = CHUNK if end is None else min(CHUNK, end - start)
                chunk = await self.in_thread(lambda at=start, want=want: os.pread(handle, want, at))  # type: ignore[misc]  # a lambda with defaults
                if not chunk:
                    return
                start += len(chunk)
                yield chunk
        finally:
            os.close(handle)

    @asynccontextmanager
    async def create(self) -> AsyncIterator[LocalUpload]:
        upload = LocalUpload(self)
        try:
            yield upload
        finally:
            # Unlinking a large file takes the file system a while.
            await asyncio.shield(self.in_thread(upload.discard))

    async def put(self, contents: Sequence[bytes]) -> list[Content]:
        return await self.in_thread(lambda: self._put(contents))

    def _put(self, contents: Sequence[bytes]) -> list[Content]:
        done: list[Content] = []
        directories: set[Path] = set()
        for content in contents:
            upload = LocalUpload(self)
            try:
                upload.write(content)
                done.append(upload.finish(None, None, git=True))
                directories.add(self.layout.blob(done[-1].sha256).parent)
            finally:
                upload.discard()
        for directory in directories:
            self.disk.sync_directory(directory)
        return done

    def part(self, upload_id: str, offset: int) -> _Part:
        return _Part(self.layout.parts(upload_id), offset)

    async def assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        return await self.in_thread(lambda: self._assemble(upload_id, expected, size))

    def _assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        source, final = self.layout.parts(upload_id), self.layout.blob(expected)
        try:
            handle = os.open(source, os.O_RDONLY)
        except FileNotFoundError:
            raise Damaged("No part of this upload has arrived.") from None
        try:
            hashed, have = hashlib.sha256(), os.fstat(handle).st_size
            for offset in range(0, have, CHUNK):
                hashed.update(os.pread(handle, CHUNK, offset))
            if have != size or hashed.hexdigest() != expected:
                raise Damaged(
                    f"The parts make {have} bytes with sha256 {hashed.hexdigest()}, not {size} with {expected}."
                )
            self.disk.sync(handle)
        finally:
            os.close(handle)
        self.disk.rename(source, final)
        self.disk.sync_directory(final.parent)
        return Content(expected, size)

    async def drop_parts(self, upload_id: str) -> None:
        await self.in_thread(lambda: self.disk.remove(self.layout.parts(upload_id)))

    async def delete(self, digest: Sha256) -> None:
        await self.in_thread(lambda: self.disk.remove(self.layout.blob(digest)))

    def sweep(self) -> int:
        """
        Remove what dead uploads left; how many there were. Only for a process that knows no other one writes here:
        the server, at start, under its lock.
        """
        dead = [path for path in self.layout.incoming.iterdir() if path.suffix != ".parts"]
        for path in dead:
            with suppress(FileNotFoundError):
                path.unlink()
        return len(dead)


class _Part:
    """Writes at an offset of the file that collects a multipart upload."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._offset = path, offset
        self._hash = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while view:
                done = os.pwrite(handle, view, self._offset)
                self._offset, view = self._offset + done, view[done:]
        finally:
            os.close(handle)

    def etag(self) -> str:
        return self._hash.hexdigest()
