"""Sets the generators of a batch to work on the cells that are ready.

Cells that ask a model queue there; computed cells run in chunks of what is ready; groups are
formed from what is ready when there is a place for one; whole columns come in one go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec

from dd_core.cells import CellState, ColumnState
from dd_core.column import CellColumn, GroupColumn, RowColumn, Values, WholeColumn
from dd_core.errors import DataDesignerError, DataDesignerGenerationError
from dd_core.journal import Journal
from dd_core.models.seat import Seat
from dd_core.processing import processed_draws
from dd_core.processor import ProcessorConfig

if TYPE_CHECKING:
    from dd_core.engine import Engine
    from dd_core.execute import BatchRun

_P = ParamSpec("_P")
_logger = logging.getLogger(__name__)

_CHUNK_ON_LOOP = 64  # smaller chunks cost less than handing them to a thread
_CELLS_A_TASK = 32  # cells that never wait for anything must not keep everybody else waiting
_SECONDS_ON_LOOP = 0.002  # whole columns that took less cost less than handing them to a thread


class Work:
    """The tasks of one batch."""

    def __init__(self, run: BatchRun, engine: Engine, journal: Journal | None) -> None:
        self._run = run
        self._engine = engine
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._quick: deque[tuple[ColumnState, WholeColumn]] = deque()
        """Whole columns that are to be computed on the loop."""
        self._began = time.monotonic()
        self._is_free = False
        """Whether the task that runs now has finished a cell and takes another."""
        self._next: tuple[ColumnState, int, Seat] | None = None
        """The cell that it takes."""

    def queue(self, state: ColumnState, row: int) -> None:
        """Generate a cell whose inputs are there, as soon as there is a place for it."""
        state.status[row] = CellState.QUEUED
        if isinstance(state.generator, RowColumn | GroupColumn):
            state.ready.append(row)
            if len(state.ready) == 1:
                asyncio.get_running_loop().call_soon(self._take_ready, state)
        elif state.model is None:
            self.start_cell(state, row, None)
        else:
            now = time.monotonic()
            state.times.inputs += now - self._began
            state.queued[row] = now, state.model.paused_until_now()
            state.model.enqueue(state.planned.rank, state, row)
            self._engine.pump_soon(state.model)

    def start_cell(self, state: ColumnState, row: int, seat: Seat | None) -> None:
        """Begin to generate one cell; `seat` holds a place for its first request."""
        if seat is None:
            self._spawn(self._cell(state, row, None))
            return
        queued, paused = state.queued.pop(row)
        cooldown = min(time.monotonic() - queued, seat.model.paused_until_now() - paused)
        state.times.cooldown += cooldown
        state.times.slot += time.monotonic() - queued - cooldown
        if self._is_free:
            self._is_free, self._next = False, (state, row, seat)
        else:
            self._begin(state, row, seat)

    def _begin(self, state: ColumnState, row: int, seat: Seat) -> None:
        task = self._spawn(self._cells(state, row, seat))
        # Also when the task is cancelled before its first step.
        task.add_done_callback(lambda _: seat.give_back())

    def generate_whole(self, state: ColumnState, generator: WholeColumn) -> None:
        """Begin to generate a column in one go."""
        if generator.seconds_a_row * self._run.batch.size >= _SECONDS_ON_LOOP:
            self._spawn(self._guarded(self._whole, state, generator))
            return
        self._quick.append((state, generator))
        if len(self._quick) == 1:
            asyncio.get_running_loop().call_soon(self._generate_quick)

    def process_draws(self, processors: Sequence[ProcessorConfig]) -> None:
        """Begin to let processors change the columns that were drawn."""
        self._spawn(self._guarded(self._process_draws, processors))

    def cancel(self) -> None:
        """Ask all work to end."""
        self._quick.clear()
        for task in self._tasks:
            task.cancel()

    async def end(self) -> None:
        """End all work."""
        tasks = [*self._tasks]
        self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cells(self, state: ColumnState, row: int, seat: Seat) -> None:
        """Generate a cell, and then those of this batch that get the place that it leaves.

        So the next request is sent before the other answers that have come meanwhile are read.
        """
        for _ in range(_CELLS_A_TASK):
            try:
                await self._cell(state, row, seat)
            finally:
                seat.give_back()
            following = self._taken_over(seat)
            if following is None:
                return
            state, row, seat = following
        self._begin(state, row, seat)

    def _taken_over(self, seat: Seat) -> tuple[ColumnState, int, Seat] | None:
        """The cell of this batch, if any, that gets the place that a finished one has left."""
        self._is_free, self._next = True, None
        seat.pass_on()
        self._is_free = False
        return self._next

    async def _cell(self, state: ColumnState, row: int, seat: Seat | None) -> None:
        generator = state.generator
        assert isinstance(generator, CellColumn)
        began = time.monotonic()
        try:
            with self._engine.open_cell():
                values = await generator.generate(self._run.inputs(state, row), seat)
        except Exception as error:
            self._run.cell_failed(state, row, error)
            return
        finally:
            state.times.cells += 1
            state.times.computing += time.monotonic() - began
        self._finished(state, row, values)

    def _take_ready(self, state: ColumnState) -> None:
        if isinstance(state.generator, GroupColumn):
            self._start_groups(state, state.generator)
            return
        rows, state.ready = state.ready, []
        rows = [row for row in rows if state.wanted(row)]
        self._spawn(self._guarded(self._compute, state, rows))

    async def _compute(self, state: ColumnState, rows: list[int]) -> None:
        generator = state.generator
        assert isinstance(generator, RowColumn)
        inputs = [self._run.inputs(state, row) for row in rows]
        if len(rows) <= _CHUNK_ON_LOOP:
            values = generator.generate(inputs)
        else:
            values = await self._engine.in_thread(generator.generate, inputs)
        for row, value in zip(rows, values, strict=True):
            if isinstance(value, Exception):
                self._run.cell_failed(state, row, value)
            elif state.wanted(row):
                self._run.complete(state, row, {state.name: value})

    def _start_groups(self, state: ColumnState, generator: GroupColumn) -> None:
        size = generator.group_size or len(state.status)
        while state.ready and state.groups < generator.max_parallel_groups:
            rows = [row for row in state.ready[:size] if state.wanted(row)]
            del state.ready[:size]
            if rows:
                state.groups += 1
                self._spawn(self._guarded(self._group, state, generator, rows))

    async def _group(self, state: ColumnState, generator: GroupColumn, rows: Sequence[int]) -> None:
        values: Sequence[Any]
        try:
            inputs = [self._run.inputs(state, row) for row in rows]
            values = await generator.generate(inputs)
            if len(values) != len(rows):
                raise DataDesignerGenerationError(
                    f"column {state.name!r} was given {len(rows)} rows and gave {len(values)}; "
                    "it must give one value a row"
                )
        except Exception as error:
            values = [error] * len(rows)
        finally:
            state.groups -= 1
        for row, value in zip(rows, values, strict=True):
            if isinstance(value, Exception):
                self._run.cell_failed(state, row, value)
            else:
                self._finished(state, row, value)
        self._start_groups(state, generator)

    def _generate_quick(self) -> None:
        """Generate quick columns one after another, for as long as nobody notices."""
        until = time.perf_counter() + _SECONDS_ON_LOOP
        while self._quick and time.perf_counter() < until:
            state, generator = self._quick[0]
            with self._fatal_failures():
                self._run.complete_whole(state, self._values_of(state, generator))
            if self._quick:  # nothing has stopped the run
                self._quick.popleft()
        if self._quick:
            asyncio.get_running_loop().call_soon(self._generate_quick)

    async def _whole(self, state: ColumnState, generator: WholeColumn) -> None:
        values = await self._engine.in_thread(self._values_of, state, generator)
        self._run.complete_whole(state, values)

    def _values_of(self, state: ColumnState, generator: WholeColumn) -> Values:
        batch = self._run.batch
        inputs = {name: self._run.values(name) for name in state.planned.reads}
        began = time.perf_counter()
        values = generator.generate(batch, inputs)
        generator.seconds_a_row = (time.perf_counter() - began) / batch.size
        return values

    async def _process_draws(self, processors: Sequence[ProcessorConfig]) -> None:
        columns = self._run.plan.columns.items()
        draws = {name: self._run.values(name) for name, each in columns if each.column.is_drawn}
        self._run.draws_processed(await self._engine.in_thread(processed_draws, processors, draws))

    def _finished(self, state: ColumnState, row: int, values: Any) -> None:
        """A value that took waiting or money is there."""
        if self._journal is not None:
            self._journal.add(state.planned.fingerprint, self._run.batch.start + row, values)
        if state.wanted(row):
            self._engine.errors.succeeded(state.name)
            self._run.complete(state, row, values)

    async def _guarded(
        self, work: Callable[_P, Coroutine[Any, Any, None]], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Engine work whose failure concerns the whole run, not a row."""
        with self._fatal_failures():
            await work(*args, **kwargs)

    @contextmanager
    def _fatal_failures(self) -> Generator[None]:
        """Let failures stop the run."""
        try:
            yield
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
