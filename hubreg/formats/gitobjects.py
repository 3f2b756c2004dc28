"""
Git's trees, commits and tags: bytes <-> values, their names, and the work on whole trees.

What is rendered here is byte for byte what C git writes, so an oid computed here is the oid that a clone
computes. `parse_tree` takes exactly the trees that `render_tree` makes, and so keeps every byte; commits and
tags come from many hands, so their parsers read what hubreg shows and pass over the rest (signatures, time
zones, encodings). They cannot be rendered back: keep the bytes. What is no object at all is `Damaged`; values
that no object can hold are `Invalid`.

`edit`, `diff` and `changed_folders` do no I/O. They are generators that yield the oid of a tree which they
need and are sent its entries; their result is the generator's return value:

    step = edit(root, edits)
    entries = None
    try:
        while True:
            entries = load(step.send(entries))
    except StopIteration as done:
        edited = done.value

The paths that they take are not checked here (`formats.names.check_path` does), but for what git cannot hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from hubreg.errors import Damaged, EntryNotFound, Invalid, TooLarge
from hubreg.model import CommitId, GitCommit, Oid, Signature

T = TypeVar("T")

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000
FOLDER = 0o40000
SUBMODULE = 0o160000  # a commit of another repository, in the place of a folder
_GROUP_WRITABLE = 0o100664  # git wrote it until 2005; `git fsck` still takes it

EMPTY_TREE = Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

# --- names ---


def object_oid(kind: str, data: bytes) -> Oid:
    """Git's name of an object. `kind` is blob, tree, commit or tag."""
    hashed = hashlib.sha1(b"%b %d\0" % (kind.encode(), len(data)), usedforsecurity=False)
    hashed.update(data)
    return Oid(hashed.hexdigest())


class BlobHash:
    """Git's name of content that comes in pieces. Git hashes the size first, so it is needed beforehand."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._hash = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._missing -= memoryview(data).nbytes
        self._hash.update(data)

    def oid(self) -> Oid:
        """Raises `Damaged` when the pieces do not add up to the size."""
        if self._missing:
            raise Damaged(f"The content has {-self._missing:+} bytes against the size announced.")
        return Oid(self._hash.hexdigest())


# --- trees ---


class TreeEntry(NamedTuple):
    """
    One line of a tree. `name` is UTF-8, with surrogate escapes for bytes that are not.

    A named tuple and no dataclass: a folder of 10 000 files makes 10 000 of these, in half the time.
    """

    name: str
    mode: int
    oid: Oid


_MODES = {mode: b"%o" % mode for mode in (FILE, EXECUTABLE, LINK, FOLDER, SUBMODULE, _GROUP_WRITABLE)}
_MODE_OF = {text: mode for mode, text in _MODES.items()}
_ENTRY = re.compile(rb"(%b) ([^\0/]+)\0(.{20})" % b"|".join(_MODE_OF), re.DOTALL)


def render_tree(entries: Iterable[TreeEntry]) -> bytes:
    """The tree of entries in any order. Raises `Invalid` for names, modes or oids that git does not take."""
    return _render(_in_order(entries))


def parse_tree(data: bytes) -> tuple[TreeEntry, ...]:
    """
    The entries of a tree, in git's order.

    Raises `Damaged` for what `git fsck` calls an error: an unknown mode, an entry out of order or twice, an
    empty name or one with a slash; and for `.` and `..`.
    """
    found = _ENTRY.findall(data)
    entries = tuple(
        [
            TreeEntry(name.decode("utf-8", "surrogateescape"), _MODE_OF[mode], oid.hex())
            for mode, name, oid in found
        ]
    )
    # findall skips what does not match: then the matches are shorter than the data.
    length = sum([len(mode) + len(name) for mode, name, _ in found]) + 22 * len(found)
    if (
        length != len(data)
        or not _are_names([entry.name for entry in entries])
        or entries != _in_order(entries)
    ):
        raise Damaged("These bytes are no git tree.")
    return entries


def _render(ordered: Sequence[TreeEntry]) -> bytes:
    try:
        lines = [
            b"%b %b\0%b" % (_MODES[mode], name.encode("utf-8", "surrogateescape"), bytes.fromhex(oid))
            for name, mode, oid in ordered
        ]
    except (KeyError, ValueError):
        raise Invalid("A mode or an oid is not one of git's.") from None
    names = [entry.name for entry in ordered]
    if not _are_names(names) or any(len(entry.oid) != 40 for entry in ordered):
        raise Invalid("A git tree cannot hold these names together.")
    return b"".join(lines)


def _in_order(entries: Iterable[TreeEntry]) -> tuple[TreeEntry, ...]:
    try:
        return tuple(sorted(entries, key=_order))
    except UnicodeEncodeError:
        raise Invalid("A name is not UTF-8.") from None


def _order(entry: TreeEntry) -> bytes:
    """Git sorts bytes, and a folder as if its name ended in a slash: `a.b` stands before the folder `a`."""
    name = entry.name.encode("utf-8", "surrogateescape")
    return name + b"/" if entry.mode == FOLDER else name


def _are_names(names: Sequence[str]) -> bool:
    distinct, together = set(names), "".join(names)
    return (
        len(distinct) == len(names)
        and distinct.isdisjoint(("", ".", ".."))
        and "/" not in together
        and "\0" not in together
    )


# --- commits and tags ---


@dataclass(frozen=True, slots=True)
class GitTag:
    """An annotated tag of the object `target`, which is a `kind`. Git's oldest tags have no tagger."""

    target: Oid
    kind: str
    name: str
    tagger: Signature | None
    message: str


