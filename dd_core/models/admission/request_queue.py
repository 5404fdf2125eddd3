"""The queue of one model: which cell gets the next request, and when it may start.

Ready cells wait here without a task of their own, so that a hundred thousand of them cost as little
as a hundred. A cell starts when there is capacity for its first request. A conversation that needs
further requests is served before new cells.
"""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dd_core.models.admission.backend import Backend, pick_backend
from dd_core.models.admission.limiter import Outcome
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.usage import BudgetTracker


class CellSource(Protocol):
    """The cells of one column of one batch, as a model's queue sees them."""

    def wanted(self, row: int) -> bool:
        """Whether the cell still has to be generated."""
        ...

    def start(self, row: int, slot: RequestSlot) -> None:
        """Start generating the cell; `slot` holds capacity for its first request."""
        ...


@dataclass
class CellLimit:
    """The number of running cells over all models of a run, and its maximum."""

    maximum: int
    count: int = 0


class ReadyQueue:
    """Ready cells by rank: the number of model cells from a cell to the end of its row."""

    def __init__(self, max_parallel: int) -> None:
        self.count = 0
        self.expected = 0
        """Cells that have not arrived or have not been served yet."""
        self.max_parallel = max_parallel
        """Requests that may be in flight at once."""
        self._buckets: dict[int, deque[tuple[CellSource, int]]] = {}
        self._ranks: list[int] = []

    def add(self, rank: int, cells: CellSource, row: int) -> None:
        """Queue a cell behind the others of its rank."""
        bucket = self._buckets.get(rank)
        if bucket is None:
            bucket = self._buckets[rank] = deque()
            insort(self._ranks, rank)
        bucket.append((cells, row))
        self.count += 1

    def next(self) -> tuple[CellSource, int]:
        """The cell to serve next: rows close to their end first, so that rows finish early.

        Toward the end of the run the order is reversed: when the remaining cells no longer fill all
        parallel requests to the end of the longest row, the rows with the most cells left decide
        when the run ends.
        """
        longest = self._ranks[-1]
        is_ending = self.expected <= 2 * longest * self.max_parallel
        for rank in reversed(self._ranks) if is_ending else self._ranks:
            bucket = self._buckets[rank]
            if bucket:
                self.count -= 1
                return bucket.popleft()
        raise AssertionError("the queue counted a cell that it does not hold")


class RequestQueue:
    """Grants request slots for one alias, at one backend or several."""

    def __init__(
        self,
        backends: Sequence[Backend],
        max_parallel_requests: int,
        cell_limit: CellLimit,
        budget: BudgetTracker,
    ) -> None:
        self.backends: list[Backend] = []
        self.max_parallel_requests = max_parallel_requests
        self.budget = budget
        self.in_flight = 0
        self.allowed = max_parallel_requests
        """Requests that may be in flight now."""
        self.allowed_by = ""
        """What sets `allowed`, for people who wonder what a run waits for."""
        self.permits = math.inf
        """Requests that may be started, if somebody outside counts them."""
        self.on_shortage: Callable[[], None] | None = None
        """Called when `allowed` or `permits` hold requests back, by whoever sets them."""
        self._cell_limit = cell_limit
        self._ready = ReadyQueue(max_parallel_requests)
        self._returning: deque[tuple[RequestSlot, asyncio.Future[None]]] = deque()
        self._wake_up: asyncio.TimerHandle | None = None
        self.move_to(backends)

    def move_to(self, backends: Sequence[Backend]) -> None:
        """Send further requests to these backends."""
        self.backends = [*backends]
        for backend in backends:
            backend.limiter.pumps.append(self.pump)

    @property
    def waiting(self) -> int:
        """Cells that are ready but have not been started."""
        return self._ready.count

    @property
    def demand(self) -> int:
        """Requests that would be in flight now if nothing limited them."""
        startable = min(self._ready.count, self._cell_limit.maximum)
        return self.in_flight + len(self._returning) + startable

    @property
    def is_held_back(self) -> bool:
        """Whether no request is in flight only because none is allowed."""
        return self.allowed == 0 == self.in_flight and self.demand > 0

    def allow(self, requests: int) -> None:
        """Set the number of requests that may be in flight, even above the configured maximum."""
        if requests > self._ready.max_parallel:
            self._ready.max_parallel = requests
        for backend in self.backends:
            if requests > backend.limiter.maximum:
                backend.limiter.raise_maximum(requests)
        has_grown, self.allowed = requests > self.allowed, requests
        if has_grown:
            self.pump()

    def permit(self, requests: int) -> None:
        """Let this many further requests start."""
        self.permits += requests
        self.pump()

    def paused_until_now(self) -> float:
        """Seconds for which all backends held requests back after 429s so far."""
        return min(backend.limiter.paused_until_now() for backend in self.backends)

    def expect(self, cells: int) -> None:
        """Announce cells that will be queued; negative when they no longer will."""
        self._ready.expected += cells

    def enqueue(self, rank: int, cells: CellSource, row: int) -> None:
        """Queue a ready cell; `rank` is the number of model cells from it to the row's end."""
        self._ready.add(rank, cells, row)

    def pump(self) -> None:
        """Start whatever there is capacity for."""
        limit = self._cell_limit
        while self._returning or (self._ready.count and limit.count < limit.maximum):
            if not self.budget.allows_request():
                return
            if not self._returning and not self.budget.allows_new_cell():
                return
            if self.in_flight >= self.allowed or self.permits < 1:
                if self.on_shortage is not None:
                    self.on_shortage()
                return
            backend, wait = pick_backend(self.backends)
            if backend is None:
                self._wake_after(wait)
                return
            if self._returning:
                slot, granted = self._returning.popleft()
                if not granted.done():
                    slot.grant(backend)
                    granted.set_result(None)
                continue
            cells, row = self._ready.next()
            if cells.wanted(row):
                slot = RequestSlot(self)
                slot.grant(backend)
                try:
                    cells.start(row, slot)
                except BaseException:
                    slot.release()
                    raise

    def _wake_after(self, seconds: float) -> None:
        """Start waiting requests after this time, unless that happens earlier."""
        if seconds == math.inf:
            return  # the end of a request does it
        loop = asyncio.get_running_loop()
        if self._wake_up is not None:
            if self._wake_up.when() <= loop.time() + seconds:
                return
            self._wake_up.cancel()
        self._wake_up = loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._wake_up = None
        for backend in self.backends:
            backend.limiter.notify()  # other aliases of the model may have waited, too

    async def wait_for(self, slot: RequestSlot) -> None:
        """Wait for capacity for a conversation that is already running."""
        granted = asyncio.get_running_loop().create_future()
        self._returning.append((slot, granted))
        self.pump()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                slot.release(Outcome.OTHER)
            raise
