"""The interface through which requests are sent; `connections` implements it.

This module does not import any HTTP library, so that it is cheap to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dd_core.models.parameters import MAX_RESPONSE_BYTES

MAX_BODY_BYTES = MAX_RESPONSE_BYTES
"""Longest answer that is read by default."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer of a server, with any status."""

    status: int
    headers: Mapping[str, str]
    """Headers; names are case-insensitive."""
    content: bytes


class LostError(Exception):
    """No answer arrived."""

    def __init__(
        self, cause: Exception, *, timed_out: bool = False, is_too_long: bool = False
    ) -> None:
        super().__init__(str(cause))
        self.kind = type(cause).__name__
        """Class name of the cause."""
        self.timed_out = timed_out
        """Whether the server was reached but did not answer in time."""
        self.is_too_long = is_too_long
        """Whether the answer is longer than the request allows."""


class Connections(Protocol):
    """Sends requests to servers."""

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        wait: float,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> HttpResponse:
        """Send one request and read its answer; raises `LostError`.

        `wait` is the deadline in seconds for the whole request, up to the last byte of the answer.
        It ends a request whose server only keeps the connection open, too. `most_bytes` is the
        length of the longest answer that is read, counted after decompression. Redirects are not
        followed.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
