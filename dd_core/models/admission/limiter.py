"""How many requests a server gets at once: one limiter per (address, model) in the process.

Additive increase, multiplicative decrease: a 429 lowers the limit and pauses new requests; a run
of successes raises it again. What went on during a pause tells how many requests the server holds.
From then on the limit stays there and is probed gently: a 429 to a request beyond it concerns that
request alone and pauses nobody, and probes that succeed grow in steps that double.
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

_FIRST_PROBE_SECONDS = 1.0
_SLOWEST_PROBE_SECONDS = 10.0


class RequestAdmissionTuningConfig(Declaration):
    """How the number of parallel requests follows what the server can take (AIMD)."""

    multiplicative_decrease_factor: float = Field(default=0.75, gt=0, lt=1)
    """The limit is multiplied by this after a 429."""
    additive_increase_step: int = Field(default=1, ge=1)
    """The limit grows by this after enough successes."""
    successes_until_increase: int = Field(default=25, ge=1)
    """Successes in a row before the limit grows."""
    cooldown_seconds: float = Field(default=2.0, gt=0)
    """Pause after a 429 that names none."""
    startup_ramp_seconds: float = Field(default=0.0, ge=0)
    """Time over which the limit grows from 1 to its maximum at the start of a run."""


class Outcome(StrEnum):
    """How a request ended, as far as the limit is concerned."""

    SUCCESS = "success"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"
    """The server did not answer, or with a failure of its own."""
    OTHER = "other"


class Admission(NamedTuple):
    """Under which circumstances a request was started."""

    limit: int
    position: int
    """Requests in flight, this one included."""
    expected: Tokens


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
        self.rates = RateLimits(clock)
        self.pumps: list[Callable[[], None]] = []
        """What to call when a request may start: one entry for each alias of this model."""
        self.paused_seconds = 0.0
        """How long requests were held back after 429s, in total."""
        self._wake_up: asyncio.TimerHandle | None = None
        self._room_changes = False
        self._clock = clock
        self._limit = maximum
        self._blocked_until = 0.0
        self._pause_is_wished = False
        """Whether the server named the pause, with Retry-After."""
        self._held_in_pause: int | None = None
        """Successes since the pause began; None when the last pause has been judged."""
        self._ceiling: int | None = None
        """Requests that the server is known to hold; None as long as that is not known."""
        self._successes = 0
        self._peak = 0
        """Most requests in flight since the successes are counted."""
        self._step = self.tuning.additive_increase_step
        self._probe_at = 0.0
        self._probe_pause = _FIRST_PROBE_SECONDS
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
        """Seconds until requests are allowed again after a 429; 0 when they are now."""
        return max(0.0, self._blocked_until - self._clock())

    def paused_until_now(self) -> float:
        """Seconds for which requests have been held back after 429s so far."""
        return self.paused_seconds - self.pause

    def raise_maximum(self, maximum: int) -> None:
        """Allow at least this many requests at once."""
        self.maximum = max(self.maximum, maximum)
        self._limit = self.maximum

    def has_room(self) -> bool:
        """Whether one more request may start now."""
        if self._clock() < self._blocked_until:
            return False
        if self._held_in_pause is not None:
            self._learn_from_pause(self._held_in_pause + self.in_flight)
        return self.in_flight < self.limit and self.rates.wait() == 0.0

    def notify(self) -> None:
        """Let every alias of this model start what it can."""
        if len(self.pumps) > 1:
            self.pumps.append(self.pumps.pop(0))  # none of them always comes first
        for pump in self.pumps:
            pump()

    def notify_soon(self) -> None:
        """Call `notify` soon: whoever has left the room may do so before."""
        if not self._room_changes:
            self._room_changes = True
            asyncio.get_running_loop().call_soon(self._room_has_changed)

    def _room_has_changed(self) -> None:
        self._room_changes = False
        self.notify()

    def wake_when_time_allows(self) -> None:
        """See to it that requests start again when a pause ends or a rate or the ramp allows."""
        ramp_step = 0.0
        if self._ramp_start is not None:
            ramp_step = self.tuning.startup_ramp_seconds / self.maximum
        delay = max(self.pause, ramp_step, self.rates.wait())
        if delay > 0.0 and self._wake_up is None:
            self._wake_up = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._wake_up = None
        self.notify()

    def start(self) -> Admission:
        """Count a request in; what it returns is for `finish`."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        return Admission(self.limit, self.in_flight, self.rates.take())

    def finish(
        self,
        admission: Admission,
        outcome: Outcome,
        retry_after: float | None = None,
        used: Tokens | None = None,
    ) -> float:
        """Count a request out and learn from how it ended.

        Returns the seconds for which this request alone should wait before it is sent again.
        """
        self.in_flight -= 1
        self.rates.correct(admission.expected, used)
        if outcome is Outcome.RATE_LIMITED:
            return self._refused(admission, retry_after)
        if outcome is Outcome.SUCCESS and self._ramp_start is None:
            if self._held_in_pause is not None and self.pause > 0.0:
                self._held_in_pause += 1
                if self.in_flight == 0 and not self._pause_is_wished:
                    self._end_pause()  # the server is idle, and we know what it holds
            elif self.pause == 0.0:
                self._succeeded()
        return 0.0

    def _succeeded(self) -> None:
        self._successes += 1
        if self._successes < self.tuning.successes_until_increase:
            return
        reached, self._peak, self._successes = self._peak, self.in_flight, 0
        if self._ceiling is not None and self._limit >= self._ceiling:
            if reached < self._limit or self._clock() < self._probe_at:
                return  # the limit was not used up, or it is too early to try more
            if self._limit > self._ceiling:  # a probe that worked
                self._ceiling = self._limit
                self._probe_pause = _FIRST_PROBE_SECONDS
                self._step *= 2
        self._limit = min(self.maximum, self._limit + self._step)

    def _refused(self, admission: Admission, retry_after: float | None) -> float:
        wish = retry_after or self.tuning.cooldown_seconds
        self._successes, self._peak = 0, self.in_flight
        self._step = self.tuning.additive_increase_step
        there_were = max(admission.position, self.in_flight + 1)
        if self._ceiling is not None and there_were > self._ceiling:
            # More than the server is known to hold: that was a probe, and it has failed.
            self._limit = min(self._limit, self._ceiling)
            self._probe_at = self._clock() + self._probe_pause
            self._probe_pause = min(_SLOWEST_PROBE_SECONDS, 2 * self._probe_pause)
            return wish
        if self._ramp_start is not None:
            self._limit, self._ramp_start = self.limit, None
        until = self._clock() + wish
        if until > self._blocked_until:
            self.paused_seconds += until - max(self._blocked_until, self._clock())
            self._blocked_until = until
        if self._held_in_pause is None:
            self._held_in_pause, self._pause_is_wished = 0, False
        self._pause_is_wished |= bool(retry_after)
        # Further 429s of the same burst were admitted under the old limit: they say nothing new.
        if admission.limit <= self._limit:
            factor = self.tuning.multiplicative_decrease_factor
            self._limit = max(1, math.floor(self._limit * factor))
        return 0.0

    def _end_pause(self) -> None:
        self.paused_seconds -= self.pause
        self._blocked_until = self._clock()

    def _learn_from_pause(self, held: int) -> None:
        """A pause is over: what the server went on with is what it holds."""
        self._held_in_pause = None
        if held > 0:
            self._limit = min(self._limit, held)
            self._ceiling = min(held, self.maximum)
            self._probe_at = self._clock() + self._probe_pause
