"""One try at a batch that another process makes, as the dataset's run sees it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import State

from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory, Part

from .records import BatchRecord

_UNTIL_A_PROCESS_RUNS = 5
"""Times the silence that is allowed while a worker prepares a process: images may be pulled."""
_LEAST_UNTIL_A_PROCESS_RUNS = 60.0
"""Seconds that this may always take: a busy machine needs long to load the libraries."""
_LOOKS_AFTER_THE_END = 3
"""A storage may show the last record of a process a moment after Prefect shows its end."""
_DOUBLINGS = 3
_SILENT_FOR_EACH_FAILED = 3


@dataclass(frozen=True)
class Loss:
    """Why a try must be taken for lost."""

    why: str
    is_silent: bool = False
    """No failure was seen: its process may be dead, or only slow."""


class Losses:
    """The tries at one batch that were lost.

    A silent one is not a failure: its worker may be slow. The next one is given twice the time, at
    most eight times, so that it gets through. Silent ones are limited as well, because the batch
    itself may be what kills the machines.
    """

    def __init__(self) -> None:
        self._failed = 0
        self._silent = 0

    def add(self, loss: Loss) -> int:
        """Count one more, and return how many there are of either sort."""
        if loss.is_silent:
            self._silent += 1
        else:
            self._failed += 1
        return self._failed + self._silent

    def allows_another(self, tries: int) -> bool:
        """Whether the batch may be started again if `tries` may fail."""
        return self._failed < tries and self._silent < _SILENT_FOR_EACH_FAILED * tries

    def patience(self, silence: float) -> float:
        """Seconds of silence that the next try is allowed."""
        return silence * 2 ** min(self._silent, _DOUBLINGS)


_LOOKS = 6
"""Silence has to be seen at least so many times: the one who looks may have been away himself."""


class HeartbeatMonitor:
    """How long a sign has not changed.

    Only the clock of the one who looks counts, so that clocks of machines need not agree.
    """

    def __init__(self) -> None:
        self._sign: object = None
        self._looked: float | None = None
        self._quiet: list[float] = []

    def look(self, sign: object, now: float) -> None:
        """The sign as it is at `now`, in seconds of a monotonic clock."""
        if sign != self._sign or self._looked is None:
            self._sign = sign
            self._quiet = []
        else:
            self._quiet.append(now - self._looked)
        self._looked = now

    def exceeds(self, seconds: float) -> bool:
        """Whether the sign has been the same for so long. A pause between two looks counts with
        at most a part of that."""
        most = seconds / _LOOKS
        return sum(min(pause, most) for pause in self._quiet) >= seconds


class Attempt:
    """A flow run that generates a batch, and what has been heard of it."""

    def __init__(
        self, batch: Batch, record: BatchRecord, flow_run_id: UUID, patience: float
    ) -> None:
        self.batch = batch
        self.record = record
        """As it was when last looked at."""
        self.flow_run_id = flow_run_id
        self._patience = patience
        self._silence = HeartbeatMonitor()
        self._looks_since_end = 0

    def read(self, directory: DatasetDirectory) -> tuple[BatchRecord, Part | None]:
        """The record as it is now, and the part if the try says that it is over."""
        record = BatchRecord.read(directory, self.record.index, self.record.attempt)
        self.record = record or self.record
        part = directory.part(self.batch.index) if self.record.is_over else None
        if part is not None and (part.start, part.stop) != (self.batch.start, self.batch.stop):
            part = None
        return self.record, part

    def trouble(self, record: BatchRecord, state: State | None, now: float) -> Loss | None:
        """Why the try must be taken for lost; None if there is no reason.

        `state` is None when Prefect could not be asked: then only the record counts.
        """
        kind = state.type.value if state is not None else "UNKNOWN"
        if kind in ("SCHEDULED", "PAUSED"):
            return None  # waiting for a worker is nobody's fault
        self._silence.look((kind, record.owner, record.beats, record.state), now)
        if kind in ("FAILED", "CRASHED", "CANCELLED") and state is not None and not record.is_over:
            self._looks_since_end += 1
            if self._looks_since_end < _LOOKS_AFTER_THE_END:
                return None
            return Loss(f"its run ended as {state.name}: {state.message or 'no reason is known'}")
        silence = self._patience
        if kind == "PENDING":
            silence = max(_UNTIL_A_PROCESS_RUNS * silence, _LEAST_UNTIL_A_PROCESS_RUNS)
        if not self._silence.exceeds(silence):
            return None
        if kind == "COMPLETED" or record.is_over:
            return Loss(
                "its run is complete, but its part is not in the dataset's folder; do all machines "
                "see the same storage there?"
            )
        return Loss(f"no sign of life for {silence:.0f} s", is_silent=True)
