"""The calls of the tools of one alias, as the leases see them."""

from __future__ import annotations

import math
from collections.abc import Callable

from dd_core.models.tools.limit import CallLimit

from .tag_limits import UNLIMITED


class ToolCalls:
    """Calls that are held back until slots for them are leased."""

    max_parallel_requests = UNLIMITED
    """The servers of the tools have limits of their own."""

    def __init__(self, limit: CallLimit) -> None:
        self._limit = limit
        self.permits = math.inf

    @property
    def in_flight(self) -> int:
        """Calls that are running, or wait for their server."""
        return self._limit.in_flight

    @property
    def demand(self) -> int:
        """Calls that would be running now if nothing limited them."""
        return self._limit.in_flight + self._limit.waiting

    @property
    def allowed_by(self) -> str:
        """What limits the calls, for people who wonder what a run waits for."""
        return self._limit.allowed_by

    @allowed_by.setter
    def allowed_by(self, name: str) -> None:
        self._limit.allowed_by = name

    @property
    def on_shortage(self) -> Callable[[], None] | None:
        """Called when calls are held back."""
        return self._limit.on_shortage

    @on_shortage.setter
    def on_shortage(self, callback: Callable[[], None] | None) -> None:
        self._limit.on_shortage = callback

    def allow(self, requests: int) -> None:
        """Set the number of calls that may run."""
        self._limit.maximum = requests

    def permit(self, requests: int) -> None:
        """Let this many further calls start."""
        self.permits += requests
