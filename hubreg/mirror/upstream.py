"""
An upstream Hub as a client sees it: typed calls, each of its refusals as one of our errors.

What tells a fact from a failure (PITFALLS 8): that something is not there is believed when a Hub says so in a Hub's
way, by `X-Error-Code` or by the bare 401 that stands for an absent repo (HUB 4.2). Whatever else keeps us from an
answer (a timeout, a 5xx, a 429, HTML, JSON that is none) is `UpstreamFailed` or one of its kinds, and says nothing of
the repo.

Pages are followed by the cursor in `Link`, always at the upstream itself, wherever the link points.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from hubreg.errors import (
    EntryNotFound,
    GatedRepo,
    HubregError,
    Refused,
    RepoDisabled,
    RepoNotFound,
    RevisionNotFound,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from hubreg.formats import hubreading
from hubreg.formats.hubreading import Info, Said
from hubreg.model import CommitId, Entry, RepoType
from hubreg.store.mirror import Upstream

_SMALL = 4 << 20  # bytes of JSON about one thing
_PAGE = 32 << 20  # of a page of a listing: 1 000 paths of 1 000 characters each are 4 MB
_PAGES = 4000  # of a listing: 1 000 entries each unless upstream makes them smaller
_SECONDS = 8.0  # for an answer: the client whose HEAD waits for it gives up after 10 (PITFALLS 7)
_PAGE_SECONDS = 30.0
_QUOTA = re.compile(r'^\s*"?\w+"?\s*;\s*r=\d+\s*;\s*t=(\d{1,6})')
_INVALID_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 what a Hub says


class Answer(Protocol):
    """What a call came to, whatever its status. Names of headers are in lower case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


class Calls(Protocol):
    """What calls need of HTTP: bounded in time and bytes, and redirects within the upstream followed, POST by POST."""

    async def call(
        self,
        upstream: Upstream,
        method: str,
        path: str,
        *,
        token: str | None,
        json: bytes | None = None,
        limit: int,
        timeout: float,  # noqa: ASYNC109 it covers connecting too, which only the transport knows of
    ) -> Answer:
        """Raises `UpstreamFailed` and its kinds where no answer came, or none that may be read."""
        ...


@dataclass(frozen=True, slots=True)
class History:
    """A page of commits, and how many there are in all where upstream says."""

    commits: list[Said]
    total: int | None


