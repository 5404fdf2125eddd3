"""Lets a flow that exceeds its timeout end its batches and release what it holds.

Prefect's timeout cancels the task of the flow again whenever it awaits something. The flow could
neither tell Prefect that its batches have ended, nor release its request slots and its dataset.

Written for Prefect 3.8.8, whose timeout is a cancel scope of anyio. Remove this module when a flow
can await its own cleanup after a timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


async def cancel_once(work: Coroutine[Any, Any, _T]) -> _T:
    """Await work; if the caller is cancelled, cancel it only once and wait until it has ended."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error from None  # a signal to terminate
        raise
