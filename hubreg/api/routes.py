"""
Every URL of hubreg's API, on one page.

Routing works on the path as the client sent it, still percent-encoded, because a revision may itself contain a slash:
`refs%2Fpr%2F1` is one segment. JavaScript clients send the same revision unencoded (CLIENT_API 9), so the names under
`refs/` may be several segments too. Each part is decoded once it is cut out.

    {T}         models, datasets or spaces            {P}         nothing, datasets/ or spaces/
    {cas}       /cas/ and the epoch
    {repo}      namespace/name, or a bare name        {revision}  a branch, tag, commit id or refs/...
    {/path}     the rest, maybe empty                 {word}      one segment of any other name

A handler's name says what it answers, its first line what that is; the documentation's table is made of them.
GET rows answer HEAD too.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.responses import Response

from hubreg.api import accounts, cas, commits, discussions, git, lfs, refs, repos, resolve, site, tree, xet
from hubreg.api.requests import Request
from hubreg.errors import Invalid, MethodNotAllowed, NotFound

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """`text`: refusals are plain text, as files' are. `git`: git and git-lfs call it."""

    methods: str
    path: str
    handler: Handler
    text: bool = False
    git: bool = False

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip().partition("\n")[0]


def _unsupported(below: str, words: str) -> Route:
    """A row for all URLs that begin so. A 501 and not a 500: clients try those again for 23 seconds (CLIENT_API 0)."""
    path = f"{below}{{word:{'|'.join(words.split())}}}{{/path}}"
    return Route("GET POST PUT PATCH DELETE", path, site.unsupported)


