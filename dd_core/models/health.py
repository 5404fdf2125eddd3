"""Whether an endpoint among several answers, and when a resting one is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable

_FAILURES = 3
"""In a row, before an endpoint rests."""
_FIRST_REST = 1.0
_LONGEST_REST = 15.0


class Health:
    """The state of one endpoint. After failures it rests; then one request at a time tries it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._rest = 0.0
        self._rests_until = 0.0

    @property
    def is_well(self) -> bool:
        """Whether it answered last time, or has not failed often enough to rest."""
        return self._rest == 0.0

    @property
    def wait(self) -> float:
        """Seconds until it may be tried again; 0 when it may be asked now."""
        return max(0.0, self._rests_until - self._clock())

    def may_ask(self, in_flight: int) -> bool:
        """Whether one more request may be sent."""
        return self.is_well or (self.wait == 0.0 and in_flight == 0)

    def answered(self) -> None:
        """It answered, whatever it said."""
        self._failures, self._rest = 0, 0.0

    def failed(self) -> None:
        """It did not answer, or with a failure of its own."""
        self._failures += 1
        if self._failures >= _FAILURES and self.wait == 0.0:
            self._rest = min(_LONGEST_REST, max(_FIRST_REST, 2 * self._rest))
            self._rests_until = self._clock() + self._rest
