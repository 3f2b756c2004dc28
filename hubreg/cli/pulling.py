"""
Fetching a mirrored repo: several files at a time, a bar for each on a terminal, a sentence for each that failed.

stdout has the answer, stderr the bars and the failures; the status is 1 where any file failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from hubreg.app import build
from hubreg.cli.answers import FAILED, answer
from hubreg.config import Config
from hubreg.errors import HubregError, StorageFull
from hubreg.identity.accounts import SYSTEM
from hubreg.model import Entry, RepoType
from hubreg.ops import directory
from hubreg.ops.pulling import Plan, Pulling
from hubreg.store.db import wall

INTERRUPTED = 130
_FILES = 4  # that are fetched at the same time; large ones by several connections each
_LONGEST = 40  # of a path in front of its bar


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    repo: str
    type: RepoType
    revision: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def run(config: Config, asked: Asked, *, as_json: bool) -> int:
    """Pull; the exit status. Raises why nothing could be begun."""
    directory.existing(config, wall)
    try:
        # Whoever has the data directory may see what is in it, also where a server lets nobody read without a token.
        return asyncio.run(_pull(replace(config, anonymous=True), asked, as_json=as_json))
    except KeyboardInterrupt:
        typer.echo("hubreg: Stopped. What has come is kept: the next pull goes on from there.", err=True)
        return INTERRUPTED


async def _pull(config: Config, asked: Asked, *, as_json: bool) -> int:
    async with build(config) as app:
        if config.upstream:
            await app.upstreams.configure(SYSTEM, config.upstream)
        pulling = Pulling(app.mirror, app.snapshots, app.arriving)
        plan = await pulling.plan(
            asked.type, asked.repo, asked.revision, include=asked.include, exclude=asked.exclude
        )
        with _shown(plan, as_json=as_json) as bars:
            failed = await _fetch_all(pulling, plan, bars)
    for entry, error in failed:
        _tell(entry, error, as_json=as_json)
    lost = {entry.path for entry, _ in failed}
    fetched = [entry for entry in plan.missing if entry.path not in lost]
    size = sum(entry.size for entry in fetched)
    ref = plan.repo.ref
    facts = {
        "repo": ref.full,
        "type": ref.type.value,
        "revision": asked.revision,
        "commit": plan.commit,
        "files": plan.files,
        "bytes": plan.size,
        "fetched_files": len(fetched),
        "fetched_bytes": size,
        "failed_files": len(failed),
    }
    what = "is here" if not failed else f"is here but for {len(failed)} files"
    text = f"{ref.full} at {plan.commit} {what}: {plan.files:,} files, {plan.size:,} bytes; {size:,} were fetched."
    answer(text, facts, as_json=as_json)
    return FAILED if failed else 0


async def _fetch_all(pulling: Pulling, plan: Plan, bars: Bars) -> list[tuple[Entry, HubregError]]:
    """Several at a time; those that failed. On a full disk no more are begun."""
    waiting, failed = iter(plan.missing), list[tuple[Entry, HubregError]]()

    async def work() -> None:
        for entry in waiting:
            with bars.bar(entry) as come:
                try:
                    await pulling.fetch(plan, entry, come)
                except StorageFull as error:
                    failed.append((entry, error))
                    failed.extend((other, error) for other in waiting)
                except HubregError as error:
                    failed.append((entry, error))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_FILES):
            tasks.create_task(work())
    return failed


class Bars:
    """One of all, and one for each file that is on its way."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("all", total=total)
        self._come: dict[str, int] = {}

    @contextmanager
    def bar(self, entry: Entry) -> Iterator[partial[None]]:
        """What is to be told how many bytes of the file have come."""
        name = entry.path if len(entry.path) <= _LONGEST else "…" + entry.path[1 - _LONGEST :]
        task = self._progress.add_task(name, total=entry.size)
        try:
            yield partial(self._update, entry.path, task)
        finally:
            self._progress.remove_task(task)

    def _update(self, path: str, task: TaskID, come: int) -> None:
        self._come[path] = come
        self._progress.update(task, completed=come)
        self._progress.update(self._all, completed=sum(self._come.values()))


@contextmanager
def _shown(plan: Plan, *, as_json: bool) -> Iterator[Bars]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    hidden = as_json or not console.is_terminal or not plan.missing
    with Progress(*columns, console=console, disable=hidden) as progress:
        yield Bars(progress, sum(entry.size for entry in plan.missing))


def _tell(entry: Entry, error: HubregError, *, as_json: bool) -> None:
    if as_json:
        facts = {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "path": entry.path,
        }
        typer.echo(msgspec.json.encode(facts).decode(), err=True)
    else:
        typer.echo(f"hubreg: {entry.path}: {error.message} {error.hint}".rstrip(), err=True)
