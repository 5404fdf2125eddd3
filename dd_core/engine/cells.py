"""The state of one column's cells while its batch is at work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any

from dd_core.dataset.plan import PlannedColumn
from dd_core.engine.accounting import ColumnTimings
from dd_core.engine.values import BatchValues
from dd_core.errors import DataDesignerError, UserTemplateError
from dd_core.kinds.generators import CellColumn, Generator, GroupColumn, WholeColumn
from dd_core.models.admission.request_queue import RequestQueue
from dd_core.models.admission.slot import RequestSlot
from dd_core.storage.batch import Batch
from dd_core.storage.journal import JournalledCells
from dd_core.templates.template import Condition

_logger = logging.getLogger(__name__)


class CellState(IntEnum):
    """Where a cell is on its way."""

    WAITING = 0
    QUEUED = 1
    """Its inputs are there: it is queued or at work."""
    DONE = 2
    SKIPPED = 3
    FAILED = 4
    """It failed in a way that a later try may mend."""
    DROPPED = 5
    """Its row was dropped."""


_SETTLED = (CellState.DONE, CellState.SKIPPED, CellState.DROPPED)

StartCell = Callable[["ColumnState", int, "RequestSlot | None"], None]


class ColumnState:
    """Cells of one column of one batch: their states, what they wait for, who waits for them."""

    def __init__(
        self, planned: PlannedColumn, generator: Generator, size: int, start: StartCell
    ) -> None:
        self.planned = planned
        self.generator = generator
        self.queue: RequestQueue | None = None
        """The queue of the model that generates the cells, if one does."""
        if isinstance(generator, CellColumn) and generator.model is not None:
            self.queue = generator.model.queue
        self.status = bytearray(size)
        self.missing = [0] * size
        """Row by row, how many cells of the same row are still to come."""
        self.incomplete = 0
        """How many columns must be complete first."""
        self.row_children: list[ColumnState] = []
        self.column_children: list[ColumnState] = []
        self.required: list[ColumnState] = []
        self.open = size
        """Cells that are not settled."""
        self.restored = 0
        self.done = 0
        self.skipped = 0
        self.failed: dict[int, DataDesignerError] = {}
        self.is_reported = False
        """Whether those who await the column know what failed, and may want another try."""
        self.failures: dict[int, Exception] = {}
        """Why rows were dropped because of this column."""
        self.ready: list[int] = []
        """Cells that wait for the next chunk or group."""
        self.groups = 0
        """Groups at work."""
        self.was_interrupted = False
        """Whether the column was stopped before it was finished."""
        self.timings = ColumnTimings()
        self.queued: dict[int, tuple[float, float]] = {}
        """When a cell was queued at its model, and how long that had paused until then."""
        self.is_finished = False
        self.is_announced = False
        self._start = start
        self._changed: asyncio.Future[None] | None = None
        column = planned.column
        self._condition = Condition.compile(column.skip.when) if column.skip else None
        self.may_skip = column.skip is not None

    @property
    def name(self) -> str:
        return self.planned.name

    @property
    def dropped(self) -> int:
        """Cells whose row was dropped, for whatever column's sake."""
        return len(self.status) - self.open - self.done - self.skipped

    @property
    def at_work(self) -> int:
        """Cells that are queued or at work, or failed and are to be tried again."""
        return self.status.count(CellState.QUEUED) + len(self.failed)

    @property
    def _needs_all(self) -> bool:
        """Whether every row's inputs must be there before any row is generated."""
        if isinstance(self.generator, GroupColumn):
            return self.generator.group_size is None
        return isinstance(self.generator, WholeColumn)

    def connect(self, states: Mapping[str, ColumnState]) -> None:
        """Find out whom to wait for, row by row or as a whole."""
        for producer in self.planned.producers:
            source = states[producer]
            if self._needs_all or isinstance(source.generator, WholeColumn):
                source.column_children.append(self)
                self.incomplete += 1
            else:
                source.row_children.append(self)
                self.missing = [count + 1 for count in self.missing]
        self.required = [states[name] for name in self.planned.required]
        if self.planned.column.propagate_skip:
            self.may_skip = self.may_skip or any(source.may_skip for source in self.required)

    def disconnect(self) -> None:
        """Forget the other columns."""
        self.row_children.clear()
        self.column_children.clear()
        self.required.clear()

    def announce(self) -> None:
        """Tell the model how many cells to expect."""
        self.is_announced = True
        if self.queue is not None:
            self.queue.expect(self.open)

    def wanted(self, row: int) -> bool:
        """Whether a queued cell is still to be generated."""
        return self.status[row] == CellState.QUEUED

    def start(self, row: int, slot: RequestSlot) -> None:
        """Called by the model when there is a place for the cell."""
        self._start(self, row, slot)

    def settle(self, row: int, status: CellState) -> None:
        """The cell has its value, or its row is dropped."""
        self.status[row] = status
        self.open -= 1
        self.done += status == CellState.DONE
        self.skipped += status == CellState.SKIPPED
        if self.is_announced and self.queue is not None:
            self.queue.expect(-1)

    def settle_all(self) -> None:
        """Every cell that is still open has its value."""
        if self.open == len(self.status):
            self.status[:] = bytes([CellState.DONE]) * self.open
        else:
            for row, status in enumerate(self.status):
                if status not in _SETTLED:
                    self.status[row] = CellState.DONE
        self.done += self.open
        self.open = 0

    def drop(self, row: int) -> bool:
        """Give up the cell because its row is dropped; False if it was settled already."""
        self.failed.pop(row, None)
        if self.status[row] in _SETTLED:
            return False
        self.settle(row, CellState.DROPPED)
        return True

    def fail_for_now(self, row: int, error: DataDesignerError) -> None:
        """Keep a failed cell for another try."""
        self.failed[row] = error
        self.status[row] = CellState.FAILED
        self.wake_if_stuck()

    def skips(self, row: int, values: BatchValues) -> bool:
        """Whether a cell whose inputs are there is to be skipped."""
        if self.planned.column.propagate_skip and any(
            source.status[row] == CellState.SKIPPED for source in self.required
        ):
            return True
        if self._condition is None:
            return False
        try:
            return self._condition.holds(values.row(self._condition.references, row))
        except UserTemplateError as error:
            _logger.warning("a cell of column %r is skipped: skip.when: %s", self.name, error)
            return True

    def take_failed(self) -> dict[int, DataDesignerError]:
        """The cells that failed for now, which are then no longer kept."""
        failed, self.failed = self.failed, {}
        return failed

    async def settled(self) -> None:
        """Wait until nothing moves any more without help from outside."""
        while self.open > len(self.failed) or (self.open == 0 and not self.is_finished):
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._changed)

    def wake(self) -> None:
        """Let those who await the column look again."""
        if self._changed is not None:
            if not self._changed.done():
                self._changed.set_result(None)
            self._changed = None

    def wake_if_stuck(self) -> None:
        """Wake when only failed cells are left."""
        if self.open == len(self.failed):
            self.wake()


def select_trusted_cells(
    states: Mapping[str, ColumnState], cells: JournalledCells, batch: Batch
) -> Iterator[tuple[ColumnState, int, Mapping[str, Any]]]:
    """The journalled cells that can be taken over, with their rows counted from the batch's start.

    A cell counts only if everything that it was made from is taken over too or is computed again
    to the same value: a judgement of a text that is lost is lost.
    """
    trusted: dict[str, set[int] | None] = {}  # None: all rows
    for name, state in states.items():
        sources = [trusted[producer] for producer in state.planned.producers]
        limited = [rows for rows in sources if rows is not None]
        trusted[name] = inputs = set[int].intersection(*limited) if limited else None
        if isinstance(state.generator, CellColumn | GroupColumn):
            trusted[name] = mine = set[int]()
            for row, values in cells.get(state.planned.fingerprint, {}).items():
                index = row - batch.start
                if inputs is None or index in inputs:
                    mine.add(index)
                    yield state, index, values
