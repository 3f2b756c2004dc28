"""
From an application to processes that serve it.

The socket is bound first, so that a port in use is said before anything starts and nothing is refused while
workers come up. One worker runs in place; several are forked, before any thread or event loop exists, and
share the socket.

    signal            the parent                               a worker
    SIGTERM, SIGINT   passes it on, waits for the workers      takes nothing new, lets transfers finish
    the second one    ends the workers at once                 drops its connections and ends

A worker that dies is started again, ever more slowly while it keeps dying; one that cannot start at all, at
the very beginning, ends the server. A worker whose parent was killed ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, cast

import uvicorn

from hubreg.errors import HubregError, Unusable
from hubreg.server.logs import AccessLog, Lines, configure
from hubreg.server.protocol import Limits, configured
from hubreg.server.pump import Pump

logger = logging.getLogger("hubreg.server")

App = Callable[..., Awaitable[None]]

FAILED = 1  # the exit status of a server that could not start
GIVEN_UP = 70  # the exit status of a worker that said itself why it cannot start
PROBATION = 10.0  # a worker that lived for so many seconds starts with a clean record when it dies
SLOWEST = 10.0  # seconds between two starts of a worker that keeps dying

RESERVED = 128  # descriptors for the databases, the logs, and files that are no download

# When Python looks for cycles (`gc.set_threshold`). Its own 700, 10, 10 looks through everything again and again while
# the caches fill: 300 000 entries of trees, in which there are no cycles, are a pause of 70 ms each time.
COLLECTIONS = (2_000, 20, 500)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one; the line on stdout says which
    workers: int = 1
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    graceful_seconds: float = 60.0  # how long transfers may go on after the first signal
    keep_alive_seconds: int = 75
    max_connections: int | None = (
        None  # per worker; beyond it requests are answered 503. None: as descriptors allow
    )
    access_log: bool = True
    log_level: int = logging.INFO
    limits: Limits = field(default_factory=Limits)


def serve(make_app: Callable[[], App], settings: ServeSettings) -> int:
    """
    Serve until a signal says stop, and return the exit status.

    `make_app` is called once in each worker. What its lifespan refuses with a `HubregError` is raised here,
    or, with several workers, logged in one line; so is an address that cannot be bound (`Unusable`).
    """
    check_tls(settings)
    raise_descriptors()
    listener = bind(settings.host, settings.port)
    lines = Lines()
    configure(lines, settings.log_level)
    announce = f"hubreg is listening on {url(listener, tls=settings.ssl_certfile is not None)}\n"
    gc.collect()
    gc.freeze()  # what is here now is not looked through any more, and stays shared after a fork
    gc.set_threshold(*COLLECTIONS)
    try:
        if settings.workers == 1:
            return Worker(make_app, settings, listener, lines, lambda: _say(announce)).run()
        return Parent(make_app, settings, listener, lines, announce).run()
    finally:
        listener.close()


def raise_descriptors() -> None:
    """Let this process have as many open files as it may; shells and init systems begin with 1024, for old programs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(
        ValueError, OSError
    ):  # macOS calls the most unlimited, and has a limit all the same
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def room() -> tuple[int, int]:
    """
    How many connections a process has descriptors for, and how many transfers of the pump beside them. A connection is
    a socket and a file; a transfer duplicates both, which others can do without.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize, sys.maxsize
    left = max(limit - RESERVED, 6)
    return left // 3, left // 6


def check_tls(settings: ServeSettings) -> None:
    """Raises `Unusable` with the name of the file that is missing, unreadable or something else."""
    certificate, key = settings.ssl_certfile, settings.ssl_keyfile
    for what, path in (("certificate", certificate), ("private key", key)):
        if path is None:
            continue
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise Unusable(f"The {what} {path} cannot be read: {error.strerror}.") from error
    if certificate is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=str)  # "": nobody is asked on the terminal
    except (ssl.SSLError, ValueError) as error:
        raise Unusable(
            f"{certificate} is no certificate in PEM, or {key or certificate} is not its private key.",
            hint="The key must be there without a password.",
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on the first address that `host` means, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Unusable(f"Cannot listen on {host}: {error.strerror}.") from error
    except UnicodeError as error:
        raise Unusable(f"Cannot listen on {host}: that is no host name.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise Unusable(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Is another server running there?"
        ) from error
    listener.setblocking(False)
    return listener


def url(listener: socket.socket, *, tls: bool) -> str:
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{host}:{port}"


class Worker:
    """One process's server, from its own loop to its own threads."""

    def __init__(
        self,
        make_app: Callable[[], App],
        settings: ServeSettings,
        listener: socket.socket,
        lines: Lines,
        started: Callable[[], object],
        parent: int | None = None,
    ) -> None:
        self.make_app = make_app
        self.settings = settings
        self.listener = listener
        self.lines = lines
        self.started = started
        self.parent = parent  # a descriptor that becomes readable when the parent has gone
        self.refusal: HubregError | None = None

    def run(self) -> int:
        settings = self.settings
        access = AccessLog(self.lines) if settings.access_log else None
        connections, transfers = room()
        pump = Pump(settings.limits.idle_seconds, transfers)
        try:
            config = uvicorn.Config(
                self._app(),
                http=configured(pump, settings.limits, access),
                loop=_loop(),
                ws="none",
                lifespan="on",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                workers=1,
                backlog=2048,
                limit_concurrency=settings.max_connections or connections,
                timeout_keep_alive=settings.keep_alive_seconds,
                timeout_graceful_shutdown=cast("int", settings.graceful_seconds),
                ssl_certfile=settings.ssl_certfile,
                ssl_keyfile=settings.ssl_keyfile,
            )
            server = Server(config, self.started, self.parent)
            server.run(sockets=[self.listener])
        except SystemExit:
            if self.refusal is not None:
                raise self.refusal from None
            return FAILED
        except OSError as error:
            raise Unusable(f"The server cannot start: {error}.") from error
        finally:
            pump.close()
            if access is not None:
                access.close()
        return 0

    def _app(self) -> App:
        """The application, with an ear on its lifespan: uvicorn logs what that raises and forgets it."""
        app = self.make_app()

        def listening(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
            if scope["type"] == "lifespan":
                return self._lifespan(app, scope, receive, send)
            return app(scope, receive, send)

        return listening

    async def _lifespan(self, app: App, scope: Any, receive: Any, send: Any) -> None:
        failed: dict[str, Any] | None = None
        serving = False

        async def holding(message: dict[str, Any]) -> None:
            nonlocal failed, serving
            if message["type"] == "lifespan.startup.failed":
                failed = message  # held back: Starlette raises the reason right after its traceback's text
            else:
                serving = True
                await send(message)

        try:
            await app(scope, receive, holding)
        except HubregError as error:
            if serving:
                raise  # at the end: uvicorn logs it
            self.refusal = error
            failed = {"type": "lifespan.startup.failed"}
        if failed is not None:
            await send(failed)


class Server(uvicorn.Server):
    """uvicorn's server, which says when it serves and takes a second signal for an order."""

    def __init__(self, config: uvicorn.Config, began: Callable[[], object], parent: int | None) -> None:
        super().__init__(config)
        self.began = began
        self.parent = parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        if self.parent is not None:
            loop.add_reader(self.parent, self._orphaned, loop)
        self.began()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn does it, but the signal is not raised again afterwards: this is an orderly end."""
        ours = {signal.SIGTERM: self.handle_exit}
        if self.parent is None:
            ours[signal.SIGINT] = self.handle_exit  # a worker's parent passes it on as SIGTERM
        before = {number: signal.signal(number, handler) for number, handler in ours.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            asyncio.get_event_loop().call_soon_threadsafe(self._drop)
        self.should_exit = True

    def _drop(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _orphaned(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.parent is not None:
            loop.remove_reader(self.parent)
        self.should_exit = True


@dataclass(slots=True)
class Place:
    """One of the N workers that should run, whoever fills it now."""

    pid: int = 0  # 0: nobody
    born: float = 0.0
    deaths: int = 0  # in a row, each soon after its start
    due: float = 0.0  # when to start the next


class Parent:
    """Forks workers, keeps their number, passes signals on. It has no thread and no loop, so it may fork."""

    def __init__(
        self,
        make_app: Callable[[], App],
        settings: ServeSettings,
        listener: socket.socket,
        lines: Lines,
        announce: str,
    ) -> None:
        self.make_app = make_app
        self.settings = settings
        self.listener = listener
        self.lines = lines
        self.announce = announce
        self.places = [Place() for _ in range(settings.workers)]
        self.asked = 0  # how often a signal said stop
        self.announced = False
        self.deadline = float("inf")
        self.status = 0
        self.news, self.tell = os.pipe()  # from workers that have started
        self.alive = os.pipe()  # nobody writes; workers see its end when the parent is gone

    def run(self) -> int:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        os.set_blocking(self.news, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        while not self.asked or any(place.pid for place in self.places):
            now = time.monotonic()
            if not self.asked:
                for place in self.places:
                    if not place.pid and place.due <= now:
                        self._start(place)
            elif now >= self.deadline:
                self._signal_all(signal.SIGKILL)
                self.deadline = now + 1.0
            ready, _, _ = select.select([woken, self.news], [], [], self._pause())
            if woken in ready:
                os.read(woken, 4096)
            if self.news in ready and os.read(self.news, 4096) and not self.announced:
                self.announced = True
                _say(self.announce)
            self._reap()
        return self.status

    def _pause(self) -> float:
        """Seconds until there is something to do without being told."""
        now = time.monotonic()
        due = [place.due for place in self.places if not place.pid and not self.asked]
        return max(0.0, min([*due, self.deadline, now + 60.0]) - now)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._stop()

    def _stop(self) -> None:
        self.asked += 1
        self.listener.close()  # or who comes now would wait for a worker that takes nothing new
        now = time.monotonic()
        self.deadline = now + (self.settings.graceful_seconds + 5.0 if self.asked == 1 else 2.0)
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        for place in self.places:
            if place.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, number)

    def _start(self, place: Place) -> None:
        handled = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, handled)
        try:
            if self.asked:
                return  # since the caller looked; nobody would tell this worker
            place.pid = os.fork()
            if place.pid == 0:
                self._be_worker(handled)
        except OSError as error:
            place.due = time.monotonic() + SLOWEST
            logger.error("no worker could be started: %s", error.strerror)  # noqa: TRY400 (the machine's limit)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        place.born = time.monotonic()

    def _be_worker(self, handled: set[signal.Signals]) -> None:
        """In the child: serve, and never return."""
        status = GIVEN_UP
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # the terminal sends it to everybody; the parent decides
            signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
            os.close(self.alive[1])
            started = lambda: os.write(self.tell, b".")  # noqa: E731
            worker = Worker(self.make_app, self.settings, self.listener, self.lines, started, self.alive[0])
            status = worker.run()
        except HubregError as error:
            logger.error("%s %s", error.message, error.hint)  # noqa: TRY400 (a refusal, not a bug)
        except BaseException:
            logger.exception("worker failed")
        finally:
            os._exit(status)

    def _reap(self) -> None:
        for place in self.places:
            if not place.pid:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if not pid:
                continue
            place.pid = 0
            if self.asked:
                continue
            if not self.announced and os.waitstatus_to_exitcode(status) > 0:
                self.status = FAILED  # what stops the first worker will stop the next
                self._stop()
                continue
            now = time.monotonic()
            place.deaths = 0 if now - place.born > PROBATION else place.deaths + 1
            delay = min(SLOWEST, 0.05 * 2 ** min(place.deaths, 16))
            place.due = now + delay
            code = os.waitstatus_to_exitcode(status)
            logger.error("worker %d ended with status %d; starting another in %.1f s", pid, code, delay)


def _loop() -> str:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return "asyncio"
    return "uvloop"


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
