"""
hubreg without HTTP: every store and use case, built in one place from a frozen `Config`.

`ops.directory` makes a data directory ready; `build` opens it. The server, the command line and the tests begin here.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hubreg.config import Config
from hubreg.hub.commits import Commits
from hubreg.hub.content import Content
from hubreg.hub.discussions import Discussions
from hubreg.hub.git import Git
from hubreg.hub.history import History
from hubreg.hub.packing import Packing
from hubreg.hub.pushes import Pushes
from hubreg.hub.refs import Refs
from hubreg.hub.repos import Repos
from hubreg.hub.snapshots import Snapshots
from hubreg.hub.uploads import Uploads
from hubreg.hub.xet import Xet
from hubreg.hub.xet_dedup import XetDedup
from hubreg.hub.xet_reconstruction import Reconstructions
from hubreg.hub.xet_tokens import XetTokens
from hubreg.hub.xet_uploads import XetUploads
from hubreg.identity.access import Access
from hubreg.identity.accounts import Accounts
from hubreg.identity.admitted import Admitted
from hubreg.identity.credentials import Credentials
from hubreg.identity.links import Links
from hubreg.identity.sealing import Sealing
from hubreg.mirror.contents import Contents
from hubreg.mirror.distant import Distant
from hubreg.mirror.flights import Flights
from hubreg.mirror.rights import Rights
from hubreg.mirror.sources import Sources
from hubreg.mirror.sync import Mirror
from hubreg.mirror.turns import Turns
from hubreg.mirror.upstream import Calls
from hubreg.mirror.upstreams import Upstreams
from hubreg.mirror.uses import Uses
from hubreg.store import upkeep
from hubreg.store.blobs import Blobs
from hubreg.store.db import Clock, Database, wall
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs
from hubreg.store.xetblobs import XetBlobs
from hubreg.store.xorbs import Xorbs


@dataclass(frozen=True, slots=True)
class App:
    """What the ways in call. One per process and event loop."""

    config: Config
    clock: Clock
    layout: Layout
    db: Database
    blobs: Blobs
    access: Access
    credentials: Credentials
    accounts: Accounts
    links: Links
    mirror: Mirror
    upstreams: Upstreams
    arriving: Contents
    repos: Repos
    snapshots: Snapshots
    content: Content
    refs: Refs
    commits: Commits
    history: History
    uploads: Uploads
    discussions: Discussions
    xet: Xet
    git: Git
    pushes: Pushes


@asynccontextmanager
async def build(config: Config, clock: Clock = wall) -> AsyncIterator[App]:
    """Everything, wired and open; closed again when the block is left. The directory is ready already."""
    layout = Layout(config.data)
    db = Database(layout.database, clock)
    await db.open()
    plain, xorbs = LocalBlobs(layout), Xorbs(layout, db)
    blobs = XetBlobs(plain, xorbs, db)
    transport = Distant()
    try:
        secret = layout.read_secret()
        admitted, sealing = Admitted(clock), Sealing(secret)
        access = Access(config.anonymous, admitted)
        links = Links(secret, clock)
        mirror = _mirror(db, access, admitted, sealing, clock, transport)
        snapshots = Snapshots(db, blobs, mirror)
        commits = Commits(db, access, blobs, snapshots, config)
        repos = Repos(db, access, blobs, commits, mirror)
        history = History(db, access, snapshots, mirror)
        packing, uses = Packing(db, blobs), Uses(db)
        made = App(
            config=config,
            clock=clock,
            layout=layout,
            db=db,
            blobs=blobs,
            access=access,
            credentials=Credentials(db),
            accounts=Accounts(db),
            links=links,
            mirror=mirror,
            upstreams=Upstreams(db, sealing),
            arriving=Contents(mirror, Flights(layout, plain), transport, plain, uses),
            repos=repos,
            snapshots=snapshots,
            content=Content(repos, snapshots, mirror),
            refs=Refs(db, access, snapshots, commits, mirror),
            commits=commits,
            history=history,
            uploads=Uploads(db, access, blobs, links, clock, config),
            discussions=Discussions(db, access, commits, snapshots, history),
            xet=_xet(db, access, links, xorbs, clock, config, secret, await upkeep.xet_epoch(db), uses),
            git=Git(db, access, packing),
            pushes=Pushes(db, access, packing, commits, layout),
        )
        try:
            yield made
        finally:
            made.pushes.close()
            await made.arriving.flights.close()
            await mirror.close()
    finally:
        await transport.close()
        await db.close()
        plain.close()
        xorbs.close()


def _xet(
    db: Database,
    access: Access,
    links: Links,
    xorbs: Xorbs,
    clock: Clock,
    config: Config,
    secret: bytes,
    epoch: int,
    uses: Uses,
) -> Xet:
    return Xet(
        db,
        XetTokens(db, access, links, epoch),
        XetUploads(db, access, xorbs, clock, config),
        Reconstructions(db, xorbs, links, uses),
        XetDedup(db, xorbs, clock, hmac.digest(secret, b"hubreg-xet-dedup-1", "sha256")),
    )


def _mirror(
    db: Database, access: Access, admitted: Admitted, sealing: Sealing, clock: Clock, calls: Calls
) -> Mirror:
    sources, turns = Sources(db, sealing, calls), Turns(db)
    rights = Rights(db, sources, sealing, turns, admitted, clock)
    return Mirror(db, access, sources, rights, turns, clock)
