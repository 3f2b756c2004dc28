"""
What a push brings, looked at before anything is kept of it: from the tips of its refs down to the files, everything
that is new must be well formed, and everything that is named must be in the pack or in this repo.

The second half is what keeps repos apart. Objects are kept once for all of them, so that an oid means something here
is no reason that this repo may show it: somebody who has learned an oid of a private file could otherwise push a tree
that names it, or a delta upon it, and read the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hubreg.errors import Damaged, Invalid
from hubreg.formats import gitobjects, names
from hubreg.formats.gitobjects import EMPTY_TREE, FOLDER, SUBMODULE, TreeEntry
from hubreg.hub.ancestry import Ancestry, Node
from hubreg.hub.packing import Packing
from hubreg.hub.received import Received
from hubreg.model import CommitId, Oid
from hubreg.store import objects, repos
from hubreg.store.db import Database
from hubreg.store.repos import Repo

T = TypeVar("T")

_LAST_SECOND = 253_402_300_799  # of the year 9999: dates beyond it cannot be shown
_BATCH = 500
_DEEP = 700  # characters of a folder's path, from which on a name in it may be too much


@dataclass(slots=True)
class Brought:
    """
    What is new. `commits` have their parents before them; `trees` and `files` are by oid, a file with the first path
    at which it was seen; `tips` is what each new value of a ref leads to.
    """

    commits: dict[CommitId, Node] = field(default_factory=dict)
    tags: list[Oid] = field(default_factory=list)
    trees: list[Oid] = field(default_factory=list)
    files: dict[Oid, str] = field(default_factory=dict)
    tips: dict[Oid, CommitId] = field(default_factory=dict)


class Holdings:
    """What a repo holds: everything that some commit of it leads to."""

    def __init__(self, db: Database, packing: Packing, repo: Repo) -> None:
        self._db, self._packing, self._repo = db, packing, repo

    async def commits(self, ids: Iterable[str]) -> dict[str, objects.Commit]:
        """Those of the commits that are the repo's."""
        found: dict[str, objects.Commit] = {}
        asked = list(ids)
        for start in range(0, len(asked), _BATCH):
            found |= await objects.commits(self._db, self._repo.id, asked[start : start + _BATCH])
            await asyncio.sleep(0)  # a point read does not wait for anything, so it lets nobody else go on
        return found

    async def tags(self) -> dict[Oid, CommitId]:
        """The commits of annotated tags, by the tags' own oids."""
        tags = await repos.annotated_tags(self._db, self._repo.id)
        commits = dict(await repos.refs(self._db, self._repo.id))
        return {oid: commits[ref] for ref, oid in tags.items()}

    async def lacking(self, wanted: Collection[Oid]) -> set[Oid]:
        """Those of the trees and files that the repo does not hold: looked for at its refs, then in all its history."""
        missing = set(wanted) - {EMPTY_TREE}
        if missing:
            tips = {commit for _, commit in await repos.refs(self._db, self._repo.id)}
            rows = await self.commits(tips)
            missing = await self._packing.lacking(missing, [row.tree for row in rows.values()])
        if missing:
            every = Ancestry.parse(await objects.every_commit(self._db, self._repo.id))
            missing = await self._packing.lacking(missing, every.trees())
        return missing

    async def of(self, oids: Sequence[Oid]) -> dict[Oid, str]:
        """Those of the objects that the repo holds, of whatever kind, with their kinds."""
        kinds = dict.fromkeys(map(Oid, await self.commits(oids)), "commit")
        kinds |= dict.fromkeys((await self.tags()).keys() & set(oids), "tag")
        rest = set(oids) - kinds.keys()
        held = sorted(rest - await self.lacking(rest))
        files = await objects.files(self._db, held)
        return kinds | {oid: "blob" if oid in files else "tree" for oid in held}

    async def content(self, oid: Oid, kind: str) -> bytes:
        """The bytes of an object that the repo holds."""
        if kind == "blob":
            return await self._packing.file(oid)
        return (await objects.contents(self._db, [oid]))[oid]


