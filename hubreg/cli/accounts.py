"""`hubreg user`, `hubreg org`, `hubreg token`. They work on the data directory itself, whether a server runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from hubreg.cli.answers import answer, refusals, table
from hubreg.cli.options import AsJson, ConfigFile, DataDirectory
from hubreg.config import load
from hubreg.formats import hubjson
from hubreg.identity.accounts import SYSTEM, Accounts
from hubreg.model import OrgRole, TokenRole
from hubreg.ops import directory
from hubreg.store.accounts import Account
from hubreg.store.db import wall

T = TypeVar("T")

users = typer.Typer(no_args_is_help=True, help="Users of this server.")
orgs = typer.Typer(no_args_is_help=True, help="Organisations: names that users share.")
tokens = typer.Typer(no_args_is_help=True, help="Access tokens: what clients send as HF_TOKEN.")

UserName = Annotated[str, typer.Argument(help="The user.")]
FullName = Annotated[
    str, typer.Option(metavar="TEXT", help="The name that people read. Default: NAME.", show_default=False)
]


def on(data: Path | None, config_file: Path | None, use: Callable[[Accounts], Awaitable[T]]) -> T:
    """Do something with the accounts of a data directory, as its administrator."""
    prepared = directory.existing(load(config_file, {"data": data}), wall)

    async def used() -> T:
        async with directory.opened(prepared.layout, wall) as db:
            return await use(Accounts(db))

    return asyncio.run(used())


@users.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="The name in URLs and repo ids: letters, digits, . _ -")],
    admin: Annotated[bool, typer.Option("--admin", help="May do everything, everywhere.")] = False,
    fullname: FullName = "",
    email: Annotated[str, typer.Option(metavar="ADDRESS", help="Written into the user's commits.")] = "",
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Add a user. Then make them a token: `hubreg token create NAME --role write --name laptop`
    """
    with refusals(as_json=as_json):
        user = on(
            data,
            config,
            lambda accounts: accounts.add_user(SYSTEM, name, admin=admin, fullname=fullname, email=email),
        )
        what = "Administrator" if user.admin else "User"
        answer(f"{what} {user.name} added.", user_facts(user), as_json=as_json)


