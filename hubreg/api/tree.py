"""Listings of a repo's files: a folder in pages, or the paths that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from msgspec import UNSET, Struct
from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.requests import Rendered, Request, flag, parse_cursor, render_cursor
from hubreg.errors import EntryNotFound, Invalid
from hubreg.formats import hubjson
from hubreg.formats.hubjson import LastCommit, TreeItem, iso
from hubreg.hub.snapshots import Snapshot
from hubreg.model import Action, Entry

_PAGE, _PAGE_EXPANDED = 1000, 50  # entries, as the Hub's (HUB 5.3)
_MOST_PATHS = 2000
_PATHS_BODY = 8 << 20  # bytes: 2 000 paths of 1 000 characters, encoded


@dataclass(frozen=True, slots=True)
class _Asked:
    folder: str
    recursive: bool
    expand: bool
    after: str
    limit: int


async def tree(request: Request) -> Response:
    """The entries of a folder at a revision, in pages; `recursive` goes into its folders."""
    expand = request.flag("expand")
    most = _PAGE_EXPANDED if expand else _PAGE
    asked = _Asked(
        folder=request.params.get("path", "").strip("/"),
        recursive=request.flag("recursive"),
        expand=expand,
        after=parse_cursor(request.text("cursor")),
        limit=request.number("limit", most, least=1, most=most),
    )
    repo = await request.repo(Action.READ)
    snapshot = await request.app.snapshots.at(repo, request.params["revision"])
    key = ("tree", repo.id, snapshot.commit, asked)
    for_now = (key, request.app.db.version())
    page = request.kept.get(key) or request.kept.get(for_now)
    if page is None:
        page, final = await _page(request, snapshot, asked)
        request.kept.put(key if final else for_now, page)
    headers = answers.aged(request.app.mirror.age(repo, request.params["revision"]))
    if page.cursor:
        headers["Link"] = _next(request, snapshot, asked, page.cursor)
    return answers.rendered(request, page, headers=headers)


async def _page(request: Request, snapshot: Snapshot, asked: _Asked) -> tuple[Rendered, bool]:
    """A page, and whether it will always be like this: a large file may come to be offered by Xet."""
    try:
        entries, cursor = await request.app.snapshots.page(
            snapshot, asked.folder, recursive=asked.recursive, after=asked.after, limit=asked.limit
        )
    except EntryNotFound as error:
        # The Hub's words name the revision as it was asked for, which only this layer knows (HUB 4.2).
        message = f'{asked.folder} does not exist on "{request.params["revision"]}"'
        raise EntryNotFound(message, headers=error.headers) from error
    items = await _items(request, snapshot, entries, expand=asked.expand)
    final = not any(item.lfs is not UNSET and item.size and item.xet_hash is UNSET for item in items)
    return answers.render(items, cursor or ""), final


def _next(request: Request, snapshot: Snapshot, asked: _Asked, cursor: str) -> str:
    """The next page, at the commit of this one: a push in between shall not mix two versions in one listing."""
    path = f"/api/{request.repo_type.plural}/{quote(snapshot.repo.ref.full)}/tree/{snapshot.commit}"
    if asked.folder:
        path += f"/{quote(asked.folder)}"
    return request.next_page(path, limit=asked.limit, cursor=render_cursor(cursor))


async def _items(
    request: Request, snapshot: Snapshot, entries: Sequence[Entry], *, expand: bool
) -> list[TreeItem]:
    offered = list(zip(entries, await request.app.xet.hashes(entries), strict=True))
    if not expand:
        return [hubjson.tree_item(entry, xet_hash=hash_) for entry, hash_ in offered]
    commits = await request.app.snapshots.last_commits(snapshot, entries)
    last = {
        path: LastCommit(id=commit.id, title=commit.title, date=iso(commit.at))
        for path, commit in commits.items()
    }
    return [
        hubjson.tree_item(entry, last.get(entry.path), xet_hash=hash_, expand=True)
        for entry, hash_ in offered
    ]


class _Paths(Struct):
    paths: list[str] | str = []
    expand: bool = False


async def paths_info(request: Request) -> Response:
    """Those of up to 2 000 paths that exist at a revision; asked as a form or as JSON."""
    if request.is_form:
        form = await request.form(_PATHS_BODY)
        paths, expand = form.get("paths", []), flag(form.get("expand", [""])[-1], "expand")
    else:
        asked = await request.json(_Paths, _PATHS_BODY)
        paths, expand = [asked.paths] if isinstance(asked.paths, str) else asked.paths, asked.expand
    if len(paths) > _MOST_PATHS:
        raise Invalid(f"There may be {_MOST_PATHS} paths, not {len(paths)}.")
    repo = await request.repo(Action.READ)
    snapshot = await request.app.snapshots.at(repo, request.params["revision"])
    entries = await request.app.snapshots.entries(snapshot, paths)
    headers = answers.aged(request.app.mirror.age(repo, request.params["revision"]))
    return answers.json(request, await _items(request, snapshot, entries, expand=expand), headers=headers)
