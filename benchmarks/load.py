"""Load of a server over time: requests in flight, in total and per model."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any


class Load:
    """Tracks the requests in flight, weighted by time."""

    def __init__(self) -> None:
        self.models: dict[str, _Track] = {}
        self.total = _Track()

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return self.total.in_flight

    def started(self, model: str) -> None:
        """Record that a request arrived."""
        now = time.monotonic()
        self.total.change(now, +1)
        self._of(model).change(now, +1)

    def finished(self, model: str, status: int) -> None:
        """Record that a response was sent."""
        now = time.monotonic()
        self.total.change(now, -1, status)
        self._of(model).change(now, -1, status)

    def refused(self, model: str, status: int) -> None:
        """Record that a request was rejected immediately."""
        for track in (self.total, self._of(model)):
            track.requests += 1
            track.statuses[status] += 1

    def reset(self) -> None:
        """Reset everything except the requests in flight."""
        for track in (self.total, *self.models.values()):
            track.__init__(track.in_flight)

    def stats(self) -> dict[str, Any]:
        """All figures as JSON types."""
        models = {name: track.stats() for name, track in self.models.items()}
        return self.total.stats() | {"models": models}

    def _of(self, model: str) -> _Track:
        return self.models.setdefault(model, _Track())


class _Track:
    def __init__(self, in_flight: int = 0) -> None:
        self.in_flight = in_flight
        self.most = in_flight
        self.requests = 0
        self.statuses: Counter[int] = Counter()
        self.seconds_at: Counter[int] = Counter()
        self.first: float | None = None
        self.last: float | None = None

    def change(self, now: float, by: int, status: int | None = None) -> None:
        if self.last is not None:
            self.seconds_at[self.in_flight] += now - self.last  # type: ignore[assignment]
        self.first = now if self.first is None else self.first
        self.last = now
        self.in_flight += by
        self.most = max(self.most, self.in_flight)
        self.requests += by > 0
        if status is not None:
            self.statuses[status] += 1

    def stats(self) -> dict[str, Any]:
        span = (self.last or 0.0) - (self.first or 0.0)
        weighted = sum(count * seconds for count, seconds in self.seconds_at.items())
        return {
            "requests": self.requests,
            "by_status": {str(status): count for status, count in self.statuses.items()},
            "in_flight": self.in_flight,
            "max_in_flight": self.most,
            "mean_in_flight": weighted / span if span else 0.0,
            "busy_seconds": span,
            "first": self.first,
            "last": self.last,
            "seconds_at": {str(count): seconds for count, seconds in self.seconds_at.items()},
        }
