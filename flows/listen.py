"""Lets code outside the flow, such as the command line, watch a run in the same process."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from flows.session import DatasetRun

Listener = Callable[[DatasetRun], None]

_listener: ContextVar[Listener | None] = ContextVar("dataset_run_listener", default=None)


def listen(listener: Listener) -> None:
    """Have `listener` called with each dataset run that begins in this context."""
    _listener.set(listener)


def announce(session: DatasetRun) -> None:
    """Tell the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(session)
