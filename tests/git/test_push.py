"""Pushes from C git: the same oids, the same "last changed by", and refusals that git shows to the person."""

from __future__ import annotations

import random

import pytest

from hubreg.errors import HubregError
from hubreg.formats.gitobjects import COMMIT_HEAD
from hubreg.hub.snapshots import Snapshot
from hubreg.model import Entry, EntryKind
from hubreg.store import objects, repos
from hubreg.store.repos import Repo
from tests.git.conftest import Git, Hub, Live

pytestmark = pytest.mark.anyio


async def cloned(hub: Hub, live: Live, git: Git, name: str, token: str | None = None) -> tuple[Repo, Git]:
    """A new repo of ann's, and a clone of it that pushes with her token."""
    repo = await hub.repo(name)
    git("clone", "--quiet", live.address(f"ann/{name}", token or live.ann), "clone")
    return repo, git.inside("clone")


async def every_entry(hub: Hub, snapshot: Snapshot) -> list[Entry]:
    entries, _ = await hub.app.snapshots.page(snapshot, "", recursive=True, limit=10_000)
    return entries


def merged(git: Git, other: str, randomness: random.Random) -> None:
    """Merge, in either order of the parents' ages, and settle conflicts with what neither side has."""
    done = git.run("merge", "--no-ff", "--quiet", "-m", f"merge {other}", other)
    if done.returncode:
        for path in git.lines("diff", "--name-only", "--diff-filter=U"):
            (git.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (git.folder / path).write_bytes(randomness.randbytes(20))
        git("add", "--all")
        git("commit", "--quiet", "-m", f"merge {other} by hand")


def grow(git: Git, seed: int, steps: int) -> None:
    """A history of commits, branches and merges. No two changes make the same content."""
    randomness = random.Random(seed)
    branches = ["main"]
    names = ["a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "x/y/z/a"]
    for step in range(steps):
        git("checkout", "--quiet", randomness.choice(branches))
        present = [name for name in names if (git.folder / name).exists()]
        roll = randomness.random()
        if roll < 0.15:
            branches.append(f"side{step}")
            git("checkout", "--quiet", "-b", branches[-1])
        elif roll < 0.4 and len(branches) > 1:
            merged(git, randomness.choice(branches), randomness)
        elif roll < 0.5 and present:
            git.commit(f"delete {step}", {randomness.choice(present): None}, date=1_600_000_000 + step)
        else:
            count = randomness.randint(1, 3)
            files = {
                name: b"%d\n" % step + randomness.randbytes(9) for name in randomness.sample(names, count)
            }
            git.commit(f"change {step}", dict(files), date=1_600_000_000 + step)


@pytest.mark.parametrize("seed", range(12))
async def test_a_pushed_history_is_the_same_here(hub: Hub, live: Live, git: Git, seed: int) -> None:
    """
    After pushing a random history with merges, branches and tags, hubreg has git's commits, and names for each path of
    each tip the commit that `git log -1` names.
    """
    repo, clone = await cloned(hub, live, git, f"pushed-{seed}")
    grow(clone, seed, 25)
    clone("tag", "light")
    clone("tag", "-a", "heavy", "-m", "an annotated tag")
    clone("push", "--quiet", "--all")
    clone("push", "--quiet", "--tags")

    told = {ref: oid for oid, ref in map(str.split, clone.lines("ls-remote", "origin"))}
    mine = {
        ref: oid
        for oid, ref in map(str.split, clone.lines("show-ref", "--dereference"))
        if "remotes" not in ref
    }
    assert {ref: oid for ref, oid in told.items() if ref != "HEAD"} == mine
    for ref, tip in await repos.refs(hub.app.db, repo.id):
        assert tip == clone("rev-parse", f"{ref}^{{commit}}")
        snapshot = await hub.app.snapshots.at(repo, tip)
        entries = await every_entry(hub, snapshot)
        last = await hub.app.snapshots.last_commits(snapshot, entries)
        theirs = {e.path: clone("log", "-1", "--format=%H", tip, "--", e.path) for e in entries}
        assert {path: commit.id for path, commit in last.items()} == theirs
        line = await objects.history(hub.app.db, repo.id, tip, 0, 1000)
        assert [commit.id for commit in line] == clone.lines("rev-list", "--first-parent", tip)
        assert line[0].depth == len(line)


async def test_what_was_pushed_can_be_cloned(hub: Hub, live: Live, git: Git) -> None:
    """A second clone has the files, the history and the tags of the first, and passes `git fsck`."""
    _, clone = await cloned(hub, live, git, "round")
    grow(clone, 99, 30)
    clone("tag", "-a", "v1", "-m", "one")
    clone("push", "--quiet", "--all", "--follow-tags")
    clone("push", "--quiet", "origin", "v1")
    git("clone", "--quiet", live.address("ann/round"), "again")
    again = git.inside("again")
    assert again("fsck", "--full", "--strict") == ""
    assert again("rev-parse", "HEAD^{tree}") == clone("rev-parse", "main^{tree}")
    assert again("rev-list", "--objects", "--all", "--count") == clone(
        "rev-list", "--objects", "--all", "--count"
    )
    assert again("cat-file", "-p", "v1") == clone("cat-file", "-p", "v1")


async def test_what_a_commit_says_of_itself_is_shown(hub: Hub, live: Live, git: Git) -> None:
    """Title, message, author and date of a pushed commit are its own; the repo's head and facts follow `main`."""
    repo, clone = await cloned(hub, live, git, "facts")
    card = b"---\nlicense: mit\npipeline_tag: text-generation\n---\n# Card\n"
    commit = clone.commit("the title\n\nand the rest", {"README.md": card}, date=1_234_567_890)
    clone("push", "--quiet", "origin", "main")
    row = await objects.find_commit(hub.app.db, repo.id, commit)
    assert row is not None
    assert (row.title, row.message, row.author, row.at) == (
        "the title",
        "and the rest",
        "Ann Author",
        1_234_567_890_000,
    )
    repo = await hub.again(repo)
    assert repo.head == commit
    assert repo.pipeline_tag == "text-generation"
    assert "license:mit" in (await hub.app.repos.tags([repo]))[repo.id]


async def test_modes_are_kept(hub: Hub, live: Live, git: Git) -> None:
    """Executables and symbolic links come back as they were."""
    _, clone = await cloned(hub, live, git, "modes")
    (clone.folder / "run").write_text("#!/bin/sh\n")
    (clone.folder / "run").chmod(0o755)
    (clone.folder / "link").symlink_to("run")
    clone("add", "--all")
    clone("commit", "--quiet", "-m", "modes")
    clone("push", "--quiet", "origin", "main")
    git("clone", "--quiet", live.address("ann/modes"), "again")
    again = git.inside("again")
    assert again("ls-tree", "HEAD") == clone("ls-tree", "HEAD")
    assert (again.folder / "link").readlink().name == "run"


async def test_force_delete_and_leases(hub: Hub, live: Live, git: Git) -> None:
    """History may be rewritten by force, branches and tags go when they are deleted, `main` stays."""
    repo, clone = await cloned(hub, live, git, "force")
    first = clone.commit("one", {"a": b"1"})
    clone.commit("two", {"a": b"2"})
    clone("push", "--quiet", "origin", "main", "main:other/side", "main:refs/tags/t")
    clone("reset", "--quiet", "--hard", first)
    clone.commit("another two", {"a": b"3"})
    assert "non-fast-forward" in clone.fails("push", "origin", "main")
    clone("push", "--quiet", "--force", "origin", "main")
    assert (await hub.again(repo)).head == clone("rev-parse", "HEAD")
    clone("push", "--quiet", "origin", ":other/side", ":refs/tags/t")
    assert [ref for ref, _ in await repos.refs(hub.app.db, repo.id)] == ["refs/heads/main"]
    assert "deletion of this ref is prohibited" in clone.fails("push", "origin", ":main")


async def test_a_push_on_what_has_moved_is_refused(hub: Hub, live: Live, git: Git) -> None:
    """Somebody was first: git is told to fetch first, and nothing has changed."""
    repo, clone = await cloned(hub, live, git, "race")
    git("clone", "--quiet", live.address("ann/race", live.ann), "other")
    other = git.inside("other")
    other.commit("theirs", {"theirs": b"1"})
    other("push", "--quiet", "origin", "main")
    clone.commit("mine", {"mine": b"1"})
    assert "rejected" in clone.fails("push", "origin", "main")
    assert "stale info" in clone.fails("push", "--force-with-lease", "origin", "main")
    assert (await hub.again(repo)).head == other("rev-parse", "HEAD")
    clone("pull", "--quiet", "--rebase", "origin", "main")
    clone("push", "--quiet", "origin", "main")


async def test_one_refused_ref_refuses_all(hub: Hub, live: Live, git: Git) -> None:
    """A push is taken as a whole: beside a ref that may not be, the others do not move."""
    repo, clone = await cloned(hub, live, git, "whole")
    clone.commit("one", {"a": b"1"})
    said = clone.fails("push", "origin", "main", "main:refs/changes/1", "main:fine")
    assert "there are branches, tags, and the pull requests" in said
    assert "another ref of this push was refused" in said
    assert [ref for ref, _ in await repos.refs(hub.app.db, repo.id)] == ["refs/heads/main"]


async def test_a_ref_cannot_be_a_folder_of_another(hub: Hub, live: Live, git: Git) -> None:
    """`a` and `a/b` cannot both be branches, neither with one that is there nor within one push."""
    _, clone = await cloned(hub, live, git, "clash")
    clone("push", "--quiet", "origin", "main:a/b")
    assert "cannot be beside" in clone.fails("push", "origin", "main:a")
    assert "cannot be beside" in clone.fails("push", "origin", "main:a/b/c")
    assert "cannot be beside" in clone.fails("push", "origin", "main:n", "main:n/m")
    clone("push", "--quiet", "origin", ":a/b", "main:a")


async def test_tags_of_anything_but_commits_are_refused(hub: Hub, live: Live, git: Git) -> None:
    """A tag of a tree, a tag of a tag, and a branch that is a tag."""
    _, clone = await cloned(hub, live, git, "tags")
    clone("tag", "-a", "tree", "-m", "of a tree", "main^{tree}")
    assert "tags of commits" in clone.fails("push", "origin", "tree")
    clone("tag", "-a", "one", "-m", "one")
    clone("tag", "-a", "two", "-m", "of a tag", "one")
    assert "tags of commits" in clone.fails("push", "origin", "two")
    clone("push", "--quiet", "origin", "one")
    assert "cannot point to a tag" in clone.fails("push", "origin", "refs/tags/one:refs/heads/x")


async def test_submodules_and_bad_paths_are_refused(hub: Hub, live: Live, git: Git) -> None:
    """What hubreg cannot serve is refused with its path, and nothing moves."""
    repo, clone = await cloned(hub, live, git, "paths")
    head = clone("rev-parse", "HEAD")
    clone("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
    clone("commit", "--quiet", "-m", "submodule")
    assert "sub is a submodule" in clone.fails("push", "origin", "main")
    blob = clone("hash-object", "-w", "--stdin", input_=b"x")
    for name in ("tab\\there", "..\\\\up"):
        tree = clone("mktree", input_=f'100644 blob {blob}\t"{name}"\n'.encode())
        commit = clone("commit-tree", tree, "-p", head, "-m", "bad")
        assert "pre-receive hook declined" in clone.fails("push", "origin", f"{commit}:refs/heads/bad")
    assert (await hub.again(repo)).head == head


async def test_files_that_are_too_large_are_refused(hub: Hub, live: Live, git: Git) -> None:
    """In the Hub's words, with the file and the ref (HUB 8.5); as a delta upon an older version too."""
    repo, clone = await cloned(hub, live, git, "large")
    large = random.Random(1).randbytes(11 << 20)
    clone.commit("large", {"deep/large.dat": large})
    said = clone.fails("push", "origin", "main")
    assert "Your push was rejected because it contains files larger than 10 MiB." in said
    assert "- deep/large.dat (ref: refs/heads/main)" in said
    clone.commit("and again", {"deep/large.dat": large + b"more"})
    assert "- deep/large.dat (ref: refs/heads/main)" in clone.fails("push", "origin", "main")
    assert (await hub.again(repo)).head == clone("rev-parse", "main~2")


async def test_commits_and_tags_that_are_too_large_are_refused(hub: Hub, live: Live, git: Git) -> None:
    """A message of a MiB is not shown in pages; a long one is kept, and is not read to learn how commits descend."""
    repo, clone = await cloned(hub, live, git, "novels")
    tree, head = clone("rev-parse", "HEAD^{tree}"), clone("rev-parse", "HEAD")
    long = clone("commit-tree", tree, "-p", head, input_=b"A novel\n\n" + b"la " * 300_000)
    clone("push", "--quiet", "origin", f"{long}:refs/heads/long")
    rows = dict(await objects.every_commit(hub.app.db, repo.id))
    assert set(rows) == {head, long}
    assert max(map(len, rows.values())) <= COMMIT_HEAD
    novel = b"A novel\n\n" + b"la " * 400_000
    commit = clone("commit-tree", tree, "-p", head, input_=novel)
    clone("tag", "-a", "novel", "-F", "-", head, input_=novel)
    octopus = [clone("commit-tree", tree, "-m", f"{n}") for n in range(257)]
    parents = [word for parent in octopus for word in ("-p", parent)]
    merge = clone("commit-tree", tree, *parents, "-m", "merge")
    for what, why in ((commit, "1048576"), ("refs/tags/novel", "1048576"), (merge, "256 parents")):
        ref = what if what.startswith("refs/") else "refs/heads/x"
        assert why in clone.fails("push", "origin", f"{what}:{ref}")
    assert set(dict(await objects.every_commit(hub.app.db, repo.id))) == {head, long}


async def test_who_may_push(hub: Hub, live: Live, git: Git) -> None:
    """Nobody without a token, none with one that reads, no stranger; each is told why."""
    _, clone = await cloned(hub, live, git, "rights")
    clone.commit("one", {"a": b"1"})
    assert "remote: Invalid username or password." in clone.fails("push", live.address("ann/rights"), "main")
    assert "Password authentication in git" in clone.fails(
        "push", live.address("ann/rights", "s3cret"), "main"
    )
    assert "Invalid credentials" in clone.fails("push", live.address("ann/rights", "hf_" + "x" * 34), "main")
    said = clone.fails("push", live.address("ann/rights", live.reader), "main")
    assert "remote: This token may only read: a write token is needed." in said
    said = clone.fails("push", live.address("ann/rights", live.bob), "main")
    assert "remote: DENIED update refs/heads/main: forbidden" in said
    assert "pre-receive hook declined" in said
    clone("push", "--quiet", live.address("ann/rights.git", live.ann), "main")


async def test_a_pull_request_is_pushed_by_its_author(hub: Hub, live: Live, git: Git) -> None:
    """bob may push to the pull request that he opened, not to another's nor to `main`; the discussion hears of it."""
    repo, clone = await cloned(hub, live, git, "pulls")
    bob = await hub.app.credentials.actor(f"Bearer {live.bob}")
    pull = await hub.app.discussions.open(bob, repo, "mine", pull=True)
    other = await hub.app.discussions.open(hub.ann, repo, "hers", pull=True)
    commit = clone.commit("an offer", {"offered": b"1"})
    clone("push", "--quiet", live.address("ann/pulls", live.bob), f"HEAD:refs/pr/{pull}")
    assert "DENIED" in clone.fails("push", live.address("ann/pulls", live.bob), f"HEAD:refs/pr/{other}")
    assert "DENIED" in clone.fails("push", live.address("ann/pulls", live.bob), "HEAD:main")
    assert "pull requests that were opened" in clone.fails("push", "origin", "HEAD:refs/pr/77")
    assert await hub.app.snapshots.resolve(repo, f"refs/pr/{pull}") == commit
    events = (await hub.app.discussions.detail(hub.ann, repo, pull)).events
    assert [event.data for event in events if event.kind == "commit"] == [
        {"subject": "an offer", "oid": commit}
    ]

    git("clone", "--quiet", live.address("ann/pulls"), "reader")
    reader = git.inside("reader")
    assert reader.run("cat-file", "-e", commit).returncode
    reader("fetch", "--quiet", "origin", f"refs/pr/{pull}")
    assert reader("rev-parse", "FETCH_HEAD") == commit
    await hub.app.discussions.merge(hub.ann, repo, pull)
    clone("fetch", "--quiet", "origin")
    assert clone("rev-parse", "origin/main^2") == commit


async def test_a_knock_and_an_empty_push(hub: Hub, live: Live, git: Git) -> None:
    """Large pushes begin with an empty request; up to date is up to date."""
    _, clone = await cloned(hub, live, git, "knock")
    clone("config", "http.postBuffer", "65536")
    clone.commit("much", {f"f{n}": random.Random(n).randbytes(50_000) for n in range(20)})
    clone("push", "--quiet", "origin", "main")
    assert "up-to-date" in clone.run("push", "origin", "main").stderr.decode()
    assert clone("ls-remote", "origin", "main").split()[0] == clone("rev-parse", "HEAD")


async def test_a_shallow_clone_pushes(hub: Hub, live: Live, git: Git) -> None:
    """Whoever has only the last commit may add to it."""
    repo, clone = await cloned(hub, live, git, "thin")
    for n in range(5):
        clone.commit(f"{n}", {"a": b"%d\n" % n * 100, f"b{n}": b"x"})
    clone("push", "--quiet", "origin", "main")
    git("clone", "--quiet", "--depth=1", live.address("ann/thin", live.ann), "shallow")
    shallow = git.inside("shallow")
    tip = shallow.commit("more", {"a": b"5\n" * 100})
    shallow("push", "--quiet", "origin", "main")
    assert (await hub.again(repo)).head == tip


async def test_old_content_comes_back(hub: Hub, live: Live, git: Git) -> None:
    """A revert to a tree of long ago names objects that git does not send again."""
    repo, clone = await cloned(hub, live, git, "revert")
    old = clone.commit("old", {"deep/a": b"old\n" * 50, "deep/b": b"b"})
    for n in range(5):
        clone.commit(f"{n}", {"deep/a": b"%d\n" % n * 50})
        clone("push", "--quiet", "origin", "main")
    clone("checkout", "--quiet", old, "--", "deep")
    tip = clone.commit("as it was", {})
    clone("push", "--quiet", "origin", "main")
    snapshot = await hub.app.snapshots.at(repo, tip)
    assert snapshot.tree == clone("rev-parse", f"{old}^{{tree}}")


async def test_nothing_is_left_of_a_refused_push(hub: Hub, live: Live, git: Git) -> None:
    """Neither objects, nor blobs, nor a temporary file."""
    _, clone = await cloned(hub, live, git, "clean")
    before = _inventory(live), await _rows(hub)
    clone.commit("good and bad", {"good": b"good", "bad": random.Random(2).randbytes(11 << 20)})
    clone.fails("push", "origin", "main")
    assert (_inventory(live), await _rows(hub)) == before


def _inventory(live: Live) -> list[str]:
    return sorted(str(path) for part in ("blobs", "incoming") for path in (live.data / part).rglob("*"))


async def _rows(hub: Hub) -> list[object]:
    tables = ("objects", "files", "commits", "last_commits", "log")
    return [await hub.app.db.one(f"SELECT COUNT(*) FROM {table}") for table in tables]  # noqa: S608


async def test_a_private_repo_is_not_known(hub: Hub, live: Live, git: Git) -> None:
    """Without credentials git is asked for some; a stranger hears that it does not exist, its owner clones it."""
    await hub.repo("hidden", private=True)
    for name in ("hidden", "absent"):
        assert "remote: Invalid username or password." in git.fails(
            "clone", live.address(f"ann/{name}"), "no"
        )
    assert "not found" in git.fails("clone", live.address("ann/hidden", live.bob), "no")
    git("clone", "--quiet", live.address("ann/hidden", live.reader), "yes")
    with pytest.raises(HubregError):
        await hub.app.git.advertise(
            await hub.app.credentials.actor(None), await hub.repo("h2", private=True), "x"
        )


async def test_kinds_of_entries_are_told(hub: Hub, live: Live, git: Git) -> None:
    """A folder that was pushed is a folder here."""
    repo, clone = await cloned(hub, live, git, "kinds")
    clone.commit("one", {"d/e/f": b"1"})
    clone("push", "--quiet", "origin", "main")
    entries = await every_entry(hub, await hub.app.snapshots.at(await hub.again(repo), "main"))
    assert {e.path for e in entries if e.kind is EntryKind.DIRECTORY} == {"d", "d/e"}
