"""
Histories made through hubreg's own use cases, and C git's opinion of them: `git fsck` is content, and every oid that
hubreg names is the one that git computes.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hubreg.errors import Conflict
from hubreg.formats.commitlines import FileLine, Line
from hubreg.model import AddLfs, CommitHeader, CommitId, CopyFile, DeleteFile, DeleteFolder, EntryKind, Sha256
from hubreg.store import objects, repos
from hubreg.store.repos import Repo
from tests.git.conftest import Git, Hub, Live

pytestmark = pytest.mark.anyio

SEEDS = range(50)
STEPS = 14
NAMES = [
    "a",
    "b.txt",
    "config.json",
    "ünï",
    "with space",
    "UPPER",
    "a.b",
    "a-b",
    "q\"uote'",
    "back\\slash",
    "€",
    "0",
]


class Author:
    """Somebody who commits at random, and knows what they did."""

    def __init__(self, hub: Hub, repo: Repo, seed: int) -> None:
        self.hub, self.repo = hub, repo
        self.random = random.Random(seed)
        self.branches = ["main"]
        self.pulls: list[int] = []

    async def paths(self, revision: str) -> list[str]:
        snapshot = await self.hub.app.snapshots.at(self.repo, revision)
        return [entry.path for entry in await self.hub.app.snapshots.files(snapshot)]

    def path(self) -> str:
        depth = self.random.choice((1, 1, 2, 3))
        return "/".join(self.random.choice(NAMES) for _ in range(depth))

    def content(self) -> bytes:
        size = self.random.choice((0, 1, 10, 300, 5000))
        return self.random.randbytes(size) if self.random.random() < 0.5 else b"line\n" * (size // 5)

    async def large(self) -> tuple[Sha256, int]:
        content = self.random.randbytes(self.random.randint(1, 2000))
        async with self.hub.app.blobs.create() as upload:
            upload.write(content)
            kept = await upload.publish()
        async with self.hub.app.db.write() as tx:
            await objects.add_large(tx, self.repo.id, kept.sha256, kept.size)
        return kept.sha256, kept.size

    async def operations(self, revision: str) -> list[Line]:
        """What does not stand in its own way: no file where a folder is."""
        present = await self.paths(revision)
        taken = set(present)
        made: list[Line] = []
        for _ in range(self.random.randint(1, 6)):
            path = self.path()
            roll = self.random.random()
            if present and roll < 0.15:
                gone = self.random.choice(present)
                present.remove(gone)
                made.append(DeleteFile(gone))
            elif present and roll < 0.25:
                folders = sorted({path.rpartition("/")[0] for path in present} - {""})
                if folders:
                    gone = self.random.choice(folders)
                    present = [path for path in present if not path.startswith(f"{gone}/")]
                    made.append(DeleteFolder(gone))
            elif _fits(path, taken):
                taken.add(path)
                if roll < 0.35 and present:
                    made.append(CopyFile(path, self.random.choice(await self.paths(revision))))
                elif roll < 0.5:
                    sha256, size = await self.large()
                    made.append(AddLfs(path, sha256, size))
                else:
                    made.append(FileLine(path, self.content()))
        return made or [FileLine("always", self.content())]

    async def commit(self) -> None:
        revision = self.random.choice(self.branches)
        await self._commit(revision)

    async def _commit(self, revision: str, *, propose: bool = False) -> int | None:
        lines = _lines(await self.operations(revision), f"change\n\nof {revision} — ✓")
        done = await self.hub.app.commits.commit(self.hub.ann, self.repo, revision, lines, propose=propose)
        return done.pull

    async def propose(self) -> None:
        number = await self._commit("main", propose=True)
        assert number is not None
        if self.random.random() < 0.5:
            await self._commit(f"refs/pr/{number}")
        self.pulls.append(number)

    async def merge(self) -> None:
        """The oldest open pull request, unless both sides changed the same."""
        if self.pulls:
            with suppress(Conflict):
                await self.hub.app.discussions.merge(self.hub.ann, self.repo, self.pulls.pop(0))

    async def branch(self) -> None:
        name = f"b{len(self.branches)}/x"
        await self.hub.app.refs.create_branch(self.hub.ann, self.repo, name, empty=self.random.random() < 0.2)
        self.branches.append(name)

    async def tag(self) -> None:
        name = f"v{self.random.randrange(10**6)}"
        await self.hub.app.refs.create_tag(self.hub.ann, self.repo, name, self.random.choice(self.branches))

    async def squash(self) -> None:
        await self.hub.app.commits.squash(self.hub.ann, self.repo, self.random.choice(self.branches))

    async def work(self) -> None:
        steps: list[Callable[[], Awaitable[None]]] = [
            *[self.commit] * 8, *[self.propose] * 2, *[self.merge] * 2, self.branch, self.tag, self.squash,
        ]  # fmt: skip
        for _ in range(STEPS):
            await self.random.choice(steps)()


def _fits(path: str, taken: set[str]) -> bool:
    parts = path.split("/")
    above = {"/".join(parts[:length]) for length in range(1, len(parts))}
    return above.isdisjoint(taken) and not any(other.startswith(f"{path}/") for other in taken)


async def _lines(operations: list[Line], summary: str) -> AsyncIterator[Line]:
    title, _, description = summary.partition("\n\n")
    yield CommitHeader(title, description)
    for operation in operations:
        yield operation


@pytest.mark.parametrize("seed", SEEDS)
async def test_git_computes_the_same_oids(hub: Hub, live: Live, git: Git, seed: int) -> None:
    """A mirror of a random history passes `git fsck`, and holds exactly the refs and objects that hubreg names."""
    repo = await hub.repo(f"history-{seed}")
    await Author(hub, repo, seed).work()
    git("clone", "--quiet", "--mirror", live.address("ann/" + repo.ref.name), "mirror.git")
    mirror = git.inside("mirror.git")
    assert mirror("fsck", "--full", "--strict", "--no-dangling") == ""

    refs = await repos.refs(hub.app.db, repo.id)
    told = dict(
        line.split()[::-1] for line in mirror.lines("for-each-ref", "--format=%(objectname) %(refname)")
    )
    assert told == dict(refs)
    named: set[str] = set()
    for _, tip in refs:
        for commit in await objects.history(hub.app.db, repo.id, tip, 0, 1000):
            if commit.id not in named:
                named |= {commit.id, await _compare(hub, repo, commit.id, mirror)}
                named |= await _entries(hub, repo, commit.id)
    held = {line.split()[0] for line in mirror.lines("rev-list", "--objects", "--all")}
    assert named == held


async def _compare(hub: Hub, repo: Repo, commit: CommitId, mirror: Git) -> str:
    """The tree of a commit, which git lists as hubreg does; the commit's bytes give the id that it has."""
    found = await objects.contents(hub.app.db, [commit])
    assert mirror("hash-object", "-t", "commit", "--stdin", input_=found[commit]) == commit
    snapshot = await hub.app.snapshots.at(repo, commit)
    entries, _ = await hub.app.snapshots.page(snapshot, "", recursive=True, limit=10_000)
    ours = {
        (entry.path, "tree" if entry.kind is EntryKind.DIRECTORY else "blob", entry.oid) for entry in entries
    }
    listed = mirror("ls-tree", "-r", "-t", "-z", "--full-tree", commit).split("\0")[:-1]
    theirs = {(line.partition("\t")[2], *line.partition("\t")[0].split()[1:]) for line in listed}
    assert ours == theirs
    return snapshot.tree


async def _entries(hub: Hub, repo: Repo, commit: CommitId) -> set[str]:
    snapshot = await hub.app.snapshots.at(repo, commit)
    entries, _ = await hub.app.snapshots.page(snapshot, "", recursive=True, limit=10_000)
    return {entry.oid for entry in entries}


async def test_git_hashes_the_content_to_the_same_oids(hub: Hub, live: Live, git: Git) -> None:
    """`git hash-object` of every file's bytes, as hubreg serves them, is the oid that hubreg lists."""
    repo = await hub.repo("hashes")
    author = Author(hub, repo, 4711)
    for _ in range(10):
        await author.commit()
    git("clone", "--quiet", live.address("ann/hashes"), "clone")
    clone = git.inside("clone")
    snapshot = await hub.app.snapshots.at(repo, "main")
    entries = await hub.app.snapshots.files(snapshot)
    assert len(entries) > 10
    for entry in entries:
        content = await hub.app.snapshots.content(entry)
        place = os.path.join(clone.folder, entry.path)
        assert Path(place).read_bytes() == content
        assert clone("hash-object", "--no-filters", place) == entry.oid
        if not entry.lfs:
            assert entry.sha256 == hashlib.sha256(content).hexdigest()
