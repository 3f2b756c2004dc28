"""
Pushes made by hand, as no git would make them: whatever is wrong with one, it is refused with a sentence and nothing
is left of it; and no push gets at what another repo holds.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from hubreg.errors import Conflict, Damaged, HubregError, Invalid, TooLarge, Unauthenticated
from hubreg.formats import lfs, pktline
from hubreg.formats.gitobjects import FILE, FOLDER, LINK, TreeEntry, object_oid, render_tree
from hubreg.formats.gitwire import ZERO, Fetch
from hubreg.formats.packs import Encoder
from hubreg.formats.pktline import Decoder
from hubreg.formats.unpacking import Limits
from hubreg.hub.inspection import FOLDER_COST, Holdings, Inspection
from hubreg.hub.packing import Packing
from hubreg.hub.pushes import Pushes
from hubreg.model import Actor, Oid, Sha256
from hubreg.store import objects, repos
from hubreg.store.db import Database, Row
from hubreg.store.objects import File
from hubreg.store.repos import Repo
from tests.hub.conftest import Hub, add

pytestmark = pytest.mark.anyio

MAIN = "refs/heads/main"
FILES = b"100644"
Object = tuple[str, bytes]


def blob(data: bytes) -> Object:
    return "blob", data


def tree(*entries: tuple[str, int, Object | Oid]) -> Object:
    return "tree", render_tree(TreeEntry(name, mode, _oid(what)) for name, mode, what in entries)


def raw_tree(*entries: tuple[bytes, bytes, Object]) -> Object:
    """A tree in whatever order and with whatever names and modes."""
    return "tree", b"".join(
        mode + b" " + name + b"\0" + bytes.fromhex(_oid(what)) for name, mode, what in entries
    )


def commit(
    root: Object | Oid, *parents: str, who: bytes = b"A <a@b> 1500000000 +0100", rest: bytes = b"\nmessage\n"
) -> Object:
    lines = [b"tree " + _oid(root).encode(), *[b"parent " + parent.encode() for parent in parents]]
    return "commit", b"\n".join([*lines, b"author " + who, b"committer " + who, rest])


def _oid(what: Object | Oid) -> Oid:
    return object_oid(*what) if isinstance(what, tuple) else what


def packed(objects_: Sequence[Object]) -> bytes:
    encoder = Encoder(len(objects_))
    return b"".join([encoder.start(), *[encoder.whole(*made) for made in objects_], encoder.close()])


def delta_pack(deltas: Sequence[tuple[Oid, bytes]], *others: Object) -> bytes:
    """A pack with deltas, each of less than 16 bytes, upon objects of those names, wherever they are."""
    made = [
        bytes([7 << 4 | len(steps)]) + bytes.fromhex(base) + zlib.compress(steps) for base, steps in deltas
    ]
    body = (
        b"PACK"
        + (2).to_bytes(4)
        + (len(made) + len(others)).to_bytes(4)
        + b"".join(made)
        + packed(others)[12:-20]
    )
    return body + hashlib.sha1(body).digest()  # noqa: S324


def first(size: int, count: int) -> bytes:
    """A delta: the first bytes of a base of that size."""
    return bytes([size, count, 0x90, count])


def commands(*moves: tuple[str, str, str]) -> bytes:
    lines = [f"{old} {new} {ref}" for ref, old, new in moves]
    lines[0] += "\0report-status side-band-64k"
    return b"".join(pktline.encode(line.encode()) for line in lines) + b"0000"


async def send(
    hub: Hub, repo: Repo, body: bytes, actor: Actor | None = None, limits: Limits | None = None
) -> list[str]:
    """Push; the lines that git's person and git itself are shown."""
    pushes = replace(hub.app.pushes, limits=limits) if limits else hub.app.pushes
    async with pushes.receiving() as received:
        received.write(body)
        report = await pushes.push(actor or hub.ann, repo, received)
    decoder = Decoder(len(report) or 1)
    decoder.feed(report)
    bands = [packet for packet in iter(decoder.next_packet, None) if isinstance(packet, bytes)]
    return [line for band in bands for line in _lines(band[0], band[1:])]


