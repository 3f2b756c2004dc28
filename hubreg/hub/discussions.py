"""
Discussions and pull requests: talk about a repo, and changes offered to it.

Both share one count per repo. The content of pull request N is the ref `refs/pr/N`, a revision like any
other: it begins at the commit of the branch it is for and moves by commits to it (`hub.commits`). Whoever may
read a repo may propose; whoever may write may merge.

**Merging** is three-way and per file: what the pull request did since the two lines parted is done to the
branch as it is now. A file that both changed, each in another way, is a conflict: lines are not merged,
because the files that matter here are weights and generated JSON, where a mix of two versions is worse than
none. The result is always a commit with two parents, the branch first, even where the branch stood still and
its pointer could just have been moved on. So the branch's own line has one commit per pull request, named
after it; `mergeCommitId` is a commit that nothing else is; and the pull request's commits stay reachable
under the ids that its author was told.

What is said is kept as it was written. The `html` of a comment is its text escaped: Markdown is the reader's
to render, and no markup of one user reaches another's page.
"""

from __future__ import annotations

import asyncio
import html
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from hubreg.errors import (
    Conflict,
    DiscussionNotFound,
    Invalid,
    Moved,
    Refused,
    RevisionNotFound,
    TooLarge,
)
from hubreg.formats import gitobjects, names
from hubreg.formats.gitobjects import Change
from hubreg.formats.hubjson import iso
from hubreg.hub.commits import Commits, Draft, edits_of
from hubreg.hub.history import History
from hubreg.hub.recording import STALE
from hubreg.hub.snapshots import MAIN, Snapshot, Snapshots
from hubreg.identity.access import Access
from hubreg.model import Action, Actor, CommitId, Millis
from hubreg.store import accounts, discussions, log, objects, repos
from hubreg.store.db import Database, Reader, Tx
from hubreg.store.discussions import Discussion
from hubreg.store.repos import Repo

PAGE = 50  # rows, as the Hub has it (HUB 5.7)
TYPES: Mapping[str, bool | None] = {"all": None, "discussion": False, "pull_request": True}
# A draft is open to whoever asks for what is open: the client's own tests expect it there.
STATUSES: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "open": ("draft", "open"),
    "closed": ("closed", "merged"),
    "draft": ("draft",),
    "merged": ("merged",),
}
HIDDEN = "This comment has been hidden"

_LONGEST_TEXT = 65_536  # characters of one comment
_LAST_PAGE = 1_000_000
_LAST_NUMBER = 2**31
_ATTEMPTS = 20  # to merge while others commit to the branch
_PAUSE = 0.002  # seconds, times the attempts so far
_LISTED = 100  # commits that a merge commit's message names


@dataclass(frozen=True, slots=True)
class Thread:
    """A discussion as lists show it. `author` is "" where the account is gone; clients then say "deleted"."""

    row: Discussion
    author: str
    comments: int


@dataclass(frozen=True, slots=True)
class Page:
    """
    Newest first; `start` is the place of the first row among `count`. `closed` is known on the first page
    only.
    """

    threads: list[Thread]
    count: int
    start: int
    closed: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """
    Something that happened in a discussion. `data` is what the wire calls so, by `kind` (CLIENT_API 6):
    comment `{edited, hidden, latest: {raw, html, updatedAt, author}, history}`, status-change `{status}`,
    commit `{subject, oid}`, title-change `{from, to}`.
    """

    id: str
    kind: str
    author: str
    at: Millis
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Detail:
    """
    One discussion with all that happened in it.

    Of a pull request also the files that keep it from being merged, as long as it could be (True: its history
    has nothing in common with the branch any more), and on demand what it changes, as `git diff` prints it;
    None where that would be more than anybody reads.
    """

    thread: Thread
    events: list[Event]
    conflicts: list[str] | bool
    diff: str | None


class _Version(msgspec.Struct):
    """A text that a comment once had."""

    raw: str
    by: int
    at: int


