"""
How the Hub answers: the headers that are on everything, JSON, text, redirects, refusals. HUB 3 and 4.

The order of headers is that of `resolve-head-regular-public-307-full`, the one sample in wire order.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
import time
from base64 import b64encode
from dataclasses import dataclass
from email.utils import formatdate
from functools import cached_property
from typing import Any

from tests.fakehub.content import Content, Plain
from tests.fakehub.wire import Answer, Headers, Request, Seen
from tests.fakehub.world import QUOTAS, Bucket, User, World

EXPOSED = (
    "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,"
    "X-Linked-Size,X-Linked-ETag,X-Xet-Hash"
)
JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
CHALLENGE = ("www-authenticate", 'Bearer realm="Authentication required", charset="UTF-8"')
WARNING = (  # `x-hf-warning`: its words between the first and the last are what users quote
    "unauthenticated; Warning: You are sending unauthenticated requests to the HF Hub. Please set a HF_TOKEN to enable "
    "higher rate limits and faster downloads."
)


class Refused(Exception):
    """A refusal of the table in HUB 4.2: text, the code where the Hub gives one, and headers of its own."""

    def __init__(
        self, status: int, text: str, code: str | None = None, headers: Headers | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.code, self.headers = status, text, code, headers or []


def weak_etag(body: bytes) -> str:
    """The ETag of JSON and text: length and SHA-1, as Express makes them (HUB 3.3)."""
    digest = b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()
    return f'W/"{len(body):x}-{digest[:27]}"'


def compact(value: Any) -> bytes:
    """JSON as the Hub writes it: no spaces, no escapes of letters; what is no text in a path becomes U+FFFD."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace")


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)


@dataclass(frozen=True)
class Call:
    """One request to the Hub, who sent it, and the ways to answer it."""

    world: World
    request: Request
    seen: Seen

    @cached_property
    def user(self) -> User | None:
        """Whose token came along; None for a token that is nobody's, too (HUB 2)."""
        return self.world.users.get(self.request.token or "")

    @property
    def name(self) -> str | None:
        return self.user.name if self.user else None

    @property
    def orgs(self) -> tuple[str, ...]:
        return self.user.orgs if self.user else ()

    @cached_property
    def bucket(self) -> Bucket:
        """Which quota it counts against (HUB 3.5)."""
        path = self.request.path
        if "/resolve/" in path or path.startswith("/api/resolve-cache/"):
            return "resolvers"
        return "api" if path.startswith("/api/") else "pages"

    @property
    def gzip_accepted(self) -> bool:
        return "gzip" in self.request.headers.get("accept-encoding", "")

    def now(self) -> float:
        return time.time()

    def expires(self) -> int:
        """When a Xet token that is given out now ends: in an hour (`xet-write-token-200`)."""
        return int(self.now()) + 3600

    # answers

    def json(self, value: Any, status: int = 200, headers: Headers | None = None) -> Answer:
        """JSON with a weak ETag; the larger ones gzipped and chunked where that is asked for (HUB 3.4)."""
        return self._app_body(status, JSON, compact(value), headers or [])

    def text(self, text: str, status: int = 200, headers: Headers | None = None) -> Answer:
        return self._app_body(status, TEXT, text.encode(), headers or [])

    def _app_body(self, status: int, type_: str, body: bytes, headers: Headers) -> Answer:
        tagged = [*headers, ("etag", weak_etag(body))]
        if self.gzip_accepted and len(body) >= self.world.gzip_from and self.request.method != "HEAD":
            return self.gzipped(status, type_, Plain(zipped(body)), tagged)  # `api-get-gzip-200`
        return self.finish(status, type_, len(body), tagged, Plain(body))

    def gzipped(self, status: int, type_: str, content: Content, headers: Headers) -> Answer:
        """Chunked and without a length, with two lines of Vary (`api-get-gzip-200`)."""
        encoded = [*headers, ("content-encoding", "gzip"), ("vary", "Accept-Encoding")]
        answer = self.finish(status, type_, None, encoded, content)
        answer.chunked = True
        return answer

    def redirect(
        self, status: int, location: str, headers: Headers | None = None, vary: str = "Origin"
    ) -> Answer:
        """A redirect with Express's text; the length is the text's, on HEAD too (HUB 6.2)."""
        word = "Temporary Redirect" if status == 307 else "Found"
        body = f"{word}. Redirecting to {location}".encode()
        return self.finish(
            status, TEXT, len(body), [("location", location), *(headers or [])], Plain(body), vary=vary
        )

    def refusal(self, refused: Refused) -> Answer:
        """JSON on /api, bare text elsewhere; the text in a header, too (HUB 4.1)."""
        headers = list(refused.headers)
        if refused.code:
            headers.append(("x-error-code", refused.code))
        headers.append(("x-error-message", refused.text.encode("latin-1", "replace").decode("latin-1")))
        if refused.status == 401:
            headers.append(CHALLENGE)
        if self.request.path.startswith("/api/") and not self.request.path.startswith("/api/resolve-cache/"):
            return self.json({"error": refused.text}, refused.status, headers)
        return self.text(refused.text, refused.status, headers)

    def finish(
        self,
        status: int,
        type_: str | None,
        length: int | None,
        headers: Headers,
        content: Content,
        vary: str = "Origin",
    ) -> Answer:
        """Everything that is on every answer of the app around what is on this one (HUB 3.1)."""
        first: Headers = []
        if type_ is not None:
            first.append(("content-type", type_))
        first.append(("transfer-encoding", "chunked") if length is None else ("content-length", str(length)))
        first += [("connection", "keep-alive"), ("date", formatdate(usegmt=True))]
        location = [pair for pair in headers if pair[0] == "location"]
        rest = [pair for pair in headers if pair[0] != "location"]
        return Answer(status, [*first, *location, *self._app_headers(vary), *rest, *_edge(status)], content)

    def _app_headers(self, vary: str) -> Headers:
        limit = self._limit()
        left, seconds = self.world.quota(self.name or "anonymous", self.bucket, limit)
        trace = self.request.headers.get("x-amzn-trace-id")
        request_id = f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)}" + (f";{trace}" if trace else "")
        return [
            ("x-powered-by", "huggingface-moon"),
            ("x-request-id", request_id),
            ("ratelimit", f'"{self.bucket}";r={left};t={seconds}'),
            ("ratelimit-policy", f'"fixed window";"{self.bucket}";q={limit};w=300'),
            ("cross-origin-opener-policy", "same-origin"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("access-control-max-age", "86400"),
            ("access-control-allow-origin", self.request.headers.get("origin", "https://huggingface.co")),
            ("vary", vary),
            ("access-control-expose-headers", EXPOSED),
        ]

    def _limit(self) -> int:
        if self.user is None and (self.seen.kind in ("write", "whoami")):
            return 10000  # `write-route-anonymous-401`
        return QUOTAS[self.user.plan if self.user else "anonymous"][self.bucket]


def _edge(status: int) -> Headers:
    """What the CDN in front of the app adds. `Error from cloudfront` just marks what failed (HUB 3.1)."""
    return [
        ("strict-transport-security", "max-age=31536000"),
        ("via", "1.1 f614e1bfacc59636f272b6e23efc5592.cloudfront.net (CloudFront)"),
        ("x-cache", f"{'Error' if status >= 400 else 'Miss'} from cloudfront"),
        ("alt-svc", 'h3=":443"; ma=86400'),
    ]