# Commits are shown in pages, and the graph of all of a repo's is read at once. Git itself knows no bounds.
_TEXT = 1 << 20  # bytes of a commit or tag
_PARENTS = 256
_WHO = 4 << 10  # bytes of a name, an address and a date
COMMIT_HEAD = 24 << 10  # bytes that hold tree, parents, author and committer of whatever `parse_commit` takes

_SIGNATURE = re.compile(rb"([^<>\n]*?) ?<([^<>\n]*)> (-?[0-9]{1,18}) [+-][0-9]{4,6}")
_OID = re.compile(rb"[0-9a-f]{40}")


def render_commit(commit: GitCommit) -> bytes:
    """Raises `Invalid` for what git refuses: a NUL in the message, a name or address that breaks its line."""
    lines = [b"tree " + _oid_line(commit.tree)]
    lines += [b"parent " + _oid_line(parent) for parent in commit.parents]
    lines += [b"author " + _render_signature(commit.author)]
    lines += [b"committer " + _render_signature(commit.committer)]
    return b"\n".join([*lines, b"", _text(commit.message, "\0")])


def parse_commit(data: bytes) -> GitCommit:
    """
    What hubreg shows of a commit. Text that is not UTF-8 gets replacement characters.

    Raises `Damaged` where tree, author or committer is missing or broken, `TooLarge` for more than people write.
    """
    head = _Head(data, "commit")
    tree = Oid(head.oid(b"tree"))
    parents = []
    while head.next_is(b"parent"):
        parents.append(CommitId(head.oid(b"parent")))
        if len(parents) > _PARENTS:
            raise TooLarge(f"A commit may have {_PARENTS} parents.")
    author, committer = head.signature(b"author"), head.signature(b"committer")
    return GitCommit(tree, tuple(parents), author, committer, head.message)


def render_tag(tag: GitTag) -> bytes:
    """Raises `Invalid` as `render_commit` does."""
    lines = [b"object " + _oid_line(tag.target), b"type " + _text(tag.kind), b"tag " + _text(tag.name)]
    if tag.tagger:
        lines.append(b"tagger " + _render_signature(tag.tagger))
    return b"\n".join([*lines, b"", _text(tag.message, "\0")])


def parse_tag(data: bytes) -> GitTag:
    """What hubreg shows of an annotated tag. Raises `Damaged` as `parse_commit` does."""
    head = _Head(data, "tag")
    target, kind, name = Oid(head.oid(b"object")), head.value(b"type"), head.value(b"tag")
    tagger = head.signature(b"tagger") if head.next_is(b"tagger") else None
    return GitTag(target, _shown(kind), _shown(name), tagger, head.message)


