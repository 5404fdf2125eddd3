"""The state that the flows of one dataset run share within a process."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pyarrow as pa
from prefect.context import FlowRunContext, TagsContext
from prefect.logging import get_run_logger

from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.designer.results import DroppedRow
from dd_core.designer.view.run_progress import describe_waits
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.engine import Engine, SharedLimits
from dd_core.errors import ArtifactStorageError, DataDesignerGenerationError
from dd_core.models.providers import Providers
from dd_core.models.usage import UsageCount
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory, Part
from dd_core.storage.journal import merge_cells
from dd_core.storage.location import Location, list_paths
from dd_core.storage.resume import find_kept_cells

from .cache.store import ColumnCache, StoredColumn, collect_cells
from .limits.keeper import hold_leases
from .process.batch_cancellation import BatchCancellations
from .process.server_retry import retry_quickly
from .process.sigterm import cancel_on_sigterm
from .process.suspension import exit_when_suspended
from .process.transactions import leave_transactions

DATASET_TAG = "data-designer"
"""The tag of all dataset runs, whatever the name of their flow."""
BATCH_TAG = "data-designer-batch"
"""The tag of all runs of batches."""
_MAX_DROPPED_KEPT = 1000
_PREVIEW_ROWS = 10

_current: ContextVar[DatasetRun] = ContextVar("dataset_run")


@dataclass
class ColumnProgress:
    """Number of cells of one column in each state, over the whole run."""

    done: int = 0
    skipped: int = 0
    dropped: int = 0
    total: int = 0
    restored: int = 0
    """Cells among `done` that came from a journal or from the result storage."""
    running: int = 0

    @property
    def waiting(self) -> int:
        return self.total - self.settled - self.running

    @property
    def settled(self) -> int:
        return self.done + self.skipped + self.dropped


@dataclass(frozen=True)
class BatchProgress:
    """The progress that another process reports about its batch."""

    columns: Mapping[str, tuple[int, int, int]]
    """Cells done, skipped and dropped by column."""
    dropped: int
    """Rows dropped."""
    examples: Sequence[DroppedRow]
    """Some of the dropped rows."""
    preview: Sequence[dict[str, Any]]
    """First rows of the dataset; only in the first batch."""


@dataclass
class DatasetRun:
    """A dataset run: its engine, its directory, and the results of its batches."""

    engine: Engine
    directory: DatasetDirectory
    rows: int
    """Rows that this run has to generate."""
    flow_run_id: str = ""
    tags: frozenset[str] = frozenset()
    """Tags that the dataset's flow was called with, which its tasks inherit."""
    address: str = ""
    """Path or address under which processes on other machines find the directory."""
    batches: dict[int, BatchRun] = field(default_factory=dict[int, BatchRun])
    """Running batches."""
    stored: dict[int, dict[str, StoredColumn]] = field(
        default_factory=dict[int, dict[str, StoredColumn]]
    )
    """Columns of each running batch that the result storage held when the batch was opened."""
    parts: dict[int, Part] = field(default_factory=dict[int, Part])
    remote: dict[int, BatchProgress] = field(default_factory=dict[int, BatchProgress])
    """Progress of the batches that other processes generate."""
    notices: dict[str, str] = field(default_factory=dict[str, str])
    """What the batches on other machines wait for, by kind of obstacle."""
    before_write: Callable[[], Awaitable[None]] | None = None
    """Awaited before a batch is written. Raises if this process must not write it."""
    dropped: list[DroppedRow] = field(default_factory=list[DroppedRow])
    dropped_count: int = 0
    preview: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    is_preview_shown: bool = False
    preview_artifact: UUID | None = None
    """Id of the artifact with the first rows, if this process created it."""
    started_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.cache = ColumnCache(self.engine.plan, self.directory.path)
        self.cancellations = BatchCancellations()
        self.cancelled: set[int] = set()
        """Batches that somebody has cancelled."""
        self._start_gate = asyncio.Lock()
        self._started: set[int] = set()
        self._settled: dict[str, Counter[str]] = {}

    def add_version(self, dataset: str) -> str:
        """The dataset's name with its version, as it is shown to people."""
        return f"{dataset} {self.directory.version}" if self.directory.version else dataset

    def make_current(self) -> None:
        """Make this run available to the batches that are called from this context."""
        _current.set(self)

    @asynccontextmanager
    async def starting(self, index: int) -> AsyncGenerator[None]:
        """Admit one batch at a time until its flow run has started.

        If several flow runs are created at once, a server on SQLite rejects some of the requests,
        and Prefect's client then sleeps for seconds before it retries.
        """
        await self._start_gate.acquire()
        try:
            yield
        finally:
            self.batch_started(index)  # in case its flow run never started

    def batch_started(self, index: int) -> None:
        """Record that the batch's flow run has started, so that the next one may be created."""
        if index not in self._started:
            self._started.add(index)
            self._start_gate.release()

    async def open_batch(self, batch: Batch) -> None:
        """Restore the finished cells of a batch and start to generate the others.

        This happens before the batch's flow run exists, because creating a flow run can take
        seconds on an SQLite server, and the models should not be idle meanwhile.
        """
        stored = await self.cache.load_columns(batch)
        run = self.engine.batch_run(batch, self.directory.journal(batch))
        with report_storage_errors(self.directory.path):
            kept = find_kept_cells(self.directory, batch, self.engine.plan.shareable_fingerprints)
        run.restore(merge_cells(kept, collect_cells(run, stored)))
        run.start()
        self.batches[batch.index], self.stored[batch.index] = run, stored

    async def batch_cancelled(self, index: int) -> None:
        """End the requests of a batch that somebody has cancelled. Its journal is kept."""
        self.stored.pop(index, None)
        if (run := self.batches.pop(index, None)) is not None:  # otherwise it has been written
            await run.close()
            run.release()

    def batch_finished(self, run: BatchRun, table: pa.Table) -> None:
        """Record the result of a batch and forget its rows."""
        del self.batches[run.batch.index], self.stored[run.batch.index]
        for name, state in run.states.items():
            count = self._settled.setdefault(name, Counter())
            count.update(done=state.done, skipped=state.skipped, dropped=state.dropped)
            count.update(restored=state.restored)
        dropped = run.dropped_rows()
        self.dropped_count += len(dropped)
        self.dropped.extend(dropped[: _MAX_DROPPED_KEPT - len(self.dropped)])
        missing = _PREVIEW_ROWS - len(self.preview)
        self.preview.extend(table.slice(0, missing).to_pylist())

    def batch_returned(self, index: int, progress: BatchProgress) -> None:
        """Record the result of a batch that another process generated."""
        self.remote.pop(index, None)
        for name, (done, skipped, dropped) in progress.columns.items():
            count = self._settled.setdefault(name, Counter())
            count.update(done=done, skipped=skipped, dropped=dropped)
        self.dropped_count += progress.dropped
        self.dropped.extend(progress.examples[: _MAX_DROPPED_KEPT - len(self.dropped)])
        self.preview.extend(progress.preview[: _PREVIEW_ROWS - len(self.preview)])

    def progress(self) -> dict[str, ColumnProgress]:
        """Number of cells of each column in each state."""
        columns: dict[str, ColumnProgress] = {}
        for name in self.engine.plan.visible_columns:
            count = self._settled.get(name, Counter())
            states = [run.states[name] for run in self.batches.values()]
            cells = [(state.done, state.skipped, state.dropped) for state in states]
            cells += [each.columns[name] for each in self.remote.values() if name in each.columns]
            columns[name] = ColumnProgress(
                done=count["done"] + sum(done for done, _, _ in cells),
                skipped=count["skipped"] + sum(skipped for _, skipped, _ in cells),
                dropped=count["dropped"] + sum(dropped for _, _, dropped in cells),
                total=self.rows,
                restored=count["restored"] + sum(state.restored for state in states),
                running=sum(state.running for state in states),
            )
        return columns

    def describe_waits(self) -> list[str]:
        """What the run waits for: models, request slots, and other machines."""
        return [*describe_waits(self.engine), *self.notices.values()]

    def usage(self) -> UsageCount:
        """Requests and tokens of this run."""
        return self.engine.usage().total()

    @property
    def seconds(self) -> float:
        """Seconds since the run started in this process."""
        return time.monotonic() - self.started_at


