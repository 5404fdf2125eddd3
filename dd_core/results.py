"""What a run hands back: a dataset on disk, or a preview in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_core.arrow import read_parquet
from dd_core.errors import ArtifactStorageError, DataDesignerGenerationError
from dd_core.failed_rows import DroppedRow
from dd_core.plan import Plan
from dd_core.storage import DatasetDirectory

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Usage = dict[str, dict[str, dict[str, float]]]
"""Requests and tokens by model alias and column."""


@dataclass(frozen=True)
class PreviewResults:
    """Rows in memory."""

    dataset: pd.DataFrame
    plan: Plan
    seed: int
    usage: Usage = field(default_factory=dict[str, Any])
    dropped: tuple[DroppedRow, ...] = ()
    processor_artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, Any])
    """What processors made beside the dataset, by their names."""

    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings."""
        rows: Any = self.dataset.to_dict("records")
        return rows

    def display_sample_record(self, index: int = 0) -> None:
        """Print one row, a line a column."""
        show_record(self.dataset.iloc[index].to_dict())


@dataclass(frozen=True)
class DatasetCreationResults:
    """A dataset on disk."""

    directory: DatasetDirectory
    plan: Plan
    num_requested: int
    usage: Usage = field(default_factory=dict[str, Any])
    dropped: tuple[DroppedRow, ...] = ()
    """Rows dropped in this run; rows dropped before a resume are only counted in the metadata."""

    @property
    def dataset_path(self) -> Path:
        """The dataset's directory."""
        return self.directory.path

    @property
    def seed(self) -> int:
        """Seed that generates the same sampled rows again."""
        return self.plan.seed

    @property
    def usage_of_all_runs(self) -> Usage:
        """Requests and tokens of this run and of those that it continued."""
        return dict(self.directory.metadata.get("usage", {}))

    @property
    def dollars(self) -> dict[str, float | None]:
        """What the dataset has cost by model alias; None where the price is not known."""
        return dict(self.directory.metadata.get("dollars", {}))

    def get_path_to_processor_artifacts(self, processor_name: str) -> Path:
        """The folder with what a processor made beside the dataset."""
        path = self.dataset_path / "processors-files" / processor_name
        known = [processor.name for processor in self.plan.config.processors or ()]
        if processor_name not in known or not path.is_dir():
            raise ArtifactStorageError(
                f"processor {processor_name!r} made nothing; processors: {known}"
            )
        return path

    def load_processor_dataset(self, processor_name: str) -> pd.DataFrame:
        """What a processor made beside the dataset."""
        folder = self.get_path_to_processor_artifacts(processor_name)
        tables = [read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
        return to_frame(concatenated(tables))

    def count_records(self) -> int:
        """Rows in the dataset, from the files' metadata."""
        return self.directory.count_rows()

    def load_dataset(self) -> pd.DataFrame:
        """All rows, in row order, as a DataFrame with Arrow types."""
        tables = [*self.directory.tables()]
        if not tables:
            raise DataDesignerGenerationError(f"{self.dataset_path} has no rows")
        return to_frame(concatenated(tables))

    def display_sample_record(self, index: int = 0) -> None:
        """Print one row, a line a column."""
        show_record(self.load_dataset().iloc[index].to_dict())


def concatenated(tables: list[pa.Table]) -> pa.Table:
    """One table; columns whose types differ between parts are brought to a common one."""
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive")


def to_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a DataFrame with Arrow types."""
    import pandas as pd

    frame: Any = table
    return frame.to_pandas(types_mapper=pd.ArrowDtype)


def show_record(record: Mapping[Any, Any]) -> None:
    """Print a row to the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, show_lines=True)
    for name, value in record.items():
        table.add_row(f"[bold]{name}", str(value))
    Console().print(table)
