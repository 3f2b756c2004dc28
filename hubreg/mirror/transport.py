"""
HTTP to upstream Hubs and their CDNs: bounded, and never further than to hosts that somebody allowed.

An upstream says where its files are by redirects, so it, or who sits between, could send us to any place that this
server reaches and its clients do not. A redirect is followed to the upstream's own host, with its token; to a host
that the upstream's `hosts` names, without (PITFALLS 14); nowhere else. Encrypted connections do not become plain ones.
A host that is allowed by a suffix (`.hf.co`) must have a public address: only who names a host in full can mean one
inside.

Whatever keeps an answer from coming is `UpstreamFailed` or one of its kinds (PITFALLS 8).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata
from ipaddress import ip_address
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from hubreg.errors import HubregError, UpstreamBusy, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from hubreg.store.mirror import Upstream

_HOPS = 6  # a request of a large file takes two, of one under an old name three
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_LINE = 16 << 10  # bytes of one header: signed URLs have up to 4 KiB
_HEADERS = 128
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0  # between two pieces of a body
_READ = 256 << 10  # bytes that wait for us at most, twice: beyond it the connection is not read
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)$")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to, whatever its status. Names of headers are in lower case; `url` is where it came from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, slots=True)
class Body:
    """
    A file's bytes on their way, from `start` up to `end`, of `size` in all; None where upstream does not say.

    `start` is what upstream sends, which is not what was asked for where it does not know ranges.
    """

    status: int
    headers: Mapping[str, str]
    start: int
    end: int | None
    size: int | None
    _response: aiohttp.ClientResponse = field(repr=False)
    _upstream: Upstream = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        As they come, never more than announced. Raises `UpstreamUnreachable` for a connection that is cut, and
        `UpstreamTimeout` for one that is silent; what was given before is good as far as anybody knows.
        """
        at = self.start
        try:
            async for chunk in self._response.content.iter_any():
                at += len(chunk)
                if chunk:
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(self._upstream, error) from error
        if self.end is not None and at < self.end:
            raise UpstreamUnreachable(f"The connection to the upstream {self._upstream.name} was cut.")


