"""Repos: what is known of them, lists of them, and how they are made, renamed, set up and removed."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType
from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.bodies import threaded
from hubreg.api.requests import Request, parse_cursor, render_cursor
from hubreg.errors import Invalid, Unsupported
from hubreg.formats import hubjson, names
from hubreg.formats.commitlines import FileLine
from hubreg.formats.hubjson import RepoInfo, Sibling, iso
from hubreg.model import Action, CommitId, Entry, RepoType
from hubreg.store.repos import Repo, Search

_PAGE, _PAGE_WITH_FILES = 1000, 100  # rows
_PAGE_BYTES = 4 << 20  # of a page: where files make it so large, it ends before it has all its rows
_MANY = 1000  # files of a repo: from here on making its JSON takes longer than a thread costs
_CREATE_BODY = 16 << 20  # bytes: JavaScript clients send the first files along
_NULL = Raw(b"null")
_NOT_RUN = Raw(
    b'{"stage":"PAUSED","hardware":{"current":null,"requested":null},"storage":null,"gcTimeout":null,'
    b'"replicas":{"requested":0,"current":0}}'
)
_NOT_SCANNED = Raw(b'{"scansDone":false,"filesWithIssues":[]}')

_SORTS = {
    "createdAt": "created_at",
    "lastModified": "modified_at",
    "likes": "likes",
    "likes30d": "likes",
    "trendingScore": "likes",
    "downloads": "downloads",
    "id": "id",
    "": "modified_at",
}
_UNKNOWN_SORTS = ("num_parameters", "mainSize")  # which the Hub knows (HUB 5.2)
_UNKNOWN_FACTS = (
    "apps",
    "num_parameters",
    "datasets",
    "models",
    "linked",
)  # filters on what hubreg does not know

# What rows of a list show beside the ids, and with `full` (HUB 5.2).
_ROW = {
    RepoType.MODEL: "modelId likes trendingScore private downloads tags pipeline_tag library_name createdAt".split(),
    RepoType.DATASET: "author disabled gated lastModified likes private sha downloads tags createdAt".split(),
    RepoType.SPACE: "likes trendingScore private sdk tags createdAt".split(),
}
_FULL = "author sha lastModified gated disabled siblings".split()


# one repo


async def info(request: Request) -> Response:
    """What is known of a repo, and which files it holds at a revision."""
    expand = request.values("expand")
    hubjson.check_expand(request.repo_type, expand)
    repo = await request.repo()
    commit = await request.app.snapshots.resolve(repo, request.params.get("revision"))
    # Tags are read off the files of `main`: with the same row they are the same.
    key = ("info", repo, commit, tuple(expand), request.flag("blobs"), request.flag("securityStatus"))
    made = request.kept.get(key)
    if made is None:
        made = answers.made(await _described(request, repo, commit, expand))
        request.kept.put(key, made)
    age = request.app.mirror.age(repo, request.params.get("revision"))
    return answers.rendered(request, made, headers=answers.aged(age))


async def _described(request: Request, repo: Repo, commit: CommitId, expand: Sequence[str]) -> bytes:
    keys = expand or hubjson.default_keys(request.repo_type)
    tags = (await request.app.repos.tags([repo]))[repo.id]
    files = await _files(request, repo, keys, commit)
    return await _row(request, repo, tags, keys, commit, files)


async def _files(request: Request, repo: Repo, keys: Sequence[str], commit: CommitId) -> list[Entry] | None:
    if "siblings" not in keys:
        return None
    return await request.app.snapshots.files(await request.app.snapshots.of(repo, commit))


async def _row(
    request: Request,
    repo: Repo,
    tags: list[str],
    keys: Sequence[str],
    sha: str,
    files: list[Entry] | None,
) -> bytes:
    """A repo as JSON. That of many files takes a thread, so that other requests go on meanwhile."""
    security, blobs = request.flag("securityStatus"), request.flag("blobs")

    def made() -> bytes:
        listed = UNSET if files is None else [hubjson.sibling(entry, blobs=blobs) for entry in files]
        found = _info(repo, tags, sha=sha, files=listed, security=security)
        return hubjson.encode(hubjson.chosen(found, keys))

    return await threaded(made) if files is not None and len(files) > _MANY else made()


def _info(
    repo: Repo, tags: list[str], *, sha: str, files: list[Sibling] | UnsetType = UNSET, security: bool = False
) -> RepoInfo:
    """Everything that is known of a repo; what is sent of it is chosen by key."""
    ref, is_space = repo.ref, repo.ref.type is RepoType.SPACE
    gated: Literal[False, "auto", "manual"] = (
        "auto" if repo.gated == "auto" else bool(repo.gated) and "manual"
    )
    return RepoInfo(
        public_id=repo.public_id,
        id=ref.full,
        model_id=ref.full,
        author=ref.namespace,
        sha=sha,
        last_modified=iso(repo.modified_at),
        private=repo.private,
        gated=gated,
        disabled=repo.disabled,
        downloads=repo.downloads,
        downloads_all_time=repo.downloads,
        likes=repo.likes,
        trending_score=0,
        tags=tags,
        pipeline_tag=repo.pipeline_tag or UNSET,
        library_name=repo.library or UNSET,
        sdk=repo.sdk or UNSET,
        subdomain=re.sub("[^a-z0-9]+", "-", ref.full.lower()) if is_space else UNSET,
        runtime=_NOT_RUN,
        models=[],
        datasets=[],
        model_index=_NULL,
        config=Raw(repo.config.encode()),
        card_data=Raw(repo.card.encode()),
        siblings=files,
        spaces=[],
        created_at=iso(repo.created_at),
        used_storage=repo.storage,
        xet_enabled=True,
        security_repo_status=_NOT_SCANNED if security else UNSET,
    )


async def may_read(request: Request) -> Response:
    """Whether the caller may read a repo's files: 200, or the refusal."""
    await request.repo(Action.READ)
    return answers.done(request)


