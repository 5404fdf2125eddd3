"""One column of one batch as a Prefect task."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.states import aget_state_exception

from dd_core.errors import ColumnIncompleteError, DataDesignerError
from dd_core.execute import BatchRun
from flows.results import GivenKey, column_table

RETRIES = 3
"""Further tries of the cells of a column that failed in a way that may pass."""
_DELAYS = [5.0, 20.0, 60.0]
_JITTER = 0.5


async def _may_pass(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed column is worth another try."""
    error = await aget_state_exception(state)
    return isinstance(error, DataDesignerError) and error.retryable


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
    return column_table(run, state)
