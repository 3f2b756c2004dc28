"""
What is known of upstream repos, brought up to date when somebody asks: which there are, what their names mean, what
they hold. From there on nobody asks whose a repo is: its rows are those of any other.

    discover   a name that is not here, looked for upstream; its repo is bound to where it was found (PITFALLS 12)
    resolve    a revision to a commit: one that has its 40 digits is asked for once and never again, a name is asked for
               again when its time is over (PITFALLS 25)
    complete   a commit's listing, all pages, as git's trees
    entry      one path of a commit whose listing takes long: the first file of a large dataset does not wait for it

All of it one at a time for however many ask (`mirror.turns`). While upstream cannot be asked, or answers what is no
answer, the last good answer is given, with its age; what was never known is said to have failed, never to be absent
(PITFALLS 8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hubreg.errors import (
    Busy,
    HubregError,
    NotFound,
    Refused,
    RepoNotFound,
    RevisionNotFound,
    UpstreamFailed,
)
from hubreg.formats import names
from hubreg.formats.hubreading import Info
from hubreg.formats.listing import Listing
from hubreg.identity.access import Access, absent
from hubreg.mirror import binding
from hubreg.mirror.policy import Subject
from hubreg.mirror.rights import Rights
from hubreg.mirror.rules import Mode, Rule
from hubreg.mirror.sources import Sources
from hubreg.mirror.turns import Turns
from hubreg.mirror.upstream import UpstreamHub
from hubreg.model import Action, Actor, CommitId, Entry, EntryKind, Millis, Oid, RepoType, Sha256
from hubreg.store import mirror, objects, repos
from hubreg.store.db import Clock, Database
from hubreg.store.fresh import Bounded
from hubreg.store.mirror import Name
from hubreg.store.objects import Commit, File
from hubreg.store.repos import Repo

ABSENT = 30_000  # milliseconds that a name which upstream does not have is not asked for again
DOWN = 5_000  # that upstream is not asked again after it failed, by who has an older answer
_LISTING = 8.0  # seconds that a listing is waited for: clients wait 10
_FIRST = 1.0  # the same by who wants one file of it
_RENEW = 10  # pages
_HELD = 50_000
_HISTORIES = 20_000  # commits in pages of them


@dataclass(frozen=True, slots=True)
class Freshness:
    """Until when an answer is good, None for ever; and how old it is in seconds, where upstream could not be asked."""

    expires: Millis | None = None
    age: int | None = None


FOREVER = Freshness()


@dataclass(frozen=True, slots=True)
class _Held:
    commit: CommitId
    checked_at: Millis
    until: Millis
    stale: bool


@dataclass(frozen=True, slots=True)
class Mirror:
    db: Database
    access: Access
    sources: Sources
    rights: Rights
    turns: Turns
    clock: Clock
    _names: dict[tuple[int, str], _Held] = field(default_factory=dict, init=False)
    _refs: dict[tuple[int, bool], _Held] = field(
        default_factory=dict, init=False
    )  # lists of them, with pulls or not
    _commits: Bounded[tuple[int, CommitId], bool] = field(default_factory=lambda: Bounded(_HELD), init=False)
    _histories: Bounded[tuple[int, CommitId, int, int], tuple[list[Commit], int]] = field(
        default_factory=lambda: Bounded(_HISTORIES, lambda held: len(held[0]) + 1), init=False
    )
    _absent: dict[tuple[object, ...], Millis] = field(default_factory=dict, init=False)

    # repos

    async def discover(self, actor: Actor, type_: RepoType, name: str) -> Repo:
        """
        A repo of a name that nothing here has, from the first upstream that has it. Raises what is said of a repo that
        does not exist, `Refused` where a rule denies it, and `UpstreamFailed` where it cannot be known.
        """
        self.access.require_entry(actor)
        rules = await self.sources.candidates(type_, name)
        if not rules or not _is_name(name) or await binding.is_local(self.db, name):
            raise absent(actor)
        for rule in rules:
            if rule.mode is Mode.DENY:
                raise Refused(f"A rule of this server does not let {name} be mirrored.")
            repo = await self._look_for(actor, rule, type_, name) if rule.asks else None
            if repo is not None:
                return repo
        raise absent(actor)

    async def _look_for(self, actor: Actor, rule: Rule, type_: RepoType, name: str) -> Repo | None:
        """
        The repo at one upstream, None where that has none, as the server or as the caller sees it. A failure is no
        reason to look for it elsewhere: it would be bound to where it does not belong.
        """
        hub = await self.sources.hub(rule.upstream_id)
        if hub is None:
            return None
        caller = await self.rights.caller(actor, rule.upstream_id, foreign=rule.foreign_tokens)
        for token in dict.fromkeys((hub.upstream.token, caller.token)):
            who = caller.key if token and token == caller.token else ""
            missed = (rule.upstream_id, type_, names.key(name), who)
            if self._is_absent(missed):
                continue
            try:
                return await self._found(hub, type_, name, token, who)
            except NotFound:
                self._remember_absent(missed)
        return None

    async def _found(self, hub: UpstreamHub, type_: RepoType, name: str, token: str, who: str) -> Repo:
        key = names.key(name)

        async def look() -> Repo | None:
            found = await repos.find(self.db, type_, key)
            return found[0] if found is not None else None

        async def ask() -> Repo:
            said = await hub.info(type_, name, token=token)
            candidates = await self.sources.candidates(type_, said.name)
            if said.name != name and not any(rule.upstream_id == hub.upstream.id for rule in candidates):
                raise Refused(
                    f"{name} is {said.name} upstream, which no rule of this server lets be mirrored."
                )
            async with self.db.write() as tx:
                return await binding.adopt(tx, hub.upstream, type_, key, said)

        return await self.turns.once(f"repo:{hub.upstream.id}:{type_}:{key}:{who}", look, ask)

    async def allow(self, actor: Actor, repo: Repo, action: Action) -> None:
        """Return if the actor may do something with a mirrored repo; else raise the refusal."""
        self.access.require_entry(actor)
        rule = await self.sources.rule_of(repo)
        if rule is not None and rule.mode is Mode.DENY:
            raise Refused(f"A rule of this server does not let {repo.ref.full} be mirrored.")
        if repo.private or (repo.gated and action is not Action.KNOW):
            await self.rights.require(actor, repo, rule)
        self.access.require(actor, action, repo)

    # names

    async def freshness(self, actor: Actor, repo: Repo, name: str | None) -> Freshness:
        """
        Of what the actor was just answered about a repo: by a revision's name, or, where that is None, by a commit,
        which is for ever where the repo is for everybody.
        """
        until = []
        age = None
        held = self._held(repo, name) if name is not None else None
        if held is not None:
            until.append(held.until)
            age = self._age(held)
        if repo.private or repo.gated:
            rule = await self.sources.rule_of(repo)
            until.append(await self.rights.until(actor, repo, rule))
        return Freshness(min(until) if until else None, age)

    def age(self, repo: Repo, name: str | None) -> int | None:
        """How many seconds ago upstream said what a revision's name was just taken for, if it cannot be asked now."""
        held = self._held(repo, name or "main")
        return self._age(held) if held is not None else None

    def age_of_refs(self, repo: Repo, *, pulls: bool) -> int | None:
        """The same of the list of refs."""
        held = self._refs.get((repo.id, pulls))
        return self._age(held) if held is not None else None

    def _held(self, repo: Repo, name: str) -> _Held | None:
        return self._names.get((repo.id, "main" if name in ("", "HEAD") else name))

    def _age(self, held: _Held) -> int | None:
        return (self.clock() - held.checked_at) // 1000 if held.stale else None

    async def resolve(self, repo: Repo, name: str) -> CommitId:
        """The commit that a revision is. Raises `RevisionNotFound`, or `UpstreamFailed` where it is not known."""
        if names.is_commit_id(name):
            return await self._commit(repo, CommitId(name.lower()))
        held = self._names.get((repo.id, name))
        if held is not None and self.clock() < held.until:
            return held.commit
        rule = await self.sources.rule_of(repo)
        row = await mirror.find_name(self.db, repo.id, name)
        if row is not None and self._is_good(row, rule):
            return self._hold(repo, name, row, rule).commit
        if rule is None or not rule.asks:
            raise RevisionNotFound(f"Invalid rev id: {name}")
        missed = (repo.id, name)
        if self._is_absent(missed):
            raise RevisionNotFound(f"Invalid rev id: {name}")
        try:
            row = await self._asked(repo, name, rule, row)
        except RevisionNotFound:
            self._remember_absent(missed)
            raise
        except UpstreamFailed:
            if row is None:
                raise
            return self._hold(repo, name, row, rule, stale=True).commit
        return self._hold(repo, name, row, rule).commit

    def _is_good(self, row: Name, rule: Rule | None) -> bool:
        if row.pinned or rule is None or rule.mode is not Mode.MIRROR:
            return True
        return self.clock() < row.checked_at + rule.ttl * 1000

    def _hold(self, repo: Repo, name: str, row: Name, rule: Rule | None, *, stale: bool = False) -> _Held:
        ttl = rule.ttl * 1000 if rule is not None else ABSENT
        now = self.clock()
        until = now + DOWN if stale else max(row.checked_at + ttl, now + min(ttl, 1000))
        if len(self._names) >= _HELD:
            self._names.clear()
        held = _Held(row.commit, row.checked_at, Millis(until), stale)
        self._names[repo.id, name] = held
        return held

    async def _asked(self, repo: Repo, name: str, rule: Rule, last: Name | None) -> Name:
        hub = await self._hub(repo)

        async def look() -> Name | None:
            row = await mirror.find_name(self.db, repo.id, name)
            return row if row is not None and row != last and self._is_good(row, rule) else None

        async def ask() -> Name:
            try:
                token = await self.rights.token(repo)
                said = await hub.info(repo.ref.type, repo.upstream_name, name, token=token)
            except RevisionNotFound:
                async with self.db.write() as tx:
                    await mirror.drop_name(tx, repo.id, name)
                raise
            except (RepoNotFound, Refused) as error:
                return await self._gone(repo, name, last, error)
            if said.sha is None:
                raise RevisionNotFound(f"Invalid rev id: {name}")
            if last is not None and said.sha != last.commit and await self._is_young(repo, said):
                return await self._stay(repo, name, last)
            return await self._keep_name(repo, name, said, said.sha)

        return await self.turns.once(f"name:{repo.id}:{name}", look, ask)

    async def _gone(self, repo: Repo, name: str, last: Name | None, error: HubregError) -> Name:
        """Upstream has taken the repo down, or away from us: what is here stays, marked."""
        async with self.db.write() as tx:
            await mirror.set_state(tx, repo.id, "gone")
            if last is not None:
                await mirror.put_name(tx, repo.id, name, last.commit)
        if last is None:
            raise RevisionNotFound(
                f"Invalid rev id: {name}", hint="The repo is not there any more."
            ) from error
        return Name(last.commit, self.clock(), last.pinned)

    async def _is_young(self, repo: Repo, said: Info) -> bool:
        """Whether what a name moved to is not yet as old as a policy wants it."""
        wanted = [each.number for each in await self.sources.policies(repo) if each.subject is Subject.AGE]
        return bool(wanted) and self.clock() - (said.modified_at or self.clock()) < max(wanted) * 1000

    async def _stay(self, repo: Repo, name: str, last: Name) -> Name:
        """The name means what it meant, for another while."""
        async with self.db.write() as tx:
            await mirror.put_name(tx, repo.id, name, last.commit)
            return Name(last.commit, tx.now, last.pinned)

    async def _keep_name(self, repo: Repo, name: str, said: Info, commit: CommitId) -> Name:
        async with self.db.write() as tx:
            await mirror.put_commit(tx, repo.id, commit)
            await mirror.put_name(tx, repo.id, name, commit)
            await binding.describe(tx, repo, said, name)
            row = await mirror.find_name(tx, repo.id, name)
        return row or Name(commit, self.clock(), False)

    async def _commit(self, repo: Repo, commit: CommitId) -> CommitId:
        """A commit that the repo has. It is asked for once: what it holds never changes."""
        key = (repo.id, commit)
        if self._commits.get(key) is None:
            if not await self._has(repo, commit):
                await self._ask_commit(repo, commit)
            self._commits.put(key, True)
        return commit

    async def _has(self, repo: Repo, commit: CommitId) -> bool:
        if await mirror.has_commit(self.db, repo.id, commit):
            return True
        return await objects.find_commit(self.db, repo.id, commit) is not None

    async def _ask_commit(self, repo: Repo, commit: CommitId) -> None:
        rule = await self.sources.rule_of(repo)
        if rule is None or not rule.asks or self._is_absent((repo.id, commit)):
            raise RevisionNotFound(f"Invalid rev id: {commit}")
        hub = await self._hub(repo)

        async def look() -> bool | None:
            return await self._has(repo, commit) or None

        async def ask() -> bool:
            token = await self.rights.token(repo)
            said = await hub.info(repo.ref.type, repo.upstream_name, commit, token=token)
            if said.sha != commit:
                raise UpstreamFailed(f"The upstream says that commit {commit} is {said.sha}.")
            async with self.db.write() as tx:
                await mirror.put_commit(tx, repo.id, commit)
            return True

        try:
            await self.turns.once(f"commit:{repo.id}:{commit}", look, ask)
        except NotFound as error:
            self._remember_absent((repo.id, commit))
            raise RevisionNotFound(f"Invalid rev id: {commit}") from error

    # content

    async def is_complete(self, repo: Repo, commit: CommitId) -> bool:
        """Whether a commit's listing is here."""
        return await objects.find_commit(self.db, repo.id, commit) is not None

    async def complete(self, repo: Repo, commit: CommitId) -> Commit:
        """
        A commit with its listing. Raises `Busy` where that takes longer than a client waits; it goes on meanwhile.
        """
        row = await objects.find_commit(self.db, repo.id, commit)
        if row is not None:
            return row
        found = await self._wait(repo, commit, _LISTING)
        if found is None:
            raise Busy(
                f"The listing of {repo.ref.full} is being fetched from upstream, and is a long one.",
                hint="Ask again in a while.",
                headers={"Retry-After": "5"},
            )
        return found

    async def _wait(self, repo: Repo, commit: CommitId, seconds: float) -> Commit | None:
        """The commit with its listing, None where it takes longer; it is fetched on all the same."""
        rule = await self.sources.rule_of(repo)
        if rule is None or not rule.asks:
            raise UpstreamFailed(
                f"The listing of {repo.ref.full} at {commit} is not here, and upstream is not to be asked."
            )
        hub = await self._hub(repo)
        turn = f"tree:{repo.id}:{commit}"

        async def look() -> Commit | None:
            return await objects.find_commit(self.db, repo.id, commit)

        async def fetch() -> Commit:
            listing = Listing()
            token, pages = await self.rights.token(repo), 0
            async for page in hub.tree(repo.ref.type, repo.upstream_name, commit, token=token):
                listing.add(page)
                pages += 1
                if pages % _RENEW == 0:
                    await self.turns.renew(turn)
            return await self._keep_listing(repo, commit, listing)

        task = self.turns.begin(turn, look, fetch)
        done, _ = await asyncio.wait([task], timeout=seconds)
        return task.result() if done else None

    async def _keep_listing(self, repo: Repo, commit: CommitId, listing: Listing) -> Commit:
        root, trees = await asyncio.to_thread(listing.trees)
        row = Commit(commit, root, None, 1, "", "", repo.ref.namespace, self.clock())
        files = [File(e.oid, e.sha256 or Sha256(""), e.size, e.lfs, e.pointer_size) for e in listing.files()]
        async with self.db.write() as tx:
            await objects.put_objects(tx, [(oid, "tree", data) for oid, data in trees.items()])
            await mirror.put_files(tx, repo.upstream_id or 0, files)
            await objects.insert_commits(tx, repo.id, [row])
            await mirror.put_commit(tx, repo.id, commit)
            await mirror.drop_entries(tx, repo.id, commit)
        return row

    async def entry(self, repo: Repo, commit: CommitId, path: str) -> Entry | None:
        """
        The file at a path of a commit whose listing is not here. None where the listing came in time, or says all
        there is to say: then look there. An entry of kind directory stands for nothing that could be fetched.
        """
        if not _is_path(path):
            return Entry(path, EntryKind.DIRECTORY, Oid(""))
        oid = await mirror.find_entry(self.db, repo.id, commit, path)
        if oid is None:
            if await self._listed(repo, commit):
                return None
            oid = await self._ask_entry(repo, commit, path)
        if not oid:
            return Entry(path, EntryKind.DIRECTORY, oid)
        return (await self.entries(repo, [(path, oid)]))[0]

    async def _listed(self, repo: Repo, commit: CommitId) -> bool:
        """Whether the listing is here in a moment. One that failed is not begun again with each file."""
        failed = (repo.id, commit, "listing")
        if self._is_absent(failed):
            return False
        try:
            return await self._wait(repo, commit, _FIRST) is not None
        except UpstreamFailed:
            self._remember_absent(failed)
            return False

    async def _ask_entry(self, repo: Repo, commit: CommitId, path: str) -> Oid:
        rule = await self.sources.rule_of(repo)
        if rule is None or not rule.asks:
            raise UpstreamFailed(f"{path} of {repo.ref.full} is not here, and upstream is not to be asked.")
        hub = await self._hub(repo)

        async def look() -> Oid | None:
            return await mirror.find_entry(self.db, repo.id, commit, path)

        async def ask() -> Oid:
            token = await self.rights.token(repo)
            found = await hub.paths(repo.ref.type, repo.upstream_name, commit, [path], token=token)
            entry = found.get(path)
            oid = entry.oid if entry is not None and entry.kind is EntryKind.FILE else Oid("")
            async with self.db.write() as tx:
                if entry is not None and oid:
                    said = File(oid, entry.sha256 or Sha256(""), entry.size, entry.lfs, entry.pointer_size)
                    await mirror.put_files(tx, repo.upstream_id or 0, [said])
                await mirror.put_entry(tx, repo.id, commit, path, oid)
            return oid

        return await self.turns.once(f"entry:{repo.id}:{commit}:{path}", look, ask)

    async def entries(self, repo: Repo, wanted: Sequence[tuple[str, Oid]]) -> list[Entry]:
        """Files of a listing, by path and oid, with what is known of them and whether their content is here."""
        files = await mirror.files(self.db, repo.upstream_id or 0, [oid for _, oid in wanted])
        here = await mirror.blobs(self.db, sorted({file.sha256 for file in files.values() if file.sha256}))
        await self._share(repo, {f.sha256: f.size for f in files.values() if f.lfs and f.sha256 in here})
        return [_entry(path, files[oid], here) for path, oid in wanted]

    async def _share(self, repo: Repo, large: dict[Sha256, int]) -> None:
        """
        Content that came for another repo and is in this one too is this one's as well: who fetches it by Xet may have
        what the repo holds.
        """
        held = await objects.has_large(self.db, repo.id, list(large)) if large else {}
        missing = large.keys() - held.keys()
        if missing:
            async with self.db.write() as tx:
                for sha256 in sorted(missing):
                    await objects.add_large(tx, repo.id, sha256, large[sha256])

    async def landed(self, repo: Repo, entry: Entry, sha256: Sha256) -> None:
        """The content of a file has come, and was found to be what it should be."""
        async with self.db.write() as tx:
            await mirror.put_blob(tx, sha256, entry.size)
            if entry.lfs:
                await objects.add_large(tx, repo.id, sha256, entry.size)
            else:
                await mirror.name_content(tx, repo.upstream_id or 0, entry.oid, sha256)

    # refs and history

    async def history(self, repo: Repo, commit: CommitId, skip: int, limit: int) -> tuple[list[Commit], int]:
        """Commits as upstream lists them, from one towards the root, and how many there are: passed on, and held."""
        key = (repo.id, commit, skip, limit)
        found = self._histories.get(key)
        if found is None:
            hub = await self._hub(repo)
            token = await self.rights.token(repo)
            page = await hub.commits(
                repo.ref.type, repo.upstream_name, commit, skip // limit, limit, token=token
            )
            shown = [
                Commit(c.id, Oid(""), None, 0, c.title, c.message, ", ".join(c.authors), c.at)
                for c in page.commits
            ]
            found = shown, page.total if page.total is not None else skip + len(shown)
            self._histories.put(key, found)
        return found

    async def refresh_refs(self, repo: Repo, *, pulls: bool = False) -> None:
        """Have the refs as upstream has them, or as they were when it could be asked last."""
        held = self._refs.get((repo.id, pulls))
        rule = await self.sources.rule_of(repo)
        if (held is not None and self.clock() < held.until) or rule is None or not rule.asks:
            return
        hub = await self._hub(repo)

        async def look() -> bool | None:
            return None

        async def ask() -> bool:
            token = await self.rights.token(repo)
            found = await hub.refs(repo.ref.type, repo.upstream_name, pulls=pulls, token=token)
            below = ["refs/heads/", "refs/tags/", "refs/convert/", *(["refs/pr/"] if pulls else [])]
            async with self.db.write() as tx:
                await mirror.put_refs(tx, repo.id, found, below)
            return True

        now = self.clock()
        try:
            await self.turns.once(f"refs:{repo.id}:{pulls}", look, ask)
        except (UpstreamFailed, RepoNotFound):
            if not await repos.refs(self.db, repo.id):
                raise
            checked_at = held.checked_at if held is not None else await self._last_seen(repo)
            until, stale = now + DOWN, True
        else:
            checked_at, until, stale = now, now + rule.ttl * 1000, False
        if len(self._refs) >= _HELD:
            self._refs.clear()
        self._refs[repo.id, pulls] = _Held(CommitId(""), checked_at, Millis(until), stale)

    async def _last_seen(self, repo: Repo) -> Millis:
        """When upstream last told what `main` is."""
        row = await mirror.find_name(self.db, repo.id, "main")
        return row.checked_at if row is not None else self.clock()

    # what was not there

    def _is_absent(self, key: tuple[object, ...]) -> bool:
        return self.clock() < self._absent.get(key, 0)

    def _remember_absent(self, key: tuple[object, ...]) -> None:
        if len(self._absent) >= _HELD:
            self._absent.clear()
        self._absent[key] = Millis(self.clock() + ABSENT)

    async def _hub(self, repo: Repo) -> UpstreamHub:
        hub = await self.sources.hub(repo.upstream_id)
        if hub is None:
            raise UpstreamFailed(f"The upstream that {repo.ref.full} comes from is not asked any more.")
        return hub

    async def close(self) -> None:
        await self.turns.close()


def _entry(path: str, file: File, here: set[Sha256]) -> Entry:
    return Entry(
        path, EntryKind.FILE, file.oid, file.size, file.sha256 or None, file.lfs, file.pointer_size,
        here=file.sha256 in here,
    )  # fmt: skip


def _is_name(name: str) -> bool:
    try:
        names.parse_repo_id(name)
    except HubregError:
        return False
    return True


def _is_path(path: str) -> bool:
    try:
        names.check_path(path)
    except HubregError:
        return False
    return True
