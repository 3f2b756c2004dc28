"""
Packs out of rows and blobs: everything that a fetch is to get, in the order commits, tags, trees, files.

First the names of all of it are listed, for a pack begins with their number; then it is made as fast as the client
takes it, about a MiB at a time, reading and compressing in threads. Memory holds the names and one piece.

Trees are deltas upon the next younger state of the same folder, where they are alike: in a folder of thousands of files
each commit would otherwise cost a list of them all. Files are whole: finding deltas among them would cost seconds, to
save bytes in histories of text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hubreg.errors import Damaged
from hubreg.formats import deltas, lfs, packs
from hubreg.formats.gitobjects import EMPTY_TREE
from hubreg.formats.packs import Encoder
from hubreg.model import CommitId, Oid
from hubreg.store import objects
from hubreg.store.blobs import Blobs
from hubreg.store.db import Database
from hubreg.store.objects import File
from hubreg.store.threads import run_in

T = TypeVar("T")

_TREES = 32  # at a time: each of a folder of 10 000 files is half a MB
_COMMITS = 500
_FILES = 500
_PIECE = 1 << 20  # bytes of content that are compressed in one trip to a thread
_CHAIN = 50  # deltas upon each other, as many as git makes


@dataclass(slots=True)
class Listed:
    """
    The names of what a pack is to hold. Nothing is in it twice. Trees are by the path at which they were first seen,
    the youngest state of a folder first.
    """

    commits: Sequence[CommitId] = ()
    tags: Sequence[Oid] = ()
    trees: dict[bytes, list[Oid]] = field(default_factory=dict)
    files: list[Oid] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.commits) + len(self.tags) + sum(map(len, self.trees.values())) + len(self.files)


@dataclass(frozen=True, slots=True)
class Packing:
    db: Database
    blobs: Blobs

    async def collect(
        self, commits: Sequence[CommitId], tags: Sequence[Oid], roots: Iterable[Oid], held: Iterable[Oid]
    ) -> Listed:
        """Commits and tags as given, and what is below the trees `roots` and not below the trees `held`."""
        seen: set[Oid] = set()
        await self._walk(held, seen, Listed())
        listed = Listed(commits, tags)
        await self._walk(roots, seen, listed)
        return listed

    async def _walk(self, roots: Iterable[Oid], seen: set[Oid], listed: Listed) -> None:
        """Add what is below the trees and not `seen` yet; it is then. Level by level, so the roots' order stays."""
        level = [(b"", oid) for oid in _new(roots, seen)]
        while level:
            below: list[tuple[bytes, Oid]] = []
            for batch in _batches(level, _TREES):
                found = await self._objects([oid for _, oid in batch])
                for (path, oid), (folders, files) in zip(
                    batch, await run_in(None, _links, found), strict=True
                ):
                    listed.trees.setdefault(path, []).append(oid)
                    by_oid = {oid: name for name, oid in folders}
                    below += [(b"%b/%b" % (path, by_oid[oid]), oid) for oid in _new(by_oid, seen)]
                    listed.files += _new(files, seen)
            level = below

    async def lacking(self, wanted: Iterable[Oid], roots: Iterable[Oid]) -> set[Oid]:
        """Those of the trees and files that are not below the trees `roots`, which are looked at in order."""
        missing, seen = set(wanted), set[Oid]()
        for root in roots:
            if not missing:
                break
            found = Listed()
            await self._walk([root], seen, found)
            missing.difference_update(found.files, *found.trees.values())
        return missing

    async def file(self, oid: Oid) -> bytes:
        """What git holds for one file, whole. Raises `Damaged` where that is not known."""
        rows = await objects.files(self.db, [oid])
        if oid not in rows:
            raise Damaged(f"The content of {oid} is not known.")
        [content] = await self._held([rows[oid]])
        return content

    async def _objects(self, oids: Sequence[str]) -> list[bytes]:
        """The objects in the order asked. Raises `Damaged` where one is missing."""
        found: Mapping[str, bytes] = await objects.contents(self.db, oids)
        found = {EMPTY_TREE: b"", **found}  # which nobody needs to keep
        missing = [oid for oid in oids if oid not in found]
        if missing:
            raise Damaged(f"The git object {missing[0]} is missing.")
        return [found[oid] for oid in oids]

    async def encode(self, listed: Listed) -> AsyncIterator[bytes]:
        """The pack, in pieces that memory need not fear."""
        encoder = Encoder(len(listed))
        yield encoder.start()
        for kind, oids in (("commit", listed.commits), ("tag", listed.tags)):
            for batch in _batches(oids, _COMMITS):
                yield await run_in(None, _whole, encoder, kind, await self._objects(batch))
        folders = _Folders(encoder)
        for trees in _batches([(path, oid) for path, oids in listed.trees.items() for oid in oids], _TREES):
            yield await run_in(None, folders.encode, trees, await self._objects([oid for _, oid in trees]))
        for oids in _batches(listed.files, _FILES):
            async for piece in self._files(encoder, oids):
                yield piece
        yield encoder.close()

    async def _files(self, encoder: Encoder, oids: Sequence[Oid]) -> AsyncIterator[bytes]:
        rows = await objects.files(self.db, oids)
        small: list[File] = []
        weight = 0
        for oid in oids:
            if oid not in rows:
                raise Damaged(f"The content of {oid} is not known.")
            file = rows[oid]
            if file.size > _PIECE and not file.lfs:
                async for piece in self._large(encoder, file):
                    yield piece
                continue
            small.append(file)
            weight += file.pointer_size if file.lfs else file.size
            if weight >= _PIECE:
                yield await self._small(encoder, small)
                small, weight = [], 0
        if small:
            yield await self._small(encoder, small)

    async def _small(self, encoder: Encoder, files: Sequence[File]) -> bytes:
        return await run_in(None, _whole, encoder, "blob", await self._held(files))

    async def _held(self, files: Sequence[File]) -> list[bytes]:
        """What git holds for files: their content, or the pointers of large ones."""
        contents = iter(await self.blobs.get([file.sha256 for file in files if not file.lfs]))
        return [lfs.render_pointer(file.sha256, file.size) if file.lfs else next(contents) for file in files]

    async def _large(self, encoder: Encoder, file: File) -> AsyncIterator[bytes]:
        yield encoder.begin("blob", file.size)
        async for chunk in self.blobs.read(file.sha256):
            yield await run_in(None, encoder.piece, chunk)
        yield encoder.end()


