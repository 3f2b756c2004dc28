"""
How often what came from upstreams was sent: counted in memory and written once in a while, for every write makes all
processes look up again what they hold.
"""

from __future__ import annotations

from hubreg.model import Sha256
from hubreg.store import mirror
from hubreg.store.db import Database


class Uses:
    """Of one process. What was counted since the last `save` is lost with it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: dict[Sha256, int] = {}

    def use(self, sha256: Sha256, *, whole: bool) -> None:
        """
        A content, or a part of it, is sent; it need not be the mirror's. `whole`: from its beginning, which counts as
        once.
        """
        self._counts[sha256] = self._counts.get(sha256, 0) + whole

    async def save(self) -> None:
        counts, self._counts = self._counts, {}
        if not counts or not await mirror.blobs(self._db, list(counts)):
            return  # nothing of it is the mirror's
        try:
            async with self._db.write() as tx:
                await mirror.use_blobs(tx, counts)
        except BaseException:
            for sha256, times in counts.items():
                self._counts[sha256] = self._counts.get(sha256, 0) + times
            raise
