"""Time for tests."""

from __future__ import annotations

from dataclasses import dataclass

from hubreg.model import Millis


@dataclass
class Clock:
    """A clock that stands still until a test moves it. Milliseconds since 1970, as rows have them."""

    at: int = 1_700_000_000_000

    def __call__(self) -> Millis:
        return Millis(self.at)
