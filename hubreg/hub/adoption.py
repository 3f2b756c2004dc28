"""
What a push brought becomes the repo's: files as blobs, commits as rows, and for every folder which commit last changed
what is in it.

The last follows git: an entry that a merge has just as one of its parents has it was last changed on that parent's
line, the first such parent's, so the answer is that of `git log -1 -- path`. Where two lines made the same change to a
file, git asks the file which line to follow, and here the folder is asked: another commit may be named, of the same
content.

Rows beyond some MB are written ahead of the transaction that makes them visible, for other writers would wait for as
long. Should that never come, they are there and nothing leads to them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from hubreg.errors import Moved, TooLarge
from hubreg.formats import commitlines, gitobjects, lastcommits
from hubreg.formats.gitobjects import Folder, Loads, TreeEntry
from hubreg.formats.unpacking import OLDER_FIRST
from hubreg.hub import recording
from hubreg.hub.ancestry import Node
from hubreg.hub.commits import Commits, refuse_missing, require_large
from hubreg.hub.frontpage import FrontPage
from hubreg.hub.inspection import FOLDER_COST, Brought
from hubreg.hub.received import Received
from hubreg.hub.recording import Made
from hubreg.hub.snapshots import Snapshot, Snapshots, Tree
from hubreg.model import AddLfs, CommitId, Millis, Oid, Sha256
from hubreg.store import objects
from hubreg.store.db import Tx
from hubreg.store.fresh import Bounded
from hubreg.store.objects import Commit, File
from hubreg.store.repos import Facts, Repo
from hubreg.store.threads import run_in

_AHEAD = 8 << 20  # bytes of rows that the last transaction takes
_BATCH = 8 << 20  # bytes of objects that are held in memory
_MOST = 500  # and how many
_AT_ONCE = 4  # threads that keep files
_TREE_ENTRIES = 50_000  # of cached trees, all together
_SHOWN = 10  # files that a refusal names
_PAUSE = 20_000  # entries that are looked at without letting others have a turn
_AGAIN = 4  # how often what a push brings is looked at: with what was there before, for each parent, after renamings

T = TypeVar("T")


class Ahead(Snapshots):
    """
    Snapshots of commits that are not recorded yet: their trees are in the pack, their lists in memory.

    Folders may be looked at by path until `most` entries were: what is cheap to send may be much to look at.
    """

    def __init__(self, commits: Commits, received: Received, most: int) -> None:
        super().__init__(commits.db, commits.blobs, commits.snapshots.mirror)
        self._received = received
        self._trees: Bounded[Oid, Tree] = Bounded(_TREE_ENTRIES, lambda tree: len(tree.entries) + 1)
        self.lists: dict[tuple[CommitId, str], bytes] = {}
        self._left, self._since = most, 0

    async def changed_folders(self, old: Oid | None, new: Oid) -> dict[str, Folder]:
        """`gitobjects.changed_folders`; `TooLarge` where all of them together are too much."""
        return await self.drive(self._paid(gitobjects.changed_folders(old, new)))

    def _paid(self, work: Loads[T]) -> Loads[T]:
        try:
            wanted = next(work)
            while True:
                entries: tuple[TreeEntry, ...] = yield wanted
                self._since += FOLDER_COST + len(entries)
                self._left -= FOLDER_COST + len(entries)
                if self._left < 0:
                    raise TooLarge(
                        "This push changes more files and folders than this server takes at once.",
                        hint=OLDER_FIRST,
                    )
                wanted = work.send(entries)
        except StopIteration as done:
            value: T = done.value
            return value

    async def pause(self, entries: int) -> None:
        """Let others have a turn, now and then. `entries`: how many were looked at."""
        self._since += FOLDER_COST + entries
        if self._since > _PAUSE:
            self._since = 0
            await asyncio.sleep(0)

    async def tree(self, oid: Oid) -> Tree:
        await self.pause(0)
        found = self._trees.get(oid)
        if found is None:
            if oid not in self._received.objects:
                return await super().tree(oid)
            found = Tree(gitobjects.parse_tree(await self._received.content(oid)))
            self._trees.put(oid, found)
            self._since += len(found.entries)
        return found

    async def _last_ids(self, repo_id: int, commit: CommitId, folder: str) -> tuple[CommitId, ...] | None:
        data = self.lists.get((commit, folder))
        key = (repo_id, commit, folder)
        if data is None or self._last.get(key) is not None:
            return await super()._last_ids(repo_id, commit, folder)
        ids = lastcommits.parse(data)
        self._last.put(key, ids)
        return ids


class Adoption:
    """
    Of one push into one repo: `keep_files`, `prepare`, then `record` in a transaction. `paths` is how many it may
    change beyond what it brings (`Limits.paths`).
    """

    def __init__(
        self, commits: Commits, repo: Repo, received: Received, brought: Brought, paths: int
    ) -> None:
        self._commits, self._repo, self._received, self._brought = commits, repo, received, brought
        self._ahead = Ahead(commits, received, paths + _AGAIN * brought.cost)
        self._files: dict[Oid, File] = {}
        self._known: list[File] = []  # files that have a row already, for another repo maybe
        self._rows: dict[CommitId, Commit] = {}
        self._parents: Mapping[str, Commit] = {}
        self._objects: list[tuple[str, str, bytes]] = []
        self._weight = 0
        self.tips = brought.tips
        self.facts: Facts | None = None

    # files

    async def keep_files(self, ref: str) -> None:
        """
        Make blobs of the new files. Raises `Invalid`, in the Hub's words, for files that are too large for git, and for
        pointers to what was never sent to this repo; then nothing has been kept. `ref` is named in the first.
        """
        self._refuse_large(ref)
        large = [
            AddLfs(path, pointer.sha256, pointer.size)
            for oid, path in self._brought.files.items()
            if (pointer := self._received.pointers.get(oid))
        ]
        held = await objects.has_large(self._commits.db, self._repo.id, [file.sha256 for file in large])
        refuse_missing(large, held)
        for oids in self._batches(await self._unknown(list(self._brought.files))):
            await self._keep(oids)
        known: dict[str, File] = {file.oid: file for file in self._known}
        for oids in self._batches([file.oid for file in self._known]):
            await self._compare(oids, known)

    def _refuse_large(self, ref: str) -> None:
        most = self._commits.config.regular_max
        paths = [path for oid, path in self._brought.files.items() if self._received.objects[oid].size > most]
        if paths:
            listed = " - ".join(f"{path} (ref: {ref})" for path in paths[:_SHOWN])
            raise TooLarge(commitlines.too_large(most, listed))

    async def _unknown(self, oids: Sequence[Oid]) -> list[Oid]:
        """Those of the files that are nowhere here. What an oid stands for is the same in every repo."""
        unknown: list[Oid] = []
        for start in range(0, len(oids), _MOST):
            part = oids[start : start + _MOST]
            known = await objects.files(self._commits.db, part)
            unknown += [oid for oid in part if oid not in known]
            self._known += known.values()
            await asyncio.sleep(0)
        return unknown

    async def _keep(self, oids: Sequence[Oid]) -> None:
        pointers = self._received.pointers
        plain = [oid for oid in oids if oid not in pointers]
        contents = await self._received.contents(plain)
        # The disk syncs several files in the time that one takes.
        put = [self._commits.blobs.put(contents[part::_AT_ONCE]) for part in range(_AT_ONCE)]
        for part, kept in enumerate(await asyncio.gather(*put)):
            for oid, content in zip(plain[part::_AT_ONCE], kept, strict=True):
                self._files[oid] = File(oid, content.sha256, content.size, False, 0)
        for oid in set(oids) & pointers.keys():
            size = self._received.objects[oid].size
            self._files[oid] = File(oid, pointers[oid].sha256, pointers[oid].size, True, size)

    async def _compare(self, oids: Sequence[Oid], known: Mapping[str, File]) -> None:
        """What is here under these names must be what was sent: see `objects.put_files`."""
        contents = await self._received.contents(list(oids))
        hashed = await run_in(None, lambda: [hashlib.sha256(content).hexdigest() for content in contents])
        pointers = self._received.pointers
        sent = [
            File(oid, pointers[oid].sha256 if oid in pointers else Sha256(sha256), 0, oid in pointers, 0)
            for oid, sha256 in zip(oids, hashed, strict=True)
        ]
        objects.require_same(sent, known)

    def _batches(self, oids: Sequence[Oid]) -> Iterator[list[Oid]]:
        batch: list[Oid] = []
        weight = 0
        for oid in oids:
            batch.append(oid)
            weight += self._received.objects[oid].size
            if weight >= _BATCH or len(batch) >= _MOST:
                yield batch
                batch, weight = [], 0
        if batch:
            yield batch

    # commits

    async def prepare(self, main: CommitId | None) -> None:
        """
        Work out all rows; and, if `main` is to move to a commit, as `facts` what it is to show. Raises `TooLarge`.
        """
        for oids in self._batches(self._brought.trees):
            for oid, data in zip(oids, await self._received.contents(oids), strict=True):
                await self._put(oid, "tree", data)
        for oid in self._brought.tags:
            await self._put(oid, "tag", await self._received.content(oid))
        await self._find_parents()
        for id_, node in self._brought.commits.items():
            data = await self._received.content(Oid(id_))
            await self._put(id_, "commit", data)
            self._rows[id_] = self._row(id_, data)
            for path, listed in (await self._lists(id_, node)).items():
                self._ahead.lists[id_, path] = listed
                self._weight += len(listed)
            await asyncio.sleep(0)
        if main is not None:
            tree = (await self._snapshot(main)).tree
            front = FrontPage(self._ahead, files=self._files)
            self.facts = await front.read(self._repo.ref.type, tree)

    async def _find_parents(self) -> None:
        """Rows of the commits that the new ones build on, for their depth and their trees."""
        new = self._brought.commits
        parents = {parent for node in new.values() for parent in node.parents if parent not in new}
        self._parents = await objects.commits(self._commits.db, self._repo.id, list(parents))

    def _row(self, id_: CommitId, data: bytes) -> Commit:
        commit = gitobjects.parse_commit(data)
        parent = commit.parents[0] if commit.parents else None
        before = (self._rows.get(parent) or self._parents[parent]) if parent else None
        title, _, rest = commit.message.lstrip("\n").partition("\n")
        return Commit(
            id_,
            commit.tree,
            parent,
            before.depth + 1 if before else 1,
            title,
            rest.strip("\n"),
            commit.author.name,
            Millis(commit.author.seconds * 1000),
        )

    async def _snapshot(self, commit: CommitId) -> Snapshot:
        """Of a commit of the repo, a new one or not."""
        node = self._brought.commits.get(commit)
        return Snapshot(self._repo, commit, node.tree) if node else await self._ahead.of(self._repo, commit)

    async def _lists(self, id_: CommitId, node: Node) -> dict[str, bytes]:
        """For each folder that differs from every parent's, and for the root, its list of last commits."""
        parents = [await self._snapshot(parent) for parent in node.parents]
        before_it: list[Oid | None] = [base.tree for base in parents]
        compared = [await self._ahead.changed_folders(tree, node.tree) for tree in before_it or [None]]
        root = Folder((await self._ahead.tree(node.tree)).entries, frozenset())
        lists: dict[str, bytes] = {}
        for path in {"", *set.intersection(*(set(folders) for folders in compared))}:
            folder = compared[0].get(path, root)
            await self._ahead.pause(len(folder.entries))
            rest = {entry.name for entry in folder.entries}
            before: dict[str, CommitId] = {}
            for base, folders in zip(parents, compared, strict=False):
                same = rest - folders[path].changed if path in folders else rest
                if same:
                    found = await self._ahead.last_changes(base, path)
                    before |= {name: found[name] for name in same if name in found}
                    rest = rest - same
            changed = Folder(folder.entries, frozenset(rest))
            lists[path] = lastcommits.render(lastcommits.step(before, changed, id_))
        return lists

    # rows

    async def _put(self, oid: str, kind: str, data: bytes) -> None:
        self._objects.append((oid, kind, data))
        self._weight += len(data)
        if self._weight >= _AHEAD:
            async with self._commits.db.write() as tx:
                await self._write(tx)

    async def _write(self, tx: Tx) -> None:
        written, self._objects, self._weight = self._objects, [], 0
        await objects.put_objects(tx, written)
        lists, self._ahead.lists = self._ahead.lists, {}
        rows = [(commit, path, data) for (commit, path), data in lists.items()]
        await objects.put_last_commits(tx, self._repo.id, rows)

    async def record(self, tx: Tx, *, proposed: bool) -> None:
        """Everything but the refs, in the transaction that moves them. `proposed`: only those of pull requests."""
        await self._write(tx)
        files = [*self._files.values(), *self._known]
        await require_large(tx, self._repo, files)
        if not proposed:
            await objects.accept_large(tx, self._repo.id, [file.sha256 for file in files if file.lfs])
        await objects.put_files(tx, self._files.values())
        if await objects.keep_files(tx, [file.oid for file in self._known]):
            raise Moved("A file of this push was collected meanwhile; push again.")
        await recording.keep(tx, self._repo, [Made(row, ()) for row in self._rows.values()])

    def commits_of(self, tip: CommitId) -> list[Commit]:
        """The new commits that a tip leads to, oldest first."""
        new, found, waiting = self._brought.commits, set[CommitId](), [tip]
        while waiting:
            id_ = waiting.pop()
            if id_ in new and id_ not in found:
                found.add(id_)
                waiting += new[id_].parents
        return [row for id_, row in self._rows.items() if id_ in found]
