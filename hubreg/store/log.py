"""Rows of the log: the hash chain that every change is part of, written in the change's own transaction."""

from __future__ import annotations

import msgspec

from hubreg.formats import chain
from hubreg.model import Actor, Sha256
from hubreg.store.db import Reader, Tx


async def append(tx: Tx, actor: Actor, tag: str, subject: str, **facts: object) -> None:
    """
    Add one link. `tag` is `source:subject:action`; `subject` what it happened to; `facts` what is worth proving later.

    The actor is written by name and id: a name may be given to somebody else one day, an id never.
    """
    who = {"id": actor.user_id, "name": actor.name}
    body = msgspec.json.encode({"at": tx.now, "actor": who, "tag": tag, "subject": subject, **facts})
    row = await tx.one("SELECT serial, previous, body, digest FROM log ORDER BY serial DESC LIMIT 1")
    before = chain.Link(row[0], Sha256(row[1]), row[2], Sha256(row[3])) if row else None
    link = chain.link(before, body)
    await tx.run(
        "INSERT INTO log (serial, body, previous, digest) VALUES (?, ?, ?, ?)",
        link.serial, link.body, link.previous, link.digest,
    )  # fmt: skip


async def read(reader: Reader, after: int, limit: int) -> list[chain.Link]:
    """Links with a serial above `after`, in order."""
    rows = await reader.all(
        "SELECT serial, previous, body, digest FROM log WHERE serial > ? ORDER BY serial LIMIT ?",
        after, limit,
    )  # fmt: skip
    return [chain.Link(row[0], Sha256(row[1]), row[2], Sha256(row[3])) for row in rows]
