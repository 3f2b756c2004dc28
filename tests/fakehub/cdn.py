"""
The CDN: signed URLs and nothing else, on a host of its own. HUB 6.2.

Its answers carry no header of the Hub's. How the real one refuses a URL that has expired, or one that comes with a
token, was not recorded; here it is 403 and 400 with the XML of the storage behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

from tests.fakehub.content import Plain
from tests.fakehub.files import Grant, Signatures, parse_range
from tests.fakehub.wire import Answer, Headers, Request, Seen

CROSS_ORIGIN = [
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "*"),
    ("access-control-allow-headers", "Content-Range, Content-Type, Content-Disposition, ETag"),
    ("vary", "origin, access-control-request-method, access-control-request-headers"),
]


class Cdn:
    """Answers for the second server."""

    def __init__(self, signatures: Signatures, now: Callable[[], float]) -> None:
        self._signatures, self._now = signatures, now

    def answer(self, request: Request, seen: Seen) -> Answer:
        seen.kind = "content"
        if request.method == "OPTIONS":  # `cors-preflight-200`: the CDN's answers * for all
            return _plain(200, [*CROSS_ORIGIN, ("access-control-allow-methods", "*")], b"")
        if request.path.startswith(("/v1/", "/v2/")):
            seen.kind = "cas"
            return _cas_knows_nothing()
        grant = self._signatures.find(request.value("Signature"))
        if grant is not None and grant.target == request.target:
            seen.repo, seen.file = grant.place.repo.id, grant.place.path
        else:
            grant = None
        if request.token is not None:
            return _refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        if grant is None or grant.expires < self._now():
            return _refusal(403, "AccessDenied", "Access denied")
        return _content(request, grant)


def _content(request: Request, grant: Grant) -> Answer:
    """The file or a range of it (`cdn-get-range-206-full-headers`, `cdn-head-200`). If-Range is ignored."""
    file = grant.place.file
    content = file.content
    start, end = (
        wanted if (wanted := parse_range(request.headers.get("range"), content.size)) else (0, content.size)
    )
    if wanted and start >= end:
        return Answer(416, [("content-length", "0")])  # `cdn-get-range-past-end-416`: no Content-Range
    headers: Headers = [("content-type", "application/octet-stream"), ("content-length", str(end - start))]
    if wanted:
        headers.append(("content-range", f"bytes {start}-{end - 1}/{content.size}"))
    etag = file.xet_hash or content.sha256  # the Xet hash, not the SHA-256 (`cdn-get-range-206`)
    headers += [
        ("accept-ranges", "bytes"),
        ("content-disposition", grant.place.disposition),
        ("etag", f'"{etag}"'),
        ("date", formatdate(usegmt=True)),
        *CROSS_ORIGIN,
        ("x-hf-cdn-pop", "aws-us-east-1"),
    ]
    return Answer(206 if wanted else 200, headers, content, start, end, is_file=True)


def _cas_knows_nothing() -> Answer:
    """`cas-chunk-404`"""
    request_id = "01M3BW28RAABK1HPEAE69P6WH4"
    headers = [
        ("access-control-allow-credentials", "true"),
        ("content-type", "text/plain; charset=utf-8"),
        ("date", formatdate(usegmt=True)),
        ("vary", f"accept-encoding, {CROSS_ORIGIN[-1][1]}"),
        ("x-request-id", request_id),
    ]
    return _plain(404, headers, f"request_id: {request_id}; (1) not found".encode())


def _refusal(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return _plain(status, [("content-type", "application/xml")], body.encode())


def _plain(status: int, headers: Headers, body: bytes) -> Answer:
    return Answer(status, [*headers, ("content-length", str(len(body)))], Plain(body))