# fmt: off
ROUTES = (
    # files
    Route("GET",    "/{P}{repo}/resolve/{revision}/{path}",            resolve.file, text=True),
    Route("GET",    "/{P}{repo}/raw/{revision}/{path}",                resolve.git_blob, text=True),
    Route("GET",    "/{P}{repo}/commit/{revision}",                    commits.shown, text=True),
    # repos, read
    Route("GET",    "/api/spaces/{word:templates|hardware|zero-gpu/quota|semantic-search}", site.unsupported),
    Route("GET",    "/api/{T}",                                        repos.page),
    Route("GET",    "/api/{T}/{repo}",                                 repos.info),
    Route("GET",    "/api/{T}/{repo}/revision/{revision}",             repos.info),
    Route("GET",    "/api/{T}/{repo}/tree/{revision}{/path}",          tree.tree),
    Route("POST",   "/api/{T}/{repo}/paths-info/{revision}",           tree.paths_info),
    Route("GET",    "/api/{T}/{repo}/refs",                            refs.refs),
    Route("GET",    "/api/{T}/{repo}/commits/{revision}",              commits.history),
    Route("GET",    "/api/{T}/{repo}/compare/{range}",                 commits.comparison),
    Route("GET",    "/api/{T}/{repo}/auth-check",                      repos.may_read),
    Route("GET",    "/api/{T}/{repo}/auth-check/write",                repos.may_write),
    Route("GET",    "/api/{T}/{repo}/lfs-files",                       lfs.inventory),
    # repos, write
    Route("POST",   "/api/{T}/{repo}/preupload/{revision}",            commits.preupload),
    Route("POST",   "/api/{T}/{repo}/commit/{revision}",               commits.commit),
    Route("POST",   "/api/{T}/{repo}/branch/{branch}",                 refs.create_branch),
    Route("DELETE", "/api/{T}/{repo}/branch/{branch}",                 refs.delete_branch),
    Route("POST",   "/api/{T}/{repo}/tag/{revision}",                  refs.create_tag),
    Route("DELETE", "/api/{T}/{repo}/tag/{revision}",                  refs.delete_tag),
    Route("POST",   "/api/{T}/{repo}/super-squash/{revision}",         commits.squash),
    Route("POST",   "/api/{T}/{repo}/revert/{revision}",               commits.revert),
    Route("PUT",    "/api/{T}/{repo}/settings",                        repos.settings),
    Route("POST",   "/api/{T}/{repo}/duplicate",                       repos.duplicate),
    Route("POST",   "/api/{T}/{repo}/lfs-files/duplicate",             lfs.duplicate),
    Route("POST",   "/api/repos/create",                               repos.create),
    Route("DELETE", "/api/repos/delete",                               repos.delete),
    Route("POST",   "/api/repos/move",                                 repos.move),
    # large files
    Route("POST",   "/{P}{repo}.git/info/lfs/objects/batch",           lfs.batch, git=True),
    Route("POST",   "/{P}{repo}.git/info/lfs/verify",                  lfs.verify, git=True),
    Route("POST",   "/{P}{repo}.git/info/lfs/locks/verify",            lfs.locks, git=True),
    Route("PUT",    "/lfs/{repo_id}/{sha256}",                         lfs.put),
    Route("GET",    "/lfs/{repo_id}/{sha256}",                         lfs.download),
    Route("PUT",    "/lfs/{repo_id}/{sha256}/parts/{upload}/{number}", lfs.put_part),
    Route("POST",   "/lfs/{repo_id}/{sha256}/complete/{upload}",       lfs.complete),
    # Xet: tokens, and the content-addressed side by every path that some client uses
    Route("GET",    "/api/{T}/{repo}/xet-read-token/{revision}",       xet.read_token),
    Route("GET",    "/api/{T}/{repo}/xet-write-token/{revision}",      xet.write_token),
    Route("GET",    "{cas}/{word:v1/chunks|chunks|chunk}/{prefix}/{hash}", cas.near_chunk, text=True),
    Route("POST",   "{cas}/v1/xorb-grants/{prefix}/{hash}",            cas.grant, text=True),
    Route("GET",    "{cas}/{word:v1/xorbs|xorbs|xorb}/{prefix}/{hash}", cas.xorb_state, text=True),
    Route("POST",   "{cas}/{word:v1/xorbs|xorbs|xorb}/{prefix}/{hash}", cas.receive_xorb, text=True),
    Route("POST",   "{cas}/v2/shards",                                 cas.receive_shard_telling, text=True),
    Route("POST",   "{cas}/{word:v1/shards|shards}",                   cas.receive_shard, text=True),
    Route("POST",   "{cas}/shard/{prefix}/{hash}",                     cas.receive_shard, text=True),
    Route("GET",    "{cas}/v2/reconstructions/{hash}",                 cas.reconstruction, text=True),
    Route("GET",    "{cas}/{word:v1/reconstructions|reconstructions|reconstruction}/{hash}", cas.reconstruction_1,
          text=True),
    Route("GET POST", "{cas}/{word:v1/reconstructions|reconstructions}", cas.reconstructions, text=True),
    Route("GET",    "{cas}/xorb-ranges/{hash}",                        cas.xorb_ranges, text=True),
    Route("GET",    "{cas}/v1/files/{hash}",                           cas.file, text=True),
    Route("POST",   "/v1/telemetry",                                   cas.telemetry),
    # git
    Route("GET",    "/{P}{repo}.git/info/refs",                        git.refs, text=True, git=True),
    Route("GET",    "/{P}{repo}/info/refs",                            git.refs, text=True, git=True),
    Route("POST",   "/{P}{repo}.git/git-upload-pack",                  git.fetch, text=True, git=True),
    Route("POST",   "/{P}{repo}/git-upload-pack",                      git.fetch, text=True, git=True),
    Route("POST",   "/{P}{repo}.git/git-receive-pack",                 git.push, text=True, git=True),
    Route("POST",   "/{P}{repo}/git-receive-pack",                     git.push, text=True, git=True),
    # discussions and pull requests
    Route("GET",    "/api/{T}/{repo}/discussions",                     discussions.page),
    Route("POST",   "/api/{T}/{repo}/discussions",                     discussions.create),
    Route("GET",    "/api/{T}/{repo}/discussions/{num}",               discussions.detail),
    Route("POST",   "/api/{T}/{repo}/discussions/{num}/comment",       discussions.comment),
    Route("POST",   "/api/{T}/{repo}/discussions/{num}/title",         discussions.title),
    Route("POST",   "/api/{T}/{repo}/discussions/{num}/status",        discussions.status),
    Route("POST",   "/api/{T}/{repo}/discussions/{num}/merge",         discussions.merge),
    Route("POST",   "/api/{T}/{repo}/discussions/{num}/comment/{id}/edit", discussions.edit),
    Route("POST",   "/api/{T}/{repo}/discussions/{num}/comment/{id}/hide", discussions.hide),
    # people
    Route("GET",    "/api/whoami-v2",                                  accounts.whoami),
    Route("GET",    "/api/users/{user}/overview",                      accounts.user),
    Route("GET",    "/api/organizations/{org}/overview",               accounts.organization),
    Route("GET",    "/api/organizations/{org}/members",                accounts.members),
    # the site
    Route("POST",   "/api/validate-yaml",                              site.validate_card),
    Route("GET",    "/api/agent-harnesses",                            site.agent_harnesses),
    Route("GET",    "/api/telemetry{/path}",                           site.telemetry),
    Route("GET",    "/api/{T}-tags-by-type",                           site.tags_by_type),
    Route("GET",    "/health",                                         site.health),
    # what the Hub has and hubreg does not, or not yet
    _unsupported("/api/{T}/{repo}/", "user-access-request like likers scan treesize"),
    _unsupported("/api/{T}/{repo}/", "safetensors-metadata notebook resource-group jwt leaderboard parquet croissant"),
    _unsupported("/api/{T}/{repo}/lfs-files/", "batch"),
    _unsupported("/api/{T}/{repo}/discussions/{num}/", "pin reaction reference changeBase"),
    _unsupported("/api/spaces/{repo}/", "secrets variables runtime hardware sleeptime pause restart dev-mode volumes"),
    _unsupported("/api/spaces/{repo}/", "storage logs metrics events"),
    _unsupported("/api/users/{user}/", "likes followers following socials avatar"),
    _unsupported("/api/organizations/{org}/", "followers settings avatar resource-groups billing audit-log scim"),
    _unsupported("/api/", "kernels buckets collections webhooks jobs scheduled-jobs papers daily_papers posts tasks"),
    _unsupported("/api/", "settings trending quicksearch notifications discussions resolve-cache"),
    _unsupported("/", "oauth buckets kernels uploads papers v2"),
)
# fmt: on

