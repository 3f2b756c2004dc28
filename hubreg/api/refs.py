"""Branches, tags and the other names of commits."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Struct
from starlette.responses import Response

from hubreg.api import answers
from hubreg.api.requests import Request
from hubreg.formats import hubjson
from hubreg.hub.refs import Named
from hubreg.model import Action


async def refs(request: Request) -> Response:
    """Every branch, tag and conversion of a repo; with `include_prs` its pull requests too."""
    repo = await request.repo(Action.KNOW)
    pulls = request.flag("include_prs")
    found = await request.app.refs.list(request.actor, repo, pulls=pulls)
    lists = hubjson.RefLists(
        tags=_shown(found.tags),
        branches=_shown(found.branches),
        converts=_shown(found.converts),
        pull_requests=_shown(found.pulls) if pulls else UNSET,
    )
    age = request.app.mirror.age_of_refs(repo, pulls=pulls)
    return answers.json(request, lists, headers=answers.aged(age))


def _shown(named: Sequence[Named]) -> list[hubjson.Ref]:
    return [hubjson.Ref(name=name, ref=ref, target_commit=commit) for name, ref, commit in named]


class _Branch(Struct, rename="camel"):
    starting_point: str | None = None
    empty_branch: bool = False
    overwrite: bool = False


async def create_branch(request: Request) -> Response:
    """Make a branch, at `startingPoint` or `main`; 409 where there is one."""
    asked = await request.json(_Branch)
    repo = await request.repo()
    await request.app.refs.create_branch(
        request.actor, repo, request.params["branch"],
        start=asked.starting_point, empty=asked.empty_branch, overwrite=asked.overwrite,
    )  # fmt: skip
    return answers.done(request)


async def delete_branch(request: Request) -> Response:
    """Remove a branch other than `main`."""
    repo = await request.repo()
    await request.app.refs.delete_branch(request.actor, repo, request.params["branch"])
    return answers.done(request)


class _Tag(Struct):
    tag: str
    message: str | None = None


async def create_tag(request: Request) -> Response:
    """Make a tag at a revision; 409 where there is one."""
    asked = await request.json(_Tag)
    repo = await request.repo()
    revision = request.params["revision"]
    await request.app.refs.create_tag(request.actor, repo, asked.tag, revision, asked.message or "")
    return answers.done(request)


async def delete_tag(request: Request) -> Response:
    """Remove a tag."""
    repo = await request.repo()
    await request.app.refs.delete_tag(request.actor, repo, request.params["revision"])
    return answers.done(request)
