"""Runs a plan: owns the models, the threads and the batches of one dataset run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.declaration.user_code import run_contained
from dd_core.engine.accounting import ColumnTimings, RemoteUsage
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.context import RunContext
from dd_core.engine.gc_pause import GcFreeze
from dd_core.engine.processing import build_tables
from dd_core.errors import DataDesignerError, DataDesignerGenerationError, convert_errors
from dd_core.models.pool import Limiters, ModelPool
from dd_core.models.providers import Providers
from dd_core.models.tools.toolbox import Toolboxes
from dd_core.models.usage import Budget, BudgetTracker, UsageLedger
from dd_core.models.wire.telemetry import count_rows
from dd_core.storage.batch import Batch, BatchTables, Part
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.files.parquet import load_libraries
from dd_core.storage.journal import Journal

if TYPE_CHECKING:
    import httpx

_P = ParamSpec("_P")
_T = TypeVar("_T")

_RECENTLY = 600.0
"""Seconds for which an earlier answer proves that a model is ready."""


@dataclass
class SharedLimits:
    """What the engines of a workflow's stages share: the limits of models, and the budget."""

    budget: Budget | None = None
    """The budget of all stages together; with none, each engine has its own."""
    limiters: Limiters = field(default_factory=Limiters)

    def __post_init__(self) -> None:
        self._stops: list[Callable[[DataDesignerError], None]] = []
        self._tracker = BudgetTracker(self.budget, self._stop_all)

    def join(self, own: BudgetTracker, stop: Callable[[DataDesignerError], None]) -> BudgetTracker:
        """Return the budget of an engine, whose own one counts if there is no common one."""
        if self.budget is None:
            return own
        self._stops.append(stop)
        return self._tracker

    def _stop_all(self, reason: DataDesignerError) -> None:
        for stop in self._stops:
            stop(reason)


