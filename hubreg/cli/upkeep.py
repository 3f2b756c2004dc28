"""Commands that keep a data directory in order: `hubreg upkeep`, `hubreg gc`, `hubreg xet`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import typer

from hubreg.cli.answers import answer, refusals, table
from hubreg.cli.options import AsJson, ConfigFile, DataDirectory, with_settings
from hubreg.config import Config, load
from hubreg.errors import Conflict
from hubreg.ops import caretaker, directory, gc
from hubreg.store import upkeep
from hubreg.store.db import wall
from hubreg.store.layout import Layout
from hubreg.store.local import LocalBlobs

xet = typer.Typer(no_args_is_help=True, help="What Xet clients remember of this server.")


@with_settings
def run_upkeep(
    background: Annotated[
        bool, typer.Option("--background", hidden=True, help="As a server starts it: see ops/caretaker.py.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
    **flags: Any,
) -> None:
    """
    Do now what a server does beside its requests: index large files for Xet, count what repos hold.

    Files that were given up before are tried again. Beside a running server this may be used at any time.
    """
    with refusals(as_json=as_json or background):
        settings = load(config, flags)
        directory.existing(settings, wall)
        if background:
            caretaker.step_back()
        asyncio.run(_work(settings, background=background, as_json=as_json or background))


async def _work(config: Config, *, background: bool, as_json: bool) -> None:
    from hubreg.ops.upkeep import Upkeep

    layout = Layout(config.data)
    with caretaker.turn(layout) as ours:
        if not ours:
            if background:
                return
            raise Conflict(
                "Another process is at it.", hint="A server's own ends when it has nothing left to do."
            )
        async with directory.opened(layout, wall) as db:
            if not background:
                async with db.write() as tx:
                    await upkeep.retry_indexing(tx)
            done = asyncio.ensure_future(
                Upkeep(db, layout, config).run(lambda told: _tell(told, as_json), linger=background)
            )
            if background:
                _stop_with_server(done)
            try:
                await asyncio.wait([done])
            finally:
                done.cancel()
                await asyncio.wait([done])  # it takes back what it began
            if not done.cancelled():
                done.result()


def _stop_with_server(done: asyncio.Future[None]) -> None:
    """Cancel it when standard input ends, as it does with the server, or when all its processes are told to end."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(sys.stdin)
        done.cancel()

    loop.add_reader(sys.stdin, stop)  # nothing comes but the end
    loop.add_signal_handler(signal.SIGTERM, stop)


def _tell(told: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        sys.stdout.flush()
    else:
        what = told.get("error") or f"indexed as {told['xet']}"
        typer.echo(f"{told['sha256']}: {what} ({told['size']} bytes, {told['cpu_seconds']} CPU seconds)")


def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Remove what nothing refers to any more: content of deleted repos, uploads that were never committed.

    Commits stay as long as their repo. What clients may count on stays for four weeks: large files that wait for their
    commit, and chunks that Xet clients were told of. Beside a running server this may be used at any time.
    """
    with refusals(as_json=as_json):
        prepared = directory.existing(load(config, {"data": data}), wall)
        done = asyncio.run(_collect(prepared.layout, dry_run=dry_run))
        facts = asdict(done)
        if as_json:
            answer("", facts, as_json=True)
        else:
            rows = [(name.replace("_", " "), f"{count:,}") for name, count in facts.items()]
            table(("would be removed" if dry_run else "removed", ""), rows)


async def _collect(layout: Layout, *, dry_run: bool) -> gc.Collected:
    async with directory.opened(layout, wall) as db:
        blobs = LocalBlobs(layout)
        try:
            collector = gc.Collector(db, blobs, wall)
            found = await collector.survey()
            return gc.would(found) if dry_run else await collector.remove(found)
        finally:
            blobs.close()


@xet.command("epoch")
def epoch(
    bump: Annotated[bool, typer.Option("--bump", help="Begin a new one.")] = False,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Show or begin the epoch of what Xet clients remember. Begin a new one after stored data was lost.

    Clients remember for weeks which chunks a server has, and do not send those again. After a restore from an older
    backup that is wrong, and their uploads would fail: in a new epoch they ask for everything anew. A running server
    goes on in the old one until it is started again.
    """
    with refusals(as_json=as_json):
        prepared = directory.existing(load(config, {"data": data}), wall)

        async def change() -> int:
            async with directory.opened(prepared.layout, wall) as db:
                if not bump:
                    return await upkeep.xet_epoch(db)
                async with db.write() as tx:
                    following = await upkeep.xet_epoch(tx) + 1
                    await upkeep.set_xet_epoch(tx, following)
                    return following

        now = asyncio.run(change())
        text = f"The epoch is {now} from the server's next start on." if bump else str(now)
        answer(text, {"epoch": now}, as_json=as_json)
