"""Discussions and pull requests: what is said, by whom, and how changes get from one line to another."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.errors import (
    Conflict,
    DiscussionNotFound,
    GatedRepo,
    Invalid,
    Refused,
    RepoNotFound,
    RevisionNotFound,
    Unauthenticated,
)
from hubreg.formats import chain, gitobjects
from hubreg.formats.commitlines import Line
from hubreg.formats.gitobjects import Change, TreeEntry
from hubreg.hub.discussions import HIDDEN, Detail, Discussions, Event, combine, render_html
from hubreg.model import DeleteFile, Oid, TokenRole
from hubreg.store import log, objects, repos
from hubreg.store.repos import Repo
from tests.hub.conftest import Hub, add, lines

pytestmark = pytest.mark.anyio


def talk(hub: Hub) -> Discussions:
    return hub.app.discussions


async def pull(hub: Hub, repo: Repo, *operations: Line, title: str = "A change") -> int:
    """A pull request of ann's with one commit."""
    num = await talk(hub).open(hub.ann, repo, title, "why", pull=True)
    if operations:
        await hub.commit(repo, *operations, revision=f"refs/pr/{num}", summary="in the pull request")
    return num


async def detail(hub: Hub, repo: Repo, num: int, *, diff: bool = False) -> Detail:
    return await talk(hub).detail(hub.ann, repo, num, diff=diff)


def kinds(found: Detail) -> list[str]:
    return [event.kind for event in found.events]


def raw(event: Event) -> object:
    latest = event.data["latest"]
    assert isinstance(latest, dict)
    return latest["raw"]


# talking


async def test_a_discussion_begins_with_its_description(hub: Hub) -> None:
    """One event, the description, by the author; an empty one is an event too."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "  Hello there ", "What is *this*?")
    found = await detail(hub, repo, num)
    assert (num, found.thread.row.title, found.thread.author) == (1, "Hello there", "bob")
    assert (found.thread.row.status, found.thread.row.pull, found.diff) == ("open", False, None)
    assert [(event.kind, event.author, raw(event)) for event in found.events] == [
        ("comment", "bob", "What is *this*?")
    ]
    assert kinds(await detail(hub, repo, await talk(hub).open(hub.ann, repo, "No words"))) == ["comment"]


async def test_a_comment_looks_as_the_wire_wants_it(hub: Hub) -> None:
    """Every key that the client reads, and the event that is returned is the one that is listed."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.ann, repo, "Title")
    said = await talk(hub).comment(hub.bob, repo, num, "one <two>\nthree")
    assert (said.kind, said.author) == ("comment", "bob")
    assert said.data["edited"] is False
    assert said.data["hidden"] is False
    assert said.data["history"] == []
    latest = said.data["latest"]
    assert isinstance(latest, dict)
    assert latest["raw"] == "one <two>\nthree"
    assert latest["html"] == "<p>one &lt;two&gt;<br>three</p>"
    assert latest["updatedAt"].endswith("Z")
    assert latest["author"]["name"] == "bob"
    assert (await detail(hub, repo, num)).events[1] == said


async def test_discussions_and_pull_requests_share_one_count(hub: Hub) -> None:
    """Of one repo, whoever opens them and by whichever call."""
    repo, other = await hub.repo(), await hub.repo("other")
    assert await talk(hub).open(hub.ann, repo, "First") == 1
    assert await talk(hub).open(hub.bob, repo, "Second", pull=True) == 2
    taken = await hub.app.commits.commit(hub.bob, repo, "main", lines(add("a.txt")), propose=True)
    assert taken.pull == 3
    assert await talk(hub).open(hub.ann, other, "First here") == 1


async def test_lists_are_filtered_and_newest_first(hub: Hub) -> None:
    """By type, status and author; a draft is among the open ones, a merged one among the closed."""
    repo = await hub.repo()
    for title in ("one", "two", "three"):
        await talk(hub).open(hub.bob, repo, title)
    num = await pull(hub, repo, add("a.txt"))
    await talk(hub).set_status(hub.bob, repo, 2, "closed")

    async def nums(**filters: str) -> list[int]:
        page = await talk(hub).page(hub.eve, repo, 0, **filters)  # type: ignore[arg-type]
        assert page.count == len(page.threads)
        return [thread.row.num for thread in page.threads]

    assert await nums() == [4, 3, 2, 1]
    assert await nums(type_="discussion") == [3, 2, 1]
    assert await nums(type_="pull_request") == [4]
    assert await nums(status="open") == [4, 3, 1]
    assert await nums(status="closed") == [2]
    assert await nums(author="BOB", status="open") == [3, 1]
    assert await nums(author="nobody") == []
    await talk(hub).merge(hub.ann, repo, num)
    assert await nums(status="closed") == [4, 2]


