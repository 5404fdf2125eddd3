"""Runs the batches of a dataset: several at a time, each written as soon as it is finished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

from dd_core.engine.batch_run import BatchRun
from dd_core.engine.context import describe_failure
from dd_core.engine.engine import Engine
from dd_core.errors import ArtifactStorageError, ColumnIncompleteError
from dd_core.kinds.generators import WholeColumn
from dd_core.retries import retry_async
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory, Part
from dd_core.storage.location import Location
from dd_core.storage.resume import find_kept_cells

SALVAGE_ROUNDS = 2
"""Retries of cells with transient failures, once only such cells of their column are left."""
_SALVAGE_PAUSE = 1.0

Batches = Sequence[Batch] | AsyncIterable[Batch]
"""Batches that are known, or become known while others are generated."""

OnBatch = Callable[[BatchRun, "Location | None"], None]
"""Called with each finished batch and the file it was written to; None if it has no rows."""


async def generate_batches(
    engine: Engine,
    directory: DatasetDirectory,
    batches: Batches,
    on_batch: OnBatch | None = None,
) -> None:
    """Generate and write batches, `max_concurrent_row_groups` at a time, in row order."""
    capacity = asyncio.Semaphore(engine.run_config.max_concurrent_row_groups)

    async def one(batch: Batch) -> None:
        try:
            run, part = await generate_batch(engine, directory, batch)
            if on_batch is not None:
                on_batch(run, part.path if part.rows else None)
            run.release()
        except ArtifactStorageError as error:  # the answers in flight fit into the journal, perhaps
            engine.stop_when_idle(error)
        finally:
            capacity.release()

    try:
        async with asyncio.TaskGroup() as group:
            # Creating the tasks of all batches up front would take memory for all of them.
            async for batch in iterate_batches(batches):
                await capacity.acquire()
                if engine.is_stopping:
                    break
                group.create_task(one(batch))
    except BaseExceptionGroup as failures:  # the first failure has cancelled the others
        raise failures.exceptions[0] from None


async def iterate_batches(batches: Batches) -> AsyncIterator[Batch]:
    """Yield batches in their order."""
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
        return
    for batch in batches:
        yield batch


async def generate_batch(
    engine: Engine, directory: DatasetDirectory, batch: Batch
) -> tuple[BatchRun, Part]:
    """Generate one batch, continuing from its journal, and write its part."""
    run = open_batch(engine, directory, batch)
    try:
        await finish_columns(run)
    finally:
        await run.close()
    try:
        part, _ = await engine.write_part(directory, run)
    except ArtifactStorageError as error:
        if run.stopped_by is not None:  # a full disk stopped it, and takes no part either
            raise run.stopped_by from error
        raise
    return run, part


def open_batch(engine: Engine, directory: DatasetDirectory, batch: Batch) -> BatchRun:
    """Start a batch that continues from the finished cells in journals."""
    run = engine.batch_run(batch, directory.journal(batch))
    with report_storage_errors(directory.path):
        kept = find_kept_cells(directory, batch, engine.plan.shareable_fingerprints)
    run.restore(kept)
    run.start()
    return run


async def finish_columns(run: BatchRun) -> None:
    """Await every column; if the batch is stopped, the reason is in `run.stopped_by`."""
    whole = [name for name, it in run.states.items() if isinstance(it.generator, WholeColumn)]
    others = [name for name in run.states if name not in whole]
    results = await asyncio.gather(
        _finish_in_turn(run, whole),  # never retried, so one task is enough
        *(_finish_in_turn(run, [name]) for name in others),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException) and result is not run.stopped_by:
            raise result if isinstance(result, Exception) else describe_failure(result)


async def _finish_in_turn(run: BatchRun, names: Sequence[str]) -> None:
    try:
        for name in names:
            await finish_column(run, name)
    except BaseException as error:
        task = asyncio.current_task()
        if error is not run.stopped_by and not (task is not None and task.cancelling()):
            run.stop(describe_failure(error))  # others may wait for cells that nobody retries now
        raise


async def finish_column(run: BatchRun, name: str) -> None:
    """Await a column, retry its transient failures, and drop the rows that still fail."""
    rounds = SALVAGE_ROUNDS + 1
    try:
        async for attempt in retry_async(
            (ColumnIncompleteError,), attempts=rounds, first_wait=_SALVAGE_PAUSE
        ):
            with attempt:
                await run.column(name)
    except ColumnIncompleteError:
        run.give_up(name)