class _Comment(msgspec.Struct):
    """What is kept of a comment, in the JSON that `store.discussions.add_comment` begins."""

    raw: str
    edited: bool = False
    hidden: bool = False
    by: int = 0  # who wrote this text, and when; 0: as the comment itself
    at: int = 0
    history: list[_Version] = []


@dataclass(frozen=True, slots=True)
class _Merge:
    """A pull request against its branch as it is now. `fork` is where the two parted, None for nowhere."""

    base: Snapshot
    head: Snapshot
    fork: Snapshot | None
    changes: Sequence[Change]
    conflicts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Discussions:
    db: Database
    access: Access
    commits: Commits
    snapshots: Snapshots
    history: History

    # reading

    async def page(
        self,
        actor: Actor,
        repo: Repo,
        number: int = 0,
        *,
        type_: str = "all",
        status: str = "all",
        author: str | None = None,
    ) -> Page:
        """
        One page of discussions. An author whom nobody knows has none; a filter that does not exist is
        `Invalid`.
        """
        self.access.require(actor, Action.READ, repo)
        if type_ not in TYPES or status not in STATUSES:
            raise Invalid(f"type is one of {', '.join(TYPES)}; status one of {', '.join(STATUSES)}.")
        if not 0 <= number <= _LAST_PAGE:
            raise Invalid("There is no such page.")
        author_id = None
        if author is not None:
            account = await accounts.find(self.db, names.key(author))
            author_id = account.id if account is not None else 0
        pull, start = TYPES[type_], number * PAGE
        rows, count = await discussions.page(
            self.db, repo.id, pull=pull, statuses=STATUSES[status], author_id=author_id,
            skip=start, limit=PAGE,
        )  # fmt: skip
        closed = None
        if number == 0:
            _, closed = await discussions.page(
                self.db, repo.id, pull=pull, statuses=STATUSES["closed"], author_id=author_id,
                skip=0, limit=0,
            )  # fmt: skip
        return Page(await self._threads(repo, rows), count, start, closed)

    async def detail(self, actor: Actor, repo: Repo, num: int, *, diff: bool = False) -> Detail:
        """Raises `DiscussionNotFound`."""
        self.access.require(actor, Action.READ, repo)
        row = await _find(self.db, repo, num)
        [thread] = await self._threads(repo, [row])
        shown = await _shown(self.db, await discussions.events(self.db, repo.id, num))
        if not row.pull:
            return Detail(thread, shown, [], None)
        try:
            merge = await self._compare(repo, row)
        except RevisionNotFound:  # the branch is gone
            return Detail(thread, shown, row.status in ("draft", "open"), None)
        conflicts: list[str] | bool = []
        if row.status in ("draft", "open"):
            conflicts = list(merge.conflicts) if merge.fork is not None else True
        return Detail(thread, shown, conflicts, await self._diff(actor, repo, merge) if diff else None)

    async def _threads(self, repo: Repo, rows: Sequence[Discussion]) -> list[Thread]:
        comments = await discussions.comment_counts(self.db, repo.id, [row.num for row in rows])
        people = await accounts.by_ids(self.db, sorted({row.author_id for row in rows}))
        return [Thread(row, _name(people, row.author_id), comments.get(row.num, 0)) for row in rows]

    async def _diff(self, actor: Actor, repo: Repo, merge: _Merge) -> str | None:
        start = merge.fork or merge.base
        try:
            return await self.history.compare_text(actor, repo, start.commit, merge.head.commit)
        except TooLarge:
            return None

    # talking

    async def open(
        self, actor: Actor, repo: Repo, title: str, description: str = "", *, pull: bool = False
    ) -> int:
        """
        Begin a discussion, or with `pull` a pull request for `main`, a draft that has no changes yet; its
        number.

        A description is its first event, an empty one too (CLIENT_API 6).
        """
        self.access.require(actor, Action.PROPOSE, repo)
        title, text = _title(title), _text(description)
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.PROPOSE, repo)
            if pull:
                return await self._open_pull(tx, actor, repo, title, text)
            num = await discussions.insert(
                tx, repo.id, title=title, author_id=actor.user_id, pull=False, status="open", base=""
            )
            await discussions.add_comment(tx, repo.id, num, actor.user_id, text)
            await log.append(tx, actor, "repo:discussion:open", str(repo.ref), number=num)
        return num

    async def _open_pull(self, tx: Tx, actor: Actor, repo: Repo, title: str, text: str) -> int:
        start = await repos.find_ref(tx, repo.id, MAIN)
        if start is None:
            raise RevisionNotFound("Invalid rev id: main")
        num = await discussions.open_pull(
            tx, repo.id, title=title, description=text, author_id=actor.user_id, base=MAIN, draft=True
        )
        await repos.move_ref(tx, repo.id, _ref(num), None, start)
        await log.append(tx, actor, "repo:pull:open", str(repo.ref), number=num, base=MAIN)
        return num

    async def comment(self, actor: Actor, repo: Repo, num: int, text: str) -> Event:
        """Say something."""
        self.access.require(actor, Action.PROPOSE, repo)
        text = _text(text, empty=False)
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.PROPOSE, repo)
            await _find(tx, repo, num)
            event = await _comment(tx, actor, repo, num, text)
            await log.append(tx, actor, "repo:discussion:comment", str(repo.ref), number=num, comment=event)
            return await _one(tx, repo, num, event)

    async def edit(self, actor: Actor, repo: Repo, num: int, comment: str, text: str) -> Event:
        """Put a comment of one's own in other words; the former ones stay in its history."""
        self.access.require(actor, Action.PROPOSE, repo)
        text = _text(text, empty=False)
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.PROPOSE, repo)
            event, said = await _find_comment(tx, repo, num, comment)
            if event.author_id != actor.user_id:
                raise Refused("Only its author may edit a comment.")
            if said.hidden:
                raise Conflict("A hidden comment cannot be edited.")
            former = _Version(said.raw, said.by or event.author_id, said.at or event.at)
            said.history.append(former)
            said.raw, said.edited, said.by, said.at = text, True, actor.user_id, tx.now
            return await _keep_comment(tx, actor, repo, num, event, said, "edit")

    async def hide(self, actor: Actor, repo: Repo, num: int, comment: str) -> Event:
        """Show a comment no more, by its author or whoever may write. Nobody can read it afterwards."""
        self.access.require(actor, Action.PROPOSE, repo)
        async with self.db.write() as tx:
            await self.access.require_now(tx, actor, Action.PROPOSE, repo)
            event, said = await _find_comment(tx, repo, num, comment)
            if event.author_id != actor.user_id:
                await self.access.require_now(tx, actor, Action.WRITE, repo)
            said.hidden = True
            return await _keep_comment(tx, actor, repo, num, event, said, "hide")

    async def set_title(self, actor: Actor, repo: Repo, num: int, title: str) -> Event:
        """Rename, by the author or whoever may write."""
        title = _title(title)
        async with self.db.write() as tx:
            row = await self._own(tx, actor, repo, num)
            await discussions.set_title(tx, repo.id, num, title)
            event = await _add(tx, actor, repo, num, "title-change", {"from": row.title, "to": title})
            await log.append(tx, actor, "repo:discussion:rename", str(repo.ref), number=num, title=title)
            return await _one(tx, repo, num, event)

    async def set_status(self, actor: Actor, repo: Repo, num: int, status: str, comment: str = "") -> Event:
        """Open or close, by the author or whoever may write. What is merged stays so: `Conflict`."""
        if status not in ("open", "closed"):
            raise Invalid('"status" must be one of [open, closed]')
        text = _text(comment)
        async with self.db.write() as tx:
            row = await self._own(tx, actor, repo, num)
            if row.status == "merged":
                raise Conflict("This pull request is merged.")
            event = await self._set_status(tx, actor, repo, row, status, text)
            await log.append(tx, actor, "repo:discussion:status", str(repo.ref), number=num, status=status)
            return await _one(tx, repo, num, event)

    async def _own(self, tx: Tx, actor: Actor, repo: Repo, num: int) -> Discussion:
        """The discussion, if the actor may change it."""
        await self.access.require_now(tx, actor, Action.PROPOSE, repo)
        row = await _find(tx, repo, num)
        if row.author_id != actor.user_id:
            await self.access.require_now(tx, actor, Action.WRITE, repo)
        return row

    async def _set_status(
        self, tx: Tx, actor: Actor, repo: Repo, row: Discussion, status: str, text: str, merged: str = ""
    ) -> str:
        await discussions.set_status(tx, repo.id, row.num, status, merged)
        if text:
            await _comment(tx, actor, repo, row.num, text)
        return await _add(tx, actor, repo, row.num, "status-change", {"status": status})

    # merging

    async def merge(self, actor: Actor, repo: Repo, num: int, comment: str = "") -> Event:
        """
        Make the pull request's changes part of its branch; see the module for how. A draft can be merged:
        whoever may merge it may call it ready.

        Raises `Conflict` where it is closed, merged, empty, or changes what the branch has changed too:
        `body` then has the paths as `files`. Whoever commits to the branch meanwhile is not overtaken: the
        merge begins again.
        """
        self.access.require(actor, Action.WRITE, repo)
        text = _text(comment)
        for attempt in range(_ATTEMPTS):
            row = await _find(self.db, repo, num)
            _require_mergeable(row)
            try:
                async with self.commits.turns.of(repo, row.base):
                    merge = await self._compare(repo, row)
                    draft = await self._draft(repo, row, merge)
                    async with self.db.write() as tx:
                        return await self._record(tx, actor, repo, row, merge, draft, text)
            except Moved:
                await asyncio.sleep(
                    _PAUSE * attempt
                )  # another process was first, or a commit to the pull request
        raise Moved(STALE, hint="Too many others commit to this branch at the same time.")

    async def _compare(self, repo: Repo, row: Discussion) -> _Merge:
        """What is still to be done on the branch, and what stands against it. Raises `RevisionNotFound`."""
        base, head = await self.snapshots.at(repo, row.base), await self.snapshots.at(repo, _ref(row.num))
        parted = await _parting(self.db, repo.id, base.commit, head.commit)
        if parted is None:
            return _Merge(base, head, None, [], [])
        fork = await self.snapshots.of(repo, parted)
        ours = await self.snapshots.drive(gitobjects.diff(fork.tree, base.tree))
        theirs = await self.snapshots.drive(gitobjects.diff(fork.tree, head.tree))
        return _Merge(base, head, fork, *combine(ours, theirs))

    async def _draft(self, repo: Repo, row: Discussion, merge: _Merge) -> Draft:
        if merge.fork is None:
            raise Conflict(
                f"The history of {row.base} was rewritten: it has nothing in common with #{row.num}."
            )
        if merge.conflicts:
            raise Conflict(
                f"These files were changed on both sides: {', '.join(merge.conflicts[:20])}.",
                hint=f"Make them agree by a commit to {_ref(row.num)}.",
                body={"files": list(merge.conflicts)},
            )
        if merge.fork.commit == merge.head.commit:
            raise Conflict(f"#{row.num} has no changes to merge.")
        message = await self._message(repo, row, merge.fork, merge.head)
        parents = (merge.base.commit, merge.head.commit)
        edits = edits_of(merge.changes)
        facts = repo.ref.type if row.base == MAIN else None
        return await self.commits.draft(merge.base, edits, {}, message, parents, facts=facts)

    async def _message(self, repo: Repo, row: Discussion, fork: Snapshot, head: Snapshot) -> str:
        """The pull request and its commits by name, as the Hub writes it."""
        title = f"{' '.join(row.title.split())} (#{row.num})"
        lines = []
        for commit in await objects.history(self.db, repo.id, head.commit, 0, _LISTED):
            if commit.id == fork.commit:
                break
            lines.append(f"- {commit.title} ({commit.id})")
        return "\n".join([title, "", *lines])

    async def _record(
        self, tx: Tx, actor: Actor, repo: Repo, row: Discussion, merge: _Merge, draft: Draft, text: str
    ) -> Event:
        await self.access.require_now(tx, actor, Action.WRITE, repo)
        now = await _find(tx, repo, row.num)
        _require_mergeable(now)
        if await repos.find_ref(tx, repo.id, _ref(row.num)) != merge.head.commit:
            raise Moved(STALE)
        commit = await self.commits.record(tx, actor, repo, row.base, merge.base.commit, draft)
        event = await self._set_status(tx, actor, repo, now, "merged", text, commit)
        await log.append(
            tx, actor, "repo:pull:merge", str(repo.ref), number=row.num, base=row.base, commit=commit
        )
        return await _one(tx, repo, row.num, event)