async def test_lists_come_in_pages(hub: Hub) -> None:
    """Fifty a page; the count is of all, the closed ones are counted on the first page."""
    repo = await hub.repo()
    for _ in range(52):
        await talk(hub).open(hub.ann, repo, "again")
    first, second = await talk(hub).page(hub.ann, repo, 0), await talk(hub).page(hub.ann, repo, 1)
    third = await talk(hub).page(hub.ann, repo, 2)
    assert [len(page.threads) for page in (first, second, third)] == [50, 2, 0]
    assert [(page.count, page.start, page.closed) for page in (first, second, third)] == [
        (52, 0, 0), (52, 50, None), (52, 100, None),
    ]  # fmt: skip
    assert first.threads[0].row.num == 52
    assert first.threads[0].comments == 1


@pytest.mark.parametrize(
    ("number", "type_", "status"),
    [(-1, "all", "all"), (10**18, "all", "all"), (0, "issue", "all"), (0, "all", "'; --"), (0, "", "")],
)
async def test_a_list_that_does_not_exist_is_refused(hub: Hub, number: int, type_: str, status: str) -> None:
    """Pages and filters that cannot be are the client's mistake."""
    repo = await hub.repo()
    with pytest.raises(Invalid):
        await talk(hub).page(hub.ann, repo, number, type_=type_, status=status)


@pytest.mark.parametrize("num", [0, -1, 2, 10**30])
async def test_an_unknown_number_is_not_found(hub: Hub, num: int) -> None:
    """Whatever is asked of it, and however large it is."""
    repo = await hub.repo()
    await talk(hub).open(hub.ann, repo, "one")
    asked = talk(hub)
    for call in (
        asked.detail(hub.ann, repo, num),
        asked.comment(hub.ann, repo, num, "text"),
        asked.set_title(hub.ann, repo, num, "title"),
        asked.set_status(hub.ann, repo, num, "closed"),
        asked.merge(hub.ann, repo, num),
        asked.edit(hub.ann, repo, num, "0" * 24, "text"),
    ):
        with pytest.raises(DiscussionNotFound):
            await call


async def test_an_edit_keeps_what_was_said_before(hub: Hub) -> None:
    """The id stays, `edited` is set, the former text is in the history; ids are found in any case."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "Title", "first")
    [event] = (await detail(hub, repo, num)).events
    await talk(hub).edit(hub.bob, repo, num, event.id.upper(), "second")
    edited = await talk(hub).edit(hub.bob, repo, num, event.id, "third 🤗")
    assert (edited.id, edited.data["edited"], raw(edited)) == (event.id, True, "third 🤗")
    history = edited.data["history"]
    assert isinstance(history, list)
    assert [version["raw"] for version in history] == ["first", "second"]
    assert (await detail(hub, repo, num)).events == [edited]


async def test_only_its_author_edits_a_comment(hub: Hub) -> None:
    """Not even the repo's owner puts words into somebody's mouth."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "Title", "mine")
    [event] = (await detail(hub, repo, num)).events
    with pytest.raises(Refused):
        await talk(hub).edit(hub.ann, repo, num, event.id, "yours")
    assert (await detail(hub, repo, num)).events == [event]


async def test_a_comment_of_another_discussion_is_not_found(hub: Hub) -> None:
    """A comment's id is good in its own discussion only; what is no comment cannot be edited."""
    repo = await hub.repo()
    first, second = await talk(hub).open(hub.ann, repo, "one"), await talk(hub).open(hub.ann, repo, "two")
    [event] = (await detail(hub, repo, first)).events
    for id_ in (event.id, "0" * 24, "", "\x00", "é" * 1000):
        with pytest.raises(DiscussionNotFound):
            await talk(hub).edit(hub.ann, repo, second, id_, "text")
    renamed = await talk(hub).set_title(hub.ann, repo, first, "Other title")
    with pytest.raises(Invalid):
        await talk(hub).edit(hub.ann, repo, first, renamed.id, "text")


