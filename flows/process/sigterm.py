"""Ends a run cleanly on SIGTERM, regardless of what its process is doing.

Prefect's signal handler raises an exception in whatever code is being executed. In a busy event
loop, this is rarely the flow itself. Usually it is a callback of the engine or of the HTTP client,
which fails or swallows the exception, and the run hangs or continues. While a dataset is generated,
the handler of this module cancels the flow instead. After the run has released everything, it
raises the `TerminationSignal` that Prefect expects.

Written for Prefect 3.8.8; replaces the private `prefect.utilities.engine._prefect_sigterm_handler`.
Remove it when Prefect cancels the task of an async flow on SIGTERM.
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
"""Before a worker may send SIGTERM, Prefect compares the installed handler with this one."""

_PREFECT_HANDLER: Callable[[int, Any], object] | None = getattr(prefect_engine, _HANDLER, None)

_flows: dict[asyncio.Task[object], bool] = {}
"""The running flows, and whether they were cancelled by the signal."""


@contextmanager
def cancel_on_sigterm() -> Generator[None]:
    """Cancel the calling task on SIGTERM; the context then exits with `TerminationSignal`.

    Does nothing outside the main thread, or if the signal has a handler other than Prefect's.
    """
    flow = asyncio.current_task()
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    is_known = handler in (_PREFECT_HANDLER, _cancel_flows)
    if flow is None or not is_main or not is_known or not _PREFECT_HANDLER:
        yield
        return
    _flows[flow] = False
    _install(_cancel_flows)
    try:
        yield
    except asyncio.CancelledError as error:
        if _flows[flow]:
            raise TerminationSignal(signal.SIGTERM) from error
        raise
    finally:
        del _flows[flow]
        if not _flows:
            _install(_PREFECT_HANDLER)


def _cancel_flows(number: int, frame: object) -> None:
    for flow in _flows:
        _flows[flow] = True
        flow.get_loop().call_soon_threadsafe(flow.cancel)


def _install(handler: Callable[[int, Any], object]) -> None:
    setattr(prefect_engine, _HANDLER, handler)
    signal.signal(signal.SIGTERM, handler)
