"""Who a request comes from: tokens, as `Bearer` or as the password of `Basic`."""

from __future__ import annotations

import base64
import hashlib
import secrets
import string

from hubreg.identity.access import roles_of
from hubreg.model import ANONYMOUS, Actor
from hubreg.store import accounts
from hubreg.store.db import Database
from hubreg.store.fresh import Fresh

_ALPHABET = string.ascii_letters + string.digits


def new_token() -> str:
    """
    A token in the Hub's form, 202 random bits. llama.cpp ignores tokens that do not match `hf_[A-Za-z0-9]{34,}`
    (`CLIENTS` requirement 13), so the form is not ours to choose.
    """
    return "hf_" + "".join(secrets.choice(_ALPHABET) for _ in range(34))


def hash_token(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_of(authorization: str) -> str:
    """
    The token in an `Authorization` header, "" if it holds none.

    git and git-lfs send `Basic` with any user name and the token as the password.
    """
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # neither base64 nor text: no token of ours
            return value
        return password or user
    return value


class Credentials:
    """Turns an `Authorization` header into an actor."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: Fresh[str, Actor] = Fresh(db)

    async def actor(self, authorization: str | None) -> Actor:
        """
        The actor behind the header; anonymous without one, `invalid_token` for a token that is not ours.

        The latter is anonymous for public content: people keep their real Hub token in the environment.
        """
        if not authorization:
            return ANONYMOUS
        token = token_of(authorization)
        if not token:
            return ANONYMOUS
        hash_ = hash_token(token)
        actor = self._known.get(hash_)
        if actor is None:
            actor = await self._look_up(hash_) or Actor(invalid_token=True, foreign_token=token)
            self._known.put(hash_, actor)
        return actor

    async def _look_up(self, hash_: str) -> Actor | None:
        token = await accounts.find_token(self._db, hash_)
        if token is None:
            return None
        user = token.user
        roles = await roles_of(self._db, user)
        return Actor(user.id, user.name, user.admin, token.role, token.name, token.created_at, roles)
