"""The Prefect tasks of a run: generate a column, write a batch, process and profile a dataset."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.states import aget_state_exception

from dd_core.designer.dataset_run import RunSteps
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.cells import ColumnState
from dd_core.errors import ColumnIncompleteError, DataDesignerError
from dd_core.redaction.registry import mask_errors

from .artifacts.summary import list_processed_rows
from .cache.column_table import make_column_table
from .cache.results import ExplicitKey
from .limits.tag_limits import make_tag
from .process.task_tags import tag_while_running
from .session import DatasetRun

RETRIES = 3
"""Retries of a column's cells that failed for a reason that may pass."""
_RETRY_DELAY_SECONDS = 20.0  # Prefect's UI shows a list of delays as NaN
_RETRY_JITTER = 0.5


async def _is_retryable(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the failure of a column may pass, so that Prefect should retry the task."""
    error = await aget_state_exception(state)
    return isinstance(error, DataDesignerError) and error.retryable


def _tag_with_models(task_run: TaskRun, state: ColumnState) -> AbstractContextManager[None]:
    """Tag the running task run with the models that its column calls.

    If the task run had these tags from the start, Prefect would hold it back until it got a request
    slot of the model. The engine generates the column independently of its task run, and leases
    slots for the whole run.
    """
    aliases = state.planned.column.get_model_aliases()
    tags = [make_tag(alias) for alias in aliases]
    missing = [tag for tag in tags if tag not in task_run.tags]
    return tag_while_running(task_run, missing) if missing else nullcontext()


@task(
    name="generate-column",
    persist_result=True,
    result_serializer="parquet",
    cache_policy=ExplicitKey(),
    retries=RETRIES,
    retry_delay_seconds=_RETRY_DELAY_SECONDS,
    retry_jitter_factor=_RETRY_JITTER,
    retry_condition_fn=_is_retryable,
)
@mask_errors
async def generate_column(column: str, batch: int, key: str, run: BatchRun) -> pa.Table:
    """Wait for a column of a running batch and return its cells.

    The engine generates the column. The task shows it in the UI, retries it, and stores the result
    under `key`. A retry repeats only the failed cells. After the last retry, the rows that still
    fail are dropped.
    """
    logger = get_run_logger()
    state = run.states[column]
    context = TaskRunContext.get()
    attempt = context.task_run.run_count if context is not None else 1
    tagged = nullcontext() if context is None else _tag_with_models(context.task_run, state)
    try:
        with tagged:
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
    logger.log(
        logging.INFO if state.planned.column.get_model_aliases() else logging.DEBUG,
        "%s[%d]: %d cells, %d skipped, %d restored",
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
    cache_policy=ExplicitKey(),
    refresh_cache=True,
)
@mask_errors
async def write_part(key: str, run: BatchRun, session: DatasetRun) -> pa.Table:
    """Write the batch's rows to the dataset, and store them as a result under `key`."""
    part, tables = await session.engine.write_part(session.directory, run)
    session.parts[run.batch.index] = part
    return tables.rows


@task(name="process-dataset", cache_policy=NO_CACHE)
@mask_errors
async def process(steps: RunSteps) -> None:
    """Run the processors that work on the dataset as a whole."""
    await RunSteps.process(steps)
    for name, rows in list_processed_rows(steps.directory).items():
        get_run_logger().info("%s: %s", name, rows)


@task(name="profile-dataset", cache_policy=NO_CACHE)
@mask_errors
async def profile(steps: RunSteps) -> None:
    """Run the configured profilers, which call models."""
    await RunSteps.profile(steps)
