"""Starts generators on the cells that are ready.

Cells that ask a model wait in the model's queue. Computed cells run in chunks of what is ready.
Groups are formed from what is ready when a group may start. Whole columns are generated at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from dd_core.engine.cells import CellState, ColumnState
from dd_core.engine.context import RunContext, describe_failure
from dd_core.engine.processing import process_draws
from dd_core.engine.values import (
    BatchValues,
    admit_cell,
    admit_column,
    admit_row,
    require_count,
    to_exception,
)
from dd_core.errors import DataDesignerGenerationError
from dd_core.kinds.generators import CellColumn, GroupColumn, RowColumn, WholeColumn
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.models.admission.slot import RequestSlot
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch, NumberedRow
from dd_core.storage.journal import Journal

_logger = logging.getLogger(__name__)

_CHUNK_ON_LOOP = 64
"""Rows up to which computing on the event loop is cheaper than handing the chunk to a thread."""
_CELLS_PER_TASK = 32
"""Cells after which a task ends, so that cells that never wait do not starve everybody else."""
_SECONDS_TO_END = 10.0
"""Time for tasks to end once they are cancelled. A user's function may ignore the cancellation."""
_SECONDS_ON_LOOP = 0.002
"""Duration up to which a whole column is cheaper on the event loop than in a thread."""

DrawsProcessed = Callable[[Mapping[str, Values]], None]


class CellReport(Protocol):
    """What the dispatcher asks of the batch and tells it."""

    def inputs(self, state: ColumnState, row: int) -> NumberedRow:
        """The values that a cell's generator receives."""
        ...

    def complete(self, state: ColumnState, row: int, values: Mapping[str, Any]) -> None:
        """A cell and its side effects have their values."""
        ...

    def complete_whole(
        self, state: ColumnState, values: Values, refused: Mapping[int, Exception]
    ) -> None:
        """A column that is generated as a whole has its values, except in the refused rows."""
        ...

    def failed(self, state: ColumnState, row: int, error: Exception) -> None:
        """A cell could not be generated."""
        ...


