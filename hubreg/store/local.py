"""
Blobs as files in a directory: written beside their final name, synced, renamed into place, the directory synced.

That order is the whole of it. A process killed between any two of these steps leaves a temporary file, which the next
start sweeps, or a blob that nobody refers to. Every system call that matters goes through `Disk`, so that tests can
record the order, fail any step, and rebuild what a power cut would have left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from hubreg.errors import Busy, Damaged
from hubreg.formats.gitobjects import BlobHash
from hubreg.model import Millis, Oid, Sha256
from hubreg.store.blobs import CHUNK, Content
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from hubreg.store.threads import run_in

T = TypeVar("T")


class LocalUpload:
    """One blob on its way in. The file is made by the first write, so an upload that never begins costs nothing."""

    def __init__(self, blobs: LocalBlobs) -> None:
        self._blobs, self._disk = blobs, blobs.disk
        self._path = blobs.layout.temporary()
        self._handle: int | None = None
        self._hash, self.size = hashlib.sha256(), 0
        self._first: bytes | None = None
        self._spoilt = False  # a write failed: what the file has and what was hashed may differ
        self._published = False

    @property
    def begun(self) -> bool:
        """Whether there is a file, which somebody has to publish or discard."""
        return self._handle is not None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._published:
            raise ValueError("this upload has been published")
        if self._handle is None:
            self._handle = self._disk.create(self._path)
        view = memoryview(data).cast("B")
        # A blob that came in one piece needs no second reading for git's name of it.
        self._first = bytes(view) if self.size == 0 and len(view) <= CHUNK else None
        self._spoilt = True
        self._hash.update(view)
        self._disk.write(self._handle, view, self.size)
        self.size += len(view)
        self._spoilt = False

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
        assert self._handle is not None  # noqa: S101 opened above
        if self._spoilt:
            raise Damaged("Not all of the content could be written.")
        found = Sha256(self._hash.hexdigest())
        if (expected is not None and found != expected) or (size is not None and self.size != size):
            raise Damaged(
                f"The content has sha256 {found} and {self.size} bytes,"
                f" not {expected or 'the sha256 it has'} and {self.size if size is None else size} bytes."
            )
        oid = self._oid(self._handle) if git else None
        self._disk.sync(self._handle)
        self._blobs.place(self._path, self._blobs.layout.blob(found))
        self._published = True
        self._close()
        return Content(found, self.size, oid)

    def _oid(self, handle: int) -> Oid:
        hashed = BlobHash(self.size)
        if self._first is not None:
            hashed.update(self._first)
        else:
            for offset in range(0, self.size, CHUNK):
                hashed.update(os.pread(handle, CHUNK, offset))
        return hashed.oid()

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._disk.close(handle)

    def discard(self) -> None:
        if self.begun:
            self._close()
            self._disk.remove(self._path)


class LocalBlobs:
    """Blobs under `layout.blobs`. One per process; its threads are shared by all that reads and writes there."""

    def __init__(self, layout: Layout, disk: Disk | None = None, threads: int = 8) -> None:
        self.layout, self.disk = layout, disk or Disk()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="hubreg-disk")

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await run_in(self._executor, function)

    async def size(self, digest: Sha256) -> int | None:
        # A stat of a name in the page cache: 2 us, less than a thread hop.
        try:
            return os.stat(self.layout.blob(digest)).st_size
        except FileNotFoundError:
            return None

    def path(self, digest: Sha256) -> Path | None:
        return self.layout.blob(digest)

    async def read(self, digest: Sha256, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        try:
            handle = os.open(self.layout.blob(digest), os.O_RDONLY)
        except FileNotFoundError:
            raise Damaged(f"The blob {digest} is missing.") from None
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

    async def get(self, digests: Sequence[Sha256]) -> list[bytes]:
        return await self.in_thread(lambda: [self._get(digest) for digest in digests])

    def _get(self, digest: Sha256) -> bytes:
        try:
            handle = os.open(self.layout.blob(digest), os.O_RDONLY)
        except FileNotFoundError:
            raise Damaged(f"The blob {digest} is missing.") from None
        try:
            return os.read(handle, os.fstat(handle).st_size)  # half of what `open` takes for a small file
        finally:
            os.close(handle)

    @asynccontextmanager
    async def create(self) -> AsyncIterator[LocalUpload]:
        upload = LocalUpload(self)
        try:
            yield upload
        finally:
            if upload.begun:  # unlinking a large file takes the file system a while
                await self.in_thread(upload.discard)

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

    def part(self, upload_id: str, offset: int) -> LocalPart:
        return LocalPart(self.layout.parts(upload_id), offset, self.disk)

    async def assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        return await self.in_thread(lambda: self._assemble(upload_id, expected, size))

    def _assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        source, final = self.layout.parts(upload_id), self.layout.blob(expected)
        try:
            handle = os.open(source, os.O_RDWR)
        except FileNotFoundError:
            return self._assembled(upload_id, expected, size)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_at(handle, source):
                return self._assembled(upload_id, expected, size)
            _check_parts(handle, expected, size)
            self.disk.sync(handle)
            self._note_done(upload_id, expected)
            os.utime(handle)  # its parts may be old, the blob is not: see `withdraw`
            self.place(source, final)
            self.disk.sync_directory(final.parent)
        finally:
            self.disk.close(handle)
        return Content(expected, size)

    def _note_done(self, upload_id: str, found: Sha256) -> None:
        """
        Before the parts become the blob: that a blob of this name exists does not say that this upload had its bytes.
        """
        handle = self.disk.open(self.layout.done(upload_id))
        try:
            self.disk.write(handle, memoryview(found.encode()), 0)
        finally:
            self.disk.close(handle)

    def _assembled(self, upload_id: str, expected: Sha256, size: int) -> Content:
        """The same, asked once more: by somebody who did not hear the answer, or at the same time."""
        final = self.layout.blob(expected)
        try:
            if self.layout.done(upload_id).read_text() != expected or final.stat().st_size != size:
                raise Damaged("The parts of this upload were something else.")
        except FileNotFoundError:
            raise Damaged("No part of this upload has arrived.") from None
        self.disk.sync_directory(final.parent)  # whoever renamed it may have been killed before this
        return Content(expected, size)

    async def drop_parts(self, upload_id: str) -> None:
        def drop() -> None:
            self.disk.remove(self.layout.parts(upload_id))
            self.disk.remove(self.layout.done(upload_id))

        await self.in_thread(drop)

    async def delete(self, digest: Sha256) -> None:
        await self.in_thread(lambda: self.disk.remove(self.layout.blob(digest)))

    # collecting

    def place(self, source: Path, final: Path) -> None:
        """Give what was written its name as a blob; not while a collector makes up its mind about that name."""
        with _locked(final.parent, fcntl.LOCK_SH):
            self.disk.rename(source, final)

    def withdraw(self, digest: Sha256, before: Millis) -> Path | None:
        """
        Take a blob's name away unless it was published since `before`: another writer may be about to refer to it, and
        will have published it first. The file is then the caller's to remove; None where it was left.
        """
        final, target = self.layout.blob(digest), self.layout.temporary()
        with _locked(final.parent, fcntl.LOCK_EX), suppress(FileNotFoundError):
            if final.stat().st_mtime_ns < before * 1_000_000:
                self.disk.rename(final, target)
                return target
        return None

    def sweep(self, alive: Collection[str] | None = None) -> int:
        """
        Remove what dead uploads left; how many there were. Multipart uploads are left alone, or, given the ids of
        those `alive`, only these are. Only for a process that knows no other one writes here: the server, at start,
        under its lock.
        """
        dead = [path for path in self.layout.incoming.iterdir() if _is_dead(path, alive)]
        for path in dead:
            self.disk.remove(path)
        return len(dead)


class LocalPart:
    """
    Writes at an offset of the file that collects a multipart upload.

    Under a lock that `assemble` takes for itself alone: a late writer must not change what was hashed.
    """

    def __init__(self, path: Path, offset: int, disk: Disk) -> None:
        self._path, self._offset, self._disk = path, offset, disk
        self._hash = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        handle = self._open()
        try:
            self._disk.write(handle, view, self._offset)
        finally:
            self._disk.close(handle)
        self._offset += len(view)
        self._hash.update(view)

    def _open(self) -> int:
        while True:
            handle = self._disk.open(self._path)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                self._disk.close(handle)
                raise Busy("The parts of this upload are being put together.") from None
            if _is_at(handle, self._path):
                return handle
            self._disk.close(handle)  # between the two calls above the file became a blob

    def etag(self) -> str:
        return self._hash.hexdigest()


def _check_parts(handle: int, expected: Sha256, size: int) -> None:
    have = os.fstat(handle).st_size
    if have != size:
        raise Damaged(f"The parts make {have} bytes, not {size}.")
    hashed = hashlib.sha256()
    for offset in range(0, have, CHUNK):
        hashed.update(os.pread(handle, CHUNK, offset))
    if hashed.hexdigest() != expected:
        raise Damaged(f"The parts have sha256 {hashed.hexdigest()}, not {expected}.")


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _is_dead(path: Path, alive: Collection[str] | None) -> bool:
    if path.suffix not in (".parts", ".done"):
        return True
    return alive is not None and path.stem not in alive
