"""The results of a workflow: one dataset per stage, and what became of the rows in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dd_core.dataset.workflow.plan import WorkflowPlan
from dd_core.dataset.workflow.steps import ADDRESS
from dd_core.designer.results import DatasetCreationResults
from dd_core.designer.workflow.manifest import WorkflowManifest
from dd_core.errors import DataDesignerWorkflowError
from dd_core.storage.arrow import DtypeBackend
from dd_core.storage.location import Location

if TYPE_CHECKING:
    import pandas as pd


class WorkflowResults(Mapping[str, DatasetCreationResults]):
    """The datasets of the stages by name."""

    def __init__(
        self,
        plan: WorkflowPlan,
        manifest: WorkflowManifest,
        stages: Mapping[str, DatasetCreationResults],
        path: Location,
    ) -> None:
        self.plan = plan
        self.manifest = manifest
        self.path = path
        """The folder of the workflow."""
        self._stages = {name: stages[name] for name in plan.stages if name in stages}

    def __getitem__(self, stage: str) -> DatasetCreationResults:
        return self._stages[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}: {each.rows}" for name, each in self.manifest.stages.items())
        return f"<WorkflowResults: {rows} rows in {str(self.path)!r}>"

    @property
    def final(self) -> DatasetCreationResults:
        """The dataset of the last stage; raises `DataDesignerWorkflowError` if there are several.

        The last stage is the one whose rows no other stage uses.
        """
        names = self.plan.config.final_stages
        if len(names) != 1:
            raise DataDesignerWorkflowError(f"there are several last stages; choose one of {names}")
        return self[names[0]]

    def load_dataset(
        self,
        stage: str | None = None,
        *,
        addresses: bool = True,
        dtype_backend: DtypeBackend = "numpy",
    ) -> pd.DataFrame:
        """Load the rows of a stage; default: the last one. The column `row_address` is optional."""
        found = self.final if stage is None else self[stage]
        frame = found.load_dataset(dtype_backend=dtype_backend)
        return frame if addresses else frame.drop(columns=ADDRESS)

    def export(self, path: str | Path, stage: str | None = None, format: str | None = None) -> Path:  # noqa: A002
        """Write the rows of a stage to a `jsonl`, `csv` or `parquet` file; default: the last."""
        return (self.final if stage is None else self[stage]).export(path, format)
