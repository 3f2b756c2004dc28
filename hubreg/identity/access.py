"""
Who may do what: every rule about repos is in this module.

| | know | read | propose | write | manage |
| --- | --- | --- | --- | --- | --- |
| anybody, public repo | yes | yes, unless gated | with a write token | | |
| member `read` | yes | yes | with a write token | | |
| member `contributor` | yes | yes | yes | what they created | what they created |
| member `write` or `admin`, the user itself, a site administrator | yes | yes | yes | yes | yes |

As on the Hub, `write` creates, renames and deletes every repo of an organisation; `admin` differs in what it may do to
the organisation itself. Writing of any kind takes a token of role `write`. Whoever may not know of a repo is told that
it does not exist, in the same words as for one that does not.

A request is judged when it comes, and what it brings may take hours to arrive. So whoever changes something asks once
more in the transaction that does (`Access.afresh`, `Access.require_now`): what was taken away meanwhile is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubreg.errors import (
    GatedAnonymous,
    GatedRepo,
    HubregError,
    InvalidCredentials,
    Refused,
    RepoDisabled,
    RepoHidden,
    RepoNotFound,
    Unauthenticated,
)
from hubreg.formats import names
from hubreg.identity.admitted import Admitted, caller_key
from hubreg.model import INVALID_TOKEN, Action, Actor, OrgRole, TokenRole
from hubreg.store import accounts, repos
from hubreg.store.accounts import Account
from hubreg.store.db import Reader
from hubreg.store.repos import Repo

_RANK = {role: rank for rank, role in enumerate(OrgRole)}
UNAUTHENTICATED = "Invalid username or password."


def absent(actor: Actor) -> HubregError:
    """What somebody is told of a repo that is not there, or not for them."""
    if actor.invalid_token:
        return InvalidCredentials(InvalidCredentials.MESSAGE)
    if actor.anonymous:
        return RepoHidden(UNAUTHENTICATED)
    return RepoNotFound("Repository not found")


def require_user(actor: Actor, *, write: bool = False) -> None:
    """Raise unless somebody is logged in, with a token that may write if `write`."""
    if actor.invalid_token:
        raise InvalidCredentials(InvalidCredentials.MESSAGE)
    if actor.anonymous:
        raise Unauthenticated(UNAUTHENTICATED)
    if write and actor.token_role is not TokenRole.WRITE:
        raise Refused(
            "This token may only read: a write token is needed.",
            hint="Create one with `hubreg token create USER --role write --name NAME`.",
        )


async def roles_of(reader: Reader, user: Account) -> dict[str, OrgRole]:
    """In which namespaces a user acts, and as what."""
    roles = {names.key(m.org.name): m.role for m in await accounts.memberships(reader, user.id)}
    return roles | {names.key(user.name): OrgRole.ADMIN}


@dataclass(frozen=True, slots=True)
class Access:
    """The rules, under the settings of this server."""

    anonymous: bool = True
    admitted: Admitted | None = None

    def require_entry(self, actor: Actor) -> None:
        """Raise unless the actor may look around at all: without anonymous reading only users may."""
        if not self.anonymous:
            require_user(actor)

    def role(self, actor: Actor, namespace: str) -> OrgRole | None:
        """The actor's role in a namespace; None for a stranger."""
        if actor.admin:
            return OrgRole.ADMIN
        return actor.roles.get(names.key(namespace))

    def knows(self, actor: Actor, repo: Repo) -> bool:
        if actor.anonymous and not self.anonymous:
            return False
        return not repo.private or self.role(actor, repo.ref.namespace) is not None

    def require(self, actor: Actor, action: Action, repo: Repo) -> None:
        """Raise the refusal that the Hub would give, or return."""
        if repo.upstream_id is not None:
            self._require_mirrored(actor, action, repo)
            return
        if not self.knows(actor, repo):
            raise absent(actor)
        if action is Action.KNOW:
            return
        role = self.role(actor, repo.ref.namespace)
        if action in (Action.PROPOSE, Action.WRITE, Action.MANAGE):
            require_user(actor, write=True)
        if action in (Action.READ, Action.PROPOSE):
            self._require_content(actor, repo, role)
            return
        if repo.disabled and action is Action.WRITE:
            raise RepoDisabled(RepoDisabled.MESSAGE)
        if not _may(role, own=repo.creator_id == actor.user_id):
            raise Refused(
                f"You do not have the right to {action.value} {repo.ref.type.value} {repo.ref.full}.",
                hint=f"Ask an administrator of {repo.ref.namespace}.",
            )

    def may(self, actor: Actor, action: Action, repo: Repo) -> bool:
        """Whether `require` would return."""
        try:
            self.require(actor, action, repo)
        except HubregError:
            return False
        return True

    async def afresh(self, reader: Reader, actor: Actor, repo: Repo) -> tuple[Actor, Repo]:
        """
        The actor with the rights it has by now, and the repo as it is by now. Raises what `absent` gives where the repo
        is gone. An account that was disabled, or a token that was revoked, is as good as none.
        """
        actor = await self.known(reader, actor)
        now = await repos.get(reader, repo.id)
        if now is None:
            raise absent(actor)
        return actor, now

    async def known(self, reader: Reader, actor: Actor) -> Actor:
        """The actor with the rights it has by now."""
        if actor.anonymous:
            return actor
        account = (await accounts.by_ids(reader, [actor.user_id])).get(actor.user_id)
        if account is None or account.disabled:
            return INVALID_TOKEN
        if actor.token_name and actor.token_name not in await accounts.token_names(reader, account.id):
            return INVALID_TOKEN
        return replace(actor, name=account.name, admin=account.admin, roles=await roles_of(reader, account))

    async def require_now(self, reader: Reader, actor: Actor, action: Action, repo: Repo) -> Repo:
        """`require`, by what holds now: for the transaction that makes a change. The repo as it is by now."""
        actor, repo = await self.afresh(reader, actor, repo)
        self.require(actor, action, repo)
        return repo

    def _require_mirrored(self, actor: Actor, action: Action, repo: Repo) -> None:
        """
        The same of a repo that is an upstream's: nobody changes it here, and what is private or gated there is for whom
        `mirror.rights` let in.
        """
        if actor.anonymous and not self.anonymous:
            raise absent(actor)
        if repo.private or (repo.gated and action is not Action.KNOW):
            admitted = self.admitted is not None and self.admitted.holds(caller_key(actor), repo.id)
            if not admitted:
                if repo.private:
                    raise absent(actor)
                self._require_content(actor, repo, None)
        if action in (Action.PROPOSE, Action.WRITE, Action.MANAGE):
            raise Refused(
                f"{repo.ref.full} is mirrored from upstream and cannot be changed here.",
                hint="Write to a repo of your own: download it, and upload it under another name.",
            )
        if repo.disabled and action is not Action.KNOW:
            raise RepoDisabled(RepoDisabled.MESSAGE)

    def _require_content(self, actor: Actor, repo: Repo, role: OrgRole | None) -> None:
        kind, full = repo.ref.type.value, repo.ref.full
        shut = bool(repo.gated) and role is None
        if shut and actor.anonymous:  # even of a repo that is disabled as well (HUB 4.2)
            raise GatedAnonymous(
                f"Access to {kind} {full} is restricted. You must have access to it and be authenticated"
                " to access it. Please log in."
            )
        if repo.disabled:
            raise RepoDisabled(RepoDisabled.MESSAGE)
        if shut:
            raise GatedRepo(
                f"Access to {kind} {full} is restricted and you are not in the authorized list."
                f" Visit {repo.ref} to ask for access."
            )

    def require_namespace(self, actor: Actor, namespace: str) -> None:
        """Raise unless the actor may create repos in a namespace."""
        require_user(actor, write=True)
        role = self.role(actor, namespace)
        if role is None or _RANK[role] < _RANK[OrgRole.CONTRIBUTOR]:
            raise Refused(f"You do not have the right to create a repo in {namespace}.")


def _may(role: OrgRole | None, *, own: bool) -> bool:
    if role is OrgRole.CONTRIBUTOR:
        return own
    return role is not None and _RANK[role] >= _RANK[OrgRole.WRITE]