def _lines(band: int, data: bytes) -> Iterable[str]:
    if band == 2:
        return data.decode().splitlines()
    decoder = Decoder(len(data) or 1)
    decoder.feed(data)
    return [p.decode().rstrip() for p in iter(decoder.next_packet, None) if isinstance(p, bytes)]


async def push(
    hub: Hub, repo: Repo, tip: Object | Oid, *objects_: Object, ref: str = "refs/heads/x", **more: Limits
) -> list[str]:
    """Push a new branch to a tip and what it needs."""
    every = [tip, *objects_] if isinstance(tip, tuple) else list(objects_)
    return await send(hub, repo, commands((ref, ZERO, _oid(tip))) + packed(every), **more)


async def everything(hub: Hub) -> dict[str, object]:
    """All that a push could leave behind."""
    tables = ("objects", "files", "commits", "last_commits", "refs", "log")
    rows: dict[str, object] = {t: await hub.app.db.one(f"SELECT COUNT(*) FROM {t}") for t in tables}  # noqa: S608
    blobs = (hub.app.layout.blobs, hub.app.layout.incoming)
    return rows | {"disk": sorted(str(path) for folder in blobs for path in folder.rglob("*"))}


HELLO = blob(b"hello")
GOOD = tree(("a", FILE, HELLO))


async def test_a_good_push(hub: Hub) -> None:
    """What the other tests change one thing of."""
    repo = await hub.repo()
    tip = commit(GOOD)
    assert await push(hub, repo, tip, GOOD, HELLO) == ["unpack ok", "ok refs/heads/x"]
    assert await hub.content(repo, "a", "x") == b"hello"
    row = await objects.find_commit(hub.app.db, repo.id, _oid(tip))
    assert row is not None
    assert (row.title, row.author, row.at, row.depth) == ("message", "A", 1_500_000_000_000, 1)


