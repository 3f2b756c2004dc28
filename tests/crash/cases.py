"""What somebody does when the process is killed. `told` is called with what they were told, as soon as they are."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hubreg import app as wiring
from hubreg.app import App
from hubreg.config import Config
from hubreg.errors import Conflict
from hubreg.formats import lfs
from hubreg.formats.chunking import Chunker
from hubreg.formats.commitlines import FileLine, Line
from hubreg.hub.xet_uploads import Progress
from hubreg.model import Actor, AddLfs, CommitHeader, DeleteFile, Millis, RepoType, Sha256
from hubreg.ops.gc import Collector
from hubreg.ops.indexing import Indexing
from hubreg.store import objects, upkeep
from hubreg.store.db import wall
from hubreg.store.repos import Repo
from hubreg.store.upkeep import Unindexed
from tests.xet_client import File, Term, Xorb, shard

Told = Callable[..., None]
Case = Callable[[App, Actor, Told], Awaitable[None]]

TOKEN = "hf_" + "a" * 34
LARGE = b"0123456789abcdefghijKLMNO"  # in three parts
BASE = "http://hub.test"


def settings(directory: Path) -> Config:
    return Config(data=directory, part_size=10, multipart_from=20)


def sha256(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


async def lines(*operations: Line) -> AsyncIterator[Line]:
    yield CommitHeader("a change")
    for operation in operations:
        yield operation


async def model(app: App, actor: Actor) -> Repo:
    return await app.repos.find(actor, RepoType.MODEL, "admin/model")


async def prepare(app: App, actor: Actor) -> None:
    """What is there before: a repo with a file, and a large file that no commit names yet."""
    repo = await app.repos.create(actor, RepoType.MODEL, None, "model")
    await app.commits.commit(actor, repo, "main", lines(FileLine("old.txt", b"old")))
    await upload(app, actor, lambda **_: None, b"held already")
    await leave_behind(app, actor)


async def leave_behind(app: App, actor: Actor) -> None:
    """What a deleted repo held: a file, a blob with its virtual xorb, a stored xorb with a file of it."""
    old = await app.repos.create(actor, RepoType.DATASET, None, "old")
    await app.commits.commit(actor, old, "main", lines(FileLine("only.txt", b"only in the old one")))
    async with app.blobs.create() as upload:
        upload.write(b"an old large one")
        kept = await upload.publish()
    async with app.db.write() as tx:
        await objects.add_large(tx, old.id, kept.sha256, kept.size)
    await Indexing(app.db, app.layout, Chunker).index(Unindexed(kept.sha256, kept.size))
    await send_by_xet(app, actor, old, b"left", b"behind")
    await app.repos.delete(actor, old)


async def commit(app: App, actor: Actor, told: Told) -> None:
    """Files by value, one in large file storage; then another commit on top, which deletes one."""
    repo = await model(app, actor)
    for content in (b"one", b"two"):
        changes: list[Line] = [
            FileLine("folder/new.txt", content),
            FileLine("same.txt", b"the same in both"),
            AddLfs("large.bin", sha256(b"held already"), 12),
        ]
        changes.append(FileLine("gone.txt", b"gone") if content == b"one" else DeleteFile("gone.txt"))
        made = await app.commits.commit(actor, repo, "main", lines(*changes))
        told(commit=made.id, path="folder/new.txt", sha256=sha256(content))
        told(commit=made.id, path="large.bin", sha256=sha256(b"held already"))


async def commits_at_once(app: App, actor: Actor, told: Told) -> None:
    """Several people, one branch."""
    repo = await model(app, actor)

    async def one(n: int) -> None:
        content = b"by %d" % n
        made = await app.commits.commit(actor, repo, "main", lines(FileLine(f"{n}.txt", content)))
        told(commit=made.id, path=f"{n}.txt", sha256=sha256(content))

    await asyncio.gather(*(one(n) for n in range(3)))


async def pull_request(app: App, actor: Actor, told: Told) -> None:
    """Proposed and merged."""
    repo = await model(app, actor)
    proposed = lines(FileLine("proposed.txt", b"proposed"))
    made = await app.commits.commit(actor, repo, "main", proposed, propose=True)
    told(pull=made.pull)
    assert made.pull is not None
    await app.discussions.merge(actor, repo, made.pull)
    told(merged=made.pull, path="proposed.txt", sha256=sha256(b"proposed"))


async def refs(app: App, actor: Actor, told: Told) -> None:
    """A branch, a tag, a squash."""
    repo = await model(app, actor)
    with suppress(Conflict):  # made before, by somebody who was not told
        await app.refs.create_branch(actor, repo, "branch")
    told(ref="refs/heads/branch")
    with suppress(Conflict):
        await app.refs.create_tag(actor, repo, "v1", "main")
    told(ref="refs/tags/v1")
    squashed = await app.commits.squash(actor, repo, "main")
    told(commit=squashed, path="old.txt", sha256=sha256(b"old"))


async def create(app: App, actor: Actor, told: Told) -> None:
    """A new repo, and one that moves."""
    with suppress(Conflict):
        await app.repos.create(actor, RepoType.DATASET, None, "data")
    told(repo="admin/data", type="dataset")
    repo = await model(app, actor)
    if repo.ref.name == "model":
        await app.repos.move(actor, repo, "admin/moved")
    told(repo="admin/moved", type="model")
    told(repo="admin/model", type="model")


async def upload(app: App, actor: Actor, told: Told, content: bytes = b"a small one") -> None:
    """A large file in one body."""
    repo = await model(app, actor)
    for path, query in await offered(app, actor, repo, content):
        async with app.uploads.receive(path[2], path[3], query) as incoming:
            for at in range(0, len(content), 7):
                incoming.write(content[at : at + 7])
            await incoming.finish()
    told(large=sha256(content))


async def upload_in_parts(app: App, actor: Actor, told: Told) -> None:
    """A large file in three parts."""
    repo = await model(app, actor)
    urls = await offered(app, actor, repo, LARGE)
    if urls:
        (end, ending), *parts = urls
        etags: list[lfs.Part] = []
        for number, (path, query) in enumerate(parts, 1):
            async with app.uploads.receive_part(path[2], path[3], path[5], path[6], query) as incoming:
                incoming.write(LARGE[number * 10 - 10 : number * 10])
                etags.append(lfs.Part(number, await incoming.finish()))
        completion = lfs.Completion(end[3], tuple(etags))
        await app.uploads.complete(end[2], end[3], end[5], ending, completion)
    told(large=sha256(LARGE))


async def offered(
    app: App, actor: Actor, repo: Repo, content: bytes
) -> list[tuple[list[str], dict[str, str]]]:
    """The URLs to send content to, each as the segments of its path and its query; none where it is held already."""
    wanted = (lfs.Wanted(sha256(content), len(content)),)
    request = lfs.BatchRequest("upload", wanted, ("basic", "multipart"))
    answer = await app.uploads.batch(actor, repo, request, base=BASE)
    if not answer.objects[0].actions:
        return []
    action = answer.objects[0].actions["upload"]
    header = dict(action.header or {})
    header.pop("chunk_size", None)
    urls = [action.href, *(header[key] for key in sorted(header))]
    return [(urlsplit(url).path.split("/"), dict(parse_qsl(urlsplit(url).query))) for url in urls]


async def upload_by_xet(app: App, actor: Actor, told: Told) -> None:
    """A large file in two xorbs, one with a footer, and the commit that names it."""
    repo = await model(app, actor)
    file, content = await send_by_xet(app, actor, repo, b"second", b"third")
    told(xet=file.name, sha256=sha256(content))
    made = await app.commits.commit(
        actor, repo, "main", lines(AddLfs("xet.bin", sha256(content), len(content)))
    )
    told(commit=made.id, path="xet.bin", sha256=sha256(content))


async def send_by_xet(app: App, actor: Actor, repo: Repo, second: bytes, third: bytes) -> tuple[File, bytes]:
    """A file of two chunks of different xorbs."""
    xorbs = [Xorb((b"first", second), footer=b"XETBLOB" + bytes(9)), Xorb((third,))]
    file = File((Term(xorbs[0], 1, 2), Term(xorbs[1], 0, 1)), sha256(second + third))
    for xorb in xorbs:
        async with app.xet.uploads.receive(xorb.name) as incoming:
            incoming.write(xorb.body)
            await incoming.finish()
    token = app.xet.tokens.issue(actor, repo, write=True)
    holder = await app.xet.tokens.holder(f"Bearer {token.text}", write=True)
    async with app.xet.uploads.scratch() as sent:
        sent.write(shard([file], xorbs))
        await app.xet.uploads.take(holder, sent, Progress())
    return file, second + third


async def index(app: App, actor: Actor, told: Told) -> None:
    """The large file that is there, and another one, get their Xet hashes."""
    await upload(app, actor, told, b"not yet indexed")
    indexing = Indexing(app.db, app.layout, Chunker)
    while (wanted := await upkeep.next_unindexed(app.db, 1)) is not None:
        told(xet=await indexing.index(wanted), sha256=wanted.sha256)
    for content in (b"held already", b"not yet indexed"):
        made = await app.commits.commit(
            actor, await model(app, actor), "main", lines(AddLfs("plain.bin", sha256(content), len(content)))
        )
        told(commit=made.id, path="plain.bin", sha256=sha256(content))


async def collect(app: App, actor: Actor, told: Told) -> None:
    """What the deleted repo held goes: files, a blob with its virtual xorb, a xorb, objects."""
    wired: Any = wiring
    blobs = wired.LocalBlobs(app.layout)
    try:
        collector = Collector(app.db, blobs, lambda: Millis(wall() + 100 * 24 * 3600 * 1000))
        await collector.remove(await collector.survey())
        await collector.remove(
            await collector.survey()
        )  # what only the rows of things led to that have just gone
    finally:
        blobs.close()
    for content in (b"only in the old one", b"an old large one"):
        told(gone=sha256(content))


async def busy(app: App, actor: Actor, told: Told) -> None:
    """Everything by turns, until somebody puts an end to it."""
    repo = await model(app, actor)
    for n in range(10_000):
        content = b"%d " % n * 1000
        made = await app.commits.commit(actor, repo, "main", lines(FileLine("busy.txt", content)))
        told(commit=made.id, path="busy.txt", sha256=sha256(content))
        await upload(app, actor, told, content + b"large")


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        commit,
        commits_at_once,
        pull_request,
        refs,
        create,
        upload,
        upload_in_parts,
        upload_by_xet,
        index,
        collect,
        busy,
    )
}
