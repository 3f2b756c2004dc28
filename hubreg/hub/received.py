"""
A push on its way in: its commands and its pack, in a temporary file that has no name, so that nothing is left of it
however its process ends.

What is in the pack is read from there as often as it is needed: an index of it is in memory, its content is not. The
bases of "thin" deltas, which the sender took for granted, are appended to the file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from hubreg.errors import TooLarge
from hubreg.formats import gitwire, lfs, pktline
from hubreg.formats.gitwire import Push
from hubreg.formats.lfs import Pointer
from hubreg.formats.pktline import Packet
from hubreg.formats.unpacking import Limits, Packed, Unpacker
from hubreg.model import Oid
from hubreg.store.threads import run_in

_COMMANDS = 4 << 20  # bytes of commands: some 40 000 refs
_FEED = 64 << 10
_LIGHT = 512 << 10  # bytes that the event loop may inflate and copy by itself: half a millisecond

T = TypeVar("T")


class Received:
    """
    A sink for the body of a push. Then, in this order: `commands`, `unpack`, `admit` what that lacks, `content`.

    `objects` are those of the pack by oid, `pointers` what those of its files that are LFS pointers say.
    """

    def __init__(self, path: Path, most: int, threads: Executor) -> None:
        """`path` is where the file is made, in passing; `most` bytes may be written. The work is done in `threads`."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        path.unlink()
        self._most, self._size, self._pack_at = most, 0, 0
        self._threads = threads
        self.pointers: dict[Oid, Pointer] = {}
        self._unpacker = Unpacker(self._read, 0, 0, Limits())

    def close(self) -> None:
        os.close(self._handle)

    # in a thread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        if self._size + len(view) > self._most:
            raise TooLarge(
                f"A push may have {self._most} bytes.",
                hint="Push older commits first: git push REMOTE COMMIT:BRANCH.",
            )
        self._append(view)

    def _append(self, view: memoryview) -> None:
        while view:
            done = os.pwrite(self._handle, view, self._size)
            self._size, view = self._size + done, view[done:]

    def _read(self, at: int, size: int) -> bytes:
        return os.pread(self._handle, size, at)

    def _packets(self) -> Iterator[Packet]:
        decoder = pktline.Decoder(_COMMANDS)
        at = self._pack_at = 0
        while True:
            packet = decoder.next_packet()
            if packet is not None:
                self._pack_at += len(packet) + 4 if isinstance(packet, bytes) else 4
                yield packet
            elif data := self._read(at, _FEED):
                decoder.feed(data)
                at += len(data)
            else:
                decoder.close()
                return

    # asked

    @property
    def objects(self) -> dict[Oid, Packed]:
        return self._unpacker.objects

    async def commands(self) -> Push:
        """What the push asks for. Raises `Invalid`."""
        return await run_in(None, gitwire.parse_push, self._packets())

    async def unpack(self, limits: Limits) -> list[Oid]:
        """Read the whole pack, and name the bases that it lacks. Raises `Invalid` and `TooLarge`."""
        self._unpacker = Unpacker(self._read, self._pack_at, self._size, limits, self._note)
        await self.in_thread(self._unpacker.scan)
        await self.in_thread(self._unpacker.resolve)
        return self._unpacker.missing()

    def _note(self, packed: Packed, data: bytes) -> None:
        if packed.kind == "blob" and (pointer := lfs.stands_for(data)):
            self.pointers[packed.oid] = pointer

    async def admit(self, oid: Oid, kind: str, data: bytes) -> list[Oid]:
        """Let a base of deltas be used that is not in the pack; the bases that are lacking after it."""
        return await self.in_thread(self._admit, oid, kind, data)

    def _admit(self, oid: Oid, kind: str, data: bytes) -> list[Oid]:
        at = self._size
        self._append(memoryview(zlib.compress(data, 1)))
        self._unpacker.admit(oid, kind, at, len(data))
        self._unpacker.resolve()
        return self._unpacker.missing()

    async def content(self, oid: Oid) -> bytes:
        """What an object of the pack holds, if it is one that `Limits` lets be held."""
        packed = self.objects[oid]
        if self._unpacker.is_light(packed, _LIGHT):
            return self._unpacker.content(packed)
        return await self.in_thread(self._unpacker.content, packed)

    async def contents(self, oids: list[Oid]) -> list[bytes]:
        """Of several together."""
        return await self.in_thread(lambda: [self._unpacker.content(self.objects[oid]) for oid in oids])

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Work on the push, which waits for the work of other pushes, and ends soon where nobody waits for it."""
        return await run_in(self._threads, function, *args, stop=self._unpacker.stop)
