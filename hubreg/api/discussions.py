"""Discussions and pull requests."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.requests import Request
from hubreg.formats import hubjson
from hubreg.formats.hubjson import DiscussionAuthor, DiscussionItem, PullChanges, RepoName, RepoOwner, iso
from hubreg.hub.discussions import Detail, Event, Thread
from hubreg.model import Action
from hubreg.store.repos import Repo

_BODY = 1 << 20  # bytes
_LAST_PAGE = 1_000_000


async def page(request: Request) -> Response:
    """Discussions and pull requests, newest first, 50 a page (`p`)."""
    repo = await request.repo(Action.READ)
    found = await request.app.discussions.page(
        request.actor, repo, request.number("p", 0, most=_LAST_PAGE),
        type_=request.text("type") or "all", status=request.text("status") or "all",
        author=request.text("author") or None,
    )  # fmt: skip
    shown = hubjson.DiscussionPage(
        discussions=[_item(request, repo, thread) for thread in found.threads],
        count=found.count,
        start=found.start,
        num_closed_discussions=found.closed,
    )
    return answers.json(request, shown)


def _item(request: Request, repo: Repo, thread: Thread) -> DiscussionItem:
    row, me = thread.row, request.actor.name
    return DiscussionItem(
        num=row.num,
        author=_author(thread.author),
        repo=RepoName(name=repo.ref.full, type=repo.ref.type.value),
        title=row.title,
        status=row.status,
        created_at=iso(row.created_at),
        is_pull_request=row.pull,
        num_comments=thread.comments,
        top_reactions=[],
        num_reaction_users=0,
        pinned=False,
        repo_owner=RepoOwner(
            name=repo.ref.namespace,
            type=repo.namespace_kind,
            is_participating=False,
            is_discussion_author=bool(me) and thread.author == me,
        ),
    )


def _author(name: str) -> DiscussionAuthor | UnsetType:
    """Absent where the account is gone: clients then say "deleted"."""
    return DiscussionAuthor(name=name, type="user") if name else UNSET


async def detail(request: Request) -> Response:
    """One discussion and all that happened in it; with `diff` what a pull request changes."""
    repo = await request.repo(Action.READ)
    found = await request.app.discussions.detail(
        request.actor, repo, _number(request), diff=request.flag("diff")
    )
    return answers.json(request, _detail(repo, found))


def _detail(repo: Repo, found: Detail) -> hubjson.DiscussionDetail:
    row = found.thread.row
    changes = PullChanges(base=row.base, merge_commit_id=row.merged or UNSET) if row.pull else UNSET
    return hubjson.DiscussionDetail(
        num=row.num,
        author=_author(found.thread.author),
        repo=RepoName(name=repo.ref.full, type=repo.ref.type.value),
        title=row.title,
        status=row.status,
        created_at=iso(row.created_at),
        is_pull_request=row.pull,
        pinned=False,
        locked=False,
        events=[_event(event) for event in found.events],
        changes=changes,
        files_with_conflicts=found.conflicts if row.pull else UNSET,
        diff=UNSET if found.diff is None else found.diff,
    )


def _event(event: Event) -> hubjson.DiscussionEvent:
    return hubjson.DiscussionEvent(
        id=event.id,
        author=_author(event.author),
        created_at=iso(event.at),
        type=event.kind,
        data=dict(event.data),
    )


def _number(request: Request) -> int:
    return int(request.params["num"])


class _New(Struct, rename="camel"):
    title: str
    description: str | None = None
    pull_request: bool = False


async def create(request: Request) -> Response:
    """Begin a discussion, or with `pullRequest` a pull request without changes."""
    asked = await request.json(_New, _BODY)
    repo = await request.repo()
    num = await request.app.discussions.open(
        request.actor, repo, asked.title, asked.description or "", pull=asked.pull_request
    )
    url = request.web(repo.ref, "discussions", str(num))
    return answers.json(request, {"num": num, "pullRequest": asked.pull_request, "url": url})


class _Comment(Struct):
    comment: str


async def comment(request: Request) -> Response:
    """Say something in a discussion."""
    asked = await request.json(_Comment, _BODY)
    repo = await request.repo()
    event = await request.app.discussions.comment(request.actor, repo, _number(request), asked.comment)
    return answers.json(request, {"newMessage": _event(event)})


class _Title(Struct):
    title: str


async def title(request: Request) -> Response:
    """Rename a discussion."""
    asked = await request.json(_Title)
    repo = await request.repo()
    event = await request.app.discussions.set_title(request.actor, repo, _number(request), asked.title)
    return answers.json(request, {"newTitle": _event(event)})


class _Status(Struct):
    status: str
    comment: str | None = None


async def status(request: Request) -> Response:
    """Open or close a discussion."""
    asked = await request.json(_Status, _BODY)
    repo = await request.repo()
    event = await request.app.discussions.set_status(
        request.actor, repo, _number(request), asked.status, asked.comment or ""
    )
    return answers.json(request, {"newStatus": _event(event)})


class _Merge(Struct):
    comment: str | None = None


async def merge(request: Request) -> Response:
    """Make a pull request's changes part of its branch."""
    asked = await request.json(_Merge, _BODY)
    repo = await request.repo()
    event = await request.app.discussions.merge(request.actor, repo, _number(request), asked.comment or "")
    return answers.json(request, {"newStatus": _event(event)})


class _Edit(Struct):
    content: str


async def edit(request: Request) -> Response:
    """Put a comment of one's own in other words."""
    asked = await request.json(_Edit, _BODY)
    repo = await request.repo()
    event = await request.app.discussions.edit(
        request.actor, repo, _number(request), request.params["id"], asked.content
    )
    return answers.json(request, {"updatedComment": _event(event)})


async def hide(request: Request) -> Response:
    """Show a comment no more."""
    repo = await request.repo()
    event = await request.app.discussions.hide(request.actor, repo, _number(request), request.params["id"])
    return answers.json(request, {"updatedComment": _event(event)})
