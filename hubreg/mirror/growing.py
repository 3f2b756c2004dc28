"""
A file that is on its way here, as all processes of this machine see it.

`{key}.part` is the file, as long as it will be and with holes; `{key}.state` says how far each segment of it has come,
in memory that is shared. One process leads: it has the lock of the part and alone writes. The others read both, and
when the lock is free while the file is not whole, whoever gets it goes on from what is there; so does the next start.

A progress is of one part only, by its inode: of a new part under an old name nothing is known.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from enum import IntEnum
from pathlib import Path

from hubreg.store.disk import Disk

SEGMENT = 8 << 20  # bytes that come in order, by one connection; another one may be ahead
_HEAD = 512
_FACTS = struct.Struct("=QQ")  # the part's inode, the size
_STATUS, _ERROR, _LENGTH, _MESSAGE = 16, 18, 20, 22
_SHORT = struct.Struct("=H")
_MESSAGE_BYTES = _HEAD - _MESSAGE


_KEPT = 86400  # seconds for which what has come of a file waits for somebody to go on


class Status(IntEnum):
    COMING = 0
    RIGHT = 1  # every byte is here and they are what they should be
    FAILED = 2  # whoever led gave up; what is here may be gone on from
    WRONG = 3  # every byte was here, and they were not


class Growing:
    """One process's hold of it. To be closed, which gives the lock back."""

    def __init__(self, part: Path, state: Path, size: int, disk: Disk) -> None:
        self.size, self.count = size, -(-size // SEGMENT)
        self._part, self._state, self._disk = part, state, disk
        self._handle = disk.open(part)
        handle = -1
        try:
            self._inode = os.fstat(self._handle).st_ino
            handle = disk.open(state)
            length = _HEAD + 9 * self.count
            if os.fstat(handle).st_size != length:
                disk.truncate(handle, length)
            self._shared = mmap.mmap(handle, length)
        except BaseException:
            disk.close(self._handle)
            raise
        finally:
            if handle != -1:
                disk.close(handle)
        # Numbers of eight bytes, aligned: written and read whole.
        self._done = memoryview(self._shared)[_HEAD : _HEAD + 8 * self.count].cast("Q")
        self._wanted = memoryview(self._shared)[_HEAD + 8 * self.count :]

    def close(self) -> None:
        self._done.release()
        self._wanted.release()
        self._shared.close()
        self._disk.close(self._handle)

    @property
    def descriptor(self) -> int:
        """Of the part, which by the time may be the blob: to read from where `reach` says."""
        return self._handle

    # leading

    def try_to_lead(self) -> bool:
        """Take the lock, if nobody has it."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def let_go(self) -> None:
        """Give the lock back and stay open: readers are not done."""
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    def is_current(self) -> bool:
        """Whether the part still has its name: it has not once it was published or thrown away."""
        try:
            return os.path.samestat(os.fstat(self._handle), self._part.stat())
        except FileNotFoundError:
            return False

    def begin(self) -> None:
        """Make it as long as it will be. Whoever leads calls this first."""
        if _FACTS.unpack_from(self._shared) != (self._inode, self.size):
            self._shared[:] = bytes(len(self._shared))
        self._disk.truncate(self._handle, self.size)
        self._shared[_STATUS] = Status.COMING
        _FACTS.pack_into(self._shared, 0, self._inode, self.size)

    def write(self, data: memoryview, offset: int) -> None:
        """Put bytes behind those that their segments have already. Blocks."""
        self._disk.write(self._handle, data, offset)
        end = offset + len(data)
        while offset < end:
            number = offset // SEGMENT
            upto = min(end, (number + 1) * SEGMENT)
            self._done[number] = upto - number * SEGMENT
            offset = upto

    def settle(self, status: Status, error: int = 0, message: str = "") -> None:
        """Say how it ended; of a failure also the status of the refusal, and its sentence."""
        text = message.encode()[:_MESSAGE_BYTES]
        _SHORT.pack_into(self._shared, _ERROR, error)
        _SHORT.pack_into(self._shared, _LENGTH, len(text))
        self._shared[_MESSAGE : _MESSAGE + len(text)] = text
        self._shared[_STATUS] = status

    def sync(self) -> None:
        """Durable, and as new as when a blob is written: a collector leaves young ones alone. Blocks."""
        os.utime(self._handle)
        self._disk.sync(self._handle)

    def discard(self) -> None:
        """Take both names away; who has them open keeps them."""
        self._disk.remove(self._state)
        self._disk.remove(self._part)

    def drop_state(self) -> None:
        self._disk.remove(self._state)

    # looking

    @property
    def status(self) -> Status:
        return Status(self._shared[_STATUS]) if self._is_known() else Status.COMING

    @property
    def failure(self) -> tuple[int, str]:
        (error,) = _SHORT.unpack_from(self._shared, _ERROR)
        (length,) = _SHORT.unpack_from(self._shared, _LENGTH)
        return error, self._shared[_MESSAGE : _MESSAGE + length].decode(errors="replace")

    def _is_known(self) -> bool:
        return _FACTS.unpack_from(self._shared) == (self._inode, self.size)

    def length(self, number: int) -> int:
        """Bytes that a segment will have."""
        return min(SEGMENT, self.size - number * SEGMENT)

    def done(self, number: int) -> int:
        """Bytes that it has, from its beginning."""
        return min(self._done[number], self.length(number))

    def reach(self, at: int) -> int:
        """Up to where bytes are there without a gap, from `at`; `at` itself where that one is not."""
        if not self._is_known():
            return at
        number = at // SEGMENT
        while number < self.count:
            done = self.done(number)
            end = number * SEGMENT + done
            if done < self.length(number):
                return max(at, end)
            number += 1
        return max(at, self.size)

    def come(self) -> int:
        """Bytes that are there."""
        return sum(map(self.done, range(self.count))) if self._is_known() else 0

    # what readers wait for

    def want(self, at: int) -> None:
        """Somebody waits for this byte."""
        self._wanted[at // SEGMENT] = 1

    def wanted(self) -> list[int]:
        """Segments that somebody waited for and that are not whole."""
        marks = bytes(self._wanted)
        found, number = [], marks.find(1)
        while number != -1:
            if self.done(number) < self.length(number):
                found.append(number)
            else:
                self._wanted[number] = 0
            number = marks.find(1, number + 1)
        return found


def sweep(directory: Path, disk: Disk) -> int:
    """
    Remove what nobody has gone on with for a day; how many files that was. Only for a process that knows no other one
    writes here: the server, at start, under its lock.
    """
    since = time.time() - _KEPT
    old = [path for path in directory.iterdir() if path.stat().st_mtime < since]
    for path in old:
        disk.remove(path)
    return len(old)
