"""
How a file is put together again: which chunks of which xorbs, and signed URLs for exactly their bytes (XET 5).

A token reads what its repo holds, nothing else: a xorb may have chunks of other repos' files beside those that are
asked for, so a URL is good for the ranges that the file needs, and no byte around them.

Most files have a term for each 64 MiB; one of zeros, a term for each 128 KiB, and whoever likes a term for each chunk.
What takes time with their number is done in a thread where there are many, for a few such answers at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from hubreg.errors import EntryNotFound, Invalid, LinkRefused, RangeUnsatisfiable
from hubreg.formats.terms import Span, Terms, merged
from hubreg.hub.xet_tokens import Holder
from hubreg.identity.links import Links
from hubreg.mirror.uses import Uses
from hubreg.model import XetHash
from hubreg.store import objects, xet
from hubreg.store.db import Database
from hubreg.store.xet import XetFile
from hubreg.store.xorbs import Held, Xorbs

_SECONDS = 3600  # that a URL is good for; clients whose has expired ask again (XET 3)
MANY = 64  # ranges in one URL: some 1 500 bytes
_FEW = 2000  # terms that are looked at in the event loop
_ANSWERS = 2  # of more terms, that are made at a time: each is held in memory meanwhile
_XORBS = 16  # that are looked up without a pause
_PURPOSE = "xet:fetch"
_SIGNED = re.compile(r"[0-9]+-[0-9]+(?:,[0-9]+-[0-9]+)*")

T = TypeVar("T")
Range = tuple[int, int]  # the end exclusive
Call = Callable[..., Awaitable[Any]]


class Extent(NamedTuple):
    """A run of chunks of a xorb, and where its bytes are in the serialized form. Ends are exclusive."""

    chunks: Range
    bytes: Range


class Fetch(NamedTuple):
    """A signed URL without what it begins with, and the extents that it gives."""

    url: str
    extents: Sequence[Extent]


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """
    The terms of a file, or of a part of it: that begins `offset` bytes into the first one. `xorbs` has what to fetch;
    every term lies in one extent of its xorb.
    """

    offset: int
    terms: Sequence[Span]
    xorbs: Mapping[XetHash, Sequence[Fetch]]


@dataclass(frozen=True, slots=True)
class Reconstructions:
    db: Database
    xorbs: Xorbs
    links: Links
    uses: Uses
    _many: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_ANSWERS), init=False)

    async def of(
        self, holder: Holder, hash_: XetHash, part: Range | None = None, *, ranges: int = MANY
    ) -> Reconstruction:
        """
        How to put together a file, or the bytes of it from one offset up to another, which may lie past the end. A URL
        is for at most so many `ranges`.

        Raises `EntryNotFound` for what the repo does not hold, and `RangeUnsatisfiable` where the part begins at or
        past the end: that is how clients find it.
        """
        return await self.rendered(holder, hash_, _itself, part, ranges=ranges)

    async def rendered(
        self,
        holder: Holder,
        hash_: XetHash,
        render: Callable[[Reconstruction], T],
        part: Range | None = None,
        *,
        ranges: int = MANY,
    ) -> T:
        """What `render` makes of what `of` finds: it may be called in a thread."""
        file = await self.file(holder, hash_)
        self.uses.use(file.sha256, whole=part is None or part[0] == 0)
        terms = Terms(file.terms)
        start, end = (0, terms.size) if part is None else part
        if part is not None and start >= terms.size:
            raise RangeUnsatisfiable(
                f"The range starts past the end: the file has {terms.size} bytes.",
                headers={"Content-Range": f"bytes */{terms.size}"},
            )
        first, last = terms.covering(start, end)
        if last - first <= _FEW:
            return render(await self._put_together(terms, (start, end), ranges, _here))
        async with self._many:
            found = await self._put_together(terms, (start, end), ranges, self.xorbs.in_thread)
            return await self.xorbs.in_thread(render, found)

    async def _put_together(self, terms: Terms, part: Range, ranges: int, call: Call) -> Reconstruction:
        start, end = part
        first, last = terms.covering(start, end)
        spans: list[Span] = await call(terms.part, first, last)
        if spans:
            before = start - terms.begin(first)
            behind = max(0, terms.begin(last) - end)
            spans, start = await self._trimmed(spans, before, behind)
        return Reconstruction(start, spans, await self._fetches(spans, ranges, call))

    async def file(self, holder: Holder, hash_: XetHash) -> XetFile:
        """A file that the repo holds. Raises `EntryNotFound`, also for one that others hold."""
        found = await xet.find_file(self.db, hash_)
        if found is not None and await objects.has_large(self.db, holder.repo.id, [found.sha256]):
            return found
        raise EntryNotFound(f"{holder.repo.ref.full} has no file with the Xet hash {hash_}.")

    async def _trimmed(self, spans: list[Span], before: int, behind: int) -> tuple[list[Span], int]:
        """
        Without the chunks that are not needed at both ends: so many bytes are before and behind what is. Also how many
        of the first chunk that is left are not.
        """
        last = spans[-1]
        sizes = (await self.xorbs.get(last.xorb)).index.sizes(last.start, last.end)
        drop, dropped = _whole(reversed(sizes), behind)
        spans[-1] = last._replace(unpacked=last.unpacked - dropped, end=last.end - drop)
        first = spans[0]
        sizes = (await self.xorbs.get(first.xorb)).index.sizes(first.start, first.end)
        drop, dropped = _whole(sizes, before)
        spans[0] = first._replace(unpacked=first.unpacked - dropped, start=first.start + drop)
        return spans, before - dropped

    async def _fetches(self, spans: Sequence[Span], limit: int, call: Call) -> dict[XetHash, list[Fetch]]:
        wanted: dict[XetHash, set[Range]] = await call(_wanted, spans)
        fetches = {}
        for number, (hash_, ranges) in enumerate(wanted.items(), 1):
            fetches[hash_] = await call(self._fetches_of, await self.xorbs.get(hash_), ranges, limit)
            if number % _XORBS == 0:
                await asyncio.sleep(0)
        return fetches

    def _fetches_of(self, held: Held, ranges: Iterable[Range], limit: int) -> list[Fetch]:
        extents = [Extent(chunks, held.index.extent(*chunks)) for chunks in merged(ranges)]
        return [self._fetch(held, extents[at : at + limit]) for at in range(0, len(extents), limit)]

    def _fetch(self, held: Held, extents: Sequence[Extent]) -> Fetch:
        signed = ",".join(f"{start}-{end - 1}" for start, end in (extent.bytes for extent in extents))
        query = self.links.sign(_PURPOSE, held.hash, held.tag, signed, seconds=_SECONDS)
        return Fetch(f"/xorb-ranges/{held.hash}?ranges={signed}&{query}", extents)

    async def fetched(
        self, hash_: XetHash, query: Mapping[str, str], asked: Sequence[Range] | None
    ) -> tuple[Held, list[Range]]:
        """
        What a signed URL gives: the xorb, and the ranges of its serialized form that are asked of those signed. None
        asks for all of them. An end past that of the xorb means its end (RFC 9110 14.1.2).

        Raises `LinkRefused` for a URL that has expired or was not signed for that, `RangeUnsatisfiable` past the end,
        `Invalid` for ranges that overlap: an answer is never larger than the xorb.
        """
        signed = query.get("ranges", "")
        held = await self.xorbs.find(hash_)
        # The tag is signed too: the same xorb sent again in another form has other chunks at these places.
        self.links.check(_PURPOSE, hash_, held.tag if held is not None else "", signed, query=query)
        if held is None:
            raise LinkRefused("What this link leads to is not here any more.")
        granted = _parse_signed(signed)
        if asked is None:
            return held, granted
        if any(before > start for (_, before), (start, _) in pairwise(sorted(asked))):
            raise Invalid("The ranges overlap.")
        if any(start >= held.size for start, _ in asked):
            raise RangeUnsatisfiable(
                f"The range starts past the end: the xorb has {held.size} bytes.",
                headers={"Content-Range": f"bytes */{held.size}"},
            )
        wanted = [(start, min(end, held.size)) for start, end in asked]
        for start, end in wanted:
            if not any(low <= start and end <= high for low, high in granted):
                raise LinkRefused("This link is not valid for that range.")
        return held, wanted


def _itself(found: Reconstruction) -> Reconstruction:
    return found


async def _here(function: Callable[..., T], *args: Any) -> T:
    return function(*args)


def _wanted(spans: Iterable[Span]) -> dict[XetHash, set[Range]]:
    """The ranges of chunks that are needed of each xorb."""
    wanted: dict[XetHash, set[Range]] = {}
    for span in spans:
        wanted.setdefault(span.xorb, set()).add((span.start, span.end))
    return wanted


def _whole(sizes: Iterable[int], spare: int) -> tuple[int, int]:
    """How many chunks of these sizes fit into `spare` bytes, and how many bytes they have."""
    count = total = 0
    for size in sizes:
        if total + size > spare:
            break
        count, total = count + 1, total + size
    return count, total


def _parse_signed(text: str) -> list[Range]:
    if not _SIGNED.fullmatch(text):
        raise LinkRefused("This link is incomplete.")
    return [(int(start), int(end) + 1) for start, end in (piece.split("-") for piece in text.split(","))]
