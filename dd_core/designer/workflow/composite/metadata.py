"""The content of `workflow-metadata.json`: what each stage was made from, and what it came to."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dd_core.errors import DataDesignerWorkflowError
from dd_core.storage.location import Location, put, read_content

METADATA_FILE = "workflow-metadata.json"

_logger = logging.getLogger(__name__)


class WorkflowStageMetadata(BaseModel):
    """What is known about every stage. Fields that other programs add are kept."""

    model_config = ConfigDict(extra="allow")

    status: Literal["running", "failed", "completed", "completed_empty", "skipped_empty_upstream"]
    index: int
    name: str
    stage_dir: str
    """Name of the folder with the stage's dataset, in the folder of the workflow."""
    depends_on: list[str]
    allow_empty: bool
    on_success_version: str | None
    output_processors: list[dict[str, Any]]
    output: str
    sampling_strategy: str
    selection_strategy: dict[str, Any] | None


class StartedStageMetadata(WorkflowStageMetadata):
    """What is known about a stage whose dataset exists, or is being generated."""

    fingerprint: str
    """Hash of everything that the values depend on, except for the number and the content of the
    rows that the stage uses. Neither paths nor the library's version are part of it."""
    inputs_hash: str | None = None
    """Hash of the seed rows that the stage's rows use, in this order; None if unknown."""
    num_records_requested: int
    seeded_from_stage: str | None
    seed_path: str | None
    """The file, or the pattern of files, with the rows of the stage before."""
    config: dict[str, Any]


class RunningWorkflowStageMetadata(StartedStageMetadata):
    """A stage that is being generated, or whose process was killed."""

    status: Literal["running"]  # pyright: ignore[reportIncompatibleVariableOverride]


class FailedWorkflowStageMetadata(StartedStageMetadata):
    """A stage that failed or was interrupted; finished work is kept."""

    status: Literal["failed"]  # pyright: ignore[reportIncompatibleVariableOverride]
    duration_sec: float | None = None


class CompletedWorkflowStageMetadata(StartedStageMetadata):
    """A stage that is complete, with or without rows."""

    status: Literal["completed", "completed_empty"]  # pyright: ignore[reportIncompatibleVariableOverride]
    num_records_actual: int
    """Rows of the stage's dataset."""
    output_records: int
    """Rows of the output that the next stage uses."""
    output_seed_path: str
    """The file or the folder with these rows."""
    own_output_path: str | None = None
    """The output that the stage made, which something else may replace."""
    output_fingerprint: str | None = None
    """Hash of what chooses the output; None if it has to be chosen again in every run."""
    callback_output_path: str | None
    stage_output_override_path: str | None = None
    output_processor_output_path: str | None
    duration_sec: float


class SkippedWorkflowStageMetadata(WorkflowStageMetadata):
    """A stage that had no rows to use."""

    status: Literal["skipped_empty_upstream"]  # pyright: ignore[reportIncompatibleVariableOverride]
    upstream_stage: str
    """The stage whose output is empty."""


AnyStageMetadata: TypeAlias = Annotated[
    RunningWorkflowStageMetadata
    | FailedWorkflowStageMetadata
    | CompletedWorkflowStageMetadata
    | SkippedWorkflowStageMetadata,
    Field(discriminator="status"),
]
_STAGE: TypeAdapter[AnyStageMetadata] = TypeAdapter(AnyStageMetadata)


class WorkflowMetadata(BaseModel):
    """The content of `workflow-metadata.json`."""

    model_config = ConfigDict(extra="allow")

    name: str
    library_version: str
    """Version of the library that ran the workflow last."""
    stages: list[AnyStageMetadata]

    def find_stage(self, index: int, name: str) -> AnyStageMetadata | None:
        """The stage with this position and name; None if there is none."""
        found = [each for each in self.stages if (each.index, each.name) == (index, name)]
        return found[0] if found else None

    def set_stage(self, stage: AnyStageMetadata) -> None:
        """Record a stage in place of the one that had its position."""
        others = [each for each in self.stages if each.index != stage.index]
        self.stages = sorted([*others, stage], key=lambda each: each.index)

    def write(self, folder: Location) -> None:
        """Write the file; it is replaced as a whole."""
        content = self.model_dump(mode="json", exclude_unset=True)
        put(folder / METADATA_FILE, orjson.dumps(content, option=orjson.OPT_INDENT_2))


def validate_workflow_stage_metadata(value: object) -> AnyStageMetadata:
    """Return the entry of a stage as the class that belongs to its status.

    Raises `ValidationError` if it is not such an entry.
    """
    return _STAGE.validate_python(value)


def read_metadata(folder: Location, *, is_required: bool) -> WorkflowMetadata | None:
    """Read the file in a folder; None if there is none or if it is damaged, after a warning.

    If it is required, raises `DataDesignerWorkflowError` in these cases.
    """
    path = folder / METADATA_FILE
    try:
        return WorkflowMetadata.model_validate(orjson.loads(read_content(path)))
    except FileNotFoundError:
        problem = f"no workflow metadata found: {path} does not exist"
        if not is_required:
            return None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        problem = f"the workflow metadata has invalid shape: {path}: {place}: {first['msg']}"
    except (OSError, ValueError) as error:
        problem = f"the workflow metadata is corrupt: {path}: {error}"
    if is_required:
        raise DataDesignerWorkflowError(
            f"the workflow cannot be resumed: {problem}; use resume='if_possible' to continue the "
            "datasets of the stages that fit"
        )
    _logger.warning("%s; the datasets of the stages are continued if they fit", problem)
    return None
