"""Adapts the number of parallel requests to the server: one limiter per (address, model).

The algorithm is AIMD (additive increase, multiplicative decrease) with a learned ceiling:

1. A 429 multiplies the limit by 0.75 and pauses all new requests. 25 successes in a row add 1.
   (These numbers are the defaults of `RequestAdmissionTuningConfig`.)
2. Requests that started before the pause and that succeeded or are still in flight when it ends
   had been accepted by the server. Their number becomes the *ceiling*: the number of requests that
   the server is known to handle at once. The limit falls to the ceiling if it is higher.
3. Below the ceiling, the limit grows as in step 1. At the ceiling, growing means *probing*: the
   limit exceeds the ceiling by one step. A 429 to a request beyond the ceiling delays only that
   request, lowers the limit to the ceiling, and doubles the time until the next probe.
4. A probe has succeeded after 25 successes in a row with the higher limit in full use. The higher
   limit becomes the ceiling and the step doubles, so that additional capacity is found quickly.

Plain AIMD would exceed the capacity of the server again and again, and each time pause everything.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from dd_core.declaration.kind import Declaration
from dd_core.models.admission.rate_limit import RateLimits, Tokens

DEFAULT_MAX_RETRY_AFTER = 6 * 3600.0
"""Seconds that a server may ask to wait, see `RunConfig.max_retry_after`."""
_LONGEST_PROBE_DELAY = 60.0
"""Seconds. A server that asks for a longer wait does not speak of parallel requests."""
_MIN_PROBE_INTERVAL = 1.0
_MAX_PROBE_INTERVAL = 10.0
"""Seconds between probes beyond the ceiling: doubled by a failed probe, reset by a success."""


class RequestAdmissionTuningConfig(Declaration):
    """Tuning of the adaptive request limit (AIMD)."""

    multiplicative_decrease_factor: float = Field(default=0.75, gt=0, lt=1)
    """Factor by which the request limit is multiplied after a 429."""
    additive_increase_step: int = Field(default=1, ge=1)
    """Number of requests by which the limit grows after enough successes."""
    successes_until_increase: int = Field(default=25, ge=1)
    """Number of successes in a row after which the limit grows."""
    cooldown_seconds: float = Field(default=2.0, gt=0)
    """Pause in seconds after a 429 without a `Retry-After` header."""
    startup_ramp_seconds: float = Field(default=0.0, ge=0)
    """Seconds over which the limit grows from 1 to its maximum when a run starts; 0 for no ramp."""


class Outcome(StrEnum):
    """How a request ended, as the limiter and the health of a backend see it."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"
    """The server did not answer, or answered with a server error."""
    OTHER = "other"
    """Anything that says nothing about capacity, such as a rejected or a cancelled request."""


class Admission(NamedTuple):
    """The state of the limiter when a request started."""

    limit: int
    """The limit at that time."""
    in_flight: int
    """Requests in flight, this one included."""
    reserved: Tokens
    """Tokens that were reserved for it."""