async def test_a_hidden_comment_is_read_by_nobody(hub: Hub) -> None:
    """Neither its text nor its history is shown, and it cannot be edited back; its author or a writer may hide it."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "Title", "a secret")
    [event] = (await detail(hub, repo, num)).events
    await talk(hub).edit(hub.bob, repo, num, event.id, "another secret")
    hidden = await talk(hub).hide(hub.ann, repo, num, event.id)
    assert hidden.data["hidden"] is True
    assert raw(hidden) == HIDDEN
    assert "secret" not in repr((await detail(hub, repo, num)).events)
    with pytest.raises(Conflict):
        await talk(hub).edit(hub.bob, repo, num, event.id, "again")
    said = await talk(hub).comment(hub.ann, repo, num, "by the owner")
    with pytest.raises(Refused):
        await talk(hub).hide(hub.bob, repo, num, said.id)


async def test_title_and_status_leave_events(hub: Hub) -> None:
    """Their shapes are the client's; a comment given with a status comes before it."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "Old title")
    renamed = await talk(hub).set_title(hub.ann, repo, num, " New title ")
    closed = await talk(hub).set_status(hub.bob, repo, num, "closed", "done")
    assert renamed.data == {"from": "Old title", "to": "New title"}
    assert closed.data == {"status": "closed"}
    found = await detail(hub, repo, num)
    assert kinds(found) == ["comment", "title-change", "comment", "status-change"]
    assert (found.thread.row.title, found.thread.row.status, found.thread.comments) == (
        "New title",
        "closed",
        2,
    )
    await talk(hub).set_status(hub.bob, repo, num, "open")
    assert (await detail(hub, repo, num)).thread.row.status == "open"


@pytest.mark.parametrize("status", ["merged", "draft", "published", ""])
async def test_a_status_that_is_not_to_be_given_is_refused(hub: Hub, status: str) -> None:
    """Merged is what merging makes."""
    repo = await hub.repo()
    num = await pull(hub, repo, add("a.txt"))
    with pytest.raises(Invalid):
        await talk(hub).set_status(hub.ann, repo, num, status)
    assert (await detail(hub, repo, num)).thread.row.status == "draft"


@pytest.mark.parametrize(
    "title", ["", "ab", "   ab   ", "a" * 201, "two\nlines", "nul\x00", "\ud800\ud800\ud800"]
)
async def test_a_title_is_one_line(hub: Hub, title: str) -> None:
    """3 to 200 characters that can be shown; nothing is opened or renamed otherwise."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.ann, repo, "Title")
    with pytest.raises(Invalid):
        await talk(hub).open(hub.ann, repo, title)
    with pytest.raises(Invalid):
        await talk(hub).set_title(hub.ann, repo, num, title)
    assert (await talk(hub).page(hub.ann, repo)).count == 1
    assert kinds(await detail(hub, repo, num)) == ["comment"]


@pytest.mark.parametrize("text", ["", " \n ", "x" * 65_537, "\ud800"])
async def test_a_comment_has_a_text(hub: Hub, text: str) -> None:
    """Not empty, not endless, and Unicode."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.ann, repo, "Title")
    with pytest.raises(Invalid):
        await talk(hub).comment(hub.ann, repo, num, text)
    assert kinds(await detail(hub, repo, num)) == ["comment"]


async def test_who_may_talk(hub: Hub) -> None:
    """Whoever may read, with a write token; others change only what is theirs."""
    public, private = await hub.repo(), await hub.repo("private", private=True)
    gated = await hub.app.repos.set_settings(hub.ann, await hub.repo("gated"), gated="auto")
    reader = replace(hub.bob, token_role=TokenRole.READ)
    num = await talk(hub).open(hub.ann, public, "Title")
    for actor, repo, refusal in (
        (hub.eve, public, Unauthenticated),
        (reader, public, Refused),
        (hub.bob, private, RepoNotFound),
        (hub.bob, gated, GatedRepo),
    ):
        with pytest.raises(refusal):
            await talk(hub).open(actor, repo, "Title")
    with pytest.raises(Refused):
        await talk(hub).set_title(hub.bob, public, num, "Other")
    with pytest.raises(Refused):
        await talk(hub).set_status(hub.bob, public, num, "closed")
    with pytest.raises(RepoNotFound):
        await talk(hub).page(hub.bob, private)
    assert kinds(await detail(hub, public, num)) == ["comment"]


