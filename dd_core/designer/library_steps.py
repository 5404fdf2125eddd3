"""The steps of a dataset run in this process, without Prefect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dd_core.designer.dataset_run import RunSteps
from dd_core.designer.view.run_progress import RunProgress
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.batches import generate_batches
from dd_core.engine.engine import Engine
from dd_core.engine.run import record_progress_sometimes
from dd_core.errors import DataDesignerGenerationError, convert_errors
from dd_core.storage.batch import Batch, DroppedRow
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location


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
