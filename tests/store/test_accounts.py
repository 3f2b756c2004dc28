"""Rows of users, organisations, memberships and tokens."""

from __future__ import annotations

import pytest

from hubreg.model import OrgRole, TokenRole
from hubreg.store import accounts
from hubreg.store.accounts import Account, Membership, Token
from hubreg.store.db import Database, Tx

pytestmark = pytest.mark.anyio


async def insert(tx: Tx, name: str, kind: str = "user") -> int:
    return await accounts.insert(
        tx, public_id=name * 2, kind=kind, name=name, key=name.lower(), fullname=f"The {name}"
    )


async def test_an_account_is_found_by_its_key(db: Database) -> None:
    """It comes back as it was put in, with the time of its transaction; another key finds nothing."""
    async with db.write() as tx:
        id_ = await accounts.insert(
            tx,
            public_id="f00d",
            kind="org",
            name="Acme",
            key="acme",
            fullname="Acme Inc.",
            email="a@acme.test",
            admin=True,
            private_by_default=True,
        )
        now = tx.now
    acme = Account(id_, "f00d", "org", "Acme", "Acme Inc.", "a@acme.test", True, False, True, now)
    assert await accounts.find(db, "acme") == acme
    assert await accounts.by_ids(db, [id_, 99]) == {id_: acme}
    assert await accounts.by_ids(db, []) == {}
    assert await accounts.find(db, "Acme") is None


async def test_a_key_belongs_to_one_account(db: Database) -> None:
    """The database itself refuses a second one, of whatever kind."""
    async with db.write() as tx:
        await insert(tx, "ann")
    with pytest.raises(Exception, match="UNIQUE"):
        async with db.write() as tx:
            await accounts.insert(tx, public_id="x", kind="org", name="ANN", key="ann", fullname="")


async def test_members_and_their_roles(db: Database) -> None:
    """Both sides list the other in the order of names; a role that is set again replaces the one before."""
    async with db.write() as tx:
        ann, bob = await insert(tx, "ann"), await insert(tx, "bob")
        zoo, acme = await insert(tx, "Zoo", "org"), await insert(tx, "Acme", "org")
        for org in (zoo, acme):
            await accounts.set_member(tx, org, ann, OrgRole.READ)
        await accounts.set_member(tx, acme, bob, OrgRole.WRITE)
        await accounts.set_member(tx, acme, ann, OrgRole.ADMIN)
    found = await accounts.memberships(db, ann)
    assert [(m.org.name, m.role) for m in found] == [("Acme", OrgRole.ADMIN), ("Zoo", OrgRole.READ)]
    assert isinstance(found[0], Membership)
    names = [(account.name, role) for account, role in await accounts.members(db, acme)]
    assert names == [("ann", OrgRole.ADMIN), ("bob", OrgRole.WRITE)]
    assert await accounts.members(db, ann) == []


async def test_a_token_leads_to_its_user(db: Database) -> None:
    """By its hash, with the role it has; other hashes lead nowhere."""
    async with db.write() as tx:
        ann = await insert(tx, "ann")
        await accounts.insert_token(tx, ann, "laptop", TokenRole.WRITE, "hash")
        now = tx.now
    user = await accounts.find(db, "ann")
    assert user is not None
    assert await accounts.find_token(db, "hash") == Token(user, "laptop", TokenRole.WRITE, now)
    assert await accounts.find_token(db, "other") is None
    assert await accounts.token_names(db, ann) == ["laptop"]


@pytest.mark.parametrize("change", ["UPDATE accounts SET disabled = 1", "UPDATE tokens SET revoked_at = 1"])
async def test_a_token_that_may_not_be_used(db: Database, change: str) -> None:
    """A revoked token, and one of a disabled user, are as good as none."""
    async with db.write() as tx:
        await accounts.insert_token(tx, await insert(tx, "ann"), "laptop", TokenRole.READ, "hash")
    async with db.write() as tx:
        await tx.run(change)
    assert await accounts.find_token(db, "hash") is None


async def test_who_there_is(db: Database) -> None:
    """Accounts of one kind by name, and whether one of them is an administrator."""
    async with db.write() as tx:
        for name in ("Zoe", "ann"):
            await insert(tx, name)
        await insert(tx, "acme", "org")
    assert [account.name for account in await accounts.all_of(db, "user")] == ["ann", "Zoe"]
    assert not await accounts.has_administrator(db)
    async with db.write() as tx:
        await accounts.insert(tx, public_id="r", kind="user", name="r", key="r", fullname="", admin=True)
    assert await accounts.has_administrator(db)
