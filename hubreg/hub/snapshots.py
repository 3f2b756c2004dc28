"""
Snapshots: what a repo holds at a commit.

A name (branch, tag, `refs/...`, abbreviated or whole commit id) resolves to a commit; a commit to a tree; a tree to
entries. Only the first step can change, and only by a write: its answers are held in a `Fresh`. The rest never
changes and is held until something else is wanted more.

Listings show folders before files at every level, a folder followed by what it holds; a page ends anywhere in that
order, and its cursor is the path it ends with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from hubreg.errors import Damaged, EntryNotFound, NotFound, RepoNotFound, RevisionNotFound, UpstreamFailed
from hubreg.formats import gitobjects, lastcommits, lfs, names
from hubreg.formats.gitobjects import FOLDER, SUBMODULE, Folder, TreeEntry
from hubreg.hub import judging
from hubreg.hub.judging import Judgement
from hubreg.mirror.policy import Policy
from hubreg.mirror.sync import Mirror
from hubreg.model import CommitId, Entry, EntryKind, Oid, Sha256
from hubreg.store import objects, repos
from hubreg.store.blobs import Blobs
from hubreg.store.db import Database
from hubreg.store.fresh import Bounded, Fresh
from hubreg.store.objects import Commit, File
from hubreg.store.repos import Repo

T = TypeVar("T")

MAIN = "refs/heads/main"
_TREE_ENTRIES = 300_000  # of cached trees, all together: some 60 MB when full
_FILES = 50_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repo at a commit: immutable."""

    repo: Repo
    commit: CommitId
    tree: Oid


class Tree:
    """One tree object, in git's order, and the other ways in which it is looked at."""

    def __init__(self, entries: tuple[TreeEntry, ...]) -> None:
        self.entries = entries

    @cached_property
    def names(self) -> dict[str, TreeEntry]:
        return {entry.name: entry for entry in self.entries}

    @cached_property
    def places(self) -> dict[str, int]:
        return {entry.name: place for place, entry in enumerate(self.entries)}

    @cached_property
    def folders(self) -> tuple[TreeEntry, ...]:
        return tuple(entry for entry in self.entries if entry.mode == FOLDER)

    @cached_property
    def files(self) -> tuple[TreeEntry, ...]:
        return tuple(entry for entry in self.entries if entry.mode not in (FOLDER, SUBMODULE))


_EMPTY = Tree(())


