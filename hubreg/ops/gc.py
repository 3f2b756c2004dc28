"""
The collector: removes what nothing refers to any more, beside a running server.

    survey    what there is, and what refers to it: reads only, may take minutes, and is out of date when it is done
    remove    each thing in a transaction that looks once more (`store.garbage`); files after their rows

What a repo holds is what its commits lead to, and large files that were sent to it in the last four weeks; commits stay
as long as their repo, also those that no branch leads to any more. What the mirror keeps, stays.

Xet's clients remember for weeks which xorbs are here, and an upload fails for good that counts on one that is not: a
xorb stays for four weeks after it was sent or a client was told of it (XET 11), and with a virtual one the blob that it
is part of.

A xorb is kept or removed as a whole: one chunk that is used keeps the others.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hubreg.errors import Damaged
from hubreg.formats import gitobjects
from hubreg.formats.gitobjects import EMPTY_TREE, FOLDER, SUBMODULE
from hubreg.identity.accounts import SYSTEM
from hubreg.model import CommitId, Millis, Oid, Sha256, XetHash
from hubreg.store import garbage, log, objects
from hubreg.store.db import Clock, Database, Tx
from hubreg.store.garbage import Holding, Stored
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.objects import File

T = TypeVar("T")

_DAY = 24 * 3600 * 1000  # milliseconds
_ROWS = 2 * _DAY  # that a row stays after it was last seen, which is known to the day
_FILES = _DAY  # that a file stays that no row names: its writer may be about to
_HELD = 28 * _DAY  # that a large file may wait for its commit
_OFFERED = 29 * _DAY  # that a xorb stays after a client was last told of it: 28 (XET 11), known to the day
_BATCH = 200  # removals in one transaction
_TREES = 500  # that are loaded together


@dataclass(slots=True)
class Survey:
    """What may go, as far as could be seen."""

    at: Millis
    holdings: list[Holding] = field(default_factory=list)
    xet_files: list[XetHash] = field(default_factory=list)
    xorbs: list[Stored] = field(default_factory=list)
    files: list[Oid] = field(default_factory=list)
    objects: list[tuple[str, int]] = field(default_factory=list)
    lists: list[tuple[int, CommitId, str]] = field(default_factory=list)
    blobs: list[tuple[Sha256, int]] = field(default_factory=list)
    strays: list[tuple[Path, int]] = field(default_factory=list)


@dataclass(slots=True)
class Collected:
    """How many of each kind, and the bytes of files that they freed, or would."""

    large_files: int = 0
    xorbs: int = 0
    blobs: int = 0
    strays: int = 0
    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Collector:
    """`blobs` are those of the `layout`."""

    db: Database
    blobs: LocalBlobs
    clock: Clock

    @property
    def layout(self) -> Layout:
        return self.blobs.layout

    # survey

    async def survey(self) -> Survey:
        """
        Look at everything. Things of git, and who holds what, are read before the commits that lead to them: what came
        in between is led to by one of those, or was seen too lately to go.
        """
        found = Survey(self.clock())
        on_disk = await asyncio.to_thread(_listed, self.layout.blobs)
        holdings = await garbage.holdings(self.db)
        files = await garbage.files(self.db)
        found.objects = await garbage.objects(self.db, Millis(found.at - _ROWS))
        marks = await self._mark({file.oid: file for file, _ in files})
        # Read after the holdings: what is fetched in between is in both.
        fetched = await garbage.fetched(self.db)
        for repo_id in await garbage.mirrored(self.db):
            marks.large[repo_id] = fetched
        found.holdings = [
            holding
            for holding, since in holdings
            if since < found.at - _HELD and holding.sha256 not in marks.large.get(holding.repo_id, ())
        ]
        found.files = [
            file.oid for file, seen in files if file.oid not in marks.oids and seen < found.at - _ROWS
        ]
        found.objects = [row for row in found.objects if row[0] not in marks.oids]
        found.lists = await garbage.lists(self.db)
        dropped, unmarked = set(found.holdings), set(found.files)
        held = {holding.sha256 for holding, _ in holdings if holding not in dropped}
        staying = await self._survey_xet(found, held)
        needed = held | fetched | {file.sha256 for file, _ in files if file.oid not in unmarked}
        needed |= {xorb.plain_sha256 for xorb in staying if xorb.plain_sha256 is not None}
        before = (found.at - _FILES) / 1000
        found.blobs = [
            (Sha256(path.name), size)
            for path, size, changed in on_disk
            if changed < before and path.name not in needed
        ]
        found.strays = await asyncio.to_thread(self._strays, [*staying, *found.xorbs], before)
        return found

    async def _survey_xet(self, found: Survey, held: Collection[Sha256]) -> list[Stored]:
        """Files as terms, and xorbs; those xorbs that stay."""
        files = await garbage.xet_files(self.db)
        found.xet_files = [hash_ for hash_, sha256 in files if sha256 not in held]
        gone = set(found.xet_files)
        used = {xorb for file, xorb in await garbage.uses(self.db) if file not in gone}
        begun = await garbage.unindexed(self.db)
        stay = []
        for xorb in await garbage.xorbs(self.db):
            if xorb.hash in used or xorb.offered_at >= found.at - _OFFERED or xorb.plain_sha256 in begun:
                stay.append(xorb)
            else:
                found.xorbs.append(xorb)
        return stay

    async def _mark(self, files: dict[Oid, File]) -> _Marks:
        """Walk all commits of all repos. Raises `Damaged` where a tree is missing: then nothing may be judged."""
        marks = _Marks()
        marks.oids |= await garbage.commits(self.db) | await garbage.tags(self.db)
        for repo_id, roots in (await garbage.trees(self.db)).items():
            oids = await self._walk(roots)
            marks.oids |= oids
            large = {files[oid].sha256 for oid in oids if oid in files and files[oid].lfs}
            marks.large[repo_id] = large
        return marks

    async def _walk(self, roots: Iterable[Oid]) -> set[Oid]:
        """Every tree and file below these trees."""
        found = set(roots)
        waiting = [oid for oid in found if oid != EMPTY_TREE]
        while waiting:
            batch, waiting = waiting[-_TREES:], waiting[:-_TREES]
            loaded = await objects.contents(self.db, batch)
            if len(loaded) < len(set(batch)):
                missing = next(oid for oid in batch if oid not in loaded)
                raise Damaged(f"The tree {missing} is missing.", hint="Nothing was removed.")
            for data in loaded.values():
                for entry in gitobjects.parse_tree(data):
                    if entry.mode == SUBMODULE or entry.oid in found:
                        continue
                    found.add(entry.oid)
                    if entry.mode == FOLDER and entry.oid != EMPTY_TREE:
                        waiting.append(entry.oid)
        return found

    def _strays(self, xorbs: Iterable[Stored], before: float) -> list[tuple[Path, int]]:
        """Files of xorbs that no row names, and what dead processes left of uploads while the server ran on."""
        named = {self.layout.xorb(xorb.hash, xorb.tag).name for xorb in xorbs}
        stray = [path for path in _listed(self.layout.xorbs) if path[0].name not in named]
        left = [path for path in _files(self.layout.incoming) if path[0].suffix == ""]
        return [(path, size) for path, size, changed in stray + left if changed < before]

    # removal

    async def remove(self, found: Survey) -> Collected:
        """Remove what was surveyed, if it still may go."""
        done = Collected()
        rows, held = Millis(found.at - _ROWS), Millis(found.at - _HELD)

        async def holding(tx: Tx, item: Holding) -> bool:
            return await garbage.remove_holding(tx, item, held, rows)

        async def xorb(tx: Tx, item: Stored) -> bool:
            return await garbage.remove_xorb(tx, item, Millis(found.at - _OFFERED))

        async def file(tx: Tx, item: Oid) -> bool:
            return await garbage.remove_file(tx, item, rows)

        async def object_(tx: Tx, item: tuple[str, int]) -> bool:
            return await garbage.remove_object(tx, item[0], rows)

        gone = await self._each("large-files", found.holdings, holding, lambda h: [h.repo_id, h.sha256])
        done.large_files = len(gone)
        done.rows += len(await self._each("", found.xet_files, garbage.remove_xet_file))
        xorbs = await self._each("xorbs", found.xorbs, xorb, lambda stored: stored.hash)
        done.xorbs = len(xorbs)
        done.rows += len(await self._each("", found.files, file))
        done.rows += len(await self._each("", found.objects, object_))
        done.rows += len(await self._each("", found.lists, garbage.remove_list))
        done.bytes += await asyncio.to_thread(self._remove_xorbs, xorbs)
        await self._remove_blobs(found, done)
        done.bytes += await asyncio.to_thread(self._unlink, found.strays)
        done.strays = len(found.strays)
        return done

    async def _each(
        self,
        kind: str,
        items: Sequence[T],
        remove: Callable[[Tx, T], Awaitable[bool]],
        name: Callable[[T], object] | None = None,
    ) -> list[T]:
        """Those of the items that could be removed. What has a `name` is in the log by it."""
        gone: list[T] = []
        for start in range(0, len(items), _BATCH):
            async with self.db.write() as tx:
                removed = [item for item in items[start : start + _BATCH] if await remove(tx, item)]
                if removed and name is not None:
                    names = [name(item) for item in removed]
                    await log.append(tx, SYSTEM, "system:storage:collect", kind, removed=names)
            gone += removed
            await asyncio.sleep(0)
        return gone

    async def _remove_blobs(self, found: Survey, done: Collected) -> None:
        """Under the lock of all writers only names are taken away: to free a large file takes the disk a while."""
        before = Millis(found.at - _FILES)
        freed: list[tuple[Path, int]] = []

        async def blob(tx: Tx, item: tuple[Sha256, int]) -> bool:
            if await garbage.is_referred_to(tx, item[0]):
                return False
            path = self.blobs.withdraw(item[0], before)
            if path is not None:
                freed.append((path, item[1]))
            return path is not None

        for start in range(0, len(found.blobs), _BATCH):
            part = found.blobs[start : start + _BATCH]
            done.blobs += len(await self._each("blobs", part, blob, lambda item: item[0]))
            done.bytes += await asyncio.to_thread(self._unlink, freed)
            freed.clear()

    def _remove_xorbs(self, xorbs: Iterable[Stored]) -> int:
        real = [xorb for xorb in xorbs if xorb.plain_sha256 is None]
        return self._unlink([(self.layout.xorb(xorb.hash, xorb.tag), xorb.size) for xorb in real])

    def _unlink(self, files: Iterable[tuple[Path, int]]) -> int:
        total = 0
        for path, size in files:
            self.blobs.disk.remove(path)
            total += size
        return total


@dataclass(slots=True)
class _Marks:
    """What commits lead to: oids of whatever kind, and for each repo the large files."""

    oids: set[str] = field(default_factory=set)
    large: dict[int, set[Sha256]] = field(default_factory=dict)


def would(found: Survey) -> Collected:
    """What `remove` would come to if nothing changed meanwhile."""
    real = [xorb for xorb in found.xorbs if xorb.plain_sha256 is None]
    sizes = [xorb.size for xorb in real]
    sizes += [size for _, size in found.blobs] + [size for _, size in found.strays]
    return Collected(
        large_files=len(found.holdings),
        xorbs=len(found.xorbs),
        blobs=len(found.blobs),
        strays=len(found.strays),
        rows=len(found.xet_files) + len(found.files) + len(found.objects) + len(found.lists),
        bytes=sum(sizes),
    )


def _listed(directory: Path) -> list[tuple[Path, int, float]]:
    """The files in the directories of a directory: path, size, when they were last changed in seconds."""
    return [file for inner in os.scandir(directory) if inner.is_dir() for file in _files(Path(inner.path))]


def _files(directory: Path) -> list[tuple[Path, int, float]]:
    found = []
    for entry in os.scandir(directory):
        try:
            about = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # it was on its way
        if stat.S_ISREG(about.st_mode):
            found.append((Path(entry.path), about.st_size, about.st_mtime))
    return found
