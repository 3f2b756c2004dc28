"""git-lfs beside git: large files go by LFS, git holds their pointers, and both sides know it."""

from __future__ import annotations

import hashlib
import random
import shutil

import pytest

from hubreg.formats import lfs
from hubreg.store.repos import Repo
from tests.git.conftest import Git, Hub, Live

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        shutil.which("git-lfs") is None, reason="git-lfs is missing; scripts/setup installs it"
    ),
]


async def tracked(hub: Hub, live: Live, git: Git, name: str) -> tuple[Repo, Git]:
    """A repo with the Hub's `.gitattributes`, which cover `*.bin`, and a clone that uses git-lfs."""
    git("lfs", "install", "--skip-repo")
    repo = await hub.repo(name)
    git("clone", "--quiet", live.address(f"ann/{name}", live.ann), "clone")
    return repo, git.inside("clone")


async def test_large_files_make_the_round(hub: Hub, live: Live, git: Git) -> None:
    """What git-lfs pushes is a large file here; a clone by git-lfs has its content, one without has the pointer."""
    repo, clone = await tracked(hub, live, git, "lfs-round")
    content = random.Random(1).randbytes(3_000_000)
    clone.commit("weights", {"model.bin": content, "deep/other.bin": b"small", "config.json": b"{}"})
    clone("push", "--quiet", "origin", "main")

    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(repo, "main"), "model.bin")
    assert (entry.lfs, entry.size, entry.sha256) == (True, len(content), hashlib.sha256(content).hexdigest())
    git("clone", "--quiet", live.address("ann/lfs-round"), "again")
    again = git.inside("again")
    assert (again.folder / "model.bin").read_bytes() == content
    assert (again.folder / "deep/other.bin").read_bytes() == b"small"
    assert again("lfs", "fsck") == "Git LFS fsck OK"
    assert again("status", "--porcelain") == ""
    bare = Git.at(git.home.parent / "without")
    bare("clone", "--quiet", live.address("ann/lfs-round"), "again")
    assert entry.sha256 is not None
    pointer = lfs.render_pointer(entry.sha256, entry.size)
    assert (bare.folder / "again" / "model.bin").read_bytes() == pointer


async def test_a_pointer_to_what_was_never_sent_is_refused(hub: Hub, live: Live, git: Git) -> None:
    """In the Hub's words, with the path (HUB 4.2)."""
    repo, clone = await tracked(hub, live, git, "lfs-missing")
    clone.commit("weights", {"deep/model.bin": b"content"})
    said = clone.fails("push", "--no-verify", "origin", "main")
    assert "Your push was rejected because an LFS pointer pointed to a file that does not exist." in said
    assert "- deep/model.bin" in said
    assert (await hub.again(repo)).head == repo.head
    clone("push", "--quiet", "origin", "main")


async def test_another_repos_large_file_is_not_held(hub: Hub, live: Live, git: Git) -> None:
    """Knowing the sha256 and size of a private file is no right to it: its pointer is refused elsewhere."""
    secret, clone = await tracked(hub, live, git, "lfs-secret")
    await hub.app.repos.set_settings(hub.ann, secret, private=True)
    clone.commit("weights", {"model.bin": b"the secret"})
    clone("push", "--quiet", "origin", "main")
    await hub.repo("lfs-thief")
    pointer = lfs.render_pointer(hashlib.sha256(b"the secret").hexdigest(), 10)  # type: ignore[arg-type]  # a Sha256
    thief = Git.at(git.home.parent / "thief")
    thief("clone", "--quiet", live.address("ann/lfs-thief", live.ann), "clone")
    thief.inside("clone").commit("a guess", {"mine.txt": pointer})
    assert "LFS pointer pointed to a file" in thief.inside("clone").fails("push", "origin", "main")


async def test_a_pointer_in_other_words_is_a_file(hub: Hub, live: Live, git: Git) -> None:
    """A pointer that git-lfs would write otherwise stays what it is: its oid is of its own bytes."""
    repo, clone = await tracked(hub, live, git, "lfs-odd")
    text = lfs.render_pointer("0" * 64, 5).removesuffix(b"\n")  # type: ignore[arg-type]  # a Sha256
    clone.commit("odd", {"odd.txt": text})
    clone("push", "--quiet", "origin", "main")
    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(repo, "main"), "odd.txt")
    assert (entry.lfs, entry.size, entry.oid) == (False, len(text), clone("rev-parse", "HEAD:odd.txt"))
