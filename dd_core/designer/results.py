"""Results of runs: a dataset on disk, or a preview in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_core.dataset.builder import DataDesignerConfigBuilder
from dd_core.dataset.config import DataDesignerConfig, read_stored_config
from dd_core.dataset.plan import Plan
from dd_core.designer.artifact_storage import ArtifactStorage
from dd_core.errors import ArtifactStorageError, DataDesignerGenerationError, convert_errors
from dd_core.kinds.seeds.dataframe import DataFrameSeedSource
from dd_core.kinds.seeds.local import LocalFileSeedSource
from dd_core.kinds.statistics import JudgeProfile
from dd_core.models.usage import UsageLedger
from dd_core.quality.report import DatasetProfilerResults
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.arrow import DtypeBackend, to_frame
from dd_core.storage.batch import DroppedRow
from dd_core.storage.directory import CONFIG, DatasetDirectory
from dd_core.storage.files.parquet import read_parquet, read_parquet_facts
from dd_core.storage.location import Location
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from rich.console import RenderableType

    from dd_core.designer.verification import Verification
    from dd_core.designer.view.record import RecordStyle


Usage = dict[str, dict[str, dict[str, float]]]
"""Requests and tokens by model alias and column."""


@dataclass(frozen=True)
class SeedColumns:
    """The columns of a dataset that come from its seed dataset."""

    seed_column_names: list[str]


class _Results:
    """What a preview and a dataset on disk have in common."""

    plan: Plan

    @property
    def dataset_metadata(self) -> SeedColumns:
        """The columns that came from the seed dataset."""
        columns = self.plan.config.columns
        seeds = [each.name for each in columns if each.is_seed]
        return SeedColumns(seeds)

    @property
    def task_traces(self) -> None:
        """None, for compatibility; timings are in `metadata.json` and in the run's summary."""
        return

    @cached_property
    def _next_record(self) -> Iterator[int]:
        return count()

    def _records(self) -> int:
        raise NotImplementedError

    def _record(self, index: int) -> Mapping[str, Any]:
        raise NotImplementedError

    def _made(self, index: int, names: Sequence[str]) -> Mapping[str, Any]:
        raise NotImplementedError

    def display_sample_record(
        self,
        index: int | None = None,
        *,
        syntax_highlighting_theme: str = "dracula",
        background_color: str | None = None,
        processors_to_display: Sequence[str] | None = None,
        hide_seed_columns: bool = False,
        include_traces: bool = True,
        save_path: str | Path | None = None,
        theme: str = "dark",
        display_width: int = 110,
    ) -> None:
        """Show one row in the terminal, or write it to a `.html` or `.svg` file.

        Without `index`, each call shows the next row, and the first row follows the last. Raises
        `IndexError` if there is no such row.
        """
        from dd_core.designer.view.record import RecordStyle
        from dd_core.quality.report import show

        total = self._records()
        if total == 0:
            raise IndexError("the dataset has no rows")
        chosen = next(self._next_record) % total if index is None else index
        if not -total <= chosen < total:
            raise IndexError(f"there is no row {chosen}; the dataset has {total}")
        chosen %= total
        style = RecordStyle(
            syntax_highlighting_theme, background_color, hide_seed_columns, include_traces
        )
        view = self.render_record(chosen, style, processors_to_display or ())
        show(view, save_path, width=display_width, theme=theme, title=f"record {chosen}")

    def render_record(
        self, index: int, style: RecordStyle, processors_to_display: Sequence[str] = ()
    ) -> RenderableType:
        """Render one row for Rich. The row is only read."""
        from dd_core.designer.view.record import render_record

        made = self._made(index, processors_to_display)
        return render_record(self.plan, self._record(index), made, style, index)

    def _builder(self) -> DataDesignerConfigBuilder:
        config = self.plan.config
        return DataDesignerConfigBuilder(
            [*(config.model_configs or ())], [*(config.tool_configs or ())]
        )


