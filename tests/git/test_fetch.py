"""Clones and fetches by C git, in both versions of its protocol: what it gets, and what it does not."""

from __future__ import annotations

import random
import socket

import pytest

from hubreg.formats import pktline
from hubreg.model import Action, RepoType
from hubreg.store import objects, repos
from hubreg.store.repos import Repo
from tests.git.conftest import Git, Hub, Live

pytestmark = pytest.mark.anyio

VERSIONS = ["0", "1", "2"]


async def line(
    hub: Hub, live: Live, git: Git, name: str, count: int, **files: bytes
) -> tuple[Repo, Git, list[str]]:
    """A repo with a line of `count` commits, an hour apart, that came by a push; its ids, oldest first."""
    repo = await hub.repo(name)
    git("clone", "--quiet", live.address(f"ann/{name}", live.ann), name)
    clone = git.inside(name)
    ids = [clone("rev-parse", "HEAD")]
    for n in range(count - 1):
        changed: dict[str, bytes | None] = {
            "counter": f"{name} {n}\n".encode(),
            f"folder/{n}": b"%d\n" % n,
            **files,
        }
        ids.append(clone.commit(f"commit {n}", changed, date=1_500_000_000 + 3600 * n))
    clone("push", "--quiet", "origin", "main")
    return repo, clone, ids


