"""Which bytes a name stands for: repo, revision and path to one entry at one commit."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.errors import EntryNotFound
from hubreg.hub.repos import Repos
from hubreg.hub.snapshots import Snapshots
from hubreg.mirror.sync import FOREVER, Freshness, Mirror
from hubreg.model import Action, Actor, CommitId, Entry, EntryKind, RepoType
from hubreg.store.repos import Repo


@dataclass(frozen=True, slots=True)
class Located:
    """
    `exact`: the revision that was asked for is the whole commit id, so the answer holds for ever. `freshness` is of a
    mirrored repo: until when what was found may be taken for so without asking again.
    """

    repo: Repo
    commit: CommitId
    entry: Entry
    exact: bool
    freshness: Freshness = FOREVER


@dataclass(frozen=True, slots=True)
class Content:
    repos: Repos
    snapshots: Snapshots
    mirror: Mirror

    async def locate(self, actor: Actor, type_: RepoType, name: str, revision: str, path: str) -> Located:
        """
        The file at a path; a folder is none. Raises what `Repos.find` raises for reading, `RevisionNotFound`, and
        `EntryNotFound` with the commit in its headers.
        """
        repo = await self.repos.find(actor, type_, name, Action.READ)
        if repo.upstream_id is not None:
            return await self._mirrored(actor, repo, revision, path)
        snapshot = await self.snapshots.at(repo, revision)
        entry = await self.snapshots.entry(snapshot, path)
        return Located(repo, snapshot.commit, entry, revision.lower() == snapshot.commit)

    async def _mirrored(self, actor: Actor, repo: Repo, revision: str, path: str) -> Located:
        """The same of a mirrored repo: nobody waits for a long listing to get one file of it."""
        commit = await self.snapshots.resolve(repo, revision)
        entry = None
        if not await self.mirror.is_complete(repo, commit):
            entry = await self.mirror.entry(repo, commit, path)
        if entry is None:
            entry = await self.snapshots.find_entry(await self.snapshots.of(repo, commit), path)
        if entry is None or entry.kind is EntryKind.DIRECTORY:
            missing = EntryNotFound("Entry not found", headers={"X-Repo-Commit": commit})
            missing.fleeting = True  # what a name means, and who may read, does not hold for ever
            raise missing
        exact = revision.lower() == commit
        freshness = await self.mirror.freshness(actor, repo, None if exact else revision)
        return Located(repo, commit, entry, exact, freshness)