class Transport:
    """
    One per process. `silence` is how many seconds a connection may say nothing in the middle of a body; `names` makes
    what turns names into addresses.

    Connections are kept per upstream as it was when it was first asked: other settings are another upstream.
    """

    def __init__(
        self, silence: float = _SILENCE_SECONDS, names: Callable[[], AbstractResolver] = ThreadedResolver
    ) -> None:
        self._silence, self._names = silence, names
        self._sessions: dict[Upstream, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def call(
        self,
        upstream: Upstream,
        method: str,
        path: str,
        *,
        token: str | None,
        json: bytes | None = None,
        limit: int,
        timeout: float,  # noqa: ASYNC109 it covers connecting and every redirect
    ) -> Answer:
        """
        An answer of at most `limit` bytes within `timeout` seconds, from the upstream's own host.

        A redirect on that host is followed with the same method and body (PITFALLS 16).
        """
        headers = {"Accept-Encoding": "gzip"}
        if json is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with (
                asyncio.timeout(timeout),
                self._follow(
                    upstream, method, path, token=token, headers=headers, data=json, away=False
                ) as response,
            ):
                body = await _whole(upstream, response, limit)
                return Answer(response.status, _headers(response), body, str(response.url))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _failure(upstream, error) from error

    @asynccontextmanager
    async def open(
        self, upstream: Upstream, path: str, *, token: str | None, start: int = 0, end: int | None = None
    ) -> AsyncIterator[Body]:
        """
        A file's bytes from `start` up to `end`, from wherever upstream keeps them. Each call asks upstream anew for
        the place: signed URLs expire (PITFALLS 23). Raises for every other answer than 200 and 206.
        """
        headers = {"Accept-Encoding": "identity"}  # PITFALLS 5
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    self._follow(upstream, "GET", path, token=token, headers=headers, data=None, away=True)
                )
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _failure(upstream, error) from error
            yield _body(upstream, response)

    @asynccontextmanager
    async def _follow(
        self,
        upstream: Upstream,
        method: str,
        path: str,
        *,
        token: str | None,
        headers: Mapping[str, str],
        data: bytes | None,
        away: bool,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer behind all redirects. `away`: they may lead to the other hosts of the upstream."""
        session = self._session(upstream)
        url = upstream.url + path
        for _ in range(_HOPS):
            own = _is_own(upstream, url)
            sent = dict(headers)
            if own and token:
                sent["Authorization"] = f"Bearer {token}"
            async with session.request(
                method,
                URL(url, encoded=True),  # as it is: a signature covers every byte of it
                headers=sent,
                data=data,
                allow_redirects=False,
                proxy=upstream.proxy or None,
            ) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    try:
                        yield response
                    finally:
                        if not response.content.at_eof():
                            response.close()  # else the rest of it would go on coming
                    return
            url = urljoin(url, location)
            _check(upstream, url, away=away)
        raise UpstreamFailed(f"The upstream {upstream.name} redirects in a circle.")

    def _session(self, upstream: Upstream) -> aiohttp.ClientSession:
        session = self._sessions.get(upstream)
        if session is None:
            tls = ssl.create_default_context(cafile=upstream.ca_file or None)
            connector = aiohttp.TCPConnector(ssl=tls, resolver=_Resolver(upstream, self._names()), limit=0)
            session = self._sessions[upstream] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._silence
                ),
                headers={"User-Agent": f"hubreg/{metadata.version('hubreg')}", "Accept": "*/*"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_READ,
                max_line_size=_LINE,
                max_field_size=_LINE,
                max_headers=_HEADERS,
            )
        return session


# where one may go


def _is_own(upstream: Upstream, url: str) -> bool:
    """Whether a URL is at the upstream's own host and port, encrypted at least as its own URL is."""
    here, there = URL(upstream.url), URL(url)
    if (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port):
        return True
    return (here.scheme, here.port, there.scheme, there.port, there.host) == (
        "http", 80, "https", 443, here.host,
    )  # fmt: skip


def _check(upstream: Upstream, text: str, *, away: bool) -> None:
    """Raise `UpstreamFailed` for a redirect that is not followed. What is said has no query: signatures are secrets."""
    try:
        url = URL(text, encoded=True)
        host = url.host
    except ValueError:
        host = None
    if host is None or url.scheme not in ("http", "https"):
        raise UpstreamFailed(f"The upstream {upstream.name} redirects to what is no URL of the web.")
    if _is_own(upstream, text):
        return
    if not away or not (named := _named(upstream, host)):
        raise UpstreamFailed(
            f"The upstream {upstream.name} redirects to {host}, which is none of its hosts.",
            hint="If it keeps its files there, allow it: `hubreg mirror add --host`.",
        )
    if url.scheme == "http" and URL(upstream.url).scheme == "https":
        raise UpstreamFailed(f"The upstream {upstream.name} redirects from https to plain http at {host}.")
    if named.startswith(".") and _is_private(host):
        raise _private(upstream, host)


def _named(upstream: Upstream, host: str) -> str:
    """The entry of the upstream's hosts that allows this one; "" for none."""
    for allowed in upstream.hosts:
        if host == allowed.lower() or (allowed.startswith(".") and host.endswith(allowed.lower())):
            return allowed
    return ""


def _is_private(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return False


def _private(upstream: Upstream, host: str) -> UpstreamFailed:
    return UpstreamFailed(
        f"The upstream {upstream.name} redirects to {host}, which is an address inside.",
        hint="If that is meant, name the host in full: `hubreg mirror add --host`.",
    )


class _Resolver(AbstractResolver):
    """Names to addresses; none that is private for a host that is allowed by its suffix only."""

    def __init__(self, upstream: Upstream, resolver: AbstractResolver) -> None:
        self._upstream, self._own = upstream, URL(upstream.url).host
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host != self._own and _named(self._upstream, host).startswith("."):
            for address in found:
                if _is_private(address["host"]):
                    raise _private(self._upstream, host)
        return found

    async def close(self) -> None:
        await self._resolver.close()


# answers


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """By lower-case name; several of one name in one."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _whole(upstream: Upstream, response: aiohttp.ClientResponse, limit: int) -> bytes:
    """A body of at most `limit` bytes, unpacked where it is packed."""
    too_long = UpstreamFailed(f"The upstream {upstream.name} answers without an end.")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise UpstreamFailed(
            f"The upstream {upstream.name} answers in {encoding[:40]}, which nobody asked for."
        )
    unpacking = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    parts, held = [], 0
    async for chunk in response.content.iter_any():
        part = unpacking.decompress(chunk, limit - held + 1) if unpacking else chunk
        held += len(part)
        if held > limit:
            raise too_long
        parts.append(part)
    if unpacking and held and not unpacking.eof:
        raise UpstreamUnreachable(f"The upstream {upstream.name} ended in the middle of an answer.")
    return b"".join(parts)


def _body(upstream: Upstream, response: aiohttp.ClientResponse) -> Body:
    status, headers = response.status, _headers(response)
    if status not in (200, 206):
        raise _refusal(upstream, response, headers)
    if headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise UpstreamFailed(f"The upstream {upstream.name} sends a file packed, which nobody asked for.")
    if _is_own(upstream, str(response.url)) and headers.get("content-type", "").startswith("text/html"):
        # A Hub never sends a file by the type that a browser would run (HUB 6.2).
        raise UpstreamFailed(f"The upstream {upstream.name} answered a web page where a file should be.")
    length = response.content_length
    if status == 200:
        return Body(status, headers, 0, length, length, response, upstream)
    told = _RANGE.match(headers.get("content-range", ""))
    if told is None or int(told[1]) > int(told[2]):
        raise UpstreamFailed(f"The upstream {upstream.name} sends a part of a file and not which.")
    start, end = int(told[1]), int(told[2]) + 1
    return Body(status, headers, start, end, None if told[3] == "*" else int(told[3]), response, upstream)


def _refusal(
    upstream: Upstream, response: aiohttp.ClientResponse, headers: Mapping[str, str]
) -> UpstreamFailed:
    """
    Why there is no file. That it exists was said before: a 404 is no answer to whether it does.
    """
    status = response.status
    if status == 429:
        wait = headers.get("retry-after", "")
        told = {"Retry-After": wait} if re.fullmatch("[0-9]{1,6}", wait) else {}
        return UpstreamBusy(
            f"The upstream {upstream.name} has had too many requests from here.", headers=told
        )
    if status in (408, 504):
        return UpstreamTimeout(f"The upstream {upstream.name} took too long ({status}).")
    if status >= 500:
        return UpstreamUnreachable(f"The upstream {upstream.name} is out of order ({status}).")
    if status == 403 and not _is_own(upstream, str(response.url)):
        # A signed URL that has expired or was for something else: a fresh one may be right (PITFALLS 23).
        return UpstreamUnreachable(
            f"The host of the files of {upstream.name} refused a URL that it gave out."
        )
    return UpstreamFailed(f"The upstream {upstream.name} answered {status} where a file should be.")


def _failure(upstream: Upstream, error: BaseException) -> HubregError:
    """What went wrong on the way, without the URL: it may be signed."""
    name = upstream.name
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, HubregError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return UpstreamFailed(
            f"The certificate of the upstream {name} is not one that is trusted here.",
            hint="Behind a proxy that looks into TLS, give its CA: `hubreg mirror add --ca-file`.",
        )
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(f"The upstream {name} took too long.")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return UpstreamFailed(f"The proxy before the upstream {name} refused: {error.status}.")
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return UpstreamFailed(f"The upstream {name} answered what is no HTTP, or more of it than a Hub does.")
    return UpstreamUnreachable(f"The upstream {name} cannot be reached, or hung up.")
