"""
`Transport`, loaded when something is first asked of an upstream: a server that mirrors nothing is smaller by some 15 MB
for it, and starts sooner.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hubreg.store.mirror import Upstream
from hubreg.store.threads import run_in

if TYPE_CHECKING:
    from hubreg.mirror.transport import Answer, Body, Transport


class Distant:
    """One per process, as `Transport` is; it does what that does."""

    def __init__(self) -> None:
        self._made: list[Transport] = []  # one, once it is loaded

    async def close(self) -> None:
        for transport in self._made:
            await transport.close()

    async def call(
        self,
        upstream: Upstream,
        method: str,
        path: str,
        *,
        token: str | None,
        json: bytes | None = None,
        limit: int,
        timeout: float,  # noqa: ASYNC109 it covers connecting and every redirect
    ) -> Answer:
        """`Transport.call`."""
        transport = await self._loaded()
        return await transport.call(
            upstream, method, path, token=token, json=json, limit=limit, timeout=timeout
        )

    @asynccontextmanager
    async def open(
        self, upstream: Upstream, path: str, *, token: str | None, start: int = 0, end: int | None = None
    ) -> AsyncIterator[Body]:
        """`Transport.open`."""
        transport = await self._loaded()
        async with transport.open(upstream, path, token=token, start=start, end=end) as body:
            yield body

    async def _loaded(self) -> Transport:
        if not self._made:
            kind = await run_in(None, _load)
            if not self._made:  # by another call, meanwhile
                self._made.append(kind())
        return self._made[0]


def _load() -> type[Transport]:
    from hubreg.mirror.transport import Transport

    return Transport
