"""
Serving: the data directory made ready and held, then the server until a signal says stop.

stdout carries one line, `hubreg is listening on URL`, once requests are answered: that is what scripts wait for.
stderr is the log. What is told there before the log begins (the first administrator's token, a warning) is text on a
terminal, and elsewhere a JSON object on one line like the rest of the log.
"""

from __future__ import annotations

import asyncio
import sys
import time
from ipaddress import ip_address

import msgspec
import typer

from hubreg.api.asgi import make_app
from hubreg.app import build
from hubreg.config import Config
from hubreg.identity.accounts import SYSTEM
from hubreg.ops import directory
from hubreg.server import supervisor
from hubreg.server.logs import iso
from hubreg.server.supervisor import ServeSettings
from hubreg.store.db import wall


def run(config: Config) -> int:
    """Serve until told to stop; the exit status."""
    with directory.serving(config, wall) as prepared:
        if prepared.token is not None:
            tell(
                f"Made the first administrator, user {directory.FIRST}. Their token, which is not shown again:",
                token=prepared.token,
                file=str(prepared.layout.admin_token),
            )
        if is_exposed(config):
            tell(
                f"Serving http on {config.host}: tokens travel in the clear."
                " Give --ssl-certfile and --ssl-keyfile, or put a TLS proxy in front (docs/operations.md)."
            )
        asyncio.run(sweep(config))
        return supervisor.serve(lambda: make_app(config), settings(config))


async def sweep(config: Config) -> None:
    """
    Remove the uploads in parts that nobody can go on with, for their links have expired, and have the upstream that is
    configured, or none.
    """
    async with build(config, wall) as app:
        await app.uploads.sweep()
        await app.upstreams.configure(SYSTEM, config.upstream)


def settings(config: Config) -> ServeSettings:
    """The part of the settings that the server itself asks for."""
    return ServeSettings(
        host=config.host,
        port=config.port,
        workers=config.workers,
        ssl_certfile=config.ssl_certfile or None,
        ssl_keyfile=config.ssl_keyfile or None,
        graceful_seconds=config.graceful_seconds,
        access_log=config.access_log,
    )


def is_exposed(config: Config) -> bool:
    """Whether others reach this server without TLS, as far as the settings tell."""
    if config.ssl_certfile or config.trusted_proxies or config.public_url.startswith("https:"):
        return False
    try:
        return not ip_address(config.host).is_loopback
    except ValueError:
        return config.host != "localhost"


def tell(message: str, **facts: str) -> None:
    if sys.stderr.isatty():
        details = "".join(f"\n    {fact}" for fact in facts.values())
        typer.echo(f"{message}{details}", err=True)
    else:
        line = {
            "at": iso(time.time()),
            "level": "warning",
            "logger": "hubreg.cli",
            "message": message,
            **facts,
        }
        typer.echo(msgspec.json.encode(line).decode(), err=True)
