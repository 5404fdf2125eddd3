"""The results of a composite workflow: the dataset of each stage, and the output it hands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_core.designer.results import DatasetCreationResults
from dd_core.designer.workflow.composite.output_files import count_rows, read_tables
from dd_core.errors import DataDesignerWorkflowError
from dd_core.quality.report import DatasetProfilerResults
from dd_core.storage.arrow import DtypeBackend, to_frame
from dd_core.storage.export import export
from dd_core.storage.location import Location
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import pandas as pd


class SkippedStageStatus(StrEnum):
    """Why a stage was skipped."""

    SKIPPED_EMPTY_UPSTREAM = "skipped_empty_upstream"


@dataclass(frozen=True)
class SkippedStageResult:
    """A stage that was skipped."""

    status: SkippedStageStatus
    upstream_stage: str
    """The stage whose output is empty."""


StageResult = DatasetCreationResults | SkippedStageResult


class CompositeWorkflowResults(Mapping[str, StageResult]):
    """The results of the stages by name, in their order.

    The result of a stage with output processors is the dataset that these made. The methods for
    outputs, and `load_dataset`, `count_records` and `export` for the final stage, follow what the
    stage hands on: the output of its callback, of a processor, or what replaced it.
    """

    def __init__(
        self,
        *,
        name: str,
        stage_results: dict[str, StageResult],
        final_stage_name: str,
        stage_output_paths: dict[str, Location] | None = None,
        path: Location | None = None,
    ) -> None:
        self.name = name
        self.stage_results = stage_results
        self.final_stage_name = final_stage_name
        """The last stage that ran."""
        self.path = path
        """The folder of the workflow."""
        self._output_paths = stage_output_paths or {}

    def __getitem__(self, stage: str) -> StageResult:
        return self.stage_results[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stage_results)

    def __len__(self) -> int:
        return len(self.stage_results)

    def __repr__(self) -> str:
        stages = ", ".join(f"{name}: {result!r}" for name, result in self.stage_results.items())
        return f"<CompositeWorkflowResults {self.name!r}: {stages}>"

    @property
    def final_result(self) -> DatasetCreationResults:
        """The result of the final stage; raises `DataDesignerWorkflowError` if it was skipped."""
        return self._require_result(self.final_stage_name, "Final stage")

    def load_dataset(self, *, dtype_backend: DtypeBackend = "numpy") -> pd.DataFrame:
        """Load the output of the final stage; `dtype_backend` as for a dataset."""
        self._require_result(self.final_stage_name, "Final stage")
        return self.load_stage_output(self.final_stage_name, dtype_backend=dtype_backend)

    def load_analysis(self) -> DatasetProfilerResults:
        """Load the profile of the final stage's dataset."""
        return self.final_result.load_analysis()

    def count_records(self) -> int:
        """Count the rows of the final stage's output."""
        self._require_result(self.final_stage_name, "Final stage")
        return self.count_stage_output_records(self.final_stage_name)

    def get_stage_output_path(self, stage_name: str) -> Location:
        """Return the file or the folder with the output that a stage hands on."""
        result = self._require_result(stage_name, "Stage")
        return self._output_paths.get(stage_name, result.artifact_storage.final_dataset_path)

    def load_stage_output(
        self, stage_name: str, *, dtype_backend: DtypeBackend = "numpy"
    ) -> pd.DataFrame:
        """Load the output that a stage hands on."""
        tables = [*read_tables(self.get_stage_output_path(stage_name))]
        return to_frame(concatenate(tables), dtype_backend)

    def count_stage_output_records(self, stage_name: str) -> int:
        """Count the rows of the output that a stage hands on."""
        return count_rows(self.get_stage_output_path(stage_name))

    def export(self, path: str | Path, *, format: str | None = None) -> Path:  # noqa: A002
        """Write the output of the final stage to one `jsonl`, `csv` or `parquet` file."""
        self._require_result(self.final_stage_name, "Final stage")
        return self.export_stage(self.final_stage_name, path, format=format)

    def export_stage(
        self,
        stage_name: str,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002
    ) -> Path:
        """Write the output of a stage to one `jsonl`, `csv` or `parquet` file."""
        output = self.get_stage_output_path(stage_name)
        return export(lambda: read_tables(output), path, format)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> str:
        """Upload the dataset of the final stage to the Hugging Face Hub; returns its URL.

        The arguments are those of `DatasetCreationResults.push_to_hub`. Raises
        `DataDesignerWorkflowError` if the output of the stage is something else than its dataset.
        """
        result = self.final_result
        output = self.get_stage_output_path(self.final_stage_name)
        if output != result.artifact_storage.final_dataset_path:
            raise DataDesignerWorkflowError(
                f"the output of stage {self.final_stage_name!r} is {str(output)!r}, and "
                "push_to_hub does not upload selected workflow outputs; use export() and upload "
                f"the file, or upload the dataset with results[{self.final_stage_name!r}]"
                ".push_to_hub()"
            )
        return result.push_to_hub(*args, **kwargs)

    def _require_result(self, stage_name: str, what: str) -> DatasetCreationResults:
        result = self.stage_results[stage_name]
        if isinstance(result, SkippedStageResult):
            raise DataDesignerWorkflowError(
                f"{what} {stage_name!r} was skipped ({result.status.value}): the output of "
                f"{result.upstream_stage!r} is empty"
            )
        return result
