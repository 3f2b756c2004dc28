"""
Large files on their way in and out: the LFS protocol (CLIENT_API 3.1, HUB 8.4).

    batch       the client names what it has by sha256, and gets signed URLs for what the repo does not hold yet
    put         the bytes in one body: hashed on the way, published only as the sha256 and size that were signed
    parts       or in parts, each of which may be sent again; `complete` puts them together and hashes the whole
    verify      the client asks whether the repo holds what it sent

What a repo holds is a row; what a sha256 stands for is a blob, one for all repos. Knowing a sha256 is no right
to the content: a client must send it even where another repo has it already. Whoever may propose a change may
send the files for it; those of somebody who may not write count in the repo's size once a branch has them.

The URLs carry their own authority (`identity.links`): client libraries send no credentials there. Each is
good for one body of one size for one repo, in the name of whoever asked for it, for `link_seconds`. An upload
in parts is offered again to the one who began it, and to nobody else, as long as new links would not outlive
it; `sweep` removes it once the last of its links has expired. Beginning one, and its parts, are not in the
log: nothing has changed for anybody until the repo holds the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from hubreg.config import Config
from hubreg.errors import Damaged, EntryNotFound, Invalid, LinkRefused, RepoNotFound, TooLarge
from hubreg.formats import lfs
from hubreg.identity.access import Access
from hubreg.identity.links import Links, number
from hubreg.model import Action, Actor, Millis, Sha256, TokenRole
from hubreg.store import log, objects, repos, uploads
from hubreg.store.blobs import Blobs, Sink
from hubreg.store.db import Clock, Database, Reader, Tx
from hubreg.store.repos import Repo

_PUT, _GET, _PART, _COMPLETE = "lfs:put", "lfs:get", "lfs:part", "lfs:complete"
_MOST_PARTS = 8_000  # of one upload: both its URLs and the ETags that complete it are one JSON body
_OVER = "This upload is over."
_AGAIN = "Begin the transfer again: ask for new links."

Query = Mapping[str, str]
Actions = Mapping[str, lfs.Action]


class Incoming:
    """
    One body on its way in: a sink for exactly `size` bytes, and `finish` once they are written.

    Leaving its context without `finish` leaves nothing behind.
    """

    def __init__(self, size: int, sink: Sink, publish: Callable[[], Awaitable[str]]) -> None:
        self.size = size
        self._sink, self._publish, self._missing = sink, publish, size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._missing -= memoryview(data).nbytes
        if self._missing < 0:
            raise TooLarge(f"The body is longer than the {self.size} bytes that were announced.")
        self._sink.write(data)

    async def finish(self) -> str:
        """
        Check what was written and keep it; the `ETag` to answer with, without which clients give up.

        Raises `Invalid` where it is not what the link was signed for, `RepoNotFound` where the repo is gone
        by now.
        """
        if self._missing:
            raise Invalid(f"The body ended after {self.size - self._missing} of {self.size} bytes.")
        return f'"{await self._publish()}"'


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that was not copied, and why."""

    sha256: str
    error: str


@dataclass(frozen=True, slots=True)
class _Grant:
    """What the links of one upload in parts are about: all of it is signed."""

    repo: str
    sha256: Sha256
    upload: str
    size: int
    part_size: int
    by: int

    @property
    def parts(self) -> int:
        return lfs.part_count(self.size, self.part_size)

    def extent(self, part: int) -> tuple[int, int]:
        """Where a part begins and how many bytes it has."""
        if not 1 <= part <= self.parts:
            raise LinkRefused(f"This upload has no part {part}.")
        start = (part - 1) * self.part_size
        return start, min(self.part_size, self.size - start)

    def facts(self) -> tuple[str | int, ...]:
        return self.repo, self.sha256, self.upload, self.size, self.part_size, self.by


