"""The places for requests that a model has, and who gets the next one.

Cells that are ready wait here without a task of their own, so that a hundred thousand of them cost
what a hundred do. A cell is started when there is a place for its first request; a conversation
that needs further requests queues for a place ahead of new cells.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dd_core.models.lane import Lane, free_lane
from dd_core.models.limiter import Outcome
from dd_core.models.queue import Cells, ReadyCells
from dd_core.models.seat import Seat
from dd_core.models.spending import Spending


@dataclass
class OpenCells:
    """Cells at work over all models of a run, and how many there may be."""

    maximum: int
    count: int = 0


class Places:
    """The places of one alias, at one server or several."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        max_parallel_requests: int,
        open_cells: OpenCells,
        spending: Spending,
    ) -> None:
        self.lanes: list[Lane] = []
        self.max_parallel_requests = max_parallel_requests
        self.spending = spending
        self.in_flight = 0
        self.allowed = max_parallel_requests
        """Requests that may be in flight now."""
        self.permits = math.inf
        """Requests that may be started, if somebody outside counts them."""
        self.on_shortage: Callable[[], None] | None = None
        """Called when `allowed` or `permits` keep requests back, by whoever sets them."""
        self._open = open_cells
        self._ready = ReadyCells(max_parallel_requests)
        self._returning: deque[tuple[Seat, asyncio.Future[None]]] = deque()
        self._wake_up: asyncio.TimerHandle | None = None
        self.move_to(lanes)

    def move_to(self, lanes: Sequence[Lane]) -> None:
        """Send further requests there."""
        self.lanes = [*lanes]
        for lane in lanes:
            lane.limiter.pumps.append(self.pump)

    @property
    def waiting(self) -> int:
        """Cells that are ready but not started."""
        return self._ready.count

    @property
    def demand(self) -> int:
        """Requests that would be in flight now if nothing limited them."""
        startable = min(self._ready.count, self._open.maximum)
        return self.in_flight + len(self._returning) + startable

    def allow(self, requests: int) -> None:
        """Let this many requests be in flight; more than the configured maximum if need be."""
        if requests > self._ready.places:
            self._ready.places = requests
        for lane in self.lanes:
            if requests > lane.limiter.maximum:
                lane.limiter.raise_maximum(requests)
        grown, self.allowed = requests > self.allowed, requests
        if grown:
            self.pump()

    def permit(self, requests: int) -> None:
        """Let this many further requests be started."""
        self.permits += requests
        self.pump()

    def paused_until_now(self) -> float:
        """Seconds for which all of its servers held requests back after 429s so far."""
        return min(lane.limiter.paused_until_now() for lane in self.lanes)

    def expect(self, cells: int) -> None:
        """Announce cells that will be asked for; negative when they no longer will."""
        self._ready.expected += cells

    def enqueue(self, rank: int, cells: Cells, row: int) -> None:
        """Queue a ready cell. `rank` is the number of model cells from here to the row's end."""
        self._ready.add(rank, cells, row)

    def pump(self) -> None:
        """Start what there is room for."""
        while self._returning or (self._ready.count and self._open.count < self._open.maximum):
            if not self.spending.allows_request():
                return
            if self.in_flight >= self.allowed or self.permits < 1:
                if self.on_shortage is not None:
                    self.on_shortage()
                return
            lane = free_lane(self.lanes)
            if lane is None:
                self._wake_when_time_allows()
                return
            if self._returning:
                seat, granted = self._returning.popleft()
                if not granted.done():
                    seat.hold(lane)
                    granted.set_result(None)
                continue
            cells, row = self._ready.next()
            if cells.wanted(row):
                seat = Seat(self)
                seat.hold(lane)
                cells.start(row, seat)

    def _wake_when_time_allows(self) -> None:
        for lane in self.lanes:
            lane.limiter.wake_when_time_allows()
        rests = [lane.health.wait for lane in self.lanes if lane.health and lane.health.wait > 0.0]
        if rests and self._wake_up is None:
            loop = asyncio.get_running_loop()
            self._wake_up = loop.call_later(min(rests), self._rested)

    def _rested(self) -> None:
        self._wake_up = None
        self.pump()

    async def wait_for(self, seat: Seat) -> None:
        """Wait for a place for a conversation that is already at work."""
        granted = asyncio.get_running_loop().create_future()
        self._returning.append((seat, granted))
        self.pump()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                seat.give_back(Outcome.OTHER)
            raise
