"""What has happened to a repo: its commits, and what lies between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hubreg.errors import RevisionNotFound, TooLarge
from hubreg.formats import gitobjects, lfs, textdiff
from hubreg.formats.gitobjects import Change, TreeEntry
from hubreg.hub.snapshots import Snapshots
from hubreg.identity.access import Access
from hubreg.model import Action, Actor, CommitId
from hubreg.store import objects
from hubreg.store.db import Database
from hubreg.store.objects import Commit
from hubreg.store.repos import Repo

# A pair of hostile texts costs a fifth of a second, and nobody reads more.
_DIFF_FILES = 300
_DIFF_CHARACTERS = 10 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    base: CommitId
    head: CommitId
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class History:
    db: Database
    access: Access
    snapshots: Snapshots

    async def commits(
        self, actor: Actor, repo: Repo, revision: str, skip: int = 0, limit: int = 50
    ) -> tuple[list[Commit], int]:
        """Commits from a revision towards the root, newest first, and how many there are in all."""
        self.access.require(actor, Action.READ, repo)
        start = await objects.find_commit(self.db, repo.id, await self.snapshots.resolve(repo, revision))
        if start is None:
            raise RevisionNotFound(f"Invalid rev id: {revision}")
        return await objects.history(self.db, repo.id, start.id, skip, limit), start.depth

    async def compare(self, actor: Actor, repo: Repo, base: str, head: str) -> Comparison:
        """The files that differ between two revisions, by path."""
        self.access.require(actor, Action.READ, repo)
        old, new = await self.snapshots.at(repo, base), await self.snapshots.at(repo, head)
        changes = await self.snapshots.drive(gitobjects.diff(old.tree, new.tree))
        return Comparison(old.commit, new.commit, changes)

    async def compare_text(self, actor: Actor, repo: Repo, base: str, head: str) -> str:
        """
        The differences as `git diff` would print them, large files by their pointers.

        Raises `TooLarge` where that would be more than anybody reads: the list of files is there still.
        """
        return await self._text((await self.compare(actor, repo, base, head)).changes)

    async def commit(self, actor: Actor, repo: Repo, revision: str) -> tuple[Commit, str]:
        """One commit, and what it changed against its first parent as a diff; "" where that would be too much."""
        self.access.require(actor, Action.READ, repo)
        snapshot = await self.snapshots.at(repo, revision)
        row = await objects.find_commit(self.db, repo.id, snapshot.commit)
        if row is None:
            raise RevisionNotFound(f"Invalid rev id: {revision}")
        parent = await self.snapshots.of(repo, row.parent) if row.parent is not None else None
        changes = await self.snapshots.drive(gitobjects.diff(parent.tree if parent else None, row.tree))
        try:
            return row, await self._text(changes)
        except TooLarge:
            return row, ""

    async def _text(self, changes: Sequence[Change]) -> str:
        if len(changes) > _DIFF_FILES:
            raise TooLarge(
                f"{len(changes)} files differ, too many for a diff in text.",
                hint="Ask without `raw` for the list of files.",
            )
        parts: list[str] = []
        for change in changes:
            old, new = await self._version(change.old), await self._version(change.new)
            parts.append(await asyncio.to_thread(textdiff.unified, change.path, old, new))
            if sum(map(len, parts)) > _DIFF_CHARACTERS:
                raise TooLarge("The differences are too many for a diff in text.")
        return "".join(parts)

    async def _version(self, entry: TreeEntry | None) -> textdiff.Version | None:
        if entry is None:
            return None
        file = (await self.snapshots.blobs([entry.oid]))[entry.oid]
        content = None
        if file.lfs:
            content = lfs.render_pointer(file.sha256, file.size)
        elif file.size <= textdiff.MAX_SIZE:
            content = await self.snapshots.blob(file.sha256)
        return textdiff.Version(entry.oid, entry.mode, content)
