"""Files of mirrored repos whose content is not here: what their flights need of rows and of upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from hubreg.errors import UpstreamFailed
from hubreg.mirror.distant import Distant
from hubreg.mirror.fetching import Wanted
from hubreg.mirror.flights import Flight, Flights
from hubreg.mirror.sync import Mirror
from hubreg.mirror.uses import Uses
from hubreg.model import CommitId, Entry, RepoType, Sha256
from hubreg.store import mirror as rows
from hubreg.store.blobs import Content
from hubreg.store.local import LocalBlobs
from hubreg.store.repos import Repo

if TYPE_CHECKING:
    from hubreg.mirror.transport import Body, Transport


def wanted(entry: Entry) -> Wanted:
    """A file's content by what upstream says of it: a regular file's oid is that of its bytes, a large one's is not."""
    return Wanted(entry.size, entry.sha256, None if entry.lfs else entry.oid)


@dataclass(frozen=True, slots=True)
class Place:
    """A file of a mirrored repo at a commit, as the source of its content."""

    contents: Contents
    repo: Repo
    commit: CommitId
    entry: Entry

    @asynccontextmanager
    async def open(self, start: int, end: int) -> AsyncIterator[Body]:
        """As `fetching.Source`."""
        mirror, repo = self.contents.mirror, self.repo
        hub, rule = await mirror.sources.hub(repo.upstream_id), await mirror.sources.rule_of(repo)
        if hub is None:
            raise UpstreamFailed(f"The upstream that {repo.ref.full} comes from is not asked any more.")
        if rule is None or not rule.asks:
            raise UpstreamFailed(
                f"{self.entry.path} of {repo.ref.full} is not here, and upstream is not to be asked."
            )
        kind = "" if repo.ref.type is RepoType.MODEL else f"{repo.ref.type.plural}/"
        path = f"/{kind}{quote(repo.upstream_name)}/resolve/{self.commit}/{quote(self.entry.path)}"
        token = await mirror.rights.token(repo)
        opened = self.contents.transport.open(hub.upstream, path, token=token or None, start=start, end=end)
        async with opened as body:
            yield body

    async def find(self) -> Sha256 | None:
        """
        Likewise. Only what came from an upstream counts: that a hosted repo has content of a sha256 is no reason to
        give it to whoever can name the sha256.
        """
        db, digest = self.contents.mirror.db, self.entry.sha256
        if digest is None:
            known = await rows.files(db, self.repo.upstream_id or 0, [self.entry.oid])
            digest = known[self.entry.oid].sha256 if self.entry.oid in known else None
        if not digest or not await rows.blobs(db, [digest]):
            return None
        return digest if await self.contents.blobs.size(digest) == self.entry.size else None

    async def landed(self, content: Content) -> None:
        """Likewise."""
        await self.contents.mirror.landed(self.repo, self.entry, content.sha256)


@dataclass(frozen=True, slots=True)
class Contents:
    mirror: Mirror
    flights: Flights
    transport: Distant | Transport
    blobs: LocalBlobs
    uses: Uses

    def arriving(self, repo: Repo, commit: CommitId, entry: Entry) -> AbstractAsyncContextManager[Flight]:
        """The content of a file that is not here, as it comes. Whether the caller may have it was asked before."""
        return self.flights.join(wanted(entry), Place(self, repo, commit, entry))

    def is_distrusted(self, entry: Entry) -> bool:
        """Whether somebody may have got a wrong beginning of it: see `Flights.is_distrusted`."""
        return self.flights.is_distrusted(wanted(entry))

    def used(self, entry: Entry, whole: bool) -> None:
        """A file that is here is sent, or, unless `whole`, a part of it that is not its beginning."""
        if entry.sha256 is not None:
            self.uses.use(entry.sha256, whole=whole)
