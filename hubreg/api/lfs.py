"""Large files: the LFS protocol, and the signed URLs that it hands out."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from msgspec import UNSET, Struct
from starlette.responses import Response

from hubreg.api import answers, xet
from hubreg.api.bodies import read_body, spool
from hubreg.api.requests import Request
from hubreg.api.resolve import Finished
from hubreg.errors import NotFound
from hubreg.formats import lfs
from hubreg.formats.hubjson import LargeFile, iso
from hubreg.hub.uploads import Incoming
from hubreg.model import Action, RepoType, Sha256
from hubreg.store.objects import Large

_BODY = 4 << 20  # bytes: a batch of 1 000 objects, or 10 000 parts with their ETags
_MOST = 1000  # rows of the inventory
_HEADERS = [
    (b"content-type", b"application/octet-stream"),
    (b"accept-ranges", b"bytes"),
    (b"cache-control", b"private, no-store"),
    (b"x-content-type-options", b"nosniff"),
]


async def batch(request: Request) -> Response:
    """Where to send large files that the repo does not hold yet, or where to fetch those that it does."""
    asked = lfs.parse_batch(await read_body(request, _BODY))
    repo = await request.repo()
    if repo.upstream_id is not None:
        await request.app.snapshots.resolve(repo, None)  # what no revision names is let out as `main` is
    action = xet.upload_action(request, repo, asked)
    answer = await request.app.uploads.batch(request.actor, repo, asked, base=request.place.base, xet=action)
    return answers.json(request, answer, media_type=lfs.MEDIA_TYPE)


async def verify(request: Request) -> Response:
    """Whether the repo holds a file that was sent."""
    asked = lfs.parse_verify(await read_body(request, _BODY))
    repo = await request.repo()
    await request.app.uploads.verify(request.actor, repo, asked.sha256, asked.size)
    return answers.json(request, {}, media_type=lfs.MEDIA_TYPE)


async def locks(request: Request) -> Response:
    """There are no locks: git-lfs goes on without when it is told so by a 404."""
    raise NotFound("hubreg does not lock files.")


# what the signed URLs lead to; they carry their own authority, so nobody is asked who they are


async def put(request: Request) -> Response:
    """A large file in one body."""
    params = request.params
    async with request.app.uploads.receive(params["repo_id"], params["sha256"], _signed(request)) as incoming:
        return await _take(request, incoming)


async def put_part(request: Request) -> Response:
    """One part of a large file; may be sent again."""
    params = request.params
    receiving = request.app.uploads.receive_part(
        params["repo_id"], params["sha256"], params["upload"], params["number"], _signed(request)
    )
    async with receiving as incoming:
        return await _take(request, incoming)


async def _take(request: Request, incoming: Incoming) -> Response:
    await spool(request, incoming, expected=incoming.size)
    return answers.json(request, {}, headers={"ETag": await incoming.finish()})


async def complete(request: Request) -> Response:
    """Put the parts of a large file together."""
    asked = lfs.parse_completion(await read_body(request, _BODY))
    params = request.params
    await request.app.uploads.complete(
        params["repo_id"], params["sha256"], params["upload"], _signed(request), asked
    )
    return answers.done(request)


async def download(request: Request) -> Response:
    """A large file's bytes."""
    params = request.params
    size = await request.app.uploads.download(params["repo_id"], params["sha256"], _signed(request))
    sha256, etag = Sha256(params["sha256"]), f'"{params["sha256"]}"'
    found = Finished(
        200,
        [*_HEADERS, (b"etag", etag.encode())],
        "",
        blobs=request.app.blobs,
        sha256=sha256,
        size=size,
        etag=etag,
    )
    return found.response(request.headers, get=request.method == "GET")


def _signed(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in request.query.items()}


# the rest


class _Target(Struct):
    name: str
    type: RepoType = RepoType.MODEL


class _File(Struct):
    sha256: str


class _Duplicate(Struct):
    target: _Target
    files: list[_File]


async def duplicate(request: Request) -> Response:
    """Let another repo hold large files of this one, without their bytes being sent."""
    asked = await request.json(_Duplicate)
    source = await request.repo()
    target = await request.app.repos.find(request.actor, asked.target.type, asked.target.name)
    failed = await request.app.uploads.duplicate(
        request.actor, source, target, [file.sha256 for file in asked.files]
    )
    return answers.json(
        request, {"failed": [{"sha256": refusal.sha256, "error": refusal.error} for refusal in failed]}
    )


async def inventory(request: Request) -> Response:
    """The large files that a repo holds."""
    repo = await request.repo(Action.READ)
    limit = request.number("limit", _MOST, least=1, most=_MOST)
    found = await request.app.uploads.files(request.actor, repo, request.text("cursor"), limit + 1)
    more, found = len(found) > limit, found[:limit]
    path = f"/api/{request.repo_type.plural}/{quote(repo.ref.full)}/lfs-files"
    headers = {"Link": request.next_page(path, limit=limit, cursor=found[-1].sha256)} if more else None
    files = await request.app.snapshots.files(await request.app.snapshots.at(repo, None))
    paths = {entry.sha256: entry.path for entry in files if entry.lfs}
    return answers.json(request, [_large(row, paths) for row in found], headers=headers)


def _large(row: Large, paths: Mapping[Sha256 | None, str]) -> LargeFile:
    """By its path in `main`; one that `main` does not have is called by its sha256, for clients want some name."""
    path = paths.get(row.sha256)
    return LargeFile(
        file_oid=row.sha256,
        filename=path or row.sha256,
        oid=row.sha256,
        pushed_at=iso(row.created_at),
        ref="refs/heads/main" if path else UNSET,
        size=row.size,
    )
