"""Runs one batch: every cell starts as soon as its own row's inputs are there.

A finished cell wakes the cells of its row that waited for it. Cells that ask a model queue there,
computed cells run in chunks of what is ready, whole columns when their inputs are complete.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from dd_core.cells import CellState, ColumnState, trusted_cells
from dd_core.column import Batch, CellColumn, RowColumn, Values, WholeColumn
from dd_core.errors import ColumnIncompleteError, DataDesignerError, DataDesignerGenerationError
from dd_core.journal import Journal, JournalledCells
from dd_core.models.model import Seat
from dd_core.values import BatchValues

if TYPE_CHECKING:
    from dd_core.engine import Engine

_logger = logging.getLogger(__name__)

_CHUNK_ON_LOOP = 64  # smaller chunks cost less than handing them to a thread


class BatchRun:
    """One batch at work: `start` it, await its columns, then take what they made."""

    def __init__(self, engine: Engine, batch: Batch, journal: Journal | None = None) -> None:
        self.batch = batch
        self.plan = engine.plan
        self.stopped_by: DataDesignerError | None = None
        self.states: dict[str, ColumnState] = {
            name: ColumnState(planned, engine.generators[name], batch.size, self._start_cell)
            for name, planned in engine.plan.columns.items()
        }
        """All columns, each after those that it needs."""
        self._engine = engine
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._values = BatchValues(batch.size)
        for state in self.states.values():
            state.connect(self.states)
            if not isinstance(state.generator, WholeColumn):
                self._values.expect(state.planned.outputs)

    def restore(self, cells: JournalledCells) -> None:
        """Take over finished cells, by column fingerprint and row of the dataset."""
        for state, row, values in trusted_cells(self.states, cells, self.batch):
            self._store(state, row, values)
            state.restored += 1

    def start(self) -> None:
        """Set all columns to work."""
        self._engine.active.add(self)
        for state in self.states.values():
            state.announce()
        for state in self.states.values():
            for row in range(self.batch.size) if state.restored else ():
                if state.status[row] == CellState.DONE:
                    self._wake_row(state, row)
        for state in self.states.values():
            if not state.planned.producers:
                self._columns_complete(state)
            if state.open == 0:
                self._finished(state)

    async def column(self, name: str) -> None:
        """Await one column. Called again after a failure, it tries the failed cells again.

        Raises `ColumnIncompleteError` when the cells that are left failed in a way that a later
        try may mend, and whatever stopped the batch when that cut the column short.
        """
        state = self.states[name]
        for row in state.take_failed():
            state.status[row] = CellState.WAITING
            self._queue(state, row)
        await state.settled()
        if self.stopped_by is not None and state.cut:
            raise self.stopped_by
        if state.failed:
            example = next(iter(state.failed.values()))
            raise ColumnIncompleteError(
                f"{len(state.failed)} cells of column {name!r} failed for now, for example: "
                f"{example}"
            )

    def give_up(self, name: str) -> None:
        """Drop the rows whose cells of this column still fail."""
        state = self.states[name]
        for row, error in state.take_failed().items():
            self._drop(state, row, error)

    def stop(self, reason: DataDesignerError) -> None:
        """Stop at once and keep the rows that are complete."""
        if self.stopped_by is not None:
            return
        self.stopped_by = reason
        for state in self.states.values():
            state.cut = state.open > 0
        for row in range(self.batch.size):
            self._abandon(row)
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End all work; the journal stays."""
        self._engine.active.discard(self)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for row in range(self.batch.size):
            self._abandon(row)
        if self._journal is not None:
            self._journal.close()

    def discard_journal(self) -> None:
        """Forget the finished cells on disk, because they are in a part now."""
        if self._journal is not None:
            self._journal.remove()

    def values(self, name: str) -> Values:
        """Values of a column or side effect over all rows of the batch."""
        return self._values.column(name)

    def surviving_rows(self) -> list[int]:
        """Rows, counted from the batch's start, that are complete in every column."""
        kept = (CellState.DONE, CellState.SKIPPED)
        cut = [state.status for state in self.states.values() if state.done + state.skipped
               < self.batch.size]  # fmt: skip
        return [row for row in range(self.batch.size) if all(s[row] in kept for s in cut)]

    def _columns_complete(self, state: ColumnState) -> None:
        """Every column that this one needs as a whole is there."""
        if self.stopped_by is not None:
            return
        if isinstance(state.generator, WholeColumn):
            self._spawn(self._guarded(self._generate_whole(state, state.generator)))
            return
        for row in range(self.batch.size):
            if state.missing[row] == 0:
                self._admit(state, row)

    def _wake_row(self, state: ColumnState, row: int) -> None:
        """A cell has its value: cells of its row may have waited for it."""
        for child in state.row_children:
            child.missing[row] -= 1
            if child.missing[row] == 0 and child.incomplete == 0:
                self._admit(child, row)

    def _admit(self, state: ColumnState, row: int) -> None:
        """All inputs of a cell are there: skip it or queue it."""
        if state.status[row] != CellState.WAITING:
            return
        if state.may_skip and state.skips(row, self._values):
            skip = state.planned.column.skip
            value = skip.value if skip is not None else None
            self._complete(state, row, {state.name: value}, CellState.SKIPPED)
        else:
            self._queue(state, row)

    def _queue(self, state: ColumnState, row: int) -> None:
        state.status[row] = CellState.QUEUED
        if isinstance(state.generator, RowColumn):
            state.ready.append(row)
            if len(state.ready) == 1:
                asyncio.get_running_loop().call_soon(self._compute_ready, state)
        elif state.model is None:
            self._start_cell(state, row, None)
        else:
            state.model.enqueue(state.planned.rank, state, row)
            self._engine.pump_soon(state.model)

    def _start_cell(self, state: ColumnState, row: int, seat: Seat | None) -> None:
        task = self._spawn(self._cell(state, row, seat))
        if seat is not None:
            # Also when the task is cancelled before its first step.
            task.add_done_callback(lambda _: seat.give_back())

    async def _cell(self, state: ColumnState, row: int, seat: Seat | None) -> None:
        generator = state.generator
        assert isinstance(generator, CellColumn)
        try:
            with self._engine.open_cell():
                values = await generator.generate(self._values.row(state.planned.reads, row), seat)
        except Exception as error:
            self._cell_failed(state, row, error)
            return
        if self._journal is not None:
            self._journal.add(state.planned.fingerprint, self.batch.start + row, values)
        if state.wanted(row):
            self._engine.errors.succeeded(state.name)
            self._complete(state, row, values)

    def _compute_ready(self, state: ColumnState) -> None:
        rows, state.ready = state.ready, []
        rows = [row for row in rows if state.wanted(row)]
        self._spawn(self._guarded(self._compute(state, rows)))

    async def _compute(self, state: ColumnState, rows: list[int]) -> None:
        generator = state.generator
        assert isinstance(generator, RowColumn)
        inputs = [self._values.row(state.planned.reads, row) for row in rows]
        if len(rows) <= _CHUNK_ON_LOOP:
            values = generator.generate(inputs)
        else:
            values = await self._engine.in_thread(generator.generate, inputs)
        for row, value in zip(rows, values, strict=True):
            if isinstance(value, Exception):
                self._cell_failed(state, row, value)
            elif state.wanted(row):
                self._complete(state, row, {state.name: value})

    async def _generate_whole(self, state: ColumnState, generator: WholeColumn) -> None:
        inputs = {name: self.values(name) for name in state.planned.reads}
        values = await self._engine.in_thread(generator.generate, self.batch, inputs)
        self._values.put_column(state.name, values)
        state.settle_all()
        self._finished(state)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Engine work whose failure concerns the whole run, not a row."""
        try:
            await work
        except DataDesignerError as error:
            self._engine.stop(error)
        except Exception as error:
            _logger.exception("generating failed")
            self._engine.stop(DataDesignerGenerationError(f"{type(error).__name__}: {error}"))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _complete(
        self,
        state: ColumnState,
        row: int,
        values: Mapping[str, Any],
        status: CellState = CellState.DONE,
    ) -> None:
        self._store(state, row, values, status)
        self._wake_row(state, row)
        if state.open == 0:
            self._finished(state)
        else:
            state.wake_if_stuck()

    def _finished(self, state: ColumnState) -> None:
        if state.is_finished:
            return
        state.is_finished = True
        state.wake()
        for child in state.column_children:
            child.incomplete -= 1
            if child.incomplete == 0:
                self._columns_complete(child)

    def _cell_failed(self, state: ColumnState, row: int, error: Exception) -> None:
        if not state.wanted(row):
            return
        if isinstance(error, DataDesignerError) and error.fatal:
            self._engine.stop(error)
        elif isinstance(error, DataDesignerError) and error.retryable:
            state.fail_for_now(row, error)
        else:
            self._drop(state, row, error)

    def _drop(self, state: ColumnState, row: int, error: Exception) -> None:
        """The row cannot be completed: all its unfinished cells go."""
        state.failures[row] = error
        self._abandon(row)
        self._engine.cell_failed(state.name, error)

    def _abandon(self, row: int) -> None:
        for state in self.states.values():
            if state.drop(row):
                if state.open == 0:
                    self._finished(state)
                else:
                    state.wake_if_stuck()

    def _store(
        self,
        state: ColumnState,
        row: int,
        values: Mapping[str, Any],
        status: CellState = CellState.DONE,
    ) -> None:
        self._values.put(state.planned.outputs, row, values)
        state.settle(row, status)