@dataclass(frozen=True, repr=False)
class PreviewResults(_Results):
    """A preview: generated rows in memory."""

    table: pa.Table
    plan: Plan
    seed: int
    usage: Usage = field(default_factory=dict[str, Any])
    dropped: tuple[DroppedRow, ...] = ()
    processor_artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, Any])
    """Additional tables that processors made, by processor name."""
    processed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What each processor of the whole dataset left and removed."""
    num_requested: int = 0
    num_generated: int = 0
    """Rows that were generated, before processors removed any."""
    profiles: tuple[JudgeProfile, ...] = ()

    def __repr__(self) -> str:
        return f"<PreviewResults: {self.table.num_rows} of {self.num_requested} rows>"

    @cached_property
    def dataset(self) -> pd.DataFrame:
        """The rows as a DataFrame with the types of plain pandas."""
        return self.load_dataset()

    def load_dataset(self, *, dtype_backend: DtypeBackend = "numpy") -> pd.DataFrame:
        """Return the rows as a new DataFrame; with Arrow types for `dtype_backend="pyarrow"`."""
        return to_frame(self.table, dtype_backend)

    @cached_property
    def analysis(self) -> DatasetProfilerResults:
        """The profile of the rows."""
        from dd_core.quality.analysis import analyze

        usage = UsageLedger(self.usage)
        return analyze(
            self.table, self.plan, self.num_requested, usage, self.profiles, self.processed
        )

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        return self.table.to_pylist()

    def to_config_builder(self, columns: Sequence[str] | None = None) -> DataDesignerConfigBuilder:
        """A builder with the same models, seeded with these rows or with some of their columns."""
        return _seeded(self._builder(), self.load_dataset(dtype_backend="pyarrow"), columns)

    def _records(self) -> int:
        return self.table.num_rows

    def _record(self, index: int) -> Mapping[str, Any]:
        return self.table.slice(index, 1).to_pylist()[0]

    def _made(self, index: int, names: Sequence[str]) -> Mapping[str, Any]:
        return {name: self.processor_artifacts[name][index] for name in names}


@dataclass(frozen=True, repr=False)
class DatasetCreationResults(_Results):
    """A dataset on disk or in object storage."""

    directory: DatasetDirectory
    plan: Plan
    num_requested: int
    usage: Usage = field(default_factory=dict[str, Any])
    dropped: tuple[DroppedRow, ...] = ()
    """Rows dropped in this run; rows dropped before a resume are only counted in the metadata."""

    def __repr__(self) -> str:
        rows = self.directory.metadata.actual_num_records
        return f"<DatasetCreationResults: {rows} rows in {str(self.dataset_path)!r}>"

    @property
    def artifact_storage(self) -> ArtifactStorage:
        """The paths of the dataset's files."""
        return ArtifactStorage(self.directory)

    @property
    def dataset_path(self) -> Location:
        """The location of the dataset's directory."""
        return self.directory.path

    @property
    def seed(self) -> int:
        """The seed that generates the same sampled rows again."""
        return self.plan.seed

    @property
    def usage_of_all_runs(self) -> Usage:
        """Requests and tokens of this run and of the runs that it continued."""
        return UsageLedger(self.directory.metadata.usage).to_dict()

    @property
    def dollars(self) -> dict[str, float | None]:
        """Cost of the dataset in dollars, by model alias; None if the price is unknown."""
        return dict(self.directory.metadata.dollars)

    def get_path_to_processor_artifacts(self, processor_name: str) -> Location:
        """Return the folder with the additional table that a processor made."""
        made = self.directory.processor_files()
        if processor_name not in made:
            raise ArtifactStorageError(
                f"processor {processor_name!r} has no artifacts; those that have: {[*made]}"
            )
        return made[processor_name][0].parent

    def load_processor_dataset(
        self, processor_name: str, *, dtype_backend: DtypeBackend = "numpy"
    ) -> pd.DataFrame:
        """Load the additional table that a processor made; `dtype_backend` as in `load_dataset`."""
        files = self._files_of(processor_name)
        with report_storage_errors(self.dataset_path):
            return to_frame(concatenate([read_parquet(path) for path in files]), dtype_backend)

    def count_records(self) -> int:
        """Count the rows in the dataset that can be read, from the files' footers.

        Warns if files are damaged. All methods that read rows raise `DatasetDamagedError` then.
        """
        return self.directory.count_rows()

    def load_dataset(self, *, dtype_backend: DtypeBackend = "numpy") -> pd.DataFrame:
        """Load all rows, in row order, as a DataFrame with the types of plain pandas.

        With `dtype_backend="pyarrow"`, the DataFrame has the Arrow types of the files: integers
        with missing values stay integers, and nested values take much less memory.
        """
        tables = [*self.directory.tables()]
        if not tables:
            raise DataDesignerGenerationError(f"{self.dataset_path} has no rows")
        return to_frame(concatenate(tables), dtype_backend)

    def load_analysis(self) -> DatasetProfilerResults:
        """Load the profile of the dataset, or compute it from the files if none is up to date."""
        from dd_core.quality.analysis import load_analysis

        with report_storage_errors(self.dataset_path):
            return load_analysis(self.directory, self.plan, self.num_requested)

    def verify(self) -> Verification:
        """Read everything that is stored of the dataset and check it; see docs/results.md.

        `DataDesigner.repair` regenerates what is lost.
        """
        from dd_core.designer.verification import verify_dataset

        return verify_dataset(self.directory)

    def export(self, path: str | Path, format: str | None = None) -> Path:  # noqa: A002
        """Write the dataset to one `jsonl`, `csv` or `parquet` file, one batch at a time."""
        from dd_core.storage.export import export

        return export(self.directory.tables, path, format)

    def push_to_hub(
        self,
        repo_id: str,
        description: str,
        *,
        token: str | None = None,
        private: bool = False,
        tags: Sequence[str] | None = None,
        endpoint: str | None = None,
    ) -> str:
        """Upload the dataset to the Hugging Face Hub; returns the URL of the repository.

        `token` is a token or the name of the environment variable that holds it.
        """
        from dd_core.designer.hub import HuggingFaceHubClient

        with report_storage_errors(self.dataset_path):
            return HuggingFaceHubClient(token, endpoint).push_to_hub_from_folder(
                self.dataset_path, repo_id, description, private=private, tags=tags
            )

    def to_config_builder(self, columns: Sequence[str] | None = None) -> DataDesignerConfigBuilder:
        """A builder with the same models, seeded with this dataset or with some of its columns."""
        if columns is not None:
            frame = self.load_dataset(dtype_backend="pyarrow")
            return _seeded(self._builder(), frame, columns)
        self.directory.files()  # raises if one of them is damaged
        files = self.dataset_path / "parquet-files" / "*.parquet"
        return self._builder().with_seed_dataset(LocalFileSeedSource(path=str(files)))

    def _records(self) -> int:
        return self.count_records()

    def _record(self, index: int) -> Mapping[str, Any]:
        return _row_of(self.directory.files(), index)

    def _made(self, index: int, names: Sequence[str]) -> Mapping[str, Any]:
        made = {name: self._files_of(name) for name in names}
        return {name: _row_of(files, index) for name, files in made.items()}

    def _files_of(self, processor_name: str) -> list[Location]:
        """Files of the table that a processor made; raises if there is no such table."""
        self.get_path_to_processor_artifacts(processor_name)
        return self.directory.processor_files_of(processor_name)


