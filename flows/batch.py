"""The flow `generate-batch`: one batch of a dataset, with one task per column."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, cast

from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Failed
from prefect.utilities.annotations import quote
from pydantic import BaseModel, Field

from dd_core.dataset.plan import Plan
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.batches import finish_columns
from dd_core.errors import BatchRefusedError
from dd_core.redaction.registry import mask_raised
from dd_core.storage.batch import Batch
from dd_core.storage.directory import Part

from .artifacts.labels import untag_tasks
from .cache.keys import make_column_keys, make_part_key
from .cache.results import ExplicitKey, ResultMetadataStorage, get_result_storage, require_results
from .cache.store import is_enabled
from .distributed.attempt import REFUSED
from .distributed.worker import remote_batch
from .process.batch_cancellation import BatchCancelled
from .process.packaged_flow import RESULTS, packaged_flow
from .process.suspension import pause_with_dataset
from .session import DatasetRun, get_current_run, get_run_id
from .tasks import generate_column, write_part


class BatchManifest(BaseModel):
    """The result of a batch; small, because Prefect stores it."""

    fingerprint: str
    index: int
    start: int
    stop: int
    rows: int
    path: str


@packaged_flow(
    name="generate-batch",
    flow_run_name="{dataset}[{index}]",
    persist_result=True,
    result_serializer=RESULTS,
)
async def generate_batch(
    dataset: str,
    index: Annotated[int, Field(ge=0)],
    start: Annotated[int, Field(ge=0)],
    size: Annotated[int, Field(ge=1)],
    folder: str = "",
    attempt: Annotated[int, Field(ge=1)] = 1,
) -> BatchManifest:
    """Generate one batch of a dataset.

    `generate_dataset` calls this flow as a subflow. With `batches_on`, it starts this flow as a
    deployment run, which works on any machine that has access to the dataset's folder. You do not
    have to start it yourself.

    Args:
        dataset: Name of the dataset and of its version, used in log messages and run names.
        index: Number of the batch, which is also the number of its Parquet file.
        start: Index of the first row.
        size: Number of rows.
        folder: Folder or storage URL of the dataset. Required for deployment runs.
        attempt: Number of this attempt at the batch. Earlier attempts that are still running stop.
    """
    batch = Batch(index, start, size)
    with mask_raised():  # Prefect reads the annotations of the function, so it has no decorator
        if not folder:
            session = get_current_run()
            session.batch_started(index)
            try:
                with session.cancellations.allow(get_run_id()):
                    async with pause_with_dataset():
                        with untag_tasks(session):
                            return await _generate(session, batch, dataset)
            except BatchCancelled:
                await session.batch_cancelled(index)
                message = "Its responses are kept. Retry the dataset's run to continue."
                return cast("Any", Cancelled(message=message))
        try:
            async with remote_batch(folder, batch, attempt) as session:
                return await _generate(session, batch, dataset)
        except BatchRefusedError as refusal:
            # The dataset's run knows refusals by the name of the state.
            return cast("Any", Failed(name=REFUSED, message=str(refusal), data=refusal.__cause__))


async def _generate(session: DatasetRun, batch: Batch, dataset: str) -> BatchManifest:
    """Generate and write an open batch; stored columns are reused and show as Cached."""
    plan, index = session.engine.plan, batch.index
    if index not in session.batches:  # its part already exists
        return make_manifest(plan, session.parts[index])
    run, stored = session.batches[index], session.stored[index]
    storage = await get_result_storage()
    keys = make_column_keys(plan, batch, session.directory.path)
    reusable = session.cache.find_reusable(stored)
    await session.cache.store_assembled({name: stored[name] for name in reusable})
    policy = ExplicitKey().configure(key_storage=ResultMetadataStorage.of(storage))
    await _run_column_tasks(run, keys, reusable, policy)
    await finish_columns(run)  # the tasks of cached columns did not wait for the engine
    await run.close()
    if session.before_write is not None:
        await session.before_write()
    key = make_part_key(plan, batch)
    write = write_part.with_options(
        task_run_name=f"write[{index}]", cache_policy=policy, persist_result=is_enabled()
    )
    # Without quote(), Prefect would search the objects for futures and states.
    table = await write(key, cast("BatchRun", quote(run)), cast("DatasetRun", quote(session)))
    session.batch_finished(run, table)
    run.release()
    if run.stopped_by is not None:
        raise run.stopped_by
    if is_enabled():
        await require_results(storage, [*keys.values(), key])
    part = session.parts[index]
    rows = "rows accepted" if plan.config.accept else "rows"
    get_run_logger().info("%s[%d]: %d of %d %s", dataset, index, part.rows, batch.size, rows)
    return make_manifest(plan, part)


async def write_lost_part(session: DatasetRun, batch: Batch) -> None:
    """Finish and write an open batch whose flow run an earlier attempt finished.

    Prefect returns the stored result of that flow run and does not run it again, but its part is
    gone or damaged.
    """
    run = session.batches[batch.index]
    await finish_columns(run)
    await run.close()
    part, tables = await session.engine.write_part(session.directory, run)
    session.parts[batch.index] = part
    session.batch_finished(run, tables.rows)
    run.release()
    if run.stopped_by is not None:
        raise run.stopped_by


def make_manifest(plan: Plan, part: Part) -> BatchManifest:
    """The manifest of a written part."""
    return BatchManifest(
        fingerprint=plan.fingerprint,
        index=part.index,
        start=part.start,
        stop=part.stop,
        rows=part.rows,
        path=str(part.path),
    )


async def _run_column_tasks(
    run: BatchRun, keys: Mapping[str, str], reusable: set[str], policy: CachePolicy
) -> None:
    """Run one task per column; raises the error of a failed task unless the run was stopped."""
    running: list[Any] = [
        generate_column.with_options(
            task_run_name=f"{name}[{run.batch.index}]",
            cache_policy=policy,
            persist_result=is_enabled(),
            refresh_cache=name not in reusable,
        )(name, run.batch.index, keys[name], cast("BatchRun", quote(run)), return_state=True)
        for name in run.plan.visible_columns
    ]
    states: list[State[Any]] = await asyncio.gather(*running)
    for state in states:
        if not state.is_completed() and run.stopped_by is None:
            await state.aresult()
