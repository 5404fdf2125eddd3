"""One column of one batch as a Prefect task."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.states import Running, aget_state_exception
from prefect.utilities.engine import emit_task_run_state_change_event

from dd_core.designer.dataset_run import RunSteps
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.cells import ColumnState
from dd_core.errors import ColumnIncompleteError, DataDesignerError

from .artifacts.summary import list_processed_rows
from .cache.column_table import make_column_table
from .cache.results import GivenKey
from .limits.tag_limits import make_tag
from .session import DatasetRun

RETRIES = 3
"""Further tries of the cells of a column that failed in a way that may pass."""
_DELAYS = [5.0, 20.0, 60.0]
_JITTER = 0.5


async def _may_pass(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed column is worth another try."""
    error = await aget_state_exception(state)
    return isinstance(error, DataDesignerError) and error.retryable


def _show_models(task_run: TaskRun, state: ColumnState) -> None:
    """Tag the task run with the models that it asks.

    Had it the tags when it starts, Prefect would make it take a request slot of its own and let
    it wait for that, though the engine generates the column whatever state its task run is in.
    """
    aliases = state.planned.column.get_model_aliases()
    if aliases:
        task_run.tags = [*task_run.tags, *map(make_tag, aliases)]
        emit_task_run_state_change_event(task_run, task_run.state, Running())


@task(
    name="generate-column",
    persist_result=True,
    result_serializer="parquet",
    cache_policy=GivenKey(),
    retries=RETRIES,
    retry_delay_seconds=_DELAYS,
    retry_jitter_factor=_JITTER,
    retry_condition_fn=_may_pass,
)
async def generate_column(column: str, batch: int, key: str, run: BatchRun) -> pa.Table:
    """Await a column of a batch that is at work and return its cells.

    The engine generates; the task shows, retries and keeps the result under `key`. A retry tries
    only the cells that failed. After the last one the rows that still fail are dropped.
    """
    logger = get_run_logger()
    state = run.states[column]
    context = TaskRunContext.get()
    attempt = context.task_run.run_count if context is not None else 1
    if context is not None and attempt == 1:
        _show_models(context.task_run, state)
    try:
        await run.column(column)
    except ColumnIncompleteError as error:
        if attempt <= RETRIES:
            logger.warning("%s", error)
            raise
        run.give_up(column)
    if state.failures:
        example = next(iter(state.failures.values()))
        logger.warning(
            "%s[%d]: %d rows dropped, for example: %s", column, batch, len(state.failures), example
        )
    logger.info(
        "%s[%d]: %d cells, %d skipped, %d taken over",
        column,
        batch,
        state.done,
        state.skipped,
        state.restored,
    )
    return make_column_table(run, state)


@task(
    name="write-part",
    persist_result=True,
    result_serializer="parquet",
    cache_policy=GivenKey(),
    refresh_cache=True,
)
async def write_part(key: str, run: BatchRun, session: DatasetRun) -> pa.Table:
    """Write the batch's rows to the dataset and keep them as a result under `key`."""
    part, tables = await session.engine.write_part(session.directory, run)
    session.parts[run.batch.index] = part
    return tables.rows


@task(name="process-dataset")
async def process(steps: RunSteps) -> None:
    """Run the processors that work on the dataset as a whole."""
    await RunSteps.process(steps)
    for name, rows in list_processed_rows(steps.directory).items():
        get_run_logger().info("%s: %s rows", name, rows)


@task(name="profile-dataset")
async def profile(steps: RunSteps) -> None:
    """Run the configured profilers, which ask models."""
    await RunSteps.profile(steps)