class Snapshots:
    def __init__(self, db: Database, blobs: Blobs, mirror: Mirror) -> None:
        self._db, self._blobs, self.mirror = db, blobs, mirror
        self._names: Fresh[tuple[int, str], CommitId] = Fresh(db)
        self._judged: Fresh[tuple[int, CommitId], bool] = Fresh(db)
        self._roots: Bounded[tuple[int, CommitId], Oid] = Bounded(20_000)
        self._trees: Bounded[Oid, Tree] = Bounded(_TREE_ENTRIES, lambda tree: len(tree.entries) + 1)
        self._files: Bounded[Oid, File] = Bounded(_FILES)
        self._last: Bounded[tuple[int, CommitId, str], tuple[CommitId, ...]] = Bounded(
            _TREE_ENTRIES, lambda ids: len(ids) + 1
        )

    # names -> commits

    async def resolve(self, repo: Repo, revision: str | None) -> CommitId:
        """
        The commit that a revision names: a branch, a tag, a full ref name, an (abbreviated) commit id, in this order.
        None, "" and "HEAD" are `main`. Raises `RevisionNotFound`.
        """
        name = "main" if revision in (None, "", "HEAD") else str(revision)
        if repo.upstream_id is not None:
            return await self._let_out(repo, await self.mirror.resolve(repo, name))
        found = self._names.get((repo.id, name))
        if found is None:
            found = await self._look_up(repo, name)
            self._names.put((repo.id, name), found)
        return found

    async def _let_out(self, repo: Repo, commit: CommitId) -> CommitId:
        """A commit of a mirrored repo, if the policies let it be handed out; else raise the refusal."""
        key = (repo.id, commit)
        if (policies := await self.mirror.sources.policies(repo)) and self._judged.get(key) is None:
            judgement = await self.judge(repo, commit, policies)
            judging.enforce(judgement)
            self._judged.put(key, True)
        return commit

    async def judge(self, repo: Repo, commit: CommitId, policies: Sequence[Policy]) -> Judgement:
        """What policies find in a commit of a mirrored repo. Its listing is fetched where they look at files."""
        files = await self.files(await self.of(repo, commit)) if judging.wants_files(policies) else []
        return await judging.judged(self._db, repo, commit, policies, files)

    async def _look_up(self, repo: Repo, name: str) -> CommitId:
        for ref in (name,) if name.startswith("refs/") else (f"refs/heads/{name}", f"refs/tags/{name}"):
            commit = await repos.find_ref(self._db, repo.id, ref)
            if commit is not None:
                return commit
        if names.is_abbreviation(name):
            found = await objects.by_prefix(self._db, repo.id, name.lower())
            if len(found) == 1:
                return found[0]
        raise await self.unknown(repo, name)

    async def unknown(self, repo: Repo, name: str) -> NotFound:
        """What to say of a revision that is not there: a repo that was deleted under way has none at all."""
        if await repos.get(self._db, repo.id) is None:
            return RepoNotFound("Repository not found")
        return RevisionNotFound(f"Invalid rev id: {name}")

    async def at(self, repo: Repo, revision: str | None) -> Snapshot:
        """The snapshot that a revision names. Raises `RevisionNotFound`."""
        return await self.of(repo, await self.resolve(repo, revision))

    async def of(self, repo: Repo, commit: CommitId) -> Snapshot:
        """The snapshot of a commit that the repo is known to have."""
        tree = self._roots.get((repo.id, commit))
        if tree is None:
            row = await objects.find_commit(self._db, repo.id, commit)
            if row is None and repo.upstream_id is not None:
                row = await self.mirror.complete(repo, commit)
            if row is None:
                raise RevisionNotFound(f"Invalid rev id: {commit}")
            tree = row.tree
            self._roots.put((repo.id, commit), tree)
        return Snapshot(repo, commit, tree)

    # trees

    async def tree(self, oid: Oid) -> Tree:
        found = self._trees.get(oid)
        if found is None:
            if oid == gitobjects.EMPTY_TREE:
                return _EMPTY
            row = await objects.find_object(self._db, oid)
            if row is None or row[0] != "tree":
                raise Damaged(f"The tree {oid} is missing.")
            found = Tree(gitobjects.parse_tree(row[1]))
            self._trees.put(oid, found)
        return found

    def learn(self, root: Oid, folders: Mapping[str, Folder]) -> None:
        """
        Hold the folders of a commit that was just made, by path, below its `root`: the next request is likely to ask
        for them, and to read one of 10 000 entries again takes 15 ms.
        """
        trees = {path: Tree(folder.entries) for path, folder in folders.items()}
        for path, tree in trees.items():
            parent, _, name = path.rpartition("/")
            if not path:
                self._trees.put(root, tree)
            elif parent in trees and name in trees[parent].names:
                self._trees.put(trees[parent].names[name].oid, tree)

    async def drive(
        self,
        work: Generator[Oid, tuple[TreeEntry, ...], T],
        new: Mapping[Oid, bytes] | None = None,
    ) -> T:
        """Run tree work of `formats.gitobjects`, giving it the trees it asks for; those in `new` are not stored yet."""
        try:
            wanted = next(work)
            while True:
                if new is not None and wanted in new:
                    entries = gitobjects.parse_tree(new[wanted])
                else:
                    entries = (await self.tree(wanted)).entries
                wanted = work.send(entries)
        except StopIteration as done:
            value: T = done.value
            return value

    async def _find(self, root: Oid, path: str) -> TreeEntry | None:
        """The tree entry at a path; for "" one that stands for the root."""
        entry = TreeEntry("", FOLDER, root)
        for part in path.split("/") if path else ():
            if entry.mode != FOLDER:
                return None
            found = (await self.tree(entry.oid)).names.get(part)
            if found is None:
                return None
            entry = found
        return entry

    # entries

    async def find_entry(self, snapshot: Snapshot, path: str) -> Entry | None:
        found = await self._find(snapshot.tree, path.strip("/"))
        if found is None or found.mode == SUBMODULE:
            return None
        return (await self._entries(snapshot.repo, [(path.strip("/"), found)]))[0]

    async def entry(self, snapshot: Snapshot, path: str) -> Entry:
        """
        The file at a path. Raises `EntryNotFound` with the commit in its headers: clients remember that this commit
        lacks the path.
        """
        found = await self.find_entry(snapshot, path)
        if found is None or found.kind is EntryKind.DIRECTORY:
            raise absent(snapshot)
        return found

    async def entries(self, snapshot: Snapshot, paths: Sequence[str]) -> list[Entry]:
        """Those of the paths that exist, folders too, in the order asked."""
        found: list[tuple[str, TreeEntry]] = []
        for path in dict.fromkeys(path.strip("/") for path in paths):
            entry = await self._find(snapshot.tree, path) if path else None
            if entry is not None and entry.mode != SUBMODULE:
                found.append((path, entry))
        return await self._entries(snapshot.repo, found)

    async def page(
        self, snapshot: Snapshot, folder: str, *, recursive: bool, after: str = "", limit: int = 1000
    ) -> tuple[list[Entry], str | None]:
        """
        Up to `limit` entries of a folder behind the path `after`, and the cursor of the next page.

        Raises `EntryNotFound` where `folder` is no folder.
        """
        folder = folder.strip("/")
        start = await self._find(snapshot.tree, folder)
        if start is None or start.mode != FOLDER:
            raise absent(snapshot)
        prefix = f"{folder}/" if folder else ""
        passed = (
            after[len(prefix) :].split("/") if after.startswith(prefix) and after != folder and after else []
        )
        found: list[tuple[str, TreeEntry]] = []
        async for item in self._walk(start.oid, prefix, recursive, passed):
            found.append(item)
            if len(found) > limit:
                break
        more = len(found) > limit
        found = found[:limit]
        return await self._entries(snapshot.repo, found), found[-1][0] if more else None

    async def _walk(
        self, oid: Oid, prefix: str, recursive: bool, passed: list[str]
    ) -> AsyncIterator[tuple[str, TreeEntry]]:
        """Everything below a tree, in listing order, behind the place that the names `passed` lead to."""
        tree = await self.tree(oid)
        skip = tree.names.get(passed[0]) if passed else None
        folders, files = tree.folders, tree.files
        if skip is not None and skip.mode == FOLDER:
            at = folders.index(skip)
            if recursive:
                async for item in self._walk(skip.oid, f"{prefix}{skip.name}/", True, passed[1:]):
                    yield item
            folders = folders[at + 1 :]
        elif skip is not None:
            folders, files = (), files[files.index(skip) + 1 :]
        for entry in folders:
            yield prefix + entry.name, entry
            if recursive:
                async for item in self._walk(entry.oid, f"{prefix}{entry.name}/", True, []):
                    yield item
        for entry in files:
            yield prefix + entry.name, entry

    async def files(self, snapshot: Snapshot, limit: int | None = None) -> list[Entry]:
        """Every file, or the first `limit` ones, in listing order."""
        found: list[tuple[str, TreeEntry]] = []
        async for path, entry in self._walk(snapshot.tree, "", True, []):
            if entry.mode != FOLDER:
                found.append((path, entry))
            if limit is not None and len(found) >= limit:
                break
        return await self._entries(snapshot.repo, found)

    async def paths(self, root: Oid, limit: int) -> list[str]:
        """The paths of up to `limit` files below a tree."""
        found: list[str] = []
        async for path, entry in self._walk(root, "", True, []):
            if entry.mode != FOLDER:
                found.append(path)
            if len(found) >= limit:
                break
        return found

    async def _entries(self, repo: Repo, found: Sequence[tuple[str, TreeEntry]]) -> list[Entry]:
        if repo.upstream_id is not None:
            return await self._mirrored(repo, found)
        files = await self.blobs([entry.oid for _, entry in found if entry.mode != FOLDER])
        return [
            Entry(path, EntryKind.DIRECTORY, entry.oid)
            if entry.mode == FOLDER
            else _entry(path, files[entry.oid])
            for path, entry in found
        ]

    async def _mirrored(self, repo: Repo, found: Sequence[tuple[str, TreeEntry]]) -> list[Entry]:
        """The same of a mirrored repo, whose files are known by what upstream says of them."""
        wanted = [(path, entry.oid) for path, entry in found if entry.mode != FOLDER]
        files = iter(await self.mirror.entries(repo, wanted))
        return [
            Entry(path, EntryKind.DIRECTORY, entry.oid) if entry.mode == FOLDER else next(files)
            for path, entry in found
        ]

    async def blobs(self, oids: Iterable[Oid]) -> dict[Oid, File]:
        """What the oids of files stand for. Raises `Damaged` where that is not known."""
        known: dict[Oid, File] = {}
        missing: list[Oid] = []
        for oid in oids:
            file = self._files.get(oid)
            if file is None:
                missing.append(oid)
            else:
                known[oid] = file
        if missing:
            for file in (await objects.files(self._db, missing)).values():
                known[file.oid] = file
                self._files.put(file.oid, file)
            for oid in missing:
                if oid not in known:
                    raise Damaged(f"The content of {oid} is not known.")
        return known

    # content

    async def read(self, snapshot: Snapshot, path: str, limit: int) -> bytes | None:
        """The content of a file of at most `limit` bytes that is no LFS file; None where there is none such."""
        entry = await self.find_entry(snapshot, path)
        if entry is None or entry.kind is EntryKind.DIRECTORY or entry.lfs or entry.size > limit:
            return None
        return await self.content(entry)

    async def content(self, entry: Entry) -> bytes:
        """What git holds for a file: the pointer's text for one in LFS. Whole, so for small ones."""
        if not entry.here and not entry.lfs:
            raise UpstreamFailed(f"The content of {entry.path} has not been fetched from upstream.")
        if entry.sha256 is None:
            raise Damaged(f"{entry.path} has no content.")
        if entry.lfs:
            return lfs.render_pointer(entry.sha256, entry.size)
        return await self.blob(entry.sha256)

    async def blob(self, digest: Sha256) -> bytes:
        """A small content in one piece."""
        return b"".join([chunk async for chunk in self._blobs.read(digest)])

    # last commits

    async def last_commits(self, snapshot: Snapshot, entries: Sequence[Entry]) -> dict[str, Commit]:
        """For each entry the commit that last changed it, by path."""
        ids: dict[str, CommitId] = {}
        for folder in {entry.path.rpartition("/")[0] for entry in entries}:
            prefix = f"{folder}/" if folder else ""
            for name, commit in (await self.last_changes(snapshot, folder)).items():
                ids[prefix + name] = commit
        wanted = {entry.path: ids[entry.path] for entry in entries if entry.path in ids}
        rows = await objects.commits(self._db, snapshot.repo.id, sorted(set(wanted.values())))
        return {path: rows[id_] for path, id_ in wanted.items() if id_ in rows}

    async def last_changes(self, snapshot: Snapshot, folder: str) -> dict[str, CommitId]:
        """For each name in a folder the commit that last changed it; empty for no folder."""
        entry = await self._find(snapshot.tree, folder)
        if entry is None or entry.mode != FOLDER:
            return {}
        commit, oid = snapshot.commit, snapshot.tree
        parts = folder.split("/") if folder else []
        for depth, part in enumerate([*parts, None]):
            ids = await self._last_ids(snapshot.repo.id, commit, "/".join(parts[:depth]))
            tree = await self.tree(oid)
            if ids is None or len(ids) != len(tree.entries):
                return {}
            if part is None:
                return {entry.name: id_ for entry, id_ in zip(tree.entries, ids, strict=True)}
            # The row of a folder is kept with the commit that last changed it, which its own folder knows.
            place = tree.places[part]
            commit, oid = ids[place], tree.entries[place].oid
        return {}

    async def _last_ids(self, repo_id: int, commit: CommitId, folder: str) -> tuple[CommitId, ...] | None:
        key = (repo_id, commit, folder)
        ids = self._last.get(key)
        if ids is None:
            data = await objects.last_commits(self._db, repo_id, commit, folder)
            if data is None:
                return None
            ids = lastcommits.parse(data)
            self._last.put(key, ids)
        return ids


def _entry(path: str, file: File) -> Entry:
    return Entry(path, EntryKind.FILE, file.oid, file.size, file.sha256, file.lfs, file.pointer_size)


def absent(snapshot: Snapshot) -> EntryNotFound:
    """CLIENTS requirement 4: without the commit clients do not remember what is not there, and ask again for ever."""
    return EntryNotFound("Entry not found", headers={"X-Repo-Commit": snapshot.commit})
