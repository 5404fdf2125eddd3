"""A dataset as a Prefect flow."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import BaseModel

from dd_core.column import Batch

# The facade, because it declares every kind before the schema of the flow's parameters is made.
from dd_core.config import DataDesignerConfig, ModelProvider, ResumeMode, RunConfig, load_config
from dd_core.errors import ArtifactStorageError, DataDesignerGenerationError
from dd_core.location import Location, files_in
from dd_core.models.providers import Providers
from dd_core.plan import Plan
from dd_core.run import (
    note_progress,
    open_dataset,
    record_outcome,
    require_ready,
    require_rows,
)
from dd_core.storage import DatasetDirectory
from flows.approval import preview_first, require_approvable, require_approval
from flows.batch import BatchManifest, generate_batch
from flows.batch_runs import cancel_batches, require_deployment
from flows.finish import finish, short_of_rows
from flows.fleet import generate_elsewhere, hand_over
from flows.listen import announce
from flows.markdown import duration
from flows.places import place_of
from flows.profile_report import show_profile
from flows.report import shown_progress, tag_run
from flows.secrets import opened_providers, require_references
from flows.session import DatasetRun, dataset_run, run_id
from flows.summary import show_preview, show_summary
from flows.versions import settle, version_of_this_run


class RunSummary(BaseModel):
    """What a dataset run came to."""

    path: str
    """The dataset's directory, or that of its version."""
    rows_asked: int
    rows_written: int
    """Rows that were generated and kept."""
    rows_in_dataset: int
    """Rows after processors have filtered them; as many as `rows_written` if there are none."""
    rows_dropped: int
    """Rows dropped in this run."""
    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """What the dataset has cost, earlier runs included; None if a price is not known."""
    seconds: float
    seed: int


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
    providers = await opened_providers(model_providers)
    place = await place_of(artifact_path)
    if batches_on is not None:
        await require_deployment(batches_on)
    plan, directory = _opened(
        load_config(config, providers), providers, chosen, place.location, dataset_name,
        num_records, resume, await version_of_this_run(version),
    )  # fmt: skip
    batches = _batches_of_this_run(
        directory, num_records, chosen.buffer_size, retry_failed, preview=approve_after_preview
    )
    async with dataset_run(plan, providers, chosen, directory, batches) as session:
        _log_start(session, len(batches))
        if batches_on is not None:
            session.address = place.address_of(directory.path)
            hand_over(session, providers, num_records, model_providers, retry_failed=retry_failed)
        if batches and (plan.config.profilers or not await session.cache.covers(batches)):
            await require_ready(session.engine)
        await tag_run(session, dataset_name)
        async with shown_progress(session, dataset_name):
            if batches_on is None:
                first = 1 if approve_after_preview else 0
                await _generate(session, batches[:first], dataset_name, retry_failed=retry_failed)
                if batches[first:] and first and session.engine.stopped_by is None:
                    await require_approval(session, dataset_name)
                await _generate(session, batches[first:], dataset_name, retry_failed=retry_failed)
            else:
                await generate_elsewhere(session, batches, batches_on, dataset_name)
        await finish(session, num_records)
        return await _concluded(session, num_records, dataset_name)


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
    announce(session)
    logger = get_run_logger()
    for warning in session.engine.plan.warnings:
        logger.warning("%s", warning)
    logger.info("%d rows in %d batches to %s", session.rows, batches, session.directory.path)


async def _generate(
    session: DatasetRun, batches: list[Batch], dataset: str, *, retry_failed: bool
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
            note_progress(session.directory, session.engine)
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


async def _concluded(session: DatasetRun, asked: int, dataset: str) -> Any:
    """The summary, shown and returned, or an error that says why there is none."""
    directory, usage = session.directory, session.usage()
    written = record_outcome(directory, session.engine)
    summary = RunSummary(
        path=str(directory.path),
        rows_asked=asked,
        rows_written=written,
        rows_in_dataset=directory.metadata["actual_num_records"],
        rows_dropped=session.dropped_count,
        requests=usage.requests,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        dollars=_total(directory.metadata["dollars"]),
        seconds=round(session.seconds, 3),
        seed=session.engine.plan.seed,
    )
    get_run_logger().info(
        "%d of %d rows in %s, %d requests", written, asked, duration(session.seconds),
        usage.requests,
    )  # fmt: skip
    await show_summary(session, dataset, summary)
    await show_profile(session, dataset, asked)
    require_rows(session.engine, written > 0, session.dropped)
    if (failed := await settle(session, dataset)) is not None:
        return failed
    if written >= asked:
        if (days := session.engine.run_config.cache_days) is not None:
            await session.cache.remove_older(days)
        return summary
    name, message = short_of_rows(session, written, asked)
    get_run_logger().warning("%s", message)
    state: State[RunSummary] = Completed(name=name, message=message, data=summary)
    return state


def _total(costs: dict[str, float | None]) -> float | None:
    known = [cost for cost in costs.values() if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _directory_of_this_run(artifact_path: Location, name: str) -> DatasetDirectory | None:
    """The directory that an earlier attempt of this same flow run has begun."""
    placed = DatasetDirectory.place(artifact_path, name)
    for path in files_in(placed.path.parent, f"{placed.path.name}*"):
        try:
            directory = DatasetDirectory(path)
        except (ArtifactStorageError, NotADirectoryError):
            continue
        if str(run_id()) in directory.metadata.get("flow_runs", {}):
            return directory
    return None


def _batches_of_this_run(
    directory: DatasetDirectory, rows: int, size: int, retry_failed: bool, *, preview: bool
) -> list[Batch]:
    """The batches to generate; a retry of a flow run calls the same ones in the same order."""
    runs: dict[str, list[list[int]]] = directory.metadata.get("flow_runs", {})
    own = str(run_id())
    if own in runs:
        return [Batch(*ranges) for ranges in runs[own]]
    batches = directory.missing(rows, size, retry_failed=retry_failed)
    batches = preview_first(batches) if preview else batches
    latest = {own: [[batch.index, batch.start, batch.size] for batch in batches]}
    directory.write_metadata(flow_runs={**runs, **latest})
    return batches
