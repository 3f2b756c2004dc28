"""
Commits: how what a repo holds changes.

Every way of making one (the commit API, a merge, a squash, a revert) is the same four steps:

    parse    lines of the request, contents kept as blobs on the way
    decide   the parent's snapshot and the plan give the new trees; what must not be is refused
    draft    everything of the commit but its time, and with it its id: `Draft`
    record   one transaction: the ref moves from where it was read, the objects, rows and the log follow

A blob or object that was written and is never recorded is harmless: nobody can see it. Two writers on one parent: the
second finds the ref moved and starts again from "decide", unless it named the parent it wants, then it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from hubreg.config import Config
from hubreg.errors import Conflict, EntryNotFound, Invalid, Moved, TooLarge
from hubreg.formats import gitobjects, lastcommits, lfs
from hubreg.formats.commitlines import FileLine, Line, Preupload
from hubreg.formats.gitobjects import EXECUTABLE, FILE, Change, Folder, Put, Remove
from hubreg.hub import recording
from hubreg.hub.attributes import Decision, Rules
from hubreg.hub.frontpage import FrontPage
from hubreg.hub.recording import PULLS, STALE, Made
from hubreg.hub.snapshots import MAIN, Snapshot, Snapshots
from hubreg.identity.access import Access
from hubreg.model import (
    Action,
    Actor,
    AddFile,
    AddLfs,
    CommitHeader,
    CommitId,
    CommitPlan,
    CopyFile,
    DeleteFile,
    DeleteFolder,
    GitCommit,
    Oid,
    Operation,
    RepoType,
    Sha256,
    Signature,
)
from hubreg.store import discussions, log, objects, repos
from hubreg.store.blobs import Blobs
from hubreg.store.db import Database, Reader, Tx
from hubreg.store.objects import Commit, File
from hubreg.store.repos import Facts, Repo

_ATTEMPTS = 20  # to win against other writers of the same branch
_PAUSE = 0.002  # seconds, times the attempts so far
_BATCH = 8 << 20  # bytes of inline content that are kept as blobs with one trip to the disk
_CARD_LIMIT = 1 << 20
ATTRIBUTES = ".gitattributes"
_SQUASH_MESSAGE = 500  # characters (HUB 8.1)
_OPERATIONS = 100_000  # of one commit; clients split theirs at 1 000


@dataclass(frozen=True, slots=True)
class Committed:
    """`pull`: the number of the pull request that the commit opened."""

    id: CommitId
    pull: int | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """
    A commit that is ready to be recorded, but for its time.

    `trees` are the tree objects that are new with it, `files` what the oids of its new files stand for, `folders` the
    folders it changes, each with the commit that last changed each entry before.
    """

    tree: Oid
    parents: tuple[CommitId, ...]
    message: str
    trees: Mapping[Oid, bytes]
    files: Sequence[File]
    folders: Mapping[str, tuple[Folder, Mapping[str, CommitId]]]
    facts: Facts | None = None


class Turns:
    """
    Whose turn it is to move a ref, among the tasks of this process. What was just written is not yet to be read while
    its group is being made durable, so whoever does not wait would only build on a parent that is gone.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, repo: Repo, ref: str) -> asyncio.Lock:
        return self._locks.setdefault((repo.id, ref), asyncio.Lock())


