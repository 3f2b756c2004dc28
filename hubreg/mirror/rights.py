"""
Who may read what is private or gated upstream (PITFALLS 11): bytes are kept once for all, the right to them is not.

A caller's right is what upstream says of the caller's own token, which an account is linked to or, where the rule
allows it, the request brings along; or it is a grant that an administrator recorded here. The server's own token is
nobody's right. What upstream said is good for a few minutes; while it cannot be asked, who was let in last time is let
in again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hubreg.errors import (
    GatedAnonymous,
    GatedRepo,
    HubregError,
    NotFound,
    Refused,
    UpstreamFailed,
)
from hubreg.identity.access import absent
from hubreg.identity.admitted import ANYBODY, Admitted, caller_key
from hubreg.identity.sealing import Sealing
from hubreg.mirror.rules import Rule
from hubreg.mirror.sources import Sources
from hubreg.mirror.turns import Turns
from hubreg.model import Actor, Millis
from hubreg.store import mirror
from hubreg.store.db import Clock, Database
from hubreg.store.mirror import Right
from hubreg.store.repos import Repo

YES = 300_000  # milliseconds that a right is not asked for again
NO = 30_000  # the same of a refusal: whoever was just let in upstream does not want to wait
_DOWN = 10_000  # and while upstream cannot be asked


def purpose(upstream_id: int, user_id: int) -> str:
    """What a user's token is sealed for."""
    return f"user {user_id} at upstream {upstream_id}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose right it is, and the upstream's token that they have, "" for none."""

    key: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Rights:
    db: Database
    sources: Sources
    sealing: Sealing
    turns: Turns
    admitted: Admitted
    clock: Clock
    # The token by which each repo was read last, for what is asked on nobody's behalf: listings, names.
    _proved: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    async def caller(self, actor: Actor, upstream_id: int | None, *, foreign: bool) -> Caller:
        """The actor as upstream would see it; `foreign`: whether a token that is not ours may be taken there."""
        if actor.user_id and upstream_id is not None:
            sealed = await mirror.linked_token(self.db, upstream_id, actor.user_id)
            opened = self.sealing.open(sealed, purpose(upstream_id, actor.user_id)) if sealed else ""
            return Caller(caller_key(actor), opened or "")
        if actor.foreign_token and foreign:
            return Caller(caller_key(actor), actor.foreign_token)
        return Caller(ANYBODY)

    async def token(self, repo: Repo) -> str:
        """What to ask upstream with about a repo: the server's own token, or a reader's where that one does not do."""
        if (repo.private or repo.gated) and (proved := self._proved.get(repo.id)):
            return proved
        hub = await self.sources.hub(repo.upstream_id)
        return hub.upstream.token if hub is not None else ""

    async def require(self, actor: Actor, repo: Repo, rule: Rule | None) -> None:
        """Return if the actor may read a repo that is private or gated; else raise what upstream would."""
        foreign = rule is not None and rule.foreign_tokens
        caller = await self.caller(actor, repo.upstream_id, foreign=foreign)
        if self.admitted.until(caller.key, repo.id) is not None:
            return
        right = await self._remembered(repo, caller, asks=rule is not None and rule.asks)
        if right is None:
            right = await self._asked(actor, repo, caller)
        if not right.allowed:
            self.admitted.withdraw(caller.key, repo.id)
            raise refusal(actor, repo)
        self._admit(repo, caller, right)

    async def until(self, actor: Actor, repo: Repo, rule: Rule | None) -> Millis:
        """Until when the right that the actor was found to have needs not be looked at again."""
        caller = await self.caller(actor, repo.upstream_id, foreign=rule is not None and rule.foreign_tokens)
        return self.admitted.until(caller.key, repo.id) or self.clock()

    def _admit(self, repo: Repo, caller: Caller, right: Right) -> None:
        now = self.clock()
        until = now + YES if right.recorded else max(right.checked_at + YES, now + _DOWN)
        self.admitted.admit(caller.key, repo.id, Millis(until))
        if caller.token and not right.recorded:
            self._proved[repo.id] = caller.token

    async def _remembered(self, repo: Repo, caller: Caller, *, asks: bool) -> Right | None:
        """What needs not be asked for; None for what does."""
        right = await mirror.find_right(self.db, repo.id, caller.key)
        now = self.clock()
        if right is not None and (right.recorded or not asks):
            return right
        if right is not None and now < right.checked_at + (YES if right.allowed else NO):
            return right
        if not caller.token or not asks:
            return Right(False, False, now)
        return None

    async def _asked(self, actor: Actor, repo: Repo, caller: Caller) -> Right:
        hub = await self.sources.hub(repo.upstream_id)
        last = await mirror.find_right(self.db, repo.id, caller.key)
        if hub is None:
            return last or Right(False, False, self.clock())

        async def look() -> Right | None:
            right = await mirror.find_right(self.db, repo.id, caller.key)
            return right if right is not None and right != last else None

        async def ask() -> Right:
            allowed = True
            try:
                await hub.check_right(repo.ref.type, repo.upstream_name, token=caller.token)
            except (NotFound, Refused):
                allowed = False
            async with self.db.write() as tx:
                await mirror.put_right(tx, repo.id, caller.key, allowed=allowed)
                return Right(allowed, False, tx.now)

        try:
            return await self.turns.once(f"right:{repo.id}:{caller.key}", look, ask)
        except UpstreamFailed:
            if last is not None and last.allowed:
                return last
            raise


def refusal(actor: Actor, repo: Repo) -> HubregError:
    """What somebody is told who has no right: of a private repo that there is none, of a gated one how to get in."""
    if repo.private:
        return absent(actor)
    kind, name = repo.ref.type.value, repo.ref.full
    if actor.anonymous:
        return GatedAnonymous(
            f"Access to {kind} {name} is restricted. You must have access to it and be authenticated to access it."
            " Please log in."
        )
    return GatedRepo(
        f"Access to {kind} {name} is restricted and you are not in the authorized list. Ask for access upstream,"
        " then link your token of the upstream to your account here.",
        hint="An administrator links it: `hubreg mirror link USER UPSTREAM --token-file FILE`.",
    )
