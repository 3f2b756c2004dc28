"""
What is the same for every request: who calls from where, what is added to each answer, and how errors are said.

The one place where hubreg's errors become responses: nothing below knows of HTTP, no handler has a `try` for them.
Headers of the caller are believed here or nowhere: a Host is checked before it becomes part of a URL, `X-Forwarded-*`
count only from proxies that the configuration trusts, and what is echoed is cut to what a header may hold.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Scope

from hubreg.api.requests import Place
from hubreg.config import Config
from hubreg.errors import EntryNotFound, HubregError, StorageFull
from hubreg.formats import hubjson
from hubreg.store.full import is_full

log = logging.getLogger("hubreg.api")

Raw = list[tuple[bytes, bytes]]

# What scripts may read of an answer to another origin: the Hub's list (HUB 3.1).
EXPOSED = (
    b"X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,"
    b"X-Linked-Size,X-Linked-ETag,X-Xet-Hash"
)
CHALLENGE = 'Bearer realm="Authentication required", charset="UTF-8"'
GIT_CHALLENGE = 'Basic realm="Authentication required", charset="UTF-8"'  # git and git-lfs know no other

_HOST = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ID = re.compile(rb"[!-~]{1,200}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\xff]")


class Front:
    """Where hubreg is reached, as the configuration says and, where it says nothing, as the caller does."""

    def __init__(self, config: Config) -> None:
        self._proxies = config.proxies()
        self._public = config.public_url.rstrip("/")
        self.prefix = urlsplit(self._public).path
        self._raw_prefix = self.prefix.encode()

    def path(self, scope: Scope) -> str:
        """
        The path that routes are matched on: as it came, still encoded, without the prefix of `public_url` (a proxy
        may have removed it or not) and without empty segments, which endpoints with a trailing slash bring about
        (CLIENTS requirement 14).
        """
        raw: bytes = scope["raw_path"]
        if self._raw_prefix and raw.startswith(self._raw_prefix + b"/"):
            raw = raw[len(self._raw_prefix) :]
        path = raw.decode("latin-1")
        while "//" in path:
            path = path.replace("//", "/")
        return path

    def place(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Place:
        """What URLs in answers begin with: `public_url`, else the host that the caller used."""
        if self._public:
            return Place(self._public, self.prefix)
        scheme, host = str(scope["scheme"]), headers.get(b"host", b"").decode("latin-1")
        if self._from_proxy(scope):
            host = _last(headers, b"x-forwarded-host") or host
            forwarded = _last(headers, b"x-forwarded-proto").lower()
            scheme = forwarded if forwarded in ("http", "https") else scheme
        if not _HOST.fullmatch(host):
            host = _own(scope)
        return Place(f"{scheme}://{host}")

    def address(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """The caller's address: the last one in X-Forwarded-For that is no proxy of ours, or the connection's."""
        client = scope.get("client")
        found = str(client[0]) if client else ""
        if not self._from_proxy(scope):
            return found
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for hop in reversed([hop.strip() for hop in hops]):
            if not _is_address(hop):
                break  # whoever wrote this one, what stands before it is theirs to make up
            found = hop
            if not self._trusts(hop):
                break
        return found

    def _from_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        return bool(self._proxies) and client is not None and self._trusts(client[0])

    def _trusts(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in network for network in self._proxies)


def _last(headers: Mapping[bytes, bytes], name: bytes) -> str:
    # Proxies append: what stands before the last value may be the caller's own invention.
    return headers.get(name, b"").decode("latin-1").rpartition(",")[2].strip()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _own(scope: Scope) -> str:
    host, port = scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


class RequestIds:
    """
    Names for requests. A client's X-Request-Id is kept as it is; its X-Amzn-Trace-Id becomes the end of the name, as on
    the Hub (CLIENT_API 0): clients print it in every error.
    """

    def __init__(self) -> None:
        self._process = f"Root=1-{secrets.token_hex(4)}-{secrets.token_hex(8)}"
        self._count = itertools.count()

    def name(self, headers: Mapping[bytes, bytes]) -> bytes:
        given = headers.get(b"x-request-id")
        if given is not None and _ID.fullmatch(given):
            return given
        own = b"%s%08x" % (self._process.encode(), next(self._count))
        trace = headers.get(b"x-amzn-trace-id")
        if trace is not None and _ID.fullmatch(trace):
            return own + b";" + trace
        return own


def on_every_answer(request_id: bytes, origin: bytes | None) -> Raw:
    """Headers that every answer has. The origin is echoed, as the Hub does; no cookie is honoured across origins."""
    if origin is None or not _ID.fullmatch(origin):
        return [(b"x-request-id", request_id)]
    return [
        (b"x-request-id", request_id),
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", EXPOSED),
        (b"access-control-max-age", b"86400"),
    ]


def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def preflight(headers: Mapping[bytes, bytes]) -> Response:
    """A browser asks before it sends a request to another origin: whatever it asks for is allowed."""
    method = headers[b"access-control-request-method"].decode("latin-1")
    more = {"Access-Control-Allow-Methods": _printable(method), "Vary": "Origin"}
    if asked := headers.get(b"access-control-request-headers"):
        more["Access-Control-Allow-Headers"] = _printable(asked.decode("latin-1"))
    return Response(status_code=200, headers=more)


# errors


def known(error: Exception, request: str) -> HubregError:
    """The error as one of ours. What is not, or is our own failure, goes to the log and says nothing of itself."""
    if is_full(error) or isinstance(error, StorageFull):
        log.error("%s: the disk is full: %s", request, error)
        hint = "Whoever runs it has to make room."
        return error if isinstance(error, StorageFull) else StorageFull(StorageFull.MESSAGE, hint=hint)
    if not isinstance(error, HubregError):
        log.error("%s failed", request, exc_info=error)
        return HubregError("Internal error.", hint="The server's log says more.")
    if error.status == 500:
        log.error("%s: %s", request, error.message, exc_info=error)
    return error


def refusal(error: HubregError, place: Place, *, text: bool = False, git: bool = False) -> Response:
    """
    An error as the response that the Hub's clients understand (HUB 4.1): the word in `X-Error-Code`, the sentence in
    `X-Error-Message`, and a body: JSON for the API, plain text for files (`text`); `git` for routes that git calls.
    """
    message = error.message.encode("utf-8", "replace").decode()  # it may quote what is no UTF-8
    headers = {
        "X-Error-Code": error.code or "InternalError",
        "X-Error-Message": _printable(message),
        "Cache-Control": "no-cache",
        "Vary": "Origin",
        **error.headers,
    }
    if error.status == 401:
        headers["WWW-Authenticate"] = GIT_CHALLENGE if git else CHALLENGE
    if text:
        if isinstance(error, EntryNotFound):
            headers["Accept-Ranges"] = "bytes"  # as the Hub says of what is not there, too
        return Response(message, error.status, headers, "text/plain; charset=utf-8")
    body: dict[str, object] = {"error": message, **({"hint": error.hint} if error.hint else {}), **error.body}
    if git:
        body["message"] = message  # what git-lfs shows
    url = body.get("url")
    if isinstance(url, str) and url.startswith("/"):
        body["url"] = place.base + url
    return Response(hubjson.encode(body), error.status, headers, "application/json; charset=utf-8")


def _printable(text: str) -> str:
    # A message may quote what the client sent; a header holds one line of latin-1 (CLIENT_API 1).
    return _UNPRINTABLE.sub("?", " ".join(text.split()))[:1000].strip()
