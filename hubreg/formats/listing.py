"""
A listing of all files of a commit, as it comes in pages, made into git's trees again.

What upstream tells of a tree is the paths of its files and the oids of their blobs; a tree object is nothing else, but
for the modes: an executable is listed like any other file, so that a folder with one gets another oid here than it has
upstream. Trees are named by what they hold, so nothing that upstream claims can pass for the tree of another repo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hubreg.errors import Invalid, UpstreamFailed
from hubreg.formats import gitobjects
from hubreg.formats.gitobjects import EMPTY_TREE, FILE, FOLDER, TreeEntry
from hubreg.model import Entry, EntryKind, Oid

MOST = 2_000_000  # entries; a repo of the Hub has a million files at most (HUB 8.5)


class Listing:
    """Pages are added in any order; then `trees` has the whole."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._folders: dict[str, dict[str, Oid]] = {"": {}}
        self._files: dict[Oid, Entry] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many entries came so far."""
        return self._count

    def add(self, entries: Iterable[Entry]) -> None:
        """
        Another page. Raises `UpstreamFailed` where a path comes twice, which is how a listing that never ends looks
        (PITFALLS 15), or where there are more than any repo holds.
        """
        for entry in entries:
            self._count += 1
            if self._count > self._most:
                raise UpstreamFailed(f"The upstream's listing has more than {self._most} entries.")
            if entry.kind is EntryKind.DIRECTORY:
                continue  # git has no empty folders, so its files tell of it
            folder, _, name = entry.path.rpartition("/")
            held = self._folders.setdefault(folder, {})
            if name in held:
                raise UpstreamFailed(f"The upstream's listing repeats itself: {entry.path!r} is there twice.")
            held[name] = entry.oid
            self._files.setdefault(entry.oid, entry)

    def files(self) -> Iterator[Entry]:
        """One entry of each different file."""
        return iter(self._files.values())

    def trees(self) -> tuple[Oid, dict[Oid, bytes]]:
        """
        The root's oid, and every tree object by its own. Raises `UpstreamFailed` where a file and a folder have one
        name.
        """
        for path in list(self._folders):
            while path:  # folders that hold nothing but folders
                path = path.rpartition("/")[0]
                self._folders.setdefault(path, {})
        below: dict[str, list[TreeEntry]] = {path: [] for path in self._folders}
        made: dict[Oid, bytes] = {}
        root = EMPTY_TREE
        for path in sorted(self._folders, key=lambda path: path.count("/") if path else -1, reverse=True):
            entries = below.pop(path)
            entries += [TreeEntry(name, FILE, oid) for name, oid in self._folders[path].items()]
            try:
                data = gitobjects.render_tree(entries)
            except Invalid as error:
                raise UpstreamFailed(
                    f"The upstream's listing is no git tree at {path!r}: {error.message}"
                ) from error
            oid = gitobjects.object_oid("tree", data)
            made[oid] = data
            if not path:
                root = oid
                continue
            parent, _, name = path.rpartition("/")
            below[parent].append(TreeEntry(name, FOLDER, oid))
        made.pop(EMPTY_TREE, None)
        return root, made