class Engine:
    """The running side of a plan. Use as an async context manager.

    `directory` is the dataset's directory; None for a preview, which leaves nothing on disk. Usage
    of earlier runs of the dataset counts toward the budget. With `shared`, the engine keeps the
    limits of models and the budget together with other engines.
    """

    def __init__(
        self,
        plan: Plan,
        providers: Providers,
        run_config: RunConfig,
        transport: httpx.AsyncBaseTransport | None = None,
        directory: DatasetDirectory | None = None,
        shared: SharedLimits | None = None,
    ) -> None:
        self.plan = plan
        self.run_config = run_config
        self.earlier_usage = UsageLedger(directory.metadata.usage if directory else None)
        self.remote = RemoteUsage()
        """Usage of other processes that generate batches of this run."""
        self.folder = directory.path if directory else None
        self._directory = directory
        self.next_progress_at = 0.0
        """When the progress is next written to the metadata, on the monotonic clock."""
        self._context = RunContext(plan, run_config)
        self._context.on_stop = self._cancel_check
        self._answered_at = dict(directory.metadata.answered_at) if directory else {}
        self.budget = BudgetTracker(run_config.budget, self.stop)
        if shared is not None:
            self.budget = shared.join(self.budget, self.stop)
        self.models = ModelPool(
            plan.models,
            providers,
            self._context.cell_limit,
            transport=transport,
            budget=self.budget,
            max_retries=run_config.max_request_retries,
            max_retry_after=run_config.max_retry_after,
            tuning=run_config.request_admission,
            limiters=shared.limiters if shared is not None else None,
        )
        self.toolboxes = Toolboxes(plan.tools, providers.tool_providers, providers.resolver)
        self.budget.add_earlier(self.earlier_usage, plan.prices)
        self._check: asyncio.Task[None] | None = None
        # In a folder, one thread writes: the memory that each writing thread claims stays claimed.
        writers = 1 if isinstance(self.folder, Path) else run_config.max_concurrent_row_groups
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="dd-write")
        self._gc_freeze = GcFreeze()

    async def __aenter__(self) -> Engine:
        if self._directory is not None:
            await asyncio.to_thread(self._directory.prepare)
            if self._directory.ownership is not None:
                self._directory.ownership.on_loss(self.stop)
        with convert_errors(DataDesignerGenerationError, "the run cannot start"):
            await self.models.__aenter__()
            await self.toolboxes.__aenter__()
            self._context.queues = [model.queue for model in self.models.values()]
            self._context.watchdog.queues = self._context.queues
            self._context.generators = self.plan.bind(
                self.models,
                self.run_config,
                self.folder,
                toolboxes=self.toolboxes,
                turns=self._context.turns,
            )
        self._gc_freeze.freeze()
        self._context.submit(self._load)  # while the readiness check waits for the models
        return self

    def _load(self) -> None:
        load_libraries()
        self._gc_freeze.freeze()

    async def __aexit__(self, *exc: object) -> None:
        self._gc_freeze.unfreeze()
        await self.end_batches()
        self._context.close()
        self._writers.shutdown(wait=False, cancel_futures=True)
        if self._directory is not None:
            self._directory.release()
        await self.toolboxes.__aexit__(*exc)
        await self.models.__aexit__(*exc)

    def running_batches(self) -> list[BatchRun]:
        """The batches that are running in this process."""
        return [batch for batch in self._context.running if isinstance(batch, BatchRun)]

    async def end_batches(self) -> None:
        """End all batches that are still running."""
        running = self.running_batches()
        for batch in running:
            batch.save()
        for batch in running:
            await batch.close()

    @property
    def stopped_by(self) -> DataDesignerError | None:
        """Why the run was stopped early; None if it was not."""
        return self._context.stopped_by

    def stop_when_idle(self, reason: DataDesignerError) -> None:
        """Start no further cells, wait for those that ask a model now, then stop."""
        self._context.stop_when_idle(reason)

    @property
    def is_stopping(self) -> bool:
        """Whether the run has been stopped, or will be when the requests in flight have ended."""
        return self._context.is_stopping

    @property
    def lost_cells(self) -> int:
        """Finished cells that could not be stored."""
        return self._context.lost_cells

    def stop(self, reason: DataDesignerError) -> None:
        """Stop all batches immediately; complete rows and finished cells are kept."""
        self._context.stop(reason)

    async def check_models(self) -> None:
        """Connect to the servers of tools, and send every model one small request.

        Raises what is wrong, an empty budget included. No model is asked if the budget limits
        requests: the first cells are the check then. Nor is a model that answered an earlier run of
        the dataset a few minutes ago.
        """
        self._check = asyncio.create_task(self._check_readiness())
        try:
            await self._check
        except asyncio.CancelledError:
            if self.stopped_by is None:
                raise
            raise self.stopped_by from None

    async def check_all(self, attempts: int, backoff: float) -> dict[str, list[str]]:
        """Ask all models, those for images too; returns the names of the tools by alias."""
        await self._check_tools()
        await self.models.check(
            images=True, attempts=attempts, backoff=backoff, probes=self.plan.probes
        )
        return {alias: self.toolboxes[alias].names for alias in self.plan.tool_aliases}

    async def _check_tools(self) -> None:
        """Connect to the servers of the tools that columns use, and list their tools."""
        for alias in self.plan.tool_aliases:
            await self.toolboxes[alias].open()

    async def _check_readiness(self) -> None:
        await self._check_tools()
        if self.run_config.budget is None or self.run_config.budget.requests is None:
            recent = time.time() - _RECENTLY
            known = {alias for alias, when in self._answered_at.items() if when > recent}
            await self.models.check(known=known, probes=self.plan.probes)

    def _cancel_check(self) -> None:
        if self._check is not None:
            self._check.cancel()

    def batch_run(self, batch: Batch, journal: Journal | None = None) -> BatchRun:
        """A batch of this run, ready to be started."""
        return BatchRun(self._context, batch, journal)

    async def run_in_thread(
        self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run work that sends no requests in the run's thread pool."""
        return await self._context.run_in_thread(function, *args, **kwargs)

    async def write_part(
        self, directory: DatasetDirectory, run: BatchRun
    ) -> tuple[Part, BatchTables]:
        """Write a finished batch in a thread; returns its part and the tables that were written."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writers, run_contained, self._write, directory, run)

    def _write(self, directory: DatasetDirectory, run: BatchRun) -> tuple[Part, BatchTables]:
        tables = build_tables(
            run.outcome(),
            self.plan,
            self._context.rendering,
            preserve_dropped=self.run_config.preserve_dropped_columns,
        )
        if directory.ownership is not None:
            directory.ownership.require()
        part = directory.write_part(tables)
        if part.rows:
            count_rows(part.rows, len(part.dropped))
            # Retrying failed rows later needs the other cells of those rows.
            if part.complete and not part.dropped:
                if run.has_journal:
                    directory.sync_parts()
                run.discard_journal()
        return part, tables

    def timings(self) -> dict[str, ColumnTimings]:
        """What the cells of each column that asks a model spent their time on so far."""
        found: dict[str, ColumnTimings] = {}
        for column, timings in self._context.timings.items():
            counts = [
                model.usage[column] for model in self.models.values() if column in model.usage
            ]
            in_flight = sum(count.seconds for count in counts)
            waiting = sum(count.waiting for count in counts)
            tools = sum(count.tool_seconds for count in counts)
            computing = max(0.0, timings.computing - in_flight - waiting - tools)
            if counts:
                found[column] = replace(
                    timings, in_flight=in_flight, retries=waiting, tools=tools, computing=computing
                )
        for column, timings in self.remote.timings.items():
            found.setdefault(column, ColumnTimings()).add(timings)
        return found

    def answered_at(self) -> dict[str, float]:
        """When each model last answered a run of the dataset, in seconds since 1970."""
        now = {alias: model.answered_at for alias, model in self.models.items()}
        return self._answered_at | {alias: when for alias, when in now.items() if when is not None}

    def local_usage(self) -> UsageLedger:
        """Usage of this run in this process."""
        return UsageLedger.of({alias: model.usage for alias, model in self.models.items()})

    def usage(self) -> UsageLedger:
        """Usage of this run, in all processes."""
        return self.local_usage() + self.remote.total

    def usage_of_all_runs(self) -> UsageLedger:
        """Usage of this run and of the earlier runs of the dataset."""
        return self.earlier_usage + self.usage()
