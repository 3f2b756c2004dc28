"""
Xet, the part of it that a hub shows: by which hash a file is offered, next to the four use cases behind it.

A file is offered by Xet once its content is known as terms over xorbs; until then, and for whoever does not speak Xet,
it is the same file by plain HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hubreg.hub.xet_dedup import XetDedup
from hubreg.hub.xet_reconstruction import Reconstructions
from hubreg.hub.xet_tokens import XetTokens
from hubreg.hub.xet_uploads import XetUploads
from hubreg.model import Entry, XetHash
from hubreg.store import xet
from hubreg.store.db import Database


@dataclass(frozen=True, slots=True)
class Xet:
    db: Database
    tokens: XetTokens
    uploads: XetUploads
    reconstructions: Reconstructions
    dedup: XetDedup

    async def hashes(self, entries: Sequence[Entry]) -> list[XetHash | None]:
        """
        By which Xet hash each of these is offered, None where it is not: large files only, for the rights that a token
        looks at are to those, none that is empty, which clients could not fetch, and none whose content is not here.
        """
        large = {e.sha256 for e in entries if e.lfs and e.size and e.here and e.sha256 is not None}
        if not large:
            return [None] * len(entries)
        found = await xet.hashes(self.db, sorted(large))
        return [found.get(e.sha256) if e.lfs and e.here and e.sha256 is not None else None for e in entries]

    async def hash(self, entry: Entry) -> XetHash | None:
        """The same of one file."""
        return (await self.hashes([entry]))[0]
