"""The batches that wait for an attempt, some of them until a pause is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from dd_core.storage.batch import Batch

from .records import BatchRecord


@dataclass(frozen=True)
class QueuedBatch:
    """A batch that waits; `record` is its next attempt if that has been recorded already."""

    batch: Batch
    record: BatchRecord | None = None
    not_before: float = 0.0
    """When the attempt may be started, on the monotonic clock."""


class BatchQueue:
    """Batches in the order in which they are started. Batches that pause are passed over."""

    def __init__(self) -> None:
        self._queued: deque[QueuedBatch] = deque()

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def rows(self) -> int:
        """Rows of all batches in the queue."""
        return sum(each.batch.size for each in self._queued)

    def add(self, batches: Iterable[Batch]) -> None:
        """Append batches."""
        self._queued.extend(QueuedBatch(batch) for batch in batches)

    def add_first(self, batch: Batch) -> None:
        """Put a batch before all others."""
        self._queued.appendleft(QueuedBatch(batch))

    def pause(self, batch: Batch, until: float, record: BatchRecord | None = None) -> None:
        """Put a batch before all others, to be passed over until a point in time."""
        self._queued.appendleft(QueuedBatch(batch, record, until))

    def take(self, now: float) -> QueuedBatch | None:
        """Remove and return the first batch that does not pause.

        A recorded attempt that pauses holds up all batches, because the deployment is missing.
        """
        for queued in self._queued:
            if queued.not_before <= now:
                self._queued.remove(queued)
                return queued
            if queued.record is not None:
                return None
        return None

    def clear(self) -> None:
        """Forget all batches."""
        self._queued.clear()