def combine(ours: Sequence[Change], theirs: Sequence[Change]) -> tuple[list[Change], list[str]]:
    """
    Two sets of changes to one tree: those of `theirs` that are still to be made once `ours` are, and the
    paths at which the two cannot both be. The same change on both sides is no conflict.
    """
    done = {change.path: change for change in ours}
    files = {change.path for change in ours if change.new is not None}
    folders = {above for path in files for above in _above(path)}
    missing: list[Change] = []
    conflicts: list[str] = []
    for change in theirs:
        mine = done.get(change.path)
        if mine is not None:
            if mine.new != change.new:
                conflicts.append(change.path)
        elif change.new is not None and (
            change.path in folders or any(above in files for above in _above(change.path))
        ):
            conflicts.append(change.path)  # a file here, a folder there
        else:
            missing.append(change)
    return missing, conflicts


def _above(path: str) -> Iterator[str]:
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


async def _parting(reader: Reader, repo_id: int, one: CommitId, other: CommitId) -> CommitId | None:
    """
    The newest commit on both lines of first parents, None where they never meet.

    A point read per commit since they parted, and none of what lies before.
    """
    left = await objects.find_commit(reader, repo_id, one)
    right = await objects.find_commit(reader, repo_id, other)
    while left is not None and right is not None and left.id != right.id:
        if left.depth >= right.depth:
            left = await objects.find_commit(reader, repo_id, left.parent) if left.parent else None
        else:
            right = await objects.find_commit(reader, repo_id, right.parent) if right.parent else None
    return left.id if left is not None and right is not None else None


