"""A dataset in a folder or in object storage: its parts, journals and metadata.

A part is one batch as one Parquet file. It appears atomically and records in its own metadata
which rows it covers, so the files alone determine what is finished.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.errors import ArtifactStorageError
from dd_core.storage.access.failures import (
    report_own_storage_errors,
    report_storage_errors,
)
from dd_core.storage.access.ownership import OWNER, DatasetOwnership
from dd_core.storage.access.trial import SpaceReserve, write_trial
from dd_core.storage.arrow import encode_parquet, read_parquet, read_parquet_facts
from dd_core.storage.batch import (
    ROWS_KEY,
    Batch,
    BatchTables,
    Part,
    build_failures_table,
    find_gaps,
    find_missing,
    read_part,
)
from dd_core.storage.journal import Journal, list_segments
from dd_core.storage.location import (
    Location,
    list_files,
    list_paths,
    parse_location,
    put,
    read_content,
    remove_tree,
    replace_folder,
    require_folder,
    require_short_name,
    stamp_files,
    sync_folder,
)
from dd_core.storage.metadata import DatasetMetadata
from dd_core.storage.unify import unify_folder

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
ROWS_FOLDER = "parquet-files"
GENERATED_FOLDER = "generated-files"
_DROPPED = "dropped-columns-parquet-files"
_FAILED = "failed-rows"
_PROCESSORS = "processors-files"
JOURNAL = "journal"
CONFIG = "builder_config.json"
METADATA = "metadata.json"
_COPY = "metadata.copy.json"
"""The metadata as of the start of the latest run, in case `metadata.json` is damaged."""
VERSIONS = "versions"
"""Folder with the versions of a versioned dataset."""


class DatasetDirectory:
    """The folder `<artifact path>/<dataset name>/` and its content."""

    def __init__(self, path: Location, version: str | None = None) -> None:
        self.path = path
        self.version = version
        """Name of the version that the folder holds, if any."""
        self.ownership: DatasetOwnership | None = None
        """The right of this process to generate the dataset, while it has it."""
        self._reserve: SpaceReserve | None = None
        for folder in (ROWS_FOLDER, GENERATED_FOLDER, JOURNAL, _DROPPED, _FAILED, _PROCESSORS):
            require_folder(path / folder)
        with report_storage_errors(path):
            self.metadata = self._read_metadata()

    @classmethod
    def place(
        cls, artifact_path: str | Location, name: str, version: str | None = None
    ) -> DatasetDirectory:
        """Return the directory of a dataset or of one of its versions, whether it exists or not."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArtifactStorageError(f"dataset_name must be text, not {name!r}")
        for what, folder in [("dataset_name", name), ("version", version)]:
            if folder in ("", ".", "..") or _FORBIDDEN.search(folder or ""):
                raise ArtifactStorageError(
                    f"{what} {folder!r} cannot be a folder name; "
                    'leave out < > : " / \\ | ? * and control characters'
                )
            require_short_name(what, folder or "")
        path = parse_location(artifact_path) / name
        try:
            require_folder(path)
            return cls(path) if version is None else cls(path / VERSIONS / version, version)
        except PermissionError as error:
            raise ArtifactStorageError(
                f"{path} cannot be read ({error.strerror}); choose another artifact_path, or "
                "change its permissions"
            ) from error

    @property
    @report_own_storage_errors
    def has_content(self) -> bool:
        """Whether the directory exists and contains more than the claims of processes."""
        return self.path.is_dir() and any(each.name != OWNER for each in self.path.iterdir())

    @property
    def accepted(self) -> bool | None:
        """Whether the dataset passed its gates; None if they have not been evaluated."""
        return self.metadata.accepted

    @property
    def parts_folder(self) -> str:
        """Folder of the parts: that of the rows, unless processors make the rows from the parts."""
        return self.metadata.parts_folder or ROWS_FOLDER

    @property
    def holds_parts(self) -> bool:
        """Whether the files with the dataset's rows are the parts themselves."""
        return self.parts_folder == ROWS_FOLDER

    @property
    def seed(self) -> int | None:
        """The seed that the dataset was started with."""
        return self.metadata.seed

    @report_own_storage_errors
    def parts(self) -> list[Part]:
        """The readable parts, in row order."""
        found = [
            part
            for path, state in list_files(self.path / self.parts_folder, "batch_*.parquet")
            if (part := read_part(path, state)) is not None
        ]
        return sorted(found, key=lambda part: part.start)

    @report_own_storage_errors
    def part(self, index: int) -> Part | None:
        """The part of a batch; None if it does not exist or cannot be read."""
        found = list_files(self.path / self.parts_folder, f"batch_{index:05d}.parquet")
        return read_part(*found[0]) if found else None

    def missing(
        self, num_records: int, buffer_size: int, *, retry_failed: bool = False
    ) -> list[Batch]:
        """The batches that still have to be generated, in row order.

        With `retry_failed`, this includes batches with dropped rows.
        """
        return find_missing(self.parts(), num_records, buffer_size, retry_failed=retry_failed)

    def journal(self, batch: Batch) -> Journal:
        """The journal of a batch."""
        return Journal(self.path / JOURNAL, batch, self._reserve)

    @report_own_storage_errors
    def prepare(self) -> None:
        """Check that files can be written, and reserve some space for the end of the run.

        Raises `ArtifactStorageError`. Call `release` afterwards.
        """
        write_trial(self.path / self.parts_folder)
        if isinstance(self.path, Path):
            self._reserve = SpaceReserve(self.path / JOURNAL)
        else:
            write_trial(self.path / JOURNAL)

    def release(self) -> None:
        """Release the reserved space."""
        if self._reserve is not None:
            self._reserve.release()

    @report_own_storage_errors
    def write_part(self, tables: BatchTables) -> Part:
        """Write the tables of a batch and return its part; a part without rows has no file."""
        batch, rows = tables.batch, tables.rows.num_rows
        dropped = sorted({row.row for row in tables.dropped_rows})
        facts: dict[str, Any] = {"start": batch.start, "stop": batch.stop}
        facts |= {"complete": tables.is_complete, "dropped": dropped}
        self._write_failures(tables)
        if rows:  # without rows, the columns would have no types
            if tables.dropped_columns is not None:
                self._write(tables.dropped_columns, _DROPPED, batch.index, facts)
            self._write(tables.rows, self.parts_folder, batch.index, facts)
            for name, table in tables.side_tables.items():
                self._write(table, f"{_PROCESSORS}/{name}", batch.index, facts)
        path = self.path / self.parts_folder / f"batch_{batch.index:05d}.parquet"
        return Part(
            index=batch.index,
            start=batch.start,
            stop=batch.stop,
            rows=rows,
            complete=tables.is_complete,
            path=path,
            dropped=tuple(dropped),
        )

    @report_own_storage_errors
    def unify_tables(self, order: Sequence[str]) -> None:
        """Give all tables of a kind one schema, and record the types of their columns.

        `order` is the order of the columns of the parts.
        """
        folders = [_DROPPED, _FAILED, *(f"{_PROCESSORS}/{name}" for name in self.processor_files())]
        found = {folder: unify_folder(self.path / folder) for folder in folders}
        found[self.parts_folder] = unify_folder(self.path / self.parts_folder, order)
        self.record_types(found)

    def record_types(self, found: Mapping[str, Mapping[str, str]]) -> None:
        """Record the types of columns by folder, in addition to those of other folders."""
        known = self.metadata.column_types
        types = known | {folder: dict(kinds) for folder, kinds in found.items() if kinds}
        if types != known:
            self.write_metadata(column_types=types)

    @report_own_storage_errors
    def sync_parts(self) -> None:
        """Make sure that written parts survive a power failure."""
        sync_folder(self.path / self.parts_folder)

    def failed_rows(self) -> Iterator[pa.Table]:
        """The tables of dropped rows, in row order."""
        for path in list_paths(self.path / _FAILED, "batch_*.parquet"):
            with report_storage_errors(path):
                table = read_parquet(path)
            yield table

    @report_own_storage_errors
    def write_metadata(self, **fields: Any) -> None:
        """Set fields of `metadata.json`; the file is replaced as a whole."""
        self.metadata.set(**fields)
        put(self.path / METADATA, self._metadata_as_text())

    @report_own_storage_errors
    def copy_metadata(self) -> None:
        """Write a backup copy of the current metadata."""
        put(self.path / _COPY, self._metadata_as_text())

    def _metadata_as_text(self) -> bytes:
        options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(self.metadata.to_json(), option=options)

    @report_own_storage_errors
    def tidy(self) -> None:
        """Remove journals whose rows are all in parts, and files that were never completed."""
        if isinstance(self.path, Path):
            for pattern in (".*.partial", "*/.*.partial"):
                for leftover in self.path.glob(pattern):
                    leftover.unlink(missing_ok=True)
        covered = [
            (part.start, part.stop) for part in self.parts() if part.complete and not part.dropped
        ]
        for segment, start, stop in list_segments(self.path / JOURNAL):
            if not any(first < stop and last > start for first, last in find_gaps(covered, stop)):
                segment.unlink(missing_ok=True)
        with suppress(OSError):  # the folder is not empty, or object storage, which has no folders
            (self.path / JOURNAL).rmdir()

    @report_own_storage_errors
    def write_text(self, name: str, text: str) -> Location:
        """Write a text file to the directory; returns its path."""
        put(self.path / name, text.encode())
        return self.path / name

    @report_own_storage_errors
    def remove(self) -> None:
        """Remove the dataset."""
        remove_tree(self.path)

    @report_own_storage_errors
    def read_text(self, name: str) -> str | None:
        """Read a text file from the directory; None if it does not exist."""
        try:
            return read_content(self.path / name).decode()
        except FileNotFoundError:
            return None

    def config(self) -> dict[str, Any]:
        """The configuration as it was written, seed columns included."""
        try:
            return dict(orjson.loads(read_content(self.path / CONFIG)))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactStorageError(f"{self.path} is not a dataset: {error}") from error

    @report_own_storage_errors
    def names(self, folder: str) -> list[str]:
        """Names of the files in one of the directory's folders."""
        return [path.name for path in list_paths(self.path / folder, "*")]

    @report_own_storage_errors
    def files(self) -> list[Location]:
        """The files with the dataset's rows, in row order."""
        if self.holds_parts:
            return [part.path for part in self.parts()]
        return list_paths(self.path / ROWS_FOLDER, "batch_*.parquet")

    @report_own_storage_errors
    def stamps(self) -> list[list[Any]]:
        """Names and states of the files with the dataset's rows, as JSON types.

        They change when one of the files is replaced.
        """
        return stamp_files(list_files(self.path / ROWS_FOLDER, "batch_*.parquet"))

    def tables(self) -> Iterator[pa.Table]:
        """The tables of the files with the dataset's rows."""
        for path in self.files():
            with report_storage_errors(path):
                table = read_parquet(path)
            yield table

    @report_own_storage_errors
    def count_rows(self) -> int:
        """Number of rows in the dataset, from the files' metadata."""
        if self.holds_parts:
            return sum(part.rows for part in self.parts())
        return sum(read_parquet_facts(path)[0] for path in self.files())

    @report_own_storage_errors
    def processor_files(self) -> dict[str, list[Location]]:
        """Files of the additional tables that processors made, by processor name."""
        folders = list_paths(self.path / _PROCESSORS, "*")
        found = {folder.name: list_paths(folder, "batch_*.parquet") for folder in folders}
        return {name: paths for name, paths in found.items() if paths}

    @report_own_storage_errors
    def replace_files(self, folder: Path) -> None:
        """Replace the files with the dataset's rows by those of a folder."""
        replace_folder(self.path / ROWS_FOLDER, folder)

    def _write_failures(self, tables: BatchTables) -> None:
        index = tables.batch.index
        if tables.dropped_rows:
            self._write(build_failures_table(tables.dropped_rows), _FAILED, index, {})
        else:
            (self.path / _FAILED / f"batch_{index:05d}.parquet").unlink(missing_ok=True)

    def _write(self, table: pa.Table, folder: str, index: int, facts: dict[str, Any]) -> None:
        # One system call is cheaper than one per column page.
        content = encode_parquet(table, {ROWS_KEY: orjson.dumps(facts)})
        put(self.path / folder / f"batch_{index:05d}.parquet", content)

    @report_own_storage_errors
    def beside(self) -> DatasetDirectory:
        """A directory next to this one that does not exist yet; its name ends with a timestamp."""
        stamp = datetime.now().strftime("%m-%d-%Y_%H%M%S")
        path = self.path.with_name(f"{self.path.name}_{stamp}")
        number = 1
        while path.exists():
            number += 1
            path = self.path.with_name(f"{self.path.name}_{stamp}_{number}")
        return DatasetDirectory(path)

    def _read_metadata(self) -> DatasetMetadata:
        try:
            return _parse_metadata(read_content(self.path / METADATA))
        except FileNotFoundError:
            return DatasetMetadata()
        except (ValueError, TypeError) as error:
            _logger.warning("%s is damaged, using its copy: %s", self.path / METADATA, error)
        try:
            return _parse_metadata(read_content(self.path / _COPY))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactStorageError(
                f"{self.path / METADATA} is damaged, and so is its copy ({error}); repair it, or "
                "remove it and pass the dataset's seed as RunConfig.seed"
            ) from error


def _parse_metadata(content: bytes) -> DatasetMetadata:
    return DatasetMetadata.model_validate(orjson.loads(content))
