"""SIGTERM ends a run in order, whatever the process is doing when it comes.

Prefect's handler raises an exception in the code that happens to run. In a busy event loop that is
seldom the flow's own: mostly it is a callback of the engine or of the HTTP client, which ends or
swallows the exception, so that the run hangs or goes on. While a dataset is at work, its flow is
cancelled instead, and Prefect is told why once everything has been put away.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import prefect.utilities.engine as prefect_engine
from prefect.exceptions import TerminationSignal

_HANDLER = "_prefect_sigterm_handler"
"""Where Prefect looks which handler is its own before it lets a worker send the signal."""

_PREFECTS: Callable[[int, Any], object] | None = getattr(prefect_engine, _HANDLER, None)

_flows: dict[asyncio.Task[object], bool] = {}
"""The flows at work, and whether the signal has come for them."""


@contextmanager
def cancel_on_sigterm() -> Generator[None]:
    """Cancel the calling task when SIGTERM comes; leaving then raises `TerminationSignal`.

    Does nothing outside the main thread, or where somebody else handles the signal.
    """
    flow = asyncio.current_task()
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    if flow is None or not is_main or handler not in (_PREFECTS, _end_flows) or not _PREFECTS:
        yield
        return
    _flows[flow] = False
    _handle_with(_end_flows)
    try:
        yield
    except asyncio.CancelledError as error:
        if _flows[flow]:
            raise TerminationSignal(signal.SIGTERM) from error
        raise
    finally:
        del _flows[flow]
        if not _flows:
            _handle_with(_PREFECTS)


def _end_flows(number: int, frame: object) -> None:
    for flow in _flows:
        _flows[flow] = True
        flow.get_loop().call_soon_threadsafe(flow.cancel)


def _handle_with(handler: Callable[[int, Any], object]) -> None:
    setattr(prefect_engine, _HANDLER, handler)
    signal.signal(signal.SIGTERM, handler)
