"""Commits: the question before one, the commit itself, and what was committed before."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from urllib.parse import quote

from msgspec import UNSET, Struct
from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.bodies import chunks, read_body
from hubreg.api.requests import Request
from hubreg.errors import Invalid
from hubreg.formats import commitlines
from hubreg.formats.commitlines import CommitParser, Line
from hubreg.formats.gitobjects import Change
from hubreg.formats.hubjson import (
    CommitAuthor,
    CommitDone,
    CommitItem,
    Formatted,
    UploadMode,
    UploadModes,
    iso,
)
from hubreg.hub.attributes import Decision
from hubreg.model import Action, CommitId
from hubreg.store.objects import Commit
from hubreg.store.repos import Repo

_PREUPLOAD_BODY = 8 << 20  # bytes: 256 samples, and the rules that a client may send along
_JSON_COMMIT_BODY = 64 << 20  # bytes; the older form comes whole, ndjson is not limited
_PAGE, _MOST = 50, 1000  # commits
_LAST_PAGE = 1 << 31


async def preupload(request: Request) -> Response:
    """How each file of a commit to come is to be sent: inline, or as a large file; and which are to be left out."""
    asked = commitlines.parse_preupload(await read_body(request, _PREUPLOAD_BODY))
    repo = await request.repo()
    commit, decisions = await request.app.commits.preupload(
        request.actor, repo, request.params["revision"], asked, propose=request.flag("create_pr")
    )
    return answers.json(request, UploadModes(files=[_mode(d) for d in decisions], commit_oid=commit))


def _mode(decision: Decision) -> UploadMode:
    return UploadMode(
        path=decision.path,
        upload_mode="lfs" if decision.lfs else "regular",
        should_ignore=decision.ignore,
        oid=decision.oid or UNSET,
    )


async def commit(request: Request) -> Response:
    """Make a commit of the files, deletions and copies that the body lists; with `create_pr` as a pull request."""
    repo = await request.repo()
    done = await request.app.commits.commit(
        request.actor, repo, request.params["revision"], _lines(request), propose=request.flag("create_pr")
    )
    answer = CommitDone(
        success=True,
        commit_oid=done.id,
        commit_url=request.web(repo.ref, "commit", done.id),
        hook_output="",
        pull_request_url=request.web(repo.ref, "discussions", str(done.pull)) if done.pull else UNSET,
    )
    return answers.json(request, answer)


async def _lines(request: Request) -> AsyncIterator[Line]:
    """What the body says, as it arrives; a JSON body, the form of old, when it is whole."""
    limit = request.app.config.regular_max
    media_type = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        for line in commitlines.parse_commit_json(await read_body(request, _JSON_COMMIT_BODY), limit):
            yield line
        return
    parser = CommitParser(limit)
    async for chunk in chunks(request):
        for line in parser.feed(chunk):
            yield line
    for line in parser.close():
        yield line


async def history(request: Request) -> Response:
    """The commits that lead to a revision, newest first, in pages."""
    repo = await request.repo(Action.READ)
    limit = request.number("limit", _PAGE, least=1, most=_MOST)
    page = request.number("p", 0, most=_LAST_PAGE)
    found, count = await request.app.history.commits(
        request.actor, repo, request.params["revision"], page * limit, limit
    )
    formatted = "formatted" in request.values("expand")
    age = request.app.mirror.age(repo, request.params["revision"])
    headers = {"X-Total-Count": str(count), **answers.aged(age)}
    if (page + 1) * limit < count:
        # At the commit that this page began from, so that a push in between moves no commit to another page.
        start = await request.app.snapshots.resolve(repo, request.params["revision"])
        path = f"/api/{request.repo_type.plural}/{quote(repo.ref.full)}/commits/{start}"
        headers["Link"] = request.next_page(path, p=page + 1, limit=limit)
    return answers.json(request, [_item(row, formatted=formatted) for row in found], headers=headers)


def _item(row: Commit, *, formatted: bool) -> CommitItem:
    shown = Formatted(title=html.escape(row.title), message=html.escape(row.message))
    return CommitItem(
        id=row.id,
        title=row.title,
        message=row.message,
        authors=[CommitAuthor(user=row.author, avatar="")],
        date=iso(row.at),
        formatted=shown if formatted else UNSET,
    )


async def shown(request: Request) -> Response:
    """A commit as text, who, when, why and what: where the URL leads that a commit is answered with."""
    repo = await request.repo(Action.READ)
    row, diff = await request.app.history.commit(request.actor, repo, request.params["revision"])
    message = f"{row.title}\n\n{row.message}".strip().replace("\n", "\n    ")
    head = f"commit {row.id}\nAuthor: {row.author}\nDate:   {iso(row.at)}\n\n    {message}\n\n"
    return answers.text(head + (diff or "(too much to show)\n"))


async def comparison(request: Request) -> Response:
    """The files that differ between two revisions, `a..b`; with `raw` as a diff."""
    base, dots, head = request.params["range"].partition("..")
    if not dots or not base or not head.lstrip("."):
        raise Invalid("Two revisions are compared as base..head.")
    repo = await request.repo(Action.READ)
    history, head = request.app.history, head.lstrip(".")
    if request.flag("raw"):
        return answers.text(await history.compare_text(request.actor, repo, base, head))
    found = await history.compare(request.actor, repo, base, head)
    return answers.json(
        request,
        {"base": found.base, "head": found.head, "files": [_changed(change) for change in found.changes]},
    )


def _changed(change: Change) -> dict[str, object]:
    kind = "added" if change.old is None else "deleted" if change.new is None else "modified"
    sides = {
        "oldOid": change.old.oid if change.old else None,
        "newOid": change.new.oid if change.new else None,
    }
    return {"path": change.path, "type": kind, **{name: oid for name, oid in sides.items() if oid}}


class _Squash(Struct):
    message: str = ""


async def squash(request: Request) -> Response:
    """Replace the history of a branch or pull request by one commit with the same files."""
    asked = await request.json(_Squash)
    repo = await request.repo()
    made = await request.app.commits.squash(request.actor, repo, request.params["revision"], asked.message)
    return answers.json(request, {"commitId": made})


class _Revert(Struct):
    commit: str
    summary: str | None = None


async def revert(request: Request) -> Response:
    """Undo one commit of a branch by another on top of it."""
    asked = await request.json(_Revert)
    repo = await request.repo()
    made = await request.app.commits.revert(
        request.actor, repo, request.params["revision"], asked.commit, asked.summary
    )
    return _made(request, repo, made)


def _made(request: Request, repo: Repo, made: CommitId) -> Response:
    url = request.web(repo.ref, "commit", made)
    return answers.json(request, CommitDone(success=True, commit_oid=made, commit_url=url))
