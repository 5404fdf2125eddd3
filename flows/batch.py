"""One batch of a dataset as a Prefect flow run, with a task for each column."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, cast

from prefect import flow
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.utilities.annotations import quote
from pydantic import BaseModel, Field

from dd_core.dataset.plan import Plan
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.batches import finish_columns
from dd_core.storage.batch import Batch
from dd_core.storage.directory import Part

from .cache.keys import make_column_keys, make_part_key
from .cache.results import BesideResults, GivenKey, get_result_storage, require_results
from .distributed.worker import remote_batch
from .process.suspension import pause_with_dataset
from .session import DatasetRun, get_current_run
from .tasks import generate_column, write_part


class BatchManifest(BaseModel):
    """What a batch came to; small, because it travels through Prefect."""

    fingerprint: str
    index: int
    start: int
    stop: int
    rows: int
    path: str


@flow(
    name="generate-batch",
    flow_run_name="{dataset}[{index}]",
    persist_result=True,
    result_serializer="json",
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

    Within `generate_dataset` it is a part of that run. As the run of a deployment it works by
    itself, on any machine that has the dataset's folder, and leaves its part there.

    Args:
        dataset: Name of the dataset, for people.
        index: Number of the batch, which is that of its file.
        start: First row.
        size: Number of rows.
        folder: Folder of the dataset, for a run of a deployment.
        attempt: Number of this try at the batch; an earlier one that is still at work lets go.
    """
    batch = Batch(index, start, size)
    if not folder:
        session = get_current_run()
        session.batch_started(index)
        async with pause_with_dataset():
            return await _generated(session, batch, dataset)
    async with remote_batch(folder, batch, attempt) as session:
        return await _generated(session, batch, dataset)


async def _generated(session: DatasetRun, batch: Batch, dataset: str) -> BatchManifest:
    """Columns that the result storage holds are taken from it and shown as Cached."""
    plan, index = session.engine.plan, batch.index
    if index not in session.batches:  # its part was there already
        return make_manifest(plan, session.parts[index])
    run, stored = session.batches[index], session.stored[index]
    storage = await get_result_storage()
    keys = make_column_keys(plan, batch, session.directory.path)
    reusable = session.cache.reusable(stored)
    await session.cache.keep({name: stored[name] for name in reusable})
    policy = GivenKey().configure(key_storage=BesideResults.of(storage))
    await _columns(run, keys, reusable, policy)
    await finish_columns(run)  # cached columns have no task that waited for them
    await run.close()
    if session.before_write is not None:
        await session.before_write()
    key = make_part_key(plan, batch)
    writing = write_part.with_options(task_run_name=f"write[{index}]", cache_policy=policy)
    # Quoted, because Prefect looks for task results inside everything else.
    table = await writing(key, cast("BatchRun", quote(run)), cast("DatasetRun", quote(session)))
    session.batch_finished(run, table)
    run.release()
    if run.stopped_by is not None:
        raise run.stopped_by
    await require_results(storage, [*keys.values(), key])
    part = session.parts[index]
    get_run_logger().info("%s[%d]: %d of %d rows", dataset, index, part.rows, batch.size)
    return make_manifest(plan, part)


def make_manifest(plan: Plan, part: Part) -> BatchManifest:
    """A part as the batch's result."""
    return BatchManifest(
        fingerprint=plan.fingerprint,
        index=part.index,
        start=part.start,
        stop=part.stop,
        rows=part.rows,
        path=str(part.path),
    )


async def _columns(
    run: BatchRun, keys: Mapping[str, str], reusable: set[str], policy: CachePolicy
) -> None:
    """Run a task for each column; raises what did not stop the run itself."""
    waiting: list[Any] = [
        generate_column.with_options(
            task_run_name=f"{name}[{run.batch.index}]",
            cache_policy=policy,
            refresh_cache=name not in reusable,
        )(name, run.batch.index, keys[name], cast("BatchRun", quote(run)), return_state=True)
        for name in run.plan.columns
    ]
    states: list[State[Any]] = await asyncio.gather(*waiting)
    for state in states:
        if not state.is_completed() and run.stopped_by is None:
            await state.aresult()
