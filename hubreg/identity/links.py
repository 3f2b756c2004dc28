"""
Signed URLs: links that carry their own authority.

Clients send the bytes of large files without credentials (CLIENT_API 3.1, PITFALLS 31), so the URL itself
says what its holder may do and until when: an HMAC over the purpose, the expiry and every fact that must not
change. A link is a capability: whoever has it may do that one thing, so links are short-lived and bind as
much as is known. The server's secret never leaves it; a new secret ends every link.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from urllib.parse import urlencode

from hubreg.errors import LinkRefused
from hubreg.store.db import Clock

_VERSION = (
    "hubreg-link-1"  # so that the secret can sign something else one day without the two being confused
)
_DIGITS = 15  # more than any time or size in use


class Links:
    """
    Signs and checks. A purpose is a word for what a link is good for; its facts come in one order, always.

    Numbers and their decimal digits are one fact: what comes back from a URL is text.
    """

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret, self._clock = secret, clock

    def sign(self, purpose: str, *facts: str | int, seconds: int) -> str:
        """The query string, `expires=...&signature=...`, that lets its holder do this for so many seconds."""
        expires = self._clock() // 1000 + seconds
        return urlencode({"expires": expires, "signature": self._signature(purpose, expires, facts)})

    def check(self, purpose: str, *facts: str | int, query: Mapping[str, str]) -> None:
        """Raise `LinkRefused` unless the query was signed for exactly this, and has not expired."""
        expires = number(query, "expires")
        signature = query.get("signature", "").encode("ascii", "replace")
        if not hmac.compare_digest(signature, self._signature(purpose, expires, facts).encode("ascii")):
            raise LinkRefused("This link is not valid for what it was used for.")
        if expires * 1000 <= self._clock():
            raise LinkRefused("This link has expired.", hint="Begin the transfer again to get a new one.")

    def token(self, purpose: str, *facts: str | int, seconds: int) -> tuple[str, int]:
        """
        The same as a bearer token, which carries its facts, and the Unix second at which it expires. No fact has a dot.
        """
        expires = self._clock() // 1000 + seconds
        return ".".join([*map(str, facts), str(expires), self._signature(purpose, expires, facts)]), expires

    def facts(self, purpose: str, token: str) -> list[str]:
        """What a token was made of. Raises `LinkRefused` for one that was not made for this, or has expired."""
        *facts, expires, signature = ["", "", *token.split(".")]
        self.check(purpose, *facts[2:], query={"expires": expires, "signature": signature})
        return facts[2:]

    def _signature(self, purpose: str, expires: int, facts: tuple[str | int, ...]) -> str:
        # JSON keeps the facts apart, ("a", "bc") from ("ab", "c"), and has a form for all that a URL can hold.
        text = json.dumps([_VERSION, purpose, str(expires), *map(str, facts)])
        return hmac.new(self._secret, text.encode("ascii"), hashlib.sha256).hexdigest()


def number(query: Mapping[str, str], name: str) -> int:
    """A number in a link's query. Raises `LinkRefused` for what is missing or not just digits."""
    text = query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise LinkRefused(f"This link is incomplete: {name} is missing or no number.")
    return int(text)