@asynccontextmanager
async def open_run(
    plan: Plan,
    providers: Providers,
    run_config: RunConfig,
    directory: DatasetDirectory,
    batches: Iterable[Batch],
    shared: SharedLimits | None = None,
) -> AsyncGenerator[DatasetRun]:
    """Open a run with its engine, for the flows that are called from this context.

    Every process that generates rows opens one: the process of the dataset's flow run, and the
    processes of batches on other machines. Stages of a workflow share limits.
    """
    retry_quickly()
    with cancel_on_sigterm(), leave_transactions():
        async with (
            Engine(plan, providers, run_config, directory=directory, shared=shared) as engine,
            hold_leases(engine, get_run_id()),
            exit_when_suspended(),
        ):
            rows = sum(batch.size for batch in batches)
            tags = frozenset(TagsContext.get().current_tags)
            session = DatasetRun(engine, directory, rows, str(get_run_id()), tags)
            session.make_current()
            yield session


def get_run_id() -> UUID:
    """The id of the current flow run."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    return context.flow_run.id


def find_own_directory(artifact_path: Location, dataset: str) -> DatasetDirectory | None:
    """The directory that an earlier attempt of this flow run created, if there is one."""
    placed = DatasetDirectory.place(artifact_path, dataset)
    for path in list_paths(placed.path.parent, f"{placed.path.name}*"):
        try:
            directory = DatasetDirectory(path)
        except (ArtifactStorageError, NotADirectoryError):
            continue
        if str(get_run_id()) in directory.metadata.flow_runs:
            return directory
    return None


def record_batches(directory: DatasetDirectory, batches: list[Batch]) -> list[Batch]:
    """Store the batches of this flow run with the dataset, and return them."""
    latest = {str(get_run_id()): [[each.index, each.start, each.size] for each in batches]}
    directory.write_metadata(flow_runs={**directory.metadata.flow_runs, **latest})
    return batches


def add_batches(session: DatasetRun, batches: Sequence[Batch]) -> None:
    """Add the batches of another round to a run of which too few rows were accepted."""
    directory = session.directory
    known = [Batch(*each) for each in directory.metadata.flow_runs.get(session.flow_run_id, ())]
    record_batches(directory, [*known, *batches])
    rows = sum(batch.size for batch in batches)
    accepted = sum(part.rows for part in session.parts.values())
    get_run_logger().info(
        "%d of %d rows were accepted; %d more are generated", accepted, session.rows, rows
    )
    session.rows += rows


def is_deployed() -> bool:
    """Whether the current flow run is a deployment run, which a worker can start again."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run is not None and run.deployment_id is not None


def get_current_run() -> DatasetRun:
    """The dataset run that the calling flow belongs to."""
    run = _current.get(None)
    if run is None:
        raise DataDesignerGenerationError(
            "generate_batch runs inside generate_dataset; start generate_dataset instead, or set "
            "the parameter 'folder'"
        )
    return run


Listener = Callable[[DatasetRun], None]

_listener: ContextVar[Listener | None] = ContextVar("dataset_run_listener", default=None)


def on_run_start(listener: Listener) -> None:
    """Call `listener` with each dataset run that starts in this context."""
    _listener.set(listener)


def notify_run_start(session: DatasetRun) -> None:
    """Call the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(session)
