"""Flights without rows, and a process of its own that has one: what `test_flights.py` needs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hubreg.mirror.fetching import Wanted
from hubreg.mirror.flights import Flights
from hubreg.mirror.transport import Body, Transport
from hubreg.model import Sha256
from hubreg.store.blobs import Content
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.mirror import Upstream


@dataclass
class Rows:
    """What has landed."""

    blobs: LocalBlobs
    landings: list[Content] = field(default_factory=list)

    async def find(self, wanted: Wanted) -> Sha256 | None:
        digest = wanted.sha256
        if digest is None:
            digest = next((one.sha256 for one in self.landings if one.oid == wanted.oid), None)
        return digest if digest is not None and await self.blobs.size(digest) is not None else None


@dataclass(frozen=True)
class From:
    """A file of the stand-in."""

    rows: Rows
    wanted: Wanted
    transport: Transport
    upstream: Upstream
    path: str

    def open(self, start: int, end: int) -> AbstractAsyncContextManager[Body]:
        return self.transport.open(self.upstream, self.path, token=None, start=start, end=end)

    async def find(self) -> Sha256 | None:
        return await self.rows.find(self.wanted)

    async def landed(self, content: Content) -> None:
        self.rows.landings.append(content)


@dataclass
class Base:
    """One process's flights over a data directory."""

    flights: Flights
    rows: Rows
    transport: Transport

    def source(self, wanted: Wanted, url: str, path: str) -> From:
        return From(self.rows, wanted, self.transport, Upstream(1, "hub", url, hosts=("127.0.0.2",)), path)


@asynccontextmanager
async def base(data: Path, disk: Disk | None = None) -> AsyncIterator[Base]:
    layout = Layout(data)
    layout.prepare()
    blobs = LocalBlobs(layout, disk)
    rows = Rows(blobs)
    transport = Transport(silence=5)
    flights = Flights(layout, blobs)
    try:
        yield Base(flights, rows, transport)
    finally:
        await flights.close()
        await transport.close()
        blobs.close()


async def main(data: str, url: str, path: str, size: str, sha256: str) -> None:
    """Read a file from a flight; say `begun` with its first byte, and how many there were."""
    async with base(Path(data)) as here:
        count = 0
        wanted = Wanted(int(size), Sha256(sha256))
        async for chunk in here.flights.read(wanted, here.source(wanted, url, path)):
            if not count:
                print("begun", flush=True)
            count += len(chunk)
        print(count, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
