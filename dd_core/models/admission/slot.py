"""The right of one cell to have one request in flight."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Protocol

from dd_core.models.admission.backend import Backend
from dd_core.models.admission.limiter import Admission, Outcome
from dd_core.models.admission.rate_limit import Tokens
from dd_core.models.usage import BudgetTracker

_NUMBERS = count(-1, -1)
_AFTER_CANCELLATION = 1.0
"""Seconds after which the slot of a cancelled request is free for others."""


class SlotOwner(Protocol):
    """The queue that grants slots."""

    in_flight: int
    """Requests in flight."""
    permits: float
    """Requests that may be started."""

    @property
    def budget(self) -> BudgetTracker:
        """What requests are counted against."""
        ...

    def paused_until_now(self) -> float:
        """Seconds for which requests were held back after 429s so far."""
        ...

    async def wait_for(self, slot: RequestSlot) -> None:
        """Wait until the slot is granted."""
        ...


class RequestSlot:
    """Capacity for one request, held from the moment it is granted until it is released."""

    __slots__ = ("_admission", "_released", "backend", "queue", "row", "was_sent")

    def __init__(self, queue: SlotOwner) -> None:
        self.queue = queue
        self.row = next(_NUMBERS)
        """The row of the dataset that it serves; a negative number of its own until that is set."""
        self.backend: Backend | None = None
        """Where the next request goes; None while the slot is not granted."""
        self.was_sent = False
        """Whether the request of this slot has been sent."""
        self._admission: Admission | None = None
        self._released: Backend | None = None

    def grant(self, backend: Backend) -> None:
        """Take the capacity that the queue has just found at a backend."""
        self.backend = backend
        self.queue.in_flight += 1
        self.queue.permits -= 1
        backend.in_flight += 1
        self._admission = backend.limiter.start()
        self.queue.budget.start()
        self.was_sent = False

    async def acquire(self) -> Backend:
        """Wait until a request may be sent; returns the backend to send it to."""
        if self.backend is None:
            await self.queue.wait_for(self)
        assert self.backend is not None
        return self.backend

    def release(
        self,
        outcome: Outcome = Outcome.OTHER,
        retry_after: float | None = None,
        used: Tokens | None = None,
    ) -> float:
        """Free the capacity and tell the limiter how the request ended; no effect if not granted.

        Returns the seconds to wait before this request is sent again.
        """
        backend, self.backend = self.backend, None
        if backend is None or self._admission is None:
            return 0.0
        self.queue.in_flight -= 1
        backend.in_flight -= 1
        self.queue.budget.finish(was_sent=self.was_sent)
        if backend.health is not None:
            if outcome is Outcome.FAILED:
                backend.health.failed()
            elif outcome is not Outcome.OTHER:
                backend.health.answered()
        wait = backend.limiter.finish(self._admission, outcome, retry_after, used)
        if outcome is Outcome.SUCCESS:
            self._released = backend  # its cell is about to finish and may hand the slot off
            backend.limiter.notify_soon()
        elif _is_cancelled():
            # When everything is being cancelled, nothing must start in place of what ends.
            asyncio.get_running_loop().call_later(_AFTER_CANCELLATION, backend.limiter.notify)
        else:
            backend.limiter.notify()
        return wait

    def hand_off(self) -> None:
        """Start the next request now, if this slot was released a moment ago."""
        backend, self._released = self._released, None
        if backend is not None:
            backend.limiter.notify()


def _is_cancelled() -> bool:
    """Whether the running task was cancelled; without a task, it was before its first step."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
