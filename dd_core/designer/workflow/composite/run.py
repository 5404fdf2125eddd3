"""Runs the stages of a composite workflow in its folder, one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from typing import Any

from dd_core.dataset.workflow.plan import DEFAULT_ROWS
from dd_core.designer.results import open_results
from dd_core.designer.workflow.composite.check import StagePlanner
from dd_core.designer.workflow.composite.identity import count_selected, hash_output
from dd_core.designer.workflow.composite.metadata import (
    AnyStageMetadata,
    CompletedWorkflowStageMetadata,
    FailedWorkflowStageMetadata,
    RunningWorkflowStageMetadata,
    SkippedWorkflowStageMetadata,
    StartedStageMetadata,
    WorkflowMetadata,
)
from dd_core.designer.workflow.composite.output import (
    StageDesigner,
    StageOutput,
    make_output,
    restore_output,
)
from dd_core.designer.workflow.composite.output_files import count_rows, read_path, write_path
from dd_core.designer.workflow.composite.results import (
    CompositeWorkflowResults,
    SkippedStageResult,
    SkippedStageStatus,
    StageResult,
)
from dd_core.designer.workflow.composite.reuse import Choice, StageRequest, choose_dataset
from dd_core.designer.workflow.composite.stage import CompositeStage
from dd_core.errors import DataDesignerWorkflowError
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location
from dd_core.storage.resume import ResumeMode

_COMPLETED = CompletedWorkflowStageMetadata.model_fields.keys()

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What a caller of `run` asks for."""

    resume: ResumeMode
    overrides: Mapping[str, Location | None]
    """Files or folders that replace the outputs of stages; None brings back the stage's own."""
    rerun_from: int | None = None
    """Position of the first stage that is made anew in any case."""
    retry_failed: bool = False