BAD: dict[str, tuple[Sequence[Object], str]] = {
    "no tree": ((commit(GOOD),), "The push lacks the object"),
    "no file": ((commit(GOOD), GOOD), "The push lacks the object"),
    "no parent": ((commit(GOOD, "1" * 40), GOOD, HELLO), "The push lacks the commit 1111"),
    "a file for a root": ((commit(HELLO), HELLO), "should be a folder"),
    "a file for a folder": ((commit(t := tree(("a", FOLDER, HELLO))), t, HELLO), "a should be a folder"),
    "a folder for a file": ((commit(t := tree(("a", FILE, GOOD))), t, GOOD, HELLO), "a should be a file"),
    "a commit for a file": (
        (commit(t := tree(("a", LINK, c := commit(GOOD)))), t, c, GOOD, HELLO),
        "a should be a file and is a commit",
    ),
    "a broken commit": ((("commit", b"tree 123\n\n"),), "is broken"),
    "no author": ((("commit", f"tree {_oid(GOOD)}\n\nx".encode()), GOOD, HELLO), "is broken"),
    "a bad author": ((commit(GOOD, who=b"A a@b 1 +0000"), GOOD, HELLO), "is broken"),
    "before 1970": ((commit(GOOD, who=b"A <a@b> -1 +0000"), GOOD, HELLO), "dated before 1970"),
    "after 9999": ((commit(GOOD, who=b"A <a@b> 99999999999999999 +0000"), GOOD, HELLO), "after 9999"),
    "a broken tree": ((commit(t := ("tree", b"100644 a\0short")), t), "is broken"),
    "a tree out of order": ((commit(t := raw_tree((b"b", FILES, HELLO), (b"a", FILES, HELLO))), t, HELLO), "is broken"),
    "a name twice": ((commit(t := raw_tree((b"a", FILES, HELLO), (b"a", FILES, HELLO))), t, HELLO), "is broken"),
    "an unknown mode": ((commit(t := raw_tree((b"a", b"100600", HELLO))), t, HELLO), "is broken"),
    "a slash": ((commit(t := raw_tree((b"a/b", b"100644", HELLO))), t, HELLO), "is broken"),
    "dot dot": ((commit(t := raw_tree((b"..", b"40000", GOOD))), t, GOOD, HELLO), "is broken"),
    "dot git": ((commit(t := raw_tree((b".git", b"40000", GOOD))), t, GOOD, HELLO), "git's own folder"),
    "dot GIT": ((commit(t := raw_tree((b".GiT ", b"40000", GOOD))), t, GOOD, HELLO), "git's own folder"),
    "git~1": ((commit(t := raw_tree((b"GIT~1", b"100644", HELLO))), t, HELLO), "git's own folder"),
    "not UTF-8": ((commit(t := raw_tree((b"\xff", b"100644", HELLO))), t, HELLO), "not UTF-8"),
    "a control character": ((commit(t := raw_tree((b"a\nb", b"100644", HELLO))), t, HELLO), "control character"),
    "too long a name": ((commit(t := raw_tree((b"a" * 256, b"100644", HELLO))), t, HELLO), "over 255 bytes"),
    "a submodule": ((commit(t := raw_tree((b"sub", b"160000", HELLO))), t), "sub is a submodule"),
    "a link to modules": ((commit(t := tree((".gitmodules", LINK, HELLO))), t, HELLO), ".gitmodules must be a file"),
    "a link to attributes": ((commit(t := tree((".gitattributes", LINK, HELLO))), t, HELLO), "must be a file"),
    "a link to be ignored": ((commit(t := tree(("GITIGN~1", LINK, HELLO))), t, HELLO), "GITIGN~1 must be a file"),
    "a folder of modules": ((commit(t := tree((".gitmodules", FOLDER, GOOD))), t, GOOD, HELLO), "must be a file"),
    "an unsent large file": (
        (commit(t := tree(("p", FILE, p := blob(lfs.render_pointer("0" * 64, 5))))), t, p),  # type: ignore[arg-type]  # a Sha256
        "Offending file: - p",
    ),
    "too large a file": (
        (commit(t := tree(("big", FILE, b := blob(bytes(10 * (1 << 20) + 1))))), t, b),
        "files larger than 10 MiB. Please use https://git-lfs.github.com/ to store large files."
        " Offending files: - big (ref: refs/heads/x)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_what_is_wrong_is_said_and_nothing_is_left(hub: Hub, case: str) -> None:
    """The person reads why; neither rows, nor blobs, nor temporary files remember it."""
    repo = await hub.repo()
    before = await everything(hub)
    sent, why = BAD[case]
    said = await push(hub, repo, *sent)
    assert any(why in line for line in said), said
    assert said[-2:] == ["unpack ok", "ng refs/heads/x pre-receive hook declined"]
    assert await everything(hub) == before


async def test_a_path_that_is_too_long_in_all_is_refused(hub: Hub) -> None:
    """Each folder's name is fine, their sum is not."""
    repo = await hub.repo()
    made = [GOOD]
    for n in range(5):
        made.append(tree((f"{n}" * 240, FOLDER, made[-1])))
    said = await push(hub, repo, commit(made[-1]), *made, HELLO)
    assert any("A path may have 1000 characters" in line for line in said)


async def test_the_pack_itself_is_refused(hub: Hub) -> None:
    """Cut off, damaged, with too many objects, with too much in them: git is told that unpacking failed."""
    repo = await hub.repo()
    before = await everything(hub)
    tip = commit(GOOD)
    whole = packed([tip, GOOD, HELLO])
    for pack, limits, why in (
        (whole[:-30], None, "checksum"),
        (b"", None, "cut off"),
        (whole[:-1] + b"\0", None, "checksum"),
        (whole, Limits(objects=2), "may have 2 objects"),
        (whole, Limits(work=100), "more work"),
    ):
        said = await send(hub, repo, commands(("refs/heads/x", ZERO, _oid(tip))) + pack, limits=limits)
        assert said[-1] == "ng refs/heads/x unpacker error"
        assert why in said[-2]
    assert await everything(hub) == before


async def test_a_body_that_is_no_push(hub: Hub) -> None:
    """Raises, and is an HTTP error: there is nobody who would read a report. An empty list is a knock."""
    repo = await hub.repo()
    for body in (b"", b"hello there", b"0010", commands((MAIN, ZERO, ZERO))[:-4]):
        with pytest.raises(Invalid):
            await send(hub, repo, body)
    assert await send(hub, repo, b"0000") == []


async def test_a_push_is_bounded_on_its_way_in(hub: Hub) -> None:
    """More bytes than a push may have are not even written down."""
    pushes: Pushes = hub.app.pushes
    async with pushes.receiving() as received:
        received._most = 100  # the real one takes a while to reach
        with pytest.raises(TooLarge, match="may have 100 bytes"):
            received.write(bytes(101))


async def test_who_may_not_propose_gets_an_error(hub: Hub) -> None:
    """HTTP's own, before the body is looked at."""
    repo = await hub.repo()
    with pytest.raises(Unauthenticated):
        await send(hub, repo, b"", hub.eve)
    with pytest.raises(HubregError):
        await send(hub, await hub.repo("secret", private=True), b"", hub.bob)


async def test_refs_are_compared_before_they_move(hub: Hub) -> None:
    """A push that expects another value, or names a ref twice, moves nothing."""
    repo = await hub.repo()
    tip = commit(GOOD, repo.head)
    whole = packed([tip, GOOD, HELLO])
    for moves, why in (
        ([(MAIN, "1" * 40, _oid(tip))], "fetch first"),
        ([(MAIN, ZERO, _oid(tip))], "fetch first"),
        ([("refs/heads/x", repo.head, _oid(tip))], "fetch first"),
        ([("refs/heads/x", ZERO, _oid(tip)), ("refs/heads/x", ZERO, repo.head)], "named twice"),
        ([("refs/heads/a..b", ZERO, _oid(tip))], "Invalid reference for a branch"),
        ([("refs/tags/", ZERO, _oid(tip))], "Invalid reference for a tag"),
        ([("HEAD", ZERO, _oid(tip))], "there are branches"),
        ([(MAIN, repo.head, ZERO)], "deletion of this ref is prohibited"),
    ):
        said = await send(hub, repo, commands(*moves) + whole)
        assert any(why in line for line in said), (why, said)
    assert await repos.refs(hub.app.db, repo.id) == [(MAIN, repo.head)]


async def test_of_two_pushes_at_once_one_is_refused(hub: Hub) -> None:
    """The second finds the ref moved when it is about to move it."""
    repo = await hub.repo()
    pushes = hub.app.pushes
    async with pushes.receiving() as one, pushes.receiving() as two:
        for received, text in ((one, b"one"), (two, b"two")):
            made = tree(("a", FILE, blob(text)))
            tip = commit(made, repo.head)
            received.write(commands((MAIN, repo.head, _oid(tip))) + packed([tip, made, blob(text)]))
        reports = await asyncio.gather(*[pushes.push(hub.ann, repo, received) for received in (one, two)])
    assert sorted(b"ok refs/heads/main" in report for report in reports) == [False, True]


# other repos


async def test_another_repos_objects_are_not_to_be_had(hub: Hub) -> None:
    """
    Whoever knows the oid of a private file, folder or commit gets none of them by naming it: not in a tree, not as a
    commit's tree or parent, not as a ref, and not as the base of a delta.
    """
    secret = await hub.repo("secret", private=True)
    await hub.commit(secret, add("folder/private.txt", "the secret"))
    snapshot = await hub.app.snapshots.at(secret, "main")
    file = (await hub.app.snapshots.entry(snapshot, "folder/private.txt")).oid
    [folder] = [e.oid for e in await hub.app.snapshots.entries(snapshot, ["folder"])]

    thief = await hub.repo("thief")
    before = await everything(hub)
    with_file, with_folder = tree(("stolen", FILE, file)), tree(("stolen", FOLDER, folder))
    for tip, *rest in (
        (commit(with_file), with_file),
        (commit(with_folder), with_folder),
        (commit(snapshot.tree),),
        (commit(GOOD, snapshot.commit), GOOD, HELLO),
        (Oid(snapshot.commit),),
    ):
        said = await push(hub, thief, tip, *rest)
        assert any("The push lacks the" in line for line in said), said

    for base in (file, folder, snapshot.tree, Oid(snapshot.commit)):
        t = tree(("stolen", FILE, blob(b"t")))
        tip = commit(t)
        pack = delta_pack([(base, first(10, 1))], tip, t)
        said = await send(hub, thief, commands(("refs/heads/x", ZERO, _oid(tip))) + pack)
        assert f"unpack The pack builds on the object {base}, which is not in this repo." in said
    assert await everything(hub) == before


async def test_its_own_objects_are(hub: Hub) -> None:
    """A tree may name, and a delta build on, whatever some commit of the repo leads to, however old."""
    repo = await hub.repo()
    await hub.commit(repo, add("a", "the old one"))
    await hub.commit(repo, add("a", "another"), add("deep/b", "x"))
    snapshot = await hub.app.snapshots.at(repo, "main")
    line = await objects.history(hub.app.db, repo.id, snapshot.commit, 0, 10)
    old = (await hub.app.snapshots.entry(await hub.app.snapshots.at(repo, line[1].id), "a")).oid
    made = tree(("back", FILE, old), ("t", FILE, blob(b"t")))
    tip = commit(made, snapshot.commit)
    chain = [
        (object_oid("blob", b"the"), first(3, 1)),
        (old, first(11, 3)),
    ]  # a "t" out of "the" out of "the old one"
    pack = delta_pack(chain, tip, made)
    said = await send(hub, repo, commands(("refs/heads/x", ZERO, _oid(tip))) + pack)
    assert said == ["unpack ok", "ok refs/heads/x"]
    assert await hub.content(repo, "back", "x") == b"the old one"
    assert await hub.content(repo, "t", "x") == b"t"


class Watched:
    """A database that counts what is read of it."""

    def __init__(self, db: Database) -> None:
        self._db, self.scans = db, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def scan(self, sql: str, *values: object) -> list[Row]:
        self.scans += 1
        return await self._db.scan(sql, *values)


async def test_history_is_not_walked_for_what_is_nowhere(hub: Hub) -> None:
    """Nor twice for what only another repo has; whatever the repo holds is found."""
    secret = await hub.repo("secret", private=True)
    await hub.commit(secret, add("private.txt", "the secret"))
    other = (await hub.app.snapshots.entry(await hub.app.snapshots.at(secret, "main"), "private.txt")).oid
    repo = await hub.repo()
    for n in range(30):
        await hub.commit(repo, add("deep/a", f"{n}"))
    own = object_oid("blob", b"7")
    watched = Watched(hub.app.db)
    holdings = Holdings(cast("Database", watched), Packing(cast("Database", watched), hub.app.blobs), repo)
    nowhere = {Oid(f"{n:040}") for n in range(2000)}
    assert await holdings.lacking(nowhere) == nowhere
    assert watched.scans <= 2
    assert await holdings.lacking({other, own, *nowhere}) == {other, *nowhere}
    assert watched.scans > 30
    watched.scans = 0
    assert await holdings.lacking({other, *nowhere}) == {other, *nowhere}
    assert await holdings.of([other]) == {}
    assert watched.scans <= 5


async def test_a_fetch_of_another_repos_commit_is_refused(hub: Hub) -> None:
    """In git's words, as an answer."""
    secret = await hub.repo("secret", private=True)
    head = (await hub.commit(secret, add("private.txt", "the secret"))).id
    repo = await hub.repo()
    stream = await hub.app.git.fetch(hub.eve, repo, Fetch(wants=[Oid(head)], done=True))
    assert [piece async for piece in stream] == [
        pktline.encode(f"ERR upload-pack: not our ref {head}\n".encode())
    ]
    with pytest.raises(HubregError):
        await hub.app.git.fetch(hub.eve, await hub.again(secret), Fetch(wants=[Oid(head)], done=True))


async def test_a_pointer_sent_as_a_file_is_a_large_file(hub: Hub) -> None:
    """
    By the commit API too: an oid means one thing in all repos, so the text of a pointer may not be a plain file in one
    and stand for a private file's content in another.
    """
    secret = await hub.repo("secret", private=True)
    sha256 = await hub.large(secret, b"the secret")
    pointer = lfs.render_pointer(sha256, 10)
    thief = await hub.repo("thief")
    with pytest.raises(Invalid, match="LFS pointer pointed to a file"):
        await hub.commit(thief, add("mine", pointer))
    with pytest.raises(Invalid, match="LFS pointer pointed to a file"):
        await hub.app.repos.create(hub.ann, thief.ref.type, None, "other", files=[add("mine", pointer)])
    await hub.commit(secret, add("mine", pointer))
    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(secret, "main"), "mine")
    assert (entry.lfs, entry.size) == (True, 10)


async def test_a_push_of_large_folders(hub: Hub) -> None:
    """More rows than one transaction takes: some are written ahead, and all is there in the end."""
    repo = await hub.repo()
    entries = {f"{n:05}": HELLO for n in range(50_000)}
    made: list[Object] = [HELLO]
    tip = Oid(repo.head)
    tips: dict[str, str] = {}
    for n in range(6):
        name, file = f"{n * 7:05}", blob(b"%d" % n)
        entries[name] = file
        root = tree(*[(name, FILE, what) for name, what in entries.items()])
        made += [file, root, commit(root, tip)]
        tip = _oid(made[-1])
        tips[name] = tip
    assert await push(hub, repo, tip, *made) == ["unpack ok", "ok refs/heads/x"]
    snapshot = await hub.app.snapshots.at(repo, "x")
    last = await hub.app.snapshots.last_changes(snapshot, "")
    assert len(last) == 50_000
    assert {name: last[name] for name in tips} == tips
    assert len(set(last.values())) == 6


async def test_a_stranger_is_denied_by_name(hub: Hub) -> None:
    """He may propose, so he gets as far as the report."""
    repo = await hub.repo()
    said = await send(hub, repo, commands((MAIN, repo.head, ZERO)) + b"", hub.bob)
    assert said[-1].startswith(f"ng {MAIN}")
    said = await send(hub, repo, commands(("refs/heads/x", ZERO, repo.head)) + packed([]), hub.bob)
    assert said[0] == "DENIED update refs/heads/x: forbidden"
    assert said[-1] == "ng refs/heads/x pre-receive hook declined"


async def test_a_pack_that_breaks_off_says_why(hub: Hub) -> None:
    """A file is gone from the disk: git's person reads it, and the connection is cut, for no pack would be right."""
    repo = await hub.repo()
    head = (await hub.commit(repo, add("a", b"content"))).id
    entry = await hub.app.snapshots.entry(await hub.app.snapshots.at(repo, "main"), "a")
    assert entry.sha256 is not None
    await hub.app.blobs.delete(entry.sha256)
    stream = await hub.app.git.fetch(hub.eve, repo, Fetch(wants=[Oid(head)], done=True, bands=True))
    last = b""
    with pytest.raises(Damaged, match="is missing"):
        async for piece in stream:
            last = piece
    assert last[4:5] == b"\x03"
    assert b"hubreg: The content of " in last


async def test_a_branch_takes_the_place_of_a_folder_of_branches(hub: Hub) -> None:
    """What one push deletes is not in the way of what it makes, in whatever order it names them."""
    repo = await hub.repo()
    await hub.app.refs.create_branch(hub.ann, repo, "a/b")
    moves = [("refs/heads/a", ZERO, repo.head), ("refs/heads/a/b", repo.head, ZERO)]
    assert (await send(hub, repo, commands(*moves) + packed([])))[-1] == "ok refs/heads/a/b"
    listed = await hub.app.refs.list(hub.ann, repo)
    assert [name for name, _, _ in listed.branches] == ["main", "a"]


async def test_of_two_pushes_a_folder_and_a_file_one_is_refused(hub: Hub) -> None:
    """Each was right when it was looked at."""
    repo = await hub.repo()
    pushes = [
        send(hub, repo, commands((f"refs/heads/{name}", ZERO, repo.head)) + packed([]))
        for name in ("a", "a/b")
    ]
    said = await asyncio.gather(*pushes)
    assert sorted(lines[-1].split()[0] for lines in said) == ["ng", "ok"]
    assert len((await hub.app.refs.list(hub.ann, repo)).branches) == 2


async def test_content_whose_oid_means_something_else_is_refused(hub: Hub) -> None:
    """
    Two contents can be made to have one SHA-1. What an oid stands for is one for all repos, so whoever comes second
    would be served the other's.
    """
    repo, content = await hub.repo(), b"one of two"
    oid = object_oid("blob", content)
    async with hub.app.db.write() as tx:
        await objects.put_files(tx, [File(oid, Sha256("e" * 64), len(content), False, 0)])
    with pytest.raises(Conflict, match="collides"):
        await hub.commit(repo, add("a", content))
    made = commit(tree(("a", FILE, oid)), repo.head)
    body = commands((MAIN, repo.head, _oid(made)))
    said = await send(hub, repo, body + packed([blob(content), tree(("a", FILE, oid)), made]))
    assert said[0] == f"The oid {oid} stands for other content here: its SHA-1 collides with another's."
    assert said[-1] == f"ng {MAIN} pre-receive hook declined"
    assert await hub.tree(repo) == [".gitattributes"]


@pytest.mark.parametrize(("ref", "size"), [("refs/heads/x", 8), ("refs/pr/1", 0)])
async def test_a_pushed_pointer_takes_what_was_proposed(hub: Hub, ref: str, size: int) -> None:
    """A file that a stranger sent counts in the repo's size once a branch has it, however it came there."""
    repo = await hub.repo()
    sha256 = await hub.large(repo, b"proposed", proposed=True)
    assert (await hub.again(repo)).storage == 0
    old = ZERO
    if ref == "refs/pr/1":
        await hub.app.discussions.open(hub.bob, repo, "A change", pull=True)
        old = repo.head
    pointer = blob(lfs.render_pointer(sha256, 8))
    root = tree(("m.bin", FILE, pointer))
    made = commit(root, repo.head)
    body = commands((ref, old, _oid(made))) + packed([pointer, root, made])
    assert (await send(hub, repo, body))[-1] == f"ok {ref}"
    assert (await hub.again(repo)).storage == size


# what is cheap to send and dear to take


def doubled(levels: int, what: Object = GOOD) -> list[Object]:
    """Trees above each other that name the next one twice, the topmost last: two to the `levels` paths."""
    made = [what]
    for _ in range(levels):
        made.append(tree(("a", FOLDER, made[-1]), ("b", FOLDER, made[-1])))
    return made


@pytest.mark.parametrize("levels", [20, 200])
async def test_trees_of_too_many_paths_are_refused(hub: Hub, levels: int) -> None:
    """A kilobyte that would be a million files to everybody who looks: refused before anything is kept."""
    repo = await hub.repo()
    before = await everything(hub)
    made = doubled(levels)
    said = await push(hub, repo, commit(made[-1]), *made, HELLO)
    assert any("more files and folders than this server takes in one commit" in line for line in said), said
    assert await everything(hub) == before


async def test_held_trees_are_paths_too(hub: Hub) -> None:
    """What one push may not have, several that build on each other's trees may not either."""
    repo = await hub.repo()
    few = Limits(paths=20_000)
    low = doubled(9)
    assert (await push(hub, repo, commit(low[-1]), *low, HELLO, limits=few))[-1] == "ok refs/heads/x"
    high = doubled(6, low[-1])[1:]
    said = await push(hub, repo, commit(high[-1]), *high, ref="refs/heads/y", limits=few)
    assert any("changes more files and folders than" in line for line in said), said
    assert await objects.find_commit(hub.app.db, repo.id, _oid(commit(high[-1]))) is None


async def test_many_commits_of_few_paths_are_too_many(hub: Hub) -> None:
    """The same folders by turns at other paths: each commit is small, and all of them are not."""
    repo = await hub.repo()
    below = doubled(8)
    roots = [tree((f"{n}", FOLDER, below[-1])) for n in range(10)]
    tips: list[Object] = []
    for root in roots:
        tips.append(commit(root, *[_oid(tips[-1])] if tips else []))
    every = [*tips, *roots, *below, HELLO]
    said = await push(hub, repo, tips[-1], *every[:-1], HELLO, limits=Limits(paths=20_000))
    assert any("changes more files and folders than" in line for line in said), said
    assert (await push(hub, repo, tips[-1], *every))[-1] == "ok refs/heads/x"


async def test_folders_of_too_many_entries_are_refused(hub: Hub) -> None:
    """One by itself, or all of a push together: each is a few bytes of the pack, and much to hold."""
    repo = await hub.repo()
    before = await everything(hub)
    folder = tree(*[(f"{n}", FILE, HELLO) for n in range(1000)])
    root = tree(("deep", FOLDER, folder))
    tip = commit(root)
    again = [tree(*[(f"{n}", FILE, HELLO) for n in range(start, start + 1000)]) for start in range(4)]
    over = tree(*[(f"{n}", FOLDER, what) for n, what in enumerate(again)])
    for limits, why, sent in (
        (Limits(tree=20_000), "deep has more entries than a folder may have here", (tip, root, folder)),
        (Limits(entries=4000), "have more entries than one may have", (commit(over), over, *again)),
    ):
        said = await push(hub, repo, *sent, HELLO, limits=limits)
        assert any(why in line for line in said), said
        assert await everything(hub) == before


@pytest.mark.parametrize("mode", [FILE, FOLDER])
async def test_a_push_names_only_so_much_that_it_does_not_bring(hub: Hub, mode: int) -> None:
    """Names are made by the thousand with a few bytes of a delta."""
    repo = await hub.repo()
    root = tree(*[(f"{n:03}", mode, Oid(f"{n:040}")) for n in range(101)])
    for most, why in ((100, "name more than 100 objects"), (101, "The push lacks the object")):
        said = await push(hub, repo, commit(root), root, limits=Limits(elsewhere=most))
        assert any(why in line for line in said), said


async def test_what_was_looked_at_is_forgotten(hub: Hub) -> None:
    """Folders that have nothing in common are not held all together."""
    repo = await hub.repo()
    folders = [tree(*[(f"{f}{n:05}", FILE, HELLO) for n in range(60_000)]) for f in range(6)]
    root = tree(*[(f"{n}", FOLDER, what) for n, what in enumerate(folders)])
    tip = commit(root)
    async with hub.app.pushes.receiving() as received:
        received.write(commands(("refs/heads/x", ZERO, _oid(tip))) + packed([tip, root, *folders, HELLO]))
        await received.commands()
        await received.unpack(Limits())
        inspection = Inspection(Holdings(hub.app.db, hub.app.pushes.packing, repo), received, Limits())
        brought = await inspection.run([_oid(tip)])
        assert brought.cost == 6 * 60_000 + 6 + 7 * FOLDER_COST
        assert len(inspection._entries) < 320_000 > len(inspection._names)


async def test_packs_wait_for_packs_only(hub: Hub) -> None:
    """
    While the threads that take packs apart are taken, a push waits, and everything else that is done in threads goes
    on. Of one person's pushes one is taken apart at a time, so that others' are.
    """
    repo, begun, go = await hub.repo(), threading.Semaphore(0), threading.Event()

    def hold() -> None:
        begun.release()
        go.wait()

    threads = hub.app.pushes.turns.threads
    held = [threads.submit(hold) for _ in range(2)]
    await asyncio.to_thread(begun.acquire)
    await asyncio.to_thread(begun.acquire)
    work = asyncio.ensure_future(push(hub, repo, commit(GOOD), GOOD, HELLO))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert hub.app.pushes.turns.of(hub.ann).locked()
    assert not hub.app.pushes.turns.of(hub.bob).locked()
    await hub.commit(repo, add("a", "meanwhile"))
    assert not work.done()
    go.set()
    assert (await work)[-1] == "ok refs/heads/x"
    assert [done.result() for done in held] == [None, None]
