"""What is known about a workflow in its folder: which dataset each stage has, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from dd_core.errors import ArtifactStorageError
from dd_core.storage.location import Location, put, read_content

MANIFEST = "workflow.json"

StageStatus = Literal[
    "pending", "running", "completed", "unchanged", "empty", "skipped", "waiting", "failed"
]


class StageRecord(BaseModel):
    """What is known about a stage."""

    model_config = ConfigDict(extra="allow")

    status: StageStatus = "pending"
    folder: str = ""
    """Name of the folder with the stage's dataset, below the folder of the stage."""
    identity: str = ""
    """Hash of everything that the values depend on, except for the rows that arrive."""
    earlier: str = ""
    """Name of the folder with the dataset whose rows were reused, if there is one."""
    arrived: dict[str, int] = Field(default_factory=dict)
    """Rows that arrived, by stage."""
    left_out: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Rows that steps left out, by step and reason."""
    requested: int = 0
    """Rows to generate."""
    rows: int = 0
    """Rows of the dataset."""
    usage: dict[str, Any] = Field(default_factory=dict)
    """Usage by model alias and column, of all runs of the dataset."""
    dollars: dict[str, float | None] = Field(default_factory=dict)
    review: dict[str, int] = Field(default_factory=dict)
    """Rows by the decision of a review; empty if there is none."""
    accepted: bool | None = None
    """Whether the dataset passed its gates; None if it has none."""


class WorkflowManifest(BaseModel):
    """The content of `workflow.json`."""

    model_config = ConfigDict(extra="allow")

    workflow: str
    version: str | None = None
    library_version: str | None = None
    status: Literal["running", "completed", "waiting", "failed"] = "running"
    seed: int = 0
    started_at: str | None = None
    """Start of the latest run, ISO 8601 with time zone."""
    ended_at: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    """The workflow as it was declared."""
    stages: dict[str, StageRecord] = Field(default_factory=dict)

    def write(self, folder: Location) -> None:
        """Write the manifest; the file is replaced as a whole."""
        put(folder / MANIFEST, orjson.dumps(self.model_dump(), option=orjson.OPT_INDENT_2))


def read_manifest(folder: Location) -> WorkflowManifest | None:
    """Read the manifest in a folder; None if there is none. Raises `ArtifactStorageError`."""
    try:
        return WorkflowManifest.model_validate(orjson.loads(read_content(folder / MANIFEST)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ArtifactStorageError(
            f"{folder / MANIFEST} is damaged: {error}; remove it to find the datasets of the "
            "stages by their configuration"
        ) from error


def describe_losses(left_out: Mapping[str, Mapping[str, int]]) -> str:
    """The rows that steps left out, such as `2. filter: the condition is false (7)`."""
    return "; ".join(
        f"{step}: {reason} ({count:,})"
        for step, losses in left_out.items()
        for reason, count in losses.items()
    )