def _require_mergeable(row: Discussion) -> None:
    if not row.pull:
        raise Invalid(f"#{row.num} is a discussion, not a pull request.")
    if row.status not in ("draft", "open"):
        raise Conflict(f"#{row.num} is {row.status}.")


def _ref(num: int) -> str:
    return f"refs/pr/{num}"


async def _find(reader: Reader, repo: Repo, num: int) -> Discussion:
    row = await discussions.find(reader, repo.id, num) if 0 < num < _LAST_NUMBER else None
    if row is None:
        raise DiscussionNotFound(f"There is no discussion #{num} in {repo.ref.full}.")
    return row


# events


async def _add(tx: Tx, actor: Actor, repo: Repo, num: int, kind: str, data: Mapping[str, str]) -> str:
    """A new event; its id."""
    event = secrets.token_hex(12)
    await discussions.add_event(
        tx, repo.id, num, public_id=event, kind=kind, author_id=actor.user_id,
        data=msgspec.json.encode(data).decode(),
    )  # fmt: skip
    return event


async def _comment(tx: Tx, actor: Actor, repo: Repo, num: int, text: str) -> str:
    return await discussions.add_comment(tx, repo.id, num, actor.user_id, text)


async def _event(reader: Reader, repo: Repo, num: int, event: str) -> discussions.Event:
    row = await discussions.find_event(reader, repo.id, num, event.lower())
    if row is None:
        raise DiscussionNotFound(f"There is no comment {event[:40]!r} in #{num}.")
    return row


