"""
Content on its way in by Xet: xorbs, and then the shard that says which files they make (XET 6).

Nothing that a client says is taken for true. A xorb is unpacked, and its chunks hashed, while it arrives. A shard is
held against the xorbs as they were measured: chunk lists, terms, range hashes (which prove that the sender knows the
chunks, and has not only heard a xorb's name) and the file hash. Then the content of each file is unpacked and hashed
once more, because its sha256 is what a commit will name: `sha256 -> file` is published only as it was seen, and with
it the right of the repo to that content. From there on it is a large file like any other.

What is known already is not hashed again: a shard may be sent twice, and by two clients at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakValueDictionary

from hubreg.config import Config
from hubreg.errors import Damaged, Invalid, TooLarge
from hubreg.formats import shard
from hubreg.formats.chunking import MerkleHash, hash_bytes, hash_string
from hubreg.formats.shard import Shard, ShardFile, ShardXorb, Term
from hubreg.formats.terms import Terms, render_term
from hubreg.formats.xorb import MAX_XORB, ChunkIndex
from hubreg.hub.xet_tokens import Holder
from hubreg.identity.access import Access
from hubreg.model import Action, Sha256, XetHash
from hubreg.store import log, objects, xet
from hubreg.store.blobs import Sink
from hubreg.store.db import Clock, Database, Tx
from hubreg.store.xet import XetFile
from hubreg.store.xorbs import Held, Scratch, Xorbs

MAX_BODY = MAX_XORB + (1 << 20)  # bytes of a xorb, with the footer of old clients
_LARGE = 4 << 20  # bytes of a shard that is checked beside few others, for it is held in memory meanwhile
_LARGEST = 4  # times the largest file: what all files of a shard may have together
_SPARE_CHUNKS = 10_000  # of a shard, beyond those that its files need
_SHORT_CHUNK = 4096  # bytes: clients make none below 8128, but for the last one of a file
_FILES = 256  # that are checked and published together, and
_GROUP = 5000  # terms
_ROWS = 5000  # in one transaction: all other writers wait for it
_TERMS = 64  # that are checked with one trip to a thread
_BY_NAME = 32  # chunks of a xorb that may be asked for because of their hash, and as many that its sender marked, but
_SHARE = 64 << 10  # of each so many bytes only one: clients mark the first chunks of files


class IncomingXorb:
    """A body on its way in: a sink, and `finish` once all is written, which tells whether the xorb is new."""

    def __init__(self, sink: Sink | None, publish: Callable[[], Awaitable[bool]]) -> None:
        self._sink, self._publish = sink, publish

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._sink is not None:  # else the xorb is here, and what is sent is not looked at
            self._sink.write(data)

    async def finish(self) -> bool:
        return await self._publish()


@dataclass(slots=True)
class Progress:
    """How far a shard has come: files, as they are listed there."""

    verified: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class _Checked:
    """A file as the xorbs say it is, and what the shard says that its sha256 is."""

    hash: XetHash
    size: int
    terms: bytes
    uses: Sequence[tuple[XetHash, int]]
    first: tuple[XetHash, XetHash] | None  # its first chunk, and the xorb that has it
    claimed: Sha256 | None


class _Bounds:
    """
    What the files of one shard may ask to be looked at, all together: a term of 96 bytes may name 8192 chunks.

    There may be as many terms as the content has chunks: a file of zeros is one chunk, named again and again.
    """

    def __init__(self, files: int, largest: int) -> None:
        self._largest = _LARGEST * largest
        self._spare = _SPARE_CHUNKS + files  # each file has a last chunk
        self._chunks = self._size = 0

    def add(self, term: Term) -> None:
        self._chunks += term.end - term.start
        self._size += term.unpacked
        if self._size > self._largest:
            raise TooLarge(
                f"The files of a shard may have at most {self._largest} bytes together.",
                hint="Send fewer files at once.",
            )
        if self._chunks > self._spare + self._size // _SHORT_CHUNK:
            raise TooLarge("The files of the shard are made of more chunks than any client cuts.")


class _Check:
    """One file of a shard, held against its xorbs term by term."""

    def __init__(self, file: ShardFile, bounds: _Bounds, largest: int) -> None:
        self._file, self._bounds, self._largest = file, bounds, largest
        self._merkle, self._size = MerkleHash(), 0
        self._terms = bytearray()
        self._uses: dict[bytes, int] = {}
        self._first: tuple[XetHash, XetHash] | None = None
        self.done: _Checked | None = None

    def add(self, number: int, term: Term, index: ChunkIndex) -> None:
        """The next term. What it says of its size is enough to refuse it, before a chunk is looked at."""
        self._size += term.unpacked
        if self._size > self._largest:
            raise TooLarge(f"A file may have at most {self._largest} bytes.")
        self._bounds.add(term)
        nodes = term.check(index)
        self._merkle.update(nodes)
        if self._first is None:
            self._first = _named(nodes[0].hash), _named(term.xorb)
        self._uses.setdefault(term.xorb, number)
        self._terms += render_term(term.xorb, term.unpacked, term.start, term.end)

    def finish(self) -> None:
        found, said = self._merkle.file_hash(), self._file.hash
        if found != said:
            raise Invalid(
                f"The terms make a file with the hash {hash_string(found)}, not {hash_string(said)}."
            )
        uses = [(_named(xorb), place) for xorb, place in self._uses.items()]
        terms = bytes(self._terms)
        self.done = _Checked(_named(said), self._size, terms, uses, self._first, self._file.sha256)


class _Places:
    """So many shards are checked at once, and so many of them of one user: nobody makes all others wait."""

    def __init__(self, places: int, each: int) -> None:
        self._all, self._each = asyncio.Semaphore(places), each
        self._users: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, user: int) -> AsyncIterator[None]:
        own = self._users.get(user)
        if own is None:
            own = self._users[user] = asyncio.Semaphore(self._each)
        async with own, self._all:
            yield


@dataclass(frozen=True, slots=True)
class XetUploads:
    db: Database
    access: Access
    xorbs: Xorbs
    clock: Clock
    config: Config
    _small: _Places = field(default_factory=lambda: _Places(16, 4), init=False)
    _large: _Places = field(default_factory=lambda: _Places(2, 1), init=False)

    # xorbs

    async def holds(self, hash_: XetHash) -> bool:
        """Whether a xorb is here; who is told so may count on it for a while."""
        return await self.xorbs.intact(hash_) is not None and await self._offer([hash_])

    @asynccontextmanager
    async def receive(self, hash_: XetHash) -> AsyncIterator[IncomingXorb]:
        """
        A xorb. Writing raises `Invalid` or `TooLarge` as soon as it cannot be right, `finish` also where its hash is
        another. Leaving the context without `finish` leaves nothing behind.
        """
        if await self.holds(hash_):
            yield IncomingXorb(None, _nothing_new)
            return
        async with self.xorbs.create() as upload:
            yield IncomingXorb(upload, lambda: self.xorbs.publish(upload, hash_))

    async def _offer(self, hashes: Sequence[XetHash]) -> bool:
        """Have xorbs, which were here a moment ago, kept for a while. False where one of them is gone."""
        stale = await xet.stale_offers(self.db, hashes, self.clock())
        for start in range(0, len(stale), _ROWS):
            part = stale[start : start + _ROWS]
            async with self.db.write() as tx:
                if len(await xet.offer(tx, part)) != len(part):
                    return False
        return True

    # shards

    def scratch(self) -> AbstractAsyncContextManager[Scratch]:
        """Where the body of a shard goes until it is taken."""
        return self.xorbs.scratch()

    async def take(self, holder: Holder, sent: Scratch, progress: Progress) -> bool:
        """
        Check a shard and publish its files, which the repo then holds; whether any of them was new to it.

        Raises `Invalid`, or a kind of it, for whatever is wrong with it. Files that stand before the wrong one may have
        been published: they were what they were said to be.
        """
        places = self._large if sent.size > _LARGE else self._small
        async with places.take(holder.actor.user_id):
            parsed: Shard = await self.xorbs.in_thread(lambda: shard.parse_shard(sent.read()))
            progress.total = len(parsed.files)
            listed = await self._check_xorbs(parsed)
            fresh, used = False, set[XetHash]()
            bounds = _Bounds(progress.total, self.config.lfs_max)
            for group in _groups(parsed):
                checked = await self._check(parsed, group, bounds)
                files = [(file, await self._verified(file, progress)) for file in checked]
                fresh |= await self._publish(holder, files)
                used.update(xorb for file in checked for xorb, _ in file.uses)
            # Of xorbs that no file uses no chunk is named: they may go any time.
            await self._name_chunks(parsed.xorbs[at] for name, at in listed.items() if name in used)
            return fresh

    async def _check_xorbs(self, parsed: Shard) -> dict[XetHash, int]:
        """Hold the lists of chunks against what was measured; where in the shard each xorb is listed."""
        listed: dict[XetHash, int] = {}
        for number, xorb in enumerate(parsed.xorbs):
            held = await self._held(xorb.hash)
            await self.xorbs.in_thread(xorb.check, held.index)
            listed[held.hash] = number
        await self._offer(list(listed))
        return listed

    async def _name_chunks(self, xorbs: Iterable[ShardXorb]) -> None:
        """Let chunks of these be asked for by name."""
        rows: list[tuple[XetHash, XetHash]] = []
        for listed in xorbs:
            rows += await self.xorbs.in_thread(_by_name, listed, await self._held(listed.hash))
            if len(rows) > _ROWS - 2 * _BY_NAME:
                await self._add_chunks(rows)
                rows = []
        await self._add_chunks(rows)

    async def _add_chunks(self, rows: Sequence[tuple[XetHash, XetHash]]) -> None:
        if rows:
            async with self.db.write() as tx:
                await _require_xorbs(tx, {xorb for _, xorb in rows})
                await xet.add_chunks(tx, rows)

    async def _held(self, raw: bytes) -> Held:
        held = await self.xorbs.intact(_named(raw))
        if held is None:
            raise Invalid(
                f"The shard names the xorb {hash_string(raw)}, which is not here.",
                hint="If it was sent long ago, the client remembers what is gone: remove its Xet cache.",
            )
        return held

    async def _check(self, parsed: Shard, numbers: Iterable[int], bounds: _Bounds) -> list[_Checked]:
        """What some files of the shard are, by the xorbs alone."""
        checks: list[_Check] = []
        steps: list[Callable[[], None]] = []
        for number in numbers:
            file = parsed.files[number]
            check = _Check(file, bounds, self.config.lfs_max)
            checks.append(check)
            held: Held | None = None
            for place, term in enumerate(file.terms):
                if held is None or hash_bytes(held.hash) != term.xorb:
                    held = await self._held(term.xorb)
                steps.append(partial(check.add, place, term, held.index))
                if len(steps) >= _TERMS:
                    await self.xorbs.in_thread(_run, steps)
                    steps = []
            steps.append(check.finish)
        await self.xorbs.in_thread(_run, steps)
        return [check.done for check in checks if check.done is not None]

    async def _verified(self, file: _Checked, progress: Progress) -> XetFile:
        """The file under the sha256 that its content has. Raises `Invalid` where it was said to be another."""
        known = await xet.known_files(self.db, [file.hash])
        if file.hash in known:
            sha256, _ = known[file.hash]
        else:
            if not await self._offer(
                [xorb for xorb, _ in file.uses]
            ):  # so that they are here when it is done
                raise _gone()
            sha256 = await self._sha256(file)
        if file.claimed is not None and file.claimed != sha256:
            raise Invalid(f"The content of the file {file.hash} has sha256 {sha256}, not {file.claimed}.")
        progress.verified += 1
        return XetFile(file.hash, sha256, file.size, file.terms)

    async def _sha256(self, file: _Checked) -> Sha256:
        try:
            return await self.xorbs.sha256(Terms(file.terms))
        except Damaged as error:  # of no use to be tried again, as an answer of 500 would have it
            raise Invalid(
                f"The file {file.hash} cannot be read back: {error.message}",
                hint="The server has lost data. Its operator should begin a new epoch: hubreg xet epoch --bump.",
            ) from error

    async def _publish(self, holder: Holder, files: Sequence[tuple[_Checked, XetFile]]) -> bool:
        """One transaction: the files, where their chunks are found, and that the repo holds them."""
        async with self.db.write() as tx:
            actor, repo = await self.access.afresh(tx, holder.actor, holder.repo)
            self.access.require(actor, Action.PROPOSE, repo)
            proposed = not self.access.may(actor, Action.WRITE, repo)
            await _require_xorbs(tx, {xorb for file, _ in files for xorb, _ in file.uses})
            for checked, file in files:
                await xet.insert_file(tx, file, checked.uses)
            await xet.add_chunks(tx, [checked.first for checked, _ in files if checked.first is not None])
            return await _hold(tx, holder, [file for _, file in files], proposed=proposed)


def _groups(parsed: Shard) -> Iterator[range]:
    """The numbers of the files that are checked and published together; once, where there are none."""
    start = terms = 0
    for number, file in enumerate(parsed.files):
        if number > start and (number - start == _FILES or terms + len(file.terms) > _GROUP):
            yield range(start, number)
            start, terms = number, 0
        terms += len(file.terms)
    yield range(start, len(parsed.files))


def _named(raw: bytes) -> XetHash:
    return XetHash(hash_string(raw))


def _by_name(listed: ShardXorb, held: Held) -> list[tuple[XetHash, XetHash]]:
    """The chunks of a xorb that may be asked for by name (XET 7), each with the xorb's own."""
    marked = listed.marked()[: min(_BY_NAME, 1 + held.index.unpacked() // _SHARE)]
    numbers = {*held.index.global_chunks()[:_BY_NAME], *marked}
    return [(_named(held.index[number].hash), held.hash) for number in sorted(numbers)]


def _run(steps: Sequence[Callable[[], None]]) -> None:
    for step in steps:
        step()


async def _nothing_new() -> bool:
    return False


async def _require_xorbs(tx: Tx, hashes: set[XetHash]) -> None:
    if await xet.count_xorbs(tx, sorted(hashes)) != len(hashes):
        raise _gone()


def _gone() -> Invalid:
    return Invalid("A xorb that the shard names is not here any more.", hint="Send the file again.")


async def _hold(tx: Tx, holder: Holder, files: Sequence[XetFile], *, proposed: bool) -> bool:
    """From here on the repo holds these files; whether any is new to it."""
    held = await objects.has_large(tx, holder.repo.id, [file.sha256 for file in files])
    await objects.renew_large(tx, holder.repo.id, held)
    new = {file.sha256: file for file in files if file.sha256 not in held}
    for file in new.values():
        await objects.add_large(tx, holder.repo.id, file.sha256, file.size, proposed=proposed)
    if new:
        facts = [{"sha256": file.sha256, "size": file.size, "xet": file.hash} for file in new.values()]
        await log.append(tx, holder.actor, "repo:large:receive", str(holder.repo.ref), files=facts)
    return bool(new)
