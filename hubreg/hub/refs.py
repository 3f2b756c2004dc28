"""Branches and tags: names for commits, moved by compare-and-swap and only by whoever may write."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.errors import Conflict, Invalid, Refused, RevisionNotFound
from hubreg.formats import gitobjects, names
from hubreg.formats.gitobjects import GitTag
from hubreg.hub import recording
from hubreg.hub.commits import Commits, signature
from hubreg.hub.snapshots import MAIN, Snapshots
from hubreg.identity.access import Access
from hubreg.mirror.sync import Mirror
from hubreg.model import Action, Actor, CommitId, Oid
from hubreg.store import objects, repos
from hubreg.store.db import Database, Tx
from hubreg.store.repos import Repo

Named = tuple[str, str, CommitId]  # name, full ref, commit


@dataclass(frozen=True, slots=True)
class RefList:
    branches: list[Named]
    tags: list[Named]
    converts: list[Named]
    pulls: list[Named]


_LONGEST_MESSAGE = 65_536  # characters of a tag's message
_KINDS = {"branches": "refs/heads/", "tags": "refs/tags/", "converts": "refs/convert/", "pulls": "refs/pr/"}


@dataclass(frozen=True, slots=True)
class Refs:
    db: Database
    access: Access
    snapshots: Snapshots
    commits: Commits
    mirror: Mirror

    async def list(self, actor: Actor, repo: Repo, *, pulls: bool = True) -> RefList:
        """
        Every ref by kind; `main` is the first branch, since llama.cpp takes the first one (CLIENTS 2). Of a mirrored
        repo pull requests are looked for upstream only with `pulls`.
        """
        self.access.require(actor, Action.KNOW, repo)
        if repo.upstream_id is not None:
            await self.mirror.refresh_refs(repo, pulls=pulls)
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
                await self._refuse_existing(tx, actor, repo, ref, overwrite=overwrite)
                old = await repos.find_ref(tx, repo.id, ref)
                return await self.commits.record(tx, actor, repo, ref, old, draft)
        commit = await self.snapshots.resolve(repo, start)
        async with self.db.write() as tx:
            await self._refuse_existing(tx, actor, repo, ref, overwrite=overwrite)
            old = await repos.find_ref(tx, repo.id, ref)
            await recording.move(tx, actor, repo, ref, old, commit)
        return commit

    async def _refuse_existing(
        self, tx: Tx, actor: Actor, repo: Repo, ref: str, *, overwrite: bool = False
    ) -> None:
        await self.access.require_now(tx, actor, Action.WRITE, repo)
        if await repos.find_ref(tx, repo.id, ref) is not None and (not overwrite or ref == MAIN):
            raise Conflict(f"Reference {ref} already exists")

    async def create_tag(
        self, actor: Actor, repo: Repo, name: str, revision: str | None, message: str = ""
    ) -> CommitId:
        """
        A tag at a revision, with a `message` an annotated one. The revision is looked at before the name (CLIENT_API
        1). Raises `Conflict` where the tag exists, `Invalid` for a message that git cannot hold or nobody reads.
        """
        self.access.require(actor, Action.WRITE, repo)
        commit = await self.snapshots.resolve(repo, revision)
        names.check_tag(name)
        if len(message) > _LONGEST_MESSAGE:
            raise Invalid(f"The message of a tag may have {_LONGEST_MESSAGE} characters.")
        ref = f"refs/tags/{name}"
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.WRITE, repo)
            if await repos.find_ref(tx, repo.id, ref) is not None:
                raise Conflict(f"Tag {name} already exists")
            tag = await _annotate(tx, actor, name, commit, message) if message.strip() else None
            await recording.move(tx, actor, repo, ref, None, commit, tag=tag)
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
            await self.access.require_now(tx, actor, Action.WRITE, repo)
            old = await repos.find_ref(tx, repo.id, ref)
            if old is None:
                raise RevisionNotFound(f"Invalid rev id: {name}")
            await recording.drop(tx, actor, repo, ref, old)


async def _annotate(tx: Tx, actor: Actor, name: str, commit: CommitId, message: str) -> Oid:
    """A tag object, as `git tag -a` makes it; its oid."""
    tagger = signature(actor, tx.now // 1000)
    data = gitobjects.render_tag(GitTag(Oid(commit), "commit", name, tagger, message.strip() + "\n"))
    oid = gitobjects.object_oid("tag", data)
    await objects.put_objects(tx, [(oid, "tag", data)])
    return oid