@users.command("list")
def list_users(data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """
    List all users.
    """
    with refusals(as_json=as_json):
        found = on(data, config, lambda accounts: accounts.users())
        if as_json:
            answer("", [user_facts(user) for user in found], as_json=True)
        else:
            rows = [(u.name, u.fullname, u.email, _standing(u)) for u in found]
            table(("name", "full name", "e-mail", "is"), rows)


def _standing(user: Account) -> str:
    return ("administrator" if user.admin else "user") + (", disabled" if user.disabled else "")


@users.command("disable")
def disable_user(
    name: UserName, data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """
    Let a user's tokens open nothing any more, at once. What they own and did stays.
    """
    _set_disabled(name, True, data, config, as_json=as_json)


@users.command("enable")
def enable_user(
    name: UserName, data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """
    Take a `user disable` back: the same tokens work again.
    """
    _set_disabled(name, False, data, config, as_json=as_json)


def _set_disabled(
    name: str, disabled: bool, data: Path | None, config: Path | None, *, as_json: bool
) -> None:
    with refusals(as_json=as_json):
        user = on(data, config, lambda accounts: accounts.set_disabled(SYSTEM, name, disabled=disabled))
        text = f"{user.name} is {'disabled' if user.disabled else 'enabled'}."
        answer(text, user_facts(user), as_json=as_json)


@orgs.command("add")
def add_org(
    name: Annotated[str, typer.Argument(help="The name in URLs and repo ids: letters, digits, . _ -")],
    private_by_default: Annotated[
        bool,
        typer.Option("--private-by-default", help="New repos are private unless their maker says otherwise."),
    ] = False,
    fullname: FullName = "",
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Add an organisation. Then let users in: `hubreg org member NAME USER --role write`
    """
    with refusals(as_json=as_json):
        org = on(
            data,
            config,
            lambda accounts: accounts.add_org(
                SYSTEM, name, fullname=fullname, private_by_default=private_by_default
            ),
        )
        facts = {"name": org.name, "fullname": org.fullname, "private_by_default": org.private_by_default}
        answer(f"Organisation {org.name} added.", facts, as_json=as_json)


@orgs.command("member")
def set_member(
    org: Annotated[str, typer.Argument(help="The organisation.")],
    user: Annotated[str, typer.Argument(help="The user.")],
    role: Annotated[
        OrgRole,
        typer.Option(
            help="read: sees private repos. contributor: also makes repos, and writes to their own."
            " write: writes to all repos, makes, moves and deletes them. admin: the same."
        ),
    ],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Set a user's role in an organisation. Who has one already gets this one instead.
    """
    with refusals(as_json=as_json):
        on(data, config, lambda accounts: accounts.set_member(SYSTEM, org, user, role))
        facts = {"org": org, "user": user, "role": role.value}
        answer(f"{user} now has the role {role.value} in {org}.", facts, as_json=as_json)


@orgs.command("members")
def list_members(
    org: Annotated[str, typer.Argument(help="The organisation.")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    List the members of an organisation.
    """

    async def members(accounts: Accounts) -> list[tuple[Account, OrgRole]]:
        return await accounts.members(await accounts.find(org, "org"))

    with refusals(as_json=as_json):
        found = on(data, config, members)
        if as_json:
            answer("", [{"user": user.name, "role": role.value} for user, role in found], as_json=True)
        else:
            table(("user", "role"), [(user.name, role.value) for user, role in found])


@orgs.command("remove")
def remove_member(
    org: Annotated[str, typer.Argument(help="The organisation.")],
    user: Annotated[str, typer.Argument(help="The user.")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Take a user out of an organisation.
    """
    with refusals(as_json=as_json):
        on(data, config, lambda accounts: accounts.remove_member(SYSTEM, org, user))
        answer(f"{user} is no member of {org} any more.", {"org": org, "user": user}, as_json=as_json)


@tokens.command("create")
def create_token(
    user: Annotated[str, typer.Argument(help="Whose token.")],
    role: Annotated[
        TokenRole, typer.Option(help="read: only reads, whatever the user may. write: all that the user may.")
    ],
    name: Annotated[str, typer.Option(metavar="TEXT", help="What the token is for; one of a kind per user.")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Make a token and print it, alone on stdout. It cannot be read again: keep it now.
    """
    with refusals(as_json=as_json):
        token = on(data, config, lambda accounts: accounts.create_token(SYSTEM, user, role, name))
        facts = {"user": user, "name": name, "role": role.value, "token": token}
        answer(token, facts, as_json=as_json)


@tokens.command("list")
def list_tokens(
    user: UserName, data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """
    List a user's tokens by their names. What they are is not kept: a lost one is revoked and made anew.
    """
    with refusals(as_json=as_json):
        found = on(data, config, lambda accounts: accounts.tokens(user))
        facts = [
            {"name": token.name, "role": token.role.value, "created_at": hubjson.iso(token.created_at)}
            for token in found
        ]
        if as_json:
            answer("", facts, as_json=True)
        else:
            table(("name", "role", "made"), [tuple(fact.values()) for fact in facts])


@tokens.command("revoke")
def revoke_token(
    user: UserName,
    name: Annotated[str, typer.Argument(help="The token's name: `hubreg token list USER` shows it.")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Let a token open nothing any more, at once.
    """
    with refusals(as_json=as_json):
        on(data, config, lambda accounts: accounts.revoke_token(SYSTEM, user, name))
        answer(f"The token {name} of {user} is revoked.", {"user": user, "name": name}, as_json=as_json)


def user_facts(user: Account) -> dict[str, object]:
    return {
        "name": user.name,
        "fullname": user.fullname,
        "email": user.email,
        "admin": user.admin,
        "disabled": user.disabled,
    }