_PARTS = {
    "T": "(?P<type>models|datasets|spaces)",
    "P": "(?P<web>datasets/|spaces/)?",
    "cas": "/cas/(?P<epoch>e[0-9]{1,18})",
    "repo": "(?P<repo>[^/]+(?:/[^/]+)?)",
    "revision": "(?P<revision>refs/(?:pr|convert|heads|tags)/[^/]+|[^/]+)",
    "branch": "(?P<branch>.+)",
    "range": "(?P<range>.+)",
    "path": "(?P<path>.*)",
    "/path": "(?:/(?P<path>.*))?",
    "num": "(?P<num>[0-9]{1,9})",
}


def compiled(path: str) -> re.Pattern[str]:
    """A row's path as a regular expression. `{name}` is one segment unless `_PARTS` or `{name:form}` says otherwise."""
    expression = ""
    for at, piece in enumerate(re.split(r"\{([^{}]+)\}", path)):
        if at % 2 == 0:
            expression += re.escape(piece)
        else:
            name, _, form = piece.partition(":")
            expression += _PARTS.get(name, f"(?P<{name}>{form or '[^/]+'})")
    return re.compile(expression)


_BELOW = re.compile(r"/api/(?:\{T\}|spaces)/\{repo\}/(?:\{word:([^{}]+)\}\{/path\}|([a-z-]+))")


def _verbs(routes: Sequence[Route]) -> frozenset[str]:
    """The words that may be all there is behind a repo's name, or the second half of one."""
    found = [match for route in routes if (match := _BELOW.fullmatch(route.path))]
    return frozenset(word for match in found for word in (match[1] or match[2]).split("|"))


class Table:
    """The rows, ready to be looked up."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        self._rows = [(compiled(route.path), frozenset(route.methods.split()), route) for route in routes]
        self._verbs = _verbs(routes)

    def find(self, method: str, path: str) -> tuple[Route, re.Match[str]]:
        """The first row that answers. Raises `NotFound`, or `MethodNotAllowed` where another method would do."""
        wanted = "GET" if method == "HEAD" else method
        allowed: set[str] = set()
        for pattern, methods, route in self._rows:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if wanted in methods:
                return route, match
            allowed |= methods
        if not allowed:
            raise NotFound("Sorry, we can't find the page you are looking for.")
        allowed |= {"HEAD"} if "GET" in allowed else set()
        names = sorted(allowed)
        raise MethodNotAllowed(
            f"{method} is not allowed here, only {' and '.join(names)} {'is' if len(names) == 1 else 'are'}.",
            headers={"Allow": ", ".join(names)},
        )

    def shorter(self, path: str, match: re.Match[str]) -> tuple[Route, re.Match[str]] | None:
        """
        The other reading of a path that names a repo and nothing else: `gpt2/refs` may be the refs of `gpt2`, whose
        name is one of the Hub's oldest and has no namespace. None where there is none.
        """
        name = match.groupdict().get("repo") or ""
        if match.end("repo") != len(path) or name.rpartition("/")[2] not in self._verbs or "/" not in name:
            return None
        for pattern, methods, route in self._rows:
            other = pattern.fullmatch(path)
            if (
                other is not None
                and "GET" in methods
                and other.groupdict().get("repo") == name.partition("/")[0]
            ):
                return route, other
        return None


def parts(match: re.Match[str]) -> dict[str, str]:
    """What the URL says, decoded; `type` in the singular, whichever way the URL has it."""
    found = match.groupdict()
    params = {name: decoded(text) for name, text in found.items() if text is not None}
    if "web" in found or "type" in found:
        plural = found.get("type") or (found.get("web") or "models").rstrip("/")
        params["type"] = plural.removesuffix("s")
    return params


def decoded(text: str) -> str:
    """A part of a URL without its percent-encoding. Raises `Invalid` for what is not UTF-8 then."""
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError as error:
        raise Invalid("The URL is not UTF-8.") from error
