"""
Contents on their way here: one flight each, however many ask for it, in whatever process.

The first who asks begins it; it goes on when they leave. Everybody is given bytes as soon as they are there, but for
the last ones of the file: those only when the whole is known to be what upstream said it is. So nobody completes a
file that is wrong, and nothing wrong is kept. Who asks for a part that ends before them has bytes of which only the
length is known.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from hubreg.errors import (
    HubregError,
    StorageFull,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from hubreg.mirror.fetching import CONNECTIONS, Fetching, Source, Wanted
from hubreg.mirror.growing import Growing, Status
from hubreg.model import Sha256
from hubreg.store.blobs import CHUNK, Content
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.threads import run_in

logger = logging.getLogger(__name__)

HELD_BACK = 64 << 10  # bytes at the end of a file that nobody gets before all of it is known to be right
_POLL = 0.01  # seconds between two looks at what another process fetches
_DISTRUST = 3600  # seconds for which whoever has a part of a file may have a wrong one
_THREADS = 8
_KINDS: dict[int, type[HubregError]] = {
    error.status: error
    for error in (StorageFull, UpstreamFailed, UpstreamUnreachable, UpstreamTimeout, UpstreamBusy)
}


class Flight:
    """One content on its way, in this process. `windows` is for readers; all else is for `Flights`."""

    def __init__(self, flights: Flights, wanted: Wanted, source: Source) -> None:
        self.wanted, self.source = wanted, source
        self.readers = 0
        self._flights = flights
        self._growing: Growing | None = None
        self._opened: list[
            Growing
        ] = []  # all stay open until nobody reads: a descriptor must not become another file
        self._blob = -1
        self._event = asyncio.Event()
        self._failure: BaseException | None = None
        self._right = False
        self._given = False  # somebody has bytes of which nobody knows yet whether they are right
        self.task = asyncio.create_task(self._run())

    # for readers

    @property
    def descriptor(self) -> int:
        """What a window is read from: while it is handled, and before the next one is asked for."""
        return self._blob if self._blob != -1 or self._growing is None else self._growing.descriptor

    async def windows(self, start: int, end: int) -> AsyncIterator[tuple[int, int]]:
        """
        Ranges of the file, one behind the other from `start` to `end`, each as soon as there is something of it.
        Raises why there will be no more.
        """
        at = start
        while at < end:
            event = self._event
            reach = min(end, self._reach(at))
            if reach > at:
                self._given = self._given or not self._right
                yield at, reach
                at = reach
            elif self._failure is not None:
                raise self._failure
            else:
                if self._growing is not None and not self._right:
                    self._growing.want(at)
                await event.wait()

    async def ended(self, seconds: float) -> bool:
        """Whether all of it is here and right, looked at after at most so many seconds. Raises why it will not be."""
        await asyncio.wait([self.task], timeout=seconds)
        if self._failure is not None:
            raise self._failure
        return self.task.done()

    @property
    def progress(self) -> int:
        """Bytes that are there."""
        return self.wanted.size if self._right else self._growing.come() if self._growing else 0

    def _reach(self, at: int) -> int:
        if self._right:
            return self.wanted.size
        if self._growing is None or self._failure is not None:
            return at
        return min(self._growing.reach(at), max(0, self.wanted.size - HELD_BACK))

    # flying

    def _move(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def _run(self) -> None:
        try:
            while not await self._try():
                pass
        except asyncio.CancelledError:
            self._failure = UpstreamUnreachable("The server stops; what has come of this file is kept.")
        except HubregError as error:
            self._failure = error
        except Exception as error:
            logger.exception("a flight failed", extra={"content": self.wanted.key})
            self._failure = error
        finally:
            self._move()
            self._flights.ended(self)

    async def _try(self) -> bool:
        """Lead, or follow whoever leads; False where the part was another flight's, which has ended in between."""
        if (digest := await self.source.find()) is not None:
            return self._use(digest)
        self._flights.require_room(self.wanted)
        layout, key = self._flights.layout, self.wanted.key
        part, state = layout.flight(key, "part"), layout.flight(key, "state")
        growing = self._growing = Growing(part, state, self.wanted.size, self._flights.disk)
        self._opened.append(growing)
        while not growing.try_to_lead():
            if await self._follow(growing):
                return True
        try:
            if not growing.is_current():
                return self._ended(growing) or self._begin_anew()
            if (digest := await self.source.find()) is not None:
                growing.discard()
                return self._use(digest)
            growing.begin()
            self._move()
            await self._lead(growing)
        finally:
            growing.let_go()
        return True

    def _begin_anew(self) -> bool:
        """Not for those who have bytes of another part, which nobody will ever judge."""
        if self._given:
            raise UpstreamUnreachable("The download of this file was given up. Ask again.")
        return False

    def _use(self, digest: Sha256) -> bool:
        """It is here: read it as it is."""
        self._begin_anew()
        self._blob = os.open(self._flights.layout.blob(digest), os.O_RDONLY)
        self._right = True
        return True

    async def _follow(self, growing: Growing) -> bool:
        """Look on for a moment; True when it has ended well."""
        if self._ended(growing):
            return True
        await asyncio.sleep(_POLL)
        self._move()
        return False

    def _ended(self, growing: Growing) -> bool:
        """Whether another process has all of it, and right. Raises why it has not, once it has given up."""
        status = growing.status
        if status is Status.WRONG or status is Status.FAILED:
            error, message = growing.failure
            raise _KINDS.get(error, UpstreamFailed)(message)
        self._right = status is Status.RIGHT
        return self._right

    async def _lead(self, growing: Growing) -> None:
        flights, wanted = self._flights, self.wanted
        fetching = Fetching(growing, self.source, flights.threads, self._move, lambda: self._event)
        try:
            sha256, oid = await fetching.fetch(wanted, flights.connections)
        except HubregError as error:
            growing.settle(Status.FAILED, error.status, error.message)
            raise
        if (wanted.sha256 or sha256) != sha256 or (wanted.sha256 is None and wanted.oid != oid):
            wrong = UpstreamFailed("The upstream sent other bytes than it said. Nothing of them was kept.")
            flights.distrust(wanted)
            growing.settle(Status.WRONG, wrong.status, wrong.message)
            growing.discard()
            raise wrong
        growing.settle(Status.RIGHT)
        self._right = True
        self._move()
        await run_in(flights.threads, flights.publish, growing, wanted, sha256)
        await self.source.landed(Content(sha256, wanted.size, wanted.oid))

    def close(self) -> None:
        """Nobody reads it any more, and it has ended."""
        self._growing = None
        while self._opened:
            self._opened.pop().close()
        if self._blob != -1:
            os.close(self._blob)
            self._blob = -1


