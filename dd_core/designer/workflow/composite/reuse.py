"""Decides what becomes of the dataset that an earlier run made for a stage."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.designer.workflow.composite.identity import hash_inputs, hash_stage
from dd_core.designer.workflow.composite.metadata import (
    CompletedWorkflowStageMetadata,
    StartedStageMetadata,
)
from dd_core.designer.workflow.composite.stage import CompositeStage
from dd_core.errors import ArtifactStorageError, DataDesignerWorkflowError
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location
from dd_core.storage.resume import ResumeMode, replace_hashes

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRequest:
    """The dataset that a stage needs now."""

    stage: CompositeStage
    config: DataDesignerConfig
    """The configuration, seeded with the output of the stage before."""
    plan: Plan
    requested: int
    fingerprint: str
    inputs_hash: str

    @classmethod
    def of(
        cls, stage: CompositeStage, config: DataDesignerConfig, plan: Plan, requested: int
    ) -> StageRequest:
        """Hash what the dataset depends on."""
        fingerprint, inputs = hash_stage(stage, plan), hash_inputs(plan, requested)
        return cls(stage, config, plan, requested, fingerprint, inputs)

    @property
    def expected(self) -> tuple[str, str]:
        """The hashes of the configuration and of the plan that the dataset records."""
        return str(self.config.fingerprint()["config_hash"]), self.plan.fingerprint


@dataclass(frozen=True)
class _Obstacle:
    """Why the dataset cannot be continued."""

    reason: str
    is_inherited: bool = False
    """Whether the stages before are the cause, rather than the stage itself."""


@dataclass(frozen=True)
class Choice:
    """The dataset of a stage, and how a run starts."""

    dataset_name: str
    resume: ResumeMode
    is_complete: bool = False
    """Whether a run would change nothing."""


def choose_dataset(
    request: StageRequest,
    prior: StartedStageMetadata | None,
    folder: Location,
    settings: RunConfig,
    *,
    must_fit: bool,
    is_forced: bool,
    retry_failed: bool,
) -> Choice:
    """Continue the dataset of an earlier run, or start one next to it.

    Raises `DataDesignerWorkflowError` if a dataset has to fit (`must_fit`) and does not because the
    stage itself has changed.
    """
    stage = request.stage
    if prior is not None and not is_forced:
        directory = DatasetDirectory(folder / prior.stage_dir)
        obstacle = _find_obstacle(request, prior, directory, settings)
        if obstacle is None:
            if directory.has_content:
                replace_hashes(directory, *request.expected)
            is_complete = _is_complete(request, prior, directory, retry_failed=retry_failed)
            mode = ResumeMode.ALWAYS if directory.has_content else ResumeMode.NEVER
            return Choice(prior.stage_dir, mode, is_complete)
        if must_fit and not obstacle.is_inherited:
            raise DataDesignerWorkflowError(
                f"the workflow cannot be resumed: stage {stage.name!r} is not reusable, because "
                f"{obstacle.reason}; use resume='if_possible' to make it anew next to the "
                "earlier one"
            )
        _logger.info("stage %s is made anew, because %s", stage.name, obstacle.reason)
    first = DatasetDirectory(folder / stage.folder)
    is_larger = first.metadata.target_num_records > request.requested
    mode = ResumeMode.NEVER if is_forced or is_larger else ResumeMode.IF_POSSIBLE
    return Choice(stage.folder, mode)


def _find_obstacle(
    request: StageRequest,
    prior: StartedStageMetadata,
    directory: DatasetDirectory,
    settings: RunConfig,
) -> _Obstacle | None:
    known = directory.metadata
    if prior.fingerprint != request.fingerprint:
        return _Obstacle(
            "its configuration, the columns that it receives, or code that it uses have changed"
        )
    if settings.seed is not None and known.seed not in (None, settings.seed):
        return _Obstacle(f"it was started with the seed {known.seed}")
    if isinstance(prior, CompletedWorkflowStageMetadata) and not directory.has_content:
        return _Obstacle(f"its folder {directory.path} is missing")
    follows = request.stage.upstream is not None
    made = max(prior.num_records_requested, known.target_num_records)
    if request.requested < made:
        reason = f"it was made with num_records={made}, and {request.requested} are requested now"
        return _Obstacle(reason, is_inherited=follows and request.stage.num_records is None)
    if prior.inputs_hash != hash_inputs(request.plan, prior.num_records_requested):
        return _Obstacle("the rows that it uses have changed", is_inherited=follows)
    return None


def _is_complete(
    request: StageRequest,
    prior: StartedStageMetadata,
    directory: DatasetDirectory,
    *,
    retry_failed: bool,
) -> bool:
    if not isinstance(prior, CompletedWorkflowStageMetadata):
        return False
    if prior.num_records_requested != request.requested:
        return False
    try:
        directory.files()
    except ArtifactStorageError as error:
        _logger.warning("stage %s: %s", request.stage.name, error)
        return False
    return not (retry_failed and any(part.dropped for part in directory.parts()))
