"""
`resolve`: a file's bytes, at a commit for ever, by a name that moves through a redirect to its commit.

A name never answers with bytes: HEAD and GET of one file would else be of two versions when a push comes in between
(CLIENTS 4). The redirect carries what clients read off the first hop. `Finished` is what one caller gets at one URL:
made once, sent as often as it is asked for (`hubreg.api.asgi` keeps it), for it holds no part of the request. What
upstream said of a mirrored repo is good for a time only: until `expires`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response

from hubreg.api import xet
from hubreg.api.bodies import Arrival, ArrivingBody, FileBody, StreamBody
from hubreg.api.requests import Request
from hubreg.errors import HubregError
from hubreg.formats import conditional
from hubreg.hub.content import Located
from hubreg.model import Action, Millis, Sha256
from hubreg.store.blobs import Blobs

Raw = list[tuple[bytes, bytes]]

SMALL = 16 << 10  # bytes of a file that is sent from memory: below this a thread costs more than the copy

_TEXT_SUFFIXES = frozenset(
    "bib c cfg conf cpp css csv cu cuh diff h hpp htm html ini ipynb j2 java jinja jinja2 js json json5 jsonl jsx log"
    " lua md merges mjs ndjson patch proto py pyi r rst rs sh sql srt svg tex toml ts tsv tsx txt vocab vtt vue xhtml"
    " xml yaml yml".split()
)
_TEXT_NAMES = frozenset(
    "license notice readme dockerfile makefile .gitattributes .gitignore .gitkeep".split()
)

# The same objects in every answer: they are many.
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_BINARY = (b"content-type", b"application/octet-stream")
_FIXED: Raw = [
    (b"accept-ranges", b"bytes"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"Origin, Accept"),
]
_PUBLIC = (
    b"cache-control",
    b"public, max-age=31536000, s-maxage=60, immutable",
)  # docs/decisions/0013-shared-caches
_PRIVATE = (b"cache-control", b"private, max-age=31536000, immutable")


class Finished:
    """
    An answer of `resolve` to one caller, but for what differs from request to request.

    `headers` have the length of the whole body. `content` is the body of a redirect, a refusal or a small file; a
    file's is read when it is first asked for. `user` is for the log.
    """

    __slots__ = (
        "_arrival",
        "_blobs",
        "_content",
        "_distrusted",
        "_sha256",
        "_size",
        "_used",
        "etag",
        "expires",
        "headers",
        "status",
        "user",
    )

    def __init__(
        self,
        status: int,
        headers: Raw,
        user: str,
        *,
        content: bytes | None = None,
        blobs: Blobs | None = None,
        sha256: Sha256 | None = None,
        size: int = 0,
        etag: str = "",
        expires: Millis | None = None,
        arrival: Callable[[], AbstractAsyncContextManager[Arrival]] | None = None,
        distrusted: Callable[[], bool] | None = None,
        used: Callable[[bool], None] | None = None,
    ) -> None:
        self._arrival, self._distrusted, self._used = arrival, distrusted, used
        self.status, self.user, self.etag, self.expires = status, user, etag, expires
        self._content, self._blobs, self._sha256 = content, blobs, sha256
        self._size = size if content is None else len(content)
        self.headers = [*headers, (b"content-length", b"%d" % self._size)]

    def response(self, headers: Mapping[bytes, bytes], *, get: bool = True) -> Response:
        """The response to a request with these headers. Raises `RangeUnsatisfiable`."""
        if self.etag and conditional.if_none_match(_text(headers.get(b"if-none-match")), self.etag):
            return _response(304, [header for header in self.headers if header[0] not in _OF_A_BODY])
        if self._used is not None and get:
            self._used(headers.get(b"range", b"bytes=0-").startswith(b"bytes=0-"))
        asked = _text(headers.get(b"range")) if self.etag and get else None
        if asked is None or not conditional.if_range(_text(headers.get(b"if-range")), self.etag):
            return self._body(self.headers[:-1], 200, 0, self._size)
        piece = conditional.parse_range(asked, self._size)
        if piece is not None and not self._must_begin_anew(piece):
            return self._body(self.headers[:-1], 206, *piece)
        more = [] if self._size else [(b"content-range", conditional.content_range(0, 0, 0).encode())]
        return self._body([*self.headers[:-1], *more], 200, 0, self._size)

    def _must_begin_anew(self, piece: tuple[int, int]) -> bool:
        """
        Whether this is somebody who goes on with a file of which upstream sent wrong bytes lately: what they have may
        be of those (PITFALLS 22).
        """
        goes_on = piece[0] > 0 and piece[1] == self._size
        return goes_on and self._distrusted is not None and self._distrusted()

    def _body(self, headers: Raw, status: int, start: int, end: int) -> Response:
        status = status if self.status == 200 else self.status
        if self._arrival is not None and self._size:
            return ArrivingBody(
                self._arrival, size=self._size, start=start, end=end, status=status, headers=headers
            )
        if self._content is not None or self._blobs is None or self._sha256 is None:
            return FileBody(
                self._content or b"", size=self._size, start=start, end=end, status=status, headers=headers
            )
        path = self._blobs.path(self._sha256)
        if path is None:
            content = self._blobs.read(self._sha256, start, end)
            return StreamBody(content, size=self._size, start=start, end=end, status=status, headers=headers)
        if self._size <= SMALL:
            self._content = _read(path)
            return self._body(headers, status, start, end)
        return FileBody(path, size=self._size, start=start, end=end, status=status, headers=headers)


_OF_A_BODY = frozenset(
    (b"content-length", b"content-type", b"content-disposition", b"content-security-policy")
)


def _read(path: Path) -> bytes:
    # In the loop, as the database's point reads are: the page cache has it, or the disk brings one block.
    with open(path, "rb", buffering=0) as file:
        return file.read(SMALL)


def _response(status: int, headers: Raw) -> Response:
    response = Response(status_code=status)
    response.raw_headers = headers
    return response


def _text(header: bytes | None) -> str | None:
    return header.decode("latin-1") if header is not None else None


async def resolved(request: Request) -> Finished:
    """What `resolve` answers to this caller at this URL, however the request is conditioned."""
    params = request.params
    found = await request.app.content.locate(
        request.actor, request.repo_type, params["repo"], params["revision"], params["path"]
    )
    offered = await request.app.xet.hash(found.entry)
    offer = xet.offer(request, found, offered) if offered is not None else []
    if not found.exact or found.repo.ref.full != params["repo"]:
        return _redirect(request, found, offer)
    return _file(request, found, offer)


def _redirect(request: Request, found: Located, offer: Raw) -> Finished:
    ref, entry = found.repo.ref, found.entry
    query = "?download=true" if request.flag("download") else ""
    location = f"{request.place.prefix}/{quote(f'{ref}/resolve/{found.commit}/{entry.path}')}{query}"
    headers = [
        _TEXT,
        (b"location", location.encode()),
        (b"x-repo-commit", found.commit.encode()),
        (b"x-linked-etag", f'"{entry.etag}"'.encode()),
        (b"x-linked-size", b"%d" % entry.size),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", b"no-cache"),
        (b"vary", b"Origin, Accept"),
        *offer,
        *_aged(found),
    ]
    content = f"Temporary Redirect. Redirecting to {location}".encode()
    return Finished(307, headers, request.actor.name, content=content, expires=found.freshness.expires)


def _file(request: Request, found: Located, offer: Raw) -> Finished:
    entry = found.entry
    disposition = conditional.content_disposition(entry.path)
    if request.flag("download"):
        disposition = disposition.replace("inline", "attachment", 1)
    shared = request.app.access.anonymous and not found.repo.private and not found.repo.gated
    headers = [
        _TEXT if _is_text(entry.path) else _BINARY,
        (b"etag", f'"{entry.etag}"'.encode()),
        (b"x-repo-commit", found.commit.encode()),
        (b"content-disposition", disposition.encode()),
        _PUBLIC if shared else _PRIVATE,
        *_FIXED,
        *_aged(found),
    ]
    if offer:
        linked = [(b"x-linked-etag", f'"{entry.etag}"'.encode()), (b"x-linked-size", b"%d" % entry.size)]
        headers += [*linked, *offer]
    arriving = request.app.arriving
    mirrored = found.repo.upstream_id is not None
    return Finished(
        200, headers, request.actor.name, blobs=request.app.blobs if entry.here else None, sha256=entry.sha256,
        size=entry.size, etag=f'"{entry.etag}"',
        # What is not here yet will be in a moment: another answer then.
        expires=found.freshness.expires if entry.here else Millis(0),
        arrival=None if entry.here else partial(arriving.arriving, found.repo, found.commit, entry),
        distrusted=partial(arriving.is_distrusted, entry) if mirrored else None,
        used=partial(arriving.used, entry) if mirrored and entry.here else None,
    )  # fmt: skip


def _aged(found: Located) -> Raw:
    """How old the answer is, where upstream could not be asked (RFC 9111 5.1)."""
    age = found.freshness.age
    return [] if age is None else [(b"age", b"%d" % age), (b"warning", b'110 - "Response is Stale"')]


def _is_text(path: str) -> bool:
    """Whether the name promises text. Never a type that a browser would run (HUB 6.2)."""
    name = os.path.basename(path).lower()
    stem, _, suffix = name.rpartition(".")
    return suffix in _TEXT_SUFFIXES if stem else name in _TEXT_NAMES


def refused(error: HubregError, response: Response, user: str) -> Finished:
    """A refusal, to be sent again: clients look for files that are not there at every start (PITFALLS 26)."""
    headers = [header for header in response.raw_headers if header[0] != b"content-length"]
    return Finished(error.status, headers, user, content=bytes(response.body))


async def file(request: Request) -> Response:
    """A file's bytes at a commit; by a branch, a tag or a short id, a redirect to its commit."""
    if (
        xet.wants_file_info(request.headers.get(b"accept"))
        and (info := await _file_info(request)) is not None
    ):
        return info
    finished = await resolved(request)
    return finished.response(request.headers, get=request.method == "GET")


