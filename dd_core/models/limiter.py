"""How many requests a server gets at once: one limiter per (address, model) in the process.

Additive increase, multiplicative decrease: a 429 lowers the limit and pauses new requests; a run
of successes raises it again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from enum import StrEnum

from dd_core.run_config import RequestAdmissionTuningConfig


class Outcome(StrEnum):
    """How a request ended, as far as the limit is concerned."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    OTHER = "other"


class Limiter:
    """The request limit of one model at one server."""

    def __init__(
        self,
        maximum: int,
        tuning: RequestAdmissionTuningConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tuning = tuning or RequestAdmissionTuningConfig()
        self.maximum = maximum
        self.in_flight = 0
        self.pumps: list[Callable[[], None]] = []
        """What to call when a request may start: one entry for each alias of this model."""
        self._wake_up: asyncio.TimerHandle | None = None
        self._clock = clock
        self._limit = maximum
        self._blocked_until = 0.0
        self._successes = 0
        self._ramp_start: float | None = None
        if self.tuning.startup_ramp_seconds > 0:
            self._ramp_start = clock()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        if self._ramp_start is not None:
            elapsed = self._clock() - self._ramp_start
            share = elapsed / self.tuning.startup_ramp_seconds
            if share < 1.0:
                return 1 + int((self.maximum - 1) * share)
            self._ramp_start = None
        return self._limit

    @property
    def pause(self) -> float:
        """Seconds until requests are allowed again; 0 when they are now."""
        return max(0.0, self._blocked_until - self._clock())

    def raise_maximum(self, maximum: int) -> None:
        """Allow at least this many requests at once."""
        self.maximum = max(self.maximum, maximum)
        self._limit = self.maximum

    def has_room(self) -> bool:
        """Whether one more request may start now."""
        return self.in_flight < self.limit and self._clock() >= self._blocked_until

    def room_changed(self) -> None:
        """Let every alias of this model start what it can."""
        if len(self.pumps) > 1:
            self.pumps.append(self.pumps.pop(0))  # none of them always comes first
        for pump in self.pumps:
            pump()

    def wake_after_pause(self) -> None:
        """See to it that requests start again when a pause ends or the ramp allows more."""
        ramp_step = 0.0
        if self._ramp_start is not None:
            ramp_step = self.tuning.startup_ramp_seconds / self.maximum
        delay = max(self.pause, ramp_step)
        if delay > 0.0 and self._wake_up is None:
            self._wake_up = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._wake_up = None
        self.room_changed()

    def start(self) -> int:
        """Count a request in; returns the limit it was admitted under, for `finish`."""
        self.in_flight += 1
        return self.limit

    def finish(self, admitted: int, outcome: Outcome, retry_after: float | None = None) -> None:
        """Count a request out and learn from how it ended."""
        self.in_flight -= 1
        if outcome is Outcome.RATE_LIMITED:
            self._slow_down(admitted, retry_after)
        elif outcome is Outcome.SUCCESS and self.pause == 0.0 and self._ramp_start is None:
            self._successes += 1
            if self._successes >= self.tuning.successes_until_increase:
                self._successes = 0
                self._limit = min(self.maximum, self._limit + self.tuning.additive_increase_step)

    def _slow_down(self, admitted: int, retry_after: float | None) -> None:
        if self._ramp_start is not None:
            self._limit, self._ramp_start = self.limit, None
        self._successes = 0
        pause = retry_after or self.tuning.cooldown_seconds
        self._blocked_until = max(self._blocked_until, self._clock() + pause)
        # Further 429s of the same burst were admitted under the old limit: they say nothing new.
        if admitted <= self._limit:
            factor = self.tuning.multiplicative_decrease_factor
            self._limit = max(1, math.floor(self._limit * factor))