@dataclass(frozen=True, slots=True)
class Uploads:
    db: Database
    access: Access
    blobs: Blobs
    links: Links
    clock: Clock
    config: Config

    # batch

    async def batch(
        self, actor: Actor, repo: Repo, request: lfs.BatchRequest, *, base: str, xet: lfs.Action | None = None
    ) -> lfs.BatchResponse:
        """
        What to do with each object, in the order asked; URLs begin with `base`, which ends without a slash. `xet` is
        where a client that speaks Xet is to send everything.

        One transfer is chosen for the whole answer, as git-lfs has it: where one file is sent in parts, all
        are.
        """
        download = request.operation == "download"
        self.access.require(actor, Action.READ if download else Action.PROPOSE, repo)
        if not download:
            await self._renew(repo, [asked.sha256 for asked in request.objects])
        held = await objects.has_large(self.db, repo.id, [asked.oid for asked in request.objects])
        if download:
            return lfs.BatchResponse(
                lfs.BASIC, tuple(self._download(repo, asked, held, base) for asked in request.objects)
            )
        errors = {asked: self._judge(asked, held) for asked in request.objects}
        wanted = [asked for asked, error in errors.items() if error is None and asked.sha256 not in held]
        transfer = lfs.XET if xet is not None else self._transfer(request, wanted)
        if xet is not None:
            actions: dict[lfs.Wanted, Actions] = {asked: {"upload": xet} for asked in wanted}
        else:
            actions = {asked: self._basic(actor, repo, asked, base) for asked in wanted}
        if transfer == lfs.MULTIPART:
            actions |= await self._multipart(actor, repo, [asked for asked in wanted if asked.size], base)
        return lfs.BatchResponse(
            transfer,
            tuple(
                lfs.BatchObject(asked.oid, asked.size, actions=actions.get(asked), error=errors[asked])
                for asked in request.objects
            ),
        )

    async def _renew(self, repo: Repo, digests: Sequence[Sha256]) -> None:
        """Have the repo hold what it does for as long as if it came now: the client will be told not to send it."""
        stale = await objects.stale_large(self.db, repo.id, digests, self.clock())
        if stale:
            async with self.db.write() as tx:
                await objects.renew_large(tx, repo.id, stale)

    def _judge(self, asked: lfs.Wanted, held: Mapping[Sha256, int]) -> lfs.ObjectError | None:
        size = held.get(asked.sha256, asked.size)
        if size != asked.size:
            return lfs.ObjectError(422, f"This file has {size} bytes, not {asked.size}.")
        if asked.size > self.config.lfs_max:
            return lfs.ObjectError(413, f"A file may have at most {self.config.lfs_max} bytes.")
        return None

    def _transfer(self, request: lfs.BatchRequest, wanted: Sequence[lfs.Wanted]) -> str:
        large = any(asked.size >= self.config.multipart_from for asked in wanted)
        return lfs.MULTIPART if large and lfs.MULTIPART in request.transfers else lfs.BASIC

    def _basic(self, actor: Actor, repo: Repo, asked: lfs.Wanted, base: str) -> Actions:
        query = self._sign(_PUT, repo.public_id, asked.oid, asked.size, actor.user_id)
        href = f"{_home(repo, asked.oid, base)}?size={asked.size}&by={actor.user_id}&{query}"
        return {"upload": self._action(href), "verify": _verify(repo, base)}

    async def _multipart(
        self, actor: Actor, repo: Repo, wanted: Sequence[lfs.Wanted], base: str
    ) -> dict[lfs.Wanted, Actions]:
        since = Millis(self.clock() - self.config.link_seconds * 1000)
        actions = {}
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.PROPOSE, repo)
            for asked in wanted:
                row = await uploads.under_way(tx, repo.id, actor.user_id, asked.sha256, since)
                if row is None or row.size != asked.size:
                    part_size = max(self.config.part_size, lfs.part_count(asked.size, _MOST_PARTS))
                    row = await uploads.insert(
                        tx, secrets.token_hex(16), repo.id, actor.user_id, asked.sha256, asked.size, part_size
                    )
                grant = _Grant(repo.public_id, row.sha256, row.id, row.size, row.part_size, row.user_id)
                actions[asked] = self._in_parts(repo, grant, base)
        return actions

    def _in_parts(self, repo: Repo, grant: _Grant, base: str) -> Actions:
        home = _home(repo, grant.sha256, base)
        about = f"size={grant.size}&part_size={grant.part_size}&by={grant.by}"
        urls = [
            f"{home}/parts/{grant.upload}/{part}?{about}&{self._sign(_PART, *grant.facts(), part)}"
            for part in range(1, grant.parts + 1)
        ]
        complete = f"{home}/complete/{grant.upload}?{about}&{self._sign(_COMPLETE, *grant.facts())}"
        header = lfs.multipart_header(grant.part_size, urls)
        return {"upload": self._action(complete, header), "verify": _verify(repo, base)}

    def _download(
        self, repo: Repo, asked: lfs.Wanted, held: Mapping[Sha256, int], base: str
    ) -> lfs.BatchObject:
        size = held.get(asked.sha256)
        if size is None:
            missing = lfs.ObjectError(404, "Object does not exist.")
            return lfs.BatchObject(asked.oid, asked.size, error=missing)
        query = self._sign(_GET, repo.public_id, asked.oid, size)
        href = f"{_home(repo, asked.oid, base)}?size={size}&{query}"
        return lfs.BatchObject(asked.oid, size, authenticated=True, actions={"download": self._action(href)})

    def _action(self, href: str, header: dict[str, str] | None = None) -> lfs.Action:
        return lfs.Action(href, header=header, expires_in=self.config.link_seconds)

    def _sign(self, purpose: str, *facts: str | int) -> str:
        return self.links.sign(purpose, *facts, seconds=self.config.link_seconds)

    # bytes

    @asynccontextmanager
    async def receive(self, repo_id: str, sha256: str, query: Query) -> AsyncIterator[Incoming]:
        """
        A whole file, for the repo with this public id. Raises `LinkRefused` for a link that is not good for
        this, `RepoNotFound` for a repo that is gone. Sending what the repo holds already is fine.
        """
        size, by = number(query, "size"), number(query, "by")
        self.links.check(_PUT, repo_id, sha256, size, by, query=query)
        await self._sender(self.db, repo_id, by)
        async with self.blobs.create() as upload:

            async def publish() -> str:
                with _wrong_bytes_refused():
                    await upload.publish(Sha256(sha256), size)
                async with self.db.write() as tx:
                    await self._hold(tx, repo_id, by, Sha256(sha256), size)
                return sha256

            yield Incoming(size, upload, publish)

    @asynccontextmanager
    async def receive_part(
        self, repo_id: str, sha256: str, upload: str, part: str, query: Query
    ) -> AsyncIterator[Incoming]:
        """
        One part of a file, which may have been sent before. Raises as `receive` does, and `LinkRefused` for
        an upload that was dropped. A part that comes when the upload is complete is taken and thrown away:
        two clients of one user that send the same file both succeed.
        """
        index = number({"part": part}, "part")
        grant = self._granted(_PART, repo_id, sha256, upload, query, index)
        start, length = grant.extent(index)
        if await self._is_complete(grant):
            spare = _Thrown()
            yield Incoming(length, spare, spare.digest)
            return
        sink = self.blobs.part(upload, start)

        async def publish() -> str:
            async with self.db.write() as tx:
                if await uploads.find(tx, upload) is not None:
                    await uploads.put_part(tx, upload, index, sink.etag())
                elif not await _holds(tx, grant):
                    raise LinkRefused(_OVER, hint=_AGAIN)
            return sink.etag()

        try:
            yield Incoming(length, sink, publish)
        finally:
            # What is written after the upload was put together or dropped is in a file that nobody would look for.
            if await uploads.find(self.db, upload) is None:
                await asyncio.shield(self.blobs.drop_parts(upload))

    async def complete(
        self, repo_id: str, sha256: str, upload: str, query: Query, completion: lfs.Completion
    ) -> None:
        """
        Put the parts together; the client names all of them, by the ETags that it was told. May be asked
        again, also while another is at it.

        Raises `Invalid` where a part is missing or is not the one the client means: it can be sent again.
        Where the whole has another sha256 the upload is dropped, since no part can be told to be the wrong
        one.
        """
        grant = self._granted(_COMPLETE, repo_id, sha256, upload, query)
        if completion.oid != sha256:
            raise Invalid(f"This upload is of {sha256}, not of {completion.oid}.")
        if await self._is_complete(grant):
            return
        _refuse_gaps(grant.parts, await uploads.parts(self.db, upload), completion.parts)
        try:
            await self.blobs.assemble(upload, grant.sha256, grant.size)
        except Damaged as error:
            await self._drop(upload)
            raise Invalid(error.message, hint=_AGAIN) from error
        async with self.db.write() as tx:
            if await uploads.find(tx, upload) is not None:
                await self._hold(tx, repo_id, grant.by, grant.sha256, grant.size)
                await uploads.delete(tx, upload)
            elif not await _holds(tx, grant):
                # Dropped by another call, for its bytes were wrong: the blob that is there is not from this upload.
                raise LinkRefused(_OVER, hint=_AGAIN)
        await self.blobs.drop_parts(upload)

    def _granted(
        self, purpose: str, repo_id: str, sha256: str, upload: str, query: Query, *facts: int
    ) -> _Grant:
        size, part_size, by = (number(query, name) for name in ("size", "part_size", "by"))
        grant = _Grant(repo_id, Sha256(sha256), upload, size, part_size, by)
        self.links.check(purpose, *grant.facts(), *facts, query=query)
        return grant

    async def _is_complete(self, grant: _Grant) -> bool:
        """False while the upload is under way; whoever began it must still have the right to."""
        await self._sender(self.db, grant.repo, grant.by)
        if await uploads.find(self.db, grant.upload) is not None:
            return False
        if await _holds(self.db, grant):
            return True
        raise LinkRefused(_OVER, hint=_AGAIN)

    async def _sender(self, reader: Reader, repo_id: str, user_id: int) -> tuple[Actor, Repo]:
        """
        Whoever a link was given to, and the repo it is for, both as they are by now. A link carries no credentials, so
        this is where a right that was taken away ends.
        """
        repo = await _repo(reader, repo_id)
        actor = await self.access.known(reader, Actor(user_id, token_role=TokenRole.WRITE))
        if actor.anonymous:
            raise LinkRefused("Whoever this link was given to may not use it any more.")
        self.access.require(actor, Action.PROPOSE, repo)
        return actor, repo

    async def _hold(self, tx: Tx, repo_id: str, by: int, sha256: Sha256, size: int) -> None:
        """From here on the repo holds the file."""
        actor, repo = await self._sender(tx, repo_id, by)
        if sha256 not in await objects.has_large(tx, repo.id, [sha256]):
            proposed = not self.access.may(actor, Action.WRITE, repo)
            await objects.add_large(tx, repo.id, sha256, size, proposed=proposed)
            await log.append(tx, actor, "repo:large:add", str(repo.ref), sha256=sha256, size=size)
        else:
            await objects.renew_large(tx, repo.id, [sha256])

    async def _drop(self, upload: str) -> None:
        # The row first: a row without its file would be an upload that can never end.
        async with self.db.write() as tx:
            await uploads.delete(tx, upload)
        await self.blobs.drop_parts(upload)

    async def download(self, repo_id: str, sha256: str, query: Query) -> int:
        """
        The size of a file that a link lets its holder read: it is the blob of this sha256.

        Raises `LinkRefused`, `RepoNotFound`, and `EntryNotFound` where the repo does not hold it any more.
        """
        size = number(query, "size")
        self.links.check(_GET, repo_id, sha256, size, query=query)
        repo = await _repo(self.db, repo_id)
        if sha256 not in await objects.has_large(self.db, repo.id, [sha256]):
            raise EntryNotFound("Object does not exist.")
        return size

    # rows

    async def verify(self, actor: Actor, repo: Repo, sha256: str, size: int) -> None:
        """Raise `EntryNotFound` unless the repo holds the file, `Invalid` if it has another size."""
        self.access.require(actor, Action.READ, repo)
        held = await objects.has_large(self.db, repo.id, [sha256])
        if Sha256(sha256) not in held:
            raise EntryNotFound("Object does not exist.")
        if held[Sha256(sha256)] != size:
            raise Invalid(f"This file has {held[Sha256(sha256)]} bytes, not {size}.")

    async def duplicate(
        self, actor: Actor, source: Repo, target: Repo, digests: Sequence[str]
    ) -> list[Refusal]:
        """
        Let a repo hold files that another one holds, without their bytes being sent (CLIENT_API A22); those
        that the source does not hold come back. The actor must be allowed to read the one and propose to the
        other.
        """
        self.access.require(actor, Action.READ, source)
        self.access.require(actor, Action.PROPOSE, target)
        wanted = list(dict.fromkeys(digests))
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.READ, source)
            target = await self.access.require_now(tx, actor, Action.PROPOSE, target)
            proposed = not self.access.may(await self.access.known(tx, actor), Action.WRITE, target)
            held = await objects.has_large(tx, source.id, wanted)
            known = await objects.has_large(tx, target.id, wanted)
            await objects.renew_large(tx, target.id, known)
            new = held.keys() - known.keys()
            for sha256 in sorted(new):
                await objects.add_large(tx, target.id, sha256, held[sha256], proposed=proposed)
            if new:
                await log.append(
                    tx, actor, "repo:large:copy", str(target.ref), source=str(source.ref), files=sorted(new)
                )
        return [Refusal(d, f"{source.ref.full} does not hold this file.") for d in wanted if d not in held]

    async def files(
        self, actor: Actor, repo: Repo, after: str = "", limit: int = 1000
    ) -> list[objects.Large]:
        """
        The large files that a repo holds, by sha256, from behind `after`; whether a commit names them or not.
        """
        self.access.require(actor, Action.READ, repo)
        return await objects.large(self.db, repo.id, after, limit)

    async def sweep(self) -> int:
        """Remove the uploads in parts whose links have all expired; how many there were."""
        before = Millis(self.clock() - 2 * self.config.link_seconds * 1000)
        expired = await uploads.older_than(self.db, before)
        for row in expired:
            await self._drop(row.id)
        return len(expired)


