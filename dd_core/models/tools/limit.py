"""Limits the calls of a tool server: how many run at once, and how many start per minute."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class CallLimit:
    """Lets calls start in the order in which they came. `maximum` may change at any time."""

    def __init__(
        self,
        maximum: int,
        per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._maximum = maximum
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next_start = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._wake_up: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.allowed_by = ""
        """What sets `maximum`, for people who wonder what a run waits for."""
        self.on_shortage: Callable[[], None] | None = None
        """Called when `maximum` holds calls back, by whoever sets it."""

    @property
    def maximum(self) -> int:
        """Maximum number of calls at once."""
        return self._maximum

    @maximum.setter
    def maximum(self, maximum: int) -> None:
        self._maximum = maximum
        self._start_waiting()

    @property
    def waiting(self) -> int:
        """Number of calls that have not started yet."""
        return sum(not turn.done() for turn in self._waiting)

    @property
    def is_held_back(self) -> bool:
        """Whether no call is running only because none is allowed."""
        return self._maximum == 0 == self.in_flight and self.waiting > 0

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[None]:
        """Wait until a call may start, and count it until it has ended."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._start_waiting()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was its turn at the same moment
                self._finish()
            raise
        try:
            yield
        finally:
            self._finish()

    def _finish(self) -> None:
        self.in_flight -= 1
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self.in_flight < self._maximum:
            delay = self._next_start - self._clock()
            if delay > 0.0:
                self._wake_after(delay)
                return
            turn = self._waiting.popleft()
            if turn.done():  # its call was cancelled
                continue
            self._next_start = self._clock() + self._interval
            self.in_flight += 1
            turn.set_result(None)
        if self._waiting and self.on_shortage is not None:
            self.on_shortage()

    def _wake_after(self, delay: float) -> None:
        if self._wake_up is None:
            self._wake_up = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._wake_up = None
        self._start_waiting()