async def test_nothing_is_opened_in_a_repo_that_is_gone(hub: Hub) -> None:
    """The row of a repo that was read before it was deleted is no repo."""
    repo = await hub.repo()
    await hub.app.repos.delete(hub.ann, repo)
    with pytest.raises(RepoNotFound):
        await talk(hub).open(hub.ann, repo, "Title")
    with pytest.raises(RepoNotFound):
        await talk(hub).open(hub.ann, repo, "Title", pull=True)
    assert await hub.app.db.all("SELECT * FROM discussions") == []


async def test_everything_is_in_the_log(hub: Hub) -> None:
    """Each change is a link of the chain."""
    repo = await hub.repo()
    before = len(await log.read(hub.app.db, 0, 1000))
    num = await talk(hub).open(hub.ann, repo, "Title")
    said = await talk(hub).comment(hub.ann, repo, num, "text")
    await talk(hub).edit(hub.ann, repo, num, said.id, "other")
    await talk(hub).hide(hub.ann, repo, num, said.id)
    await talk(hub).set_title(hub.ann, repo, num, "Other")
    await talk(hub).set_status(hub.ann, repo, num, "closed")
    links = await log.read(hub.app.db, 0, 1000)
    assert len(links) == before + 6
    chain.verify(links)


# pull requests


async def test_a_pull_request_begins_as_a_draft_at_main(hub: Hub) -> None:
    """No changes yet, one event; its ref is a revision."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "A change", "why", pull=True)
    found = await detail(hub, repo, num, diff=True)
    assert (found.thread.row.status, found.thread.row.base, found.conflicts) == (
        "draft",
        "refs/heads/main",
        [],
    )
    assert found.diff == ""
    assert kinds(found) == ["comment"]
    assert await hub.app.snapshots.resolve(repo, f"refs/pr/{num}") == (await hub.again(repo)).head


async def test_its_author_pushes_to_it_and_nobody_else(hub: Hub) -> None:
    """A commit to the ref is an event of the pull request; main is not touched."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "A change", pull=True)
    taken = lines(add("a.txt", "one\n"), summary="add a")
    done = await hub.app.commits.commit(hub.bob, repo, f"refs/pr/{num}", taken)
    found = await detail(hub, repo, num, diff=True)
    assert kinds(found) == ["comment", "commit"]
    assert found.events[1].data == {"subject": "add a", "oid": done.id}
    assert found.diff is not None
    assert "+one" in found.diff
    assert await hub.tree(repo) == [".gitattributes"]
    foreign = await pull(hub, repo)
    with pytest.raises(Refused):
        await hub.app.commits.commit(hub.bob, repo, f"refs/pr/{foreign}", lines(add("b.txt")))


async def test_a_merge_is_a_commit_of_both_lines(hub: Hub) -> None:
    """Two parents, the branch first, even where the branch stood still; status, event and commit id follow."""
    repo = await hub.repo()
    base = (await hub.again(repo)).head
    num = await pull(hub, repo, add("a.txt", "one"), title="Add a file")
    head = await hub.app.snapshots.resolve(repo, f"refs/pr/{num}")
    event = await talk(hub).merge(hub.ann, repo, num, "thank you")
    main = (await hub.again(repo)).head
    found = await detail(hub, repo, num)
    assert (found.thread.row.status, found.thread.row.merged) == ("merged", main)
    assert kinds(found) == ["comment", "commit", "comment", "status-change"]
    assert found.events[-1] == event
    assert event.data == {"status": "merged"}
    row = await objects.find_object(hub.app.db, main)
    assert row is not None
    commit = gitobjects.parse_commit(row[1])
    assert commit.parents == (base, head)
    assert commit.message == f"Add a file (#{num})\n\n- in the pull request ({head})"
    assert await hub.content(repo, "a.txt") == b"one"
    assert "+one" in ((await detail(hub, repo, num, diff=True)).diff or "")


