"""The paths and the content of a dataset, under the names that NeMo Data Designer uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dd_core.errors import ArtifactStorageError
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.arrow import DtypeBackend, to_frame
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.files.metadata import METADATA
from dd_core.storage.files.parquet import read_parquet
from dd_core.storage.files.stored_files import DROPPED_FOLDER, PROCESSORS_FOLDER, ROWS_FOLDER
from dd_core.storage.location import Location, list_paths
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import pandas as pd


class ArtifactStorage:
    """The files of a dataset. Paths are of `pathlib`, or `UPath`s in object storage."""

    def __init__(self, directory: DatasetDirectory) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        return f"<ArtifactStorage: {str(self.base_dataset_path)!r}>"

    @property
    def base_dataset_path(self) -> Location:
        """The folder of the dataset, or of its version."""
        return self._directory.path

    @property
    def artifact_path(self) -> Location:
        """The folder that contains the dataset's folder."""
        return self._directory.dataset_path.parent

    @property
    def dataset_name(self) -> str:
        """The name of the dataset's folder."""
        return self._directory.dataset_path.name

    @property
    def resolved_dataset_name(self) -> str:
        """The name of the dataset's folder, with the time of creation if the name was taken."""
        return self.dataset_name

    @property
    def final_dataset_path(self) -> Location:
        """The folder with the Parquet files of the rows."""
        return self.base_dataset_path / ROWS_FOLDER

    @property
    def dropped_columns_dataset_path(self) -> Location:
        """The folder with the Parquet files of dropped columns; it may not exist."""
        return self.base_dataset_path / DROPPED_FOLDER

    @property
    def processors_outputs_path(self) -> Location:
        """The folder with one folder per processor that made a table; it may not exist."""
        return self.base_dataset_path / PROCESSORS_FOLDER

    @property
    def metadata_file_path(self) -> Location:
        """The file with the dataset's metadata."""
        return self.base_dataset_path / METADATA

    def read_metadata(self) -> dict[str, Any]:
        """Return the content of the metadata file."""
        return self._directory.metadata.to_json()

    def list_processor_names(self) -> list[str]:
        """Names of the processors that made a table."""
        return [*self._directory.processor_files()]

    def load_dataset(self, *, dtype_backend: DtypeBackend = "numpy") -> pd.DataFrame:
        """Load all rows; raises `ArtifactStorageError` if there are none.

        With `dtype_backend="pyarrow"`, the DataFrame has the Arrow types of the files.
        """
        tables = [*self._directory.tables()]
        if not tables:
            raise ArtifactStorageError(f"{self.base_dataset_path} has no rows")
        return to_frame(concatenate(tables), dtype_backend)

    def load_dataset_with_dropped_columns(
        self, *, dtype_backend: DtypeBackend = "numpy"
    ) -> pd.DataFrame:
        """Load all rows, with the columns that processors dropped at the end.

        Raises `ArtifactStorageError` if later processors removed rows, because the dropped columns
        then belong to other rows.
        """
        frame = self.load_dataset(dtype_backend=dtype_backend)
        with report_storage_errors(self.base_dataset_path):
            files = list_paths(self.dropped_columns_dataset_path, "batch_*.parquet")
            dropped = [read_parquet(path) for path in files]
        if not dropped:
            return frame
        table = concatenate(dropped)
        if table.num_rows != len(frame):
            raise ArtifactStorageError(
                f"{self.base_dataset_path} has {len(frame)} rows but {table.num_rows} rows of "
                "dropped columns, because a processor removed rows; read both folders separately"
            )
        return frame.join(to_frame(table, dtype_backend))