class _Head:
    """The lines above a commit's or tag's message, read in git's order."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._kind = kind
        if len(data) > _TEXT:
            raise TooLarge(f"A git {kind} may have {_TEXT} bytes.", hint="Put long texts into files.")
        head, blank, message = data.partition(b"\n\n")
        if not blank and not head.endswith(b"\n"):
            raise self._broken("its end")
        self._lines = head.removesuffix(b"\n").split(b"\n")[::-1]
        self.message = _shown(message)

    def next_is(self, key: bytes) -> bool:
        return bool(self._lines) and self._lines[-1].startswith(key + b" ")

    def value(self, key: bytes) -> bytes:
        if not self.next_is(key):
            raise self._broken(key.decode())
        return self._lines.pop()[len(key) + 1 :]

    def oid(self, key: bytes) -> str:
        value = self.value(key)
        if not _OID.fullmatch(value):
            raise self._broken(key.decode())
        return value.decode()

    def signature(self, key: bytes) -> Signature:
        value = self.value(key)
        found = _SIGNATURE.fullmatch(value)
        if found is None:
            raise self._broken(key.decode())
        if len(value) > _WHO:
            raise TooLarge(
                f"The name and address of a git {self._kind}'s {key.decode()} may have {_WHO} bytes."
            )
        name, email, seconds = found.groups()
        return Signature(_shown(name), _shown(email), int(seconds))

    def _broken(self, part: str) -> Damaged:
        return Damaged(f"These bytes are no git {self._kind}: {part} is missing or broken.")


def _oid_line(oid: str) -> bytes:
    line = _text(oid)
    if not _OID.fullmatch(line):
        raise Invalid("An oid is 40 lower-case hexadecimal digits.")
    return line


def _render_signature(who: Signature) -> bytes:
    if who.seconds < 0:
        raise Invalid("Git knows no time before 1970.")
    return b"%b <%b> %d +0000" % (_text(who.name, "<>\n\0"), _text(who.email, "<>\n\0"), who.seconds)


def _text(text: str, forbidden: str = "\n\0") -> bytes:
    if not set(forbidden).isdisjoint(text):
        raise Invalid("A character is not allowed in a git commit or tag.")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Invalid("The text of a git commit or tag must be UTF-8.") from None


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace")


# --- work on trees ---

Loads = Generator[Oid, tuple[TreeEntry, ...], T]


@dataclass(frozen=True, slots=True)
class Put:
    """A file (or link, or submodule) at `path`, in the place of the one there."""

    path: str
    oid: Oid
    mode: int = FILE


@dataclass(frozen=True, slots=True)
class Remove:
    """
    What is at `path` goes: a file, or a folder with all it holds (CLIENT_API 3.4).

    With `folder` only a folder.
    """

    path: str
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that changed: its entries in git's order, and the names of those that are new or different."""

    entries: tuple[TreeEntry, ...]
    changed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Edited:
    """
    What a list of edits made of a tree.

    `trees` holds the new trees and no others; `folders` every folder that changed and still exists, by path
    ("" is the root). One that only lost entries is there too, with nothing in `changed`.
    """

    root: Oid
    trees: Mapping[Oid, bytes]
    folders: Mapping[str, Folder]


@dataclass(frozen=True, slots=True)
class Change:
    """One file that differs between two trees: `old` is None for a new one, `new` for one that is gone."""

    path: str
    old: TreeEntry | None
    new: TreeEntry | None


def edit(root: Oid, edits: Sequence[Put | Remove]) -> Loads[Edited]:
    """
    Apply edits in order. Only trees on the paths of edits are loaded, each once.

    Folders that become empty vanish. Raises `EntryNotFound` where nothing is to be removed, and `Invalid`
    where a file and a folder want the same name.
    """
    editor = _Editor()
    before = yield from editor.load(root)
    top = _OpenFolder(before, dict(before))
    for step in edits:
        if isinstance(step, Put):
            yield from editor.put(top, step)
        else:
            yield from editor.remove(top, step)
    return _close(root, top)


class _OpenFolder:
    """
    A folder on the path of an edit: its entries before all edits and now, the subfolders that are open, and
    the names that edits touched. The entry of an open subfolder has no meaningful oid until `_close`.
    """

    __slots__ = ("before", "entries", "folders", "touched")

    def __init__(self, before: Mapping[str, TreeEntry], entries: dict[str, TreeEntry]) -> None:
        self.before = before
        self.entries = entries
        self.folders: dict[str, _OpenFolder] = {}
        self.touched: set[str] = set()

    def set(self, entry: TreeEntry) -> None:
        self.entries[entry.name] = entry
        self.touched.add(entry.name)

    def drop(self, name: str) -> None:
        del self.entries[name]
        self.folders.pop(name, None)
        self.touched.add(name)

    def changed(self) -> frozenset[str] | None:
        """The names that are new or different; None when nothing changed, lost entries included."""
        now, before = self.entries, self.before
        new = frozenset([name for name in self.touched if name in now and now[name] != before.get(name)])
        lost = any(name in before and name not in now for name in self.touched)
        return new if new or lost else None


