"""
Who was found to have the right to read a mirrored repo, a moment ago.

Upstream says who may read what is private or gated there, and asking it takes a while: `mirror.rights` does, and notes
here what it found. `identity.access` only looks, so that no way to a repo's files leads past it: what was not asked for
is refused.
"""

from __future__ import annotations

import hashlib

from hubreg.model import Actor, Millis
from hubreg.store.db import Clock

_GRACE = 60_000  # milliseconds that a request under way may go on with what was found when it began
_MOST = 50_000

ANYBODY = "anybody"


def caller_key(actor: Actor) -> str:
    """Whom a right belongs to: a user here, the holder of an upstream's token, or whoever comes."""
    if actor.user_id:
        return f"user:{actor.user_id}"
    if actor.foreign_token:
        return f"token:{hashlib.sha256(actor.foreign_token.encode()).hexdigest()}"
    return ANYBODY


class Admitted:
    """In this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, int], Millis] = {}

    def admit(self, caller: str, repo_id: int, until: Millis) -> None:
        if len(self._until) >= _MOST:
            now = self._clock()
            self._until = {key: end for key, end in self._until.items() if end > now}
            if len(self._until) >= _MOST:
                self._until.clear()
        self._until[caller, repo_id] = until

    def withdraw(self, caller: str, repo_id: int) -> None:
        self._until.pop((caller, repo_id), None)

    def until(self, caller: str, repo_id: int) -> Millis | None:
        """Until when nobody needs to be asked again; None where somebody does."""
        end = self._until.get((caller, repo_id))
        return end if end is not None and end > self._clock() else None

    def holds(self, caller: str, repo_id: int) -> bool:
        """Whether a request that was let in may go on."""
        end = self._until.get((caller, repo_id))
        return end is not None and end + _GRACE > self._clock()
