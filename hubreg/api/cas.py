"""
Xet's content-addressed side: xorbs and shards in, reconstructions and ranges of xorbs out (XET 3).

Clients come here with the token of one repo (`hubreg.hub.xet_tokens`), to URLs that begin as its `casUrl` says,
whatever its epoch. What follows has a spelling for each generation of clients. Refusals are plain text. A 404 has
meanings here ("not offered", "ask the older route"), so little else is said with one.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

from msgspec import Raw
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hubreg.api import answers, boundary, xet
from hubreg.api.bodies import ClientGone, FileBody, PiecesBody, departures, read_body, spool
from hubreg.api.requests import Rendered, Request
from hubreg.api.resolve import Finished
from hubreg.errors import Invalid, NotFound, TooLarge
from hubreg.formats import conditional, hubjson
from hubreg.formats.chunking import hash_bytes
from hubreg.formats.shard import MAX_SHARD
from hubreg.hub.xet_reconstruction import MANY, Extent, Fetch, Range, Reconstruction
from hubreg.hub.xet_tokens import Holder
from hubreg.hub.xet_uploads import MAX_BODY, Progress
from hubreg.model import XetHash
from hubreg.store.xorbs import Held, Scratch, pieces

_SMALL = 1 << 20  # bytes of a body that is JSON, or not looked at
_MOST_FILES = 100  # in one question for several reconstructions
_MOST_TERMS = 20_000  # in the answer to it, but for a file alone
_TERM = '{"hash":"%s","unpacked_length":%d,"range":{"start":%d,"end":%d}}'
_MOST_RANGES = MANY  # in one request: no URL is signed for more
_BEAT = 20.0  # seconds between two words of progress: clients give up after 300 of silence
_BINARY = (b"content-type", b"application/octet-stream")
_RANGES = re.compile(r"bytes=[ \t]*([0-9]+-[0-9]*(?:[ \t]*,[ \t]*[0-9]+-[0-9]*)*)[ \t]*", re.IGNORECASE)


async def _holder(request: Request, *, write: bool = False) -> Holder:
    holder = await request.app.xet.tokens.holder(request.header(b"authorization"), write=write)
    request.scope["state"]["user"] = holder.actor.name
    return holder


def _hash(request: Request) -> XetHash:
    text = request.params["hash"]
    hash_bytes(text)  # or `Invalid`
    return XetHash(text)


# in


async def near_chunk(request: Request) -> Response:
    """The xorb that has a chunk, and those near it, so that a client need not send them; 404 where there is none."""
    await _holder(request, write=True)
    answer = await request.app.xet.dedup.near(_hash(request))
    return Response(answer, headers={"Cache-Control": "no-store"}, media_type="application/octet-stream")


async def grant(request: Request) -> Response:
    """Whether a xorb is here already, 200. Other grants are not given, 404: clients then send the xorb itself."""
    await _holder(request, write=True)
    await read_body(request, _SMALL)
    if await request.app.xet.uploads.holds(_hash(request)):
        return answers.done(request)
    raise NotFound("Xorbs are sent here directly.")


async def xorb_state(request: Request) -> Response:
    """Whether a xorb is here already."""
    await _holder(request, write=True)
    if await request.app.xet.uploads.holds(_hash(request)):
        return answers.done(request)
    raise NotFound("This xorb is not here.")


async def receive_xorb(request: Request) -> Response:
    """A xorb; checked while it comes."""
    await _holder(request, write=True)
    async with request.app.xet.uploads.receive(_hash(request)) as incoming:
        await spool(request, incoming, limit=MAX_BODY)
        return answers.json(request, {"was_inserted": await incoming.finish()})


async def receive_shard(request: Request) -> Response:
    """A shard, which says what files the xorbs make; `result` 0 where the repo has them all."""
    holder = await _holder(request, write=True)
    async with request.app.xet.uploads.scratch() as sent:
        await spool(request, sent, limit=MAX_SHARD)
        check = request.app.xet.uploads.take(holder, sent, Progress())
        async with _attended(check, request.receive) as work:
            await asyncio.wait([work])
            if work.cancelled():
                raise ClientGone
            return answers.json(request, {"result": int(work.result())})


async def receive_shard_telling(request: Request) -> Response:
    """A shard, answered with a line of JSON for each step of what may take minutes."""
    holder = await _holder(request, write=True)
    async with AsyncExitStack() as stack:
        sent = await stack.enter_async_context(request.app.xet.uploads.scratch())
        await spool(request, sent, limit=MAX_SHARD)
        return _Telling(request, holder, sent, stack.pop_all())
    raise AssertionError  # the stack swallows nothing


@asynccontextmanager
async def _attended(check: Coroutine[Any, Any, bool], receive: Receive) -> AsyncIterator[asyncio.Task[bool]]:
    """
    A check that is given up when its client leaves: it has a place that others wait for. What it has published by then
    stays, so that whoever comes again has less to wait for.
    """
    work = asyncio.create_task(check)
    try:
        async with departures(receive) as gone:
            gone.add_done_callback(lambda _: work.cancel())
            yield work
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work


class _Telling(Response):
    """
    The answer to a shard while it is checked (XET 3, `/v2/shards`): 200 at once, and how it went in the last line. Of a
    400 clients show their users the number alone; the sentence in a line they show.
    """

    def __init__(self, request: Request, holder: Holder, sent: Scratch, stack: AsyncExitStack) -> None:
        self.status_code, self.background = 200, None
        self.raw_headers = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-cache")]
        self._progress = Progress()
        self._take = partial(request.app.xet.uploads.take, holder, sent, self._progress)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack, _attended(self._take(), receive) as work:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._tell(work, send)

    async def _tell(self, work: asyncio.Task[bool], send: Send) -> None:
        while not work.done():
            told = {"type": "validating", "verified": self._progress.verified, "total": self._progress.total}
            await send(_line(told, more=True))
            await asyncio.wait([work], timeout=_BEAT)
        if work.cancelled():
            raise ClientGone
        try:
            fresh = work.result()
        except Exception as error:
            known = boundary.known(error, "POST a shard")
            message = f"{known.message} {known.hint}".strip()
            retryable = known.status in (500, 503)
            await send(_line({"type": "error", "message": message, "retryable": retryable}, more=False))
        else:
            await send(_line({"type": "committing", "stage": "syncing"}, more=True))
            await send(_line({"type": "result", "result": int(fresh)}, more=False))


def _line(value: dict[str, Any], *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": hubjson.encode(value) + b"\n", "more_body": more}


# out


async def reconstruction(request: Request) -> Response:
    """The terms of a file, or of a range of it, and where their chunks are fetched."""
    base = xet.cas_url(request)

    def render(found: Reconstruction) -> Rendered:
        xorbs = {hash_: _entries(base, fetches) for hash_, fetches in found.xorbs.items()}
        return answers.render(
            {"offset_into_first_range": found.offset, "terms": _terms(found), "xorbs": xorbs}
        )

    return await _reconstruction(request, render)


async def reconstruction_1(request: Request) -> Response:
    """
    The terms of a file, or of a range of it, in the form of version 1.

    Each range has a URL of its own: clients keep what they fetched by it.
    """
    base = xet.cas_url(request)

    def render(found: Reconstruction) -> Rendered:
        fetch_info = {hash_: _entries_1(base, fetches) for hash_, fetches in found.xorbs.items()}
        return answers.render(
            {"offset_into_first_range": found.offset, "terms": _terms(found), "fetch_info": fetch_info}
        )

    return await _reconstruction(request, render, ranges=1)


async def _reconstruction(
    request: Request, render: Callable[[Reconstruction], Rendered], *, ranges: int = MANY
) -> Response:
    holder = await _holder(request)
    asked = _ranges(request)
    part = asked[0] if asked is not None and len(asked) == 1 else None
    made = await request.app.xet.reconstructions.rendered(holder, _hash(request), render, part, ranges=ranges)
    return answers.rendered(request, made, headers={"Cache-Control": "no-store"})


async def reconstructions(request: Request) -> Response:
    """The terms of several whole files; those that the repo does not hold are left out."""
    holder = await _holder(request)
    hashes = request.values("file_id") or await request.json(list[str], _SMALL)
    if len(hashes) > _MOST_FILES:
        raise Invalid(f"There may be {_MOST_FILES} files, not {len(hashes)}.")
    base = xet.cas_url(request)

    def render(found: Reconstruction) -> tuple[int, Raw, dict[XetHash, Raw]]:
        fetch_info = {hash_: _entries_1(base, fetches) for hash_, fetches in found.xorbs.items()}
        return len(found.terms), _terms(found), fetch_info

    terms, files = 0, dict[str, Raw]()
    fetch_info: dict[XetHash, list[Raw]] = {}
    for text in dict.fromkeys(hashes):
        hash_bytes(text)
        await asyncio.sleep(0)
        with suppress(NotFound):
            count, listed, entries = await request.app.xet.reconstructions.rendered(
                holder, XetHash(text), render, ranges=1
            )
            terms += count
            if files and terms > _MOST_TERMS:
                raise TooLarge(
                    f"The files have more than {_MOST_TERMS} terms together.", hint="Ask for one at a time."
                )
            files[text] = listed
            for xorb, raw in entries.items():
                fetch_info.setdefault(xorb, []).append(raw)
    joined = {xorb: _joined(parts) for xorb, parts in fetch_info.items()}
    return answers.json(
        request, {"files": files, "fetch_info": joined}, headers={"Cache-Control": "no-store"}
    )


def _ranges(request: Request) -> list[Range] | None:
    """What a Range header asks for, ends exclusive, maybe past the end; None where there is none that makes sense."""
    match = _RANGES.fullmatch(request.header(b"range") or "")
    if match is None or len(match[1]) > 50 * _MOST_RANGES:
        return None
    found = []
    for piece in match[1].split(","):
        start, _, end = (part.strip() for part in piece.partition("-"))
        found.append((int(start[:18]), int(end[:18]) + 1 if end else 1 << 60))
    return found if all(start < end for start, end in found) and len(found) <= _MOST_RANGES else None


# What there may be hundreds of thousands of is JSON at once: as values it would take ten times the memory.


def _terms(found: Reconstruction) -> Raw:
    return Raw(f"[{','.join([_TERM % span for span in found.terms])}]".encode())


def _entries(base: str, fetches: Sequence[Fetch]) -> Raw:
    entries = [
        {"url": base + fetch.url, "ranges": [_extent(extent) for extent in fetch.extents]}
        for fetch in fetches
    ]
    return Raw(hubjson.encode(entries))


def _entries_1(base: str, fetches: Sequence[Fetch]) -> Raw:
    entries = [
        {"range": ranges["chunks"], "url": base + fetch.url, "url_range": ranges["bytes"]}
        for fetch in fetches
        for ranges in map(_extent, fetch.extents)
    ]
    return Raw(hubjson.encode(entries))


def _joined(lists: Sequence[Raw]) -> Raw:
    """One JSON list of several, none of which is empty."""
    return Raw(b"[" + b",".join([bytes(each)[1:-1] for each in lists]) + b"]")


def _extent(extent: Extent) -> dict[str, dict[str, int]]:
    """Chunks end exclusively, bytes inclusively (XET 5)."""
    return {
        "chunks": {"start": extent.chunks[0], "end": extent.chunks[1]},
        "bytes": {"start": extent.bytes[0], "end": extent.bytes[1] - 1},
    }


async def xorb_ranges(request: Request) -> Response:
    """Bytes of a xorb that a signed URL gives to whoever has it, one range or several."""
    query = {name: values[-1] for name, values in request.query.items()}
    held, ranges = await request.app.xet.reconstructions.fetched(_hash(request), query, _ranges(request))
    headers = [_BINARY, (b"accept-ranges", b"bytes"), (b"cache-control", b"private, no-store")]
    if len(ranges) > 1:
        return _multipart(held, ranges, headers[1:])
    [(start, end)] = ranges
    status = 206 if request.header(b"range") or (start, end) != (0, held.size) else 200
    if not held.virtual:
        return FileBody(held.path, size=held.size, start=start, end=end, status=status, headers=headers)
    if status == 206:
        headers.append((b"content-range", conditional.content_range(start, end, held.size).encode()))
    return PiecesBody(held.path, pieces(held, start, end), status=status, headers=headers)


def _multipart(held: Held, ranges: list[Range], headers: xet.Raw) -> Response:
    """Several ranges in one answer, each with its own headers (RFC 9110 14.6)."""
    boundary = secrets.token_hex(12)
    parts: list[bytes | Range] = []
    for start, end in ranges:
        place = conditional.content_range(start, end, held.size)
        parts.append(
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {place}\r\n\r\n".encode()
        )
        parts += [*pieces(held, start, end), b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    kind = (b"content-type", f"multipart/byteranges; boundary={boundary}".encode())
    return PiecesBody(held.path, parts, status=206, headers=[kind, *headers])


async def file(request: Request) -> Response:
    """A file's bytes, by its Xet hash; to HEAD its size."""
    holder = await _holder(request)
    found = await request.app.xet.reconstructions.file(holder, _hash(request))
    headers = [_BINARY, (b"accept-ranges", b"bytes"), (b"etag", f'"{found.hash}"'.encode())]
    finished = Finished(
        200,
        headers,
        "",
        blobs=request.app.blobs,
        sha256=found.sha256,
        size=found.size,
        etag=f'"{found.hash}"',
    )
    return finished.response(request.headers, get=request.method == "GET")


async def telemetry(request: Request) -> Response:
    """Where Xet clients say how it went. Nobody listens."""
    await read_body(request, _SMALL)
    return answers.done(request)