@dataclass(slots=True)
class _Plan:
    """A plan, and what the oids of its new files stand for."""

    plan: CommitPlan
    files: dict[Oid, File] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commits:
    db: Database
    access: Access
    blobs: Blobs
    snapshots: Snapshots
    config: Config
    turns: Turns = field(default_factory=Turns)
    rules: Rules = field(default_factory=Rules)

    # what a client asks before it uploads

    async def preupload(
        self, actor: Actor, repo: Repo, revision: str, asked: Preupload, *, propose: bool = False
    ) -> tuple[CommitId, list[Decision]]:
        """How to send each file, in the order asked, and the commit that the answer is about."""
        self.access.require(actor, Action.PROPOSE if propose else Action.WRITE, repo)
        snapshot = await self.snapshots.at(repo, revision)
        attributes, ignore = asked.gitattributes, asked.gitignore
        if attributes is None:
            attributes = await self._text(snapshot, ATTRIBUTES)
        if ignore is None:
            ignore = await self._text(snapshot, ".gitignore")
        present = await self.snapshots.entries(snapshot, [candidate.path for candidate in asked.files])
        held = {entry.path: entry.etag for entry in present if entry.sha256 is not None}
        decided = await self.rules.decide(asked.files, held, attributes, ignore, self.config.regular_max)
        return snapshot.commit, decided

    async def _text(self, snapshot: Snapshot, path: str) -> str:
        content = await self.snapshots.read(snapshot, path, _CARD_LIMIT)
        return (content or b"").decode("utf-8", "replace")

    # the commit API

    async def commit(
        self, actor: Actor, repo: Repo, revision: str, lines: AsyncIterator[Line], *, propose: bool = False
    ) -> Committed:
        """
        Commit what the lines say to a branch or pull request, or with `propose` open a pull request against it.

        Raises `RevisionNotFound` where `revision` is neither, `Moved` where the branch is not at the parent that the
        header names, `Invalid` and its kind for a plan that cannot be.
        """
        self.access.require(actor, Action.PROPOSE, repo)  # `target` asks for more
        ref = await self.target(actor, repo, revision, propose=propose)
        plan = await self._take(repo, ref, lines, propose=propose)
        header = plan.plan.header
        message = _message(header.summary, header.description)
        facts = repo.ref.type if ref == MAIN and not propose else None
        for attempt in range(_ATTEMPTS):
            try:
                async with self.turns.of(repo, ref):
                    base = await self._base(repo, ref, header, propose=propose)
                    draft = await self._draft_plan(base, plan, message, facts=facts)
                    async with self.db.write() as tx:
                        if propose:
                            return await self._propose(tx, actor, repo, ref, header, draft)
                        return Committed(await self.record(tx, actor, repo, ref, base.commit, draft))
            except Moved:
                if header.parent is not None:
                    raise
                await asyncio.sleep(_PAUSE * attempt)  # another process was first
        raise Moved(STALE, hint="Too many others commit to this branch at the same time.")

    async def target(self, actor: Actor, repo: Repo, revision: str, *, propose: bool = False) -> str:
        """
        The ref that a commit to `revision` moves, with the right to move it checked. Raises `RevisionNotFound` for
        what is no branch and no pull request: commits go to names that move.
        """
        ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        if await repos.find_ref(self.db, repo.id, ref) is None or ref.startswith("refs/tags/"):
            raise await self.snapshots.unknown(repo, revision)
        if not propose:
            await self.require_move(self.db, actor, repo, ref)
        return ref

    async def require_move(self, reader: Reader, actor: Actor, repo: Repo, ref: str) -> None:
        """
        Raise unless the actor may move a ref: any for who may write, a pull request also for its author. One that is
        merged or closed stays as it was judged: `Conflict`.
        """
        if not ref.startswith(PULLS):
            self.access.require(actor, Action.WRITE, repo)
            return
        number = ref.removeprefix(PULLS)
        found = await discussions.find(reader, repo.id, int(number)) if number.isdigit() else None
        own = found is not None and found.author_id == actor.user_id
        self.access.require(actor, Action.PROPOSE if own else Action.WRITE, repo)
        if found is None or found.status not in ("draft", "open"):
            state = found.status if found is not None else "not a pull request"
            raise Conflict(f"#{number} is {state}: nothing can be committed to it.")

    async def _base(self, repo: Repo, ref: str, header: CommitHeader, *, propose: bool) -> Snapshot:
        """The snapshot to build on: the ref's, which must be the parent named; for a proposal, the parent itself."""
        base = await self.snapshots.at(repo, ref)
        if header.parent is None:
            return base
        if propose:
            return await self.snapshots.at(repo, header.parent)
        if not base.commit.startswith(header.parent.lower()):
            raise Moved(STALE)
        return base

    async def _take(self, repo: Repo, ref: str, lines: AsyncIterator[Line], *, propose: bool) -> _Plan:
        """
        Collect the plan; contents go to the blob store in batches, so that memory holds one batch and one line. What
        can be refused before is: a parent that has passed when the header comes, large files that were never sent
        when the list is whole.
        """
        header: CommitHeader | None = None
        operations: list[Operation | FileLine] = []
        files: dict[Oid, File] = {}
        batch: list[tuple[int, FileLine]] = []
        held = 0

        async def keep() -> None:
            contents = await self.blobs.put([line.content for _, line in batch])
            for (place, line), content in zip(batch, contents, strict=True):
                oid = content.oid or gitobjects.object_oid("blob", line.content)
                files[oid] = File(oid, content.sha256, content.size, False, 0)
                operations[place] = AddFile(line.path, oid, content.sha256, content.size)
            batch.clear()

        async for line in lines:
            if isinstance(line, CommitHeader):
                header = line
                await self._base(repo, ref, header, propose=propose)
                continue
            if isinstance(line, FileLine):
                line = _as_large(line)
            operations.append(line)
            if len(operations) > _OPERATIONS:
                raise TooLarge(f"A commit may have {_OPERATIONS} operations.", hint="Make several commits.")
            if isinstance(line, FileLine):
                batch.append((len(operations) - 1, line))
                held += len(line.content)
                if held >= _BATCH:
                    await keep()
                    held = 0
        if header is None:
            raise Invalid("A commit begins with a line with the key `header`.")
        await self._held(repo, [operation for operation in operations if isinstance(operation, AddLfs)])
        if batch:
            await keep()
        done = tuple(operation for operation in operations if not isinstance(operation, FileLine))
        return _Plan(CommitPlan(header, done), files)

    # deciding

    async def _draft_plan(
        self, base: Snapshot, plan: _Plan, message: str, *, facts: RepoType | None
    ) -> Draft:
        edits, files = await self._edits(base, plan)
        return await self.draft(base, edits, files, message, (base.commit,), facts=facts)

    async def _edits(self, base: Snapshot, plan: _Plan) -> tuple[list[Put | Remove], dict[Oid, File]]:
        """What the plan does to the tree. Raises `Invalid` for large files that were never sent."""
        files = dict(plan.files)
        edits: list[Put | Remove] = []
        held = await self._held(base.repo, [o for o in plan.plan.operations if isinstance(o, AddLfs)])
        for operation in plan.plan.operations:
            match operation:
                case AddFile(path, oid):
                    edits.append(Put(path, oid))
                case AddLfs(path, sha256):
                    file = _pointer(sha256, held[sha256])
                    files[file.oid] = file
                    edits.append(Put(path, file.oid))
                case DeleteFile(path):
                    edits.append(Remove(path))
                case DeleteFolder(path):
                    edits.append(Remove(path, folder=True))
                case CopyFile(path, source, revision):
                    origin = await self._source(base, source, revision)
                    edits.append(Put(path, origin))
        return edits, files

    async def _held(self, repo: Repo, large: Sequence[AddLfs]) -> dict[Sha256, int]:
        """The sizes of large files that the repo holds. Raises `Invalid` for one that it does not."""
        held = await objects.has_large(self.db, repo.id, [o.sha256 for o in large])
        refuse_missing(large, held)
        return held

    async def _source(self, base: Snapshot, path: str, revision: str | None) -> Oid:
        snapshot = base if revision is None else await self.snapshots.at(base.repo, revision)
        entry = await self.snapshots.find_entry(snapshot, path)
        if entry is None or entry.sha256 is None:
            raise EntryNotFound(
                f"{path} cannot be copied: there is no such file.", headers={"X-Repo-Commit": snapshot.commit}
            )
        return entry.oid

    async def _covered(
        self, base: Snapshot, edits: Sequence[Put | Remove], files: dict[Oid, File]
    ) -> Sequence[Put | Remove]:
        """
        The edits, and one more where `.gitattributes`, as it is after them, has no rule for a large file that they put
        (HUB 8.3): a git client would take the pointer for the file itself. A file of that name which is no small text
        is left as it is.
        """
        put = {
            edit.path: edit.oid for edit in edits if isinstance(edit, Put) and edit.mode in (FILE, EXECUTABLE)
        }
        known = files | await self.snapshots.blobs([oid for oid in put.values() if oid not in files])
        large = [path for path, oid in put.items() if known[oid].lfs]
        files |= {oid: known[oid] for oid in put.values() if known[oid].lfs}
        if not large:
            return edits
        text = await self._attributes(base, edits, known)
        rules = await self.rules.lacking(text, large) if text is not None else []
        if text is None or not rules:
            return edits
        if text and not text.endswith("\n"):
            text += "\n"
        [content] = await self.blobs.put([(text + "".join(f"{rule}\n" for rule in rules)).encode()])
        oid = Oid(content.oid or "")
        files[oid] = File(oid, content.sha256, content.size, False, 0)
        return [*edits, Put(ATTRIBUTES, oid)]

    async def _attributes(
        self, base: Snapshot, edits: Sequence[Put | Remove], known: Mapping[Oid, File]
    ) -> str | None:
        """What `.gitattributes` holds after the edits, "" for nothing; None where it is no small text."""
        entry = await self.snapshots.find_entry(base, ATTRIBUTES)
        oid = entry.oid if entry is not None else None
        for edit in edits:
            if edit.path == ATTRIBUTES:
                oid = edit.oid if isinstance(edit, Put) else None
        if oid is None:
            return ""
        file = known.get(oid) or (await objects.files(self.db, [oid])).get(oid)
        if file is None or file.lfs or file.size > _CARD_LIMIT:
            return None
        return (await self.snapshots.blob(file.sha256)).decode("utf-8", "replace")

    async def draft(
        self,
        base: Snapshot | None,
        edits: Sequence[Put | Remove],
        files: Mapping[Oid, File],
        message: str,
        parents: tuple[CommitId, ...],
        *,
        facts: RepoType | None = None,
    ) -> Draft:
        """
        The commit that `edits` make of a snapshot (None: of nothing), on `parents`, the first of which is the line of
        history that "last changed by" follows. `facts`: it will be `main` of such a repo, so
        read off what lists show.
        """
        root = base.tree if base is not None else gitobjects.EMPTY_TREE
        kept = dict(files)
        if base is not None:
            edits = await self._covered(base, edits, kept)
        edited = await self.snapshots.drive(gitobjects.edit(root, edits))
        return await self._drafted(
            base, edited.root, edited.trees, edited.folders, kept, message, parents, facts=facts
        )

    async def _drafted(
        self,
        base: Snapshot | None,
        root: Oid,
        trees: Mapping[Oid, bytes],
        changed: Mapping[str, Folder],
        files: Mapping[Oid, File],
        message: str,
        parents: tuple[CommitId, ...],
        *,
        facts: RepoType | None = None,
    ) -> Draft:
        folders = dict(changed)
        if "" not in folders:  # nothing changed: the commit still needs its row for the root
            entries = (await self.snapshots.tree(root)).entries
            folders[""] = Folder(entries, frozenset())
        before = {
            path: (folder, await self.snapshots.last_changes(base, path) if base is not None else {})
            for path, folder in folders.items()
        }
        read = await FrontPage(self.snapshots, trees, files).read(facts, root) if facts else None
        return Draft(root, parents, message, trees, list(files.values()), before, read)

    # recording

    async def record(
        self, tx: Tx, actor: Actor, repo: Repo, ref: str, old: CommitId | None, draft: Draft
    ) -> CommitId:
        """
        Make the draft a commit and move `ref` from `old` (None: create it) to it, in the caller's transaction.

        Raises `Moved` when the ref is elsewhere by now, and what `Access.require` raises where the actor may not move
        it by now: a commit may have been under way for hours. Whoever follows the log learns of it there.
        """
        actor, repo = await self.access.afresh(tx, actor, repo)
        await self.require_move(tx, actor, repo, ref)
        seconds = tx.now // 1000
        who = signature(actor, seconds)
        data = gitobjects.render_commit(GitCommit(draft.tree, draft.parents, who, who, draft.message))
        commit = CommitId(gitobjects.object_oid("commit", data))
        kept = [(str(oid), "tree", tree) for oid, tree in draft.trees.items()]
        await objects.put_objects(tx, [*kept, (commit, "commit", data)])
        await require_large(tx, repo, draft.files)
        if not ref.startswith(PULLS):
            await objects.accept_large(tx, repo.id, [file.sha256 for file in draft.files if file.lfs])
        await objects.put_files(tx, draft.files)
        folders = [
            (path, lastcommits.render(lastcommits.step(before, folder, commit)))
            for path, (folder, before) in draft.folders.items()
        ]
        row = await self._row(tx, repo, commit, draft, actor, seconds)
        await recording.keep(tx, repo, [Made(row, folders)])
        await recording.move(tx, actor, repo, ref, old, commit, facts=draft.facts, commits=[row])
        self.snapshots.learn(draft.tree, {path: folder for path, (folder, _) in draft.folders.items()})
        return commit

    async def _row(
        self, tx: Tx, repo: Repo, commit: CommitId, draft: Draft, actor: Actor, seconds: int
    ) -> Commit:
        parent = draft.parents[0] if draft.parents else None
        before = await objects.find_commit(tx, repo.id, parent) if parent is not None else None
        title, _, rest = draft.message.partition("\n")
        return Commit(
            commit,
            draft.tree,
            parent,
            before.depth + 1 if before is not None else 1,
            title,
            rest.strip("\n"),
            actor.name or "system",
            type(tx.now)(seconds * 1000),
        )

    async def _propose(
        self, tx: Tx, actor: Actor, repo: Repo, ref: str, header: CommitHeader, draft: Draft
    ) -> Committed:
        """Open a pull request that holds one commit."""
        number = await discussions.open_pull(
            tx, repo.id, title=_title(header.summary), description=header.description, author_id=actor.user_id,
            base=ref, draft=False,
        )  # fmt: skip
        commit = await self.record(tx, actor, repo, f"refs/pr/{number}", None, draft)
        await log.append(tx, actor, "repo:pull:open", str(repo.ref), number=number, base=ref)
        return Committed(commit, number)

    async def squash(self, actor: Actor, repo: Repo, branch: str, message: str = "") -> CommitId:
        """Replace a branch's history by one commit with the same files."""
        self.access.require(actor, Action.WRITE, repo)
        ref = await self.target(actor, repo, branch)
        if len(message) > _SQUASH_MESSAGE:
            raise Invalid(f"The message of a squash may have {_SQUASH_MESSAGE} characters.")
        title = message.strip() or f"Super-squash branch '{branch}'"
        async with self.turns.of(repo, ref):
            base = await self.snapshots.at(repo, ref)
            folders = await self.snapshots.drive(gitobjects.changed_folders(None, base.tree))
            draft = await self._drafted(None, base.tree, {}, folders, {}, _message(title), ())
            async with self.db.write() as tx:
                return await self.record(tx, actor, repo, ref, base.commit, draft)

    async def revert(
        self, actor: Actor, repo: Repo, branch: str, commit: str, summary: str | None = None
    ) -> CommitId:
        """
        Undo one commit of a branch by another on top. Raises `Conflict` where a file that it changed has been changed
        again since: undoing would lose that.
        """
        self.access.require(actor, Action.WRITE, repo)
        ref = await self.target(actor, repo, branch)
        async with self.turns.of(repo, ref):
            return await self._revert(actor, repo, ref, commit, summary)

    async def _revert(self, actor: Actor, repo: Repo, ref: str, commit: str, summary: str | None) -> CommitId:
        wanted = await self.snapshots.at(repo, commit)
        row = await objects.find_commit(self.db, repo.id, wanted.commit)
        parent = await self.snapshots.of(repo, row.parent) if row is not None and row.parent else None
        done = await self.snapshots.drive(gitobjects.diff(parent.tree if parent else None, wanted.tree))
        base = await self.snapshots.at(repo, ref)
        if not await objects.is_ancestor(self.db, repo.id, wanted.commit, base.commit):
            raise Invalid(f"The commit {wanted.commit} is not part of {ref}.")
        now = await self.snapshots.drive(gitobjects.diff(wanted.tree, base.tree))
        undone = [Change(change.path, change.new, change.old) for change in done]
        clashes = sorted({change.path for change in now} & {change.path for change in undone})
        if clashes:
            raise Conflict(
                f"These files were changed again since {wanted.commit[:7]}: {', '.join(clashes[:20])}.",
                body={"files": clashes},
            )
        title = summary or f'Revert "{row.title if row else ""}"'
        message = _message(title, f"This reverts commit {wanted.commit}.")
        facts = repo.ref.type if ref == MAIN else None
        draft = await self.draft(base, edits_of(undone), {}, message, (base.commit,), facts=facts)
        async with self.db.write() as tx:
            return await self.record(tx, actor, repo, ref, base.commit, draft)


