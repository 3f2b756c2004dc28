"""
A small model of a disk that loses power.

`Recorder` does the steps of a `Disk` for real and writes them down. `crashes` gives every state that a journaling
file system may be found in after a power cut behind some of the steps:

- bytes that were not synced with their file are there, or not, or zeros in a file of the full size; each write for
  itself;
- a name that was made, moved or removed and whose directory was not synced since is as before or as after; each for
  itself, but none without those of the same name before it. A move is never half done.

That is weaker than any one file system is (ext4 keeps the order of names), so what survives here survives there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from hubreg.store.disk import Disk


@dataclass(frozen=True, slots=True)
class Make:
    """A new, empty file."""

    path: Path
    inode: int


@dataclass(frozen=True, slots=True)
class Write:
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """What is behind `size` is taken away."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    inode: int


@dataclass(frozen=True, slots=True)
class Move:
    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Link:
    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Remove:
    path: Path


@dataclass(frozen=True, slots=True)
class SyncNames:
    directory: Path


@dataclass(frozen=True, slots=True)
class Told:
    """Not a step of the disk: from here on somebody believes that `what` is safe."""

    what: str


Name = Make | Move | Link | Remove
Step = Name | Write | Cut | Sync | SyncNames | Told
State = dict[Path, bytes]


class Recorder(Disk):
    """A disk that keeps what was done. Steps named in `forgotten` are not done, though their caller thinks so."""

    def __init__(self, forgotten: str = "") -> None:
        self.steps: list[Step] = []
        self.forgotten = forgotten
        self._inodes: dict[int, int] = {}  # by descriptor
        self._paths: dict[Path, int] = {}

    def told(self, what: str) -> None:
        self.steps.append(Told(what))

    def create(self, path: Path) -> int:
        handle = super().create(path)
        self._make(path, handle)
        return handle

    def open(self, path: Path) -> int:
        handle = super().open(path)
        if path not in self._paths:
            self._make(path, handle)
        self._inodes[handle] = self._paths[path]
        return handle

    def _make(self, path: Path, handle: int) -> None:
        inode = sum(isinstance(step, Make) for step in self.steps)
        self._paths[path] = self._inodes[handle] = inode
        self.steps.append(Make(path, inode))

    def write(self, handle: int, data: memoryview, offset: int) -> None:
        super().write(handle, data, offset)
        if data:
            self.steps.append(Write(self._inodes[handle], offset, bytes(data)))

    def truncate(self, handle: int, size: int) -> None:
        super().truncate(handle, size)
        self.steps.append(Cut(self._inodes[handle], size))

    def sync(self, handle: int) -> None:
        super().sync(handle)
        if self.forgotten == "sync":
            return
        inode = self._inodes.get(handle)
        if inode is None:  # the file was made here and opened elsewhere
            inode = self._paths[Path(f"/proc/self/fd/{handle}").resolve()]
        self.steps.append(Sync(inode))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._paths[target] = self._paths.pop(source)
        self.steps.append(Move(source, target))

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._paths[target] = self._paths[source]
        self.steps.append(Link(source, target))

    def remove(self, path: Path) -> None:
        super().remove(path)
        if self._paths.pop(path, None) is not None:
            self.steps.append(Remove(path))

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        if self.forgotten != "sync_directory":
            self.steps.append(SyncNames(path))

    def close(self, handle: int) -> None:
        super().close(handle)
        self._inodes.pop(handle, None)


@dataclass(slots=True)
class _Contents:
    """What was written to one inode: for good, and since its last sync."""

    safe: list[Write | Cut] = field(default_factory=list)
    pending: list[Write | Cut] = field(default_factory=list)

    def outcomes(self) -> set[bytes]:
        """Every content that may be found."""
        found: set[bytes] = set()
        for fates in product(("there", "lost", "zeros"), repeat=len(self.pending)):
            data = bytearray()
            for change in self.safe:
                _change(data, change)
            for change, fate in zip(self.pending, fates, strict=True):
                if fate != "lost":
                    _change(data, change, zeros=fate == "zeros")
            found.add(bytes(data))
        return found


def _change(data: bytearray, change: Write | Cut, *, zeros: bool = False) -> None:
    if isinstance(change, Cut):
        del data[change.size :]
        return
    part = bytes(len(change.data)) if zeros else change.data
    data.extend(bytes(max(0, change.offset - len(data))))
    data[change.offset : change.offset + len(part)] = part


def crashes(steps: Sequence[Step], start: State | None = None) -> Iterator[State]:
    """Every state after a power cut behind `steps`; `start` is what was there, safe, before the first."""
    contents, names = _replay(steps)
    before = {path: {data} for path, data in (start or {}).items()}
    seen: set[frozenset[tuple[Path, bytes]]] = set()
    for present in _namespaces(names):
        files = {**before}
        for name in present:
            _apply(name, files, contents)
        for chosen in product(*files.values()):
            state = dict(zip(files, chosen, strict=True))
            key = frozenset(state.items())
            if key not in seen:
                seen.add(key)
                yield state


def _replay(steps: Sequence[Step]) -> tuple[dict[int, _Contents], list[tuple[Name, bool]]]:
    """The contents of each inode, and every change of a name with whether it is safe."""
    contents: dict[int, _Contents] = {}
    names: list[tuple[Name, bool]] = []
    for step in steps:
        match step:
            case Write(inode) | Cut(inode):
                contents.setdefault(inode, _Contents()).pending.append(step)
            case Sync(inode):
                kept = contents.setdefault(inode, _Contents())
                kept.safe, kept.pending = kept.safe + kept.pending, []
            case SyncNames(directory):
                names = [(name, safe or directory in _directories(name)) for name, safe in names]
            case Make() | Move() | Link() | Remove():
                names.append((step, False))
    return contents, names


def _paths(name: Name) -> tuple[Path, ...]:
    return (name.path,) if isinstance(name, Make | Remove) else (name.source, name.target)


def _directories(name: Name) -> set[Path]:
    return {path.parent for path in _paths(name)}


def _namespaces(names: Sequence[tuple[Name, bool]]) -> Iterator[list[Name]]:
    """Every choice of changes that may have happened: the safe ones and what they build on, and any of the others."""
    forced = [safe for _, safe in names]
    for at in reversed(range(len(names))):
        if forced[at]:
            for earlier in _builds_on(names, at):
                forced[earlier] = True

    def choose(at: int, chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if at == len(names):
            yield chosen
            return
        if all(earlier in chosen for earlier in _builds_on(names, at)):
            yield from choose(at + 1, (*chosen, at))
        if not forced[at]:
            yield from choose(at + 1, chosen)

    for chosen in choose(0, ()):
        yield [names[at][0] for at in chosen]


def _builds_on(names: Sequence[tuple[Name, bool]], at: int) -> list[int]:
    mine = set(_paths(names[at][0]))
    return [earlier for earlier in range(at) if mine & set(_paths(names[earlier][0]))]


def _apply(name: Name, files: dict[Path, set[bytes]], contents: dict[int, _Contents]) -> None:
    match name:
        case Make(path, inode):
            files[path] = contents.get(inode, _Contents()).outcomes()
        case Move(source, target):
            files[target] = files.pop(source)
        case Link(source, target):
            files[target] = files[source]
        case Remove(path):
            files.pop(path, None)
