"""
What goes wrong upstream, when a test says so.

Every method takes where it applies first, then how it goes wrong, then how often (`times`, None for ever), and returns
the `Fault`: it counts how often it `fired`, can be waited for, and can be cancelled.

Where: a pattern (fnmatch; `*` crosses slashes). One that begins with a slash is held against the URL's path as it was
sent; any other against the path of a file in its repo, wherever it is asked for: resolve, resolve-cache, CDN. Faults in
a body, placed by the file's path, wait for an answer that has the file for a body. `site` ("hub" or "cdn"), `method`,
`kind` (see `Seen.kind`) and `repo` narrow it down.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, TypedDict, Unpack

from tests.fakehub.content import Content, Generated, Plain
from tests.fakehub.wire import Answer, Headers, Mark, Request, Seen, Site

FOREVER = 3600.0
PLACES = 1 << 40  # a page of a listing without an end names its entries from here


class Narrow(TypedDict, total=False):
    site: Site
    method: str
    kind: str
    repo: str


@dataclass(frozen=True)
class Where:
    pattern: str
    narrow: Narrow

    def holds(self, request: Request, seen: Seen) -> bool:
        facts = {"site": seen.site, "method": seen.method, "kind": seen.kind, "repo": seen.repo}
        if any(facts[name] != wanted for name, wanted in self.narrow.items()):
            return False
        if self.pattern.startswith("/"):
            return fnmatchcase(request.path, self.pattern)
        return fnmatchcase(seen.file, self.pattern) and (seen.file != "" or self.pattern == "*")


Act = Callable[["Fault", Request, Seen, Answer], Answer | None]


@dataclass
class Fault:
    """One thing that goes wrong. `act` changes or replaces an answer, or returns None where it has nothing to do."""

    where: Where
    act: Act
    times: int | None
    fired: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _reached: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def spent(self) -> bool:
        return self.times is not None and self.fired >= self.times

    def fire(self) -> bool:
        """Count it; False where it was spent in the meantime, by another answer that was on its way."""
        with self._counting:
            if self.spent:
                return False
            self.fired += 1
        self._reached.set()
        return True

    def wait(self, seconds: float = 10) -> None:
        """Block until it fired; AssertionError when it does not. In async code: `asyncio.to_thread(fault.wait)`."""
        assert self._reached.wait(seconds), f"nothing came by {self.where.pattern!r} in {seconds} s"

    def hold(self, seconds: float) -> None:
        self._released.wait(seconds)

    def release(self) -> None:
        """Let go what it holds back."""
        self._released.set()

    def cancel(self) -> None:
        """It does not happen again."""
        self.times = 0
        self.release()


def replaced(answer: Answer, status: int, headers: Headers, body: bytes) -> Answer:
    """Another answer in the place of one, with the length of its own body."""
    given = {name for name, _ in headers}
    length = [] if "content-length" in given or status == 304 else [("content-length", str(len(body)))]
    return Answer(status, [*headers, *length], Plain(body))


class Script:
    """All faults that are set, and the ways to set them."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._faults_lock = threading.Lock()

    def add(self, pattern: str, act: Act, times: int | None, narrow: Narrow) -> Fault:
        """A fault of the test's own making."""
        fault = Fault(Where(pattern, narrow), act, times)
        with self._faults_lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Heal everything; what is held back goes on."""
        with self._faults_lock:
            for fault in self._faults:
                fault.cancel()
            self._faults.clear()

    def apply(self, request: Request, seen: Seen, answer: Answer) -> Answer:
        """An answer after every fault that applies to it, in the order in which they were set."""
        with self._faults_lock:
            for fault in self._faults:
                if fault.spent or not fault.where.holds(request, seen):
                    continue
                answer = fault.act(fault, request, seen, answer) or answer
        return answer

    # bodies

    def _mark(
        self,
        pattern: str,
        at: float,
        what: Literal["cut", "reset", "flip", "stall"],
        times: int | None,
        narrow: Narrow,
        *,
        seconds: float = 0,
        each: bool = False,
    ) -> Fault:
        def act(fault: Fault, request: Request, seen: Seen, answer: Answer) -> Answer | None:
            if request.method == "HEAD" or not (answer.is_file or pattern.startswith("/")):
                return None
            place = position(at, answer.content) + (answer.start if each else 0)

            def reached() -> bool:
                happens = fault.fire()
                if happens and seconds:
                    fault.hold(seconds)
                return happens

            answer.marks.append(Mark(place, what, reached))
            return answer

        return self.add(pattern, act, times, narrow)

    def cut_after(
        self,
        pattern: str,
        at: float,
        *,
        times: int | None = 1,
        reset: bool = False,
        each: bool = False,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """
        Close the connection before byte `at` of the file; below 1 it is a fraction of it, 0 before the first byte.

        `each`: counted from the beginning of the answer instead, so that every resume gets that far. `reset`: by RST,
        which may take bytes with it that were on their way.
        """
        return self._mark(pattern, at, "reset" if reset else "cut", times, narrow, each=each)

    def flip(self, pattern: str, at: float, *, times: int | None = 1, **narrow: Unpack[Narrow]) -> Fault:
        """Send one wrong byte at `at` (a position, or a fraction below 1)."""
        return self._mark(pattern, at, "flip", times, narrow)

    def stall(
        self,
        pattern: str,
        at: float,
        *,
        seconds: float = FOREVER,
        times: int | None = 1,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """Send nothing more from byte `at` on, until `release` or for some seconds."""
        return self._mark(pattern, at, "stall", times, narrow, seconds=seconds)

    def _on_answers(
        self,
        pattern: str,
        change: Callable[[Request, Answer], Answer | None],
        times: int | None,
        narrow: Narrow,
    ) -> Fault:
        """A fault that fires with the answer that it changes."""

        def act(fault: Fault, request: Request, seen: Seen, answer: Answer) -> Answer | None:
            changed = change(request, answer)
            if changed is not None:
                fault.fire()
            return changed

        return self.add(pattern, act, times, narrow)

    def throttle(
        self, pattern: str, rate: int, *, times: int | None = None, **narrow: Unpack[Narrow]
    ) -> Fault:
        """At most `rate` bytes a second on each connection, as some CDNs do."""

        def change(request: Request, answer: Answer) -> Answer | None:
            if request.method == "HEAD" or not answer.is_file:
                return None
            answer.rate = rate
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def wrong_length(
        self, pattern: str, by: int, *, times: int | None = 1, **narrow: Unpack[Narrow]
    ) -> Fault:
        """Announce `by` bytes more (or fewer) than the body has; the connection is closed behind it."""

        def change(request: Request, answer: Answer) -> Answer | None:
            if not answer.is_file:
                return None
            answer.set("content-length", str(answer.end - answer.start + by))
            answer.until_closed = True
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def without_length(self, pattern: str, *, times: int | None = 1, **narrow: Unpack[Narrow]) -> Fault:
        """Announce no length: the body ends where the connection does."""

        def change(request: Request, answer: Answer) -> Answer | None:
            answer.set("content-length", None)
            answer.set("connection", "close")
            answer.until_closed = True
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def ignore_range(self, pattern: str, *, times: int | None = None, **narrow: Unpack[Narrow]) -> Fault:
        """Answer a Range by 200 and the whole file, as happens with gzip (HUB 3.4)."""

        def change(request: Request, answer: Answer) -> Answer | None:
            if answer.status != 206:
                return None
            answer.status, answer.start, answer.end = 200, 0, answer.content.size
            answer.set("content-range", None)
            answer.set("content-length", str(answer.content.size))
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def set_header(
        self,
        pattern: str,
        name: str,
        value: str | None,
        *,
        times: int | None = None,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """Answer with another header, or with None without it: no X-Repo-Commit, a wrong X-Linked-Size."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.set(name.lower(), value)
            return answer

        return self._on_answers(pattern, change, times, narrow)

    # whole answers

    def answer(
        self,
        pattern: str,
        status: int,
        headers: Headers,
        body: bytes = b"",
        *,
        times: int | None = 1,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """Answer exactly this."""

        def change(request: Request, answer: Answer) -> Answer:
            return replaced(answer, status, headers, body)

        return self._on_answers(pattern, change, times, narrow)

    def fail(
        self,
        pattern: str,
        status: int = 503,
        *,
        times: int | None = 1,
        retry_after: int | None = None,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """Answer with an error that no Hub code comes with. No Retry-After unless given (HUB 3.5)."""

        def change(request: Request, answer: Answer) -> Answer:
            text = f"{status} from the stand-in"
            on_api = request.path.startswith("/api/")
            body = json.dumps({"error": text}, separators=(",", ":")) if on_api else text
            type_ = "application/json" if on_api else "text/plain"
            headers = [("content-type", f"{type_}; charset=utf-8")]
            if retry_after is not None:
                headers.append(("retry-after", str(retry_after)))
            return replaced(answer, status, headers, body.encode())

        return self._on_answers(pattern, change, times, narrow)

    def html(
        self, pattern: str, status: int = 200, *, times: int | None = 1, **narrow: Unpack[Narrow]
    ) -> Fault:
        """A page where JSON or a file should be: a captive portal, a maintenance page."""
        body = b"<!doctype html>\n<html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>\n"
        return self.answer(
            pattern, status, [("content-type", "text/html; charset=utf-8")], body, times=times, **narrow
        )

    def broken_json(self, pattern: str, *, times: int | None = 1, **narrow: Unpack[Narrow]) -> Fault:
        """JSON that ends in the middle, of the right length by its header."""

        def change(request: Request, answer: Answer) -> Answer:
            body = answer.content.read()
            kept = [(name, value) for name, value in answer.headers if name == "content-type"]
            return replaced(answer, answer.status, kept, body[: len(body) // 2])

        return self._on_answers(pattern, change, times, narrow)

    def delay(
        self, pattern: str, seconds: float, *, times: int | None = None, **narrow: Unpack[Narrow]
    ) -> Fault:
        """Think for so long before the first byte of the answer."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.delay += seconds
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def hang_up(self, pattern: str, *, times: int | None = 1, **narrow: Unpack[Narrow]) -> Fault:
        """Close the connection instead of an answer."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.hang_up = True
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def redirect(
        self,
        pattern: str,
        location: str,
        status: int = 302,
        *,
        times: int | None = None,
        **narrow: Unpack[Narrow],
    ) -> Fault:
        """Send it elsewhere: to a private address, to another host, to a `file:` URL."""

        def change(request: Request, answer: Answer) -> Answer:
            kept = [
                (name, value) for name, value in answer.headers if name.startswith(("x-repo", "x-linked"))
            ]
            return replaced(answer, status, [("location", location), *kept], b"")

        return self._on_answers(pattern, change, times, narrow)

    def redirect_loop(
        self, pattern: str, *, status: int = 307, times: int | None = None, **narrow: Unpack[Narrow]
    ) -> Fault:
        """Redirect to the very same URL, relative as the Hub's own redirects are."""

        def change(request: Request, answer: Answer) -> Answer:
            return replaced(answer, status, [("location", request.target)], b"")

        return self._on_answers(pattern, change, times, narrow)

    def endless_headers(
        self, pattern: str, *, total: int = 10 << 30, times: int | None = 1, **narrow: Unpack[Narrow]
    ) -> Fault:
        """Send headers until the other side has had enough, or until `total` bytes. They count as `sent`."""

        def change(request: Request, answer: Answer) -> Answer:
            answer.flood = total
            return answer

        return self._on_answers(pattern, change, times, narrow)

    def endless_body(
        self, pattern: str, *, total: int = 10 << 30, times: int | None = 1, **narrow: Unpack[Narrow]
    ) -> Fault:
        """Noise without a length where JSON or a file should be, until the other side has had enough."""

        def change(request: Request, answer: Answer) -> Answer:
            kept = [(name, value) for name, value in answer.headers if name == "content-type"]
            return Answer(answer.status, kept, Generated(total, sha256="0" * 64), until_closed=True)

        return self._on_answers(pattern, change, times, narrow)

    def endless_listing(
        self, pattern: str, *, again: bool = False, times: int | None = None, **narrow: Unpack[Narrow]
    ) -> Fault:
        """
        A tree or list that always has a next page: of new entries, or with `again` of the same ones.

        Place it on the URL: `hub.endless_listing("/api/models/org/name/tree/*")`.
        """

        def act(fault: Fault, request: Request, seen: Seen, answer: Answer) -> Answer | None:
            page = 0 if again else fault.fired
            names = (f"page-{page:06d}/{place:04d}.txt" for place in range(1000))
            items = [{"type": "file", "oid": "0" * 40, "size": 1, "path": name} for name in names]
            link = f"<http://{seen.host}{request.path}?limit=1000&cursor={PLACES + fault.fired}>"
            headers = [("content-type", "application/json; charset=utf-8"), ("link", f'{link}; rel="next"')]
            fault.fire()
            return replaced(answer, 200, headers, json.dumps(items, separators=(",", ":")).encode())

        return self.add(pattern, act, times, narrow)


def position(at: float, content: Content) -> int:
    """A place in a file: a fraction of it below 1, else a number of bytes."""
    return int(content.size * at) if at < 1 else int(at)
