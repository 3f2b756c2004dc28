"""From an `Authorization` header to an actor."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubreg.identity.accounts import SYSTEM, Accounts
from hubreg.identity.credentials import Credentials, hash_token, new_token, token_of
from hubreg.model import ANONYMOUS, INVALID_TOKEN, OrgRole, TokenRole
from hubreg.store.db import Database

pytestmark = pytest.mark.anyio


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer hf_abc", "hf_abc"),
        ("bearer hf_abc", "hf_abc"),
        ("BEARER   hf_abc ", "hf_abc"),
        (basic("ann:hf_abc"), "hf_abc"),
        (basic("hf_abc:"), "hf_abc"),
        (basic("hf_abc"), "hf_abc"),
        (basic("user:pass:word"), "pass:word"),
        (basic("ü:hf_abc").replace("Basic", "basic"), "hf_abc"),
        ("Bearer", ""),
        ("Bearer ", ""),
        ("Basic ", ""),
        (basic(":"), ""),
        ("", ""),
    ],
)
def test_the_token_in_a_header(header: str, token: str) -> None:
    """As clients send it, and as git does: the password of any user name, or the name where there is no password."""
    assert token_of(header) == token


@pytest.mark.parametrize(
    "header", ["Basic ???", "Basic YW==YW", "Basic /w==", "Basic é", "Digest x", "Basic a"]
)
def test_a_header_that_makes_no_sense_is_no_token_of_ours(header: str) -> None:
    """It is something, so its sender is told that it is wrong rather than taken for anonymous."""
    assert token_of(header) == header.partition(" ")[2]


@given(st.text(st.characters(max_codepoint=255)))
def test_any_header_is_read(header: str) -> None:
    """Whatever bytes somebody sends, there is an answer and no failure."""
    assert isinstance(token_of(header), str)
    token_of("Basic " + header)


def test_a_new_token() -> None:
    """It looks as clients want it (CLIENTS 13), and no two are the same."""
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch("hf_[A-Za-z0-9]{34}", token) for token in tokens)


async def test_a_token_is_its_user(db: Database) -> None:
    """The actor has the user's name, the token's role and name, and a role in every namespace of theirs."""
    accounts = Accounts(db)
    ann = await accounts.add_user(SYSTEM, "Ann", admin=True)
    await accounts.add_org(SYSTEM, "Acme")
    await accounts.set_member(SYSTEM, "acme", "ann", OrgRole.WRITE)
    token = await accounts.create_token(SYSTEM, "ann", TokenRole.READ, "laptop")
    for header in (f"Bearer {token}", basic(f"whoever:{token}")):
        actor = await Credentials(db).actor(header)
        assert (actor.user_id, actor.name, actor.admin, actor.anonymous) == (ann.id, "Ann", True, False)
        assert (actor.token_role, actor.token_name) == (TokenRole.READ, "laptop")
        assert actor.roles == {"ann": OrgRole.ADMIN, "acme": OrgRole.WRITE}


async def test_who_has_no_token_of_ours(db: Database) -> None:
    """Without a header one is anonymous; with a token that is not ours that is known, but not who it is."""
    credentials = Credentials(db)
    for header in (None, "", "Bearer ", "Bearer"):
        assert await credentials.actor(header) == ANONYMOUS
    for header in (f"Bearer {new_token()}", "Bearer x", "Basic é", basic("ann:secret")):
        assert await credentials.actor(header) == INVALID_TOKEN
    assert INVALID_TOKEN.anonymous


async def test_what_changes_counts_at_once(db: Database) -> None:
    """A new token, a new role, a disabled user: the next request sees it, whatever was held before."""
    accounts, credentials = Accounts(db), Credentials(db)
    await accounts.add_user(SYSTEM, "ann")
    await accounts.add_org(SYSTEM, "acme")
    token = await accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "laptop")
    header = f"Bearer {token}"
    assert "acme" not in (await credentials.actor(header)).roles
    await accounts.set_member(SYSTEM, "acme", "ann", OrgRole.READ)
    assert (await credentials.actor(header)).roles["acme"] is OrgRole.READ
    async with db.write() as tx:
        await tx.run("UPDATE tokens SET revoked_at = 1 WHERE hash = ?", hash_token(token))
    assert await credentials.actor(header) == INVALID_TOKEN


async def test_a_token_that_is_made_later_is_known_then(db: Database) -> None:
    """That it was unknown before is forgotten with the write that made it."""
    accounts, credentials = Accounts(db), Credentials(db)
    await accounts.add_first_administrator("admin", "hf_" + "a" * 34)
    assert not (await credentials.actor("Bearer hf_" + "a" * 34)).anonymous
    async with db.write() as tx:
        await tx.run("DELETE FROM tokens")
    assert (await credentials.actor("Bearer hf_" + "a" * 34)).invalid_token


async def test_a_token_is_kept_as_its_hash(db: Database) -> None:
    """Whoever reads the rows, the log among them, cannot use them."""
    accounts = Accounts(db)
    await accounts.add_user(SYSTEM, "ann")
    token = await accounts.create_token(SYSTEM, "ann", TokenRole.WRITE, "laptop")
    for table in ("tokens", "log", "accounts"):
        assert token not in str(await db.all(f"SELECT * FROM {table}"))  # noqa: S608
    assert hash_token(token) in str(await db.all("SELECT * FROM tokens"))