class _Folders:
    """Encodes trees, given by path, each upon the one before it where that has the same path."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._path, self._oid, self._data, self._chain = b"\0", EMPTY_TREE, b"", 0

    def encode(self, trees: Sequence[tuple[bytes, Oid]], contents: Sequence[bytes]) -> bytes:
        return b"".join(
            [self._one(path, oid, data) for (path, oid), data in zip(trees, contents, strict=True)]
        )

    def _one(self, path: bytes, oid: Oid, data: bytes) -> bytes:
        steps = deltas.tree_delta(self._data, data) if path == self._path and self._chain < _CHAIN else None
        base, self._chain = self._oid, self._chain + 1 if steps else 0
        self._path, self._oid, self._data = path, oid, data
        return self._encoder.delta(base, steps) if steps else self._encoder.whole("tree", data)


def _new(oids: Iterable[Oid], seen: set[Oid]) -> list[Oid]:
    new = [oid for oid in dict.fromkeys(oids) if oid not in seen]
    seen.update(new)
    return new


def _links(trees: Sequence[bytes]) -> list[tuple[list[tuple[bytes, Oid]], list[Oid]]]:
    return [packs.tree_links(tree) for tree in trees]


def _whole(encoder: Encoder, kind: str, contents: Sequence[bytes]) -> bytes:
    return b"".join([encoder.whole(kind, content) for content in contents])


def _batches(oids: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (oids[start : start + size] for start in range(0, len(oids), size))
