"""
Content-addressed bytes: the seam between hubreg and whatever disk or bucket keeps them.

A blob is named by the sha256 of its content, never changes, and is either wholly there or not there. What arrives is
hashed on the way, and published only under the name that its bytes have. `tests/store/test_blobs.py` is the promise in
full, and every backend runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hubreg.model import Oid, Sha256

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """What the bytes of an upload turned out to be; `oid` is git's name of them as a blob, where it was asked for."""

    sha256: Sha256
    size: int
    oid: Oid | None = None


class Sink(Protocol):
    """Takes bytes in order. Blocks: to be called in a thread, or with little."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...


class Part(Sink, Protocol):
    """A part of a multipart upload being written."""

    def etag(self) -> str:
        """The backend's name of the bytes written: equal bytes, equal name."""
        ...


class Upload(Sink, Protocol):
    """A blob being written. Leaving its context without `publish` throws it away."""

    async def publish(
        self, expected: Sha256 | None = None, size: int | None = None, *, git: bool = False
    ) -> Content:
        """
        Make the blob durable and visible. Raises `Damaged` if it is not what was expected, or if a write failed
        before; publishing what is there already is fine. `git` also finds the blob's git oid: a second hash, so only
        where git holds the content.
        """
        ...


class Blobs(Protocol):
    """What hubreg asks of a blob backend. All of it may be called from many tasks at once."""

    async def size(self, digest: Sha256) -> int | None:
        """The blob's size in bytes, or None where there is no such blob."""
        ...

    def path(self, digest: Sha256) -> Path | None:
        """A file to send the blob from, where the backend has one. It may not be there: ask `size`, or open it."""
        ...

    def read(self, digest: Sha256, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """
        The bytes from `start` up to `end`, in chunks of at most `CHUNK`. Raises `Damaged` where there is no such
        blob: its name was read from a row, so it should be there.
        """
        ...

    async def get(self, digests: Sequence[Sha256]) -> list[bytes]:
        """Several small blobs together, each whole, in the order asked. Raises `Damaged` where one is not there."""
        ...

    def create(self) -> AbstractAsyncContextManager[Upload]: ...

    async def put(self, contents: Sequence[bytes]) -> list[Content]:
        """Publish several small blobs together, with their git oids; durable when this returns."""
        ...

    def part(self, upload_id: str, offset: int) -> Part:
        """
        Where the part of a multipart upload that begins at `offset` is written; may be written again. What is
        written while the parts are put together, or after, is no part of the blob.
        """
        ...

    async def assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        """
        Publish what the parts have made; once more is fine, until `drop_parts`. Raises `Damaged` if that is not what
        was expected; the parts stay.
        """
        ...

    async def drop_parts(self, upload_id: str) -> None:
        """Forget an upload: given up, or put together and recorded."""
        ...

    async def delete(self, digest: Sha256) -> None:
        """Remove the blob. Removing one that is not there is fine: a collector may run twice."""
        ...
