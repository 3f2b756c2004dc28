"""Secrets of others that must be used again, so that a digest will not do: upstreams' tokens, sealed where they lie."""

from __future__ import annotations

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12  # bytes


class Sealing:
    """AES-256-GCM, its key derived from the data directory's secret: a copy of the rows alone opens nothing."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hmac.digest(secret, b"hubreg-sealing-1", "sha256"))

    def seal(self, text: str, purpose: str) -> bytes:
        """A text, to be opened for the same purpose only. "" is b""."""
        if not text:
            return b""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(), purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> str | None:
        """The text; None where it was sealed under another secret, for another purpose, or was altered."""
        if not sealed:
            return ""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode()).decode()
        except (InvalidTag, ValueError):
            return None
