"""Users, organisations, members and tokens, as the command line makes them."""

from __future__ import annotations

import asyncio
import json

import pytest

from hubreg.errors import AccountNotFound, Conflict, HubregError, Invalid, NotFound
from hubreg.formats import chain
from hubreg.identity.accounts import SYSTEM, Accounts
from hubreg.model import OrgRole, TokenRole
from hubreg.store import log
from hubreg.store.db import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def accounts(db: Database) -> Accounts:
    return Accounts(db)


async def tags(db: Database) -> list[tuple[str, str]]:
    """What the log says happened, and to whom. The chain is verified on the way."""
    links = list(chain.verify(await log.read(db, 0, 1000)))
    return [(body["tag"], body["subject"]) for body in (json.loads(link.body) for link in links)]


async def test_a_user(accounts: Accounts, db: Database) -> None:
    """It is found in any case, spelt as it was made, and the log says so."""
    ann = await accounts.add_user(SYSTEM, "Ann", fullname="Ann Example", email="ann@example.test")
    assert (ann.name, ann.kind, ann.fullname, ann.email) == ("Ann", "user", "Ann Example", "ann@example.test")
    assert (ann.admin, ann.disabled) == (False, False)
    assert await accounts.find("aNN") == ann
    assert await accounts.find("ann", "user") == ann
    assert await accounts.users() == [ann]
    assert await tags(db) == [("account:user:add", "Ann")]


async def test_an_organisation(accounts: Accounts, db: Database) -> None:
    """Its full name is its name where none was given."""
    acme = await accounts.add_org(SYSTEM, "Acme", private_by_default=True)
    assert (acme.name, acme.kind, acme.fullname, acme.private_by_default) == ("Acme", "org", "Acme", True)
    assert await accounts.users() == []
    assert await tags(db) == [("account:org:add", "Acme")]


async def test_users_and_organisations_share_their_names(accounts: Accounts, db: Database) -> None:
    """A name is taken in whatever case and kind; the refusal says by whom, and nothing is written."""
    await accounts.add_user(SYSTEM, "Ann")
    for adding in (accounts.add_user(SYSTEM, "ANN"), accounts.add_org(SYSTEM, "ann")):
        with pytest.raises(Conflict, match="taken by user Ann"):
            await adding
    assert await tags(db) == [("account:user:add", "Ann")]


async def test_many_who_want_one_name(accounts: Accounts, db: Database) -> None:
    """One gets it."""
    adding = (accounts.add_user(SYSTEM, name) for name in ("ann", "Ann", "aNn", "ANN"))
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 3
    assert len(await tags(db)) == 1


@pytest.mark.parametrize("name", ["", "a b", "api", "-x", "x" * 97, "a/b", "é", "a\n", "datasets"])
async def test_names_that_are_none(accounts: Accounts, db: Database, name: str) -> None:
    """They are refused before anything is written."""
    for adding in (accounts.add_user(SYSTEM, name), accounts.add_org(SYSTEM, name)):
        with pytest.raises(Invalid):
            await adding
    assert await tags(db) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "nobody"},
        {"email": "a @b"},
        {"email": "a@b\n"},
        {"fullname": "a\nb"},
        {"fullname": "x" * 101},
    ],
)
async def test_what_is_shown_of_a_user_is_printable(
    accounts: Accounts, db: Database, wrong: dict[str, str]
) -> None:
    """An address has an @ and no blank, a full name one line of reasonable length."""
    with pytest.raises(Invalid):
        await accounts.add_user(SYSTEM, "ann", **wrong)  # type: ignore[arg-type]
    assert await tags(db) == []


async def test_members(accounts: Accounts, db: Database) -> None:
    """A role is given, and another one instead of it; both sides know."""
    ann, acme = await accounts.add_user(SYSTEM, "ann"), await accounts.add_org(SYSTEM, "acme")
    await accounts.set_member(SYSTEM, "ACME", "Ann", OrgRole.READ)
    await accounts.set_member(SYSTEM, "acme", "ann", OrgRole.ADMIN)
    assert await accounts.members(acme) == [(ann, OrgRole.ADMIN)]
    assert [(m.org, m.role) for m in await accounts.memberships(ann)] == [(acme, OrgRole.ADMIN)]
    assert (await tags(db))[2:] == [("org:member:set", "acme"), ("org:member:set", "acme")]


