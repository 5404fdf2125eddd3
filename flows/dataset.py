"""A dataset as a Prefect flow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.utilities.annotations import quote

# The facade, because it declares every kind before the schema of the flow's parameters is made.
from dd_core.config import DataDesignerConfig, ModelProvider, ResumeMode, RunConfig, load_config
from dd_core.dataset.plan import Plan
from dd_core.designer.dataset_run import RunResult, RunSteps, complete_run
from dd_core.engine.run import open_dataset, record_progress_sometimes
from dd_core.errors import ArtifactStorageError, DataDesignerGenerationError
from dd_core.kinds.processors.processor import select_stage
from dd_core.models.providers import Providers
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.dropped_rows import DroppedRow
from dd_core.storage.location import Location, list_paths

from .approval import put_preview_first, require_approvable, require_approval
from .artifacts.markdown import format_duration
from .artifacts.profile import show_profile
from .artifacts.progress import publish_progress, tag_run
from .artifacts.summary import RunSummary, explain_missing_rows, show_preview, show_summary
from .batch import BatchManifest, generate_batch
from .blocks.providers import load_providers, require_references
from .blocks.storage import resolve_location
from .distributed.coordinator import generate_on_workers, publish_run
from .distributed.deployment_runs import cancel_batches, require_deployment
from .session import DatasetRun, get_run_id, notify_run_start, open_run
from .tasks import process, profile
from .versions import accept_or_fail, resolve_version


@flow(
    name="generate-dataset",
    flow_run_name="{dataset_name} ({num_records} rows)",
    persist_result=True,
    result_serializer="json",
    on_cancellation=[cancel_batches],
)
async def generate_dataset(
    config: DataDesignerConfig | str,
    num_records: int = 10,
    dataset_name: str = "dataset",
    artifact_path: str = "artifacts",
    run_config: RunConfig | None = None,
    model_providers: list[ModelProvider | str] | None = None,
    resume: ResumeMode = ResumeMode.NEVER,
    retry_failed: bool = False,
    version: str | None = None,
    batches_on: str | None = None,
    approve_after_preview: bool = False,
) -> RunSummary:
    """Generate a synthetic dataset.

    Args:
        config: What the dataset consists of: a configuration, or the path or http(s) address of a
            YAML or JSON file that holds one.
        num_records: Rows to generate.
        dataset_name: Folder of the dataset below `artifact_path`.
        artifact_path: Folder or address that datasets are written to, or `block:<name>` for a
            storage block. See docs/storage.md.
        run_config: Batch size, parallelism, retries, early shutdown, seed.
        model_providers: Servers of models; the defaults, if not given. Give names of environment
            variables, not keys, or `block:<name>` for a provider that is kept in a block.
        resume: What to do when the dataset exists: `never` makes a new one beside it,
            `if_possible` and `always` continue it.
        retry_failed: When continuing, generate rows anew that were given up before.
        version: Make this version of the dataset, for example "2026-11-24", in a folder of its own,
            or continue it; "scheduled" is the date for which the run is scheduled.
        batches_on: Deployment of the flow `generate-batch`, such as `generate-batch/workers`:
            batches become runs of it, on the machines of its work pool. `artifact_path` must be a
            storage that they all have. See docs/many-machines.md.
        approve_after_preview: Generate the first ten rows, then pause until somebody has looked at
            them and resumes the run. Not together with `batches_on`.
    """
    require_approvable(approve_after_preview, batches_on)
    chosen = run_config or RunConfig()
    require_references(model_providers or [])
    providers = await load_providers(model_providers)
    place = await resolve_location(artifact_path)
    if batches_on is not None:
        await require_deployment(batches_on)
    plan, directory = _opened(
        load_config(config, providers), providers, chosen, place.location, dataset_name,
        num_records, resume, await resolve_version(version),
    )  # fmt: skip
    batches = _batches_of_this_run(
        directory, num_records, chosen.buffer_size, retry_failed, preview=approve_after_preview
    )
    async with open_run(plan, providers, chosen, directory, batches) as session:
        _log_start(session, len(batches))
        if batches_on is not None:
            session.address = place.address_of(directory.path)
            publish_run(session, providers, num_records, model_providers, retry_failed=retry_failed)
        steps = _FlowSteps(
            session,
            num_records,
            dataset_name,
            batches_on=batches_on,
            approves=approve_after_preview,
            retry_failed=retry_failed,
        )
        result = await complete_run(steps, batches)
        return await _conclude(session, steps, result, dataset_name)


class _FlowSteps(RunSteps):
    """A run whose batches are subflows here, or deployment runs on other machines."""

    def __init__(
        self,
        session: DatasetRun,
        requested: int,
        dataset: str,
        *,
        batches_on: str | None,
        approves: bool,
        retry_failed: bool,
    ) -> None:
        super().__init__(session.engine, session.directory, requested)
        self.summary: RunSummary | None = None
        self._session = session
        self._dataset = dataset
        self._batches_on = batches_on
        self._approves = approves
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
        await tag_run(session, dataset)
        async with publish_progress(session, dataset):
            if self._batches_on is not None:
                await generate_on_workers(session, batches, self._batches_on, dataset)
                return
            first = 1 if self._approves else 0
            await _generate(session, batches[:first], dataset, retry_failed=self._retry_failed)
            if batches[first:] and first and session.engine.stopped_by is None:
                await require_approval(session, dataset)
            await _generate(session, batches[first:], dataset, retry_failed=self._retry_failed)

    async def process(self) -> None:
        if select_stage(self.engine.plan.config.processors, "after_generation"):
            await process(cast("RunSteps", quote(self)))

    async def profile(self) -> None:
        if self.engine.plan.config.profilers:
            await profile(cast("RunSteps", quote(self)))

    async def recorded(self, rows_written: int) -> None:
        session, asked = self._session, self.requested
        self.summary = _summarize(session, rows_written, asked)
        get_run_logger().info(
            "%d of %d rows in %s, %d requests",
            rows_written,
            asked,
            format_duration(session.seconds),
            self.summary.requests,
        )
        await show_summary(session, self._dataset, self.summary)
        await show_profile(session, self._dataset, asked)


def _opened(
    config: DataDesignerConfig,
    providers: Providers,
    run_config: RunConfig,
    artifact_path: Location,
    dataset_name: str,
    num_records: int,
    resume: ResumeMode,
    version: str | None,
) -> tuple[Plan, DatasetDirectory]:
    """The plan and the directory: a version's, or that of this flow run's earlier attempt."""
    # A version is found by its name, and always continued.
    earlier = None if version else _directory_of_this_run(artifact_path, dataset_name)
    return open_dataset(
        config,
        providers,
        run_config,
        artifact_path=artifact_path,
        dataset_name=earlier.path.name if earlier else dataset_name,
        num_records=num_records,
        resume=ResumeMode.ALWAYS if earlier else resume,
        version=version,
    )


def _log_start(session: DatasetRun, batches: int) -> None:
    notify_run_start(session)
    logger = get_run_logger()
    for warning in session.engine.plan.warnings:
        logger.warning("%s", warning)
    logger.info("%d rows in %d batches to %s", session.rows, batches, session.directory.path)


async def _generate(
    session: DatasetRun, batches: Sequence[Batch], dataset: str, *, retry_failed: bool
) -> None:
    """Run the batches as subflows, several at a time, always called in the same order."""
    logger = get_run_logger()
    places = asyncio.Semaphore(session.engine.run_config.max_concurrent_row_groups)
    session.parts = {
        part.index: part
        for part in session.directory.parts()
        if part.complete and not (retry_failed and part.dropped)
    }

    async def one(batch: Batch) -> None:
        try:
            async with session.starting(batch.index):
                returned = await generate_batch(dataset, batch.index, batch.start, batch.size)
            # A batch that an earlier attempt finished comes back as Prefect stored it: as JSON.
            manifest = BatchManifest.model_validate(returned)
            _verify(manifest, batch, session)
            logger.info("%s[%d]: %d of %d rows", dataset, batch.index, manifest.rows, batch.size)
            record_progress_sometimes(session.directory, session.engine)
            await show_preview(session, dataset)
        finally:
            places.release()

    running: list[asyncio.Task[None]] = []
    try:
        for batch in batches:
            await places.acquire()
            if session.engine.stopped_by is not None:
                break
            if batch.index not in session.parts:
                await session.open_batch(batch)
            running.append(asyncio.create_task(one(batch)))
        failures = await asyncio.gather(*running, return_exceptions=True)
    finally:  # nothing goes on where this failed or was cancelled
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    for failure in failures:
        if isinstance(failure, BaseException) and failure is not session.engine.stopped_by:
            raise failure


def _verify(manifest: BatchManifest, batch: Batch, session: DatasetRun) -> None:
    """Prefect matches the subflows of a retried run by the order of their calls: make sure."""
    found = (manifest.fingerprint, manifest.start, manifest.stop)
    if found != (session.engine.plan.fingerprint, batch.start, batch.stop):
        raise DataDesignerGenerationError(
            f"batch {batch.index} came back as batch {manifest.index}, made from another "
            "configuration; start a new run with resume='if_possible'"
        )


def _summarize(session: DatasetRun, written: int, asked: int) -> RunSummary:
    metadata, usage = session.directory.metadata, session.usage()
    return RunSummary(
        path=str(session.directory.path),
        rows_asked=asked,
        rows_written=written,
        rows_in_dataset=metadata.actual_num_records or 0,
        rows_dropped=session.dropped_count,
        requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        dollars=_total(metadata.dollars),
        seconds=round(session.seconds, 3),
        seed=session.engine.plan.seed,
    )


async def _conclude(session: DatasetRun, steps: _FlowSteps, result: RunResult, dataset: str) -> Any:
    """The summary, or a state that says why there is none or why rows are missing."""
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


def _total(costs: dict[str, float | None]) -> float | None:
    known = [cost for cost in costs.values() if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _directory_of_this_run(artifact_path: Location, name: str) -> DatasetDirectory | None:
    """The directory that an earlier attempt of this same flow run has begun."""
    placed = DatasetDirectory.place(artifact_path, name)
    for path in list_paths(placed.path.parent, f"{placed.path.name}*"):
        try:
            directory = DatasetDirectory(path)
        except (ArtifactStorageError, NotADirectoryError):
            continue
        if str(get_run_id()) in directory.metadata.flow_runs:
            return directory
    return None


def _batches_of_this_run(
    directory: DatasetDirectory, rows: int, size: int, retry_failed: bool, *, preview: bool
) -> list[Batch]:
    """The batches to generate; a retry of a flow run calls the same ones in the same order."""
    runs: dict[str, list[list[int]]] = directory.metadata.flow_runs
    own = str(get_run_id())
    if own in runs:
        return [Batch(*ranges) for ranges in runs[own]]
    batches = directory.missing(rows, size, retry_failed=retry_failed)
    batches = put_preview_first(batches) if preview else batches
    latest = {own: [[batch.index, batch.start, batch.size] for batch in batches]}
    directory.write_metadata(flow_runs={**runs, **latest})
    return batches
