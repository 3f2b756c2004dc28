"""
What `.gitattributes` and `.gitignore` make of the files of a commit: which are large ones, which are left out (HUB
8.2), and which rules are lacking for those that are (HUB 8.3).

The rules come from the outside, and each may have to be tried on each file. So they are read and tried in a thread,
what that may cost at most is reckoned before it is done, and what is too much is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hubreg.errors import TooLarge
from hubreg.formats.commitlines import Candidate
from hubreg.formats.gitattributes import Attributes, Ignore, looks_binary, rule_for

# In the unit of `gitattributes`, of which one takes a nanosecond at worst. Real rules for 256 files take a hundredth.
_MOST_WORK = 1_000_000_000
_LIGHT = 8192  # characters of rules that need not take turns


@dataclass(frozen=True, slots=True)
class Decision:
    """
    How a client is to send a file. `oid` names what the path holds now, in the form that the client compares: sha256
    for a file in LFS, git's SHA-1 for another (CLIENT_API 3).
    """

    path: str
    lfs: bool
    ignore: bool
    oid: str | None


class Rules:
    """Asked by every request of a process: those with many rules take turns."""

    def __init__(self) -> None:
        self._heavy = asyncio.Semaphore(2)

    async def decide(
        self,
        files: Sequence[Candidate],
        held: Mapping[str, str],
        attributes: str,
        ignore: str,
        regular_max: int,
    ) -> list[Decision]:
        """
        How to send each file, in the order given. `held` has what the paths hold now; a file over `regular_max` bytes
        is always a large one. Raises `TooLarge` for more rules than can be tried on so many files.
        """

        def decide() -> list[Decision]:
            large, left_out = Attributes(attributes), Ignore(ignore)
            paths = [file.path for file in files]
            _refuse_work(large.work(paths) + left_out.work(paths))
            return [
                Decision(
                    file.path,
                    _is_large(file, large, regular_max),
                    left_out.ignores(file.path),
                    held.get(file.path),
                )
                for file in files
            ]

        if len(attributes) + len(ignore) <= _LIGHT:
            return await asyncio.to_thread(decide)
        async with self._heavy:
            return await asyncio.to_thread(decide)

    async def lacking(self, attributes: str, paths: Sequence[str]) -> list[str]:
        """The rules, a line each, that would make those of the paths large files that are not. Raises `TooLarge`."""

        def lacking() -> list[str]:
            large = Attributes(attributes)
            _refuse_work(large.work(paths))
            return [rule_for(path) for path in paths if not large.is_lfs(path)]

        async with self._heavy:
            return await asyncio.to_thread(lacking)


def _is_large(file: Candidate, attributes: Attributes, regular_max: int) -> bool:
    if file.size == 0:
        return False  # git-lfs makes no pointer for an empty file
    return file.size > regular_max or attributes.is_lfs(file.path) or looks_binary(file.sample)


def _refuse_work(work: int) -> None:
    if work > _MOST_WORK:
        raise TooLarge(
            "The patterns of .gitattributes and .gitignore are too many for so many files.",
            hint="Use fewer patterns with wildcards, or ask for fewer files at once.",
        )
