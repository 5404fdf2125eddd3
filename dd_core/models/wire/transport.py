"""How requests get to servers: over aiohttp, or to an httpx transport that takes its place.

httpx's own connection pool costs milliseconds of CPU a request when hundreds of connections idle,
and its request and response objects a third of what a cell costs. Its transports are still the seam
behind which tests script a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a server answered, whatever it was."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    content: bytes


class LostError(Exception):
    """No answer came."""

    def __init__(self, cause: Exception, *, timed_out: bool) -> None:
        super().__init__(str(cause))
        self.kind = type(cause).__name__
        self.timed_out = timed_out
        """Whether the server was reached and then said nothing in time."""


class Connections(Protocol):
    """What sends requests."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, wait: float
    ) -> HttpResponse:
        """Send one request and read its answer; `wait` in seconds, to connect and between reads.

        Raises `LostError`. Redirects are not followed.
        """
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...