def received(git: Git) -> int:
    """Objects in all packs of a clone that keeps whatever it gets as packs."""
    counted = dict(line.split(": ") for line in git.lines("count-objects", "-v"))
    assert counted["count"] == "0"
    return int(counted["in-pack"])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_fetch_sends_what_is_new_and_no_more(hub: Hub, live: Live, git: Git, version: str) -> None:
    """After a clone, a fetch brings exactly the objects of the new commits, and another one nothing."""
    _, clone, _ = await line(hub, live, git, f"new-{version}", 6)
    git("-c", f"protocol.version={version}", "clone", "--quiet", live.address(f"ann/new-{version}"), "reader")
    reader = git.inside("reader")
    reader("config", "protocol.version", version)
    before, old = received(reader), reader("rev-parse", "HEAD")
    assert before == int(reader("rev-list", "--objects", "--all", "--count"))
    clone.commit("new", {"counter": b"new", "folder/deep/new": b"new"})
    clone.commit("newer", {"counter": b"newer"})
    clone("push", "--quiet", "origin", "main", "main~1:refs/heads/side")
    reader("fetch", "--quiet")
    new = reader("rev-list", "--objects", "--count", "origin/main", "origin/side", f"^{old}")
    assert received(reader) - before == int(new) == 8
    reader("fetch", "--quiet")
    assert received(reader) - before == int(new)
    assert reader("fsck", "--full", "--strict") == ""


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_with_commits_of_its_own_fetches(hub: Hub, live: Live, git: Git, version: str) -> None:
    """Haves that are not here are passed over until common ones are found, across several rounds."""
    _, clone, ids = await line(hub, live, git, f"own-{version}", 5)
    git("-c", f"protocol.version={version}", "clone", "--quiet", live.address(f"ann/own-{version}"), "reader")
    reader = git.inside("reader")
    reader("config", "protocol.version", version)
    tree = reader("rev-parse", "HEAD^{tree}")
    tip = ids[-1]
    for n in range(300):
        tip = reader("commit-tree", tree, "-p", tip, "-m", f"mine {n}")
    reader("update-ref", "refs/heads/mine", tip)
    clone.commit("theirs", {"counter": b"theirs"})
    clone("push", "--quiet", "origin", "main")
    before = int(dict(line.split(": ") for line in reader.lines("count-objects", "-v"))["in-pack"])
    reader("fetch", "--quiet")
    after = int(dict(line.split(": ") for line in reader.lines("count-objects", "-v"))["in-pack"])
    assert after - before == 3
    assert reader("fsck", "--full", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize("version", VERSIONS)
async def test_shallow_clones_deepen(hub: Hub, live: Live, git: Git, version: str) -> None:
    """`--depth`, `--deepen`, a fetch of something new, `--unshallow`: at each step git has what it asked for."""
    _, clone, ids = await line(hub, live, git, f"deep-{version}", 9)
    address = live.address(f"ann/deep-{version}")
    git("-c", f"protocol.version={version}", "clone", "--quiet", "--depth=2", address, "reader")
    reader = git.inside("reader")
    reader("config", "protocol.version", version)
    assert reader.lines("rev-list", "HEAD") == ids[-1:-3:-1]
    reader("fetch", "--quiet", "--deepen=3")
    assert reader.lines("rev-list", "HEAD") == ids[-1:-6:-1]
    tip = clone.commit("new", {"counter": b"new"})
    clone("push", "--quiet", "origin", "main")
    reader("fetch", "--quiet")
    assert reader.lines("rev-list", "origin/main") == [tip, *ids[-1:-6:-1]]
    reader("fetch", "--quiet", "--depth=1")
    assert reader.lines("rev-list", "origin/main") == [tip]
    assert reader("fsck", "--full", "--strict", "--no-dangling", "--connectivity-only") == ""
    reader("fetch", "--quiet", "--unshallow")
    assert reader.lines("rev-list", "origin/main") == [tip, *reversed(ids)]
    assert reader("rev-parse", "--is-shallow-repository") == "false"
    assert reader("fsck", "--full", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize("version", VERSIONS)
async def test_shallow_by_date_and_by_ref(hub: Hub, live: Live, git: Git, version: str) -> None:
    """`--shallow-since` and `--shallow-exclude` cut where they say."""
    repo, clone, ids = await line(hub, live, git, f"since-{version}", 8)
    clone("push", "--quiet", "origin", f"{ids[3]}:refs/tags/old")
    address = live.address(f"ann/{repo.ref.name}")
    git("-c", f"protocol.version={version}", "clone", "--quiet", "--shallow-exclude=old", address, "by-ref")
    assert git.inside("by-ref").lines("rev-list", "HEAD") == ids[:3:-1]
    said = git.fails("-c", f"protocol.version={version}", "clone", "--shallow-exclude=absent", address, "no")
    assert "deepen-not is not a ref" in said
    since = f"--shallow-since={1_500_000_000 + 3600 * 4}"
    git("-c", f"protocol.version={version}", "clone", "--quiet", since, address, "by-date")
    assert git.inside("by-date").lines("rev-list", "HEAD") == ids[:4:-1]
    said = git.fails(
        "-c", f"protocol.version={version}", "clone", "--shallow-since=2000000000", address, "no"
    )
    assert "no commits selected for shallow requests" in said


@pytest.mark.parametrize("version", VERSIONS)
async def test_tags_come_along(hub: Hub, live: Live, git: Git, version: str) -> None:
    """A fetch of commits brings the annotated tags on them; a clone has every tag, and the peeled values are told."""
    _, clone, ids = await line(hub, live, git, f"tags-{version}", 3)
    git(
        "-c", f"protocol.version={version}", "clone", "--quiet", live.address(f"ann/tags-{version}"), "reader"
    )
    reader = git.inside("reader")
    reader("config", "protocol.version", version)
    clone("tag", "-a", "early", "-m", "early", ids[1])
    clone.commit("more", {"counter": b"more"})
    clone("tag", "-a", "late", "-m", "late")
    clone("push", "--quiet", "origin", "main", "early", "late")
    assert f"{clone('rev-parse', 'HEAD')}\trefs/tags/late^{{}}" in reader.lines("ls-remote", "origin")
    reader("fetch", "--quiet")
    assert reader.lines("tag") == ["early", "late"]
    assert reader("rev-parse", "late") == clone("rev-parse", "late")


async def test_commits_are_fetched_by_id_if_a_ref_leads_to_them(hub: Hub, live: Live, git: Git) -> None:
    """An old commit may be asked for by its id; one that was rewritten away, or is another repo's, may not."""
    _, clone, ids = await line(hub, live, git, "by-id", 5)
    secret, _, hidden = await line(hub, live, git, "secret", 2)
    await hub.app.repos.set_settings(hub.ann, secret, private=True)
    git.folder.joinpath("reader").mkdir()
    reader = git.inside("reader")
    reader("init", "--quiet")
    address = live.address("ann/by-id")
    reader("fetch", "--quiet", address, ids[2])
    assert reader("rev-parse", "FETCH_HEAD") == ids[2]
    assert f"not our ref {hidden[-1]}" in reader.fails("fetch", address, hidden[-1])
    clone("reset", "--quiet", "--hard", ids[2])
    clone("push", "--quiet", "--force", "origin", "main")
    assert f"not our ref {ids[4]}" in reader.fails("fetch", address, ids[4])
    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(secret, None), "counter")
    assert "not our ref" in reader.fails("fetch", address, entry.oid)


async def test_pull_requests_are_fetched_by_name(hub: Hub, live: Live, git: Git) -> None:
    """A clone does not have them; `ls-remote` tells them, and `fetch` brings one (HUB 8.5)."""
    repo, _, _ = await line(hub, live, git, "offers", 2)
    pull = await hub.app.discussions.open(hub.ann, repo, "an offer", pull=True)
    tip = await hub.app.commits.squash(hub.ann, repo, f"refs/pr/{pull}")
    git("clone", "--quiet", live.address("ann/offers"), "reader")
    reader = git.inside("reader")
    assert reader.run("cat-file", "-e", tip).returncode
    assert f"{tip}\trefs/pr/{pull}" in reader.lines("ls-remote", "origin")
    reader("fetch", "--quiet", "origin", f"refs/pr/{pull}:offer")
    assert reader("rev-parse", "offer") == tip


async def test_every_way_to_write_the_address(hub: Hub, live: Live, git: Git) -> None:
    """With and without `.git`, in another case, by the name of before, and for every type of repo."""
    repo, clone, ids = await line(hub, live, git, "Spelled", 2)
    moved = await hub.app.repos.move(hub.ann, repo, "ann/Respelled")
    data = await hub.app.repos.create(hub.ann, RepoType.DATASET, None, "data")
    space = await hub.app.repos.create(hub.ann, RepoType.SPACE, None, "space", sdk="static")
    for number, address in enumerate(
        ("ann/Respelled", "ann/Respelled.git", "ANN/respelled.git", "ann/spelled")
    ):
        git("clone", "--quiet", live.address(address), f"m{number}")
        assert git.inside(f"m{number}")("rev-parse", "HEAD") == ids[-1]
    for ref, head in ((data.ref, data.head), (space.ref, space.head)):
        git("clone", "--quiet", live.address(f"{ref}.git"), str(ref).replace("/", "-"))
        assert git.inside(str(ref).replace("/", "-"))("rev-parse", "HEAD") == head
    tip = clone.commit("by the old name", {"a": b"1"})
    clone("push", "--quiet", "origin", "main")
    assert (await hub.again(moved)).head == tip


async def test_large_and_empty_files_and_folders(hub: Hub, live: Live, git: Git) -> None:
    """Files of several MiB, of nothing, and a branch that holds nothing at all."""
    content = random.Random(5).randbytes(5 << 20)
    repo, _, _ = await line(hub, live, git, "sizes", 2, large=content, empty=b"")
    await hub.app.refs.create_branch(hub.ann, repo, "nothing", empty=True)
    git("clone", "--quiet", live.address("ann/sizes"), "reader")
    reader = git.inside("reader")
    assert (reader.folder / "large").read_bytes() == content
    assert (reader.folder / "empty").read_bytes() == b""
    assert reader("ls-tree", "origin/nothing") == ""
    assert reader("fsck", "--full", "--strict") == ""


async def test_folders_of_thousands_of_files(hub: Hub, live: Live, git: Git) -> None:
    """Their trees are deltas upon each other: sixty commits do not cost sixty lists of them all."""
    repo, clone, _ = await line(hub, live, git, "wide", 2, **{f"wide/{n:04}": b"x" for n in range(1000)})
    clone.commit("the same folder twice", {"twice/a/f": b"f", "twice/b/f": b"f"})
    for n in range(60):
        clone.commit(f"{n}", {f"wide/{n * 7:04}": b"%d" % n, f"wide/{n * 16:04}": b"%d" % n})
    clone("push", "--quiet", "origin", "main")
    git("clone", "--quiet", "--bare", live.address("ann/wide"), "reader.git")
    reader = git.inside("reader.git")
    assert reader("fsck", "--full", "--strict") == ""
    assert reader("rev-list", "--objects", "--all", "--count") == clone(
        "rev-list", "--objects", "--all", "--count"
    )
    assert received(reader) == int(reader("rev-list", "--objects", "--all", "--count"))
    packed = sum(path.stat().st_size for path in (reader.folder / "objects" / "pack").glob("*.pack"))
    snapshot = await hub.app.snapshots.at(repo, "main")
    [wide] = await hub.app.snapshots.entries(snapshot, ["wide"])
    tree = (await objects.contents(hub.app.db, [wide.oid]))[wide.oid]
    assert packed < 6 * len(tree) < 60 * len(tree)


async def test_many_refs(hub: Hub, live: Live, git: Git) -> None:
    """Requests of some size come compressed: clones and fetches of hundreds of branches."""
    repo, clone, ids = await line(hub, live, git, "many", 3)
    refs = [f"{ids[n % 3]}:refs/heads/b/{n}" for n in range(400)]
    clone("push", "--quiet", "origin", *refs)
    git("clone", "--quiet", "--mirror", live.address("ann/many"), "mirror.git")
    mirror = git.inside("mirror.git")
    assert len(mirror.lines("for-each-ref")) == 401
    tree = clone("rev-parse", "HEAD^{tree}")
    new = [clone("commit-tree", tree, "-p", ids[-1], "-m", str(n)) for n in range(60)]
    clone("push", "--quiet", "origin", *[f"{id_}:refs/heads/n/{n}" for n, id_ in enumerate(new)])
    mirror("fetch", "--quiet")
    assert dict(
        line.split()[::-1] for line in mirror.lines("for-each-ref", "--format=%(objectname) %(refname)")
    ) == dict(await repos.refs(hub.app.db, repo.id))


async def test_a_filter_is_passed_over(hub: Hub, live: Live, git: Git) -> None:
    """There are no partial clones yet: git says so, and makes a whole one."""
    await line(hub, live, git, "filter", 3)
    done = git.run("clone", "--quiet", "--filter=blob:none", live.address("ann/filter"), "reader")
    assert done.returncode == 0
    assert b"filtering not recognized by server" in done.stderr
    assert git.inside("reader")("fsck", "--full", "--strict") == ""


async def test_gated_repos_are_not_cloned_by_strangers(hub: Hub, live: Live, git: Git) -> None:
    """Their owner clones them; others are told why not."""
    repo, _, _ = await line(hub, live, git, "gated", 2)
    await hub.app.repos.set_settings(hub.ann, repo, gated="manual")
    assert "is restricted" in git.fails("clone", live.address("ann/gated", live.bob), "no")
    git("clone", "--quiet", live.address("ann/gated", live.reader), "yes")
    assert hub.app.access.knows(hub.ann, repo)
    hub.app.access.require(hub.ann, Action.READ, repo)


async def test_a_client_that_leaves_is_nobodys_fault(hub: Hub, live: Live, git: Git) -> None:
    """In the middle of a pack; the server goes on, and the log has no error (the fixture looks)."""
    content = random.Random(6).randbytes(9 << 20)
    _, _, ids = await line(hub, live, git, "left", 2, large=content, larger=content[::-1])
    host, _, port = live.url.removeprefix("http://").partition(":")
    body = b"".join(pktline.encode(text) for text in (f"want {ids[-1]} side-band-64k\n".encode(),)) + b"0000"
    body += pktline.encode(b"done\n")
    head = f"POST /ann/left/git-upload-pack HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + body)
            assert connection.recv(100_000)
    git("clone", "--quiet", live.address("ann/left"), "reader")
