"""Generates the batches of a dataset as deployment runs, on the machines of a work pool.

These runs and this process share the dataset's folder and the Prefect server, nothing else. Each
run keeps the record of its attempt in that folder up to date (`records.py`). The states in Prefect
show what happened to runs that could not do so. Results do not go through Prefect.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

from prefect.logging import get_run_logger

from dd_core.config import load_config
from dd_core.dataset.compile import compile_plan
from dd_core.engine.run import record_progress_sometimes
from dd_core.errors import (
    BatchLostError,
    BudgetExhaustedError,
    DataDesignerError,
    InvalidConfigError,
)
from dd_core.models.providers import Providers
from dd_core.models.usage import Budget, UsageLedger
from dd_core.storage.batch import Batch
from dd_core.storage.directory import DatasetDirectory, Part

from ..artifacts.summary import show_preview
from ..blocks.providers import GivenServers
from ..session import DatasetRun
from .attempt import Attempt, AttemptFailure, AttemptFailures
from .budget_shares import BudgetAllocator
from .deployment_runs import DeploymentRuns
from .queue import BatchQueue
from .records import AttemptState, BatchRecord, RunSpec, request_stop

_POLL_SECONDS = 2.0
_MISSING_PAUSE_SECONDS = 5.0
"""Pause before another attempt to start a run of a deployment that does not exist."""
_REFUSED = "refused"


def publish_run(
    session: DatasetRun,
    providers: Providers,
    num_records: int,
    servers: GivenServers,
    *,
    retry_failed: bool,
) -> None:
    """Write the run spec, and check that other processes will compute the same plan from it."""
    plan, directory = session.engine.plan, session.directory
    config = session.engine.run_config
    RunSpec(
        run=session.flow_run_id,
        fingerprint=plan.fingerprint,
        seed=plan.seed,
        num_records=num_records,
        run_config=config.model_copy(update={"seed": plan.seed}),
        model_providers=servers.model_providers,
        mcp_providers=servers.mcp_providers,
        retry_failed=retry_failed,
    ).write(directory)
    written = load_config(directory.config(), providers)
    rendering = config.jinja_rendering_engine.value
    recompiled = compile_plan(written, providers, plan.seed, rendering=rendering)
    if recompiled.fingerprint != plan.fingerprint:
        raise InvalidConfigError(
            "the configuration cannot be distributed: its plan changes when it is written to a "
            "file. Replace anything that exists only in this process, such as a DataFrame, with "
            "files that all machines can read"
        )


async def generate_on_workers(
    session: DatasetRun, batches: Sequence[Batch], deployment: str, dataset: str
) -> None:
    """Generate the batches as runs of a deployment, several at a time, until all have ended.

    Work of an earlier attempt of this run, or of an earlier run, is adopted: finished batches are
    kept, and running batches are awaited instead of being started again.
    """
    await BatchCoordinator(session, DeploymentRuns(deployment, dataset, session), dataset).generate(
        batches
    )


class BatchCoordinator:
    """The batches that other machines generate, and the attempts at them."""

    def __init__(self, session: DatasetRun, runs: DeploymentRuns, dataset: str) -> None:
        self._session = session
        self._engine = session.engine
        self._directory = session.directory
        self._config = session.engine.run_config
        self._runs = runs
        self._dataset = dataset
        self._prices = session.engine.plan.prices
        self._shares = BudgetAllocator(self._config.budget, self._prices)
        self._open: dict[int, Attempt] = {}
        self._waiting = BatchQueue()
        self._exhausted: dict[int, tuple[Batch, BatchRecord | None]] = {}
        """Batches that used up their share of the budget or did not get one."""
        self._latest_attempts: dict[int, int] = {}
        self._failures: defaultdict[int, AttemptFailures] = defaultdict(AttemptFailures)
        self._was_accepted = False
        """Whether a machine has begun a batch."""
        self._refused: dict[int, str] = {}
        """Why the batches were refused that no machine has accepted since."""
        self._error: BatchLostError | None = None
        self._is_stopping = False
        self._recorded_usage = UsageLedger(session.directory.metadata.usage_in_batches)
        """Usage in the records of batches, as of the last time the metadata was written."""

    async def generate(self, batches: Sequence[Batch]) -> None:
        """Generate all batches; raises `BatchLostError` if a batch could not be finished."""
        await self._adopt_running(batches)
        while self._waiting or self._open or self._start_round():
            await self._start_waiting()
            if self._open:
                await self._poll()
            if self._engine.stopped_by is not None:
                await self._stop(self._engine.stopped_by)
            if self._open or self._waiting:
                await asyncio.sleep(_POLL_SECONDS)
        # The models may still be called for a profile, which the same budget pays for.
        self._engine.budget.add_earlier(self._engine.remote.total, self._prices)
        for _, record in self._exhausted.values():
            if record is not None:
                self._session.batch_returned(record.index, record.progress)
        if self._error is not None:
            raise self._error

    async def _adopt_running(self, batches: Sequence[Batch]) -> None:
        """Count finished batches, wait for running attempts, and queue all other batches."""
        records = await asyncio.to_thread(BatchRecord.all, self._directory)
        latest = {record.index: record for record in records}
        self._latest_attempts = {index: record.attempt for index, record in latest.items()}
        run_spec = RunSpec.read(self._directory)
        parts = {part.index: part for part in await asyncio.to_thread(self._directory.parts)}
        running: list[tuple[Batch, BatchRecord]] = []
        for batch in batches:
            record, part = latest.get(batch.index), parts.get(batch.index)
            is_retried = run_spec.retry_failed and part is not None and bool(part.dropped)
            is_lost = record is not None and record.rows > 0 and part is None
            is_own = record is not None and record.run == run_spec.run
            if record is not None and is_own and record.is_done and not is_lost:
                self._session.parts[batch.index] = part or _empty_part(batch, self._directory)
                self._session.batch_returned(record.index, record.progress)
            elif part is not None and part.complete and not is_retried:
                self._session.parts[batch.index] = part
            elif record is not None and record.key and not record.is_over:
                running.append((batch, record))
            else:
                self._waiting.add([batch])
        self._count_earlier_usage(records, {record.key for _, record in running}, run_spec.run)
        for batch, record in running:
            self._shares.adopt(batch.index, record.share)
            await self._start(batch, record)

    def _count_earlier_usage(self, records: list[BatchRecord], running: set[str], run: str) -> None:
        """Count the usage of all attempts that are not running, whether they succeeded or not.

        Attempts of this run (its flow run may have been retried) belong to the usage of this run,
        all others to that of earlier runs. The metadata may already contain a part of both, so the
        usage that was recorded with it is subtracted first.
        """
        remote, engine = self._engine.remote, self._engine
        for record in records:
            if record.key in running:
                continue
            if record.run == run:
                remote.finish(record.attempt_id, UsageLedger(record.usage), record.times)
            else:
                remote.before += UsageLedger(record.usage)
        engine.earlier_usage = engine.earlier_usage - self._recorded_usage + remote.before

    async def _start_waiting(self) -> None:
        """Start attempts at as many waiting batches as may be open, unless the deployment is gone.

        In that case, one batch after another is tried after a pause.
        """
        while len(self._open) < self._config.max_concurrent_row_groups:
            if (queued := self._waiting.take(time.monotonic())) is None:
                return
            if queued.record is not None:
                await self._start(queued.batch, queued.record)
            else:
                await self._request(queued.batch)
            if self._runs.is_missing:
                return

    async def _request(self, batch: Batch) -> None:
        """Request a new attempt at a batch, with a share of the budget."""
        index = batch.index
        try:
            share = self._allocate_share(batch)
        except BudgetExhaustedError:
            # The batch waits for the next round, when others may have left a part of their shares.
            self._exhausted[index] = (batch, None)
            return
        attempt = self._latest_attempts[index] = self._latest_attempts.get(index, 0) + 1
        record = BatchRecord(
            index=index,
            attempt=attempt,
            run=self._session.flow_run_id,
            key=f"{self._session.flow_run_id}-{index}-{attempt}",
            share=share,
        )
        # The record comes first. If this process dies before the flow run exists, its successor
        # finds the record and starts the flow run under the same idempotency key.
        await asyncio.to_thread(record.write, self._directory)
        await self._start(batch, record)

    def _allocate_share(self, batch: Batch) -> Budget | None:
        """Allocate a budget share, in proportion to the rows of all batches without a share."""
        if self._config.budget is None:
            return None
        rows = batch.size + self._waiting.rows
        return self._shares.allocate(batch.index, batch.size, rows, self._spent())

    async def _start(self, batch: Batch, record: BatchRecord) -> None:
        timeout = self._failures[batch.index].scale_timeout(self._config.batch_silence)
        run_id = await self._runs.start(batch, record)
        if run_id is None:
            self._waiting.pause(batch, time.monotonic() + _MISSING_PAUSE_SECONDS, record)
            return
        self._open[batch.index] = Attempt(batch, record, run_id, timeout)

    async def _poll(self) -> None:
        """Check all open attempts, with one request to Prefect and one file per attempt."""
        attempts = [*self._open.values()]
        found = await asyncio.to_thread(  # one thread for all files
            lambda: [attempt.read(self._directory) for attempt in attempts]
        )
        states = await self._runs.states([attempt.flow_run_id for attempt in attempts])
        now = time.monotonic()
        for attempt, (record, part) in zip(attempts, found, strict=True):
            self._engine.remote.report(record.attempt_id, UsageLedger(record.usage))
            self._session.remote[record.index] = record.progress
            if record.has_begun:
                self._was_accepted = True
                self._refused.pop(record.index, None)
            state = states.get(attempt.flow_run_id)
            if record.is_over and (part is not None or not record.rows):
                await self._handle_end(attempt, record, part)
            elif self._is_stopping and state is not None and state.is_scheduled():
                await self._runs.cancel(attempt.flow_run_id)
                self._close(record)
            elif failure := attempt.failure_reason(record, state, now):
                await self._handle_failure(attempt, record, failure)
        self._note_refusals()

    async def _handle_end(self, attempt: Attempt, record: BatchRecord, part: Part | None) -> None:
        error = record.remote_error
        if record.state in (AttemptState.FAILED, AttemptState.REFUSED):
            is_refusal = record.state is AttemptState.REFUSED
            reason = error.message if error else "it failed"
            failure = AttemptFailure(reason, is_refusal=is_refusal)
            await self._handle_failure(attempt, record, failure)
            return
        if record.state is AttemptState.STOPPED and error is not None:
            if error.kind == "BudgetExhaustedError" and not self._is_stopping:
                self._close(record)
                self._exhausted[record.index] = (attempt.batch, record)
                return
            self._engine.stop(error.error)
        self._session.parts[record.index] = part or _empty_part(attempt.batch, self._directory)
        self._close(record)
        self._session.batch_returned(record.index, record.progress)
        name = f"{self._dataset}[{record.index}]"
        get_run_logger().info("%s: %d of %d rows", name, record.rows, attempt.batch.size)
        await asyncio.to_thread(record_progress_sometimes, self._directory, self._engine)
        await show_preview(self._session, self._dataset)

    def _close(self, record: BatchRecord) -> None:
        """Close an attempt: its usage is final, and the rest of its budget share is released."""
        self._open.pop(record.index, None)
        self._session.remote.pop(record.index, None)
        self._shares.release(record.index)
        self._engine.remote.finish(record.attempt_id, UsageLedger(record.usage), record.times)

    async def _handle_failure(
        self, attempt: Attempt, record: BatchRecord, failure: AttemptFailure
    ) -> None:
        self._close(record)
        await self._runs.mark_crashed(attempt.flow_run_id, failure.reason)
        index, failures, reason = record.index, self._failures[record.index], failure.reason
        count = failures.add(failure)
        if self._engine.stopped_by is not None:
            return
        if not failures.allow_retry(self._config.batch_tries, was_accepted=self._was_accepted):
            self._give_up(index, count, reason)
        elif failure.is_refusal:
            self._refused[index] = reason
            get_run_logger().warning(
                "batch %d: %s; it is offered to other machines in %.0f s",
                index, reason, failures.pause,
            )  # fmt: skip
            self._waiting.pause(attempt.batch, time.monotonic() + failures.pause)
        else:
            get_run_logger().warning("batch %d: %s; the batch is restarted", index, reason)
            self._waiting.add_first(attempt.batch)

    def _note_refusals(self) -> None:
        """Say in the state of the run which batches wait for a machine that accepts them."""
        if not self._refused:
            self._session.notices.pop(_REFUSED, None)
            return
        *_, (index, reason) = self._refused.items()
        others = f" and {len(self._refused) - 1} others" if len(self._refused) > 1 else ""
        self._session.notices[_REFUSED] = (
            f"waiting for another machine for batch {index}{others}: {reason}"
        )

    def _give_up(self, index: int, count: int, reason: str) -> None:
        get_run_logger().error("batch %d: %s; giving up after %d attempts", index, reason, count)
        # Other batches may fail for the same reason, so only the running ones are awaited.
        self._waiting.clear()
        self._error = self._error or BatchLostError(
            f"batch {index} could not be finished in {count} attempts; last failure: {reason}. "
            "Finished work is kept; fix the cause and run again with resume='if_possible'"
        )

    async def _stop(self, reason: DataDesignerError) -> None:
        """Start no further batches, and ask the running ones to write their complete rows."""
        self._waiting.clear()
        if not self._is_stopping:
            self._is_stopping = True
            await asyncio.to_thread(request_stop, self._directory, reason)

    def _start_round(self) -> bool:
        """Queue the batches that used up their shares again, if the others left enough budget."""
        if not self._exhausted or self._engine.stopped_by is not None or self._error is not None:
            return False
        spent = self._spent()
        if not self._shares.start_round(spent):
            self._engine.stop(self._shares.make_error(None, spent))
            return False
        self._waiting.add(batch for batch, _ in self._exhausted.values())
        self._exhausted.clear()
        return True

    def _spent(self) -> UsageLedger:
        """Usage of the dataset, without the attempts that hold budget shares."""
        engine = self._engine
        return engine.earlier_usage + engine.local_usage() + engine.remote.ended


def _empty_part(batch: Batch, directory: DatasetDirectory) -> Part:
    """A stand-in for the part of a batch whose rows were all dropped."""
    return Part(batch.index, batch.start, batch.stop, 0, True, directory.path)
