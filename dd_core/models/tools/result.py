"""The result of a tool call, as the model receives it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dd_core.models.wire.media import Block

UNKNOWN = "(unknown)"
"""Stands for all names that no server offers: models invent them without end."""


class ToolOutcome(StrEnum):
    """What became of a tool call. The model is told about every outcome."""

    DONE = "done"
    ERROR = "error"
    """The server says that the tool failed."""
    UNKNOWN = "unknown"
    """No server offers a tool of this name."""
    NOT_ALLOWED = "not_allowed"
    """A server offers it, but it is not among `allow_tools`."""
    BAD_ARGUMENTS = "bad_arguments"
    """The arguments are not a JSON object, or do not satisfy the tool's schema."""
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    """The server could not be reached, or died during the call."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What is sent back to the model for one call."""

    content: str | list[Block]
    """Text, or blocks if the tool returned images."""
    outcome: ToolOutcome
    seconds: float
    """Duration of the call, without the wait for a free session."""
    is_repeatable: bool = False
    """Whether the server says that the tool only reads or that repeating it changes nothing."""
    tool: str = UNKNOWN
    """The tool's name at its server."""

    @property
    def was_sent(self) -> bool:
        """Whether the call was sent to a server."""
        return self.outcome not in _NOT_SENT

    @property
    def size(self) -> int:
        """Size of the content in bytes, images as base64."""
        if isinstance(self.content, str):
            return _count_bytes(self.content)
        return sum(
            _count_bytes(block["text"]) if block["type"] == "text" else len(block["source"]["data"])
            for block in self.content
        )


_NOT_SENT = (ToolOutcome.UNKNOWN, ToolOutcome.NOT_ALLOWED, ToolOutcome.BAD_ARGUMENTS)


def _count_bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
