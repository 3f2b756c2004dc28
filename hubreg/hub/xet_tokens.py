"""
Who may use the content-addressed side of Xet, for which repo, and for how long.

Xet's own requests do not carry the caller's credentials but a token that a route of the repo gives out (XET 2.1). It
says which repo, who, and whether to write; it is signed, and kept nowhere. Each time it is used the repo and the rights
of whoever has it are looked at again, so that what was taken away is gone at once. Only the caller's own token being
revoked is not noticed before this one expires.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hubreg.errors import InvalidCredentials, LinkRefused, Refused, RepoNotFound
from hubreg.identity.access import Access, roles_of
from hubreg.identity.credentials import token_of
from hubreg.identity.links import Links
from hubreg.model import ANONYMOUS, Action, Actor, TokenRole
from hubreg.store import accounts, repos
from hubreg.store.db import Database
from hubreg.store.fresh import Fresh
from hubreg.store.repos import Repo

# Well over the 60 s that clients keep clear of the end, or they would ask for one with each file.
_SECONDS = 1800
_PURPOSE, _READ, _WRITE = "xet:token", "read", "write"


@dataclass(frozen=True, slots=True)
class XetToken:
    """`expires` is a Unix second."""

    text: str
    expires: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever a token was given to, and the repo that it is for."""

    actor: Actor
    repo: Repo
    write: bool


@dataclass(frozen=True, slots=True)
class XetTokens:
    """`epoch`: see `path`."""

    db: Database
    access: Access
    links: Links
    epoch: int
    _known: Fresh[str, Holder] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", Fresh(self.db))

    @property
    def path(self) -> str:
        """
        Where the content-addressed side is. Clients keep what they know of it under this very URL, so that another
        epoch makes them forget it (XET 11).
        """
        return f"/cas/e{self.epoch}"

    def issue(self, actor: Actor, repo: Repo, *, write: bool = False, propose: bool = False) -> XetToken:
        """
        A token for a repo. To write means to send content, which whoever may `propose` a change may do as well; what
        becomes of it is decided by the commit. Raises what `Access.require` raises.
        """
        self.access.require(actor, _action(write=write, propose=propose), repo)
        scope = _WRITE if write else _READ
        text, expires = self.links.token(_PURPOSE, scope, repo.public_id, actor.user_id, seconds=_SECONDS)
        return XetToken(text, expires)

    async def holder(self, authorization: str | None, *, write: bool = False) -> Holder:
        """
        Who has the token in an `Authorization` header. Raises `InvalidCredentials` for none, an expired or an altered
        one, `Refused` where it is only for reading, and what access to the repo would raise by now.
        """
        text = token_of(authorization or "")
        holder = self._known.get(text)
        if holder is None:
            holder = await self._look_up(text)
            self._known.put(text, holder)
        else:
            self._facts(text)  # it may have expired
        if write and not holder.write:
            raise Refused("This Xet token is only for reading.")
        action = _action(write=holder.write, propose=True)
        self.access.require(holder.actor, action, holder.repo)
        return holder

    async def _look_up(self, text: str) -> Holder:
        scope, public_id, user_id = self._facts(text)
        repo = await repos.by_public_id(self.db, public_id)
        if repo is None:
            raise RepoNotFound("Repository not found")
        return Holder(await self._actor(int(user_id), write=scope == _WRITE), repo, scope == _WRITE)

    def _facts(self, text: str) -> list[str]:
        try:
            return self.links.facts(_PURPOSE, text)
        except LinkRefused as error:
            raise InvalidCredentials(
                "This Xet token is missing, altered or expired.",
                hint="Ask the repo's token route for another.",
            ) from error

    async def _actor(self, user_id: int, *, write: bool) -> Actor:
        if not user_id:
            return ANONYMOUS
        account = (await accounts.by_ids(self.db, [user_id])).get(user_id)
        if account is None or account.disabled:
            raise InvalidCredentials("Whoever this Xet token was given to may not use it any more.")
        roles = await roles_of(self.db, account)
        role = TokenRole.WRITE if write else TokenRole.READ
        return Actor(account.id, account.name, account.admin, role, roles=roles)


def _action(*, write: bool, propose: bool) -> Action:
    if not write:
        return Action.READ
    return Action.PROPOSE if propose else Action.WRITE
