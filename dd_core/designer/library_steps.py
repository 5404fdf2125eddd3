"""The steps of a dataset run in this process, without Prefect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.run_config import RunConfig
from dd_core.designer.dataset_run import RunSteps, complete_repair
from dd_core.designer.results import DatasetCreationResults
from dd_core.designer.verification import (
    choose_repair_settings,
    set_damage_aside,
    verify_dataset,
)
from dd_core.designer.view.run_progress import RunProgress
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.batches import generate_batches
from dd_core.engine.engine import Engine
from dd_core.engine.run import open_dataset, record_progress_sometimes
from dd_core.errors import DataDesignerGenerationError, convert_errors
from dd_core.models.providers import Providers
from dd_core.storage.batch import Batch, DroppedRow
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location
from dd_core.storage.resume import ResumeMode

if TYPE_CHECKING:
    import httpx


class LibrarySteps(RunSteps):
    """Generates batches in this process and shows the progress."""

    def __init__(
        self,
        engine: Engine,
        directory: DatasetDirectory,
        requested: int,
        on_batch_complete: Callable[[Location], None] | None,
    ) -> None:
        super().__init__(engine, directory, requested)
        self._on_batch_complete = on_batch_complete
        self._dropped: list[DroppedRow] = []
        self._progress = RunProgress(engine, requested)

    @property
    def dropped(self) -> Sequence[DroppedRow]:
        return self._dropped

    async def generate(self, batches: Sequence[Batch]) -> None:
        self._progress = RunProgress(self.engine, sum(batch.size for batch in batches))
        async with self._progress.shown():
            await generate_batches(self.engine, self.directory, batches, self._written)

    def _written(self, run: BatchRun, path: Location | None) -> None:
        self._dropped.extend(run.dropped_rows())
        self._progress.count(run)
        record_progress_sometimes(self.directory, self.engine)
        if self._on_batch_complete is not None and path is not None:
            with convert_errors(DataDesignerGenerationError, "on_batch_complete failed"):
                self._on_batch_complete(path)


async def repair_dataset(
    damaged: DatasetDirectory,
    config: DataDesignerConfig,
    providers: Providers,
    run_config: RunConfig,
    *,
    transport: httpx.AsyncBaseTransport | None,
    **place: Any,
) -> DatasetCreationResults:
    """Generate lost rows of a dataset again. `place` are options of `open_dataset`."""
    found = verify_dataset(damaged)
    settings = choose_repair_settings(damaged.metadata, run_config)
    rows = damaged.metadata.target_num_records or 1
    async with open_dataset(
        config,
        providers,
        settings,
        num_records=rows,
        resume=ResumeMode.ALWAYS,
        version=damaged.version,
        **place,
    ) as (plan, directory):
        batches = set_damage_aside(directory, found, rows, settings.buffer_size)
        async with Engine(plan, providers, settings, transport, directory) as engine:
            steps = LibrarySteps(engine, directory, rows, None)
            await complete_repair(steps, batches)
            usage = engine.usage().to_dict()
    return DatasetCreationResults(directory, plan, rows, usage, tuple(steps.dropped))
