"""`CompositeWorkflow`: the entry point of workflows whose stages run one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from dd_core.dataset.builder import DataDesignerConfigBuilder
from dd_core.dataset.config import DataDesignerConfig
from dd_core.designer.blocking import run_blocking
from dd_core.designer.workflow.composite.check import StagePlanner
from dd_core.designer.workflow.composite.metadata import METADATA_FILE, read_metadata
from dd_core.designer.workflow.composite.output import StageDesigner
from dd_core.designer.workflow.composite.output_files import count_rows
from dd_core.designer.workflow.composite.results import CompositeWorkflowResults
from dd_core.designer.workflow.composite.run import CompositeRun, RunOptions
from dd_core.designer.workflow.composite.stage import (
    FINAL,
    CompositeStage,
    OnSuccess,
    build_config,
    check_name,
)
from dd_core.errors import DataDesignerWorkflowError, convert_errors
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.seeds.seed import IndexRange, PartitionBlock, SamplingStrategy
from dd_core.redaction.registry import mask_errors
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, parse_location
from dd_core.storage.resume import ResumeMode, acquire_directory, parse_resume

StageTargets = str | list[str] | tuple[str, ...] | set[str]
"""The name of a stage, or several names."""


class CompositeWorkflow:
    """Datasets that are generated one after the other, each from the output of the one before.

    `DataDesigner.compose_workflow` makes it. For stages that run at the same time, and for stages
    with several sources, see `DataDesigner.workflow`.
    """

    def __init__(self, *, name: str, data_designer: StageDesigner) -> None:
        check_name("the workflow name", name)
        self.name = name
        self._designer = data_designer
        self._stages: list[CompositeStage] = []

    def add_stage(
        self,
        name: str,
        config_builder: DataDesignerConfigBuilder | DataDesignerConfig,
        *,
        num_records: int | None = None,
        on_success: OnSuccess | None = None,
        on_success_version: str | None = None,
        output_processors: Sequence[ProcessorConfig] | None = None,
        output: str = FINAL,
        allow_empty: bool = False,
        sampling_strategy: SamplingStrategy = SamplingStrategy.ORDERED,
        selection_strategy: IndexRange | PartitionBlock | None = None,
    ) -> Self:
        """Add a stage, which uses the output of the stage before as its seed dataset.

        Later changes of the builder have no effect. `num_records` defaults to the rows that the
        stage uses, or to 10 in the first stage. `output` is `final`, or `processor:<name>` for the
        side dataset of a processor. `output_processors` make a second dataset of the stage's rows,
        which becomes its output. `on_success` receives the folder of the dataset and returns the
        Parquet file or folder that becomes the output; a later run calls it again unless
        `on_success_version` is set and the same. If the output is empty, `allow_empty` skips the
        stages after it; otherwise, that is an error. The strategies say in which order, and which
        of, the rows of the stage before are used.

        Raises `DataDesignerWorkflowError`.
        """
        if any(stage.name == name for stage in self._stages):
            raise DataDesignerWorkflowError(
                f"the stage name {name!r} is already used in workflow {self.name!r}; rename one"
            )
        stage = CompositeStage(
            index=len(self._stages),
            name=name,
            upstream=self._stages[-1].name if self._stages else None,
            config=build_config(config_builder),
            num_records=num_records,
            on_success=on_success,
            on_success_version=on_success_version,
            output_processors=tuple(each.model_copy(deep=True) for each in output_processors or ()),
            output=output,
            allow_empty=allow_empty,
            sampling_strategy=sampling_strategy,
            selection_strategy=selection_strategy,
        )
        self._stages.append(stage)
        return self

    @mask_errors
    def run(
        self,
        *,
        resume: ResumeMode | str = ResumeMode.NEVER,
        targets: StageTargets | None = None,
        rerun_from: str | None = None,
        stage_output_overrides: Mapping[str, Location | str | None] | None = None,
        retry_failed: bool = False,
    ) -> CompositeWorkflowResults:
        """Run all stages, or those up to the last of the `targets`.

        `resume` is that of `DataDesigner.create`: `never` starts a new folder next to an existing
        one, `always` continues the stages and raises an error if one of them has changed, and
        `if_possible` makes stages that have changed anew, next to the earlier datasets.
        `rerun_from` makes a stage and those after it anew. `stage_output_overrides` replaces the
        outputs of stages by Parquet files or folders, also in later runs; None brings the stage's
        own output back. `retry_failed` also retries rows that failed in an earlier run.

        Raises `InvalidConfigError` before anything is spent, `DataDesignerWorkflowError`, and what
        `DataDesigner.create` raises for the dataset of a stage.
        """
        return run_blocking(
            lambda: self.arun(
                resume=resume,
                targets=targets,
                rerun_from=rerun_from,
                stage_output_overrides=stage_output_overrides,
                retry_failed=retry_failed,
            )
        )

    @mask_errors
    async def arun(
        self,
        *,
        resume: ResumeMode | str = ResumeMode.NEVER,
        targets: StageTargets | None = None,
        rerun_from: str | None = None,
        stage_output_overrides: Mapping[str, Location | str | None] | None = None,
        retry_failed: bool = False,
    ) -> CompositeWorkflowResults:
        """Like `run`, for callers with a running event loop."""
        with convert_errors(DataDesignerWorkflowError, f"workflow {self.name!r} cannot be run"):
            mode = parse_resume(resume)
            last = self._find_last(targets)
            options = RunOptions(
                mode,
                self._check_overrides(stage_output_overrides or {}, last),
                self._find_first(rerun_from, last, mode),
                retry_failed,
            )
            return await self._run(self._stages[: last + 1], options)

    async def _run(
        self, stages: Sequence[CompositeStage], options: RunOptions
    ) -> CompositeWorkflowResults:
        designer, mode = self._designer, options.resume
        settings = designer.run_config
        planner = StagePlanner(designer.providers, settings, designer.managed_assets_path)
        given = {name: path for name, path in options.overrides.items() if path is not None}
        await asyncio.to_thread(planner.check, stages, given)
        artifacts = parse_location(designer.artifact_path)
        placed = DatasetDirectory(artifacts / self.name)
        if mode is ResumeMode.ALWAYS:
            read_metadata(placed.path, is_required=True)

        def choose() -> DatasetDirectory:
            is_taken = mode is ResumeMode.NEVER and placed.has_content
            return placed.beside() if is_taken else placed

        with report_storage_errors(placed.path):
            async with acquire_directory(
                choose,
                wait=settings.wait_for_owner,
                flow_run=None,
                is_new=mode is ResumeMode.NEVER,
            ) as directory:
                folder = directory.path
                prior = None
                if (folder / METADATA_FILE).exists():
                    prior = read_metadata(folder, is_required=mode is ResumeMode.ALWAYS)
                run = CompositeRun(self.name, stages, designer, planner, folder, prior, options)
                return await run.run()

    def _find_last(self, targets: StageTargets | None) -> int:
        """The position of the last target."""
        if not self._stages:
            raise DataDesignerWorkflowError(
                f"workflow {self.name!r} has no stages; add some with add_stage"
            )
        if targets is None:
            return len(self._stages) - 1
        names = [targets] if isinstance(targets, str) else [*targets]
        if not names:
            raise DataDesignerWorkflowError("targets must name at least one stage, or be None")
        return max(self._find_position("targets", name) for name in names)

    def _find_first(self, rerun_from: str | None, last: int, mode: ResumeMode) -> int | None:
        """The position of the first stage to make anew."""
        if rerun_from is None:
            return None
        if mode is ResumeMode.NEVER:
            raise DataDesignerWorkflowError(
                "rerun_from requires resume='if_possible' or resume='always', because without "
                "them all stages are made anew"
            )
        first = self._find_position("rerun_from", rerun_from)
        if first > last:
            raise DataDesignerWorkflowError(
                f"rerun_from names {rerun_from!r}, which comes after the last target "
                f"{self._stages[last].name!r}"
            )
        return first

    def _check_overrides(
        self, given: Mapping[str, Location | str | None], last: int
    ) -> dict[str, Location | None]:
        found: dict[str, Location | None] = {}
        for name, path in given.items():
            if self._find_position("stage_output_overrides", name) > last:
                raise DataDesignerWorkflowError(
                    f"stage_output_overrides names {name!r}, which comes after the last target "
                    f"{self._stages[last].name!r}"
                )
            found[name] = None if path is None else parse_location(path)
            if (located := found[name]) is None:
                continue
            try:
                count_rows(located)
            except DataDesignerWorkflowError as error:
                raise DataDesignerWorkflowError(
                    f"Invalid stage output override of stage {name!r}: {error}"
                ) from error
        return found

    def _find_position(self, argument: str, name: Any) -> int:
        names: Iterable[str] = [stage.name for stage in self._stages]
        if name not in names:
            raise DataDesignerWorkflowError(
                f"{argument} names the stage {name!r}, which does not exist; the stages are "
                f"{[*names]}"
            )
        return [*names].index(name)
