"""Where the time of a run goes: per column, what its cells were doing."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class ColumnTimes:
    """Seconds over all cells of a column that asks a model. Cells overlap, so these add up to
    far more than the run took; their shares say what the column waits for."""

    cells: int = 0
    inputs: float = 0.0
    """Waiting for other columns of the row, from the batch's start."""
    slot: float = 0.0
    """Ready, but as many requests as allowed were in flight."""
    cooldown: float = 0.0
    """Ready, but the server had asked for a pause with a 429."""
    in_flight: float = 0.0
    """The model at work."""
    retries: float = 0.0
    """Waiting between the requests of one cell: back-off, and places for further requests."""
    computing: float = 0.0
    """Rendering prompts, parsing answers, and waiting for the event loop."""

    def add(self, other: ColumnTimes) -> None:
        """Add the times of another batch."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def shares(self) -> dict[str, float]:
        """The seconds as shares of their sum, 0 to 1."""
        seconds = {name: value for name, value in asdict(self).items() if name != "cells"}
        total = sum(seconds.values())
        return {name: value / total if total else 0.0 for name, value in seconds.items()}

    @property
    def verdict(self) -> str:
        """What would make the column faster, in a sentence."""
        shares = self.shares()
        match max(shares, key=lambda name: shares[name]):
            case "inputs":
                return "waits for the columns that it reads"
            case "slot":
                return "raise max_parallel_requests if the server has room"
            case "cooldown":
                return "the server refuses requests: it is the bottleneck"
            case "in_flight":
                return "the model is at work all the time"
            case "retries":
                return "requests fail or answers do not parse; see failed and retried requests"
            case _:
                return "this process computes; run batches in more processes"
