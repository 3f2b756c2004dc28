"""
Xet, as far as a repo's own URLs go: tokens, what `resolve` says of a file that is offered, the way in by LFS (XET 2).

What the tokens are for is `hubreg.api.cas`.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.requests import Request
from hubreg.errors import HubregError
from hubreg.formats import lfs
from hubreg.hub.content import Located
from hubreg.hub.xet_tokens import XetToken
from hubreg.model import Action, XetHash
from hubreg.store.repos import Repo

FILE_INFO = "application/vnd.xet-fileinfo+json"

Raw = list[tuple[bytes, bytes]]


async def read_token(request: Request) -> Response:
    """A token to fetch the files of a repo by Xet."""
    repo = await request.repo(Action.READ)
    await _require_revision(request, repo)
    return _answer(request, request.app.xet.tokens.issue(request.actor, repo))


async def write_token(request: Request) -> Response:
    """A token to send files to a repo by Xet."""
    repo = await request.repo()
    token = request.app.xet.tokens.issue(request.actor, repo, write=True, propose=_is_proposal(request))
    await _require_revision(request, repo)
    return _answer(request, token)


async def _require_revision(request: Request, repo: Repo) -> None:
    """A client that is about to open a pull request knows none, and says `None` (XET 2.1)."""
    if request.params["revision"] != "None":
        await request.app.snapshots.resolve(repo, request.params["revision"])


def _is_proposal(request: Request) -> bool:
    revision = request.params["revision"]
    return revision == "None" or revision.startswith("refs/pr/") or request.flag("create_pr")


def _answer(request: Request, token: XetToken) -> Response:
    """In both forms at once: Python reads the headers, hf_xet and JavaScript the body."""
    headers = _headers(request, token)
    body = {"casUrl": headers["X-Xet-Cas-Url"], "accessToken": token.text, "exp": token.expires}
    return answers.json(request, body, headers={**headers, "Cache-Control": "no-store"})


def _headers(request: Request, token: XetToken) -> dict[str, str]:
    return {
        "X-Xet-Cas-Url": cas_url(request),
        "X-Xet-Access-Token": token.text,
        "X-Xet-Token-Expiration": str(token.expires),
    }


def cas_url(request: Request) -> str:
    return request.url(request.app.xet.tokens.path)


def upload_action(request: Request, repo: Repo, asked: lfs.BatchRequest) -> lfs.Action | None:
    """
    Where a client that speaks Xet is to send large files, if this one does: to a token route, and with the first token
    at once (XET 2.3).
    """
    if lfs.XET not in asked.transfers or asked.operation != "upload":
        return None
    token = request.app.xet.tokens.issue(request.actor, repo, write=True, propose=True)
    revision = asked.ref.name.removeprefix("refs/heads/") if asked.ref is not None else "main"
    path = f"/api/{repo.ref.type.plural}/{quote(repo.ref.full)}/xet-write-token/{quote(revision, safe='')}"
    return lfs.Action(request.url(path) + _proposal(request, repo), header=_headers(request, token))


def _proposal(request: Request, repo: Repo) -> str:
    try:
        request.app.access.require(request.actor, Action.WRITE, repo)
    except HubregError:
        return "?create_pr=1"
    return ""


# what `resolve` says of a file


def offer(request: Request, found: Located, hash_: XetHash) -> Raw:
    """
    The headers that offer a file by Xet. Both links are absolute, or clients would not follow them, or follow them to
    the public Hub (XET 2.5).
    """
    refresh, reconstruction = _urls(request, found, hash_)
    link = f'<{refresh}>; rel="xet-auth", <{reconstruction}>; rel="xet-reconstruction-info"'
    return [
        (b"x-xet-hash", hash_.encode()),
        (b"link", link.encode()),
        (b"x-xet-refresh-route", refresh.encode()),
    ]


def wants_file_info(accept: bytes | None) -> bool:
    """Whether this is the JavaScript client, which asks in this way what a file is."""
    return accept is not None and FILE_INFO.encode() in accept


def file_info(request: Request, found: Located, hash_: XetHash) -> Response:
    """The same as JSON, to whoever asks for it by its media type."""
    refresh, reconstruction = _urls(request, found, hash_)
    etag = f'"{found.entry.etag}"'
    headers = {
        "ETag": etag,
        "X-Linked-ETag": etag,
        "X-Linked-Size": str(found.entry.size),
        "X-Repo-Commit": found.commit,
        "Vary": "Origin, Accept",
        **{name.decode(): value.decode() for name, value in offer(request, found, hash_)},
    }
    body = {
        "hash": hash_,
        "refreshUrl": refresh,
        "reconstructionUrl": reconstruction,
        "etag": etag,
        "size": found.entry.size,
    }
    return answers.json(request, body, headers=headers, media_type=FILE_INFO)


def _urls(request: Request, found: Located, hash_: XetHash) -> tuple[str, str]:
    """Where to get a token, and where the file is put together."""
    ref = found.repo.ref
    refresh = request.url(f"/api/{ref.type.plural}/{quote(ref.full)}/xet-read-token/{found.commit}")
    return refresh, f"{cas_url(request)}/v1/reconstructions/{hash_}"
