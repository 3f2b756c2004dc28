"""
The least that an ASGI application can answer, on hubreg's own server: protocol, supervisor, access log.

What hubreg's HEADs are compared with: the difference is what its application costs.
"""

from __future__ import annotations

import sys
from typing import Any

from hubreg.server.supervisor import ServeSettings, serve

HEADERS = [
    (b"content-type", b"application/octet-stream"),
    (b"content-length", b"2"),
    (b"etag", b'"0000000000000000000000000000000000000000"'),
    (b"x-repo-commit", b"0000000000000000000000000000000000000000"),
]


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    sys.exit(serve(lambda: answer, ServeSettings()))
