"""
What lists and pages show of a repo, read off the files of its `main`: tags, task, library, card, configuration.

The trees and files may be those of a commit that is not stored yet: it is read before it is recorded, so that a repo
never shows another commit's card.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hubreg.formats import card, gitobjects
from hubreg.formats.gitobjects import FOLDER, TreeEntry
from hubreg.hub.snapshots import Snapshots
from hubreg.model import Oid, RepoType
from hubreg.store.objects import File
from hubreg.store.repos import Facts

_LIMIT = 1 << 20  # bytes of a card or a configuration; a larger one is not read
_PATHS = 10_000  # files that are looked at for tags


@dataclass(frozen=True, slots=True)
class FrontPage:
    """Reads the facts of a tree. `trees` and `files` are what is not stored yet."""

    snapshots: Snapshots
    trees: Mapping[Oid, bytes] = field(default_factory=dict)
    files: Mapping[Oid, File] = field(default_factory=dict)

    async def read(self, type_: RepoType, root: Oid) -> Facts:
        """Never raises for what the files hold: a broken card says less."""
        entries = await self._entries(root)
        named = {entry.name: entry for entry in entries}
        readme = await self._small(named.get("README.md"))
        config = await self._small(named.get("config.json"))
        parsed = card.parse_card(readme.decode("utf-8", "replace"))
        read = card.facts(parsed, config, await self._paths(entries), type_)
        return Facts(read.tags, read.pipeline_tag, read.library, read.card, read.config)

    async def _entries(self, tree: Oid) -> tuple[TreeEntry, ...]:
        if tree in self.trees:
            return gitobjects.parse_tree(self.trees[tree])
        return (await self.snapshots.tree(tree)).entries

    async def _small(self, entry: TreeEntry | None) -> bytes:
        if entry is None or entry.mode == FOLDER:
            return b""
        file = self.files.get(entry.oid) or (await self.snapshots.blobs([entry.oid]))[entry.oid]
        if file.lfs or file.size > _LIMIT:
            return b""
        return await self.snapshots.blob(file.sha256)

    async def _paths(self, entries: Iterable[TreeEntry]) -> list[str]:
        """Paths of the repo, the first ones of a huge one."""
        found: list[str] = []
        waiting = [("", tuple(entries))]
        while waiting and len(found) < _PATHS:
            prefix, level = waiting.pop()
            for entry in level:
                path = prefix + entry.name
                if entry.mode != FOLDER:
                    found.append(path)
                elif entry.oid in self.trees:
                    waiting.append((f"{path}/", gitobjects.parse_tree(self.trees[entry.oid])))
                else:
                    found += [f"{path}/{below}" for below in await self.snapshots.paths(entry.oid, _PATHS)]
        return found
