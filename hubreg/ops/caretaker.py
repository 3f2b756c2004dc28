"""
What a server does beside its requests. Each worker looks now and then whether anything waits for `ops.upkeep`, and one
of them starts the process that does it, with the server's own settings; and each removes, now and then, uploads that
nobody can go on with.

The process ends by itself when nothing is left, and when the worker that started it has gone, which it notices by the
end of its standard input. Nothing of what it computes with is loaded here.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from hubreg.config import Config
from hubreg.store import upkeep
from hubreg.store.db import Database, Reader
from hubreg.store.layout import Layout

log = logging.getLogger("hubreg.upkeep")

_LOOK = 2.0  # seconds between two looks
_PAUSE = 5.0  # seconds between two processes
_GRACE = 3.0  # seconds that one has to end when the server does
_MOST = 300.0  # the same after several that failed
_SWEEP = 3600.0  # seconds between two sweeps
_LINE = 1 << 16  # bytes


@contextmanager
def turn(layout: Layout) -> Iterator[bool]:
    """Whether it is this process's turn until the block is left; False while another one has it."""
    handle = os.open(layout.upkeep_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


async def waits(reader: Reader, config: Config) -> bool:
    """Whether there is anything to do: two point reads."""
    if await upkeep.recount_waits(reader):
        return True
    return config.xet_index and await upkeep.index_waits(reader, config.xet_index_from)


def step_back() -> None:
    """From now on this process runs when nothing else wants to, and so do its reads where the disk's scheduler can."""
    os.nice(19)
    with suppress(OSError):
        # This process has a session of its own, and Linux shares the processor out among sessions first.
        Path("/proc/self/autogroup").write_text("19")
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@asynccontextmanager
async def caretaking(
    db: Database, layout: Layout, config: Config, sweep: Callable[[], Awaitable[int]]
) -> AsyncIterator[None]:
    """While inside, what waits in rows is done, and `sweep` is called, which tells how many uploads it removed."""
    tasks = [
        asyncio.ensure_future(Caretaker(db, layout, config).run()),
        asyncio.ensure_future(sweeping(sweep)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def sweeping(sweep: Callable[[], Awaitable[int]], every: float = _SWEEP) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(every)
        try:
            if gone := await sweep():
                log.info("removed %d uploads that nobody can go on with", gone)
        except Exception:
            log.exception("expired uploads could not be removed")


@dataclass(frozen=True, slots=True)
class Caretaker:
    db: Database
    layout: Layout
    config: Config

    async def run(self) -> None:
        """Until cancelled."""
        seen, pause = -1, _PAUSE
        while True:
            await asyncio.sleep(_LOOK)
            try:
                version = self.db.version()
                if version == seen:
                    continue
                if not await waits(self.db, self.config):
                    seen = version
                    continue
                if not self._is_free():
                    continue
                good = await self._done()
            except Exception:
                log.exception("upkeep failed")
                good = False
            pause = _PAUSE if good else min(2 * pause, _MOST)
            await asyncio.sleep(pause)

    def _is_free(self) -> bool:
        """Whether nobody is at it. Should two workers find so at the same time, one of their processes ends at once."""
        with turn(self.layout) as ours:
            return ours

    async def _done(self) -> bool:
        """Have it done. False where something failed, which the log then says: the next time may be better."""
        status, said = await self._spawn()
        if status:
            log.error("upkeep ended with status %d: %s", status, said)
        return status == 0

    async def _spawn(self) -> tuple[int, str]:
        """Run the process and put what it tells into the log; its status, and what it said of a failure."""
        process = await asyncio.create_subprocess_exec(
            *command(self.config),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE,
            start_new_session=True,  # Ctrl-C is for the server, which then ends this one
        )
        try:
            assert process.stdout is not None  # noqa: S101 a pipe, as asked for
            assert process.stderr is not None  # noqa: S101
            said, _ = await asyncio.gather(process.stderr.read(), _listen(process.stdout))
            status = await process.wait()
        finally:
            if process.returncode is None:
                await _end(process)
        return status, said[-_LINE:].decode("utf-8", "replace").strip()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have it end by itself, so that what it began does not count as tried, or, where that takes too long, at once."""
    assert process.stdin is not None  # noqa: S101 a pipe, as asked for
    process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _listen(lines: asyncio.StreamReader) -> None:
    async for line in lines:
        told = msgspec.json.decode(line, type=dict[str, object])
        if "error" in told:
            log.error("%s was not indexed: %s", told["sha256"], told["error"])
        else:
            log.info("indexed %(sha256)s as %(xet)s: %(size)d bytes, %(cpu_seconds).2f CPU seconds", told)


def command(config: Config) -> list[str]:
    """What starts the process."""
    return [sys.executable, "-m", "hubreg", "upkeep", "--background", *flags(config)]


def flags(config: Config) -> Sequence[str]:
    """All settings, as options of the command line: they count more than what the environment or a file may say."""
    given = []
    for setting in fields(config):
        flag, value = setting.name.replace("_", "-"), getattr(config, setting.name)
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            given.append(f"--{flag}={value.absolute() if isinstance(value, Path) else value}")
    return given
