"""The stand-in itself: two servers, a world, a script, a ledger."""

from __future__ import annotations

import ssl
import time
from fnmatch import fnmatchcase
from typing import Self, Unpack
from urllib.parse import unquote

from tests.fakehub import api
from tests.fakehub.answers import JSON, Call, Refused, compact
from tests.fakehub.cdn import Cdn
from tests.fakehub.content import Plain
from tests.fakehub.files import Files, Signatures
from tests.fakehub.script import Fault, Narrow, Script, replaced
from tests.fakehub.wire import Answer, Ledger, Listener, Request, Seen, Site
from tests.fakehub.world import QUOTAS, Bucket, World


class FakeHub(World, Script, Ledger):
    """
    A Hub on loopback and its CDN on another host of loopback, for a test to set up, to break and to question.

        async with FakeHub() as hub:            # or `with`: it runs in threads of its own
            repo = hub.model("org/name")
            commit = repo.commit({"config.json": b"{}", "model.safetensors": Generated(1 << 30, seed=1)})
            hub.cut_after("model.safetensors", 0.5)
            ...                                 # HF_ENDPOINT=hub.url
            assert hub.sent("model.safetensors") == 1 << 30

    What the world holds: `World`, `Repo`. What may go wrong: `Script`. What was asked: `seen`, `sent`, `Seen`.
    `stop` and `start` in between make it unreachable and reachable again on the same ports. Leaving it raises what
    broke inside, so that a defect of the stand-in does not pass for an answer.

    With `tls` both servers speak TLS. The second host needs 127.0.0.2 to be an address of this machine, as on Linux.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cdn_host: str = "127.0.0.2",
        cdn_port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        World.__init__(self)
        Script.__init__(self)
        Ledger.__init__(self)
        self._signatures = Signatures()
        self._files = Files(self._signatures)
        self._cdn = Cdn(self._signatures, time.time)
        self._scheme = "https" if tls else "http"
        self._servers: dict[Site, Listener] = {
            "hub": Listener("hub", host, port, self._respond, self, tls),
            "cdn": Listener("cdn", cdn_host, cdn_port, self._respond, self, tls),
        }

    # running

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return self._url("hub")

    @property
    def cdn_url(self) -> str:
        return self._url("cdn")

    def _url(self, site: Site) -> str:
        host, port = self.address(site)
        return f"{self._scheme}://{host}:{port}"

    def address(self, site: Site) -> tuple[str, int]:
        """Host and port of one of the two servers."""
        return self._servers[site].host, self._servers[site].port

    def start(self) -> None:
        for server in self._servers.values():
            server.start()
        self.public_url = self.public_url or self.url
        self.cdn_public_url = self.cdn_public_url or self.cdn_url
        self.cas_url = self.cas_url or self.cdn_url

    def stop(self) -> None:
        """Close both ports and every connection, in the middle of answers too. Faults are healed, all else is kept."""
        for server in self._servers.values():
            server.stopping.set()
        self.clear()
        for server in self._servers.values():
            server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()
        broken = [error for server in self._servers.values() for error in server.failures]
        if broken and failure[0] is None:
            raise AssertionError(f"the stand-in broke: {broken!r}") from broken[0]

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *failure: object) -> None:
        self.__exit__(*failure)

    # questions

    def seen(self, pattern: str = "*", **narrow: Unpack[Narrow]) -> list[Seen]:
        """The requests at a place, in order; patterns and the rest as in `Script`."""

        def holds(seen: Seen) -> bool:
            if any(getattr(seen, name) != wanted for name, wanted in narrow.items()):
                return False
            return fnmatchcase(seen.path if pattern.startswith("/") else seen.file, pattern)

        return [seen for seen in self.requests if holds(seen)]

    def sent(self, pattern: str = "*", **narrow: Unpack[Narrow]) -> int:
        """Bytes of bodies that went out for a file, redirects and errors left out: upstream's side of "1.00 x"."""
        answers = self.seen(pattern, **narrow)
        return sum(seen.sent for seen in answers if seen.status in (200, 206) and seen.file)

    def transcript(self) -> str:
        """All requests, a line each: the message of an assertion."""
        return "\n".join(map(str, self.requests)) or "(no requests)"

    # more script, of what needs to know who asks

    def rate_limit(
        self,
        bucket: Bucket = "api",
        *,
        left: int = 0,
        seconds: int = 55,
        html: bool = False,
        times: int | None = None,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """
        After `left` more requests of a bucket, 429 with `r=0` (`rate-limited-api-429`), until cancelled or `times`.

        No Retry-After, as on the Hub. `html`: the page that some callers get.
        """
        budget = [left]

        def act(fault: Fault, request: Request, seen: Seen, answer: Answer) -> Answer | None:
            call = Call(self, request, seen)
            if seen.site != "hub" or call.bucket != bucket:
                return None
            budget[0] -= 1
            if budget[0] >= 0:
                return None
            fault.fire()
            return _too_many(call, seconds, html)

        return self.add("*", act, times, narrow)

    def expire_urls(self) -> None:
        """Every signed URL that was given out so far is refused from now on (403)."""
        self._signatures.expire()

    # answering

    def _respond(self, request: Request, seen: Seen) -> Answer:
        answer = (
            self._cdn.answer(request, seen) if seen.site == "cdn" else self._hub(Call(self, request, seen))
        )
        return self.apply(request, seen, answer)

    def _hub(self, call: Call) -> Answer:
        call.seen.user = call.name
        try:
            return self._route(call)
        except Refused as refused:
            return call.refusal(refused)

    def _route(self, call: Call) -> Answer:
        request = call.request
        words = request.path.split("/")[1:]
        if request.method == "OPTIONS":
            return _preflight(call)
        if words[:2] == ["api", "resolve-cache"] and len(words) > 6:
            return self._files.cached(call, words[2:])
        if words[0] == "api" and len(words) > 1:
            return api.answer(call)
        if request.method not in ("GET", "HEAD"):
            return api.refuse_write(call)
        if request.path == "/":  # `homepage-head-200`
            call.seen.kind = "page"
            page = Plain(b"<!doctype html><title>stand-in</title>")
            return call.finish(
                200, "text/html; charset=utf-8", page.size, [("x-frame-options", "DENY")], page
            )
        found = self._files.resolve(call, words)
        if found is None:
            raise Refused(404, f"Not found: {unquote(request.path)}")
        return found


def _preflight(call: Call) -> Answer:
    """The Hub echoes the origin and the headers that are asked for (`cors-preflight-200`)."""
    call.seen.kind = "preflight"
    headers = [
        ("access-control-allow-headers", call.request.headers.get("access-control-request-headers", "")),
        ("access-control-allow-methods", "GET"),
    ]
    return call.finish(200, None, 0, headers, Plain(b""))


def _too_many(call: Call, seconds: int, html: bool) -> Answer:
    """`rate-limited-api-429`; the text for who is logged in is HUB 3.5's."""
    limit = QUOTAS[call.user.plan if call.user else "anonymous"][call.bucket]
    if call.user:
        text = (
            f"We had to rate limit you, you hit the quota of {limit} {call.bucket} requests per 5 minutes period."
            " Upgrade to a PRO user or Team/Enterprise organization account to get higher limits."
        )
    else:
        text = (
            "We had to rate limit your IP (203.0.113.7). To continue using our service, create a HF account or login to"
            " your existing account, and make sure you pass a HF_TOKEN if you're using the API."
        )
    type_, body = (
        ("text/html; charset=utf-8", f"<!doctype html><title>429</title><p>{text}</p>".encode())
        if html
        else (JSON, compact({"error": text}))
    )
    headers = [
        ("content-type", type_),
        ("ratelimit", f'"{call.bucket}";r=0;t={seconds}'),
        ("ratelimit-policy", f'"fixed window";"{call.bucket}";q={limit};w=300'),
    ]
    return replaced(Answer(429, []), 429, headers, body)
