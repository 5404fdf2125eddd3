"""One of the servers behind an alias: its client, its limit and its health."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dd_core.models.admission.limiter import Limiter
from dd_core.models.wire.client import Client

_FAILURES_BEFORE_REST = 3
_FIRST_REST = 1.0
_LONGEST_REST = 15.0


class Health:
    """Whether one backend of several answers.

    After three failures in a row the backend rests. Then one request at a time probes it.
    """

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
        """Seconds until it may be probed; 0 if it may be asked now."""
        return max(0.0, self._rests_until - self._clock())

    def seconds_until_next(self, in_flight: int) -> float:
        """Seconds until one more request may be sent; infinity if not before others have ended."""
        if self.is_well:
            return 0.0
        return self.wait or (math.inf if in_flight else 0.0)

    def answered(self) -> None:
        """Note an answer, whatever its content."""
        self._failures, self._rest = 0, 0.0

    def failed(self) -> None:
        """Note that it did not answer, or answered with a server error."""
        self._failures += 1
        if self._failures >= _FAILURES_BEFORE_REST and self.wait == 0.0:
            self._rest = min(_LONGEST_REST, max(_FIRST_REST, 2 * self._rest))
            self._rests_until = self._clock() + self._rest


@dataclass
class Backend:
    """A server that an alias's requests can go to."""

    client: Client
    limiter: Limiter
    weight: float = 1.0
    """Share of the requests, relative to the other backends."""
    health: Health | None = None
    """None for the only backend, which is asked in any case."""
    in_flight: int = 0
    """Requests of this alias."""

    def seconds_until_next(self) -> float:
        """Seconds until one more request may be sent; infinity if not before others have ended."""
        rest = self.health.seconds_until_next(self.in_flight) if self.health is not None else 0.0
        return max(rest, self.limiter.seconds_until_next())

    @property
    def load(self) -> float:
        """Requests in flight relative to the backend's share."""
        return (self.in_flight + 1) / self.weight


def pick_backend(backends: Sequence[Backend]) -> tuple[Backend | None, float]:
    """The backend for the next request: the least loaded of those with room.

    If none has room, None and the seconds until one may have; infinity if not before requests end.
    """
    if len(backends) == 1:
        wait = backends[0].seconds_until_next()
        return (None if wait else backends[0]), wait
    waits = [backend.seconds_until_next() for backend in backends]
    ready = [backend for backend, wait in zip(backends, waits, strict=True) if not wait]
    return min(ready, key=lambda backend: backend.load, default=None), min(waits)
