"""What was taken away while a change was under way is gone when the change is made: rights, repos, pull requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from hubreg.errors import Conflict, HubregError, InvalidCredentials, Refused, RepoNotFound
from hubreg.formats import lfs
from hubreg.formats.commitlines import Line
from hubreg.formats.gitwire import ZERO
from hubreg.hub.xet_tokens import Holder
from hubreg.identity.accounts import SYSTEM
from hubreg.model import Actor, CommitHeader, OrgRole, RepoType
from hubreg.store import objects, repos
from hubreg.store.repos import Repo
from tests.hub.conftest import Hub, add, lines
from tests.hub.test_pushes import commands, packed, send
from tests.hub.test_uploads import BASE, BIG, SMALL, Href, asking, put_part, sha
from tests.hub.test_xet import Client
from tests.xet_client import package, some

pytestmark = pytest.mark.anyio

Change = Callable[[Hub, Repo], Awaitable[object]]


async def shared(hub: Hub, role: OrgRole = OrgRole.WRITE) -> tuple[Repo, Actor]:
    """A public repo of an organisation, and bob, who has a role there."""
    await hub.app.accounts.add_org(SYSTEM, "org")
    await hub.app.accounts.set_member(SYSTEM, "org", "ann", OrgRole.ADMIN)
    await hub.app.accounts.set_member(SYSTEM, "org", "bob", role)
    bob = replace(hub.bob, roles={**hub.bob.roles, "org": role})
    ann = replace(hub.ann, roles={**hub.ann.roles, "org": OrgRole.ADMIN})
    return await hub.app.repos.create(ann, RepoType.MODEL, "org", "model"), bob


async def run(hub: Hub, sql: str, *values: object) -> None:
    async with hub.app.db.write() as tx:
        await tx.run(sql, *values)


async def leaves(hub: Hub, repo: Repo) -> None:
    await run(hub, "DELETE FROM members WHERE user_id = ?", hub.bob.user_id)


async def loses_the_token(hub: Hub, repo: Repo) -> None:
    await run(hub, "UPDATE tokens SET revoked_at = 1 WHERE user_id = ?", hub.bob.user_id)


async def is_disabled(hub: Hub, repo: Repo) -> None:
    await run(hub, "UPDATE accounts SET disabled = 1 WHERE id = ?", hub.bob.user_id)


async def is_deleted(hub: Hub, repo: Repo) -> None:
    async with hub.app.db.write() as tx:
        await repos.delete(tx, repo.id)


async def moves_away(hub: Hub, repo: Repo) -> None:
    await run(hub, "UPDATE repos SET namespace_id = ? WHERE id = ?", hub.ann.user_id, repo.id)


async def becomes_private(hub: Hub, repo: Repo) -> None:
    await run(hub, "UPDATE repos SET private = 1 WHERE id = ?", repo.id)


def during(hub: Hub, repo: Repo, change: Change) -> AsyncIterator[Line]:
    """The lines of a commit, and something that happens between two of them."""

    async def sent() -> AsyncIterator[Line]:
        yield CommitHeader("a change")
        yield add("first.txt")
        await change(hub, repo)
        yield add("last.txt")

    return sent()


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (leaves, Refused),
        (loses_the_token, InvalidCredentials),
        (is_disabled, InvalidCredentials),
        (moves_away, Refused),
        (is_deleted, RepoNotFound),
    ],
)
async def test_a_commit_ends_where_the_right_to_it_ended(
    hub: Hub, change: Change, refusal: type[HubregError]
) -> None:
    """It was right when it began; what counts is the moment in which the branch moves."""
    repo, bob = await shared(hub)
    with pytest.raises(refusal):
        await hub.app.commits.commit(bob, repo, "main", during(hub, repo, change))
    assert await repos.find_ref(hub.app.db, repo.id, "refs/heads/main") in (repo.head, None)


async def test_a_proposal_to_what_became_private_is_lost(hub: Hub) -> None:
    """A stranger is told that there is no such repo, and no pull request was opened."""
    repo = await hub.repo()
    with pytest.raises(RepoNotFound):
        await hub.app.commits.commit(hub.bob, repo, "main", during(hub, repo, becomes_private), propose=True)
    assert (await hub.app.discussions.page(hub.ann, await hub.again(repo))).count == 0


@pytest.mark.parametrize("how", ["closed", "merged"])
async def test_a_pull_request_that_was_decided_takes_no_commit(hub: Hub, how: str) -> None:
    """Not from its author, not from whoever owns the repo, and not from a commit that began before."""
    repo = await hub.repo()
    await hub.app.commits.commit(hub.bob, repo, "main", lines(add("a.txt")), propose=True)
    before = await hub.app.snapshots.resolve(repo, "refs/pr/1")

    async def decide(hub: Hub, repo: Repo) -> None:
        if how == "closed":
            await hub.app.discussions.set_status(hub.bob, repo, 1, "closed")
        else:
            await hub.app.discussions.merge(hub.ann, repo, 1)

    with pytest.raises(Conflict, match=f"#1 is {how}"):
        await hub.app.commits.commit(hub.bob, repo, "refs/pr/1", during(hub, repo, decide))
    for actor in (hub.ann, hub.bob):
        with pytest.raises(Conflict, match=f"#1 is {how}"):
            await hub.app.commits.commit(actor, repo, "refs/pr/1", lines(add("b.txt")))
    said = await send(hub, repo, commands(("refs/pr/1", before, repo.head)) + packed([]), hub.bob)
    assert said[-1] == f"ng refs/pr/1 #1 is {how}: nothing can be committed to it."
    assert await hub.app.snapshots.resolve(repo, "refs/pr/1") == before


def changes(hub: Hub, repo: Repo, actor: Actor) -> dict[str, Callable[[], Awaitable[object]]]:
    """Everything that changes a repo, beside commits."""
    app = hub.app
    return {
        "branch": lambda: app.refs.create_branch(actor, repo, "b"),
        "empty branch": lambda: app.refs.create_branch(actor, repo, "b", empty=True),
        "tag": lambda: app.refs.create_tag(actor, repo, "t", repo.head),
        "delete tag": lambda: app.refs.delete_tag(actor, repo, "v1"),
        "settings": lambda: app.repos.set_settings(actor, repo, private=True),
        "move": lambda: app.repos.move(actor, repo, "bob/mine"),
        "delete": lambda: app.repos.delete(actor, repo),
    }


TALK = ("discussion", "comment", "title", "status", "duplicate")


def talk(hub: Hub, repo: Repo, actor: Actor) -> dict[str, Callable[[], Awaitable[object]]]:
    """What takes no more than the right to propose or to read."""
    app = hub.app
    return {
        "discussion": lambda: app.discussions.open(actor, repo, "Hello"),
        "comment": lambda: app.discussions.comment(actor, repo, 1, "Hello"),
        "title": lambda: app.discussions.set_title(actor, repo, 1, "Hello"),
        "status": lambda: app.discussions.set_status(actor, repo, 1, "closed"),
        "duplicate": lambda: app.repos.duplicate(actor, repo, "bob/copy"),
    }


@pytest.mark.parametrize(
    "what", ["branch", "empty branch", "tag", "delete tag", "settings", "move", "delete", *TALK]
)
async def test_a_repo_that_is_gone_is_told_so(hub: Hub, what: str) -> None:
    """A request that found the repo and came too late to change it."""
    repo, bob = await shared(hub)
    await hub.app.refs.create_tag(bob, repo, "v1", "main")
    await is_deleted(hub, repo)
    with pytest.raises(RepoNotFound, match="Repository not found"):
        await (changes(hub, repo, bob) | talk(hub, repo, bob))[what]()
    assert await repos.refs(hub.app.db, repo.id) == []
    assert await hub.app.db.all("SELECT * FROM repos") == []


@pytest.mark.parametrize(
    "what", ["branch", "empty branch", "tag", "delete tag", "settings", "move", "delete"]
)
async def test_who_has_left_changes_nothing(hub: Hub, what: str) -> None:
    """The actor of the request still has the role; the organisation has him no more."""
    repo, bob = await shared(hub)
    await hub.app.refs.create_tag(bob, repo, "v1", "main")
    before = await hub.app.db.all("SELECT * FROM refs"), await hub.app.db.all("SELECT * FROM repos")
    await leaves(hub, repo)
    with pytest.raises(Refused):
        await changes(hub, repo, bob)[what]()
    assert before == (await hub.app.db.all("SELECT * FROM refs"), await hub.app.db.all("SELECT * FROM repos"))


async def test_who_has_left_makes_no_repo(hub: Hub) -> None:
    """Nor moves one into the organisation."""
    repo, bob = await shared(hub)
    await leaves(hub, repo)
    with pytest.raises(Refused):
        await hub.app.repos.create(bob, RepoType.MODEL, "org", "another")
    mine = await hub.app.repos.create(bob, RepoType.MODEL, None, "mine")
    with pytest.raises(Refused):
        await hub.app.repos.move(bob, mine, "org/mine")
    with pytest.raises(Refused):
        await hub.app.repos.duplicate(bob, mine, "org/mine")
    assert len(await hub.app.db.all("SELECT * FROM repos")) == 2


async def test_a_push_ends_where_the_right_to_it_ended(hub: Hub) -> None:
    """Git's person reads why, in the report."""
    repo, bob = await shared(hub)
    await leaves(hub, repo)
    said = await send(hub, repo, commands(("refs/heads/x", ZERO, repo.head)) + packed([]), bob)
    assert said[0].startswith("You do not have the right to write model org/model")
    assert said[-1] == "ng refs/heads/x pre-receive hook declined"
    assert await repos.find_ref(hub.app.db, repo.id, "refs/heads/x") is None


