"""
What the leader of a flight does: fetch all of a file by several connections, hash it as it comes, and say whether it is
what it should be.

A file is fetched in runs of segments, each by one request for just that range: what upstream sends is what is missing.
Runs are taken from the front, but for segments that a reader waits for. A connection that is cut is gone on from where
it was cut, by another request, so by a fresh URL (PITFALLS 23).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hubreg.errors import StorageFull, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from hubreg.formats.gitobjects import BlobHash
from hubreg.mirror.growing import SEGMENT, Growing
from hubreg.model import Oid, Sha256
from hubreg.store.blobs import Content
from hubreg.store.threads import run_in

if TYPE_CHECKING:
    from hubreg.mirror.transport import Body

CONNECTIONS = 4  # of a large file: CDNs limit what one gets
_LARGE = 64 << 20
_RUN = 2  # segments of a request at least
_RUNS = 256  # requests for a file at most, unless they are cut: there are quotas
_PAUSES = (
    0.1,
    0.3,
    0.7,
    1.5,
)  # seconds after tries that bring nothing: together less than clients wait for a byte
_HASHED = 4 << 20  # bytes that one trip to a thread hashes


class Source(Protocol):
    """Where a content comes from, and who is told when it has come."""

    def open(self, start: int, end: int) -> AbstractAsyncContextManager[Body]:
        """Its bytes from `start` up to `end`, from a fresh URL."""
        ...

    async def find(self) -> Sha256 | None:
        """The content's name, where it is here already as a file."""
        ...

    async def landed(self, content: Content) -> None:
        """It is a blob now, durably."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    A content by what upstream says of it: its size, and its sha256, or its git oid where that is all it says.
    """

    size: int
    sha256: Sha256 | None = None
    oid: Oid | None = None

    @property
    def key(self) -> str:
        """A name for files. The size is part of it: who lies about one makes no flight of others fail."""
        return f"{self.sha256 or self.oid}-{self.size}"


@dataclass(slots=True)
class Runs:
    """Which part of the file is fetched next. Segments that are `taken` are on their way."""

    growing: Growing
    taken: set[int] = field(default_factory=set)

    def take(self, *, wanted: bool = False) -> range | None:
        """Segments to fetch, in order; None where none is free. `wanted`: only what a reader waits for."""
        first = next((number for number in self.growing.wanted() if self._is_free(number)), None)
        if first is None and not wanted:
            first = next((number for number in range(self.growing.count) if self._is_free(number)), None)
        if first is None:
            return None
        most = 1 if wanted else max(_RUN, -(-self.growing.count // _RUNS))
        last = first + 1
        while (
            last < min(self.growing.count, first + most)
            and self._is_free(last)
            and not self.growing.done(last)
        ):
            last += 1
        run = range(first, last)
        self.taken.update(run)
        return run

    def give_back(self, run: range) -> None:
        self.taken.difference_update(run)

    def _is_free(self, number: int) -> bool:
        return number not in self.taken and self.growing.done(number) < self.growing.length(number)


class Fetching:
    """One flight as its leader sees it. `moved` is called whenever there is more; `moves` waits for that."""

    def __init__(
        self,
        growing: Growing,
        source: Source,
        threads: Executor,
        moved: Callable[[], None],
        moves: Callable[[], asyncio.Event],
    ) -> None:
        self._growing, self._source, self._threads = growing, source, threads
        self._moved, self._moves = moved, moves
        self._runs = Runs(growing)
        self._ended = False

    async def fetch(self, wanted: Wanted, connections: int) -> tuple[Sha256, Oid]:
        """
        All of it; what it turned out to be, by both names. Raises why it cannot be had: `UpstreamFailed` and its kinds,
        `StorageFull`. What has come stays.
        """
        count = connections if wanted.size >= _LARGE else 1
        try:
            async with asyncio.TaskGroup() as tasks:
                hashing = tasks.create_task(self._hash(git=wanted.sha256 is None))
                jumping = tasks.create_task(self._jump())
                working = [tasks.create_task(self._work()) for _ in range(count)]
                await asyncio.wait(working)
                self._ended = True
                self._moved()
                await asyncio.wait([jumping])
            return hashing.result()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    # connections

    async def _work(self) -> None:
        while (run := self._runs.take()) is not None:
            await self._fetch_run(run)

    async def _jump(self) -> None:
        """One connection more, for readers that are ahead of the others."""
        while not self._ended:
            moves = self._moves()
            run = self._runs.take(wanted=True)
            if run is None:
                await moves.wait()
            else:
                await self._fetch_run(run)

    async def _fetch_run(self, run: range) -> None:
        growing = self._growing
        at = run.start * SEGMENT + growing.done(run.start)
        end = (run.stop - 1) * SEGMENT + growing.length(run.stop - 1)
        vain = 0
        try:
            while at < end:
                before, failure = at, None
                try:
                    at = await self._fetch_range(at, end)
                except (UpstreamUnreachable, UpstreamTimeout) as error:
                    at = max(at, self._come(at, end))
                    failure = error
                if at >= end:
                    break
                vain = vain + 1 if at == before else 0
                if vain > len(_PAUSES):
                    raise failure or UpstreamUnreachable("The upstream sends files that end early.")
                await asyncio.sleep(_PAUSES[max(0, vain - 1)])
        finally:
            self._runs.give_back(run)

    def _come(self, at: int, end: int) -> int:
        return min(end, self._growing.reach(at))

    async def _fetch_range(self, at: int, end: int) -> int:
        """What one request brings; up to where that is."""
        async with self._source.open(at, end) as body:
            if body.start > at or body.size not in (None, self._growing.size):
                raise UpstreamFailed(
                    "The upstream sends a file of another size than it said, or another part of it."
                )
            place = (
                body.start
            )  # before `at` where ranges are not known there: what is here already is passed over
            async for chunk in body.chunks():
                view = memoryview(chunk)[max(0, at - place) : max(0, end - place)]
                place += len(chunk)
                if view:
                    await self._write(view, at)
                    at += len(view)
                    self._moved()
                if at >= end:
                    break
        return at

    async def _write(self, view: memoryview, at: int) -> None:
        try:
            await run_in(self._threads, self._growing.write, view, at)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StorageFull(StorageFull.MESSAGE) from error
            raise

    # hashing

    async def _hash(self, *, git: bool) -> tuple[Sha256, Oid]:
        """In order, behind what is there without a gap."""
        growing, at = self._growing, 0
        found = hashlib.sha256()
        blob = BlobHash(growing.size)

        def take(start: int, end: int) -> int:
            while start < end:
                data = os.pread(growing.descriptor, min(1 << 20, end - start), start)
                found.update(data)
                if git:
                    blob.update(data)
                start += len(data)
            return start

        while at < growing.size:
            moves = self._moves()
            reach = min(growing.reach(at), at + _HASHED)
            if reach - at < min(1 << 20, growing.size - at):
                await moves.wait()
            else:
                at = await run_in(self._threads, take, at, reach)
        return Sha256(found.hexdigest()), blob.oid() if git else Oid("")
