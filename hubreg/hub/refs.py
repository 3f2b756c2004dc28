"""Branches and tags: names for commits, moved by compare-and-swap and only by whoever may write."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.errors import Conflict, Refused, RevisionNotFound
from hubreg.formats import names
from hubreg.hub.commits import Commits
from hubreg.hub.snapshots import MAIN, Snapshots
from hubreg.identity.access import Access
from hubreg.model import Action, Actor, CommitId
from hubreg.store import log, repos
from hubreg.store.db import Database, Tx
from hubreg.store.repos import Repo

Named = tuple[str, str, CommitId]  # name, full ref, commit


@dataclass(frozen=True, slots=True)
class RefList:
    branches: list[Named]
    tags: list[Named]
    converts: list[Named]
    pulls: list[Named]


_KINDS = {"branches": "refs/heads/", "tags": "refs/tags/", "converts": "refs/convert/", "pulls": "refs/pr/"}


@dataclass(frozen=True, slots=True)
class Refs:
    db: Database
    access: Access
    snapshots: Snapshots
    commits: Commits

    async def list(self, actor: Actor, repo: Repo) -> RefList:
        """Every ref by kind; `main` is the first branch, since llama.cpp takes the first one (CLIENTS 2)."""
        self.access.require(actor, Action.KNOW, repo)
        rows = await repos.refs(self.db, repo.id)
        kinds: dict[str, list[Named]] = {
            kind: [(ref.removeprefix(prefix), ref, commit) for ref, commit in rows if ref.startswith(prefix)]
            for kind, prefix in _KINDS.items()
        }
        kinds["branches"].sort(key=lambda named: (named[1] != MAIN, named[0]))
        kinds["pulls"].sort(key=lambda named: int(named[0]))
        return RefList(**kinds)

    async def create_branch(
        self,
        actor: Actor,
        repo: Repo,
        name: str,
        *,
        start: str | None = None,
        empty: bool = False,
        overwrite: bool = False,
    ) -> CommitId:
        """
        A branch at a revision (None: `main`), or with `empty` one with no files and no history.

        Raises `Conflict` where it exists, unless `overwrite`; `RevisionNotFound` for a start that does not.
        """
        self.access.require(actor, Action.WRITE, repo)
        names.check_branch(name)
        ref = f"refs/heads/{name}"
        if empty:
            draft = await self.commits.draft(None, [], {}, "initial commit", ())
            async with self.db.write() as tx:
                await self._refuse_existing(tx, repo, ref, overwrite=overwrite)
                old = await repos.find_ref(tx, repo.id, ref)
                return await self.commits.record(tx, actor, repo, ref, old, draft)
        commit = await self.snapshots.resolve(repo, start)
        async with self.db.write() as tx:
            await self._refuse_existing(tx, repo, ref, overwrite=overwrite)
            await self._point(tx, actor, repo, ref, commit)
        return commit

    async def _refuse_existing(self, tx: Tx, repo: Repo, ref: str, *, overwrite: bool = False) -> None:
        if await repos.find_ref(tx, repo.id, ref) is not None and (not overwrite or ref == MAIN):
            raise Conflict(f"Reference {ref} already exists")

    async def _point(self, tx: Tx, actor: Actor, repo: Repo, ref: str, commit: CommitId) -> None:
        old = await repos.find_ref(tx, repo.id, ref)
        if old != commit:
            await repos.move_ref(tx, repo.id, ref, old, commit)
        await repos.touch(tx, repo.id)
        await log.append(tx, actor, "repo:ref:move", str(repo.ref), ref=ref, old=old, new=commit)

    async def create_tag(
        self, actor: Actor, repo: Repo, name: str, revision: str | None, message: str = ""
    ) -> CommitId:
        """
        A tag at a revision. The revision is looked at before the name (CLIENT_API 1). Raises `Conflict` where the tag
        exists.
        """
        self.access.require(actor, Action.WRITE, repo)
        commit = await self.snapshots.resolve(repo, revision)
        names.check_tag(name)
        ref = f"refs/tags/{name}"
        async with self.db.write() as tx:
            if await repos.find_ref(tx, repo.id, ref) is not None:
                raise Conflict(f"Tag {name} already exists")
            await self._point(tx, actor, repo, ref, commit)
            if message:
                await log.append(tx, actor, "repo:tag:message", str(repo.ref), ref=ref, message=message)
        return commit

    async def delete_branch(self, actor: Actor, repo: Repo, name: str) -> None:
        """Raises `RevisionNotFound` for what is no branch, `Refused` for `main`."""
        self.access.require(actor, Action.WRITE, repo)
        ref = f"refs/heads/{name}"
        if ref == MAIN:
            raise Refused("Cannot delete refs/heads/main")
        await self._delete(actor, repo, ref, name)

    async def delete_tag(self, actor: Actor, repo: Repo, name: str) -> None:
        """Raises `RevisionNotFound` for what is no tag."""
        self.access.require(actor, Action.WRITE, repo)
        await self._delete(actor, repo, f"refs/tags/{name}", name)

    async def _delete(self, actor: Actor, repo: Repo, ref: str, name: str) -> None:
        async with self.db.write() as tx:
            old = await repos.find_ref(tx, repo.id, ref)
            if old is None:
                raise RevisionNotFound(f"Invalid rev id: {name}")
            await repos.delete_ref(tx, repo.id, ref)
            await log.append(tx, actor, "repo:ref:delete", str(repo.ref), ref=ref, old=old)
