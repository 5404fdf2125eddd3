"""One attempt at a batch on another machine, as the dataset's run sees it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from prefect.client.schemas.objects import State

from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory, Part

from .records import BatchRecord

REFUSED = "Refused"
"""Name of the state of a run whose machine cannot generate batches of the dataset."""

_START_TIMEOUT_FACTOR = 5
"""How many times the heartbeat timeout a worker may take to start a process: it may have to pull an
image."""
_MIN_START_TIMEOUT_SECONDS = 60.0
"""A process may always take this long to start: a busy machine needs long to load the libraries."""
_POLLS_AFTER_END = 3
"""Polls to wait for the last record of a run that has ended: some storage shows files late."""
_MAX_DOUBLINGS = 3
_OTHERS_PER_FAILURE = 3
"""How many timeouts or refusals are allowed for each failure that is allowed."""
_PAUSE_SECONDS = 5.0
"""Pause after the first refusal. Each further pause is twice as long."""
_MAX_PAUSE_SECONDS = 60.0
_MIN_POLLS_PER_TIMEOUT = 6
"""Polls that must find an unchanged heartbeat before it times out."""


@dataclass(frozen=True)
class AttemptFailure:
    """Why an attempt is considered lost."""

    reason: str
    is_timeout: bool = False
    """Only the heartbeat is missing: the process may be dead, or slow."""
    is_refusal: bool = False
    """The machine could not begin, which says nothing about the batch."""


class AttemptFailures:
    """The lost attempts at one batch.

    A missing heartbeat does not count as a failure, because the worker may be slow. After each
    timeout, the next attempt gets twice as much time, up to eight times the original timeout, so
    that the batch can finish on a slow worker. The number of timeouts is limited as well, because
    the batch itself may be what kills the machines.

    A refusal does not count as a failure either. The next attempt is made after a pause, so that
    another machine gets a chance to pick it up. The number of refusals is limited only as long as
    no machine has accepted a batch of the run.
    """

    def __init__(self) -> None:
        self._failed = 0
        self._timed_out = 0
        self._refused = 0

    def add(self, failure: AttemptFailure) -> int:
        """Count a lost attempt; returns the number of lost attempts of all kinds."""
        if failure.is_refusal:
            self._refused += 1
        elif failure.is_timeout:
            self._timed_out += 1
        else:
            self._failed += 1
        return self._failed + self._timed_out + self._refused

    def allow_retry(self, max_failed: int, *, was_accepted: bool) -> bool:
        """Whether the batch may be restarted if `max_failed` attempts may fail.

        `was_accepted` says whether a machine has begun a batch of this run.
        """
        more = _OTHERS_PER_FAILURE * max_failed
        is_refused = self._refused >= more and not was_accepted
        return self._failed < max_failed and self._timed_out < more and not is_refused

    @property
    def pause(self) -> float:
        """Seconds until the next attempt after a refusal."""
        return min(_MAX_PAUSE_SECONDS, _PAUSE_SECONDS * 2 ** (self._refused - 1))

    def scale_timeout(self, seconds: float) -> float:
        """The heartbeat timeout of the next attempt, in seconds."""
        return seconds * 2 ** min(self._timed_out, _MAX_DOUBLINGS)


class HeartbeatMonitor:
    """Measures for how long a heartbeat has not changed.

    Only the clock of the observer counts, so the clocks of the machines need not agree.
    """

    def __init__(self) -> None:
        self._heartbeat: object = None
        self._observed_at: float | None = None
        self._pauses: list[float] = []

    def observe(self, heartbeat: object, now: float) -> None:
        """Take note of the heartbeat at `now`, in seconds of a monotonic clock."""
        if heartbeat != self._heartbeat or self._observed_at is None:
            self._heartbeat = heartbeat
            self._pauses = []
        else:
            self._pauses.append(now - self._observed_at)
        self._observed_at = now

    def has_timed_out(self, seconds: float) -> bool:
        """Whether the heartbeat has been unchanged for so long.

        The observer may itself have been suspended for minutes, while the heartbeat continued.
        Therefore a single pause between two observations counts only as a fraction of the timeout.
        """
        longest = seconds / _MIN_POLLS_PER_TIMEOUT
        return sum(min(pause, longest) for pause in self._pauses) >= seconds


class Attempt:
    """A flow run that generates a batch, and its last known record."""

    def __init__(
        self, batch: Batch, record: BatchRecord, flow_run_id: UUID, heartbeat_timeout: float
    ) -> None:
        self.batch = batch
        self.record = record
        """The record as it was last read."""
        self.flow_run_id = flow_run_id
        self._heartbeat_timeout = heartbeat_timeout
        self._monitor = HeartbeatMonitor()
        self._polls_since_end = 0

    def read(self, directory: DatasetDirectory) -> tuple[BatchRecord, Part | None]:
        """Read the current record, and the part if the record says that the attempt has ended."""
        record = BatchRecord.read(directory, self.record.index, self.record.attempt)
        self.record = record or self.record
        part = directory.part(self.batch.index) if self.record.is_over else None
        if part is not None and (part.start, part.stop) != (self.batch.start, self.batch.stop):
            part = None
        return self.record, part

    def failure_reason(
        self, record: BatchRecord, state: State | None, now: float
    ) -> AttemptFailure | None:
        """Why the attempt is considered lost; None while there is no reason.

        `state` is None if Prefect did not respond. In this case only the record counts.
        """
        if state is not None and state.name == REFUSED:
            return AttemptFailure(state.message or "a machine refused it", is_refusal=True)
        kind = state.type.value if state is not None else "UNKNOWN"
        if kind in ("SCHEDULED", "PAUSED"):
            return None  # a run that waits for a worker sends no heartbeat
        self._monitor.observe((kind, record.owner, record.heartbeats, record.state), now)
        if kind in ("FAILED", "CRASHED", "CANCELLED") and state is not None and not record.is_over:
            self._polls_since_end += 1
            if self._polls_since_end < _POLLS_AFTER_END:
                return None
            message = state.message or "the reason is unknown"
            # A process that has begun is named in the record. Without it, the machine is to blame:
            # it may lack an image, a package or the code.
            return AttemptFailure(
                f"its run ended in the state {state.name}: {message}",
                is_refusal=kind != "CANCELLED" and not record.owner,
            )
        timeout = self._heartbeat_timeout
        if kind == "PENDING":
            timeout = max(_START_TIMEOUT_FACTOR * timeout, _MIN_START_TIMEOUT_SECONDS)
        if not self._monitor.has_timed_out(timeout):
            return None
        if kind == "COMPLETED" or record.is_over:
            return AttemptFailure(
                "its run is complete, but its Parquet file is not in the dataset's folder; check "
                "that all machines see the same storage under this path"
            )
        return AttemptFailure(f"no heartbeat for {timeout:.0f} s", is_timeout=True)