@convert_errors(ArtifactStorageError, "the dataset cannot be opened")
def open_results(directory: DatasetDirectory) -> DatasetCreationResults:
    """Return the results of a dataset on disk, from its own files; warns of damaged files."""
    config = _read_config(directory)
    plan = Plan(config=config, columns={}, models=(), seed=directory.seed or 0, warnings=())
    target = directory.metadata.target_num_records
    directory.count_rows()  # warns if files are damaged
    return DatasetCreationResults(directory, plan, target)


def _read_config(directory: DatasetDirectory) -> DataDesignerConfig:
    """The configuration of a dataset; raises `ArtifactStorageError` if it is not one."""
    place = directory.path / CONFIG
    message = f"restore {place}, which does not contain the configuration of a dataset"
    with convert_errors(ArtifactStorageError, message):
        written: dict[str, Any] = directory.config()["data_designer"]
        seed: dict[str, Any] | None = written.get("seed_config")
        if seed is not None and seed["source"]["seed_type"] == "df":
            written["seed_config"] = None  # a DataFrame is not stored with the configuration
        return read_stored_config(written)[0]


def _row_of(files: Sequence[Location], index: int) -> Mapping[str, Any]:
    """Read one row from several files, loading only the file that contains it."""
    for path in files:
        rows, _ = read_parquet_facts(path)
        if index < rows:
            return read_parquet(path).slice(index, 1).to_pylist()[0]
        index -= rows
    raise IndexError("there is no such row")


def _seeded(
    builder: DataDesignerConfigBuilder, frame: pd.DataFrame, columns: Sequence[str] | None
) -> DataDesignerConfigBuilder:
    names = [*(frame.columns if columns is None else columns)]
    if unknown := [name for name in names if name not in frame.columns]:
        raise ValueError(f"column {unknown[0]!r} is not in the dataset; it has {[*frame.columns]}")
    return builder.with_seed_dataset(DataFrameSeedSource(df=frame[names]))
