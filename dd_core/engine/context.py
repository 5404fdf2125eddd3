"""What an engine lends to its batches: threads, the stop signal, error rates, timings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.declaration.user_code import run_contained
from dd_core.engine.accounting import ColumnTimings
from dd_core.engine.error_rates import ErrorRates
from dd_core.engine.watchdog import Watchdog, WatchedBatch
from dd_core.errors import (
    DataDesignerEarlyShutdownError,
    DataDesignerError,
    DataDesignerGenerationError,
    describe_error,
)
from dd_core.kinds.generators import Generator as ColumnGenerator
from dd_core.models.admission.request_queue import CellLimit, RequestQueue
from dd_core.storage.journal import TurnJournal
from dd_core.templates.template import RenderingMode

_logger = logging.getLogger(__name__)
_SECONDS_TO_FINISH = 60.0
"""Longest wait for the requests that are in flight when the storage becomes full."""
_SECONDS_BETWEEN_CHECKS = 0.05

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StoppableBatch(WatchedBatch, Protocol):
    """A running batch, as the context sees it."""

    def stop(self, reason: DataDesignerError) -> None:
        """Stop immediately and keep the rows that are complete."""
        ...


class RunContext:
    """State that all batches of a run share. The engine creates it; batches borrow it."""

    def __init__(self, plan: Plan, run_config: RunConfig) -> None:
        self.plan = plan
        self.rendering: RenderingMode = run_config.jinja_rendering_engine.value
        self.error_rates = ErrorRates(run_config)
        with_tools = (each for each in plan.columns.values() if each.column.get_tool_aliases())
        self.turns = TurnJournal({each.name: each.fingerprint for each in with_tools})
        self.generators: dict[str, ColumnGenerator] = {}
        """Each column's generator; filled when the models are ready."""
        self.queues: Sequence[RequestQueue] = ()
        """The models' queues; filled when the models are ready."""
        self.running: set[StoppableBatch] = set()
        """Batches that are running."""
        self.stopped_by: DataDesignerError | None = None
        self.on_stop: Callable[[], None] | None = None
        """Called once when the run is stopped."""
        self.watchdog = Watchdog(self.running, self.stop)
        self._max_cells = run_config.max_in_flight_tasks
        self.cell_limit = CellLimit(self._max_cells)
        self.lost_cells = 0
        """Finished cells that could not be stored."""
        self._holds = 0
        self._end: asyncio.TimerHandle | None = None
        """Checks whether the requests in flight have ended, if the run waits for that."""
        self.timings: dict[str, ColumnTimings] = {}
        self._threads = ThreadPoolExecutor(
            run_config.non_inference_max_parallel_workers, thread_name_prefix="dd-compute"
        )
        self._queues_to_pump: set[RequestQueue] = set()

    async def run_in_thread(
        self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run work that sends no requests in the run's thread pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, run_contained, lambda: function(*args, **kwargs)
        )

    def submit(self, function: Callable[[], None]) -> None:
        """Start work in the thread pool without waiting for it."""
        self._threads.submit(function)

    def close(self) -> None:
        """Close the thread pool and stop watching."""
        self.watchdog.end()
        if self._end is not None:
            self._end.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def call_soon(self, function: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Call a function in the next iteration of the event loop; if it fails, the run stops."""

        def call() -> None:
            with self.stop_on_failure():
                function(*args, **kwargs)

        asyncio.get_running_loop().call_soon(call)

    def pump_soon(self, queue: RequestQueue) -> None:
        """Let a model start cells once all cells that are ready now are queued."""
        if not self._queues_to_pump:
            self.call_soon(self._pump)
        self._queues_to_pump.add(queue)

    def _pump(self) -> None:
        queues, self._queues_to_pump = self._queues_to_pump, set()
        for queue in queues:
            queue.pump()

    @contextmanager
    def open_cell(self) -> Generator[None]:
        """Count a running cell, and let others start if the limit had been reached."""
        limit = self.cell_limit
        limit.count += 1
        try:
            yield
        finally:
            was_full = limit.count >= limit.maximum
            limit.count -= 1
            if was_full:
                for queue in self.queues:
                    self.pump_soon(queue)

    def count_failure(self, column: str, error: Exception, shown_name: str) -> None:
        """Count a cell that failed permanently; too many of them stop the run."""
        self.error_rates.count_failure(column, error)
        reason = self.error_rates.stop_reason(column, shown_name)
        if reason is not None:
            self.stop(DataDesignerEarlyShutdownError(reason))

    @property
    def is_held(self) -> bool:
        """Whether no further cells may start."""
        return self._holds > 0

    def hold(self, is_held: bool) -> None:
        """Let no cell ask a model until this was called with False as often as with True."""
        self._holds += 1 if is_held else -1
        self.cell_limit.maximum = 0 if self._holds else self._max_cells
        if not self._holds:
            for queue in self.queues:
                self.pump_soon(queue)

    @property
    def is_stopping(self) -> bool:
        """Whether the run has been stopped, or will be when the requests in flight have ended."""
        return self.stopped_by is not None or self._end is not None

    def stop_when_idle(self, reason: DataDesignerError) -> None:
        """Start no further cells, wait for those that ask a model now, then stop."""
        if self._end is None and self.stopped_by is None:
            self.hold(True)
            self._stop_if_idle(reason, asyncio.get_running_loop().time() + _SECONDS_TO_FINISH)

    def _stop_if_idle(self, reason: DataDesignerError, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        if self.cell_limit.count and loop.time() < deadline:
            self._end = loop.call_later(
                _SECONDS_BETWEEN_CHECKS, self._stop_if_idle, reason, deadline
            )
        else:
            self.stop(reason)

    def stop(self, reason: DataDesignerError) -> None:
        """Stop all batches immediately; complete rows and finished cells are kept.

        The first reason counts. Later calls stop batches that are still running.
        """
        stops = [partial(batch.stop, self.stopped_by or reason) for batch in self.running]
        if self.stopped_by is None:
            self.stopped_by = reason
            if self.on_stop is not None:
                stops.insert(0, partial(self.on_stop))
        for stop in stops:
            try:
                stop()
            except Exception:  # nothing may keep the other batches from being stopped
                _logger.exception("stopping failed")

    @contextmanager
    def stop_on_failure(self) -> Generator[None]:
        """Stop the run if the block fails, because it runs in a callback that nobody awaits."""
        try:
            yield
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            self.stop(describe_failure(error))

    def add_timings(self, timings: Mapping[str, ColumnTimings]) -> None:
        """Add what the cells of a batch spent their time on."""
        for column, each in timings.items():
            self.timings.setdefault(column, ColumnTimings()).add(each)


def describe_failure(error: BaseException) -> DataDesignerError:
    """Return the error itself, or an error of this package that says what failed."""
    if isinstance(error, DataDesignerError):
        return error
    _logger.error("generation failed", exc_info=error)
    failure = DataDesignerGenerationError(describe_error(error))
    failure.__cause__ = error
    return failure