@dataclass(frozen=True, slots=True)
class UpstreamHub:
    """One upstream. `token` of each call is whom to ask as; "" is nobody."""

    transport: Calls
    upstream: Upstream

    async def info(self, type_: RepoType, name: str, revision: str = "", *, token: str = "") -> Info:
        """
        A repo, under the name that it has by now, and the commit that a revision is.

        Raises `RepoNotFound`, `RevisionNotFound`, and what is said of failures above.
        """
        path = f"/api/{type_.plural}/{quote(name)}"
        if revision:
            path += f"/revision/{quote(revision, safe='')}"
        query = urlencode([("expand", key) for key in hubreading.ASKED[type_]])
        answer = await self._get(f"{path}?{query}", token, "a repo")
        return hubreading.parse_info(answer.body)

    async def refs(
        self, type_: RepoType, name: str, *, pulls: bool = False, token: str = ""
    ) -> list[tuple[str, CommitId]]:
        """Every ref by its full name, pull requests only if asked for."""
        query = "?include_prs=1" if pulls else ""
        answer = await self._get(f"/api/{type_.plural}/{quote(name)}/refs{query}", token, "refs")
        return hubreading.parse_refs(answer.body)

    async def tree(
        self, type_: RepoType, name: str, commit: CommitId, *, token: str = ""
    ) -> AsyncIterator[list[Entry]]:
        """
        All files and folders at a commit, page by page. Raises `UpstreamFailed` for pages that do not end; whether
        entries repeat is for who adds them up.
        """
        path = f"/api/{type_.plural}/{quote(name)}/tree/{commit}"
        query = "recursive=true&expand=false"
        cursors: set[str] = set()
        for _ in range(_PAGES):
            answer = await self._get(f"{path}?{query}", token, "a listing", _PAGE, _PAGE_SECONDS)
            yield hubreading.parse_tree(answer.body)
            following = hubreading.next_page(answer.headers.get("link"))
            if following is None:
                return
            query = urlsplit(following).query
            if query in cursors:
                raise self._failed("gives the same page of a listing again and again")
            cursors.add(query)
        raise self._failed("has a listing that does not end")

    async def paths(
        self, type_: RepoType, name: str, commit: CommitId, paths: Sequence[str], *, token: str = ""
    ) -> dict[str, Entry]:
        """Those of the paths that exist at a commit."""
        body = msgspec.json.encode({"paths": list(paths), "expand": False})
        path = f"/api/{type_.plural}/{quote(name)}/paths-info/{commit}"
        answer = await self._call("POST", path, token, "a listing", body=body)
        wanted = set(paths)
        return {entry.path: entry for entry in hubreading.parse_tree(answer.body) if entry.path in wanted}

    async def commits(
        self, type_: RepoType, name: str, commit: CommitId, page: int, limit: int, *, token: str = ""
    ) -> History:
        """A page of the commits from one towards the root; pages count from 0."""
        path = f"/api/{type_.plural}/{quote(name)}/commits/{commit}?p={page}&limit={limit}"
        answer = await self._get(path, token, "commits")
        total = answer.headers.get("x-total-count", "")
        count = int(total) if re.fullmatch("[0-9]{1,9}", total) else None
        return History(hubreading.parse_commits(answer.body)[:limit], count)

    async def check_right(self, type_: RepoType, name: str, *, token: str) -> None:
        """Return if the holder of a token may read a repo; else raise upstream's refusal, in its words."""
        try:
            await self._get(f"/api/{type_.plural}/{quote(name)}/auth-check", token, "a right")
        except UpstreamFailed as error:
            if error.status != 424:
                raise
            # A Hub without this route: its tree is as good, where trees are refused at all (HUB 13.9).
            await self._get(f"/api/{type_.plural}/{quote(name)}/commits/main?limit=1", token, "a right")

    # the wire

    async def _get(
        self, path: str, token: str, what: str, limit: int = _SMALL, seconds: float = _SECONDS
    ) -> Answer:
        return await self._call("GET", path, token, what, limit=limit, seconds=seconds)

    async def _call(
        self,
        method: str,
        path: str,
        token: str,
        what: str,
        *,
        body: bytes | None = None,
        limit: int = _SMALL,
        seconds: float = _SECONDS,
    ) -> Answer:
        answer = await self.transport.call(
            self.upstream, method, path, token=token or None, json=body, limit=limit, timeout=seconds
        )
        if answer.status != 200:
            raise self._refusal(answer, what)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and "json" not in kind:
            raise self._failed(f"answered {kind[:80]} where {what} in JSON was asked for")
        return answer

    def _refusal(self, answer: Answer, what: str) -> HubregError:
        """Any other answer than 200 as what it means."""
        status, code = answer.status, answer.headers.get("x-error-code", "")
        said = hubreading.parse_error(answer.body)
        message = (said or answer.headers.get("x-error-message") or "")[:1000]
        if status in (401, 403, 404) and code in _CODES:
            return _CODES[code](message or code)
        if status == 401 and message == _INVALID_TOKEN:
            return self._failed("does not accept the token that it was asked with", "Is it still valid?")
        if status == 401 and said is not None:
            return RepoNotFound(
                "Repository not found"
            )  # what a Hub says to who has no right to know (HUB 4.2)
        if status == 403 and message == RepoDisabled.MESSAGE:
            return RepoDisabled(message)
        if status == 403 and said is not None:
            return Refused(f"The upstream {self.upstream.name} refuses: {message}")
        if status == 429:
            return self._busy(answer.headers)
        if status in (408, 504):
            return UpstreamTimeout(f"The upstream {self.upstream.name} took too long ({status}).")
        if status >= 500:
            return UpstreamUnreachable(f"The upstream {self.upstream.name} is out of order ({status}).")
        return self._failed(f"answered {status} where {what} was asked for")

    def _busy(self, headers: Mapping[str, str]) -> UpstreamBusy:
        """Until when, if upstream says: the seconds of its quota's window, or its `Retry-After` (HUB 3.5)."""
        quota = _QUOTA.match(headers.get("ratelimit", ""))
        seconds = headers.get("retry-after", "") or (quota[1] if quota else "")
        told = {"Retry-After": seconds} if re.fullmatch("[0-9]{1,6}", seconds) else {}
        return UpstreamBusy(
            f"The upstream {self.upstream.name} has had too many requests from here.",
            hint="Give it a token of its own: `hubreg mirror add --token-file FILE`.",
            headers=told,
        )

    def _failed(self, what: str, hint: str = "") -> UpstreamFailed:
        return UpstreamFailed(f"The upstream {self.upstream.name} {what}.", hint=hint)


_CODES: dict[str, type[HubregError]] = {
    "RepoNotFound": RepoNotFound,
    "RevisionNotFound": RevisionNotFound,
    "EntryNotFound": EntryNotFound,
    "GatedRepo": GatedRepo,
}
