"""Counts what became of tool calls."""

from __future__ import annotations

from dataclasses import dataclass

from dd_core.models.tools.result import ToolOutcome

_FAILED = (ToolOutcome.ERROR, ToolOutcome.TIMEOUT, ToolOutcome.UNAVAILABLE)


@dataclass
class ToolCount:
    """The calls of one tool for one column; every field is a running total."""

    calls: int = 0
    """Calls that were sent to a server."""
    errors: int = 0
    """Those of them that failed."""
    refused: int = 0
    """Calls that were not sent, because of their name or their arguments."""
    seconds: float = 0.0
    """Duration, summed over calls."""
    result_bytes: int = 0
    """Size of what the model received."""

    def count(self, outcome: ToolOutcome, seconds: float, result_bytes: int) -> None:
        """Add one call."""
        if outcome is ToolOutcome.DONE or outcome in _FAILED:
            self.calls += 1
            self.errors += outcome in _FAILED
        else:
            self.refused += 1
        self.seconds += seconds
        self.result_bytes += result_bytes