@pytest.mark.parametrize(
    ("org", "user", "missing"),
    [
        ("acme", "bob", "no user named bob"),
        ("zoo", "ann", "no organisation named zoo"),
        ("ann", "ann", "no organisation named ann"),
        ("acme", "acme", "no user named acme"),
    ],
)
async def test_members_that_cannot_be(
    accounts: Accounts, db: Database, org: str, user: str, missing: str
) -> None:
    """A user is no organisation and the other way round; whoever is missing is named."""
    await accounts.add_user(SYSTEM, "ann")
    await accounts.add_org(SYSTEM, "acme")
    with pytest.raises(AccountNotFound, match=missing):
        await accounts.set_member(SYSTEM, org, user, OrgRole.READ)
    assert len(await tags(db)) == 2


async def test_tokens(accounts: Accounts, db: Database) -> None:
    """A user has as many as it likes, of different names; an organisation and a stranger have none."""
    await accounts.add_user(SYSTEM, "ann")
    await accounts.add_org(SYSTEM, "acme")
    one = await accounts.create_token(SYSTEM, "Ann", TokenRole.READ, "laptop")
    two = await accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "build machine")
    assert one != two
    with pytest.raises(Conflict, match="ann has a token named laptop already"):
        await accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "laptop")
    for nobody in ("acme", "bob"):
        with pytest.raises(AccountNotFound):
            await accounts.create_token(SYSTEM, nobody, TokenRole.READ, "laptop")
    assert (await tags(db))[2:] == [("account:token:add", "ann")] * 2


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "\x7f"])
async def test_a_token_needs_a_name(accounts: Accounts, name: str) -> None:
    """One that can be printed and told from the others."""
    await accounts.add_user(SYSTEM, "ann")
    with pytest.raises(Invalid):
        await accounts.create_token(SYSTEM, "ann", TokenRole.READ, name)


async def test_the_first_administrator(accounts: Accounts) -> None:
    """It is made where there is none, once, however many processes try."""
    made = await asyncio.gather(*(accounts.add_first_administrator("admin", f"hf_{n}") for n in range(5)))
    assert sorted(made) == [False] * 4 + [True]
    admin = await accounts.find("admin")
    assert admin.admin


async def test_an_account_that_is_not_there(accounts: Accounts) -> None:
    """The refusal names it and what it was looked for as."""
    for kind, what in ((None, "user or organisation"), ("org", "organisation"), ("user", "user")):
        with pytest.raises(HubregError, match=f"There is no {what} named ann"):
            await accounts.find("ann", kind)


async def test_what_is_taken_back(accounts: Accounts, db: Database) -> None:
    """Each change is in the log once; what changes nothing is not."""
    await accounts.add_user(SYSTEM, "ann")
    await accounts.add_org(SYSTEM, "acme")
    await accounts.set_member(SYSTEM, "acme", "ann", OrgRole.READ)
    await accounts.create_token(SYSTEM, "ann", TokenRole.READ, "laptop")
    before = len(await tags(db))
    await accounts.remove_member(SYSTEM, "Acme", "Ann")
    await accounts.revoke_token(SYSTEM, "Ann", "laptop")
    for disabled in (True, True, False, False):
        assert (await accounts.set_disabled(SYSTEM, "Ann", disabled=disabled)).disabled is disabled
    with pytest.raises(AccountNotFound, match="ann is no member of acme"):
        await accounts.remove_member(SYSTEM, "acme", "ann")
    with pytest.raises(NotFound, match="ann has no token named laptop"):
        await accounts.revoke_token(SYSTEM, "ann", "laptop")
    assert await accounts.tokens("ann") == []
    assert (await tags(db))[before:] == [
        ("org:member:remove", "acme"),
        ("account:token:revoke", "ann"),
        ("account:user:disable", "ann"),
        ("account:user:enable", "ann"),
    ]
