"""
The steps of keeping a file durably, one method each.

Everything that `store/` does to a file system and that must survive a power cut goes through a `Disk`, so that tests
can record the order of the steps, fail any of them, and rebuild what a crash would have left. A step is durable only
after the next `sync`: data by that of its file, a name by that of its directory.
"""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    def create(self, path: Path) -> int:
        """A new file, for this user alone; its descriptor. Raises FileExistsError."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def open(self, path: Path) -> int:
        """The file there, made when missing."""
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        """All of `data`, at `offset`."""
        while data:
            done = os.pwrite(handle, data, offset)
            data, offset = data[done:], offset + done

    def truncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        """Replaces what is there."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """A second name. Raises FileExistsError: of several who try, one gets it."""
        os.link(source, target)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        """Also fine where there is nothing."""
        path.unlink(missing_ok=True)
