"""
What a handler is given: one request, parsed as far as every handler needs it.

The rest is parsed by asking: `text`, `flag`, `number` and `values` read the query, `json` and `form` the body,
`repo` finds the repo that the URL names. Whatever does not parse is `Invalid`, so handlers hold no checks of their own.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from starlette.types import Receive, Scope

from hubreg.api.bodies import read_body
from hubreg.app import App
from hubreg.errors import Invalid
from hubreg.formats import conditional
from hubreg.model import Action, Actor, RepoId, RepoType
from hubreg.store.fresh import Bounded
from hubreg.store.repos import Repo

T = TypeVar("T")

SMALL_BODY = 1 << 20  # bytes; what a JSON body may have unless a handler says more
_MOST_FIELDS = 5000  # in a query or a form: `paths-info` may name 2 000 paths
_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off", ""}


class Elsewhere(Exception):
    """The answer is at another URL: 307. Raised where a name turns out not to be the repo's own spelling."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


@dataclass(frozen=True, slots=True)
class Rendered:
    """JSON that was made once and is sent often. `cursor` is where the next page begins, "" where there is none."""

    body: bytes
    etag: str
    cursor: str = ""


# By what it was made of: of the same row and commit the same JSON is made, so nothing here is ever out of date.
Kept = Bounded[Hashable, Rendered]


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where hubreg is, as this caller sees it. `base` begins every absolute URL in an answer; `prefix` every relative
    one: the path that `public_url` ends in, or nothing. Neither ends in a slash.
    """

    base: str
    prefix: str = ""


class Request:
    """
    One request. `params` are the parts of the URL, decoded; `path` is the whole of it as it came, no prefix. `kept` is
    JSON that was made for earlier ones.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        *,
        app: App,
        actor: Actor,
        place: Place,
        headers: Mapping[bytes, bytes],
        path: str,
        params: Mapping[str, str],
        kept: Kept,
        name_span: tuple[int, int] = (0, 0),
    ) -> None:
        self.scope, self.receive = scope, receive
        self.app, self.actor, self.place, self.kept = app, actor, place, kept
        self.headers, self.path, self.params = headers, path, params
        self._name_span = name_span

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def reading(self) -> bool:
        """GET or HEAD, which differ only in what the server sends of the answer."""
        return self.method in ("GET", "HEAD")

    def header(self, name: bytes) -> str | None:
        """A header by its lower-case name; the last one of several."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else None

    # the URL

    @property
    def repo_type(self) -> RepoType:
        """The type of repo that the URL is about."""
        return RepoType(self.params["type"])

    async def repo(self, action: Action = Action.KNOW) -> Repo:
        """
        The repo that the URL names. Raises what `Repos.find` raises, and `Elsewhere` when a reader spelled it in
        another way or by an old name; a 307 to a writer would have it send its body again, so those are simply let
        in (PITFALLS 16).
        """
        repo = await self.app.repos.find(self.actor, self.repo_type, self.params["repo"], action)
        if self.reading and repo.ref.full != self.params["repo"]:
            raise Elsewhere(self.renamed(repo.ref.full))
        return repo

    def renamed(self, name: str) -> str:
        """This request's relative URL with another name in its place, query kept."""
        start, end = self._name_span
        query = self.scope["query_string"].decode("latin-1")
        path = self.path[:start] + quote(name) + self.path[end:]
        return f"{self.place.prefix}{path}{'?' + query if query else ''}"

    def url(self, path: str) -> str:
        """An absolute URL; `path` begins with a slash."""
        return self.place.base + path

    def web(self, ref: RepoId, *more: str) -> str:
        """The absolute URL of a repo's page, or of something below it. Each of `more` is one segment."""
        return self.url("/" + "/".join([quote(str(ref)), *(quote(part, safe="") for part in more)]))

    # the query

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """All values of each key; `expand[]` is `expand` (HUB 1.5)."""
        return _fields(self.scope["query_string"].decode("latin-1"))

    def values(self, name: str) -> list[str]:
        return self.query.get(name, [])

    def text(self, name: str, default: str = "") -> str:
        return self.values(name)[-1] if self.values(name) else default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """`true`, `True` and `1` are one (CLIENTS requirement 9)."""
        values = self.values(name)
        return flag(values[-1], name) if values else default

    def number(self, name: str, default: int, *, least: int = 0, most: int) -> int:
        """A whole number, brought between `least` and `most`."""
        text = self.text(name)
        if not text:
            return default
        if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
            raise Invalid(f'"{name}" must be a number')
        return max(least, min(most, int(text)))

    def next_page(self, path: str, **changes: str | int) -> str:
        """
        A Link to `path` with this query but for `changes`: absolute, for clients follow it as it is (PITFALLS 13).
        """
        pairs = [(key, value) for key, values in self.query.items() for value in values if key not in changes]
        query = urlencode([*pairs, *changes.items()])
        return conditional.link_next(self.url(f"{path}?{query}"))

    # the body

    async def json(self, kind: type[T], limit: int = SMALL_BODY) -> T:
        """The body as JSON of that shape. No body at all, or `null`, is an empty object: some clients send nothing."""
        body = await read_body(self, limit)
        if body.strip() in (b"", b"null"):
            body = b"{}"
        return parse(body, kind)

    async def form(self, limit: int = SMALL_BODY) -> dict[str, list[str]]:
        """The body as `application/x-www-form-urlencoded`."""
        body = await read_body(self, limit)
        return _fields(body.decode("latin-1"))

    @property
    def is_form(self) -> bool:
        return (self.header(b"content-type") or "").lower().startswith("application/x-www-form-urlencoded")


def parse(body: bytes, kind: type[T]) -> T:
    """JSON of a known shape. Raises `Invalid` with what is wrong and where."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"The request body is not what was expected: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The request body is not valid JSON: {error}.") from error


def render_cursor(place: str) -> str:
    """Where a page ends, in a form that nobody is tempted to read."""
    return urlsafe_b64encode(place.encode("utf-8", "surrogateescape")).decode()


def parse_cursor(cursor: str) -> str:
    """The place that `render_cursor` was given. Raises `Invalid`."""
    try:
        return b64decode(cursor, altchars=b"-_", validate=True).decode("utf-8", "surrogateescape")
    except ValueError as error:
        raise Invalid("The cursor is not one of this server's.") from error


def flag(text: str, name: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise Invalid(f'"{name}" must be true or false')


def _fields(text: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Invalid("There are too many parameters.") from error
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.removesuffix("[]"), []).append(value)
    return found
