"""Work in threads that nobody leaves behind."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hubreg.store.threads import run_in

pytestmark = pytest.mark.anyio


async def test_the_answer_and_the_failure_come_through() -> None:
    """What the function returns or raises is what the caller gets; it ran in another thread."""
    assert await run_in(None, lambda a, b: (a, b), 1, 2) == (1, 2)
    assert await run_in(None, threading.get_ident) != threading.get_ident()
    with pytest.raises(KeyError, match="mine"):
        await run_in(None, {}.__getitem__, "mine")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_its_thread(fails: bool) -> None:
    """However often it is cancelled it goes on only when the thread has ended, and is cancelled then."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()
        if fails:
            raise LookupError("told to nobody")

    async def caller() -> None:
        try:
            await run_in(None, work)
        finally:
            assert ended.is_set()

    task = asyncio.create_task(caller())
    await run_in(None, begun.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_has_not_begun_is_waited_for_as_well() -> None:
    """A caller that is cancelled in the queue stays until its turn has come and gone."""
    may_end, ran = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as executor:
        first = asyncio.create_task(run_in(executor, may_end.wait, 10))
        second = asyncio.create_task(run_in(executor, ran.set))
        await asyncio.sleep(0)
        second.cancel()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert ran.is_set()
        await first


async def test_work_may_be_told_to_stop() -> None:
    """A caller that is cancelled waits no longer than its thread takes to notice."""
    begun, stopped = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return stopped.wait(60)

    task = asyncio.create_task(run_in(None, work, stop=stopped.set))
    await run_in(None, begun.wait, 10)
    assert not stopped.is_set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()