class Flights:
    """All of this process. One per process and event loop."""

    def __init__(self, layout: Layout, blobs: LocalBlobs, *, connections: int = CONNECTIONS) -> None:
        self.layout, self.blobs, self.connections = layout, blobs, connections
        self.disk = blobs.disk
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="hubreg-flight")
        self._flying: dict[str, Flight] = {}

    async def close(self) -> None:
        """Stop all of them; what has come is kept for the next start."""
        tasks = [flight.task for flight in self._flying.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self.threads.shutdown(wait=True)

    @asynccontextmanager
    async def join(self, wanted: Wanted, source: Source) -> AsyncIterator[Flight]:
        """The flight of a content, for a reader; begun where there is none. It goes on when the reader has left."""
        flight = self._flying.get(wanted.key)
        if flight is None:
            flight = self._flying[wanted.key] = Flight(self, wanted, source)
        flight.readers += 1
        try:
            yield flight
        finally:
            flight.readers -= 1
            self._close(flight)

    async def read(
        self, wanted: Wanted, source: Source, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in chunks of at most `CHUNK`, as they come."""
        async with self.join(wanted, source) as flight:
            async for at, reach in flight.windows(start, wanted.size if end is None else end):
                for offset in range(at, reach, CHUNK):
                    count = min(CHUNK, reach - offset)
                    yield await run_in(self.threads, os.pread, flight.descriptor, count, offset)

    def ended(self, flight: Flight) -> None:
        if self._flying.get(flight.wanted.key) is flight:
            del self._flying[flight.wanted.key]
        self._close(flight)

    def _close(self, flight: Flight) -> None:
        if not flight.readers and self._flying.get(flight.wanted.key) is not flight:
            flight.close()

    # what is kept

    def require_room(self, wanted: Wanted) -> None:
        """Before the first byte: a file that would not fit is not begun. Raises `StorageFull`."""
        about = os.statvfs(self.layout.flights)
        come = 0
        with suppress(FileNotFoundError):
            come = self.layout.flight(wanted.key, "part").stat().st_blocks * 512
        if about.f_bavail * about.f_frsize < wanted.size - come:
            raise StorageFull(StorageFull.MESSAGE)

    def publish(self, growing: Growing, wanted: Wanted, digest: Sha256) -> None:
        """Make it a blob. Blocks."""
        growing.sync()
        growing.drop_state()  # before: a state without its part says nothing, the other way round it could lie
        final = self.layout.blob(digest)
        self.blobs.place(self.layout.flight(wanted.key, "part"), final)
        self.disk.sync_directory(final.parent)

    def distrust(self, wanted: Wanted) -> None:
        """Note that somebody may have a part of this content that is wrong."""
        self.disk.close(self.disk.open(self.layout.flight(wanted.key, "wrong")))
        os.utime(self.layout.flight(wanted.key, "wrong"))

    def is_distrusted(self, wanted: Wanted) -> bool:
        """
        Whether somebody may have got a wrong beginning of it lately: who goes on from a byte on is then to be given
        the whole from the first one (PITFALLS 22).
        """
        with suppress(FileNotFoundError):
            return time.time() - self.layout.flight(wanted.key, "wrong").stat().st_mtime < _DISTRUST
        return False