def signature(actor: Actor, seconds: int) -> Signature:
    """By whom git is told that something was made."""
    name = actor.name or "system"
    return Signature(name, f"{name}@users.noreply.hubreg", seconds)


def edits_of(changes: Iterable[Change]) -> list[Put | Remove]:
    """The edits that make the changes; what goes away first, so that a file may become a folder."""
    gone: list[Put | Remove] = [Remove(c.path) for c in changes if c.new is None]
    put: list[Put | Remove] = [Put(c.path, c.new.oid, c.new.mode) for c in changes if c.new is not None]
    return gone + put


def _as_large(line: FileLine) -> FileLine | AddLfs:
    """
    A pointer that was sent as a file is the large file that it stands for, and has to be one of this repo's: what an
    oid means is kept once for all repos, and cannot be the pointer's text in one and the content in another.
    """
    pointer = lfs.stands_for(line.content)
    return AddLfs(line.path, pointer.sha256, pointer.size) if pointer else line


def _pointer(sha256: Sha256, size: int) -> File:
    text = lfs.render_pointer(sha256, size)
    return File(gitobjects.object_oid("blob", text), sha256, size, True, len(text))


async def require_large(tx: Tx, repo: Repo, files: Iterable[File]) -> None:
    """
    Once more, where it counts: what was held when the commit was drafted may have been collected since. Raises `Moved`.
    """
    large = {file.sha256 for file in files if file.lfs}
    if len(await objects.has_large(tx, repo.id, sorted(large))) < len(large):
        raise Moved("A large file of this commit is not here any more: it was not committed for too long.")


def refuse_missing(large: Sequence[AddLfs], held: Mapping[Sha256, int]) -> None:
    """Raise `Invalid`, in the Hub's words (HUB 4.2), for a large file that the repo does not hold."""
    missing = [o.path for o in large if o.sha256 not in held]
    if missing:
        raise Invalid(
            "Your push was rejected because an LFS pointer pointed to a file that does not exist. For instance,"
            " this can happen if you used git push --no-verify to push your changes."
            f" Offending file: - {missing[0]}",
            hint="Send the file's content first; the commit names it by its sha256.",
        )
    for o in large:
        if o.size is not None and o.size != held[o.sha256]:
            raise Invalid(f"{o.path} has {held[o.sha256]} bytes, not {o.size}.")


def _title(summary: str) -> str:
    """
    The title of a pull request that a commit opens: on one line and no longer than others, but not refused, since the
    client has sent all its files by then. The commit keeps the whole.
    """
    shown = "".join(c if c.isprintable() else " " for c in summary)
    return " ".join(shown.split())[: discussions.LONGEST_TITLE].rstrip() or "Update"


def _message(summary: str, description: str = "") -> str:
    title = " ".join(summary.split()) or "Update"
    body = description.strip()
    return f"{title}\n\n{body}" if body else title
