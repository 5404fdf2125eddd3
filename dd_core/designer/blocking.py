"""Runs async work for callers without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

_T = TypeVar("_T")


def run_blocking(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run async work to completion, even if an event loop is already running (notebooks)."""

    async def run() -> _T:
        return await work()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    return _in_own_thread(run())


def _in_own_thread(work: Coroutine[Any, Any, _T]) -> _T:
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    # What the caller's context holds, such as the flow that is running, holds in the thread, too.
    thread = threading.Thread(target=copy_context().run, args=(target,), name="data-designer")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
