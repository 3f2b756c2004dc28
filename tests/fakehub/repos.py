"""
The repos of the stand-in: commits, trees with git's ids, refs. No HTTP here.

Tree ids are git's own, so whoever recomputes them from a listing gets the same. Commit ids are made up, or given by the
test: the Hub's API never shows enough to recompute one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from tests.fakehub.content import Content, File, as_file

Kind = Literal["model", "dataset", "space", "kernel"]
KINDS: tuple[Kind, ...] = ("model", "dataset", "space", "kernel")
Gated = Literal[False, "auto", "manual"]
Writable = File | Content | bytes | str

FIRST_COMMIT = datetime(2026, 1, 1, tzinfo=UTC)
OLDEST = "2022-03-02T23:29:04.000Z"  # `createdAt` of every repo from before it was kept (HUB 5.1)


def iso(moment: datetime) -> str:
    """A time as the Hub writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a tree: a file, or a folder where `file` is None."""

    path: str
    oid: str
    file: File | None


class Tree:
    """The files of a commit as folders. Paths are kept as they were given, once: there may be a million of them."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self._folders: dict[str, dict[str, File | None]] = {"": {}}  # by path: whole paths of what is in it
        for path, file in files.items():
            self._folder(path.rpartition("/")[0])[path] = file
        self._oids: dict[str, str] = {}
        self.oid = self._hash("")
        self._listed: dict[tuple[str, bool], list[str]] = {}

    def _folder(self, path: str) -> dict[str, File | None]:
        if path not in self._folders:
            self._folders[path] = {}
            self._folder(path.rpartition("/")[0])[path] = None
        return self._folders[path]

    def _sorted(self, folder: str) -> list[tuple[str, File | None]]:
        """A folder's entries in git's order: a folder sorts as if its name ended in a slash."""
        entries = self._folders[folder].items()
        return sorted(entries, key=lambda entry: as_bytes(entry[0] if entry[1] else entry[0] + "/"))

    def _hash(self, folder: str) -> str:
        parts = []
        prefix = len(folder) + 1 if folder else 0
        for path, file in self._sorted(folder):
            mode, oid = (b"100644", file.oid) if file else (b"40000", self._hash(path))
            parts.append(b"%b %b\0%b" % (mode, as_bytes(path[prefix:]), bytes.fromhex(oid)))
        data = b"".join(parts)
        hashed = hashlib.sha1(b"tree %d\0%b" % (len(data), data), usedforsecurity=False)
        self._oids[folder] = hashed.hexdigest()
        return self._oids[folder]

    def paths(self, folder: str, *, recursive: bool) -> list[str] | None:
        """A folder's entries; with `recursive` each folder comes before what is in it (HUB 5.3). None if it is none."""
        if folder not in self._folders:
            return None
        key = (folder, recursive)
        if key not in self._listed:
            self._listed[key] = list(self._walk(folder, recursive))
        return self._listed[key]

    def _walk(self, folder: str, recursive: bool) -> Iterator[str]:
        for path, file in self._sorted(folder):
            yield path
            if recursive and file is None:
                yield from self._walk(path, recursive)

    def find(self, path: str) -> Item | None:
        """A file or a folder by its path."""
        entries = self._folders.get(path.rpartition("/")[0], {})
        if path not in entries:
            return None
        file = entries[path]
        return Item(path, file.oid if file else self._oids[path], file)


def as_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def with_parents(paths: Iterable[str]) -> frozenset[str]:
    """Paths, and every folder above them."""
    found: set[str] = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = path.rpartition("/")[0]
    return frozenset(found)


