"""
What a push brings, looked at before anything is kept of it: from the tips of its refs down to the files, everything
that is new must be well formed, and everything that is named must be in the pack or in this repo.

The second half is what keeps repos apart. Objects are kept once for all of them, so that an oid means something here
is no reason that this repo may show it: somebody who has learned an oid of a private file could otherwise push a tree
that names it, or a delta upon it, and read the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hubreg.errors import Damaged, Invalid, InvalidPath, TooLarge
from hubreg.formats import gitobjects, names
from hubreg.formats.gitobjects import EMPTY_TREE, FOLDER, LINK, SUBMODULE, TreeEntry
from hubreg.formats.unpacking import OLDER_FIRST, Limits
from hubreg.hub.ancestry import Ancestry, Node
from hubreg.hub.packing import Packing
from hubreg.hub.received import Received
from hubreg.model import CommitId, Oid
from hubreg.store import objects, repos
from hubreg.store.db import Database
from hubreg.store.repos import Repo
from hubreg.store.threads import run_in

T = TypeVar("T")

_LAST_SECOND = 253_402_300_799  # of the year 9999: dates beyond it cannot be shown
_BATCH = 500
_DEEP = 700  # characters of a folder's path, from which on a name in it may be too much
_SMALL = 32 << 10  # bytes of a tree that the event loop may look at by itself
_REMEMBERED = 250_000  # entries and names, to be passed over when they are seen again
FOLDER_COST = 16  # what a folder takes, beside what an entry of it does


@dataclass(slots=True)
class Brought:
    """
    What is new. `commits` have their parents before them; `trees` and `files` are by oid, a file with the first path
    at which it was seen; `tips` is what each new value of a ref leads to. `cost` is of all trees, in entries.
    """

    commits: dict[CommitId, Node] = field(default_factory=dict)
    tags: list[Oid] = field(default_factory=list)
    trees: list[Oid] = field(default_factory=list)
    files: dict[Oid, str] = field(default_factory=dict)
    tips: dict[Oid, CommitId] = field(default_factory=dict)
    cost: int = 0


class Holdings:
    """What a repo holds: everything that some commit of it leads to."""

    def __init__(self, db: Database, packing: Packing, repo: Repo) -> None:
        self._db, self._packing, self._repo = db, packing, repo
        self._absent: set[Oid] = set()  # was looked for in all the history

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
        """
        Those of the trees and files that the repo does not hold: looked for at its refs, then in all its history. That
        is a walk for every root, so not for what no repo holds, nor twice.
        """
        missing = set(wanted) - {EMPTY_TREE}
        sought = await objects.known(self._db, sorted(missing - self._absent))
        missing -= sought
        if sought:
            tips = {commit for _, commit in await repos.refs(self._db, self._repo.id)}
            rows = await self.commits(tips)
            sought = await self._packing.lacking(sought, [row.tree for row in rows.values()])
        if sought:
            every = await objects.every_commit(self._db, self._repo.id)
            roots = await run_in(None, lambda: Ancestry.parse(every).trees())
            sought = await self._packing.lacking(sought, roots)
        self._absent |= sought
        return missing | sought

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


@dataclass(frozen=True, slots=True)
class _Opened:
    """A tree whose folders are being looked at: those that are in the pack, as often as it names them."""

    oid: Oid
    cost: int
    folders: list[Oid]


_Waiting = tuple[Oid, str, str]  # a tree that is to be looked at, the folder that names it, its name there


class Inspection:
    """One push. `run` it once."""

    def __init__(self, holdings: Holdings, received: Received, limits: Limits) -> None:
        self._holdings, self._received, self._limits = holdings, received, limits
        self._brought = Brought()
        self._looked: set[Oid] = set()  # trees
        self._costs: dict[Oid, int] = {}  # of trees with all that is new below them, by path
        self._open = 0  # the cost of those that are opened, one inside the other
        self._entries: set[TreeEntry] = set()  # that were seen lately, in whatever tree
        self._names: set[str] = set()  # that are good
        self._elsewhere: dict[Oid, tuple[str, str]] = {}  # what is not in the pack, by folder and name

    async def run(self, tips: Iterable[Oid]) -> Brought:
        """Raises `Invalid` and its kind for the first thing that is wrong."""
        tags = await self._holdings.tags()
        for tip in tips:
            if tip not in self._brought.tips:
                self._brought.tips[tip] = await self._peel(tip, tags)
        await self._look_at_commits()
        for id_, commit in self._brought.commits.items():
            try:
                await self._look_at_tree(commit.tree)
            except Invalid as error:
                raise type(error)(f"Commit {id_[:10]}: {error.message}", hint=error.hint) from error
            await asyncio.sleep(0)
        missing = await self._holdings.lacking(self._elsewhere.keys())
        for oid in missing:
            raise Invalid(f"The push lacks the object {oid} ({_below(*self._elsewhere[oid]) or 'a folder'}).")
        return self._brought

    async def _peel(self, tip: Oid, tags: Mapping[Oid, CommitId]) -> CommitId:
        """The commit that a new value of a ref is, or is an annotated tag of."""
        packed = self._received.objects.get(tip)
        if packed is None:
            commit = tags.get(tip, CommitId(tip))
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
        waiting: list[_Waiting | _Opened] = [(root, "", "")]
        while waiting:
            step = waiting.pop()
            if isinstance(step, _Opened):
                self._close(step)
                continue
            oid, folder, name = step
            if oid not in self._looked:
                self._looked.add(oid)
                if self._is_new_tree(oid, folder, name):
                    opened, found = await self._open_tree(oid, _below(folder, name))
                    waiting.append(opened)
                    waiting += found

    def _is_new_tree(self, oid: Oid, folder: str, name: str) -> bool:
        packed = self._received.objects.get(oid)
        if packed is None:
            self._want(oid, folder, name)
            return False
        if packed.kind != "tree":
            raise Invalid(f"{_below(folder, name) or 'Its root'} should be a folder and is a {packed.kind}.")
        if packed.size > self._limits.tree:
            raise TooLarge(
                f"{_below(folder, name) or 'Its root'} has more entries than a folder may have here.",
                hint="Put the files into several folders.",
            )
        return True

    async def _open_tree(self, oid: Oid, path: str) -> tuple[_Opened, list[_Waiting]]:
        self._brought.trees.append(oid)
        if not len(self._brought.trees) % 50:
            await asyncio.sleep(0)
        data = await self._received.content(oid)
        if len(data) <= _SMALL:
            return self._look_into(oid, path, data)
        return await self._received.in_thread(self._look_into, oid, path, data)

    def _look_into(self, oid: Oid, path: str, data: bytes) -> tuple[_Opened, list[_Waiting]]:
        entries = _parsed(oid, gitobjects.parse_tree, data)
        cost = FOLDER_COST + len(entries)
        self._brought.cost += cost
        if self._brought.cost > self._limits.entries:
            raise TooLarge("The folders of this push have more entries than one may have.", hint=OLDER_FIRST)
        self._open += cost
        self._require_few_paths(self._open)
        for entry in self._new(entries):
            self._check_path(path, entry.name)
            if entry.mode in (FOLDER, LINK) and names.is_git_file(entry.name):
                raise InvalidPath(f"{_below(path, entry.name)} must be a file: git reads it.")
            if entry.mode != FOLDER:
                self._look_at_file(entry, path)
            elif entry.oid not in self._received.objects:
                self._want(entry.oid, path, entry.name)
        # All of them, new here or not: what a tree costs is known when all that is below it is.
        sent = [e for e in entries if e.mode == FOLDER and e.oid in self._received.objects]
        found = {e.oid: e.name for e in sent if e.oid not in self._looked}
        return _Opened(oid, cost, [e.oid for e in sent]), [(o, path, name) for o, name in found.items()]

    def _close(self, opened: _Opened) -> None:
        """
        Add up what is below a tree, by path, as everybody will see it who looks at the commit, and as `hub.adoption`
        does: by oid, a commit of a thousand trillion paths is a kilobyte.
        """
        self._open -= opened.cost
        self._costs[opened.oid] = cost = opened.cost + sum(self._costs[folder] for folder in opened.folders)
        self._require_few_paths(cost)

    def _require_few_paths(self, cost: int) -> None:
        if cost > self._limits.paths:
            raise TooLarge("It has more files and folders than this server takes in one commit.")

    def _want(self, oid: Oid, folder: str, name: str) -> None:
        """The repo must hold it."""
        self._elsewhere.setdefault(oid, (folder, name))
        if len(self._elsewhere) > self._limits.elsewhere:
            raise TooLarge(
                f"The folders of this push name more than {self._limits.elsewhere} objects that it does not bring.",
                hint=OLDER_FIRST,
            )

    def _new(self, entries: Iterable[TreeEntry]) -> list[TreeEntry]:
        # Most commits change few entries of a folder: looking only at those makes a folder of 10 000 bearable.
        new = [entry for entry in entries if entry not in self._entries]
        if len(self._entries) > _REMEMBERED:
            self._entries.clear()
        self._entries.update(new)
        return new

    def _check_path(self, folder: str, name: str) -> None:
        if name not in self._names:
            names.check_path(name)
            if len(self._names) > _REMEMBERED:
                self._names.clear()
            self._names.add(name)
        if len(folder) > _DEEP:
            names.check_path(_below(folder, name))

    def _look_at_file(self, entry: TreeEntry, folder: str) -> None:
        packed = self._received.objects.get(entry.oid)
        if entry.mode == SUBMODULE:
            raise Invalid(
                f"{_below(folder, entry.name)} is a submodule, and hubreg serves none.",
                hint="Commit its files instead.",
            )
        if packed is None:
            self._want(entry.oid, folder, entry.name)
        elif packed.kind != "blob":
            raise Invalid(f"{_below(folder, entry.name)} should be a file and is a {packed.kind}.")
        elif entry.oid not in self._brought.files:
            self._brought.files[entry.oid] = _below(folder, entry.name)


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _parsed(oid: str, parse: Callable[[bytes], T], data: bytes) -> T:
    try:
        return parse(data)
    except Damaged as error:
        raise Invalid(f"The object {oid} is broken: {error.message}") from error


def _check_date(oid: str, *seconds: int) -> None:
    if not all(0 <= second <= _LAST_SECOND for second in seconds):
        raise Invalid(f"The object {oid} is dated before 1970 or after 9999.")
