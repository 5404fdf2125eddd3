"""What other processes that generate batches of a run have taken so far."""

from __future__ import annotations

from dd_core.handover import BatchRecord, added
from dd_core.times import ColumnTimes

_Usage = dict[str, dict[str, dict[str, float]]]


class Elsewhere:
    """Usage and times of tries at batches; those of tries that have ended are added up."""

    def __init__(self) -> None:
        self.recorded_before: _Usage = {}
        """What the records of tries say that earlier runs of the dataset asked for."""
        self._ended: _Usage = {}
        self._times: dict[str, ColumnTimes] = {}
        self._at_work: dict[tuple[int, int], BatchRecord] = {}

    def reported(self, record: BatchRecord) -> None:
        """A try has said how far it is; what it said before no longer counts."""
        self._at_work[record.index, record.attempt] = record

    def ended(self, record: BatchRecord) -> None:
        """A try has ended or was given up; this is what counts of it."""
        self._at_work.pop((record.index, record.attempt), None)
        self._ended = added(self._ended, record.usage)
        for column, times in record.times.items():
            known = self._times.setdefault(column, ColumnTimes())
            for name, seconds in times.items():
                setattr(known, name, getattr(known, name) + seconds)

    @property
    def usage_of_ended(self) -> _Usage:
        """Counts by model alias and column, without tries that are at work."""
        return self._ended

    def usage(self) -> _Usage:
        """Counts by model alias and column."""
        total = self._ended
        for record in self._at_work.values():
            total = added(total, record.usage)
        return total

    def times(self) -> dict[str, ColumnTimes]:
        """What cells were doing, by column."""
        return self._times