def _home(repo: Repo, sha256: str, base: str) -> str:
    """Where a file of a repo is sent to and fetched from. The repo by its id: names may change under way."""
    return f"{base}/lfs/{repo.public_id}/{sha256}"


def _verify(repo: Repo, base: str) -> lfs.Action:
    """Clients send their credentials there, so it needs no signature."""
    return lfs.Action(f"{base}/{repo.ref}.git/info/lfs/verify")


class _Thrown:
    """Where bytes go that nobody needs."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)

    async def digest(self) -> str:
        return self._hash.hexdigest()


def _refuse_gaps(count: int, arrived: Mapping[int, str], named: Sequence[lfs.Part]) -> None:
    """Raise unless the client names every part once, by the ETag that it was given."""
    if sorted(part.part_number for part in named) != list(range(1, count + 1)):
        raise Invalid(f"An upload of {count} parts is completed by naming each of them once.")
    for part in named:
        number_ = part.part_number
        if number_ not in arrived:
            raise Invalid(f"Part {number_} has not arrived.", hint="Send it, then complete again.")
        if part.etag.removeprefix("W/").strip('"') != arrived[number_]:
            raise Invalid(f"Part {number_} is not the one that arrived last.")


@contextmanager
def _wrong_bytes_refused() -> Iterator[None]:
    """
    Bytes that are not what was announced are the sender's mistake: 400 and not 500, which clients would
    retry.
    """
    try:
        yield
    except Damaged as error:
        raise Invalid(error.message) from error


async def _repo(reader: Reader, public_id: str) -> Repo:
    repo = await repos.by_public_id(reader, public_id)
    if repo is None:
        raise RepoNotFound("Repository not found")
    return repo


async def _holds(reader: Reader, grant: _Grant) -> bool:
    repo = await _repo(reader, grant.repo)
    return grant.sha256 in await objects.has_large(reader, repo.id, [grant.sha256])
