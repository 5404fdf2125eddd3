"""The steps of a dataset run in Prefect: batches are subflows, here or on other machines."""

import asyncio
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any, cast

from prefect import tags
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.utilities.annotations import quote

from dd_core.designer.dataset_run import RunSteps
from dd_core.engine.batches import Batches, iterate_batches
from dd_core.engine.run import record_progress_sometimes
from dd_core.errors import BatchCancelledError
from dd_core.storage.batch import Batch, DroppedRow

from .approval import require_approval
from .artifacts.markdown import format_duration
from .artifacts.profile import show_profile
from .artifacts.progress import ProgressArtifacts
from .artifacts.summary import (
    RunSummary,
    describe_cancelled,
    show_preview,
    show_summary,
    summarize,
)
from .batch import generate_batch, write_lost_part
from .distributed.coordinator import generate_on_workers
from .session import BATCH_TAG, DatasetRun, add_batches, notify_run_start
from .tasks import process, profile


class FlowSteps(RunSteps):
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

    async def needs_models(self, batches: Any) -> bool:
        if not batches:
            return False
        if isinstance(batches, AsyncIterable):
            return True
        has_profilers = bool(self.engine.plan.config.profilers)
        return has_profilers or not await self._session.cache.covers(batches)

    def written(self, batch: Batch) -> None:
        """Called when a batch has been written."""

    async def generate(self, batches: Any) -> None:
        session, dataset = self._session, self._dataset
        async with self._progress.publish():
            if isinstance(batches, AsyncIterable):
                async with session.cancellations.watch():
                    await self._generate(cast("AsyncIterable[Batch]", batches))
                return
            if self._batches_on is not None:
                await generate_on_workers(session, batches, self._batches_on, dataset)
                return
            first = 1 if self._needs_approval else 0
            async with session.cancellations.watch():
                await self._generate(batches[:first])
                if batches[first:] and first and session.engine.stopped_by is None:
                    await require_approval(session, dataset)
                await self._generate(batches[first:])

    async def _generate(self, batches: Batches) -> None:
        session, dataset = self._session, self._dataset
        await _generate(session, batches, dataset, self.written, retry_failed=self._retry_failed)

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


def announce_start(session: DatasetRun, batches: int) -> None:
    """Log what a run begins with, and show it to whoever listens."""
    notify_run_start(session)
    logger = get_run_logger()
    for warning in session.engine.plan.warnings:
        logger.warning("%s", warning)
    for damage in session.directory.lost:
        logger.warning("%s; %d rows are generated again", damage, damage.rows)
    logger.info("%d rows to %s (batches: %d)", session.rows, session.directory.path, batches)


async def _generate(
    session: DatasetRun,
    batches: Batches,
    dataset: str,
    written: Callable[[Batch], None],
    *,
    retry_failed: bool,
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
            if batch.index not in session.cancelled and session.engine.stopped_by is None:
                written(batch)
        finally:
            slots.release()

    running: list[asyncio.Task[None]] = []
    try:
        async for batch in iterate_batches(batches):
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
