"""
Warming: the files of a mirrored repo fetched before anybody asks for them, on behalf of whoever runs this server.

It goes by the flights that requests go by, so a running server and this share what either fetches, and what has come
when one stops is gone on from by the next. Nobody gets a right by it: who may read is asked when somebody reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hubreg.errors import Busy, NotFound, Refused, RepoNotFound, UpstreamUnreachable
from hubreg.formats import names
from hubreg.hub.snapshots import Snapshots
from hubreg.identity.accounts import SYSTEM
from hubreg.mirror.contents import Contents, wanted
from hubreg.mirror.sync import Mirror
from hubreg.model import CommitId, Entry, RepoType
from hubreg.store import repos
from hubreg.store.repos import Repo

_TICK = 0.1  # seconds between two looks at how far a file has come
_LOOKS = 50  # for the row of a file that another process has whole
_TRIES = 5  # flights of a file: others that led may have been killed


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What is to be fetched of a commit: each content once, in the order of the listing. `files` and `size` are of all
    that was asked for, here or not.
    """

    repo: Repo
    commit: CommitId
    missing: list[Entry]
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Pulling:
    mirror: Mirror
    snapshots: Snapshots
    contents: Contents

    async def plan(
        self,
        type_: RepoType,
        name: str,
        revision: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Plan:
        """
        Ask upstream what the revision is and holds. Patterns are those of `hf download`: of the whole path, and one
        that ends with a slash is for all below. Raises `NotFound` for a repo, a revision or files that are nowhere,
        `Refused` for a repo that is not to be fetched, and `UpstreamFailed`.
        """
        repo = await self._find(type_, name)
        rule = await self.mirror.sources.rule_of(repo)
        if rule is None or not rule.asks:
            raise Refused(
                f"No rule lets {repo.ref.full} be fetched: it is served as far as it is here.",
                hint="`hubreg mirror list` shows the rules.",
            )
        commit = await self.mirror.resolve(repo, revision)
        await self._complete(repo, commit)
        entries = await self.snapshots.files(await self.snapshots.of(repo, commit))
        chosen = [entry for entry in entries if _is_chosen(entry.path, include, exclude)]
        if entries and not chosen:
            raise NotFound(f"No file of {repo.ref.full} is called so.")
        missing = {wanted(entry).key: entry for entry in chosen if entry.size and not entry.here}
        return Plan(repo, commit, list(missing.values()), len(chosen), sum(entry.size for entry in chosen))

    async def _find(self, type_: RepoType, name: str) -> Repo:
        found = await repos.find(self.mirror.db, type_, names.key(name))
        if found is None:
            try:
                return await self.mirror.discover(SYSTEM, type_, name)
            except RepoNotFound as error:
                raise NotFound(
                    f"No upstream that is asked for it has a {type_.value} {name}.",
                    hint="`hubreg mirror list` shows which are asked for what.",
                ) from error
        if found[0].upstream_id is None:
            raise Refused(f"{found[0].ref.full} is this server's own: there is nothing to pull.")
        return found[0]

    async def _complete(self, repo: Repo, commit: CommitId) -> None:
        """Unlike a client, wait for its listing however long that is."""
        while True:
            try:
                await self.mirror.complete(repo, commit)
            except Busy:
                continue
            return

    async def fetch(self, plan: Plan, entry: Entry, come: Callable[[int], None]) -> None:
        """
        Return when a file of the plan is here; `come` is told now and then how many bytes of it are. Raises what its
        flight raises: what has come until then stays.
        """
        for _ in range(_TRIES):
            async with self.contents.arriving(plan.repo, plan.commit, entry) as flight:
                while not await flight.ended(_TICK):
                    come(flight.progress)
            for _ in range(_LOOKS):
                if await self._is_here(plan.repo, entry):
                    come(entry.size)
                    return
                await asyncio.sleep(_TICK)
        raise UpstreamUnreachable("Another process fetched this file and did not finish. Try again.")

    async def _is_here(self, repo: Repo, entry: Entry) -> bool:
        return (await self.mirror.entries(repo, [(entry.path, entry.oid)]))[0].here


def _is_chosen(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(path, f"{each}*" if each.endswith("/") else each) for each in patterns)

    return (not include or matches(include)) and not matches(exclude)
