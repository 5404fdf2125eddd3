"""Reads the output of a stage: Parquet files of its dataset, of a callback or of a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dd_core.errors import ArtifactStorageError, DataDesignerWorkflowError
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.files.parquet import read_parquet, read_parquet_facts, read_schema
from dd_core.storage.location import Location, is_below, list_paths, parse_location

if TYPE_CHECKING:
    import pyarrow as pa


def list_files(output: Location) -> list[Location]:
    """The files of an output, sorted by name; raises `DataDesignerWorkflowError` without any."""
    with report_storage_errors(output):
        if output.is_dir():
            found = list_paths(output, "*.parquet")
        else:
            found = [output] if output.exists() else []
    if not found:
        raise DataDesignerWorkflowError(
            f"No parquet files found at {str(output)!r}; it must be a Parquet file or a folder "
            "that contains some"
        )
    return found


def count_rows(output: Location) -> int:
    """Count the rows of an output; raises `DataDesignerWorkflowError` if it cannot be read."""
    try:
        return sum(read_parquet_facts(path)[0] for path in list_files(output))
    except ArtifactStorageError as error:
        raise DataDesignerWorkflowError(f"{output} cannot be read: {error}") from error


def read_tables(output: Location) -> Iterator[pa.Table]:
    """Yield the table of each file of an output."""
    for path in list_files(output):
        with report_storage_errors(path):
            table = read_parquet(path)
        yield table


def read_output_schema(output: Location) -> pa.Schema:
    """The schema of the first file of an output."""
    try:
        return read_schema(list_files(output)[0])
    except ArtifactStorageError as error:
        raise DataDesignerWorkflowError(f"{output} cannot be read: {error}") from error


def write_path(path: Location, folder: Location) -> str:
    """A path as it is written to the metadata: relative if it is in the folder of the workflow."""
    if not is_below(path, folder):
        return str(path)
    return str(path)[len(str(folder).rstrip("/")) + 1 :]


def read_path(written: str, folder: Location) -> Location:
    """The path that was written to the metadata of the workflow in a folder."""
    return parse_location(written) if "://" in written else folder / written