async def may_write(request: Request) -> Response:
    """Whether the caller may write to a repo: 200, or the refusal."""
    await request.repo(Action.WRITE)
    return answers.done(request)


# lists


async def page(request: Request) -> Response:
    """Repos that the caller may know of: searched, filtered, sorted, in pages."""
    expand = request.values("expand")
    hubjson.check_expand(request.repo_type, expand)
    keys = expand or _row_keys(request)
    limit = request.number("limit", 500, least=1, most=_PAGE_WITH_FILES if "siblings" in keys else _PAGE)
    if request.text("inference") or request.text("inference_provider"):
        return answers.json(request, [])  # nothing runs here
    wanted = _search(request, limit)
    found = await request.app.repos.search(request.actor, wanted)
    more, found = len(found) > limit, found[:limit]
    tags = await request.app.repos.tags(found)
    rows: list[bytes] = []
    for repo in found:
        files = await _files(request, repo, keys, repo.head)
        rows.append(await _row(request, repo, tags[repo.id], keys, repo.head, files))
        if sum(map(len, rows)) >= _PAGE_BYTES:
            break
    path = f"/api/{request.repo_type.plural}"
    more = more or len(rows) < len(found)
    link = request.next_page(path, cursor=_cursor(found[len(rows) - 1], wanted.sort)) if more else None
    made = answers.made(b"[" + b",".join(rows) + b"]")
    return answers.rendered(request, made, headers={"Link": link} if link else None)


def _row_keys(request: Request) -> list[str]:
    keys = list(_ROW[request.repo_type])
    if request.flag("full"):
        keys += _FULL
    keys += [name for name in ("cardData", "config") if request.flag(name)]
    return keys


def _search(request: Request, limit: int) -> Search:
    for name in _UNKNOWN_FACTS:
        if request.text(name):
            raise Unsupported(f'hubreg cannot filter by "{name}".')
    sort = request.text("sort")
    if sort in _UNKNOWN_SORTS:
        raise Unsupported(f'hubreg cannot sort by "{sort}".')
    if sort not in _SORTS:
        raise Invalid(f'"sort" must be one of [{", ".join(filter(None, _SORTS))}]')
    gated = request.text("gated")
    author = request.text("author")
    tags = [*request.values("filter"), *request.values("pipeline_tag"), *request.values("library")]
    return Search(
        type=request.repo_type,
        author=names.key(author) if author else None,
        words=tuple(word for text in request.values("search") for word in text.split()),
        tags=tuple(tag for text in tags for tag in text.split(",") if tag),
        gated=request.flag("gated") if gated else None,
        sort=_SORTS[sort],
        ascending=request.text("direction") == "1",
        after=_place(request.text("cursor")),
        limit=limit + 1,
    )


