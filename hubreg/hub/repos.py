"""
Repos: make, find, rename, remove. Names are looked up without regard to case; one that a repo had before leads to it.

What somebody may not know of, they are told does not exist, in the same words as for what does not.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hubreg.errors import Conflict, Invalid, Moved, NotFound, Refused, RepoExists, RepoNotFound, Unsupported
from hubreg.formats import commitlines, gitattributes, gitobjects, lfs, names
from hubreg.formats.commitlines import FileLine
from hubreg.formats.gitobjects import Put, Remove
from hubreg.hub.ancestry import Ancestry
from hubreg.hub.commits import Commits, refuse_missing
from hubreg.hub.recording import STALE
from hubreg.hub.snapshots import MAIN
from hubreg.identity.access import Access, require_user
from hubreg.mirror import binding
from hubreg.mirror.sync import Mirror
from hubreg.model import Action, Actor, AddLfs, CommitId, Oid, RepoId, RepoType
from hubreg.store import accounts, log, objects, repos
from hubreg.store.accounts import Account
from hubreg.store.blobs import Blobs
from hubreg.store.db import Database, Tx
from hubreg.store.fresh import Fresh
from hubreg.store.objects import File
from hubreg.store.repos import Repo, Search
from hubreg.store.threads import run_in

GATES = ("", "auto", "manual")
SDKS = ("gradio", "docker", "static", "streamlit")
INITIAL = "initial commit"
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}")  # what Hubs have as identifiers of licences
_MOST_WORDS, _LONGEST_WORD = 50, 500  # of a search: each is a condition of the query


@dataclass(frozen=True, slots=True)
class Repos:
    db: Database
    access: Access
    blobs: Blobs
    commits: Commits
    mirror: Mirror
    _known: Fresh[tuple[RepoType, str], Repo] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", Fresh(self.db))

    # finding

    async def find(self, actor: Actor, type_: RepoType, name: str, action: Action = Action.KNOW) -> Repo:
        """
        The repo called `name` ("namespace/name", in any case, or a name it had before), if the actor may do `action`.

        One that is not here is looked for upstream, where there is an upstream. Raises `RepoNotFound` or `RepoHidden`
        where there is none or the actor may not know of it, and whatever `Access.require` raises. Whether `name` is how
        the repo spells itself is the caller's to compare.
        """
        key = (type_, names.key(name))
        repo = self._known.get(key)
        if repo is None:
            found = await repos.find(self.db, *key)
            repo = found[0] if found is not None else await self.mirror.discover(actor, type_, name)
            self._known.put(key, repo)
        if repo.upstream_id is None:
            self.access.require(actor, action, repo)
        else:
            await self.mirror.allow(actor, repo, action)
        return repo

    async def is_bare(self, actor: Actor, type_: RepoType, name: str) -> bool:
        """
        Whether the first half of `name` is a repo by itself: one of upstream's that has no namespace, `gpt2`. What is
        here by the whole name goes first, and so does a namespace of this server's own.
        """
        if await repos.find(self.db, type_, names.key(name)) is not None or await binding.is_local(
            self.db, name
        ):
            return False
        try:
            await self.find(actor, type_, name.partition("/")[0])
        except (NotFound, Refused):
            return False
        return True

    async def search(self, actor: Actor, wanted: Search) -> list[Repo]:
        """One page of the repos that the actor may know of. Raises `Invalid` for more words than a query may have."""
        self.access.require_entry(actor)
        asked = [*wanted.words, *wanted.tags]
        if len(asked) > _MOST_WORDS or any(len(word) > _LONGEST_WORD for word in asked):
            raise Invalid(
                f"A search may have {_MOST_WORDS} words and filters, of {_LONGEST_WORD} characters each."
            )
        if actor.admin:
            return await repos.search(self.db, replace(wanted, visible=None))
        visible = []
        for name in actor.roles:
            account = await accounts.find(self.db, name)
            if account is not None:
                visible.append(account.id)
        public = self.access.anonymous or not actor.anonymous
        return await repos.search(self.db, replace(wanted, visible=tuple(visible), public=public))

    async def tags(self, found: Sequence[Repo]) -> dict[int, list[str]]:
        """The tags of each repo, by its id."""
        return await repos.tags(self.db, [repo.id for repo in found])

    async def count(self, actor: Actor, namespace: Account) -> dict[RepoType, int]:
        """How many repos of each type a user or organisation has, as far as the actor may know of them."""
        own = self.access.role(actor, namespace.name) is not None
        return await repos.count(self.db, namespace.id, private=own)

    async def all_tags(self, actor: Actor, type_: RepoType) -> list[str]:
        """Every tag that some public repo of that type has, for whoever may see public repos."""
        self.access.require_entry(actor)
        return await repos.all_tags(self.db, type_)

    # making

    async def create(
        self,
        actor: Actor,
        type_: RepoType,
        namespace: str | None,
        name: str,
        *,
        private: bool | None = None,
        sdk: str = "",
        files: Sequence[FileLine] = (),
        license_: str = "",
    ) -> Repo:
        """
        A new repo with one commit, which holds `.gitattributes`, and `files`.

        `namespace` None is the actor's own; `private` None is what the namespace makes of new repos. Raises
        `RepoExists` where the name is taken, in whatever case; `Invalid` for a name that no repo may have, a licence
        that is no identifier, and a file that is too large for git. An sdk is a Space's only.
        """
        require_user(actor, write=True)
        owner = await self._owner(actor, namespace)
        names.check_repo_name(name)
        if type_ is not RepoType.SPACE:
            sdk = ""
        elif sdk not in SDKS:
            raise Invalid(f"A Space needs an sdk, one of {', '.join(SDKS)}.")
        hidden = owner.private_by_default if private is None else private
        ref = RepoId(type_, owner.name, name)
        edits, kept = await self._first_files(ref, sdk, files, license_)
        draft = await self.commits.draft(None, edits, kept, INITIAL, (), facts=type_)
        async with self.db.write() as tx:
            await self._require_owner(tx, actor, owner)
            await self._refuse_taken(tx, actor, ref)
            repo_id = await repos.insert(
                tx, public_id=secrets.token_hex(12), type_=type_, namespace_id=owner.id, name=name,
                key=names.repo_key(owner.name, name), creator_id=actor.user_id, private=hidden, sdk=sdk,
            )  # fmt: skip
            repo = await self._get(tx, repo_id)
            await log.append(tx, actor, "repo:self:create", str(ref), private=hidden)
            await self.commits.record(tx, actor, repo, MAIN, None, draft)
            return await self._get(tx, repo_id)

    async def _owner(self, actor: Actor, namespace: str | None) -> Account:
        name = namespace or actor.name
        self.access.require_namespace(actor, name)
        owner = await accounts.find(self.db, names.key(name))
        if owner is None:
            raise NotFound(f"There is no user or organisation named {name}.")
        return owner

    async def _require_owner(self, tx: Tx, actor: Actor, owner: Account) -> None:
        """What `_owner` asked, once more by what holds now."""
        self.access.require_namespace(await self.access.known(tx, actor), owner.name)

    async def _refuse_taken(self, tx: Tx, actor: Actor, ref: RepoId) -> None:
        found = await repos.find(tx, ref.type, names.repo_key(ref.namespace, ref.name))
        if found is not None and not found[1]:
            taken = found[0].ref
            raise RepoExists(
                f"You already created this {taken.type.value} repo: {taken.full}", body={"url": f"/{taken}"}
            )

    async def _first_files(
        self, ref: RepoId, sdk: str, files: Sequence[FileLine], license_: str
    ) -> tuple[list[Put | Remove], dict[Oid, File]]:
        attributes = gitattributes.DATASET if ref.type is RepoType.DATASET else gitattributes.DEFAULT
        contents = {".gitattributes": attributes.encode()}
        if license_ and not _LICENSE.fullmatch(license_):
            raise Invalid("A license is named by its identifier, such as apache-2.0.")
        card = [f"title: {ref.name}", f"sdk: {sdk}"] if ref.type is RepoType.SPACE else []
        card += [f"license: {license_}"] if license_ else []
        if card:
            contents["README.md"] = "\n".join(["---", *card, "---", ""]).encode()
        contents.update({file.path: file.content for file in files})
        for path, content in contents.items():
            names.check_path(path)
            if len(content) > self.commits.config.regular_max:
                raise Invalid(commitlines.too_large(self.commits.config.regular_max, path))
            if pointer := lfs.stands_for(content):
                refuse_missing([AddLfs(path, pointer.sha256, pointer.size)], {})
        kept = await self.blobs.put(list(contents.values()))
        edits: list[Put | Remove] = []
        rows: dict[Oid, File] = {}
        for path, blob in zip(contents, kept, strict=True):
            oid = Oid(blob.oid or gitobjects.object_oid("blob", contents[path]))
            edits.append(Put(path, oid))
            rows[oid] = File(oid, blob.sha256, blob.size, False, 0)
        return edits, rows

    async def duplicate(self, actor: Actor, repo: Repo, target: str, *, private: bool | None = None) -> Repo:
        """
        A new repo with the history, branches and tags of another. Its content is not copied: both refer to the same.
        `private` None: as the source is. What no branch or tag leads to stays behind, as with a clone: the commits of
        pull requests, and what was taken out of the history.
        """
        self.access.require(actor, Action.READ, repo)
        require_user(actor, write=True)
        if repo.upstream_id is not None:
            raise Unsupported(
                f"{repo.ref.full} is mirrored: its history is not here to be duplicated.",
                hint="Download it and upload it to a repo of your own.",
            )
        namespace, name = names.parse_repo_id(target)
        owner = await self._owner(actor, namespace)
        names.check_repo_name(name)
        hidden = repo.private if private is None else private
        ref = RepoId(repo.ref.type, owner.name, name)
        commits = await self._reachable(repo)
        async with self.db.write() as tx:
            repo = await self.access.require_now(tx, actor, Action.READ, repo)
            await self._require_owner(tx, actor, owner)
            await self._refuse_taken(tx, actor, ref)
            repo_id = await repos.insert(
                tx, public_id=secrets.token_hex(12), type_=ref.type, namespace_id=owner.id, name=name,
                key=names.repo_key(owner.name, name), creator_id=actor.user_id, private=hidden, sdk=repo.sdk,
            )  # fmt: skip
            if not commits.issuperset(await repos.tips(tx, repo.id)):
                raise Moved(STALE)
            await objects.copy_history(tx, repo.id, repo_id, sorted(commits))
            await repos.copy_state(tx, repo.id, repo_id)
            await log.append(tx, actor, "repo:self:duplicate", str(ref), source=str(repo.ref), head=repo.head)
            return await self._get(tx, repo_id)

    async def _reachable(self, repo: Repo) -> set[CommitId]:
        """What the branches and tags of a repo lead to."""
        tips = await repos.tips(self.db, repo.id)
        every = await objects.every_commit(self.db, repo.id)
        return await run_in(None, lambda: Ancestry.parse(every).reachable(tips))

    # changing

    async def delete(self, actor: Actor, repo: Repo) -> None:
        """Remove a repo and every name that leads to it. Content that others hold stays."""
        self.access.require(actor, Action.MANAGE, repo)
        async with self.db.write() as tx:
            repo = await self.access.require_now(tx, actor, Action.MANAGE, repo)
            await repos.delete(tx, repo.id)
            await log.append(tx, actor, "repo:self:delete", str(repo.ref), head=repo.head)

    async def move(self, actor: Actor, repo: Repo, target: str) -> Repo:
        """Give a repo another name or owner; the old name redirects until somebody takes it."""
        self.access.require(actor, Action.MANAGE, repo)
        namespace, name = names.parse_repo_id(target)
        owner = await self._owner(actor, namespace)
        names.check_repo_name(name)
        key = names.repo_key(owner.name, name)
        async with self.db.write() as tx:
            repo = await self.access.require_now(tx, actor, Action.MANAGE, repo)
            await self._require_owner(tx, actor, owner)
            found = await repos.find(tx, repo.ref.type, key)
            if found is not None and not found[1] and found[0].id != repo.id:
                raise Conflict(
                    f"A {repo.ref.type.value} repository called {found[0].ref.full} already exists"
                )
            await repos.rename(tx, repo, owner.id, name, key)
            moved = await self._get(tx, repo.id)
            await log.append(tx, actor, "repo:self:move", str(moved.ref), source=str(repo.ref))
            return moved

    async def set_settings(
        self, actor: Actor, repo: Repo, *, private: bool | None = None, gated: str | None = None
    ) -> Repo:
        """Change what is not None; `gated` is "", "auto" or "manual"."""
        self.access.require(actor, Action.MANAGE, repo)
        if gated is not None and gated not in GATES:
            raise Invalid('"gated" must be one of [false, "auto", "manual"]')
        async with self.db.write() as tx:
            now = await self.access.require_now(tx, actor, Action.MANAGE, repo)
            await repos.set_settings(
                tx,
                repo.id,
                private=now.private if private is None else private,
                gated=now.gated if gated is None else gated,
            )
            changed = await self._get(tx, repo.id)
            await log.append(
                tx, actor, "repo:settings:set", str(repo.ref), private=changed.private, gated=changed.gated
            )
            return changed

    async def _get(self, tx: Tx, repo_id: int) -> Repo:
        repo = await repos.get(tx, repo_id)
        if repo is None:
            raise RepoNotFound("Repository not found")
        return repo
