"""
Git over HTTP, the writing half: a pushed pack becomes commits of a repo (HUB 8.5).

    commands   which refs are to move, and whether this actor may move them
    inspect    everything the pack brings is checked (`hub.inspection`); nothing is kept of one that is not whole
    keep       its files become blobs, its rows are worked out (`hub.adoption`)
    record     one transaction: objects, rows, refs by compare-and-swap, the log; as for any other commit

A push is taken as a whole or not at all: where one of its refs is refused, none moves. What git shows the person is in
the report; an HTTP error it would not show.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from hubreg.errors import Conflict, HubregError, Invalid, Moved, NotFound, Refused, Unauthenticated
from hubreg.formats import gitwire, names
from hubreg.formats.gitwire import ZERO, Command, Push, Ref
from hubreg.formats.unpacking import Limits
from hubreg.hub import recording
from hubreg.hub.adoption import Adoption
from hubreg.hub.commits import Commits
from hubreg.hub.git import refs_of
from hubreg.hub.inspection import Holdings, Inspection
from hubreg.hub.packing import Packing
from hubreg.hub.received import Received
from hubreg.hub.recording import PULLS
from hubreg.hub.snapshots import MAIN
from hubreg.identity.access import Access
from hubreg.model import Action, Actor, Oid
from hubreg.store.db import Database, Tx
from hubreg.store.layout import Layout
from hubreg.store.repos import Repo

LARGEST = 4 << 30  # bytes of the largest push
_AT_ONCE = 2  # pushes whose packs are worked on
_DECLINED = "pre-receive hook declined"  # how git hosts say that the reason is above


class Turns:
    """
    Whose pack is taken apart, among the tasks of this process: a few bytes of one may be seconds of work. Pushes wait
    for pushes only, and somebody's for his own before they wait for others'.
    """

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="hubreg-push")
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def of(self, actor: Actor) -> asyncio.Lock:
        return self._locks.setdefault(actor.user_id, asyncio.Lock())

    def close(self) -> None:
        self.threads.shutdown()


@dataclass(frozen=True, slots=True)
class Pushes:
    db: Database
    access: Access
    packing: Packing
    commits: Commits
    layout: Layout
    limits: Limits = field(default_factory=Limits)
    turns: Turns = field(default_factory=Turns)

    def close(self) -> None:
        self.turns.close()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Received]:
        """Somewhere to put the body of a push. Nothing of it is left when the block has been left."""
        received = Received(self.layout.temporary(), LARGEST, self.turns.threads)
        try:
            yield received
        finally:
            received.close()

    async def push(self, actor: Actor, repo: Repo, received: Received) -> bytes:
        """
        Do what was received, and report. Raises what `Access.require` raises for whoever may not even propose, and
        `Invalid` for what is no push; whatever else is refused, is so in the report.
        """
        self.access.require(actor, Action.PROPOSE, repo)
        push = await received.commands()
        if not push.commands:
            return b""  # git knocks before it sends much
        if len(push.commands) > gitwire.COMMANDS:
            said = ["Push some of them at a time: git push REMOTE REF REF ..."]
            return gitwire.render_report(push, f"one push may move {gitwire.COMMANDS} refs", said)
        refused, said = await self._judge(actor, repo, push)
        if refused:
            return gitwire.render_report(push, _none_moves(push, refused), said)
        holdings = Holdings(self.db, self.packing, repo)
        try:
            if any(command.new != ZERO for command in push.commands):
                async with self.turns.of(actor):
                    await self._unpack(holdings, received)
        except Invalid as error:
            return gitwire.render_report(push, error.message, _said(error))
        try:
            await self._take(actor, repo, push, received, holdings)
        except (Invalid, Conflict, NotFound, Refused, Unauthenticated) as error:
            declined = {command.ref: _DECLINED for command in push.commands}
            return gitwire.render_report(push, declined.items(), _said(error))
        return gitwire.render_report(push, ())

    # commands

    async def _judge(self, actor: Actor, repo: Repo, push: Push) -> tuple[dict[str, str], list[str]]:
        """The refs that may not move as they are to, with why in a few words, and what to say about it."""
        refs = {ref.name: ref for ref in await refs_of(self.db, repo)}
        refused = dict.fromkeys(_clashing(push, refs), "a ref cannot be beside one that has it as a folder")
        if len({command.ref for command in push.commands}) < len(push.commands):
            refused |= {command.ref: "a ref is named twice" for command in push.commands}
        said: list[str] = []
        for n, command in enumerate(push.commands):
            await _let_others(n)
            try:
                _check(command, refs)
                await self.commits.require_move(self.db, actor, repo, command.ref)
            except (Invalid, Conflict) as error:
                refused[command.ref] = error.message
            except HubregError as error:
                refused[command.ref] = _DECLINED
                said += [f"DENIED update {command.ref}: forbidden", *_said(error)]
        return refused, said

    # objects

    async def _unpack(self, holdings: Holdings, received: Received) -> None:
        held = max(self.limits.held, self.commits.config.regular_max)
        missing = await received.unpack(replace(self.limits, held=held))
        while missing:
            # What is missing may also be a delta of this pack, upon another base that is.
            bases = await holdings.of(missing)
            if not bases:
                raise Invalid(f"The pack builds on the object {missing[0]}, which is not in this repo.")
            for base, kind in bases.items():
                missing = await received.admit(base, kind, await holdings.content(base, kind))

    async def _take(
        self, actor: Actor, repo: Repo, push: Push, received: Received, holdings: Holdings
    ) -> None:
        moves = [command for command in push.commands if command.new != ZERO]
        brought = await Inspection(holdings, received, self.limits).run(command.new for command in moves)
        for command in moves:
            if not command.ref.startswith("refs/tags/") and Oid(brought.tips[command.new]) != command.new:
                raise Invalid(f"{command.ref} cannot point to a tag.")
        adoption = Adoption(self.commits, repo, received, brought, self.limits.paths)
        await adoption.keep_files(moves[0].ref if moves else MAIN)
        await adoption.prepare(next((brought.tips[c.new] for c in moves if c.ref == MAIN), None))
        async with self.db.write() as tx:
            actor, repo = await self.access.afresh(tx, actor, repo)
            await adoption.record(tx, proposed=all(command.ref.startswith(PULLS) for command in moves))
            refs = {ref.name: ref for ref in await refs_of(tx, repo)}
            # What goes first may have been in the way of what comes.
            for n, command in enumerate(sorted(push.commands, key=lambda command: command.new != ZERO)):
                await _let_others(n)
                _check(command, refs)
                await self.commits.require_move(tx, actor, repo, command.ref)
                await _move(tx, actor, repo, command, refs.get(command.ref), adoption)


async def _move(
    tx: Tx, actor: Actor, repo: Repo, command: Command, now: Ref | None, adoption: Adoption
) -> None:
    old = now.commit if now else None
    if command.new != ZERO:
        commit = adoption.tips[command.new]
        tag = command.new if command.new != Oid(commit) else None
        new = adoption.commits_of(commit) if command.ref.startswith(PULLS) else ()
        await recording.move(
            tx, actor, repo, command.ref, old, commit, tag=tag, facts=adoption.facts, commits=new
        )
    elif old is not None:
        await recording.drop(tx, actor, repo, command.ref, old)


def _check(command: Command, refs: Mapping[str, Ref]) -> None:
    """
    Whether a ref may move like that, whoever asks. Raises `Moved` where it is elsewhere by now: git's client compares
    what it would overwrite with what it last saw, and says so by `old`.
    """
    ref = command.ref
    if ref.startswith("refs/heads/"):
        names.check_branch(ref.removeprefix("refs/heads/"))
    elif ref.startswith("refs/tags/"):
        names.check_tag(ref.removeprefix("refs/tags/"))
    elif not ref.startswith(PULLS) or ref not in refs:
        raise Invalid("there are branches, tags, and the pull requests that were opened here")
    if command.new == ZERO and (ref == MAIN or ref.startswith(PULLS)):
        raise Invalid("deletion of this ref is prohibited")
    now = refs.get(ref)
    if command.old != (now.oid if now else ZERO):
        raise Moved("fetch first")


def _clashing(push: Push, refs: Mapping[str, Ref]) -> set[str]:
    """New refs of which one would have to be a file and a folder for git: `a` beside `a/b`."""
    after = set(refs) | {command.ref for command in push.commands if command.new != ZERO}
    after -= {command.ref for command in push.commands if command.new == ZERO}
    folders = {folder for ref in after for folder in _folders(ref)}
    made = {command.ref for command in push.commands if command.new != ZERO and command.ref not in refs}
    return {ref for ref in made if ref in folders or not after.isdisjoint(_folders(ref))}


def _folders(ref: str) -> Iterator[str]:
    parts = ref.split("/")
    return ("/".join(parts[:length]) for length in range(3, len(parts)))


def _none_moves(push: Push, refused: Mapping[str, str]) -> list[tuple[str, str]]:
    also = "another ref of this push was refused"
    return [(command.ref, refused.get(command.ref, also)) for command in push.commands]


async def _let_others(n: int) -> None:
    """Now and then: a point read does not wait for anything, so a thousand of them keep everybody else waiting."""
    if not n % 50:
        await asyncio.sleep(0)


def _said(error: HubregError) -> list[str]:
    return [error.message, error.hint] if error.hint else [error.message]