class _Editor:
    """One run of `edit`: remembers what it loaded, so that no edits make it load or index a tree twice."""

    def __init__(self) -> None:
        self._loaded: dict[Oid, dict[str, TreeEntry]] = {}

    def load(self, oid: Oid) -> Loads[dict[str, TreeEntry]]:
        if oid not in self._loaded:
            self._loaded[oid] = yield from _load(oid)
        return self._loaded[oid]

    def put(self, top: _OpenFolder, put: Put) -> Loads[None]:
        *parents, name = put.path.split("/")
        at = top
        for parent in parents:
            at = at.folders.get(parent) or (yield from self._enter(at, parent, put.path))
        if put.mode == FOLDER or put.mode not in _MODES:
            raise Invalid(f'"{put.path}" cannot be put: {put.mode:o} is not the mode of a file.')
        there = at.entries.get(name)
        if there is not None and there.mode == FOLDER:
            raise Invalid(f'"{put.path}" is a folder: a file cannot take its place.')
        at.set(TreeEntry(name, put.mode, put.oid))

    def remove(self, top: _OpenFolder, remove: Remove) -> Loads[None]:
        *parents, name = parts = remove.path.split("/")
        line = [top]
        for parent in parents:
            there = line[-1].entries.get(parent)
            if there is None or there.mode != FOLDER:
                raise EntryNotFound("A file with this name doesn't exist")
            at = line[-1]
            line.append(at.folders.get(parent) or (yield from self._enter(at, parent, remove.path)))
        there = line[-1].entries.get(name)
        if there is None or (remove.folder and there.mode != FOLDER):
            raise EntryNotFound("A file with this name doesn't exist")
        while line and parts:
            at = line.pop()
            at.drop(parts.pop())
            if at.entries:
                break

    def _enter(self, parent: _OpenFolder, name: str, path: str) -> Loads[_OpenFolder]:
        """Open a subfolder; a missing one is made."""
        there, before = parent.entries.get(name), parent.before.get(name)
        if there is not None and there.mode != FOLDER:
            raise Invalid(f'"{path}" cannot exist: "{name}" in it is a file, not a folder.')
        # A folder that was removed and is made again is compared with what it held in the beginning.
        old = (yield from self.load(before.oid)) if before is not None and before.mode == FOLDER else {}
        parent.folders[name] = opened = _OpenFolder(old, dict(old) if there is not None else {})
        parent.set(there or TreeEntry(name, FOLDER, EMPTY_TREE))
        return opened


def _close(root: Oid, top: _OpenFolder) -> Edited:
    trees: dict[Oid, bytes] = {}
    folders: dict[str, Folder] = {}
    # A list that grows while it is read: parents stand before what they hold, to any depth.
    line: list[tuple[str, _OpenFolder, str, _OpenFolder | None]] = [("", top, "", None)]
    for path, folder, _, _ in line:
        line += [(_below(path, name), below, name, folder) for name, below in folder.folders.items()]
    for path, folder, name, parent in reversed(line):
        changed = folder.changed()
        if changed is None:
            if parent is not None:
                parent.set(parent.before[name])  # it may have been removed and made again
            continue
        entries = _in_order(folder.entries.values())
        data = _render(entries)
        oid = object_oid("tree", data)
        trees[oid] = data
        folders[path] = Folder(entries, changed)
        if parent is None:
            root = oid
        else:
            parent.set(TreeEntry(name, FOLDER, oid))
    return Edited(root, trees, folders)


def diff(old: Oid | None, new: Oid | None) -> Loads[list[Change]]:
    """The files that differ, sorted by path. Equal subtrees are not loaded. None is the empty tree."""
    changes: list[Change] = []
    waiting: list[tuple[str, Oid | None, Oid | None]] = [("", old, new)]
    while waiting:
        path, old, new = waiting.pop()
        if old == new:
            continue
        before, after = (yield from _load(old)), (yield from _load(new))
        for name in before.keys() | after.keys():
            was, now = before.get(name), after.get(name)
            if was == now:
                continue
            at = _below(path, name)
            if _folder(was) or _folder(now):
                waiting.append((at, _folder(was), _folder(now)))
            if _file(was) or _file(now):
                changes.append(Change(at, _file(was), _file(now)))
    return sorted(changes, key=lambda change: change.path)


def changed_folders(old: Oid | None, new: Oid) -> Loads[dict[str, Folder]]:
    """The folders of `new` that differ from those of `old`, with the meaning of `Edited.folders`."""
    folders: dict[str, Folder] = {}
    waiting: list[tuple[str, Oid | None, Oid]] = [("", old, new)]
    while waiting:
        path, old, new = waiting.pop()
        if old == new:
            continue
        before, after = (yield from _load(old)), (yield from _load(new))
        changed = frozenset([name for name, entry in after.items() if before.get(name) != entry])
        folders[path] = Folder(tuple(after.values()), changed)
        for name in changed:
            if below := _folder(after[name]):
                waiting.append((_below(path, name), _folder(before.get(name)), below))
    return folders


def _load(oid: Oid | None) -> Loads[dict[str, TreeEntry]]:
    # Nobody keeps the empty tree, so nobody can be asked for it.
    if oid is None or oid == EMPTY_TREE:
        return {}
    return {entry.name: entry for entry in (yield oid)}


def _folder(entry: TreeEntry | None) -> Oid | None:
    return entry.oid if entry is not None and entry.mode == FOLDER else None


def _file(entry: TreeEntry | None) -> TreeEntry | None:
    return entry if entry is not None and entry.mode != FOLDER else None


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
