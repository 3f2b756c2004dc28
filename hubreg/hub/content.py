"""Which bytes a name stands for: repo, revision and path to one entry at one commit."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.hub.repos import Repos
from hubreg.hub.snapshots import Snapshots
from hubreg.model import Action, Actor, CommitId, Entry, RepoType
from hubreg.store.repos import Repo


@dataclass(frozen=True, slots=True)
class Located:
    """`exact`: the revision that was asked for is the whole commit id, so the answer holds for ever."""

    repo: Repo
    commit: CommitId
    entry: Entry
    exact: bool


@dataclass(frozen=True, slots=True)
class Content:
    repos: Repos
    snapshots: Snapshots

    async def locate(self, actor: Actor, type_: RepoType, name: str, revision: str, path: str) -> Located:
        """
        The file at a path; a folder is none. Raises what `Repos.find` raises for reading, `RevisionNotFound`, and
        `EntryNotFound` with the commit in its headers.
        """
        repo = await self.repos.find(actor, type_, name, Action.READ)
        snapshot = await self.snapshots.at(repo, revision)
        entry = await self.snapshots.entry(snapshot, path)
        return Located(repo, snapshot.commit, entry, revision.lower() == snapshot.commit)