async def _one(reader: Reader, repo: Repo, num: int, event: str) -> Event:
    [shown] = await _shown(reader, [await _event(reader, repo, num, event)])
    return shown


async def _find_comment(
    reader: Reader, repo: Repo, num: int, event: str
) -> tuple[discussions.Event, _Comment]:
    await _find(reader, repo, num)
    row = await _event(reader, repo, num, event)
    if row.kind != "comment":
        raise Invalid("Only comments can be changed.")
    return row, msgspec.json.decode(row.data, type=_Comment)


async def _keep_comment(
    tx: Tx, actor: Actor, repo: Repo, num: int, event: discussions.Event, said: _Comment, how: str
) -> Event:
    data = msgspec.json.encode(said).decode()
    await discussions.set_event(tx, event.id, data)
    await log.append(
        tx, actor, f"repo:discussion:{how}", str(repo.ref), number=num, comment=event.public_id
    )  # fmt: skip
    [shown] = await _shown(tx, [replace(event, data=data)])
    return shown


async def _shown(reader: Reader, rows: Sequence[discussions.Event]) -> list[Event]:
    """Events as the wire has them, with everybody's name."""
    comments = {row.id: msgspec.json.decode(row.data, type=_Comment) for row in rows if row.kind == "comment"}
    ids = {row.author_id for row in rows}
    for comment in comments.values():
        ids |= {comment.by, *(version.by for version in comment.history)}
    people = await accounts.by_ids(reader, sorted(ids))
    shown = []
    for row in rows:
        said = comments.get(row.id)
        data = _said(row, said, people) if said else msgspec.json.decode(row.data)
        shown.append(Event(row.public_id, row.kind, _name(people, row.author_id), row.at, data))
    return shown


