"""What has happened to a repo: its commits, and what lies between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hubreg.errors import RevisionNotFound, TooLarge
from hubreg.formats import gitobjects, lfs, textdiff
from hubreg.formats.gitobjects import Change, TreeEntry
from hubreg.hub.snapshots import Snapshots
from hubreg.identity.access import Access
from hubreg.mirror.sync import Mirror
from hubreg.model import Action, Actor, CommitId, Oid
from hubreg.store import objects
from hubreg.store.db import Database
from hubreg.store.fresh import Bounded
from hubreg.store.objects import Commit, File
from hubreg.store.repos import Repo

# Of one diff. Nobody reads more, and anybody may ask.
_DIFF_FILES = 300
_DIFF_BYTES = 16 << 20
_HELD = 8 << 20  # characters of diffs that are kept for whoever asks next


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
    mirror: Mirror
    # A diff may take a second of a core: two at a time, whoever asks, and none twice.
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2), init=False)
    _texts: Bounded[tuple[Oid, Oid], str] = field(
        default_factory=lambda: Bounded(_HELD, lambda text: len(text) + 200), init=False
    )

    async def commits(
        self, actor: Actor, repo: Repo, revision: str, skip: int = 0, limit: int = 50
    ) -> tuple[list[Commit], int]:
        """Commits from a revision towards the root, newest first, and how many there are in all."""
        self.access.require(actor, Action.READ, repo)
        if repo.upstream_id is not None:
            return await self.mirror.history(repo, await self.snapshots.resolve(repo, revision), skip, limit)
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
        self.access.require(actor, Action.READ, repo)
        old, new = await self.snapshots.at(repo, base), await self.snapshots.at(repo, head)
        return await self._text(old.tree, new.tree)

    async def commit(self, actor: Actor, repo: Repo, revision: str) -> tuple[Commit, str]:
        """One commit, and what it changed against its first parent as a diff; "" where that would be too much."""
        self.access.require(actor, Action.READ, repo)
        snapshot = await self.snapshots.at(repo, revision)
        row = await objects.find_commit(self.db, repo.id, snapshot.commit)
        if row is None:
            raise RevisionNotFound(f"Invalid rev id: {revision}")
        parent = await self.snapshots.of(repo, row.parent) if row.parent is not None else None
        try:
            return row, await self._text(parent.tree if parent else gitobjects.EMPTY_TREE, row.tree)
        except TooLarge:
            return row, ""

    async def _text(self, old: Oid, new: Oid) -> str:
        """What differs between two trees. Raises `TooLarge`, before the work is done."""
        text = self._texts.get((old, new))
        if text is None:
            async with self._turns:
                text = self._texts.get((old, new))  # which somebody else may have made meanwhile
                if text is None:
                    text = await self._made(await self.snapshots.drive(gitobjects.diff(old, new)))
                    self._texts.put((old, new), text)
        return text

    async def _made(self, changes: Sequence[Change]) -> str:
        if len(changes) > _DIFF_FILES:
            raise TooLarge(
                f"{len(changes)} files differ, too many for a diff in text.",
                hint="Ask without `raw` for the list of files.",
            )
        sides = [side for change in changes for side in (change.old, change.new) if side is not None]
        files = await self.snapshots.blobs({side.oid for side in sides})
        compared = [file for file in (files[side.oid] for side in sides) if _is_compared(file)]
        if sum(file.size for file in compared) > _DIFF_BYTES:
            raise TooLarge(
                "The files that differ are too large for a diff in text.",
                hint="Ask without `raw` for the list of files.",
            )
        read = {file.sha256: await self.snapshots.blob(file.sha256) for file in compared}
        budget = textdiff.Budget()

        def version(entry: TreeEntry | None) -> textdiff.Version | None:
            if entry is None:
                return None
            file = files[entry.oid]
            content = lfs.render_pointer(file.sha256, file.size) if file.lfs else read.get(file.sha256)
            return textdiff.Version(entry.oid, entry.mode, content)

        def made() -> str:
            return "".join(textdiff.unified(c.path, version(c.old), version(c.new), budget) for c in changes)

        return await asyncio.to_thread(made)


def _is_compared(file: File) -> bool:
    """Whether its lines are; large files are by their pointers, others of this size are only said to differ."""
    return not file.lfs and file.size <= textdiff.MAX_SIZE
