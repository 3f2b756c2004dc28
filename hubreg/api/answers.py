"""The forms an answer takes. Bytes of files are `bodies.FileBody`; refusals are `boundary.refusal`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from hubreg.api.requests import Rendered, Request
from hubreg.formats import conditional, hubjson

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


def json(
    request: Request,
    value: Any,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = JSON,
) -> Response:
    """`value` as JSON."""
    return rendered(request, render(value), headers=headers, media_type=media_type)


def render(value: Any, cursor: str = "") -> Rendered:
    return made(hubjson.encode(value), cursor)


def made(body: bytes, cursor: str = "") -> Rendered:
    """`render` of what is JSON already."""
    return Rendered(body, conditional.weak_etag(body), cursor)


def rendered(
    request: Request,
    made: Rendered,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = JSON,
) -> Response:
    """
    What a reader gets may change with the next write, so caches must ask again (`no-cache`); the Hub's weak ETag lets
    them do so cheaply.
    """
    more = {"Cache-Control": "no-cache", "Vary": "Origin", **(headers or {})}
    if request.reading:
        more["ETag"] = made.etag
        if conditional.if_none_match(request.header(b"if-none-match"), made.etag):
            return Response(status_code=304, headers=more)
    return Response(made.body, headers=more, media_type=media_type)


def aged(age: int | None) -> dict[str, str]:
    """Headers that say how old an answer is in seconds, where upstream could not be asked (RFC 9111 5.1)."""
    return {} if age is None else {"Age": str(age), "Warning": '110 - "Response is Stale"'}


def text(body: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.encode("utf-8", "replace"), status, {"Vary": "Origin", **(headers or {})}, TEXT)


def done(request: Request) -> Response:
    """There is nothing to say but that it worked. JSON all the same: some clients parse whatever comes."""
    return json(request, {})


def redirect(location: str, headers: Mapping[str, str] | None = None) -> Response:
    """
    307: the method and body stay. The text is the one that the Hub's server writes; its length is the redirect's own
    Content-Length, never the file's (PITFALLS 3).
    """
    more = {"Location": location, "Vary": "Origin, Accept", "Cache-Control": "no-cache", **(headers or {})}
    return text(f"Temporary Redirect. Redirecting to {location}", status=307, headers=more)
