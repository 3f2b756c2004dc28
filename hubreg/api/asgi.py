"""
hubreg as an ASGI application.

A request passes, in this order: its name and the caller's address, for the log; what `resolve` has answered to this
caller at this URL before, as long as nothing was written since; the route, the caller, the handler; and whatever was
raised, as a refusal. There is no middleware: one function calls the next.

The shortcut for `resolve` is what makes a warm HEAD cost little more than an empty answer (ARCHITECTURE, "hot
look-ups"). It asks the database one thing: whether anything was written, by whichever process. Its key holds the whole
credential, so that what one caller was answered is never another's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hubreg.api import boundary, repos, resolve, routes, xet
from hubreg.api.answers import redirect
from hubreg.api.bodies import ClientGone
from hubreg.api.boundary import Front, Raw, RequestIds
from hubreg.api.requests import Elsewhere, Kept, Place, Request
from hubreg.api.resolve import Finished
from hubreg.app import App, build
from hubreg.config import Config
from hubreg.errors import EntryNotFound, HubregError
from hubreg.model import RepoType
from hubreg.ops.caretaker import caretaking
from hubreg.ops.eviction import Eviction, housekeeping
from hubreg.store.fresh import Bounded, Fresh

Headers = Mapping[bytes, bytes]
Key = tuple[bytes | None, bytes, str]  # credential, path, what URLs in the answer begin with

_KEPT = 2048  # answers of `resolve`; one with a small file weighs up to 20 kB
_JSON = 32 << 20  # bytes of JSON that is kept
_LONGEST = 2048  # bytes of a path that is worth keeping as a key, or of a credential
_CONDITIONS = frozenset((b"range", b"if-none-match", b"if-range"))


def make_app(config: Config) -> ASGIApp:
    """The application for a data directory that is `prepare`d. Its lifespan opens everything and closes it again."""
    api: Api | None = None

    async def lifespan(receive: Receive, send: Send) -> None:
        nonlocal api
        await receive()
        async with (
            build(config) as app,
            caretaking(app.db, app.layout, config, app.uploads.sweep),
            housekeeping(app.arriving.uses, _eviction(app)),
        ):
            api = Api(app)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def hubreg(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return lifespan(receive, send)
        if api is None:
            raise RuntimeError("a request before the lifespan began")
        return api(scope, receive, send)

    return hubreg


def _eviction(app: App) -> Eviction:
    return Eviction(app.db, app.arriving.blobs, app.clock, app.config.mirror_budget)


class Api:
    """HTTP for one `App`."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.front = Front(app.config)
        self.table = routes.Table()
        self.warm: Fresh[Key, Finished] = Fresh(app.db, _KEPT)
        self.kept: Kept = Bounded(_JSON, lambda made: len(made.body))
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = self._ids.name(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode("latin-1")
        state["address"] = self.front.address(scope, headers)
        always = boundary.on_every_answer(request_id, headers.get(b"origin"))
        key = self._key(scope, headers)
        finished = self.warm.get(key) if key is not None else None
        if finished is not None and finished.expires is not None and finished.expires <= self.app.clock():
            finished = None
        if finished is not None and scope["method"] == "HEAD" and _CONDITIONS.isdisjoint(headers):
            state["user"] = finished.user
            status, every = finished.status, finished.headers + always
            await send({"type": "http.response.start", "status": status, "headers": every})
            await send({"type": "http.response.body"})
            return
        await _Exchange(self, scope, receive, send, headers, always).run(key, finished)

    def _key(self, scope: Scope, headers: Headers) -> Key | None:
        """What an answer of `resolve` is kept under; None for any other request."""
        path: bytes = scope["raw_path"]
        if b"/resolve/" not in path or scope["query_string"] or scope["method"] not in ("HEAD", "GET"):
            return None
        credential = headers.get(b"authorization")
        if len(path) > _LONGEST or (credential is not None and len(credential) > _LONGEST):
            return None
        if xet.wants_file_info(headers.get(b"accept")):
            return None  # it is answered in another form
        return credential, path, self.front.place(scope, headers).base


class _Exchange:
    """One request that takes the long way."""

    def __init__(
        self, api: Api, scope: Scope, receive: Receive, send: Send, headers: Headers, always: Raw
    ) -> None:
        self.api, self.scope, self.receive, self.headers = api, scope, receive, headers
        self._send, self._always = send, always
        self._begun = False
        self._text = self._git = False  # the form of a refusal

    async def run(self, key: Key | None, finished: Finished | None) -> None:
        place = self.api.front.place(self.scope, self.headers)
        try:
            response = await self._answer(key, finished, place)
            await response(self.scope, self.receive, self._sending)
        except ClientGone:
            raise  # there is nobody left to answer
        except Exception as error:
            if self._begun:
                raise  # part of an answer is out: the server cuts the connection
            response = self._refusal(error, place)
            if key is not None and isinstance(error, EntryNotFound) and not error.fleeting:
                user = self.scope["state"].get("user", "")
                self.api.warm.put(key, resolve.refused(error, response, user))
            await response(self.scope, self.receive, self._sending)

    async def _sending(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            message = {**message, "headers": [*message["headers"], *self._always]}
        await self._send(message)

    async def _answer(self, key: Key | None, finished: Finished | None, place: Place) -> Response:
        method, state = str(self.scope["method"]), self.scope["state"]
        if finished is not None:
            self._text = True
            state["user"] = finished.user
            return finished.response(self.headers, get=method == "GET")
        if boundary.is_preflight(method, self.headers):
            return boundary.preflight(self.headers)
        path = self.api.front.path(self.scope)
        route, match = self.api.table.find(method, path)
        self._text, self._git = route.text, route.git
        authorization = self.headers.get(b"authorization", b"").decode("latin-1")
        actor = await self.api.app.credentials.actor(authorization)
        state["user"] = actor.name
        if route.handler is repos.info and (other := self.api.table.shorter(path, match)) is not None:
            said = routes.parts(match)
            if await self.api.app.repos.is_bare(actor, RepoType(said["type"]), said["repo"]):
                route, match = other
        request = Request(
            self.scope, self.receive, app=self.api.app, actor=actor, place=place, headers=self.headers, path=path,
            params=routes.parts(match), kept=self.api.kept,
            name_span=match.span("repo") if "repo" in match.re.groupindex else (0, 0),
        )  # fmt: skip
        if key is None or route.handler is not resolve.file:
            return await route.handler(request)
        finished = await resolve.resolved(request)
        self.api.warm.put(key, finished)
        return finished.response(self.headers, get=method == "GET")

    def _refusal(self, error: Exception, place: Place) -> Response:
        if isinstance(error, Elsewhere):
            return redirect(error.location)
        known: HubregError = boundary.known(error, f"{self.scope['method']} {self.scope['path']}")
        return boundary.refusal(known, place, text=self._text, git=self._git)
