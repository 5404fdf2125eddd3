"""The output that a stage hands on: its dataset, the work of a processor, or that of a callback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.run_config import RunConfig
from dd_core.designer.results import DatasetCreationResults, open_results
from dd_core.designer.workflow.composite.metadata import CompletedWorkflowStageMetadata
from dd_core.designer.workflow.composite.output_files import count_rows, read_path
from dd_core.designer.workflow.composite.stage import PROCESSED, CompositeStage
from dd_core.errors import ArtifactStorageError, DataDesignerWorkflowError, convert_errors
from dd_core.models.providers import Providers
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, parse_location
from dd_core.storage.resume import ResumeMode

_CALLBACK_FOLDER = "callback-outputs"
"""Folder of a stage that callbacks write to by convention."""

_logger = logging.getLogger(__name__)


class StageDesigner(Protocol):
    """What stages need of a `DataDesigner`."""

    @property
    def artifact_path(self) -> str | Location: ...

    @property
    def providers(self) -> Providers: ...

    @property
    def run_config(self) -> RunConfig: ...

    @property
    def managed_assets_path(self) -> Path | None: ...

    async def acreate(
        self,
        config: DataDesignerConfig,
        *,
        num_records: int,
        dataset_name: str,
        resume: ResumeMode | str,
        artifact_path: Location | None,
        on_batch_complete: Callable[[Location], None] | None = None,
        retry_failed: bool = False,
    ) -> DatasetCreationResults:
        """Generate a dataset."""
        ...


@dataclass(frozen=True)
class StageOutput:
    """What a stage came to."""

    result: DatasetCreationResults
    """The dataset, or the one that the output processors made of it."""
    path: Location
    """The file or the folder with the rows that the next stage uses."""
    rows: int
    callback: Location | None = None
    """What the callback returned."""
    processed: Location | None = None
    """The folder of the dataset that the output processors made."""


async def make_output(
    designer: StageDesigner, stage: CompositeStage, main: DatasetCreationResults
) -> StageOutput:
    """Run the output processors and the callback of a stage, and choose its output."""
    rows = main.count_records()
    result = main
    if stage.output_processors and rows:
        result = await _process(designer, stage, main, rows)
    source = result if stage.is_output_made_later else main
    callback: Location | None = None
    if stage.on_success is not None:
        callback = path = await _call_back(stage, main)
        count = count_rows(path)
    elif (name := stage.output_processor) is not None and rows:
        if name not in source.directory.processor_files():
            raise DataDesignerWorkflowError(
                f"the output of stage {stage.name!r} is that of its processor {name!r}, which has "
                "not written any files; choose a processor that does, such as schema_transform"
            )
        path = source.get_path_to_processor_artifacts(name)
        count = count_rows(path)
    else:
        path, count = source.artifact_storage.final_dataset_path, source.count_records()
    processed = result.dataset_path if result is not main else None
    return StageOutput(result, path, count, callback, processed)


async def _process(
    designer: StageDesigner, stage: CompositeStage, main: DatasetCreationResults, rows: int
) -> DatasetCreationResults:
    config = stage.configure_processing(main.artifact_storage.final_dataset_path)
    known = DatasetDirectory(main.dataset_path / PROCESSED).metadata
    is_larger = known.target_num_records > rows
    return await designer.acreate(
        config,
        num_records=rows,
        dataset_name=PROCESSED,
        artifact_path=main.dataset_path,
        resume=ResumeMode.NEVER if is_larger else ResumeMode.IF_POSSIBLE,
    )


async def _call_back(stage: CompositeStage, main: DatasetCreationResults) -> Location:
    assert stage.on_success is not None
    _set_aside(main.dataset_path / _CALLBACK_FOLDER)
    message = f"on_success of stage {stage.name!r} failed"
    with convert_errors(DataDesignerWorkflowError, message):
        found: Any = await asyncio.to_thread(stage.on_success, main.dataset_path)
        if not isinstance(found, str | Path) and not hasattr(found, "fs"):
            raise DataDesignerWorkflowError(
                f"on_success of stage {stage.name!r} returned {found!r}; return the path of a "
                "Parquet file, or of a folder of such files"
            )
        return parse_location(found)


def _set_aside(folder: Location) -> None:
    """Rename what an earlier call has written: callbacks create their folders."""
    if not isinstance(folder, Path) or not folder.exists():
        return
    stamp = datetime.now().strftime("%m-%d-%Y_%H%M%S")
    target, number = folder.with_name(f"{folder.name}_{stamp}"), 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}_{stamp}_{number}")
    folder.rename(target)


def restore_output(
    stage: CompositeStage,
    prior: CompletedWorkflowStageMetadata,
    main: DatasetCreationResults,
    folder: Location,
) -> StageOutput | None:
    """The output that an earlier run chose; None if its files are not there any more."""
    written = prior.own_output_path or prior.output_seed_path
    path = read_path(written, folder)
    result, processed = main, None
    if prior.output_processor_output_path is not None:
        processed = read_path(prior.output_processor_output_path, folder)
    try:
        if processed is not None:
            result = open_results(DatasetDirectory(processed))
            result.directory.files()
        is_dataset = path == result.artifact_storage.final_dataset_path
        count = result.count_records() if is_dataset else count_rows(path)
    except (ArtifactStorageError, DataDesignerWorkflowError) as error:
        _logger.info("the output of stage %s is made again: %s", stage.name, error)
        return None
    callback = prior.callback_output_path
    called = read_path(callback, folder) if callback is not None else None
    return StageOutput(result, path, count, called, processed)
