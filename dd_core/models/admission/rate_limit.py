"""Requests and tokens per minute: token buckets that real usage corrects.

A bucket holds a quarter of a second's worth at most, so that no minute sees more than its share:
what was not used cannot be saved up for a burst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

_BURST_SECONDS = 0.25
_UNKNOWN_TOKENS = 500.0
_LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one request."""

    input: float
    output: float


class Bucket:
    """An allowance that fills up at a constant rate."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self.per_second = per_minute / 60.0
        self._capacity = self.per_second * _BURST_SECONDS
        self._clock = clock
        self._level = self._capacity
        self._filled = clock()

    def wait(self, amount: float) -> float:
        """Seconds until this much may be taken. More than the bucket holds needs a full one."""
        self._fill()
        missing = min(amount, self._capacity) - self._level
        return missing / self.per_second if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        """Take from the allowance; a negative amount gives back."""
        self._fill()
        self._level = min(self._capacity, self._level - amount)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._filled) * self.per_second)
        self._filled = now


class RateLimits:
    """The rate limits of one model at one server. Without any, everything may start at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._typical: Tokens | None = None
        self._longest_output: float | None = None

    def limit(self, per_minute: Mapping[str, int | None], max_tokens: int | None) -> None:
        """Set limits by name (`requests`, `tokens`, `input_tokens`, `output_tokens`).

        Where several aliases of a model set one, the smallest counts.
        """
        self._longest_output = max_tokens or self._longest_output
        for name, rate in per_minute.items():
            if rate is None:
                continue
            known = self._buckets.get(name)
            if known is None or rate / 60.0 < known.per_second:
                self._buckets[name] = Bucket(rate, self._clock)

    @property
    def are_limited(self) -> bool:
        return bool(self._buckets)

    def expected(self) -> Tokens:
        """What the next request will probably take."""
        if self._typical is not None:
            return self._typical
        return Tokens(_UNKNOWN_TOKENS, self._longest_output or _UNKNOWN_TOKENS)

    def wait(self) -> float:
        """Seconds until the next request may start."""
        if not self._buckets:
            return 0.0
        amounts = _amounts(self.expected())
        return max(bucket.wait(amounts[name]) for name, bucket in self._buckets.items())

    def take(self) -> Tokens:
        """Count a request in; returns the tokens that were set aside for it."""
        expected = self.expected()
        self._change(expected, 1.0)
        return expected

    def correct(self, expected: Tokens, actual: Tokens | None) -> None:
        """Put right what was set aside; None for a request that the server did not answer."""
        if not self._buckets:
            return
        if actual is None:
            self._change(expected, -1.0, requests=False)
            return
        difference = Tokens(actual.input - expected.input, actual.output - expected.output)
        self._change(difference, 1.0, requests=False)
        known = self._typical or actual
        self._typical = Tokens(
            known.input + _LEARNING_RATE * (actual.input - known.input),
            known.output + _LEARNING_RATE * (actual.output - known.output),
        )

    def _change(self, tokens: Tokens, sign: float, *, requests: bool = True) -> None:
        amounts = _amounts(tokens)
        for name, bucket in self._buckets.items():
            if requests or name != "requests":
                bucket.take(sign * amounts[name])


def _amounts(tokens: Tokens) -> dict[str, float]:
    return {
        "requests": 1.0,
        "tokens": tokens.input + tokens.output,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
    }
