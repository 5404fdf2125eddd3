"""The state of one column's cells in a running batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from functools import cached_property
from typing import Any

from dd_core.dataset.plan import PlannedColumn
from dd_core.engine.accounting import ColumnTimings
from dd_core.engine.values import BatchValues
from dd_core.errors import DataDesignerError
from dd_core.kinds.generators import CellColumn, Generator, GroupColumn, RowColumn, WholeColumn
from dd_core.models.admission.request_queue import RequestQueue
from dd_core.models.admission.slot import RequestSlot
from dd_core.storage.batch import Batch
from dd_core.storage.journal import JournalledCells
from dd_core.templates.template import Condition

_logger = logging.getLogger(__name__)


class CellState(IntEnum):
    """The progress of a cell."""

    WAITING = 0
    QUEUED = 1
    """Its inputs are available; it is queued or running."""
    DONE = 2
    SKIPPED = 3
    FAILED = 4
    """It failed with a transient error and can be retried."""
    DROPPED = 5
    """Its row was dropped, because of this column or another one."""


SETTLED = (CellState.DONE, CellState.SKIPPED, CellState.DROPPED)

StartCell = Callable[["ColumnState", int, "RequestSlot | None"], None]


class ColumnState:
    """The cells of one column in one batch: their states and their dependencies."""

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
        """Per row, the number of cells in the same row that this column still waits for."""
        self.incomplete = 0
        """Number of columns that must be complete before any cell can start."""
        self.row_children: list[ColumnState] = []
        """Columns whose cells wait for the cell of the same row."""
        self.column_children: list[ColumnState] = []
        """Columns that wait until this column is complete."""
        self.required: list[ColumnState] = []
        """Columns whose skipped cells cause the cells of this column to be skipped."""
        self.open = size
        """Cells that are not settled."""
        self.restored = 0
        """Cells that were taken over from journals."""
        self.done = 0
        self.skipped = 0
        self.failed: dict[int, DataDesignerError] = {}
        """Transient failures by row; these cells can be retried."""
        self.is_reported = False
        """Whether the failures have been raised to the caller that awaits the column."""
        self.failures: dict[int, Exception] = {}
        """Permanent failures by row; these rows were dropped."""
        self.ready: list[int] = []
        """Cells that wait for the next chunk or group."""
        self.groups = 0
        """Number of running groups."""
        self.was_interrupted = False
        """Whether the column was stopped before it was finished."""
        self.timings = ColumnTimings()
        self.queued: dict[int, tuple[float, float]] = {}
        """When each cell was queued, and how long its model had been paused until then."""
        self.is_finished = False
        self.is_announced = False
        self._start = start
        self._changed: asyncio.Future[None] | None = None
        column = planned.column
        self._condition = Condition.compile(column.skip.when) if column.skip else None
        self.may_skip = column.skip is not None or planned.gate is not None
        """Whether cells of this column may be skipped."""

    @property
    def name(self) -> str:
        return self.planned.name

    @cached_property  # every cell needs it
    def is_recorded(self) -> bool:
        """Whether finished cells are kept in the journal, because computing them again may give
        other values."""
        generator = self.generator
        if isinstance(generator, RowColumn):
            return not generator.is_repeatable
        return isinstance(generator, CellColumn | GroupColumn)

    @property
    def shown_name(self) -> str:
        """The name that users know: for an internal column, that of the column that it serves."""
        return self.planned.owner if self.planned.column.is_internal else self.planned.name

    @property
    def dropped(self) -> int:
        """Cells whose row was dropped, because of any column."""
        return len(self.status) - self.open - self.done - self.skipped

    @property
    def running(self) -> int:
        """Cells that are queued or running, or failed and can be retried."""
        return self.status.count(CellState.QUEUED) + len(self.failed)

    @property
    def _needs_all(self) -> bool:
        """Whether the inputs of all rows must be available before any row is generated."""
        if isinstance(self.generator, GroupColumn):
            return self.generator.group_size is None
        return isinstance(self.generator, WholeColumn)

    def connect(self, states: Mapping[str, ColumnState]) -> None:
        """Find the columns to wait for, row by row or as a whole."""
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
        """Drop the references to other columns."""
        self.row_children.clear()
        self.column_children.clear()
        self.required.clear()

    def announce(self) -> None:
        """Tell the model's queue how many cells to expect."""
        self.is_announced = True
        if self.queue is not None:
            self.queue.expect(self.open)

    def wanted(self, row: int) -> bool:
        """Whether a queued cell still has to be generated."""
        return self.status[row] == CellState.QUEUED

    def start(self, row: int, slot: RequestSlot) -> None:
        """Start a cell; the model's queue calls this when it grants a slot."""
        self._start(self, row, slot)

    def settle(self, row: int, status: CellState) -> None:
        """Record that a cell has its value or that its row was dropped."""
        self.status[row] = status
        self.open -= 1
        self.done += status == CellState.DONE
        self.skipped += status == CellState.SKIPPED
        if self.is_announced and self.queue is not None:
            self.queue.expect(-1)

    def settle_all(self) -> None:
        """Record that every open cell has its value."""
        if self.open == len(self.status):
            self.status[:] = bytes([CellState.DONE]) * self.open
        else:
            for row, status in enumerate(self.status):
                if status not in SETTLED:
                    self.status[row] = CellState.DONE
        self.done += self.open
        self.open = 0

    def drop(self, row: int) -> bool:
        """Drop the cell because its row is dropped; False if it was already settled."""
        self.failed.pop(row, None)
        if self.status[row] in SETTLED:
            return False
        self.settle(row, CellState.DROPPED)
        return True

    def fail_for_now(self, row: int, error: DataDesignerError) -> None:
        """Keep a cell with a transient failure for a retry."""
        self.failed[row] = error
        self.status[row] = CellState.FAILED
        self.wake_if_stuck()

    def skips(self, row: int, values: BatchValues) -> bool:
        """Whether a cell whose inputs are available must be skipped."""
        if self.planned.gate is not None and not values.column(self.planned.gate)[row]:
            return True
        if self.planned.column.propagate_skip and any(
            source.status[row] == CellState.SKIPPED for source in self.required
        ):
            return True
        if self._condition is None:
            return False
        try:
            return self._condition.holds(values.row(self._condition.references, row, self.name))
        except Exception as error:  # whatever the operators of a value raise
            _logger.warning(
                "skipping a cell of column %r because skip.when failed: %s", self.name, error
            )
            return True

    def take_failed(self) -> dict[int, DataDesignerError]:
        """Return the transient failures by row, and clear them."""
        failed, self.failed = self.failed, {}
        return failed

    async def settled(self) -> None:
        """Wait until the column is finished or only cells with transient failures are left."""
        while not (self.is_finished or 0 < self.open == len(self.failed)):
            if self._changed is None:
                self._changed = asyncio.get_running_loop().create_future()
            # Several callers share the future, so a cancelled caller must not cancel it.
            await asyncio.shield(self._changed)

    def wake(self) -> None:
        """Wake the callers that await the column, so that they check its state again."""
        if self._changed is not None:
            if not self._changed.done():
                self._changed.set_result(None)
            self._changed = None

    def describe_open(self) -> str:
        """The number of cells that are not settled, by state; empty if there are none."""
        counts = {state: self.status.count(state) for state in CellState}
        return ", ".join(
            f"{count} {state.name.lower()}"
            for state, count in counts.items()
            if count and state not in SETTLED
        )

    def wake_if_stuck(self) -> None:
        """Wake the callers if only cells with transient failures are left."""
        if self.open == len(self.failed):
            self.wake()


def select_trusted_cells(
    states: Mapping[str, ColumnState], cells: JournalledCells, batch: Batch
) -> Iterator[tuple[ColumnState, int, Mapping[str, Any]]]:
    """Yield the cells from journals that can be reused; rows count from the start of the batch.

    A cell is trusted only if all cells that it was generated from are reused as well, or are
    recomputed to the same values. If a text is lost and must be generated again, a judge's score of
    the lost text must not be reused.
    """
    # Rows with trusted values, by column; None stands for all rows. Columns come after the columns
    # that they need. Columns that are computed again are as trustworthy as their inputs.
    trusted: dict[str, set[int] | None] = {}
    for name, state in states.items():
        sources = [trusted[producer] for producer in state.planned.producers]
        limited = [rows for rows in sources if rows is not None]
        trusted[name] = inputs = set[int].intersection(*limited) if limited else None
        if state.is_recorded:
            trusted[name] = mine = set[int]()
            for row, values in cells.get(state.planned.fingerprint, {}).items():
                index = row - batch.start
                if inputs is None or index in inputs:
                    mine.add(index)
                    if values:  # a skipped cell is skipped again
                        yield state, index, values
