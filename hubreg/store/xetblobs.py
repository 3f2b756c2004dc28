"""
Content by sha256, however it is kept: as one plain file, or as terms over xorbs, where it came by Xet.

Readers do not see which. Where there are both, the plain file is read: it needs no unpacking and goes to the socket
without a copy. Writing makes plain files; what comes by Xet comes through `store.xorbs`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from hubreg.errors import Damaged
from hubreg.formats.terms import Terms
from hubreg.model import Sha256
from hubreg.store import xet
from hubreg.store.blobs import Blobs, Content, Part, Upload
from hubreg.store.db import Database
from hubreg.store.xorbs import Xorbs


class XetBlobs:
    """`Blobs` over plain ones and xorbs; it owns neither."""

    def __init__(self, plain: Blobs, xorbs: Xorbs, db: Database) -> None:
        self._plain, self._xorbs, self._db = plain, xorbs, db

    async def size(self, digest: Sha256) -> int | None:
        found = await self._plain.size(digest)
        if found is not None:
            return found
        terms = await self._find(digest)
        return terms.size if terms is not None else None

    def path(self, digest: Sha256) -> Path | None:
        found = self._plain.path(digest)
        return found if found is not None and found.exists() else None

    async def read(self, digest: Sha256, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if await self._plain.size(digest) is None:
            terms = await self._find(digest)
            if terms is None:
                raise Damaged(f"The content of {digest} is missing.")
            end = terms.size if end is None else min(end, terms.size)
            async for piece in self._xorbs.read(terms, start, end):
                yield piece
            return
        async for piece in self._plain.read(digest, start, end):
            yield piece

    async def get(self, digests: Sequence[Sha256]) -> list[bytes]:
        missing = [digest for digest in digests if await self._plain.size(digest) is None]
        unpacked = {digest: b"".join([piece async for piece in self.read(digest)]) for digest in set(missing)}
        found = iter(await self._plain.get([digest for digest in digests if digest not in unpacked]))
        return [unpacked[digest] if digest in unpacked else next(found) for digest in digests]

    async def _find(self, digest: Sha256) -> Terms | None:
        hash_ = (await xet.hashes(self._db, [digest])).get(digest)
        file = await xet.find_file(self._db, hash_) if hash_ is not None else None
        return Terms(file.terms) if file is not None else None

    # writing

    def create(self) -> AbstractAsyncContextManager[Upload]:
        return self._plain.create()

    async def put(self, contents: Sequence[bytes]) -> list[Content]:
        return await self._plain.put(contents)

    def part(self, upload_id: str, offset: int) -> Part:
        return self._plain.part(upload_id, offset)

    async def assemble(self, upload_id: str, expected: Sha256, size: int) -> Content:
        return await self._plain.assemble(upload_id, expected, size)

    async def drop_parts(self, upload_id: str) -> None:
        await self._plain.drop_parts(upload_id)

    async def delete(self, digest: Sha256) -> None:
        """Remove the plain file. Xorbs are not one file's: the collector removes them."""
        await self._plain.delete(digest)
