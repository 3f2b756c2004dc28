"""
A server to be started, stopped and killed: `small_server.py DIRECTORY SETTINGS`, the settings as JSON.

    /           the process that answers
    /file       DIRECTORY/file by zero-copy
    /hang       no answer, ever
    lifespan    appends a line to DIRECTORY/lives at start and end; what DIRECTORY/fails names fails at start
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hubreg.api.bodies import FileBody
from hubreg.errors import HubregError, Unusable
from hubreg.server.protocol import Limits
from hubreg.server.supervisor import ServeSettings, serve


def make_app(directory: Path) -> Starlette:
    async def who(request: Request) -> Response:
        return PlainTextResponse(str(os.getpid()))

    async def file(request: Request) -> Response:
        path = directory / "file"
        return FileBody(path, size=path.stat().st_size)

    async def hang(request: Request) -> Response:
        (directory / "hanging").touch()
        await asyncio.sleep(3600)
        return PlainTextResponse("late")

    return Starlette(
        routes=[Route("/", who), Route("/file", file), Route("/hang", hang)],
        lifespan=lambda _: life(directory),
    )


@asynccontextmanager
async def life(directory: Path) -> AsyncIterator[None]:
    fails = directory / "fails"
    if fails.exists():
        if fails.read_text() == "refuses":
            raise Unusable("The cellar is full of water.", hint="Pump it out.")
        raise LookupError("a bug")
    note(directory, "began")
    yield
    note(directory, "ended")


def note(directory: Path, word: str) -> None:
    with (directory / "lives").open("a") as lives:
        lives.write(f"{word} {os.getpid()}\n")


def main(directory: str, settings: str) -> int:
    given = json.loads(settings)
    limits = Limits(**given.pop("limits", {}))
    try:
        return serve(lambda: make_app(Path(directory)), ServeSettings(**given, limits=limits))
    except HubregError as error:
        print(f"refused: {error.message} {error.hint}")
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
