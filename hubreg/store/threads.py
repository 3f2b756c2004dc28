"""Blocking work in threads, never left behind by those who asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def run_in(
    executor: Executor | None,
    function: Callable[..., T],
    *args: Any,
    stop: Callable[[], object] | None = None,
) -> T:
    """
    Run `function` in a thread; when cancelled, wait for it before passing the cancellation on. `stop` is called then,
    to have it end early.

    `asyncio.to_thread` returns at once when cancelled while its thread runs on: whoever then closes the file that the
    thread still writes to may see the bytes arrive in another file that got the same descriptor, and a transaction
    that is rolled back may see the rest of its rows arrive in the next one.
    """
    work = asyncio.get_running_loop().run_in_executor(executor, function, *args)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # taken note of: the cancellation is what counts now
        raise
