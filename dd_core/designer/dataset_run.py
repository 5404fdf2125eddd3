"""The sequence of a dataset run, shared by the library and the Prefect flow.

After the dataset has been opened: check the models, generate the missing batches, process, profile,
record, check the result, evaluate the gates, and move `latest` if the dataset has versions. Callers
differ only in how batches are generated and in what they show; they override `RunSteps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dd_core.dataset.planning.demand import Demand
from dd_core.engine.engine import Engine
from dd_core.engine.processing import process_dataset, unify_dataset
from dd_core.engine.run import (
    explain_storage_failure,
    record_outcome,
    require_ready,
    require_rows,
)
from dd_core.errors import ArtifactStorageError
from dd_core.models.wire.telemetry import serve_metrics
from dd_core.quality.acceptance import GateResult, evaluate_gates
from dd_core.quality.analysis import profile_in_run
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.batch import Batch, DroppedRow
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.versions import settle_version


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    rows_written: int
    """Rows generated and kept, before processors filtered them."""
    gates: list[GateResult]
    """Results of the gates; empty if the dataset has neither gates nor versions."""


class RunSteps:
    """The steps of a run that callers may replace or extend."""

    def __init__(self, engine: Engine, directory: DatasetDirectory, requested: int) -> None:
        self.engine = engine
        self.directory = directory
        self.requested = requested
        """Rows requested for the dataset."""
        self.demand: Demand | None = None
        """What decides how many rows are generated, if only some of them are accepted."""
        if engine.plan.config.accept is not None:
            size = engine.run_config.buffer_size
            self.demand = Demand(engine.plan, directory, requested, size)

    @property
    def dropped(self) -> Sequence[DroppedRow]:
        """Rows dropped in this run, or the first of them."""
        return ()

    async def needs_models(self, batches: Sequence[Batch]) -> bool:
        """Whether the models must be checked before the run."""
        return bool(batches)

    async def generate(self, batches: Sequence[Batch]) -> None:
        """Generate and write the batches."""
        raise NotImplementedError

    async def generate_more(self, batches: Sequence[Batch]) -> None:
        """Generate and write the batches of a further round."""
        await self.generate(batches)

    async def process(self) -> None:
        """Run the processors that work on the dataset as a whole."""
        await self.engine.run_in_thread(process_dataset, self.directory, self.engine.plan)

    async def profile(self) -> None:
        """Run the configured profilers, which ask models."""
        engine = self.engine
        await profile_in_run(
            self.directory,
            engine.plan,
            self.requested,
            engine.usage_of_all_runs,
            engine.models,
            engine.run_in_thread,
        )

    async def recorded(self, rows_written: int) -> None:
        """Called when the outcome has been recorded, before it is checked."""


async def complete_run(steps: RunSteps, batches: Sequence[Batch]) -> RunResult:
    """Generate the missing batches of an open dataset and finish the dataset.

    Raises `ArtifactStorageError` if the storage cannot be written to or another process took the
    dataset over, and `DataDesignerGenerationError` if the run was stopped by another error or
    produced no rows. A failed gate is a result, not an exception.
    """
    engine, directory = steps.engine, steps.directory
    if directory.metadata.is_settled and not batches:
        return RunResult(directory.metadata.generated_num_records, [])
    with serve_metrics(engine.run_config.otel_metrics_port):
        await _generate(steps, batches)
        await steps.profile()
    written = record_outcome(directory, engine)
    if steps.demand is not None:
        written = steps.demand.tally.accepted
    await steps.recorded(written)
    require_rows(engine, written > 0, steps.dropped)
    if steps.demand is not None and engine.stopped_by is None:
        steps.demand.require_met()
    results = await engine.run_in_thread(
        evaluate_gates,
        directory,
        engine.plan,
        engine.run_config.gates,
        stopped=engine.stopped_by,
    )
    if directory.version is not None:
        keep = engine.run_config.keep_versions
        with report_storage_errors(directory.path):
            await engine.run_in_thread(settle_version, directory, keep)
    return RunResult(written, results)


async def complete_repair(steps: RunSteps, batches: Sequence[Batch]) -> None:
    """Generate lost batches of a dataset again; its profile and the results of its gates stay."""
    engine, directory = steps.engine, steps.directory
    steps.demand = None  # rows that no run has come to stay as they are
    await _generate(steps, batches)
    require_rows(engine, record_outcome(directory, engine) > 0, steps.dropped)


async def _generate(steps: RunSteps, batches: Sequence[Batch]) -> None:
    engine, directory = steps.engine, steps.directory
    if await steps.needs_models(batches):
        await require_ready(engine)
    try:
        await steps.generate(batches)
        await _generate_until_accepted(steps, batches)
    except ArtifactStorageError as error:
        raise explain_storage_failure(engine, directory, error) from error
    if isinstance(engine.stopped_by, ArtifactStorageError):
        raise explain_storage_failure(engine, directory, engine.stopped_by)
    await engine.run_in_thread(unify_dataset, directory, engine.plan)
    with report_storage_errors(directory.path):
        await steps.process()


async def _generate_until_accepted(steps: RunSteps, batches: Sequence[Batch]) -> None:
    """Generate further rounds until enough rows are accepted."""
    engine, demand = steps.engine, steps.demand
    if demand is None:
        return
    demand.add(batches)
    # Counting may read files.
    while not engine.is_stopping and (more := await engine.run_in_thread(demand.plan_next)):
        await steps.generate_more(more)