async def test_a_merge_keeps_what_happened_on_the_branch(hub: Hub) -> None:
    """Each side's additions, changes and deletions are in the result; the same change on both sides is no conflict."""
    repo = await hub.repo()
    await hub.commit(
        repo, add("ours", "1"), add("theirs", "1"), add("gone/a", "1"), add("both", "1"), add("x/y", "1")
    )
    num = await pull(
        hub,
        repo,
        add("theirs", "2"),
        add("new/theirs", "2"),
        DeleteFile("gone/a"),
        add("both", "2"),
        DeleteFile("x/y"),
    )
    await hub.commit(repo, add("ours", "2"), add("new/ours", "2"), add("both", "2"), DeleteFile("x/y"))
    assert (await detail(hub, repo, num)).conflicts == []
    await talk(hub).merge(hub.ann, repo, num)
    assert await hub.tree(repo) == [
        "new",
        "new/ours",
        "new/theirs",
        ".gitattributes",
        "both",
        "ours",
        "theirs",
    ]
    for path in ("ours", "theirs", "both", "new/ours", "new/theirs"):
        assert await hub.content(repo, path) == b"2"


async def test_a_conflict_names_the_files_and_changes_nothing(hub: Hub) -> None:
    """Both changed a file in other ways, or one made a folder where the other made a file."""
    repo = await hub.repo()
    await hub.commit(repo, add("a", "1"), add("b", "1"), add("c", "1"))
    num = await pull(hub, repo, add("a", "2"), DeleteFile("b"), add("d/e", "2"), add("f", "2"), add("c", "2"))
    await hub.commit(repo, add("a", "3"), add("b", "3"), add("d", "3"), add("f/g", "3"))
    main = (await hub.again(repo)).head
    assert (await detail(hub, repo, num)).conflicts == ["a", "b", "d/e", "f"]
    with pytest.raises(Conflict, match="a, b, d/e, f") as refused:
        await talk(hub).merge(hub.ann, repo, num)
    assert refused.value.body == {"files": ["a", "b", "d/e", "f"]}
    assert (await hub.again(repo)).head == main
    assert kinds(await detail(hub, repo, num)) == ["comment", "commit"]


async def test_a_conflict_is_settled_by_a_commit_to_the_pull_request(hub: Hub) -> None:
    """Once the files agree with the branch the rest can be merged."""
    repo = await hub.repo()
    await hub.commit(repo, add("a", "1"))
    num = await pull(hub, repo, add("a", "2"), add("b", "2"))
    await hub.commit(repo, add("a", "3"))
    await hub.commit(repo, add("a", "3"), revision=f"refs/pr/{num}")
    await talk(hub).merge(hub.ann, repo, num)
    assert await hub.content(repo, "a") == b"3"
    assert await hub.content(repo, "b") == b"2"


async def test_a_file_may_become_a_folder_in_a_merge(hub: Hub) -> None:
    """And the other way round, where the branch left both alone."""
    repo = await hub.repo()
    await hub.commit(repo, add("a", "1"), add("b/c", "1"))
    num = await pull(hub, repo, DeleteFile("a"), add("a/x", "2"), DeleteFile("b/c"), add("b", "2"))
    await hub.commit(repo, add("elsewhere", "3"))
    await talk(hub).merge(hub.ann, repo, num)
    assert await hub.tree(repo) == ["a", "a/x", ".gitattributes", "b", "elsewhere"]


async def test_what_cannot_be_merged(hub: Hub) -> None:
    """A discussion, a pull request without changes, a closed one, one that is merged: each with its reason."""
    repo = await hub.repo()
    plain, empty = await talk(hub).open(hub.ann, repo, "Words"), await pull(hub, repo)
    closed, merged = await pull(hub, repo, add("a", "1")), await pull(hub, repo, add("b", "1"))
    await talk(hub).set_status(hub.ann, repo, closed, "closed")
    await talk(hub).merge(hub.ann, repo, merged)
    before = await repos.refs(hub.app.db, repo.id)
    for num, refusal, reason in (
        (plain, Invalid, "not a pull request"),
        (empty, Conflict, "no changes"),
        (closed, Conflict, "closed"),
        (merged, Conflict, "merged"),
    ):
        with pytest.raises(refusal, match=reason):
            await talk(hub).merge(hub.ann, repo, num)
    with pytest.raises(Conflict):
        await talk(hub).set_status(hub.ann, repo, merged, "open")
    with pytest.raises(Refused):
        await hub.app.commits.commit(hub.bob, repo, f"refs/pr/{merged}", lines(add("c")))
    assert await repos.refs(hub.app.db, repo.id) == before
    rows = [(await detail(hub, repo, num)).thread.row for num in (plain, empty, closed, merged)]
    assert [row.status for row in rows] == ["open", "draft", "closed", "merged"]