class Limiter:
    """The request limit of one model at one server; see the module docstring for the algorithm."""

    def __init__(
        self,
        maximum: int,
        tuning: RequestAdmissionTuningConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tuning = tuning or RequestAdmissionTuningConfig()
        self.maximum = maximum
        self.in_flight = 0
        self.rates = RateLimits(clock)
        self.pumps: list[Callable[[], None]] = []
        """Called when requests may start: one function per alias of this model."""
        self.paused_seconds = 0.0
        """Total length of all pauses after 429s, including the rest of the current one."""
        self._notify_is_scheduled = False
        self._clock = clock
        self._limit = maximum
        self._paused_until = 0.0
        self._server_chose_pause = False
        """Whether the server requested the current pause with `Retry-After`."""
        self._successes_in_pause: int | None = None
        """Successes since the pause began; None once the ceiling was learned from it."""
        self._ceiling: int | None = None
        """Requests that the server is known to handle at once; None if not known yet."""
        self._successes = 0
        """Successes that count toward the next increase of the limit."""
        self._peak = 0
        """Maximum number of requests in flight since these successes are counted."""
        self._step = self.tuning.additive_increase_step
        self._next_probe_at = 0.0
        self._probe_interval = _MIN_PROBE_INTERVAL
        self._ramp_start: float | None = None
        if self.tuning.startup_ramp_seconds > 0:
            self._ramp_start = clock()

    @property
    def limit(self) -> int:
        """Number of requests that may be in flight now."""
        if self._ramp_start is not None:
            elapsed = self._clock() - self._ramp_start
            share = elapsed / self.tuning.startup_ramp_seconds
            if share < 1.0:
                return 1 + int((self.maximum - 1) * share)
            self._ramp_start = None
        return self._limit

    @property
    def pause(self) -> float:
        """Remaining seconds of the pause after a 429; 0 without a pause."""
        return max(0.0, self._paused_until - self._clock())

    def paused_until_now(self) -> float:
        """Seconds for which requests were held back after 429s so far."""
        return self.paused_seconds - self.pause

    def raise_maximum(self, maximum: int) -> None:
        """Raise the maximum to at least this many requests, and the limit with it."""
        self.maximum = max(self.maximum, maximum)
        self._limit = self.maximum

    def seconds_until_next(self) -> float:
        """Seconds until one more request may start: 0 if it may start now.

        Infinity if none may start before others have ended.
        """
        now = self._clock()
        if now < self._paused_until:
            return self._paused_until - now
        if self._successes_in_pause is not None:
            # The pause is over. Nothing started during it, so the server had accepted the
            # requests that succeeded in the meantime and those that are still in flight.
            self._learn_ceiling(self._successes_in_pause + self.in_flight)
        if self.in_flight >= self.limit:
            is_ramp = self._ramp_start is not None
            return self.tuning.startup_ramp_seconds / self.maximum if is_ramp else math.inf
        return self.rates.seconds_until_next()

    def notify(self) -> None:
        """Start waiting requests of every alias of this model, as far as there is room."""
        if len(self.pumps) > 1:
            self.pumps.append(self.pumps.pop(0))  # take turns, so that no alias starves
        for pump in self.pumps:
            pump()

    def notify_soon(self) -> None:
        """Call `notify` in the next iteration of the event loop.

        The cell whose request has just ended may call `notify` earlier than that.
        """
        if not self._notify_is_scheduled:
            self._notify_is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run_scheduled_notify)

    def _run_scheduled_notify(self) -> None:
        self._notify_is_scheduled = False
        self.notify()

    def start(self) -> Admission:
        """Count a request that starts; pass the returned admission to `finish`."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        return Admission(self.limit, self.in_flight, self.rates.reserve())

    def finish(
        self,
        admission: Admission,
        outcome: Outcome,
        retry_after: float | None = None,
        used: Tokens | None = None,
    ) -> float:
        """Count a request that ended and adapt the limit to its outcome.

        Returns the seconds for which this request alone must wait before it is sent again.
        """
        self.in_flight -= 1
        self.rates.settle(admission.reserved, used)
        if outcome is Outcome.RATE_LIMITED:
            return self._handle_429(admission, retry_after)
        if outcome is Outcome.FAILED and retry_after:
            # A server that is down or overloaded says when it is back, but nothing about its limit.
            self._pause(retry_after)
            self._server_chose_pause = True
        # During the ramp, time raises the limit and successes do not.
        if outcome is Outcome.SUCCESS and self._ramp_start is None:
            if self._successes_in_pause is not None and self.pause > 0.0:
                self._successes_in_pause += 1
                # Once all accepted requests have ended, the ceiling is known and the server is
                # idle. The rest of the pause would be lost time, unless the server requested it.
                if self.in_flight == 0 and not self._server_chose_pause:
                    self._end_pause()
            elif self.pause == 0.0:
                self._handle_success()
        return 0.0

    def _handle_success(self) -> None:
        """Raise the limit after enough successes in a row."""
        self._successes += 1
        if self._successes < self.tuning.successes_until_increase:
            return
        peak, self._peak, self._successes = self._peak, self.in_flight, 0
        if self._ceiling is not None and self._limit >= self._ceiling:
            # Successes prove nothing about a limit that was never reached.
            if peak < self._limit or self._clock() < self._next_probe_at:
                return
            if self._limit > self._ceiling:  # the last probe succeeded
                self._ceiling = self._limit
                self._probe_interval = _MIN_PROBE_INTERVAL
                self._step *= 2
        self._limit = min(self.maximum, self._limit + self._step)

    def _handle_429(self, admission: Admission, retry_after: float | None) -> float:
        """Lower the limit and pause, or only delay the request if it was a probe."""
        delay = retry_after or self.tuning.cooldown_seconds
        self._successes, self._peak = 0, self.in_flight
        self._step = self.tuning.additive_increase_step
        concurrent = max(admission.in_flight, self.in_flight + 1)
        is_probe = self._ceiling is not None and concurrent > self._ceiling
        if self._ceiling is not None and is_probe and delay <= _LONGEST_PROBE_DELAY:
            # A failed probe: it exceeded what the server is known to handle, so the 429 says
            # nothing about the other requests, and only this one waits.
            self._limit = min(self._limit, self._ceiling)
            self._next_probe_at = self._clock() + self._probe_interval
            self._probe_interval = min(_MAX_PROBE_INTERVAL, 2 * self._probe_interval)
            return delay
        if self._ramp_start is not None:
            self._limit, self._ramp_start = self.limit, None  # the ramp ends where it is
        self._pause(delay)
        if self._successes_in_pause is None:
            self._successes_in_pause, self._server_chose_pause = 0, False
        self._server_chose_pause |= bool(retry_after)
        # A burst of 429s must lower the limit only once. Its later 429s belong to requests that
        # were admitted under the higher limit from before the decrease.
        if admission.limit <= self._limit:
            factor = self.tuning.multiplicative_decrease_factor
            self._limit = max(1, math.floor(self._limit * factor))
        return 0.0

    def _pause(self, delay: float) -> None:
        """Pause until the latest time that any of several refusals requires."""
        until = self._clock() + delay
        if until > self._paused_until:
            self.paused_seconds += until - max(self._paused_until, self._clock())
            self._paused_until = until

    def _end_pause(self) -> None:
        self.paused_seconds -= self.pause
        self._paused_until = self._clock()

    def _learn_ceiling(self, accepted: int) -> None:
        """Set the ceiling to the number of requests that the server had accepted."""
        self._successes_in_pause = None
        if accepted > 0:  # a server that accepted nothing has not shown its capacity
            self._limit = min(self._limit, accepted)
            self._ceiling = min(accepted, self.maximum)
            self._next_probe_at = self._clock() + self._probe_interval