class Dispatcher:
    """The tasks of one batch."""

    def __init__(
        self,
        batch: Batch,
        values: BatchValues,
        report: CellReport,
        context: RunContext,
        journal: Journal | None,
    ) -> None:
        self._batch = batch
        self._values = values
        self._report = report
        self._context = context
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cancelled = False
        """Whether the tasks were requested to end."""
        self._quick: deque[tuple[ColumnState, WholeColumn]] = deque()
        """Whole columns to compute on the event loop."""
        self._began = time.monotonic()
        self._accepts_next = False
        """Whether the running task has finished a cell and can take over the next one."""
        self._next: tuple[ColumnState, int, RequestSlot] | None = None
        """The cell that it takes over."""

    @property
    def is_idle(self) -> bool:
        """Whether no task is running."""
        return not self._tasks

    def queue(self, state: ColumnState, row: int) -> None:
        """Generate a cell whose inputs are available as soon as there is capacity for it."""
        state.status[row] = CellState.QUEUED
        if isinstance(state.generator, RowColumn | GroupColumn):
            state.ready.append(row)
            if len(state.ready) == 1:
                self._context.call_soon(self._start_ready, state)
        elif state.queue is None:
            self.start_cell(state, row, None)
        else:
            now = time.monotonic()
            state.timings.inputs += now - self._began
            state.queued[row] = now, state.queue.paused_until_now()
            state.queue.enqueue(state.planned.rank, state, row)
            self._context.pump_soon(state.queue)

    def start_cell(self, state: ColumnState, row: int, slot: RequestSlot | None) -> None:
        """Start generating one cell; `slot` holds capacity for its first request."""
        if slot is None:
            self._spawn(self._cell(state, row, None))
            return
        try:
            self._start_granted(state, row, slot)
        except BaseException as error:  # the queue's callback has no other owner
            if isinstance(error, KeyboardInterrupt):
                raise
            self._context.stop(describe_failure(error))
            slot.release()

    def _start_granted(self, state: ColumnState, row: int, slot: RequestSlot) -> None:
        slot.row = self._batch.start + row
        queued, paused = state.queued.pop(row)
        cooldown = min(time.monotonic() - queued, slot.queue.paused_until_now() - paused)
        state.timings.cooldown += cooldown
        state.timings.slot += time.monotonic() - queued - cooldown
        if self._accepts_next:
            self._accepts_next, self._next = False, (state, row, slot)
        else:
            self._start_chain(state, row, slot)

    def _start_chain(self, state: ColumnState, row: int, slot: RequestSlot) -> None:
        def release(_: object) -> None:
            with self._context.stop_on_failure():
                slot.release()

        # Runs even if the task is cancelled before its first step.
        self._spawn(self._cells(state, row, slot)).add_done_callback(release)

    def generate_whole(self, state: ColumnState, generator: WholeColumn) -> None:
        """Start generating a whole column."""
        if generator.seconds_per_row * self._batch.size >= _SECONDS_ON_LOOP:
            self._spawn(self._whole(state, generator))
            return
        self._quick.append((state, generator))
        if len(self._quick) == 1:
            self._context.call_soon(self._generate_quick)

    def process_draws(
        self,
        processors: Sequence[ProcessorConfig],
        draws: Mapping[str, Values],
        done: DrawsProcessed,
    ) -> None:
        """Run `before_batch` processors on the sampled and seeded columns, then call `done`."""
        self._spawn(self._process_draws(processors, draws, done))

    def cancel(self) -> None:
        """Request that all tasks end."""
        self._is_cancelled = True
        self._quick.clear()
        for task in self._tasks:
            task.cancel()

    async def end(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = [*self._tasks]
        self.cancel()
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=_SECONDS_TO_END)
            if running:
                _logger.warning("%d cells ignore that their batch has ended", len(running))

    async def _cells(self, state: ColumnState, row: int, slot: RequestSlot) -> None:
        """Generate a cell, then the cells of this batch that inherit its slot.

        The next request is sent before the other answers that have arrived meanwhile are read, so
        the server never idles while this process parses.
        """
        for _ in range(_CELLS_PER_TASK):
            try:
                await self._cell(state, row, slot)
            finally:
                slot.release()
            following = self._inherit(slot)
            if following is None:
                return
            state, row, slot = following
        self._start_chain(state, row, slot)

    def _inherit(self, slot: RequestSlot) -> tuple[ColumnState, int, RequestSlot] | None:
        """The cell of this batch, if any, that gets the slot of the one that just finished."""
        self._accepts_next, self._next = True, None
        slot.hand_off()
        self._accepts_next = False
        return self._next

    async def _cell(self, state: ColumnState, row: int, slot: RequestSlot | None) -> None:
        generator = state.generator
        assert isinstance(generator, CellColumn)
        began = time.monotonic()
        try:
            with self._context.open_cell():
                values = await generator.generate(self._report.inputs(state, row), slot)
        except BaseException as error:
            self._require_failure(error)
            self._report.failed(state, row, to_exception(error))
            return
        finally:
            state.timings.cells += 1
            state.timings.computing += time.monotonic() - began
        self._finish(state, row, values)

    def _start_ready(self, state: ColumnState) -> None:
        if isinstance(state.generator, GroupColumn):
            self._start_groups(state, state.generator)
            return
        rows, state.ready = state.ready, []
        rows = [row for row in rows if state.wanted(row)]
        self._spawn(self._compute(state, rows))

    async def _compute(self, state: ColumnState, rows: list[int]) -> None:
        generator = state.generator
        assert isinstance(generator, RowColumn)
        inputs = [self._report.inputs(state, row) for row in rows]
        with _name_column(state.name):
            if len(rows) <= _CHUNK_ON_LOOP:
                values = generator.generate(inputs)
            else:
                values = await self._context.run_in_thread(generator.generate, inputs)
        require_count(values, len(rows), state.name)
        has_effects, is_recorded = generator.has_side_effects, state.is_recorded
        for row, value in zip(rows, values, strict=True):
            if (is_recorded or has_effects) and not isinstance(value, Exception):
                self._finish(state, row, value if has_effects else {state.name: value})
                continue
            if not isinstance(value, Exception):
                value = admit_cell(value, state.name, self._batch.start + row)
            if isinstance(value, Exception):
                self._report.failed(state, row, value)
            elif state.wanted(row):
                self._report.complete(state, row, {state.name: value})

    def _start_groups(self, state: ColumnState, generator: GroupColumn) -> None:
        size = generator.group_size or len(state.status)
        while state.ready and state.groups < generator.max_parallel_groups:
            rows = [row for row in state.ready[:size] if state.wanted(row)]
            del state.ready[:size]
            if rows:
                state.groups += 1
                self._spawn(self._group(state, generator, rows))

    async def _group(self, state: ColumnState, generator: GroupColumn, rows: Sequence[int]) -> None:
        values: Sequence[Any]
        try:
            inputs = [self._report.inputs(state, row) for row in rows]
            values = await generator.generate(inputs)
            if len(values) != len(rows):
                raise DataDesignerGenerationError(
                    f"column {state.name!r} received {len(rows)} rows and returned {len(values)}; "
                    "it must return one value per row"
                )
        except BaseException as error:
            self._require_failure(error)
            values = [to_exception(error)] * len(rows)
        finally:
            state.groups -= 1
        for row, value in zip(rows, values, strict=True):
            if isinstance(value, Exception):
                self._report.failed(state, row, value)
            else:
                self._finish(state, row, value)
        self._start_groups(state, generator)

    def _generate_quick(self) -> None:
        """Generate quick columns one after another, within the time that nobody notices."""
        until = time.perf_counter() + _SECONDS_ON_LOOP
        while self._quick and time.perf_counter() < until:
            state, generator = self._quick[0]
            self._report.complete_whole(state, *self._generate(state, generator))
            if self._quick:  # empty if the run has been stopped
                self._quick.popleft()
        if self._quick:
            self._context.call_soon(self._generate_quick)

    async def _whole(self, state: ColumnState, generator: WholeColumn) -> None:
        generated = await self._context.run_in_thread(self._generate, state, generator)
        self._report.complete_whole(state, *generated)

    def _generate(
        self, state: ColumnState, generator: WholeColumn
    ) -> tuple[Values, Mapping[int, Exception]]:
        """The values of a whole column, and the rows whose value was refused."""
        inputs = {name: self._values.column(name) for name in state.planned.reads}
        began = time.perf_counter()
        with _name_column(state.name):
            values = generator.generate(self._batch, inputs)
        admitted = admit_column(values, state.name, self._batch)
        generator.seconds_per_row = (time.perf_counter() - began) / self._batch.size
        return admitted

    async def _process_draws(
        self,
        processors: Sequence[ProcessorConfig],
        draws: Mapping[str, Values],
        done: DrawsProcessed,
    ) -> None:
        done(await self._context.run_in_thread(process_draws, processors, draws))

    def _finish(self, state: ColumnState, row: int, returned: Any) -> None:
        """Admit and record what took waiting or money."""
        number = self._batch.start + row
        try:
            values = admit_row(returned, number)
            if self._journal is not None and state.is_recorded:
                self._journal.add(state.planned.fingerprint, number, values)
        except Exception as error:
            self._report.failed(state, row, to_exception(error))
            return
        if state.wanted(row):
            self._report.complete(state, row, values)

    def _require_failure(self, error: BaseException) -> None:
        """Pass on what is no failure of a cell: the end of the process, or of its task."""
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise error
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if self._is_cancelled or (task is not None and task.cancelling()):
                raise error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Own the failure of a task: what nobody turned into the failure of a cell ends the run."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._is_cancelled:
            return
        if task.cancelled():
            error = DataDesignerGenerationError(
                "a task of the run was cancelled by other code in this process"
            )
        if error is not None:
            self._context.stop(describe_failure(error))


@contextmanager
def _name_column(column: str) -> Generator[None]:
    """Name the column in the message of a failure that stops the run."""
    try:
        yield
    except Exception as error:
        failure = describe_failure(error)
        if type(failure) is not DataDesignerGenerationError or f"column {column!r}" in str(failure):
            raise
        hint = "; is a column missing from required_columns?" * isinstance(error, KeyError)
        raise DataDesignerGenerationError(f"column {column!r}: {failure}{hint}") from error
