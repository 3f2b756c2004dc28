"""Use cases of people and organisations. The command line calls them as the administrator of the data directory."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from hubreg.errors import AccountNotFound, Conflict, Invalid, NotFound
from hubreg.formats import names
from hubreg.identity.credentials import hash_token, new_token
from hubreg.model import Actor, OrgRole, TokenRole
from hubreg.store import accounts, log
from hubreg.store.accounts import Account, Membership, Token
from hubreg.store.db import Database, Reader, Tx

SYSTEM = Actor(name="system", admin=True)
_LONGEST = 100  # characters of a name that is only shown


@dataclass(frozen=True, slots=True)
class Accounts:
    db: Database

    async def find(self, name: str, kind: str | None = None) -> Account:
        """The account of that name in any case. Raises `AccountNotFound`."""
        return await _find(self.db, name, kind)

    async def add_user(
        self, actor: Actor, name: str, *, admin: bool = False, fullname: str = "", email: str = ""
    ) -> Account:
        """Raises `Conflict` when a user or organisation has the name, in whatever case."""
        if email and ("@" not in email or any(c.isspace() or ord(c) < 32 for c in email)):
            raise Invalid(f"{email!r} is not an e-mail address.")
        names.check_account_name(name)
        async with self.db.write() as tx:
            return await _add(tx, actor, "user", name, fullname, email=email, admin=admin)

    async def add_org(
        self, actor: Actor, name: str, *, fullname: str = "", private_by_default: bool = False
    ) -> Account:
        """Raises `Conflict` when a user or organisation has the name, in whatever case."""
        names.check_account_name(name)
        async with self.db.write() as tx:
            return await _add(tx, actor, "org", name, fullname, private_by_default=private_by_default)

    async def add_first_administrator(self, name: str, token: str) -> bool:
        """
        Somebody to begin with: an administrator who holds `token`, unless there is an administrator already.

        The token comes from the caller, who keeps it safe first: one that nobody can read is worth nothing.
        """
        async with self.db.write() as tx:
            if await accounts.has_administrator(tx):
                return False
            account = await _add(tx, SYSTEM, "user", name, admin=True)
            await _add_token(tx, SYSTEM, account, TokenRole.WRITE, "first start", token)
        return True

    async def users(self) -> list[Account]:
        """Every user, by name."""
        return await accounts.all_of(self.db, "user")

    async def memberships(self, user: Account) -> list[Membership]:
        """The organisations of a user, by name, and what it is there."""
        return await accounts.memberships(self.db, user.id)

    async def members(self, org: Account) -> list[tuple[Account, OrgRole]]:
        """The users of an organisation, by name, and what they are there."""
        return await accounts.members(self.db, org.id)

    async def set_member(self, actor: Actor, org: str, user: str, role: OrgRole) -> None:
        """Give a user a role in an organisation, or another one than before."""
        async with self.db.write() as tx:
            organisation = await _find(tx, org, "org")
            member = await _find(tx, user, "user")
            await accounts.set_member(tx, organisation.id, member.id, role)
            await log.append(
                tx, actor, "org:member:set", organisation.name, user=member.name, role=role.value
            )

    async def remove_member(self, actor: Actor, org: str, user: str) -> None:
        """Take a user out of an organisation. Raises `AccountNotFound` where the user is none of its members."""
        async with self.db.write() as tx:
            organisation = await _find(tx, org, "org")
            member = await _find(tx, user, "user")
            if not await accounts.remove_member(tx, organisation.id, member.id):
                raise AccountNotFound(f"{member.name} is no member of {organisation.name}.")
            await log.append(tx, actor, "org:member:remove", organisation.name, user=member.name)

    async def set_disabled(self, actor: Actor, user: str, *, disabled: bool) -> Account:
        """
        Whether a user's tokens are as good as none. What they own and did stays; so do the links that uploads are
        sent to, until they expire.
        """
        async with self.db.write() as tx:
            found = await _find(tx, user, "user")
            if found.disabled is disabled:
                return found
            await accounts.set_disabled(tx, found.id, disabled)
            await log.append(tx, actor, f"account:user:{'disable' if disabled else 'enable'}", found.name)
            return await _find(tx, user, "user")

    async def tokens(self, user: str) -> list[Token]:
        """What is known of a user's tokens, oldest first; revoked ones are not among them."""
        return await accounts.tokens_of(self.db, await self.find(user, "user"))

    async def revoke_token(self, actor: Actor, user: str, name: str) -> None:
        """From now on the token opens nothing. Raises `NotFound` where the user has none of that name."""
        async with self.db.write() as tx:
            owner = await _find(tx, user, "user")
            if not await accounts.revoke_token(tx, owner.id, name):
                raise NotFound(f"{owner.name} has no token named {name}.")
            await log.append(tx, actor, "account:token:revoke", owner.name, name=name)

    async def create_token(self, actor: Actor, user: str, role: TokenRole, name: str) -> str:
        """A new token of a user. This is the only time that it can be read."""
        if not name.strip() or len(name) > _LONGEST or not name.isprintable():
            raise Invalid(f"A token needs a name of 1 to {_LONGEST} printable characters.")
        token = new_token()
        async with self.db.write() as tx:
            await _add_token(tx, actor, await _find(tx, user, "user"), role, name, token)
        return token


async def _add(
    tx: Tx,
    actor: Actor,
    kind: str,
    name: str,
    fullname: str = "",
    *,
    email: str = "",
    admin: bool = False,
    private_by_default: bool = False,
) -> Account:
    if len(fullname) > _LONGEST or not fullname.isprintable():
        raise Invalid(f"A full name has at most {_LONGEST} printable characters.")
    taken = await accounts.find(tx, names.key(name))
    if taken is not None and taken.kind == "mirror":
        raise Conflict(
            f"The name {name} is an upstream's: repos of {taken.name} are mirrored here.",
            hint="Let nothing of it be mirrored (`hubreg mirror deny`), and choose another name.",
        )
    if taken is not None:
        raise Conflict(f"The name {name} is taken by {taken.kind} {taken.name}.")
    await accounts.insert(
        tx,
        public_id=secrets.token_hex(12),
        kind=kind,
        name=name,
        key=names.key(name),
        fullname=fullname or name,
        email=email,
        admin=admin,
        private_by_default=private_by_default,
    )
    await log.append(tx, actor, f"account:{kind}:add", name, admin=admin)
    return await _find(tx, name, kind)


async def _add_token(tx: Tx, actor: Actor, owner: Account, role: TokenRole, name: str, token: str) -> None:
    if name in await accounts.token_names(tx, owner.id):
        raise Conflict(f"{owner.name} has a token named {name} already.")
    await accounts.insert_token(tx, owner.id, name, role, hash_token(token))
    await log.append(tx, actor, "account:token:add", owner.name, name=name, role=role.value)


async def _find(reader: Reader, name: str, kind: str | None) -> Account:
    found = await accounts.find(reader, names.key(name))
    if found is None or (kind is not None and found.kind != kind):
        what = {"org": "organisation", "user": "user"}.get(kind or "", "user or organisation")
        raise AccountNotFound(f"There is no {what} named {name}.")
    return found
