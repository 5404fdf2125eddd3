"""Runs one batch: each cell starts as soon as its inputs in the same row are available.

A finished cell wakes the cells of its row that waited for it. `dispatch.py` starts generators on
the cells that are ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from dd_core.engine.cells import SETTLED, CellState, ColumnState, select_trusted_cells
from dd_core.engine.context import RunContext
from dd_core.engine.dispatch import Dispatcher
from dd_core.engine.outcome import BatchOutcome, select_accepted
from dd_core.engine.values import BatchValues
from dd_core.errors import ColumnIncompleteError, DataDesignerError
from dd_core.kinds.generators import WholeColumn
from dd_core.kinds.processors.processor import select_stage
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch, DroppedRow, NumberedRow
from dd_core.storage.journal import Journal, JournalledCells


class BatchRun:
    """A running batch: `start` it, await its columns, then read its `outcome`."""

    def __init__(self, context: RunContext, batch: Batch, journal: Journal | None = None) -> None:
        self.batch = batch
        self.plan = plan = context.plan
        self.stopped_by: DataDesignerError | None = None
        self._context = context
        self._journal = journal
        if journal is not None:
            journal.on_failure = context.stop
            journal.on_last_space = context.stop_when_idle
            journal.on_hold = context.hold
        self._values = BatchValues(batch, plan.seed, plan.find_keys(batch))
        self._dispatcher = Dispatcher(batch, self._values, self, context, journal)
        start = self._dispatcher.start_cell
        self.states: dict[str, ColumnState] = {
            name: ColumnState(planned, context.generators[name], batch.size, start)
            for name, planned in plan.columns.items()
        }
        """All columns by name, each after the columns that it needs."""
        self._early = select_stage(plan.config.processors, "before_batch")
        """Processors that change the sampled and seeded columns before other columns read them."""
        self._undrawn = {name for name, each in plan.columns.items() if each.column.is_drawn}
        """Sampled and seeded columns that have no values yet."""
        for state in self.states.values():
            state.connect(self.states)
            if not isinstance(state.generator, WholeColumn):
                self._values.expect(state.planned.outputs)

    def restore(self, cells: JournalledCells) -> None:
        """Take over finished cells, given by column fingerprint and row of the dataset."""
        for state, row, values in select_trusted_cells(self.states, cells, self.batch):
            self._store(state, row, values)
            state.restored += 1
            self._context.error_rates.count_success(state.name)
        self._context.turns.restore(cells)

    def start(self) -> None:
        """Start all columns."""
        self._context.running.add(self)
        self._context.turns.attach(self.batch, self._journal)
        if self._journal is not None and any(each.is_recorded for each in self.states.values()):
            self._journal.open()
        if self._context.stopped_by is not None:  # between the decision to start and this step
            self.stop(self._context.stopped_by)
            return
        self._context.watchdog.start()
        # Models must know how many cells to expect before the first cell is queued, because the
        # order in which they start cells depends on it.
        for state in self.states.values():
            state.announce()
        for state in self.states.values():
            for row in range(self.batch.size) if state.restored else ():
                if state.status[row] == CellState.DONE:
                    self._wake_row(state, row)
        self._columns_complete([s for s in self.states.values() if not s.planned.producers])
        for state in self.states.values():
            if state.open == 0:
                self._finished(state)

    async def column(self, name: str) -> None:
        """Await one column. If it is called again after it raised, it retries the failed cells.

        Raises `ColumnIncompleteError` if only cells with transient failures are left, and the
        reason of the stop if the batch was stopped before the column was finished.
        """
        state = self.states[name]
        # Cells may fail before the column is awaited. Only failures that have been raised are
        # retried; the caller decides how often, and waits in between.
        if state.is_reported:
            state.is_reported = False
            for row in state.take_failed():
                state.status[row] = CellState.WAITING
                self._dispatcher.queue(state, row)
        await state.settled()
        if self.stopped_by is not None and state.was_interrupted:
            raise self.stopped_by
        if state.failed:
            state.is_reported = True
            example = next(iter(state.failed.values()))
            raise ColumnIncompleteError(
                f"{len(state.failed)} cells of column {name!r} have transient failures, "
                f"for example: {example}"
            )

    def give_up(self, name: str) -> None:
        """Drop the rows whose cells in this column still fail."""
        state = self.states[name]
        for row, error in state.take_failed().items():
            self._drop(state, row, error)

    def stop(self, reason: DataDesignerError) -> None:
        """Stop immediately and keep the rows that are complete."""
        if self.stopped_by is not None:
            return
        self.stopped_by = reason
        for state in self.states.values():
            state.was_interrupted = not state.is_finished
        self._dispatcher.cancel()
        try:
            for row in range(self.batch.size):
                self._abandon(row)
        finally:  # whatever fails here, nobody may wait for this batch any longer
            for state in self.states.values():
                state.is_finished = True
                state.wake()

    async def close(self) -> None:
        """End all tasks and close the journal, which stays in storage."""
        self._context.running.discard(self)
        self._context.turns.detach(self.batch)
        async with AsyncExitStack() as steps:  # each is done whatever becomes of the others
            steps.push_async_callback(self._close_journal)
            steps.push_async_callback(self._dispatcher.end)
            self.save()
            if any(state.open for state in self.states.values()):
                # Before the tasks end: a task that ends hands its slot to a cell that is still
                # wanted.
                for row in range(self.batch.size):
                    self._abandon(row)
        states = self.states.values()
        self._context.add_timings({s.name: s.timings for s in states if s.timings.cells})

    async def _close_journal(self) -> None:
        if self._journal is None:
            return
        try:
            if self._journal.is_remote:  # in a thread, because other batches are running
                self._journal.flush()
                await asyncio.to_thread(self._journal.close)
        finally:
            self._journal.close()
            self._context.lost_cells += self._journal.lost

    def save(self) -> None:
        """Write finished cells to the journal immediately."""
        if self._journal is not None:
            self._journal.flush()

    @property
    def has_journal(self) -> bool:
        """Whether this attempt has recorded finished cells in a journal."""
        return self._journal is not None and self._journal.has_lines

    def discard_journal(self) -> None:
        """Delete the journal, because the cells are in a part now."""
        if self._journal is not None:
            self._journal.remove()

    @property
    def open_cells(self) -> int:
        """Cells that are not settled, and columns that nobody was told are finished."""
        return sum(state.open + (not state.is_finished) for state in self.states.values())

    @property
    def may_continue(self) -> bool:
        """Whether a task is running, or somebody is about to retry failed cells."""
        if not self._dispatcher.is_idle or self._context.is_held:
            return True
        # Failed cells are retried when only such cells of their column are left.
        return any(0 < state.open == len(state.failed) for state in self.states.values())

    def wake(self) -> None:
        """Let everybody who waits for a column check its state again."""
        for state in self.states.values():
            if state.open == 0:
                self._finished(state)
            state.wake()

    def describe_open(self) -> str:
        """The cells that are open, by column and state."""
        found = {name: state.describe_open() for name, state in self.states.items()}
        return f"batch {self.batch.index}: " + "; ".join(
            f"column {name!r} has {cells} cells" for name, cells in found.items() if cells
        )

    def release(self) -> None:
        """Free the memory of the rows, which are in a part now.

        Column states refer to each other, so they would otherwise wait for the garbage collector,
        which runs rarely.
        """
        for state in self.states.values():
            state.disconnect()
        self.states.clear()
        self._values.clear()

    def inputs(self, state: ColumnState, row: int) -> NumberedRow:
        """The values that a cell's generator receives."""
        # Hidden columns of one column make the same random choices in their prompts.
        return self._values.row(state.planned.reads, row, state.planned.owner)

    def values(self, name: str) -> Values:
        """The values of a column or side effect for all rows of the batch."""
        return self._values.column(name)

    def outcome(self) -> BatchOutcome:
        """The result of the batch: values, finished rows and dropped rows."""
        rows, rejected = select_accepted(self.surviving_rows(), self._values, self.batch)
        return BatchOutcome(
            batch=self.batch,
            rows=rows,
            values=self._values,
            dropped_rows=self.dropped_rows(),
            is_complete=self.stopped_by is None,
            rejected=rejected,
        )

    def dropped_rows(self) -> tuple[DroppedRow, ...]:
        """Rows that failed permanently, and why."""
        return tuple(
            DroppedRow.of(self.batch.start + row, state.shown_name, error)
            for state in self.states.values()
            for row, error in sorted(state.failures.items())
        )

    def surviving_rows(self) -> Sequence[int]:
        """Rows, counted from the start of the batch, that are complete in every column."""
        kept = (CellState.DONE, CellState.SKIPPED)
        rows = range(self.batch.size)
        # Usually every column is complete, and no row has to be looked at.
        incomplete = [
            state.status
            for state in self.states.values()
            if state.done + state.skipped < self.batch.size
        ]
        if not incomplete:
            return rows
        return [row for row in rows if all(status[row] in kept for status in incomplete)]

    def _columns_complete(self, states: Iterable[ColumnState]) -> None:
        """Start columns once every column that they need as a whole is complete."""
        if self.stopped_by is not None:
            return
        by_row: list[ColumnState] = []
        for state in states:
            if isinstance(state.generator, WholeColumn):
                self._dispatcher.generate_whole(state, state.generator)
            else:
                by_row.append(state)
        # Row by row: cells that need several of these columns, such as a comparison of candidates,
        # can then start long before the last row is done.
        for row in range(self.batch.size) if by_row else ():
            for state in by_row:
                if state.missing[row] == 0:
                    self._admit(state, row)

    def _wake_row(self, state: ColumnState, row: int) -> None:
        """Admit the cells of the same row that waited only for this one."""
        for child in state.row_children:
            child.missing[row] -= 1
            if child.missing[row] == 0 and child.incomplete == 0:
                self._admit(child, row)

    def _admit(self, state: ColumnState, row: int) -> None:
        """Skip or queue a cell whose inputs are all available."""
        if state.status[row] != CellState.WAITING:
            return
        if state.may_skip and state.skips(row, self._values):
            skip = state.planned.column.skip
            value = skip.value if skip is not None else None
            self.complete(state, row, {state.name: value}, CellState.SKIPPED)
            if self._journal is not None and state.is_recorded:
                self._journal.add(state.planned.fingerprint, self.batch.start + row, {})
        else:
            self._dispatcher.queue(state, row)

    def complete(
        self,
        state: ColumnState,
        row: int,
        values: Mapping[str, Any],
        status: CellState = CellState.DONE,
    ) -> None:
        """Store a cell's value and side effects, and wake the cells that wait for them."""
        self._store(state, row, values, status)
        if status == CellState.DONE:
            self._context.error_rates.count_success(state.name)
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
        # With `before_batch` processors, drawn columns were released to each other when they were
        # drawn; only the other columns had to wait for the processed values.
        early = bool(self._early) and state.planned.column.is_drawn
        self._release(
            child
            for child in state.column_children
            if not (early and child.planned.column.is_drawn)
        )

    def _release(self, children: Iterable[ColumnState]) -> None:
        """Count a column as complete for the columns that need it as a whole."""
        complete: list[ColumnState] = []
        for child in children:
            child.incomplete -= 1
            if child.incomplete == 0:
                complete.append(child)
        self._columns_complete(complete)

    def complete_whole(
        self, state: ColumnState, values: Values, refused: Mapping[int, Exception]
    ) -> None:
        """Store a column that was generated as a whole, and drop the refused rows."""
        self._values.put_column(state.name, values)
        self._context.error_rates.count_success(state.name, state.open - len(refused))
        for row, error in refused.items():
            if state.status[row] not in SETTLED:
                self._drop(state, row, error)
        if not (self._early and state.planned.column.is_drawn):
            state.settle_all()
            self._finished(state)
            return
        # Processors change all drawn columns together. Until then, only drawn columns may read this
        # one, because a sampler may depend on another.
        self._undrawn.discard(state.name)
        self._release(child for child in state.column_children if child.planned.column.is_drawn)
        if not self._undrawn:
            columns = self.plan.columns.items()
            drawn = [name for name, planned in columns if planned.column.is_drawn]
            draws = {name: self._values.column(name) for name in drawn}
            self._dispatcher.process_draws(self._early, draws, self._draws_processed)

    def _draws_processed(self, draws: Mapping[str, Values]) -> None:
        """Store the processed values of all drawn columns."""
        for name, values in draws.items():
            self._values.put_column(name, values)
            self.states[name].settle_all()
        for name in draws:
            self._finished(self.states[name])

    def failed(self, state: ColumnState, row: int, error: Exception) -> None:
        """Keep the cell for a retry, drop its row, or stop the run, depending on the error."""
        if not state.wanted(row):
            return
        if isinstance(error, DataDesignerError) and error.fatal:
            self._context.stop(error)
        elif isinstance(error, DataDesignerError) and error.retryable:
            state.fail_for_now(row, error)
        else:
            self._drop(state, row, error)

    def _drop(self, state: ColumnState, row: int, error: Exception) -> None:
        """Drop a row that cannot be completed and count the failure."""
        state.failures[row] = error
        self._abandon(row)
        self._context.count_failure(state.name, error, state.shown_name)

    def _abandon(self, row: int) -> None:
        """Drop the unfinished cells of a row."""
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
