"""A dataset in a folder or in object storage: its parts, journals and metadata.

A part is one batch as one Parquet file. It appears atomically and records in its own metadata
which rows it covers, so the files alone determine what is finished.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
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
from dd_core.storage.batch import (
    ROWS_KEY,
    Batch,
    BatchTables,
    Part,
    build_failures_table,
    find_gaps,
)
from dd_core.storage.files.inventory import (
    make_origin,
)
from dd_core.storage.files.metadata import METADATA, METADATA_COPY
from dd_core.storage.files.parquet import encode_parquet
from dd_core.storage.files.stored_files import (
    DROPPED_FOLDER,
    FAILED_FOLDER,
    PROCESSORS_FOLDER,
    REMOVED_FOLDER,
    ROW_FOLDERS,
    ROWS_FOLDER,
    StoredFiles,
)
from dd_core.storage.journal import Journal, JournalledCells, list_segments
from dd_core.storage.location import (
    Location,
    list_paths,
    parse_location,
    put,
    read_content,
    remove_tree,
    replace_folder,
    require_folder,
    require_short_name,
    sync_folder,
)
from dd_core.storage.unify import unify_folder

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
JOURNAL = "journal"
CONFIG = "builder_config.json"
VERSIONS = "versions"
"""Folder with the versions of a versioned dataset."""


def require_folder_name(what: str, name: str) -> None:
    """Raise `ArtifactStorageError` if a folder cannot have this name, or it names another one."""
    if name in ("", ".", "..") or _FORBIDDEN.search(name):
        raise ArtifactStorageError(
            f"{what} {name!r} cannot be a folder name; "
            'leave out < > : " / \\ | ? * and control characters'
        )
    require_short_name(what, name)


class DatasetDirectory(StoredFiles):
    """The folder `<artifact path>/<dataset name>/` and its content."""

    def __init__(self, path: Location, version: str | None = None) -> None:
        for folder in (*ROW_FOLDERS, PROCESSORS_FOLDER, JOURNAL):
            require_folder(path / folder)
        with report_storage_errors(path):
            super().__init__(path)
        self.version = version
        """Name of the version that the folder holds, if any."""
        self.ownership: DatasetOwnership | None = None
        """The right of this process to generate the dataset, while it has it."""
        self.find_reusable: Callable[[Batch], JournalledCells] | None = None
        """Finds cells of a batch that another dataset already has; None if there is no other."""
        self._reserve: SpaceReserve | None = None

    @classmethod
    def place(
        cls, artifact_path: str | Location, name: str, version: str | None = None
    ) -> DatasetDirectory:
        """Return the directory of a dataset or of one of its versions, whether it exists or not."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArtifactStorageError(f"dataset_name must be text, not {name!r}")
        require_folder_name("dataset_name", name)
        path = parse_location(artifact_path) / name
        require_folder(path)
        return cls(path) if version is None else cls.place_version(path, version)

    @classmethod
    def place_version(cls, dataset: Location, version: str) -> DatasetDirectory:
        """Return the directory of a version of the dataset in a folder, whether it exists or not.

        Raises `ArtifactStorageError` if the name leads out of the folder of the versions.
        """
        require_folder_name("version", version)
        return cls(dataset / VERSIONS / version, version)

    @property
    def dataset_path(self) -> Location:
        """The folder of the dataset; all of its versions are below it."""
        return self.path if self.version is None else self.path.parent.parent

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
    def seed(self) -> int | None:
        """The seed that the dataset was started with."""
        return self.metadata.seed

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
        part = Part(
            index=batch.index,
            start=batch.start,
            stop=batch.stop,
            rows=rows,
            complete=tables.is_complete,
            path=self.path / self.parts_folder / f"batch_{batch.index:05d}.parquet",
            dropped=tuple(dropped),
            rejected=tables.rejected,
            origin=make_origin(self.metadata),
            is_sealed=True,
        )
        facts = part.to_facts()
        self._write_failures(tables)
        if rows:  # without rows, the columns would have no types
            if tables.dropped_columns is not None:
                self._write(tables.dropped_columns, DROPPED_FOLDER, batch.index, facts)
            self._write(tables.rows, self.parts_folder, batch.index, facts)
            for name, table in tables.side_tables.items():
                self._write(table, f"{PROCESSORS_FOLDER}/{name}", batch.index, facts)
        return part

    @report_own_storage_errors
    def unify_tables(self, order: Sequence[str]) -> None:
        """Give all tables of a kind one schema, and record the types of their columns.

        `order` is the order of the columns of the parts.
        """
        folders = [
            DROPPED_FOLDER,
            FAILED_FOLDER,
            *(f"{PROCESSORS_FOLDER}/{name}" for name in self.processor_files()),
        ]
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

    @report_own_storage_errors
    def write_metadata(self, **fields: Any) -> None:
        """Set fields of `metadata.json`; the file is replaced as a whole."""
        self.metadata.set(**fields)
        put(self.path / METADATA, self.metadata.to_text())

    @report_own_storage_errors
    def copy_metadata(self) -> None:
        """Write a backup copy of the current metadata."""
        put(self.path / METADATA_COPY, self.metadata.to_text())

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

    def replace_files(self, folder: Path) -> None:
        """Replace the files with the dataset's rows by those of a folder."""
        replace_folder(self.path / ROWS_FOLDER, folder)
        self.metadata.files.pop(ROWS_FOLDER, None)

    def replace_removed(self, folder: Path) -> None:
        """Replace the lists of rows that processors removed by those of a folder."""
        replace_folder(self.path / REMOVED_FOLDER, folder)

    def _write_failures(self, tables: BatchTables) -> None:
        index = tables.batch.index
        if tables.dropped_rows:
            self._write(build_failures_table(tables.dropped_rows), FAILED_FOLDER, index, {})
        else:
            (self.path / FAILED_FOLDER / f"batch_{index:05d}.parquet").unlink(missing_ok=True)

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
