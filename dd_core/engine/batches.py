"""Runs a dataset's batches: several at a time, each written as soon as it is done."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from dd_core.engine.batch_run import BatchRun
from dd_core.engine.engine import Engine
from dd_core.errors import ColumnIncompleteError
from dd_core.kinds.generators import WholeColumn
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory, Part
from dd_core.storage.location import Location
from dd_core.storage.resume import find_kept_cells

SALVAGE_ROUNDS = 2
"""Further tries of cells that failed for now, once nothing else of their column is left."""
_SALVAGE_PAUSE = 1.0

OnBatch = Callable[[BatchRun, "Location | None"], None]
"""Called with each batch that is done and the file it was written to, if it has rows."""


async def generate_batches(
    engine: Engine,
    directory: DatasetDirectory,
    batches: Sequence[Batch],
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
        finally:
            capacity.release()

    try:
        async with asyncio.TaskGroup() as group:
            for batch in batches:  # a task for each at once would take memory for all of them
                await capacity.acquire()
                if engine.stopped_by is not None:
                    break
                group.create_task(one(batch))
    except BaseExceptionGroup as failures:  # the first failure has cancelled the others
        raise failures.exceptions[0] from None


async def generate_batch(
    engine: Engine, directory: DatasetDirectory, batch: Batch
) -> tuple[BatchRun, Part]:
    """Generate one batch, continuing from its journal, and write its part."""
    run = open_batch(engine, directory, batch)
    try:
        await finish_columns(run)
    finally:
        await run.close()
    part, _ = await engine.write_part(directory, run)
    return run, part


def open_batch(engine: Engine, directory: DatasetDirectory, batch: Batch) -> BatchRun:
    """A batch at work that has taken over what journals hold."""
    run = engine.batch_run(batch, directory.journal(batch))
    run.restore(find_kept_cells(directory, batch, engine.plan.shareable_fingerprints))
    run.start()
    return run


async def finish_columns(run: BatchRun) -> None:
    """Await every column; the reason of a stopped batch stays in `run.stopped_by`."""
    whole = [name for name, it in run.states.items() if isinstance(it.generator, WholeColumn)]
    others = [name for name in run.states if name not in whole]
    results = await asyncio.gather(
        _finish_in_turn(run, whole),  # nothing of them is tried again, so one task is enough
        *(finish_column(run, name) for name in others),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException) and result is not run.stopped_by:
            raise result


async def _finish_in_turn(run: BatchRun, names: Sequence[str]) -> None:
    for name in names:
        await finish_column(run, name)


async def finish_column(run: BatchRun, name: str) -> None:
    """Await a column, try again what failed for now, and drop the rows that still fail."""
    for attempt in range(SALVAGE_ROUNDS + 1):
        try:
            await run.column(name)
        except ColumnIncompleteError:
            if attempt < SALVAGE_ROUNDS:
                await asyncio.sleep(random.uniform(0.5, 1.5) * _SALVAGE_PAUSE * 2**attempt)
        else:
            return
    run.give_up(name)
