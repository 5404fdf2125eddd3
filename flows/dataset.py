"""The flow `generate-dataset`: a dataset run in Prefect, with one subflow per batch."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, cast

from prefect import tags
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from prefect.utilities.annotations import quote
from pydantic import Field

# Imported from the facade, which declares every kind before the parameter schema is created.
from dd_core.config import (
    DataDesignerConfig,
    LocalStdioMCPProvider,
    MCPProvider,
    ModelProvider,
    ResumeMode,
    RunConfig,
    load_config,
)
from dd_core.dataset.checks import MOST_ROWS
from dd_core.dataset.plan import Plan
from dd_core.dataset.planning.demand import find_batches
from dd_core.designer.dataset_run import RunSteps, complete_run
from dd_core.engine.run import open_dataset, record_progress_sometimes
from dd_core.errors import BatchCancelledError
from dd_core.models.providers import Providers
from dd_core.redaction.registry import mask_raised
from dd_core.storage.batch import Batch, DroppedRow
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location

from .approval import put_preview_first, require_approvable, require_approval
from .artifacts.labels import RUN_NAME, label_run, list_tags
from .artifacts.markdown import format_duration
from .artifacts.profile import show_profile
from .artifacts.progress import ProgressArtifacts
from .artifacts.summary import (
    RunSummary,
    describe_cancelled,
    explain_missing_rows,
    show_preview,
    show_summary,
    summarize,
    summarize_unchanged,
)
from .batch import generate_batch, write_lost_part
from .blocks.providers import GivenServers, load_providers
from .blocks.storage import resolve_location
from .blocks.types import BlockReference
from .distributed.coordinator import generate_on_workers, publish_run
from .distributed.deployment_runs import cancel_batches, require_workers
from .process.keyless_flow import keyless_flow
from .process.packaged_flow import RESULTS
from .process.timeouts import cancel_once
from .session import (
    BATCH_TAG,
    DatasetRun,
    add_batches,
    find_own_directory,
    get_run_id,
    notify_run_start,
    open_run,
    record_batches,
)
from .tasks import process, profile
from .versions import accept_or_fail, resolve_version


@keyless_flow(
    name="generate-dataset",
    flow_run_name=RUN_NAME,
    persist_result=True,
    result_serializer=RESULTS,
    on_cancellation=[cancel_batches],
)
async def generate_dataset(
    config: DataDesignerConfig | str,
    num_records: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 10,
    dataset_name: str = "dataset",
    artifact_path: str = "artifacts",
    run_config: RunConfig | None = None,
    model_providers: list[ModelProvider | BlockReference] | None = None,
    mcp_providers: list[MCPProvider | LocalStdioMCPProvider | BlockReference] | None = None,
    resume: ResumeMode = ResumeMode.NEVER,
    retry_failed: bool = False,
    version: str | None = None,
    batches_on: str | None = None,
    approve_after_preview: bool = False,
    trust_config: bool = False,
) -> RunSummary:
    """Generate a synthetic dataset.

    Args:
        config: Configuration of the dataset, or the path or http(s) URL of a YAML or JSON file
            that contains it.
        num_records: Number of rows to generate.
        dataset_name: Name of the dataset's folder in `artifact_path`.
        artifact_path: Folder or storage URL that datasets are written to, or `block:<name>` for a
            storage block. See docs/storage.md.
        run_config: Settings of the run, such as batch size, parallelism, retries, budget, quality
            gates and seed.
        model_providers: Model servers; default: the configured or built-in providers. For API keys,
            enter the name of an environment variable, not the key itself. `block:<name>` uses a
            provider block.
        mcp_providers: Tool servers; default: those in `mcp_providers.yaml` on the machine that
            generates the rows. Enter keys as in `model_providers`. `block:<name>` uses a block
            of the type Data Designer Tool Server.
        resume: What to do if the dataset already exists. `never` creates a new dataset next to it.
            `if_possible` continues it, or creates a new one if its configuration differs. `always`
            continues it, or fails if that is not possible.
        retry_failed: If the dataset is continued, retry the rows that failed in an earlier run.
        version: Version of the dataset to create or continue, for example "2026-11-24". Each
            version has its own folder. "scheduled" stands for the date of the scheduled start,
            and "scheduled:%Y-%m-%dT%H" for its date and hour.
        batches_on: Deployment of the flow `generate-batch`, for example `generate-batch/workers`.
            Batches become runs of this deployment, on the machines of its work pool. All machines
            must have access to `artifact_path`. See docs/many-machines.md.
        approve_after_preview: Generate the first ten rows, then wait until somebody approves them.
            Cannot be combined with `batches_on`.
        trust_config: Allow a configuration that is loaded from a URL to import code, read files and
            use keys on this machine. Review it first.
    """

    async def generate() -> Any:
        require_approvable(approve_after_preview, batches_on)
        settings = run_config or RunConfig()
        servers = GivenServers(model_providers=model_providers, mcp_providers=mcp_providers)
        providers = await load_providers(servers)
        storage = await resolve_location(artifact_path)
        version_name = await resolve_version(version)
        async with label_run(dataset_name, num_records, version_name) as labels:
            loaded = await asyncio.to_thread(load_config, config, providers, trust=trust_config)
            labels |= list_tags(loaded)
        await require_workers(batches_on, loaded)
        async with _open_directory(
            loaded.resolve_paths(), providers, settings, storage.location, dataset_name,
            num_records, resume, version_name,
        ) as (plan, directory):  # fmt: skip
            if directory.metadata.is_settled:
                return _report_nothing_to_do(directory, num_records)
            batches = _find_missing_batches(
                plan, directory, num_records, settings.buffer_size, retry_failed,
                preview=approve_after_preview,
            )  # fmt: skip
            async with open_run(plan, providers, settings, directory, batches) as session:
                if batches_on is not None:
                    session.address = storage.address_of(directory.path)
                    publish_run(session, providers, num_records, servers, retry_failed=retry_failed)
                steps = _FlowSteps(
                    session, num_records, dataset_name, batches_on=batches_on,
                    needs_approval=approve_after_preview, retry_failed=retry_failed,
                )  # fmt: skip
                return await _complete(session, steps, batches, dataset_name)

    with mask_raised():  # Prefect reads the annotations of the function, so it has no decorator
        return await cancel_once(generate())


class _FlowSteps(RunSteps):
    """A run whose batches are subflows in this process or deployment runs on other machines."""

    def __init__(
        self,
        session: DatasetRun,
        requested: int,
        dataset: str,
        *,
        batches_on: str | None,
        needs_approval: bool,
        retry_failed: bool,
    ) -> None:
        super().__init__(session.engine, session.directory, requested)
        self.summary: RunSummary | None = None
        self._session = session
        self._dataset = dataset
        self._progress = ProgressArtifacts(session, dataset)
        self._batches_on = batches_on
        self._needs_approval = needs_approval
        self._retry_failed = retry_failed

    @property
    def dropped(self) -> list[DroppedRow]:
        return self._session.dropped

    async def needs_models(self, batches: Sequence[Batch]) -> bool:
        if not batches:
            return False
        has_profilers = bool(self.engine.plan.config.profilers)
        return has_profilers or not await self._session.cache.covers(batches)

    async def generate(self, batches: Sequence[Batch]) -> None:
        session, dataset = self._session, self._dataset
        async with self._progress.publish():
            if self._batches_on is not None:
                await generate_on_workers(session, batches, self._batches_on, dataset)
                return
            first = 1 if self._needs_approval else 0
            async with session.cancellations.watch():
                await _generate(session, batches[:first], dataset, retry_failed=self._retry_failed)
                if batches[first:] and first and session.engine.stopped_by is None:
                    await require_approval(session, dataset)
                await _generate(session, batches[first:], dataset, retry_failed=self._retry_failed)

    async def generate_more(self, batches: Sequence[Batch]) -> None:
        add_batches(self._session, batches)
        self._needs_approval = False  # it was given after the first batch
        await self.generate(batches)

    async def process(self) -> None:
        if self.engine.plan.list_late_processors(None):
            await process(cast("RunSteps", quote(self)))

    async def profile(self) -> None:
        if self.engine.plan.config.profilers:
            await profile(cast("RunSteps", quote(self)))

    async def recorded(self, rows_written: int) -> None:
        session, requested = self._session, self.requested
        self.summary = summarize(session, rows_written, requested)
        get_run_logger().info(
            "%d of %d rows in %s, %d requests",
            rows_written,
            requested,
            format_duration(session.seconds),
            self.summary.requests,
        )
        await show_summary(session, self._dataset, self.summary)
        await show_profile(session, self._dataset, requested)


def _open_directory(
    config: DataDesignerConfig,
    providers: Providers,
    run_config: RunConfig,
    artifact_path: Location,
    dataset_name: str,
    num_records: int,
    resume: ResumeMode,
    version: str | None,
) -> AbstractAsyncContextManager[tuple[Plan, DatasetDirectory]]:
    """The plan and the directory: the one of the version or of this flow run's earlier attempt.

    A retried flow run has the same parameters. With `resume="never"`, it would start a second
    dataset if it did not look for the one that its earlier attempt created.
    """
    # A version is found by its name and always continued.
    earlier = None if version else find_own_directory(artifact_path, dataset_name)
    return open_dataset(
        config,
        providers,
        run_config,
        artifact_path=artifact_path,
        dataset_name=earlier.path.name if earlier else dataset_name,
        num_records=num_records,
        resume=ResumeMode.ALWAYS if earlier else resume,
        version=version,
        flow_run=str(get_run_id()),
    )


def _log_start(session: DatasetRun, batches: int) -> None:
    notify_run_start(session)
    logger = get_run_logger()
    for warning in session.engine.plan.warnings:
        logger.warning("%s", warning)
    for damage in session.directory.lost:
        logger.warning("%s; %d rows are generated again", damage, damage.rows)
    logger.info("%d rows to %s (batches: %d)", session.rows, session.directory.path, batches)


async def _generate(
    session: DatasetRun, batches: Sequence[Batch], dataset: str, *, retry_failed: bool
) -> None:
    """Run the batches as subflows, several at a time.

    Prefect matches the subflows of a retried run by the order of their calls. Therefore the order
    of the batches is fixed.
    """
    slots = asyncio.Semaphore(session.engine.run_config.max_concurrent_row_groups)
    session.parts = {
        part.index: part
        for part in session.directory.parts()
        if part.complete and not (retry_failed and part.dropped)
    }

    async def one(batch: Batch) -> None:
        try:
            await _generate_one(session, batch, dataset)
        finally:
            slots.release()

    running: list[asyncio.Task[None]] = []
    try:
        for batch in batches:
            await slots.acquire()
            if session.engine.stopped_by is not None:
                break
            if batch.index not in session.parts:
                await session.open_batch(batch)
            running.append(asyncio.create_task(one(batch)))
        if running:
            await asyncio.wait(running)
    finally:  # no batch continues after this task failed or was cancelled
        # A batch that is cancelled twice, as by gather(), ends before Prefect knows its state.
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    for task in running:
        failure = task.exception()
        if failure is not None and failure is not session.engine.stopped_by:
            raise failure
    if session.cancelled:
        raise BatchCancelledError(describe_cancelled(session))


async def _generate_one(session: DatasetRun, batch: Batch, dataset: str) -> None:
    """Run a batch as a subflow. A batch that somebody cancels is only noted."""
    async with session.starting(batch.index):
        call = cast("Any", generate_batch)  # its types do not fit an awaited state
        shown = session.add_version(dataset)
        given = (shown, batch.index, batch.start, batch.size)
        with tags(BATCH_TAG, dataset):
            state: State[Any] = await call(*given, return_state=True)
    if state.is_cancelled():
        session.cancelled.add(batch.index)
        get_run_logger().warning("%s[%d] was cancelled", dataset, batch.index)
        return
    if not state.is_completed():
        await state.aresult()  # raises
    # Prefect does not run a batch again that an earlier attempt finished. Its stored result is not
    # read: another machine may not have it, and the dataset's folder says enough.
    if batch.index in session.batches:  # its part is gone
        await write_lost_part(session, batch)
    record_progress_sometimes(session.directory, session.engine)
    await show_preview(session, dataset)


def _report_nothing_to_do(directory: DatasetDirectory, requested: int) -> Any:
    """The state of a run that left the dataset as it was."""
    message = f"{directory.path} already has all of its {requested:,} rows"
    get_run_logger().info("%s", message)
    summary = summarize_unchanged(directory, requested)
    state: State[RunSummary] = Completed(name="Nothing to do", message=message, data=summary)
    return state


async def _complete(
    session: DatasetRun, steps: _FlowSteps, batches: Sequence[Batch], dataset: str
) -> Any:
    """The summary, or a state that says which gates failed or why rows are missing."""
    _log_start(session, len(batches))
    try:
        result = await complete_run(steps, batches)
    except BatchCancelledError as error:
        return Failed(message=str(error), data=error)  # raising the error would log a traceback
    if (failed := await accept_or_fail(session, dataset, result.gates)) is not None:
        return failed
    if result.rows_written >= steps.requested:
        if (days := session.engine.run_config.cache_days) is not None:
            await session.cache.remove_older(days)
        return steps.summary
    name, message = explain_missing_rows(session, result.rows_written, steps.requested)
    get_run_logger().warning("%s", message)
    state: State[RunSummary] = Completed(name=name, message=message, data=steps.summary)
    return state


def _find_missing_batches(
    plan: Plan,
    directory: DatasetDirectory,
    rows: int,
    size: int,
    retry_failed: bool,
    *,
    preview: bool,
) -> list[Batch]:
    """The batches to generate; a retried flow run gets the same ones in the same order.

    They are stored with the dataset, because an earlier attempt may have finished some of them.
    """
    runs: dict[str, list[list[int]]] = directory.metadata.flow_runs
    own = str(get_run_id())
    if own in runs:
        batches = [Batch(*ranges) for ranges in runs[own]]
        # Rows of earlier runs that are lost come last, so that the order is kept.
        batches += [
            lost
            for lost in find_batches(plan, directory, rows, size)
            if not any(lost.start < each.stop and lost.stop > each.start for each in batches)
        ]
        return record_batches(directory, batches)
    batches = find_batches(plan, directory, rows, size, retry_failed=retry_failed)
    return record_batches(directory, put_preview_first(batches) if preview else batches)