async def _file_info(request: Request) -> Response | None:
    """What the file is, for a client that would fetch it by Xet; None where it is not offered or not asked for by its
    commit."""
    params = request.params
    found = await request.app.content.locate(
        request.actor, request.repo_type, params["repo"], params["revision"], params["path"]
    )
    if not found.exact or found.repo.ref.full != params["repo"]:
        return None
    offered = await request.app.xet.hash(found.entry)
    return xet.file_info(request, found, offered) if offered is not None else None


async def git_blob(request: Request) -> Response:
    """What git holds for a file: its bytes, or the pointer of a large one. No conditions, as on the Hub."""
    repo = await request.repo(Action.READ)
    snapshots = request.app.snapshots
    snapshot = await snapshots.at(repo, request.params["revision"])
    entry = await snapshots.entry(snapshot, request.params["path"])
    headers = [
        _TEXT if _is_text(entry.path) or entry.lfs else _BINARY,
        (b"etag", f'"{entry.oid}"'.encode()),
        (b"x-repo-commit", snapshot.commit.encode()),
        (b"content-disposition", conditional.content_disposition(entry.path).encode()),
        (b"cache-control", b"no-cache"),
        *_FIXED[1:],
    ]
    if entry.lfs:
        return Finished(200, headers, "", content=await snapshots.content(entry)).response({})
    arriving = request.app.arriving
    mirrored = repo.upstream_id is not None
    return Finished(
        200, headers, "", blobs=request.app.blobs if entry.here else None, sha256=entry.sha256, size=entry.size,
        arrival=None if entry.here else partial(arriving.arriving, repo, snapshot.commit, entry),
        used=partial(arriving.used, entry) if mirrored and entry.here else None,
    ).response({}, get=request.method == "GET")  # fmt: skip