async def test_a_shard_ends_where_the_right_to_it_ended(hub: Hub) -> None:
    """Files that were checked for a repo in which their sender has no right any more are not held by it."""
    repo, bob = await shared(hub)
    sender, sent = Client(hub.app.xet, Holder(bob, repo, write=True)), package(some(300_000))
    await sender.xorbs(sent.xorbs)
    await becomes_private(hub, repo)
    await leaves(hub, repo)
    with pytest.raises(RepoNotFound):
        await sender.shard(sent.shard)
    assert await objects.large(hub.app.db, repo.id, "", 10) == []


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("content", [SMALL, BIG])
async def test_an_upload_ends_where_the_right_to_it_ended(hub: Hub, content: bytes, begun: bool) -> None:
    """Its links need no credentials, so it is the links that ask: when they are used, and when all has come."""
    repo, bob = await shared(hub)
    await becomes_private(hub, repo)
    uploads = replace(hub.app.uploads, config=replace(hub.app.config, part_size=10, multipart_from=20))
    [found] = (await uploads.batch(bob, repo, asking(content), base=BASE)).objects
    action = (found.actions or {})["upload"]
    urls = [Href(url) for key, url in sorted((action.header or {}).items()) if key.isdigit()]
    if not begun:
        await leaves(hub, repo)
    with pytest.raises(RepoNotFound):
        if urls:
            tags = [
                await put_part(uploads, url, content[10 * at : 10 * at + 10]) for at, url in enumerate(urls)
            ]
            await leaves(hub, repo)
            named = tuple(lfs.Part(at + 1, tag) for at, tag in enumerate(tags))
            href = Href(action.href)
            await uploads.complete(
                href.repo, href.sha256, href.rest[1], href.query, lfs.Completion(sha(content), named)
            )
        else:
            href = Href(action.href)
            async with uploads.receive(href.repo, href.sha256, href.query) as incoming:
                incoming.write(content)
                await leaves(hub, repo)
                await incoming.finish()
    assert await objects.large(hub.app.db, repo.id, "", 10) == []