def _said(
    row: discussions.Event, said: _Comment, people: Mapping[int, accounts.Account]
) -> dict[str, object]:
    now = _Version(said.raw, said.by or row.author_id, said.at or row.at)
    history = said.history
    if said.hidden:
        now, history = _Version(HIDDEN, now.by, now.at), []
    return {
        "edited": said.edited,
        "hidden": said.hidden,
        "latest": _version(now, people),
        "history": [_version(version, people) for version in history],
    }


def _version(version: _Version, people: Mapping[int, accounts.Account]) -> dict[str, object]:
    shown: dict[str, object] = {
        "raw": version.raw,
        "html": render_html(version.raw),
        "updatedAt": iso(Millis(version.at)),
    }
    name = _name(people, version.by)
    if name:
        shown["author"] = {"name": name, "type": "user"}
    return shown


def _name(people: Mapping[int, accounts.Account], id_: int) -> str:
    return people[id_].name if id_ in people else ""


def render_html(text: str) -> str:
    """The text as HTML that shows exactly the text."""
    paragraphs: Iterable[str] = (part.strip("\n") for part in text.replace("\r\n", "\n").split("\n\n"))
    return "".join(f"<p>{html.escape(part).replace(chr(10), '<br>')}</p>" for part in paragraphs if part)


# what may be said


def _title(text: str) -> str:
    title = text.strip()
    if not 3 <= len(title) <= discussions.LONGEST_TITLE or not title.isprintable():
        raise Invalid(f"A title has 3 to {discussions.LONGEST_TITLE} characters on one line.")
    return title


def _text(text: str, *, empty: bool = True) -> str:
    if not empty and not text.strip():
        raise Invalid("A comment needs a text.")
    if len(text) > _LONGEST_TEXT:
        raise Invalid(f"A comment has at most {_LONGEST_TEXT} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("The text is not valid Unicode.") from None
    return text