class Inspection:
    """One push. `run` it once."""

    def __init__(self, holdings: Holdings, received: Received) -> None:
        self._holdings, self._received = holdings, received
        self._brought = Brought()
        self._looked: set[Oid] = set()  # trees
        self._entries: set[TreeEntry] = set()  # that were seen, in whatever tree
        self._names: set[str] = set()  # that are good
        self._elsewhere: dict[Oid, str] = {}  # what is not in the pack, by the path that names it

    async def run(self, tips: Iterable[Oid]) -> Brought:
        """Raises `Invalid` and its kind for the first thing that is wrong."""
        for tip in tips:
            self._brought.tips[tip] = await self._peel(tip)
        await self._look_at_commits()
        for id_, commit in self._brought.commits.items():
            try:
                await self._look_at_tree(commit.tree)
            except Invalid as error:
                raise type(error)(f"Commit {id_[:10]}: {error.message}", hint=error.hint) from error
            await asyncio.sleep(0)
        missing = await self._holdings.lacking(self._elsewhere.keys())
        for oid in missing:
            raise Invalid(f"The push lacks the object {oid} ({self._elsewhere[oid] or 'a folder'}).")
        return self._brought

    async def _peel(self, tip: Oid) -> CommitId:
        """The commit that a new value of a ref is, or is an annotated tag of."""
        packed = self._received.objects.get(tip)
        if packed is None:
            commit = (await self._holdings.tags()).get(tip, CommitId(tip))
        elif packed.kind == "tag":
            tag = _parsed(tip, gitobjects.parse_tag, await self._received.content(tip))
            if tag.kind != "commit":
                raise Invalid(f"The tag {tag.name} is of a {tag.kind}. hubreg keeps tags of commits.")
            _check_date(tip, tag.tagger.seconds if tag.tagger else 0)
            self._brought.tags.append(tip)
            commit = CommitId(tag.target)
        elif packed.kind == "commit":
            commit = CommitId(tip)
        else:
            raise Invalid(f"A ref cannot point to a {packed.kind}.")
        return commit

    async def _look_at_commits(self) -> None:
        """Every new commit that the tips lead to; whatever they lead to beyond must be the repo's own."""
        sent = [packed.oid for packed in self._received.objects.values() if packed.kind == "commit"]
        known = await self._holdings.commits(sent)
        parsed: dict[CommitId, Node] = {}
        outside: set[CommitId] = set()
        waiting = [(tip, False) for tip in self._brought.tips.values()]
        while waiting:
            id_, ripe = waiting.pop()
            if ripe:
                self._brought.commits.setdefault(id_, parsed[id_])
            elif not self._is_new_commit(id_) or id_ in known:
                outside.add(id_)
            elif id_ not in parsed:
                parsed[id_] = node = await self._node(id_)
                waiting.append((id_, True))
                waiting += [(parent, False) for parent in node.parents]
                if not len(parsed) % 100:
                    await asyncio.sleep(0)
        for missing in outside - (await self._holdings.commits(outside)).keys():
            raise Invalid(f"The push lacks the commit {missing}.")

    def _is_new_commit(self, id_: CommitId) -> bool:
        packed = self._received.objects.get(Oid(id_))
        return packed is not None and packed.kind == "commit"

    async def _node(self, id_: CommitId) -> Node:
        commit = _parsed(id_, gitobjects.parse_commit, await self._received.content(Oid(id_)))
        _check_date(id_, commit.author.seconds, commit.committer.seconds)
        return Node(commit.tree, commit.parents, commit.committer.seconds)

    async def _look_at_tree(self, root: Oid) -> None:
        waiting = [(root, "")]
        while waiting:
            oid, path = waiting.pop()
            if oid in self._looked:
                continue
            self._looked.add(oid)
            packed = self._received.objects.get(oid)
            if packed is None:
                self._elsewhere.setdefault(oid, path)
                continue
            if packed.kind != "tree":
                raise Invalid(f"{path or 'Its root'} should be a folder and is a {packed.kind}.")
            self._brought.trees.append(oid)
            if not len(self._brought.trees) % 50:
                await asyncio.sleep(0)
            entries = _parsed(oid, gitobjects.parse_tree, await self._received.content(oid))
            for entry in self._new(entries):
                at = f"{path}/{entry.name}" if path else entry.name
                self._check_path(path, entry.name, at)
                if entry.mode == FOLDER:
                    waiting.append((entry.oid, at))
                else:
                    self._look_at_file(entry, at)

    def _new(self, entries: Iterable[TreeEntry]) -> list[TreeEntry]:
        # Most commits change few entries of a folder: looking only at those makes a folder of 10 000 bearable.
        new = [entry for entry in entries if entry not in self._entries]
        self._entries.update(new)
        return new

    def _check_path(self, folder: str, name: str, path: str) -> None:
        if name not in self._names:
            names.check_path(name)
            self._names.add(name)
        if len(folder) > _DEEP:
            names.check_path(path)

    def _look_at_file(self, entry: TreeEntry, path: str) -> None:
        if entry.mode == SUBMODULE:
            raise Invalid(f"{path} is a submodule, and hubreg serves none.", hint="Commit its files instead.")
        packed = self._received.objects.get(entry.oid)
        if packed is None:
            self._elsewhere.setdefault(entry.oid, path)
        elif packed.kind == "blob":
            self._brought.files.setdefault(entry.oid, path)
        else:
            raise Invalid(f"{path} should be a file and is a {packed.kind}.")


def _parsed(oid: str, parse: Callable[[bytes], T], data: bytes) -> T:
    try:
        return parse(data)
    except Damaged as error:
        raise Invalid(f"The object {oid} is broken: {error.message}") from error


def _check_date(oid: str, *seconds: int) -> None:
    if not all(0 <= second <= _LAST_SECOND for second in seconds):
        raise Invalid(f"The object {oid} is dated before 1970 or after 9999.")
