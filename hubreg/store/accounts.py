"""Rows of users, organisations, memberships and tokens."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.model import Millis, OrgRole, TokenRole
from hubreg.store.db import Reader, Row, Tx, marks


@dataclass(frozen=True, slots=True)
class Account:
    """A user or an organisation."""

    id: int
    public_id: str
    kind: str  # "user" or "org"
    name: str
    fullname: str
    email: str
    admin: bool
    disabled: bool
    private_by_default: bool
    created_at: Millis


@dataclass(frozen=True, slots=True)
class Membership:
    org: Account
    role: OrgRole


@dataclass(frozen=True, slots=True)
class Token:
    user: Account
    name: str
    role: TokenRole
    created_at: Millis


_COLUMNS = (
    "accounts.id, accounts.public_id, accounts.kind, accounts.name, accounts.fullname, accounts.email,"
    " accounts.admin, accounts.disabled, accounts.private_by_default, accounts.created_at"
)
_WIDTH = 10


def _account(row: Row) -> Account:
    id_, public_id, kind, name, fullname, email, admin, disabled, private, created_at = row
    return Account(
        id_, public_id, kind, name, fullname, email, bool(admin), bool(disabled), bool(private), created_at
    )


async def find(reader: Reader, key: str) -> Account | None:
    """By name, in the form in which names are looked up (`names.key`)."""
    row = await reader.one(f"SELECT {_COLUMNS} FROM accounts WHERE key = ?", key)  # noqa: S608 our own columns
    return _account(row) if row else None


async def by_ids(reader: Reader, ids: list[int]) -> dict[int, Account]:
    if not ids:
        return {}
    rows = await reader.all(
        f"SELECT {_COLUMNS} FROM accounts WHERE id IN ({marks(len(ids))})",  # noqa: S608 our own columns
        *ids,
    )
    return {row[0]: _account(row) for row in rows}


async def insert(
    tx: Tx,
    *,
    public_id: str,
    kind: str,
    name: str,
    key: str,
    fullname: str,
    email: str = "",
    admin: bool = False,
    private_by_default: bool = False,
) -> int:
    row = await tx.one(
        "INSERT INTO accounts (public_id, kind, name, key, fullname, email, admin, private_by_default, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        public_id, kind, name, key, fullname, email, int(admin), int(private_by_default), tx.now,
    )  # fmt: skip
    return int(row[0]) if row else 0


async def set_member(tx: Tx, org_id: int, user_id: int, role: OrgRole) -> None:
    await tx.run(
        "INSERT INTO members (org_id, user_id, role) VALUES (?, ?, ?)"
        " ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role",
        org_id, user_id, role.value,
    )  # fmt: skip


async def remove_member(tx: Tx, org_id: int, user_id: int) -> bool:
    """False where the user was none."""
    return await tx.run("DELETE FROM members WHERE org_id = ? AND user_id = ?", org_id, user_id) > 0


async def memberships(reader: Reader, user_id: int) -> list[Membership]:
    rows = await reader.all(
        f"SELECT {_COLUMNS}, members.role FROM members JOIN accounts ON accounts.id = members.org_id"  # noqa: S608
        " WHERE members.user_id = ? ORDER BY accounts.key",
        user_id,
    )
    return [Membership(_account(row[:_WIDTH]), OrgRole(row[_WIDTH])) for row in rows]


async def members(reader: Reader, org_id: int) -> list[tuple[Account, OrgRole]]:
    rows = await reader.all(
        f"SELECT {_COLUMNS}, members.role FROM members JOIN accounts ON accounts.id = members.user_id"  # noqa: S608
        " WHERE members.org_id = ? ORDER BY accounts.key",
        org_id,
    )
    return [(_account(row[:_WIDTH]), OrgRole(row[_WIDTH])) for row in rows]


async def insert_token(tx: Tx, user_id: int, name: str, role: TokenRole, hash_: str) -> None:
    await tx.run(
        "INSERT INTO tokens (user_id, name, role, hash, created_at) VALUES (?, ?, ?, ?, ?)",
        user_id, name, role.value, hash_, tx.now,
    )  # fmt: skip


async def find_token(reader: Reader, hash_: str) -> Token | None:
    """A token that may be used: not revoked, its user not disabled."""
    row = await reader.one(
        f"SELECT {_COLUMNS}, tokens.name, tokens.role, tokens.created_at"  # noqa: S608 our own columns
        " FROM tokens JOIN accounts ON accounts.id = tokens.user_id"
        " WHERE tokens.hash = ? AND tokens.revoked_at IS NULL AND accounts.disabled = 0",
        hash_,
    )
    if row is None:
        return None
    name, role, created_at = row[_WIDTH:]
    return Token(_account(row[:_WIDTH]), name, TokenRole(role), created_at)


async def token_names(reader: Reader, user_id: int) -> list[str]:
    rows = await reader.all("SELECT name FROM tokens WHERE user_id = ? AND revoked_at IS NULL", user_id)
    return [row[0] for row in rows]


async def tokens_of(reader: Reader, user: Account) -> list[Token]:
    """Those that are not revoked, oldest first."""
    rows = await reader.all(
        "SELECT name, role, created_at FROM tokens WHERE user_id = ? AND revoked_at IS NULL ORDER BY id",
        user.id,
    )
    return [Token(user, name, TokenRole(role), created_at) for name, role, created_at in rows]


async def revoke_token(tx: Tx, user_id: int, name: str) -> bool:
    """False where the user has none of that name."""
    revoked = "UPDATE tokens SET revoked_at = ? WHERE user_id = ? AND name = ? AND revoked_at IS NULL"
    return await tx.run(revoked, tx.now, user_id, name) > 0


async def set_disabled(tx: Tx, user_id: int, disabled: bool) -> None:
    await tx.run("UPDATE accounts SET disabled = ? WHERE id = ?", int(disabled), user_id)


async def all_of(reader: Reader, kind: str) -> list[Account]:
    """Every user, or every organisation."""
    rows = await reader.all(f"SELECT {_COLUMNS} FROM accounts WHERE kind = ? ORDER BY key", kind)  # noqa: S608 our own columns
    return [_account(row) for row in rows]


async def has_administrator(reader: Reader) -> bool:
    return await reader.one("SELECT 1 FROM accounts WHERE admin = 1 LIMIT 1") is not None
