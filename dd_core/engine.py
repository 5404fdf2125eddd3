"""What the batches of a run share: models, threads, the error rate, and the way to stop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx

from dd_core import column as kinds
from dd_core.arrow import load_libraries
from dd_core.column import Batch
from dd_core.elsewhere import Elsewhere
from dd_core.errors import DataDesignerEarlyShutdownError, DataDesignerError
from dd_core.execute import BatchRun
from dd_core.garbage import OlderObjects
from dd_core.handover import added
from dd_core.journal import Journal
from dd_core.models.model import Model
from dd_core.models.places import OpenCells
from dd_core.models.providers import Providers
from dd_core.models.registry import Models
from dd_core.models.spending import Spending, UsageByColumn
from dd_core.models.usage import UsageCount
from dd_core.plan import Plan
from dd_core.run_config import RunConfig
from dd_core.storage import DatasetDirectory, Part
from dd_core.times import ColumnTimes

_P = ParamSpec("_P")
_T = TypeVar("_T")
_RECENTLY = 600.0
"""Seconds for which an answer shows that a model is ready."""


class Engine:
    """The running side of a plan. Use as an async context manager.

    `directory` is the dataset's; None in a preview, which leaves nothing on disk. What earlier
    runs of the dataset took counts in the budget.
    """

    def __init__(
        self,
        plan: Plan,
        providers: Providers,
        run_config: RunConfig,
        transport: httpx.AsyncBaseTransport | None = None,
        directory: DatasetDirectory | None = None,
    ) -> None:
        self.plan = plan
        self.earlier_usage: UsageByColumn = (
            deepcopy(directory.metadata.get("usage", {})) if directory else {}
        )
        self.elsewhere = Elsewhere()
        """What other processes that generate batches of this run have taken."""
        self.folder = directory.path if directory else None
        self.run_config = run_config
        self.open_cells = OpenCells(run_config.max_in_flight_tasks)
        self._answered_at: dict[str, float] = (
            dict(directory.metadata.get("answered_at", {})) if directory else {}
        )
        self.spending = Spending(run_config.budget, self.stop)
        self.models = Models(
            plan.models, providers, run_config, self.open_cells, transport, self.spending
        )
        prices = {model.alias: model.price for model in plan.models}
        self.spending.add_earlier(self.earlier_usage, prices)
        self.errors = ErrorRates(run_config)
        self.generators: dict[str, kinds.Generator] = {}
        self.active: set[BatchRun] = set()
        """Batches at work."""
        self.stopped_by: DataDesignerError | None = None
        self.note_progress_at = 0.0
        """When the metadata is to say again what is on disk; the monotonic clock."""
        self._times: dict[str, ColumnTimes] = {}
        self._check: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(
            run_config.non_inference_max_parallel_workers, thread_name_prefix="dd-compute"
        )
        # In a folder one thread writes: what each thread takes for it, it keeps.
        writers = 1 if isinstance(self.folder, Path) else run_config.max_concurrent_row_groups
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="dd-write")
        self._to_pump: set[Model] = set()
        self._older_objects = OlderObjects()

    async def __aenter__(self) -> Engine:
        await self.models.__aenter__()
        self.generators = self.plan.bind(self.models, self.run_config, self.folder)
        self._older_objects.leave_alone()
        self._threads.submit(self._load)  # while the models are asked whether they are there
        return self

    def _load(self) -> None:
        load_libraries()
        self._older_objects.leave_alone()

    async def end_batches(self) -> None:
        """End all work of batches that is still going on."""
        for run in self.active:
            run.save()
        for run in [*self.active]:
            await run.close()

    async def __aexit__(self, *exc: object) -> None:
        self._older_objects.take_back()
        await self.end_batches()
        for pool in (self._threads, self._writers):
            pool.shutdown(wait=False, cancel_futures=True)
        await self.models.__aexit__(*exc)

    async def check_models(self) -> None:
        """Ask every model one question; raises what is wrong, an empty budget included.

        Where requests have a budget, none is spent on this: the first cells are the check. Nor is
        a model asked that answered an earlier run of the dataset some minutes ago.
        """
        if self.run_config.budget is not None and self.run_config.budget.requests is not None:
            return
        recent = time.time() - _RECENTLY
        known = {alias for alias, when in self._answered_at.items() if when > recent}
        self._check = asyncio.create_task(self.models.check(known=known))
        try:
            await self._check
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
            raise self.stopped_by from None

    def batch_run(self, batch: Batch, journal: Journal | None = None) -> BatchRun:
        """A batch of this run, ready to be started."""
        return BatchRun(self, batch, journal)

    async def in_thread(
        self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run work that asks no model in the run's thread pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    async def write_part(self, directory: DatasetDirectory, run: BatchRun) -> Part:
        """Write a batch that is done, beside other work."""
        preserve = self.run_config.preserve_dropped_columns
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._writers, lambda: directory.write_part(run, preserve_dropped=preserve)
        )

    def pump_soon(self, model: Model) -> None:
        """Let the model start cells once those that are ready now are all queued."""
        if not self._to_pump:
            asyncio.get_running_loop().call_soon(self._pump)
        self._to_pump.add(model)

    def _pump(self) -> None:
        models, self._to_pump = self._to_pump, set()
        for model in models:
            model.pump()

    @contextmanager
    def open_cell(self) -> Generator[None]:
        """Count a cell at work, and let others start when there were too many."""
        self.open_cells.count += 1
        try:
            yield
        finally:
            was_full = self.open_cells.count >= self.open_cells.maximum
            self.open_cells.count -= 1
            if was_full:
                for model in self.models.values():
                    self.pump_soon(model)

    def cell_failed(self, column: str, error: Exception) -> None:
        """Count a cell that failed for good; too many of them stop the run."""
        self.errors.failed(column, error)
        complaint = self.errors.complaint(column)
        if complaint is not None:
            self.stop(DataDesignerEarlyShutdownError(complaint))

    def stop(self, reason: DataDesignerError) -> None:
        """Stop every batch at once; complete rows and finished cells are kept."""
        if self.stopped_by is None:
            self.stopped_by = reason
            if self._check is not None:
                self._check.cancel()
            for run in [*self.active]:
                run.stop(reason)

    def add_times(self, times: Mapping[str, ColumnTimes]) -> None:
        """Add what the cells of a batch were doing."""
        for column, each in times.items():
            self._times.setdefault(column, ColumnTimes()).add(each)

    def times(self) -> dict[str, ColumnTimes]:
        """What the cells of each column that asks a model were doing, so far."""
        found: dict[str, ColumnTimes] = {}
        for column, times in self._times.items():
            counts = [
                model.usage[column] for model in self.models.values() if column in model.usage
            ]
            in_flight = sum(count.seconds for count in counts)
            waiting = sum(count.waiting for count in counts)
            computing = max(0.0, times.computing - in_flight - waiting)
            if counts:
                found[column] = replace(
                    times, in_flight=in_flight, retries=waiting, computing=computing
                )
        for column, times in self.elsewhere.times().items():
            found.setdefault(column, ColumnTimes()).add(times)
        return found

    def answered_at(self) -> dict[str, float]:
        """When each model last answered a run of the dataset, in seconds since 1970."""
        now = {alias: model.answered_at for alias, model in self.models.items()}
        return self._answered_at | {alias: when for alias, when in now.items() if when is not None}

    def usage(self) -> dict[str, dict[str, dict[str, float]]]:
        """Requests and tokens by model alias and column."""
        here = {
            alias: {column: asdict(count) for column, count in model.usage.items()}
            for alias, model in self.models.items()
        }
        return added(here, self.elsewhere.usage())

    def usage_of_all_runs(self) -> dict[str, dict[str, dict[str, float]]]:
        """`usage`, with what earlier runs of the dataset took."""
        return added(self.earlier_usage, self.usage())

    def total_usage(self) -> UsageCount:
        """Requests and tokens over all models."""
        total = UsageCount()
        for columns in self.usage().values():
            for count in columns.values():
                total.add(count)
        return total


class ErrorRates:
    """Share of a column's cells that failed for good.

    Columns are counted apart: a column whose every cell fails would otherwise hide behind the
    successes of the columns before it, which are paid for in vain.
    """

    def __init__(self, run_config: RunConfig) -> None:
        self._config = run_config
        self._good: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._kinds: dict[str, Counter[str]] = {}
        self._example: dict[str, Exception] = {}

    def succeeded(self, column: str) -> None:
        """Count a finished cell."""
        self._good[column] += 1

    def failed(self, column: str, error: Exception) -> None:
        """Count a failed cell."""
        self._bad[column] += 1
        self._kinds.setdefault(column, Counter())[type(error).__name__] += 1
        self._example.setdefault(column, error)

    def complaint(self, column: str) -> str | None:
        """Why to stop because of this column; None when there is no reason."""
        bad = self._bad[column]
        finished = bad + self._good[column]
        config = self._config
        if config.disable_early_shutdown or finished < config.shutdown_error_window:
            return None
        if bad / finished <= config.shutdown_error_rate:
            return None
        kinds = ", ".join(f"{count} x {kind}" for kind, count in self._kinds[column].most_common())
        return (
            f"{bad} of {finished} cells of column {column!r} failed ({kinds}), for example: "
            f"{self._example[column]}. Mend the cause, or allow more failures with "
            "RunConfig.shutdown_error_rate or disable_early_shutdown"
        )