async def test_who_may_merge(hub: Hub) -> None:
    """Whoever may write; not the author of the pull request as such."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "Mine", pull=True)
    await hub.app.commits.commit(hub.bob, repo, f"refs/pr/{num}", lines(add("a")))
    for actor, refusal in ((hub.bob, Refused), (hub.eve, Unauthenticated)):
        with pytest.raises(refusal):
            await talk(hub).merge(actor, repo, num)
        assert await hub.tree(repo) == [".gitattributes"]
    await talk(hub).merge(hub.ann, repo, num)
    assert await hub.tree(repo) == [".gitattributes", "a"]


async def test_a_pull_request_of_one_commit_is_merged(hub: Hub) -> None:
    """What `commit?create_pr=1` opened, against a branch that is not main: main stays as it is."""
    repo = await hub.repo()
    await hub.app.refs.create_branch(hub.ann, repo, "dev")
    done = await hub.app.commits.commit(
        hub.bob, repo, "dev", lines(add("a", "1"), summary="A title"), propose=True
    )
    assert done.pull is not None
    found = await detail(hub, repo, done.pull)
    assert (found.thread.row.status, found.thread.row.base) == ("open", "refs/heads/dev")
    await talk(hub).merge(hub.ann, repo, done.pull)
    assert await hub.content(repo, "a", "dev") == b"1"
    assert await hub.tree(repo) == [".gitattributes"]


async def test_merges_beside_commits_lose_nothing(hub: Hub) -> None:
    """Ten pull requests merged and ten commits made at the same time: every file is on main."""
    repo = await hub.repo()
    nums = [await pull(hub, repo, add(f"pull-{n}", str(n))) for n in range(10)]

    async def commit(n: int) -> None:
        await hub.commit(repo, add(f"commit-{n}", str(n)))

    await asyncio.gather(
        *(talk(hub).merge(hub.ann, repo, num) for num in nums), *(commit(n) for n in range(10))
    )
    assert await hub.tree(repo) == sorted(
        [".gitattributes", *(f"pull-{n}" for n in range(10)), *(f"commit-{n}" for n in range(10))]
    )


async def test_merging_twice_at_the_same_time_is_merging_once(hub: Hub) -> None:
    """One call merges, the other hears that it is merged."""
    repo = await hub.repo()
    num = await pull(hub, repo, add("a", "1"))
    ends = await asyncio.gather(
        *(talk(hub).merge(hub.ann, repo, num) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(end) for end in ends if isinstance(end, Exception)) == [Conflict]
    assert kinds(await detail(hub, repo, num)).count("status-change") == 1


async def test_a_rewritten_branch_takes_no_pull_request(hub: Hub) -> None:
    """After a squash the two lines have nothing in common: shown, and refused with the reason."""
    repo = await hub.repo()
    num = await pull(hub, repo, add("a", "1"))
    await hub.app.commits.squash(hub.ann, repo, "main")
    found = await detail(hub, repo, num, diff=True)
    assert found.conflicts is True
    assert "+1" in (found.diff or "")
    with pytest.raises(Conflict, match="rewritten"):
        await talk(hub).merge(hub.ann, repo, num)


async def test_a_branch_that_is_gone_takes_no_pull_request(hub: Hub) -> None:
    """The pull request can still be read and closed."""
    repo = await hub.repo()
    await hub.app.refs.create_branch(hub.ann, repo, "dev")
    done = await hub.app.commits.commit(hub.ann, repo, "dev", lines(add("a")), propose=True)
    assert done.pull is not None
    await hub.app.refs.delete_branch(hub.ann, repo, "dev")
    assert (await detail(hub, repo, done.pull, diff=True)).conflicts is True
    with pytest.raises(RevisionNotFound):
        await talk(hub).merge(hub.ann, repo, done.pull)
    await talk(hub).set_status(hub.ann, repo, done.pull, "closed")
    found = await detail(hub, repo, done.pull, diff=True)
    assert (found.thread.row.status, found.conflicts, found.diff) == ("closed", False, None)


async def test_an_older_pull_request_is_compared_with_where_it_began(hub: Hub) -> None:
    """Its diff shows its own changes, none of what the branch did before or since."""
    repo = await hub.repo()
    num = await pull(hub, repo, add("mine", "1"))
    for n in range(5):
        await hub.commit(repo, add(f"other-{n}", "x"))
    diff = (await detail(hub, repo, num, diff=True)).diff or ""
    assert "mine" in diff
    assert "other" not in diff


async def test_a_huge_pull_request_has_no_diff(hub: Hub) -> None:
    """More files than anybody reads: left out, so that asking for the details stays cheap."""
    repo = await hub.repo()
    num = await pull(hub, repo, *(add(f"f{n}", "x") for n in range(1001)))
    assert (await detail(hub, repo, num, diff=True)).diff is None


async def test_an_author_who_is_gone_has_no_name(hub: Hub) -> None:
    """Clients show "deleted"."""
    repo = await hub.repo()
    num = await talk(hub).open(hub.bob, repo, "Boo", "boo")
    async with hub.app.db.write() as tx:
        for table in ("discussions", "discussion_events"):
            await tx.run(f"UPDATE {table} SET author_id = 999")  # noqa: S608 nobody's
    found = await detail(hub, repo, num)
    assert (found.thread.author, found.events[0].author) == ("", "")
    latest = found.events[0].data["latest"]
    assert isinstance(latest, dict)
    assert "author" not in latest


async def test_a_pull_request_leaves_with_its_repo(hub: Hub) -> None:
    """Deleting the repo takes discussions, events and refs with it."""
    repo = await hub.repo()
    await pull(hub, repo, add("a"))
    await hub.app.repos.delete(hub.ann, repo)
    assert await repos.refs(hub.app.db, repo.id) == []
    for table in ("discussions", "discussion_events"):
        assert await hub.app.db.one(f"SELECT 1 FROM {table} WHERE repo_id = ?", repo.id) is None  # noqa: S608


# pure parts


def change(path: str, old: str = "", new: str = "") -> Change:
    def entry(oid: str) -> TreeEntry | None:
        return TreeEntry(path.rpartition("/")[2], gitobjects.FILE, Oid(oid * 40)) if oid else None

    return Change(path, entry(old), entry(new))


_PATHS = st.sampled_from(["a", "b", "a/b", "a/c", "a/b/c", "d"])
_CHANGES = st.lists(
    st.builds(change, _PATHS, st.sampled_from(["", "1", "2"]), st.sampled_from(["", "1", "2", "3"])),
    unique_by=lambda made: made.path,
)


@given(_CHANGES, _CHANGES)
def test_combining_divides_what_the_other_side_did(ours: list[Change], theirs: list[Change]) -> None:
    """Each of their changes is still to be made, or done already in the same way, or a conflict: never two of these."""
    missing, conflicts = combine(ours, theirs)
    done = {made.path: made.new for made in ours}
    for made in theirs:
        states = (made in missing, made.path in conflicts, made.path in done and done[made.path] == made.new)
        assert sum(states) == 1
    assert not {made.path for made in missing} & done.keys()


@given(_CHANGES)
def test_combining_with_nothing_is_everything(changes: list[Change]) -> None:
    """A branch that stood still has no conflicts; what both did alike is not done twice."""
    assert combine([], changes) == (changes, [])
    assert combine(changes, changes) == ([], [])
    assert combine(changes, []) == ([], [])


@given(_CHANGES, _CHANGES)
def test_no_path_ends_up_both_file_and_folder(ours: list[Change], theirs: list[Change]) -> None:
    """What is left to do puts no file below or above one that the branch made."""
    missing, _ = combine(ours, theirs)
    made = [c.path for c in ours if c.new is not None]
    for path in [c.path for c in missing if c.new is not None]:
        assert not any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in made)


@given(st.text())
def test_no_markup_gets_through(text: str) -> None:
    """Whatever is said, the only tags are ours, and none has attributes."""
    shown = render_html(text)
    for tag in ("<p>", "</p>", "<br>"):
        shown = shown.replace(tag, "")
    assert not {"<", ">", '"', "'"} & set(shown)


async def test_a_pull_request_of_many_files_is_shown_without_its_diff(hub: Hub) -> None:
    """Nobody reads the differences of 301 files, and the rest of the pull request is there."""
    repo = await hub.repo()
    num = await pull(hub, repo, *[add(f"f{n}") for n in range(300)])
    assert (await detail(hub, repo, num, diff=True)).diff is not None
    await hub.commit(repo, add("one more"), revision=f"refs/pr/{num}")
    found = await detail(hub, repo, num, diff=True)
    assert (found.diff, found.conflicts, kinds(found)) == (None, [], ["comment", "commit", "commit"])