def _cursor(last: Repo, sort: str) -> str:
    return render_cursor(f"{getattr(last, sort)}:{last.id}")


def _place(cursor: str) -> tuple[int, int] | None:
    """The sort value and the row that a page ended with."""
    if not cursor:
        return None
    match = re.fullmatch("([0-9]{1,18}):([0-9]{1,18})", parse_cursor(cursor), re.ASCII)
    if match is None:
        raise Invalid("The cursor is not one of this server's.")
    return int(match[1]), int(match[2])


# making and changing


class _File(Struct):
    path: str
    content: str
    encoding: str = "utf-8"


class _Create(Struct):
    name: str
    organization: str | None = None
    type: RepoType | None = None
    visibility: str | None = None
    private: bool | None = None
    sdk: str | None = None
    license: str | None = None
    files: list[_File] = []


async def create(request: Request) -> Response:
    """Make a repo; a name that is taken answers 409 with the repo's URL."""
    asked = await request.json(_Create, _CREATE_BODY)
    namespace, _, name = asked.name.rpartition("/")
    repo = await request.app.repos.create(
        request.actor,
        asked.type or RepoType.MODEL,
        asked.organization or namespace or None,
        name,
        private=_private(asked.visibility, asked.private),
        sdk=asked.sdk or "",
        files=[FileLine(file.path, _content(file)) for file in asked.files],
        license_=asked.license or "",
    )
    return answers.json(request, {"url": request.web(repo.ref), "name": repo.ref.full, "id": repo.public_id})


def _content(file: _File) -> bytes:
    if file.encoding != "base64":
        return file.content.encode()
    try:
        return b64decode(file.content, validate=True)
    except ValueError as error:
        raise Invalid(f"The content of {file.path} is not base64.") from error


def _private(visibility: str | None, private: bool | None) -> bool | None:
    """`visibility` is what current clients send, `private` what those before 1.8 did (CLIENT_API 8)."""
    if visibility is None:
        return private
    if visibility not in ("public", "private"):
        raise Invalid('"visibility" must be one of [public, private]')
    return visibility == "private"


class _Named(Struct):
    name: str
    organization: str | None = None
    type: RepoType | None = None


async def delete(request: Request) -> Response:
    """Remove a repo."""
    asked = await request.json(_Named)
    name = asked.name if "/" in asked.name else f"{asked.organization or request.actor.name}/{asked.name}"
    repo = await request.app.repos.find(request.actor, asked.type or RepoType.MODEL, name)
    await request.app.repos.delete(request.actor, repo)
    return answers.done(request)


class _Move(Struct, rename="camel"):
    from_repo: str
    to_repo: str
    type: RepoType | None = None


async def move(request: Request) -> Response:
    """Give a repo another name or owner; the old name leads to it still."""
    asked = await request.json(_Move)
    repo = await request.app.repos.find(request.actor, asked.type or RepoType.MODEL, asked.from_repo)
    moved = await request.app.repos.move(request.actor, repo, asked.to_repo)
    return answers.json(request, {"url": request.web(moved.ref), "name": moved.ref.full})


class _Settings(Struct):
    """Other settings of the Hub are taken and have no effect: clients send them with those that do."""

    visibility: str | None = None
    private: bool | None = None
    gated: Literal["auto", "manual"] | bool | None = None


async def settings(request: Request) -> Response:
    """Change who may see a repo and who may read its files."""
    asked = await request.json(_Settings)
    if asked.gated is True:
        raise Invalid('"gated" must be one of [false, "auto", "manual"]')
    repo = await request.repo()
    changed = await request.app.repos.set_settings(
        request.actor,
        repo,
        private=_private(asked.visibility, asked.private),
        gated=None if asked.gated is None else asked.gated or "",
    )
    shown = {"private": changed.private, "gated": changed.gated or False}
    return answers.json(request, {**shown, "visibility": "private" if changed.private else "public"})


class _Duplicate(Struct):
    repository: str
    visibility: str | None = None
    private: bool | None = None


async def duplicate(request: Request) -> Response:
    """Make a repo with the history and files of another."""
    asked = await request.json(_Duplicate)
    repo = await request.repo(Action.READ)
    private = _private(asked.visibility, asked.private)
    copy = await request.app.repos.duplicate(request.actor, repo, asked.repository, private=private)
    return answers.json(request, {"url": request.web(copy.ref), "filesCopyPending": False})
