"""What was asked of a model and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dd_core.models.answers import Usage


@dataclass
class UsageCount:
    """What one column asked of one model; every field is a running total."""

    requests: int = 0
    failed_requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0
    seconds: float = 0.0
    """Time in flight, summed over requests."""
    waiting: float = 0.0
    """Time between the requests of one cell: back-off, and places for further requests."""

    def count(self, usage: Usage) -> None:
        """Add the tokens of one answer."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.cached_tokens += usage.cached_tokens
        self.images += usage.images

    def add(self, other: Mapping[str, float]) -> None:
        """Add another count, given as a mapping of the same fields."""
        for name, value in asdict(self).items():
            setattr(self, name, value + other.get(name, 0))
