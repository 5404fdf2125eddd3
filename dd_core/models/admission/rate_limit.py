"""Limits on requests and tokens per minute: token buckets, corrected by actual usage.

A request reserves the tokens that it will probably use. When its answer arrives, the difference to
the actual usage is settled, and the estimate for further requests moves toward it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BURST_SECONDS = 0.25
"""A bucket stores at most this much time, so that unused capacity never adds up to a burst."""
_UNKNOWN_TOKENS = 500.0
"""Assumed input tokens of a request, and output tokens without `max_tokens`, at the start."""
_LEARNING_RATE = 0.1
"""Weight of the latest request in the moving average of tokens per request."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one request."""

    input: float
    output: float


class Bucket:
    """A token bucket: an allowance that refills at a constant rate."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self.per_second = per_minute / 60.0
        self._capacity = self.per_second * _BURST_SECONDS
        self._clock = clock
        self._level = self._capacity
        self._refilled = clock()

    def seconds_until(self, amount: float) -> float:
        """Seconds until `amount` may be taken; 0 if it may be taken now."""
        self._refill()
        # A request larger than the bucket starts when the bucket is full. It leaves a negative
        # level behind, so that later requests wait for what it took in advance.
        missing = min(amount, self._capacity) - self._level
        return missing / self.per_second if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take from the allowance; a negative amount is returned to it."""
        self._refill()
        self._level = min(self._capacity, self._level - amount)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._refilled) * self.per_second)
        self._refilled = now


class RateLimits:
    """The rate limits of one model at one server; without any, requests never wait."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._average: Tokens | None = None
        """Moving average of the tokens per request; None before the first answer."""
        self._max_output: float | None = None

    def add_limits(self, per_minute: Mapping[str, int | None], max_tokens: int | None) -> None:
        """Add limits by name: `requests`, `tokens`, `input_tokens`, `output_tokens`.

        If several aliases of a model set the same limit, the smallest one applies.
        """
        self._max_output = max_tokens or self._max_output
        for name, rate in per_minute.items():
            if rate is None:
                continue
            known = self._buckets.get(name)
            if known is None or rate / 60.0 < known.per_second:
                self._buckets[name] = Bucket(rate, self._clock)

    def estimate(self) -> Tokens:
        """The tokens that the next request will probably use."""
        if self._average is not None:
            return self._average
        return Tokens(_UNKNOWN_TOKENS, self._max_output or _UNKNOWN_TOKENS)

    def seconds_until_next(self) -> float:
        """Seconds until the next request may start; 0 if it may start now."""
        if not self._buckets:
            return 0.0
        amounts = _amounts(self.estimate())
        return max(bucket.seconds_until(amounts[name]) for name, bucket in self._buckets.items())

    def reserve(self) -> Tokens:
        """Count a request that starts; returns the tokens that were reserved for it."""
        reserved = self.estimate()
        self._take(reserved)
        return reserved

    def settle(self, reserved: Tokens, actual: Tokens | None) -> None:
        """Replace reserved tokens by the actual ones; None if the server did not answer.

        The request itself stays counted, because the server received it either way.
        """
        if not self._buckets:
            return
        used = actual or Tokens(0.0, 0.0)
        difference = Tokens(used.input - reserved.input, used.output - reserved.output)
        self._take(difference, requests=False)
        if actual is None:
            return
        known = self._average or actual
        self._average = Tokens(
            known.input + _LEARNING_RATE * (actual.input - known.input),
            known.output + _LEARNING_RATE * (actual.output - known.output),
        )

    def _take(self, tokens: Tokens, *, requests: bool = True) -> None:
        amounts = _amounts(tokens)
        for name, bucket in self._buckets.items():
            if requests or name != "requests":
                bucket.take(amounts[name])


def _amounts(tokens: Tokens) -> dict[str, float]:
    """What one request takes from each bucket, by the name of the limit."""
    return {
        "requests": 1.0,
        "tokens": tokens.input + tokens.output,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
    }