@dataclass(frozen=True)
class Commit:
    """A revision. `touched` holds the paths that it changed, with the folders above them."""

    id: str
    parent: Commit | None
    title: str
    message: str
    date: datetime
    authors: tuple[dict[str, str], ...]
    files: Mapping[str, File]
    touched: frozenset[str]

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.files)

    def history(self) -> Iterator[Commit]:
        """This commit and those before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def last_of(self, path: str) -> Commit:
        """The commit that changed a path last, as seen from here."""
        return next((commit for commit in self.history() if path in commit.touched), self)


@dataclass
class Repo:
    """
    A repo, changed by the test while the Hub runs. Everything but `commit` and the refs is a plain attribute.

    `facts` goes over what repo info says (`repo.facts["likes"] = 3`); a value of None takes the key away.
    `also` are other names that lead here: old ones, and legacy ones of one segment.
    """

    kind: Kind
    id: str
    private: bool = False
    gated: Gated = False
    disabled: bool = False
    created: str = OLDEST
    public_id: str = ""
    readers: set[str] = field(default_factory=set)  # who may read it though it is private
    granted: set[str] = field(default_factory=set)  # who may read it though it is gated
    facts: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # the full name of a ref -> commit id

    def __post_init__(self) -> None:
        made_up = hashlib.sha256(f"{self.kind}:{self.id}".encode()).hexdigest()[:24]
        self.public_id = self.public_id or made_up

    @property
    def namespace(self) -> str:
        return self.id.rpartition("/")[0]

    def commit(
        self,
        files: Mapping[str, Writable] | None = None,
        *,
        on: str = "main",
        remove: Collection[str] = (),
        title: str = "Upload files",
        message: str = "",
        authors: tuple[dict[str, str], ...] = (),
        id: str = "",
        date: datetime | None = None,
        onto: str | None = None,
    ) -> Commit:
        """
        Add and replace files at a branch (or at a full ref, `refs/pr/1`), and move it there.

        A ref that there is not begins at `main`; `onto` names another revision to begin at, "" none. `id` is the
        commit's, where it has to be a certain one.
        """
        ref = full_ref(on)
        base = self.refs.get(ref) or self.refs.get("refs/heads/main") if onto is None else onto
        parent = self.resolve(base) if base else None
        if base and parent is None:
            raise LookupError(f"no revision {base}")
        added = {path: as_file(value) for path, value in (files or {}).items()}
        kept = {path: file for path, file in (parent.files if parent else {}).items() if path not in remove}
        made = Commit(
            id or self._new_id(parent, ref),
            parent,
            title,
            message,
            date or FIRST_COMMIT + timedelta(minutes=len(self.commits)),
            authors or ({"user": self.namespace or "somebody", "avatar": "/avatars/0.svg"},),
            {**kept, **added},
            with_parents([*added, *remove]),
        )
        _ = made.tree  # hashes what is new, now
        self.commits[made.id] = made
        self.refs[ref] = made.id
        return made

    def _new_id(self, parent: Commit | None, ref: str) -> str:
        seed = f"{self.kind}:{self.id}:{len(self.commits)}:{ref}:{parent.id if parent else ''}"
        return hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()

    def branch(self, name: str, at: str = "main") -> None:
        """Set a branch, or a full ref, to a revision."""
        self.refs[full_ref(name)] = self._existing(at).id

    def tag(self, name: str, at: str = "main") -> None:
        self.refs[f"refs/tags/{name}"] = self._existing(at).id

    def _existing(self, revision: str) -> Commit:
        commit = self.resolve(revision)
        if commit is None:
            raise LookupError(f"no revision {revision}")
        return commit

    def head(self, revision: str = "main") -> str:
        """The commit id at a revision."""
        return self._existing(revision).id

    def resolve(self, revision: str) -> Commit | None:
        """A branch, tag, full ref, commit id, or the first seven or more digits of one (HUB 1.3)."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if revision in self.commits:
            return self.commits[revision]
        found = [id for id in self.commits if len(revision) >= 7 and id.startswith(revision.lower())]
        return self.commits[found[0]] if len(found) == 1 else None

    def readable(self, user: str | None, orgs: Collection[str] = ()) -> bool:
        """Whether somebody may know of it."""
        return not self.private or self.keeps(user, orgs) or user in self.readers

    def open_to(self, user: str | None, orgs: Collection[str] = ()) -> bool:
        """Whether somebody who knows of it may have its content, gate considered."""
        return not self.gated or self.keeps(user, orgs) or user in self.granted

    def keeps(self, user: str | None, orgs: Collection[str]) -> bool:
        return user is not None and self.namespace in (user, *orgs)


def full_ref(name: str) -> str:
    return name if name.startswith("refs/") else f"refs/heads/{name}"
