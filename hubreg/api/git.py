"""
Git's smart HTTP protocol (gitprotocol-http): refs, fetches and pushes, at a repo's address with or without `.git`.

The answers are git's own, and are never kept by a cache. A refusal is plain text: that is what git shows of one.
"""

from __future__ import annotations

import zlib

from starlette.responses import Response, StreamingResponse

from hubreg.api.bodies import read_body, spool, threaded
from hubreg.api.requests import Request
from hubreg.errors import Invalid, InvalidCredentials, Refused, TooLarge
from hubreg.formats import gitwire
from hubreg.formats.gitwire import RECEIVE, UPLOAD, LsRefs
from hubreg.hub.pushes import LARGEST
from hubreg.hub.received import Received
from hubreg.identity.access import require_user
from hubreg.identity.credentials import token_of
from hubreg.model import Action

_BODY = 8 << 20  # bytes: the wants and haves of 150 000 commits
_NOT_WHOLE = "The body is not one whole gzip stream."
_UNCACHED = {
    "Cache-Control": "no-cache, max-age=0, must-revalidate",
    "Expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "Pragma": "no-cache",
}


async def refs(request: Request) -> Response:
    """Git's refs and what it may ask for (`info/refs`): where every clone, fetch and push begins."""
    service = request.text("service")
    if service not in (UPLOAD, RECEIVE):
        raise Refused("hubreg speaks git's smart protocol only: use git 1.6.6 or newer.")
    if service == RECEIVE:
        _require_writer(request)
    repo = await request.repo(Action.PROPOSE if service == RECEIVE else Action.READ)
    if service == UPLOAD and _is_version_2(request):
        body = gitwire.render_capabilities()
    else:
        body = await request.app.git.advertise(request.actor, repo, service)
    return Response(body, headers=_UNCACHED, media_type=f"application/x-{service}-advertisement")


async def fetch(request: Request) -> Response:
    """Objects that a git client lacks (`git-upload-pack`), in a pack."""
    repo = await request.repo(Action.READ)
    body = _inflated(request, await read_body(request, _BODY))
    asked = await threaded(gitwire.parse_command if _is_version_2(request) else gitwire.parse_fetch, body)
    media_type = f"application/x-{UPLOAD}-result"
    if asked is None:
        return Response(b"", headers=_UNCACHED, media_type=media_type)
    if isinstance(asked, LsRefs):
        listed = await request.app.git.list_refs(request.actor, repo, asked)
        return Response(listed, headers=_UNCACHED, media_type=media_type)
    answer = await request.app.git.fetch(request.actor, repo, asked)
    return StreamingResponse(answer, headers=_UNCACHED, media_type=media_type)


async def push(request: Request) -> Response:
    """Commits, branches and tags from a git client (`git-receive-pack`)."""
    repo = await request.repo(Action.PROPOSE)
    async with request.app.pushes.receiving() as received:
        if _is_compressed(request):
            inflating = _Inflating(received)
            # What is sent is bounded too: gzip's headers and empty blocks are bytes that make none.
            await spool(request, inflating, limit=LARGEST)
            inflating.close()
        else:
            await spool(request, received)
        report = await request.app.pushes.push(request.actor, repo, received)
    return Response(report, headers=_UNCACHED, media_type=f"application/x-{RECEIVE}-result")


def _require_writer(request: Request) -> None:
    """git asks for a user name and a password, so people give theirs: the Hub's words for that (HUB 8.5)."""
    if request.actor.invalid_token and not token_of(request.header(b"authorization") or "").startswith("hf_"):
        raise InvalidCredentials(
            "Password authentication in git is no longer supported. You must use a user access token instead."
        )
    require_user(request.actor, write=True)


def _is_version_2(request: Request) -> bool:
    return "version=2" in (request.header(b"git-protocol") or "").split(":")


def _is_compressed(request: Request) -> bool:
    encoding = request.header(b"content-encoding") or "identity"
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise Invalid(f"hubreg does not know the content encoding {encoding!r}.")
    return encoding != "identity"


def _inflated(request: Request, body: bytes) -> bytes:
    """git compresses requests of more than 1 kB."""
    if not _is_compressed(request):
        return body
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        inflated = stream.decompress(body, _BODY + 1)
    except zlib.error as error:
        raise Invalid("The body is not gzip.") from error
    if len(inflated) > _BODY:
        raise TooLarge(f"The request body is larger than {_BODY} bytes.")
    if not _is_whole(stream):
        raise Invalid(_NOT_WHOLE)
    return inflated


def _is_whole(stream: zlib._Decompress) -> bool:
    """Whether it has ended, and was all there is."""
    return stream.eof and not stream.unused_data


class _Inflating:
    """
    A sink for a compressed push. What it makes is bounded by the sink behind it; what comes behind the stream makes
    nothing, so nothing may. `close` it: raises `Invalid` for a stream that was cut off.
    """

    def __init__(self, received: Received) -> None:
        self._received, self._stream = received, zlib.decompressobj(zlib.MAX_WBITS | 16)

    def write(self, data: bytes | memoryview) -> None:
        waiting = bytes(data)
        try:
            while waiting:
                if self._stream.eof:
                    raise Invalid(_NOT_WHOLE)
                self._received.write(self._stream.decompress(waiting, 1 << 20))
                waiting = self._stream.unconsumed_tail
        except zlib.error as error:
            raise Invalid("The body is not gzip.") from error

    def close(self) -> None:
        if not _is_whole(self._stream):
            raise Invalid(_NOT_WHOLE)
