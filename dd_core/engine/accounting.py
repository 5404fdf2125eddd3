"""Where a run's time and requests go, on this machine and on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dd_core.models.usage import UsageLedger


@dataclass
class ColumnTimings:
    """Seconds that the cells of one column spent on each activity, summed over all cells.

    Cells overlap, so the sums are much larger than the duration of the run. Their shares show what
    the column waits for.
    """

    cells: int = 0
    inputs: float = 0.0
    """Waiting for other columns of the row, counted from the start of the batch."""
    slot: float = 0.0
    """Ready, while the maximum number of requests was in flight."""
    cooldown: float = 0.0
    """Ready, while requests were paused after a 429."""
    in_flight: float = 0.0
    """Waiting for the model's answer."""
    retries: float = 0.0
    """Waiting between the requests of one cell: back-off, and slots for further requests."""
    tools: float = 0.0
    """Waiting for tools that the model called."""
    computing: float = 0.0
    """Rendering prompts, parsing answers, and waiting for the event loop."""

    def add(self, other: ColumnTimings) -> None:
        """Add the timings of another batch."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def shares(self) -> dict[str, float]:
        """Each activity's share of the total, 0 to 1."""
        seconds = {name: value for name, value in asdict(self).items() if name != "cells"}
        total = sum(seconds.values())
        return {name: value / total if total else 0.0 for name, value in seconds.items()}

    @property
    def bottleneck(self) -> str:
        """What limits the column, and what would make it faster, in one sentence."""
        shares = self.shares()
        match max(shares, key=lambda name: shares[name]):
            case "inputs":
                return "waits for the columns that it reads"
            case "slot":
                return "raise max_parallel_requests if the server has capacity"
            case "cooldown":
                return "the server rejects requests: it is the bottleneck"
            case "in_flight":
                return "the model is busy all the time"
            case "tools":
                return "waits for tools; allow more parallel calls if their servers have capacity"
            case "retries":
                return "requests fail or answers cannot be parsed; see failed and retried requests"
            case _:
                return "CPU-bound in this process; run batches in more processes"


class RemoteUsage:
    """Usage and timings of batch attempts that other processes make for this run.

    An attempt is known by any hashable key. A running attempt reports a growing total; the total of
    an attempt that has ended is final.
    """

    def __init__(self) -> None:
        self.before = UsageLedger()
        """What the records of attempts attribute to earlier runs of the dataset."""
        self.ended = UsageLedger()
        """Usage of attempts that have ended."""
        self.timings: dict[str, ColumnTimings] = {}
        """Timings by column, of attempts that have ended."""
        self._running: dict[object, UsageLedger] = {}

    def report(self, attempt: object, usage: UsageLedger) -> None:
        """Replace what a running attempt has reported so far."""
        self._running[attempt] = usage

    def finish(
        self,
        attempt: object,
        usage: UsageLedger,
        timings: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Record the final usage and timings of an attempt that ended or was given up."""
        self._running.pop(attempt, None)
        self.ended += usage
        for column, seconds in timings.items():
            known = self.timings.setdefault(column, ColumnTimings())
            for name, value in seconds.items():
                setattr(known, name, getattr(known, name) + value)

    @property
    def total(self) -> UsageLedger:
        """Usage of all attempts of this run, running ones included."""
        return sum(self._running.values(), self.ended)
