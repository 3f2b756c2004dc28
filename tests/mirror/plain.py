"""HTTP to the stand-in upstream for tests of what is above the transport: no bounds, no rules about hosts."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from hubreg.errors import UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from hubreg.store.mirror import Upstream


@dataclass(frozen=True)
class PlainAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


class PlainCalls:
    """Each call on a connection of its own. Redirects of 307 are followed at the upstream."""

    async def call(
        self,
        upstream: Upstream,
        method: str,
        path: str,
        *,
        token: str | None,
        json: bytes | None = None,
        limit: int,
        timeout: float,  # noqa: ASYNC109
    ) -> PlainAnswer:
        headers = {"Content-Type": "application/json"} if json is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = upstream.url + path
        async with httpx.AsyncClient(timeout=timeout) as client:
            for _ in range(5):
                try:
                    response = await client.request(method, url, content=json, headers=headers)
                except httpx.TimeoutException as error:
                    raise UpstreamTimeout("The upstream took too long.") from error
                except httpx.HTTPError as error:
                    raise UpstreamUnreachable("The upstream cannot be reached.") from error
                if response.status_code != 307:
                    return PlainAnswer(response.status_code, dict(response.headers), response.content)
                url = urljoin(url, response.headers["location"])
                assert urlsplit(url).netloc == urlsplit(upstream.url).netloc
        raise UpstreamFailed("The upstream redirects in a circle.")
