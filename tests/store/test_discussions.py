"""Rows of discussions and pull requests."""

from __future__ import annotations

import json

import pytest

from hubreg.model import CommitId
from hubreg.store import discussions
from hubreg.store.db import Database

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("three")]

REPO, OTHER = 1, 2


async def open_(
    db: Database, repo_id: int = REPO, *, pull: bool = False, author: int = 7, status: str = "open"
) -> int:
    async with db.write() as tx:
        return await discussions.insert(
            tx, repo_id, title="title", author_id=author, pull=pull, status=status, base=""
        )


async def test_discussions_and_pull_requests_share_one_count_per_repo(db: Database) -> None:
    """Numbers begin at 1 in every repo and are given once."""
    assert [await open_(db), await open_(db, pull=True), await open_(db)] == [1, 2, 3]
    assert await open_(db, OTHER) == 1
    found = await discussions.find(db, REPO, 2)
    assert found is not None
    assert (found.num, found.pull, found.title, found.status, found.author_id) == (
        2,
        True,
        "title",
        "open",
        7,
    )
    assert await discussions.find(db, OTHER, 2) is None


async def test_pages_are_newest_first_and_count_all(db: Database) -> None:
    """Every filter narrows both the page and the count."""
    for n in range(6):
        await open_(db, pull=n % 2 == 0, author=n % 3, status="closed" if n > 3 else "open")
    await open_(db, OTHER)

    async def nums(
        *, pull: bool | None = None, statuses: tuple[str, ...] = (), author: int | None = None, skip: int = 0
    ) -> tuple[list[int], int]:
        page, total = await discussions.page(
            db, REPO, pull=pull, statuses=statuses, author_id=author, skip=skip, limit=4
        )
        return [discussion.num for discussion in page], total

    assert await nums() == ([6, 5, 4, 3], 6)
    assert await nums(skip=4) == ([2, 1], 6)
    assert await nums(pull=True) == ([5, 3, 1], 3)
    assert await nums(pull=False) == ([6, 4, 2], 3)
    assert await nums(statuses=("closed",)) == ([6, 5], 2)
    assert await nums(statuses=("closed", "open"), author=0) == ([4, 1], 2)
    assert await nums(author=99) == ([], 0)


async def test_what_may_change(db: Database) -> None:
    """Title and status, of that one and no other."""
    await open_(db), await open_(db)
    async with db.write() as tx:
        await discussions.set_title(tx, REPO, 1, "better")
        await discussions.set_status(tx, REPO, 1, "merged", "c0ffee")
    first, second = await discussions.find(db, REPO, 1), await discussions.find(db, REPO, 2)
    assert first is not None
    assert second is not None
    assert (first.title, first.status, first.merged) == ("better", "merged", "c0ffee")
    assert (second.title, second.status, second.merged) == ("title", "open", "")


async def test_events_in_the_order_in_which_they_happened(db: Database) -> None:
    """A pull request begins with its description; comments can be found, counted and changed."""
    async with db.write() as tx:
        num = await discussions.open_pull(
            tx, REPO, title="t", description="why", author_id=7, base="refs/heads/main", draft=True
        )
        await discussions.add_commit_event(tx, REPO, num, 7, "a commit", CommitId("c" * 40))
        comment = await discussions.add_comment(tx, REPO, num, 8, "no")
    events = await discussions.events(db, REPO, num)
    assert [(event.kind, event.author_id) for event in events] == [
        ("comment", 7),
        ("commit", 7),
        ("comment", 8),
    ]
    assert json.loads(events[1].data) == {"subject": "a commit", "oid": "c" * 40}
    assert await discussions.comment_counts(db, REPO, [num, 99]) == {num: 2}
    assert await discussions.comment_counts(db, REPO, []) == {}
    found = await discussions.find_event(db, REPO, num, comment)
    assert found == events[2]
    assert await discussions.find_event(db, OTHER, num, comment) is None
    async with db.write() as tx:
        await discussions.set_event(tx, events[2].id, '{"raw": "yes"}')
    assert (await discussions.events(db, REPO, num))[2].data == '{"raw": "yes"}'