class CompositeRun:
    """A run of the stages up to the last target."""

    def __init__(
        self,
        name: str,
        stages: Sequence[CompositeStage],
        designer: StageDesigner,
        planner: StagePlanner,
        folder: Location,
        prior: WorkflowMetadata | None,
        options: RunOptions,
    ) -> None:
        self._name = name
        self._stages = stages
        self._designer = designer
        self._planner = planner
        self._folder = folder
        self._options = options
        library_version = version_of("prefect-data-designer")
        if prior is None:
            prior = WorkflowMetadata(name=name, library_version=library_version, stages=[])
        self._metadata = prior
        self._metadata.name, self._metadata.library_version = name, library_version
        self._results: dict[str, StageResult] = {}
        self._paths: dict[str, Location] = {}
        self._latest: tuple[str, Location, int] | None = None
        """Name, output and number of rows of the stage before."""
        self._has_changed = False
        """Whether a stage has run, so that later ones may have to be made anew."""

    async def run(self) -> CompositeWorkflowResults:
        """Run the stages; raises what the dataset of a stage raises."""
        empty: str | None = None
        for stage in self._stages:
            if empty is not None:
                self._skip(stage, empty)
                continue
            try:
                await self._run_stage(stage)
            except Exception as error:
                error.add_note(f"in stage {stage.name!r} of workflow {self._name!r}")
                raise
            if self._latest is not None and not self._latest[2]:
                empty = stage.name
        return CompositeWorkflowResults(
            name=self._name,
            stage_results=self._results,
            final_stage_name=self._stages[-1].name,
            stage_output_paths=self._paths,
            path=self._folder,
        )

    async def _run_stage(self, stage: CompositeStage) -> None:
        prior = self._metadata.find_stage(stage.index, stage.name)
        started = prior if isinstance(prior, StartedStageMetadata) else None
        first = self._options.rerun_from
        is_forced = first is not None and stage.index >= first
        request = await asyncio.to_thread(self._request, stage)
        choice = await asyncio.to_thread(
            choose_dataset,
            request,
            started,
            self._folder,
            self._designer.run_config,
            must_fit=self._options.resume is ResumeMode.ALWAYS and not self._has_changed,
            is_forced=is_forced,
            retry_failed=self._options.retry_failed,
        )
        if choice.is_complete and isinstance(started, CompletedWorkflowStageMetadata):
            done = await asyncio.to_thread(self._restore, stage, started)
            if done is not None:
                self._conclude(stage, done, self._find_override(stage, started), started)
                return
        continued = started if choice.resume is ResumeMode.ALWAYS else None
        await self._generate(request, choice, continued)

    def _request(self, stage: CompositeStage) -> StageRequest:
        config = stage.config
        if self._latest is not None:
            name, output, rows = self._latest
            if config.seed_config is not None:
                _logger.warning(
                    "stage %s uses the rows of stage %s instead of its own seed dataset",
                    stage.name,
                    name,
                )
            config = stage.seed_with(output)
            plan = self._planner.compile(config)
            default = rows if stage.selection_strategy is None else count_selected(plan)
        else:
            plan, default = self._planner.compile(config), DEFAULT_ROWS
        requested = stage.num_records or default or DEFAULT_ROWS
        return StageRequest.of(stage, config, plan, requested)

    def _restore(
        self, stage: CompositeStage, prior: CompletedWorkflowStageMetadata
    ) -> StageOutput | None:
        """The output of a stage whose dataset is complete; None if it has to be made again."""
        chosen = hash_output(stage)
        if chosen is None or prior.output_fingerprint != chosen:
            return None
        main = open_results(DatasetDirectory(self._folder / prior.stage_dir))
        return restore_output(stage, prior, main, self._folder)

    async def _generate(
        self, request: StageRequest, choice: Choice, prior: StartedStageMetadata | None
    ) -> None:
        """Generate the dataset of a stage, or what is missing of it, and choose its output."""
        stage, began = request.stage, time.monotonic()
        record = self._describe_start(request, choice, prior)
        self._record(RunningWorkflowStageMetadata.model_validate({**record, "status": "running"}))
        self._has_changed = True
        try:
            if choice.is_complete:
                main = open_results(DatasetDirectory(self._folder / choice.dataset_name))
            else:
                main = await self._designer.acreate(
                    request.config,
                    num_records=request.requested,
                    dataset_name=choice.dataset_name,
                    resume=choice.resume,
                    artifact_path=self._folder,
                    retry_failed=self._options.retry_failed,
                )
            record["stage_dir"] = main.dataset_path.name
            made = await make_output(self._designer, stage, main)
            sticky = self._find_override(stage, prior, keeps=choice.is_complete)
            record |= {
                "num_records_actual": main.count_records(),
                "output_fingerprint": hash_output(stage),
                "duration_sec": time.monotonic() - began,
            }
            self._conclude(stage, made, sticky, record)
        except BaseException:  # also when the run is interrupted: its work can be continued
            failed = {**record, "status": "failed", "duration_sec": time.monotonic() - began}
            self._record(FailedWorkflowStageMetadata.model_validate(failed))
            raise

    def _describe_start(
        self, request: StageRequest, choice: Choice, prior: StartedStageMetadata | None
    ) -> dict[str, Any]:
        latest = self._latest
        extra = (prior.model_extra or {}) if prior is not None else {}
        return {
            **{name: value for name, value in extra.items() if name not in _COMPLETED},
            **request.stage.describe(),
            "stage_dir": choice.dataset_name,
            "fingerprint": request.fingerprint,
            "inputs_hash": request.inputs_hash,
            "num_records_requested": request.requested,
            "seeded_from_stage": latest[0] if latest is not None else None,
            "seed_path": write_path(latest[1], self._folder) if latest is not None else None,
            "config": request.config.to_dict(),
        }

    def _find_override(
        self,
        stage: CompositeStage,
        prior: StartedStageMetadata | None,
        *,
        keeps: bool = True,
    ) -> Location | None:
        """What replaces the output of a stage: as given, or as in the earlier run."""
        if stage.name in self._options.overrides:
            self._has_changed = True
            return self._options.overrides[stage.name]
        if not isinstance(prior, CompletedWorkflowStageMetadata):
            return None
        if (written := prior.stage_output_override_path) is None:
            return None
        path = read_path(written, self._folder)
        if not keeps:
            _logger.warning(
                "stage %s has changed, so %s no longer replaces its output; name the file in "
                "stage_output_overrides again if it still should",
                stage.name,
                path,
            )
            return None
        return path

    def _conclude(
        self,
        stage: CompositeStage,
        made: StageOutput,
        override: Location | None,
        known: CompletedWorkflowStageMetadata | dict[str, Any],
    ) -> None:
        """Record what a stage came to, and hand its output on."""
        path, rows = made.path, made.rows
        if override is not None:
            path, rows = override, _count_override(stage, override)
        if not rows and not stage.allow_empty:
            raise DataDesignerWorkflowError(
                f"stage {stage.name!r} produced an empty output ({path}); set allow_empty=True if "
                "the stages after it may be skipped"
            )
        fields: dict[str, Any] = {
            "status": "completed" if rows else "completed_empty",
            "output_records": rows,
            "output_seed_path": self._write(path),
            "own_output_path": self._write(made.path),
            "callback_output_path": self._write(made.callback),
            "stage_output_override_path": self._write(override),
            "output_processor_output_path": self._write(made.processed),
        }
        if isinstance(known, dict):
            self._record(CompletedWorkflowStageMetadata.model_validate({**known, **fields}))
        else:
            unset = fields.keys() - known.model_fields_set
            changed = {name: fields[name] for name in fields if name not in unset or fields[name]}
            described = {**stage.describe(), **changed}
            self._record(known.model_copy(update=described))
        self._results[stage.name] = made.result
        self._paths[stage.name] = path
        self._latest = (stage.name, path, rows)

    def _skip(self, stage: CompositeStage, empty: str) -> None:
        status = SkippedStageStatus.SKIPPED_EMPTY_UPSTREAM
        fields = {"stage_dir": stage.folder, "status": status.value, "upstream_stage": empty}
        record = {**stage.describe(), **fields}
        self._record(SkippedWorkflowStageMetadata.model_validate(record))
        self._results[stage.name] = SkippedStageResult(status, empty)

    def _record(self, stage: AnyStageMetadata) -> None:
        self._metadata.set_stage(stage)
        self._metadata.write(self._folder)

    def _write(self, path: Location | None) -> str | None:
        return None if path is None else write_path(path, self._folder)


def _count_override(stage: CompositeStage, path: Location) -> int:
    try:
        return count_rows(path)
    except DataDesignerWorkflowError as error:
        raise DataDesignerWorkflowError(
            f"the output of stage {stage.name!r} was replaced by {path}, which cannot be read: "
            f"{error}; name another file in stage_output_overrides, or None for the stage's own "
            "output"
        ) from error
