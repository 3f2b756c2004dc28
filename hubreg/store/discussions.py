"""Rows of discussions and pull requests, which share one count per repo."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec

from hubreg.model import CommitId, Millis
from hubreg.store.db import Reader, Tx

LONGEST_TITLE = 200  # characters


@dataclass(frozen=True, slots=True)
class Discussion:
    num: int
    title: str
    author_id: int
    pull: bool
    status: str  # draft, open, closed, merged
    base: str  # refs/heads/...; "" for a discussion
    merged: CommitId | str
    created_at: Millis


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    public_id: str
    kind: str  # comment, status-change, commit, title-change
    author_id: int
    at: Millis
    data: str  # JSON


_COLUMNS = "num, title, author_id, pull, status, base, merged, created_at"


def _discussion(row: tuple[object, ...]) -> Discussion:
    return Discussion(*row[:3], bool(row[3]), *row[4:])  # type: ignore[arg-type, call-arg]  # the columns above, in order


async def insert(
    tx: Tx, repo_id: int, *, title: str, author_id: int, pull: bool, status: str, base: str
) -> int:
    """A new discussion; its number."""
    row = await tx.one("SELECT COALESCE(MAX(num), 0) + 1 FROM discussions WHERE repo_id = ?", repo_id)
    num = int(row[0]) if row else 1
    await tx.run(
        f"INSERT INTO discussions (repo_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, '', ?)",  # noqa: S608
        repo_id, num, title, author_id, int(pull), status, base, tx.now,
    )  # fmt: skip
    return num


async def find(reader: Reader, repo_id: int, num: int) -> Discussion | None:
    row = await reader.one(f"SELECT {_COLUMNS} FROM discussions WHERE repo_id = ? AND num = ?", repo_id, num)  # noqa: S608
    return _discussion(row) if row else None


def _filters(
    repo_id: int, pull: bool | None, statuses: tuple[str, ...], author_id: int | None
) -> tuple[str, list[object]]:
    where, values = ["repo_id = ?"], [repo_id]  # type: list[str], list[object]
    if pull is not None:
        where.append("pull = ?")
        values.append(int(pull))
    if statuses:
        where.append(f"status IN ({', '.join('?' * len(statuses))})")
        values += statuses
    if author_id is not None:
        where.append("author_id = ?")
        values.append(author_id)
    return " AND ".join(where), values


async def page(
    reader: Reader,
    repo_id: int,
    *,
    pull: bool | None,
    statuses: tuple[str, ...],
    author_id: int | None,
    skip: int,
    limit: int,
) -> tuple[list[Discussion], int]:
    """Newest first, and how many there are in all."""
    where, values = _filters(repo_id, pull, statuses, author_id)
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM discussions WHERE {where} ORDER BY num DESC LIMIT ? OFFSET ?",  # noqa: S608
        *values, limit, skip,
    )  # fmt: skip
    total = await reader.one(f"SELECT COUNT(*) FROM discussions WHERE {where}", *values)  # noqa: S608
    return [_discussion(row) for row in rows], int(total[0]) if total else 0


async def set_title(tx: Tx, repo_id: int, num: int, title: str) -> None:
    await tx.run("UPDATE discussions SET title = ? WHERE repo_id = ? AND num = ?", title, repo_id, num)


async def set_status(tx: Tx, repo_id: int, num: int, status: str, merged: str = "") -> None:
    await tx.run(
        "UPDATE discussions SET status = ?, merged = ? WHERE repo_id = ? AND num = ?",
        status, merged, repo_id, num,
    )  # fmt: skip


async def add_event(
    tx: Tx, repo_id: int, num: int, *, public_id: str, kind: str, author_id: int, data: str
) -> None:
    await tx.run(
        "INSERT INTO discussion_events (public_id, repo_id, num, kind, author_id, at, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        public_id, repo_id, num, kind, author_id, tx.now, data,
    )  # fmt: skip


async def events(reader: Reader, repo_id: int, num: int) -> list[Event]:
    rows = await reader.all(
        "SELECT id, public_id, kind, author_id, at, data FROM discussion_events"
        " WHERE repo_id = ? AND num = ? ORDER BY id",
        repo_id, num,
    )  # fmt: skip
    return [Event(*row) for row in rows]


async def find_event(reader: Reader, repo_id: int, num: int, public_id: str) -> Event | None:
    row = await reader.one(
        "SELECT id, public_id, kind, author_id, at, data FROM discussion_events"
        " WHERE public_id = ? AND repo_id = ? AND num = ?",
        public_id, repo_id, num,
    )  # fmt: skip
    return Event(*row) if row else None


async def set_event(tx: Tx, event_id: int, data: str) -> None:
    await tx.run("UPDATE discussion_events SET data = ? WHERE id = ?", data, event_id)


async def comment_counts(reader: Reader, repo_id: int, nums: list[int]) -> dict[int, int]:
    if not nums:
        return {}
    rows = await reader.all(
        "SELECT num, COUNT(*) FROM discussion_events WHERE repo_id = ? AND kind = 'comment'"  # noqa: S608
        f" AND num IN ({', '.join('?' * len(nums))}) GROUP BY num",
        repo_id, *nums,
    )  # fmt: skip
    return {row[0]: row[1] for row in rows}


async def open_pull(
    tx: Tx, repo_id: int, *, title: str, description: str, author_id: int, base: str, draft: bool
) -> int:
    """A new pull request with its first event, the description; its number. Its ref is the caller's to make."""
    status = "draft" if draft else "open"
    num = await insert(tx, repo_id, title=title, author_id=author_id, pull=True, status=status, base=base)
    await add_comment(tx, repo_id, num, author_id, description)
    return num


async def add_comment(tx: Tx, repo_id: int, num: int, author_id: int, text: str) -> str:
    """A comment; its public id."""
    public_id = secrets.token_hex(12)
    data = msgspec.json.encode({"raw": text, "edited": False, "hidden": False}).decode()
    await add_event(
        tx, repo_id, num, public_id=public_id, kind="comment", author_id=author_id, data=data
    )  # fmt: skip
    return public_id


async def add_commit_event(
    tx: Tx, repo_id: int, num: int, author_id: int, subject: str, commit: CommitId
) -> None:
    """A commit was pushed to the pull request."""
    data = msgspec.json.encode({"subject": subject, "oid": commit}).decode()
    await add_event(
        tx, repo_id, num, public_id=secrets.token_hex(12), kind="commit", author_id=author_id, data=data
    )  # fmt: skip
