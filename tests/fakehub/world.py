"""What the stand-in holds beside the bytes: repos by name, people and their tokens, quotas, and where it says it is."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from tests.fakehub.repos import Gated, Kind, Repo

Bucket = Literal["api", "resolvers", "pages"]
WINDOW = 300  # seconds; fixed windows (HUB 3.5)

# Requests a window, by plan (HUB 3.5). Write routes and whoami have `api` with 10000 for anonymous callers.
QUOTAS: dict[str, dict[Bucket, int]] = {
    "anonymous": {"api": 500, "resolvers": 3000, "pages": 100},
    "free": {"api": 1000, "resolvers": 5000, "pages": 200},
    "pro": {"api": 2500, "resolvers": 12000, "pages": 400},
    "team": {"api": 3000, "resolvers": 20000, "pages": 400},
    "enterprise": {"api": 6000, "resolvers": 50000, "pages": 600},
}


@dataclass(frozen=True)
class User:
    name: str
    token: str
    plan: str = "free"
    orgs: tuple[str, ...] = ()
    fullname: str = ""

    @property
    def public_id(self) -> str:
        return hashlib.sha256(f"user:{self.name}".encode()).hexdigest()[:24]


class World:
    """Changed by the test at any time; read by every request."""

    # Addresses in what it says; the real ones unless a test wants others, to see whether they are followed.
    public_url: str = ""
    cdn_public_url: str = ""
    cas_url: str = ""  # in xet-read-token and in the xet Link; the CDN's own address, which knows no CAS

    url_seconds: float = 3600  # how long a signed URL works (HUB 6.2: about an hour)
    gzip_from: int = 6000  # bytes; the real threshold is not known (HUB 3.4, 13.3)
    page_size: int = 1000  # of trees (HUB 5.3)
    expanded_page_size: int = 50  # of trees with `expand`: measured, OpenAPI says 100 (HUB 5.3)
    gated_trees: bool = True  # whether a gated repo's tree is refused to anonymous: not recorded (HUB 13.9)
    redirect_resolve: bool = (
        False  # whether an old name's /resolve redirects to the new one first (HUB 1.2: no)
    )
    direct_public: bool = (
        False  # public regular files as 200 at once: 3.5 % of probes, rule unknown (HUB 6.1)
    )

    def __init__(self) -> None:
        self.repos: dict[tuple[Kind, str], Repo] = {}  # by kind and lower-case id
        self.users: dict[str, User] = {}  # by token
        self.people: dict[str, dict[str, Any]] = {}  # what `overview` says of a user
        self.organizations: dict[str, dict[str, Any]] = {}
        self.security_status: dict[str, Any] | None = (
            None  # `securityFileStatus` of every file, with `expand`
        )
        self._aliases: dict[tuple[Kind, str], Repo] = {}  # old and legacy names, lower-case
        self._spent: dict[tuple[str, Bucket, int], int] = {}
        self._quota_lock = threading.Lock()

    def repo(self, kind: Kind, id: str, *, private: bool = False, gated: Gated = False) -> Repo:
        """The repo of that id: the one that is there, or a new one, with no commit yet."""
        key = (kind, id.lower())
        if key not in self.repos:
            self.repos[key] = Repo(kind, id, private=private, gated=gated)
        return self.repos[key]

    def model(self, id: str, *, private: bool = False, gated: Gated = False) -> Repo:
        return self.repo("model", id, private=private, gated=gated)

    def dataset(self, id: str, *, private: bool = False, gated: Gated = False) -> Repo:
        return self.repo("dataset", id, private=private, gated=gated)

    def space(self, id: str, *, private: bool = False, gated: Gated = False) -> Repo:
        return self.repo("space", id, private=private, gated=gated)

    def alias(self, name: str, repo: Repo) -> None:
        """Another name that leads to a repo: a legacy one of one segment, `gpt2`, or an old one (HUB 1.2)."""
        self._aliases[repo.kind, name.lower()] = repo

    def rename(self, repo: Repo, id: str) -> None:
        """Move a repo; its old name leads to the new one."""
        del self.repos[repo.kind, repo.id.lower()]
        self.alias(repo.id, repo)
        repo.id = id
        self.repos[repo.kind, id.lower()] = repo

    def delete(self, repo: Repo) -> None:
        """Take it down, with every name that leads to it."""
        self.repos = {key: kept for key, kept in self.repos.items() if kept is not repo}
        self._aliases = {key: kept for key, kept in self._aliases.items() if kept is not repo}

    def names(self) -> set[str]:
        """Every name that leads to a repo, lower-case."""
        return {name for _, name in [*self.repos, *self._aliases]}

    def find(self, kind: Kind, name: str) -> Repo | None:
        """A repo by its name in any case, or by another name of its own."""
        key = (kind, name.lower())
        return self.repos.get(key) or self._aliases.get(key)

    def user(
        self,
        name: str,
        *,
        plan: str = "free",
        orgs: Collection[str] = (),
        token: str = "",
        fullname: str = "",
    ) -> str:
        """Somebody with an account; the token."""
        made_up = "hf_" + hashlib.sha256(f"token:{name}".encode()).hexdigest()[:34]
        user = User(name, token or made_up, plan, tuple(orgs), fullname or name.title())
        self.users[user.token] = user
        return user.token

    def quota(self, who: str, bucket: Bucket, limit: int) -> tuple[int, int]:
        """Count a request; how many are left in the window (never none: see `rate_limit`), and seconds to its end."""
        now = int(time.time())
        key = (who, bucket, now // WINDOW)
        with self._quota_lock:
            self._spent[key] = self._spent.get(key, 0) + 1
            return max(1, limit - self._spent[key]), WINDOW - now % WINDOW
