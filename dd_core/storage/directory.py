"""A dataset in a folder or in object storage: its parts, journals and metadata.

A part is one batch as one Parquet file. It appears atomically and records in its own metadata
which rows it covers, so the files alone determine what is finished.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.errors import ArtifactStorageError
from dd_core.storage.batch import (
    ROWS_KEY,
    Batch,
    BatchTables,
    Part,
    find_gaps,
    find_missing,
)
from dd_core.storage.dropped_rows import build_failures_table
from dd_core.storage.files.inventory import (
    Damage,
    Inventory,
    find_damaged_content,
    inspect_files,
    list_records,
    make_origin,
    require_intact,
)
from dd_core.storage.files.metadata import METADATA, METADATA_COPY, FileRecord, read_metadata
from dd_core.storage.files.parquet import encode_parquet, read_parquet
from dd_core.storage.files.seal import explain_repair
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
from dd_core.storage.unify import unify_folder

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
ROWS_FOLDER = "parquet-files"
GENERATED_FOLDER = "generated-files"
_DROPPED = "dropped-columns-parquet-files"
FAILED_FOLDER = "failed-rows"
_PROCESSORS = "processors-files"
_DAMAGED = "damaged-files"
JOURNAL = "journal"
CONFIG = "builder_config.json"
VERSIONS = "versions"
"""Folder with the versions of a versioned dataset."""


class DatasetDirectory:
    """The folder `<artifact path>/<dataset name>/` and its content."""

    def __init__(self, path: Location, version: str | None = None) -> None:
        self.path = path
        self.version = version
        """Name of the version that the folder holds, if any."""
        self.lost: Sequence[Damage] = ()
        """What a run found damaged when it resumed the dataset, and makes anew."""
        self.metadata = read_metadata(self.path)

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
        require_folder(path)
        return cls(path) if version is None else cls(path / VERSIONS / version, version)

    @property
    def has_content(self) -> bool:
        """Whether the directory exists and is not empty."""
        return self.path.is_dir() and any(self.path.iterdir())

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

    def inspect(self, folder: str, name: str = "batch_*.parquet") -> Inventory:
        """Compare the files of a folder with what `metadata.json` records. Reads only footers.

        Another process may have written the metadata, so it is read again. `name` is a pattern.
        """
        metadata = read_metadata(self.path)
        listed = list_files(self.path / folder, name)
        records = list_records(metadata, folder)
        have_parts = folder == self.parts_folder
        return inspect_files(self.path / folder, listed, records, metadata, have_parts=have_parts)

    def inspect_all(self, *folders: str) -> dict[str, Inventory]:
        """The inventories of several folders."""
        return {folder: self.inspect(folder) for folder in dict.fromkeys(folders)}

    def find_damage(self, folder: str, *, reads_all: bool = False) -> list[Damage]:
        """Find the files of a folder that are missing or not what was written.

        Only with `reads_all`, damage within the data of a file is found.
        """
        found = self.inspect(folder)
        intact = [self.path / folder / name for name in found.files] if reads_all else []
        ranges = {part.path: (part.start, part.stop) for part in found.parts}
        inside = [
            replace(each, start=start, stop=stop)
            for each in find_damaged_content(intact)
            for start, stop in [ranges.get(each.path, (None, None))]
        ]
        return [*found.damage, *inside]

    def parts(self) -> list[Part]:
        """The intact parts, in row order."""
        return [*self.inspect(self.parts_folder).parts]

    def part(self, index: int) -> Part | None:
        """The part of a batch; None if it does not exist or is damaged."""
        found = self.inspect(self.parts_folder, f"batch_{index:05d}.parquet").parts
        return found[0] if found else None

    def missing(
        self, num_records: int, buffer_size: int, *, retry_failed: bool = False
    ) -> list[Batch]:
        """The batches that still have to be generated, in row order.

        With `retry_failed`, this includes batches with dropped rows.
        """
        found = self.inspect(self.parts_folder)
        lost = self.list_lost(found)
        return find_missing(found.parts, num_records, buffer_size, lost, retry_failed=retry_failed)

    def list_lost(self, found: Inventory | None = None) -> list[Batch]:
        """The batches that had a part which is gone or damaged now."""
        damage = (found or self.inspect(self.parts_folder)).damage
        return [
            Batch(int(each.path.stem.removeprefix("batch_")), each.start, each.rows)
            for each in damage
            if each.start is not None
        ]

    def journal(self, batch: Batch) -> Journal:
        """The journal of a batch."""
        return Journal(self.path / JOURNAL, batch)

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
            origin=make_origin(self.metadata),
            is_sealed=True,
        )
        facts = part.to_facts()
        self._write_failures(tables)
        if rows:  # without rows, the columns would have no types
            if tables.dropped_columns is not None:
                self._write(tables.dropped_columns, _DROPPED, batch.index, facts)
            self._write(tables.rows, self.parts_folder, batch.index, facts)
            for name, table in tables.side_tables.items():
                self._write(table, f"{_PROCESSORS}/{name}", batch.index, facts)
        return part

    def unify_tables(self, order: Sequence[str]) -> None:
        """Give all tables of a kind one schema, and record the types of their columns.

        `order` is the order of the columns of the parts.
        """
        folders = [
            _DROPPED,
            FAILED_FOLDER,
            *(f"{_PROCESSORS}/{name}" for name in self.processor_files()),
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

    def record_files(self, found: Mapping[str, Inventory]) -> dict[str, dict[str, FileRecord]]:
        """What the metadata is to record about the files of some folders, and of all others."""
        # A file with failed rows is removed when they do not fail any more.
        known = {
            name: files for name, files in self.metadata.files.items() if name != FAILED_FOLDER
        }
        new = {name: each.to_records(known.get(name, {})) for name, each in found.items()}
        return {**self.metadata.files, **new}

    def list_folders(self) -> list[str]:
        """The folders with Parquet files of the dataset."""
        processors = [f"{_PROCESSORS}/{name}" for name in self.processor_files()]
        recorded = [name for name in self.metadata.files if name.startswith(f"{_PROCESSORS}/")]
        return [
            *dict.fromkeys(
                [self.parts_folder, ROWS_FOLDER, _DROPPED, FAILED_FOLDER, *processors, *recorded]
            )
        ]

    def set_aside(self, paths: Iterable[Location]) -> None:
        """Move damaged files, some of which may be missing, to the folder `damaged-files`."""
        for path in paths:
            below = str(path).removeprefix(str(self.path)).strip("/")
            with suppress(FileNotFoundError):
                put(self.path / _DAMAGED / below, read_content(path))
                path.unlink()

    def sync_parts(self) -> None:
        """Make sure that written parts survive a power failure."""
        sync_folder(self.path / self.parts_folder)

    def failed_rows(self) -> Iterator[pa.Table]:
        """The tables of dropped rows, in row order."""
        for path in list_paths(self.path / FAILED_FOLDER, "batch_*.parquet"):
            yield read_parquet(path)

    def write_metadata(self, **fields: Any) -> None:
        """Set fields of `metadata.json`; the file is replaced as a whole."""
        self.metadata.set(**fields)
        put(self.path / METADATA, self.metadata.to_text())

    def copy_metadata(self) -> None:
        """Write a backup copy of the current metadata."""
        put(self.path / METADATA_COPY, self.metadata.to_text())

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

    def write_text(self, name: str, text: str) -> Location:
        """Write a text file to the directory; returns its path."""
        put(self.path / name, text.encode())
        return self.path / name

    def remove(self) -> None:
        """Remove the dataset."""
        remove_tree(self.path)

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

    def names(self, folder: str) -> list[str]:
        """Names of the files in one of the directory's folders."""
        return [path.name for path in list_paths(self.path / folder, "*")]

    def files(self) -> list[Location]:
        """The files with the dataset's rows, in row order.

        Raises `DatasetDamagedError` if one of them is missing or not what was written.
        """
        found = self.inspect(ROWS_FOLDER)
        require_intact(self.path, found.damage)
        return self._list_rows(found)

    def _list_rows(self, found: Inventory) -> list[Location]:
        if self.holds_parts:
            return [part.path for part in found.parts]
        return [self.path / ROWS_FOLDER / name for name in found.files]

    def stamps(self) -> list[list[Any]]:
        """Names and states of the files with the dataset's rows, as JSON types.

        They change when one of the files is replaced.
        """
        return stamp_files(list_files(self.path / ROWS_FOLDER, "batch_*.parquet"))

    def tables(self) -> Iterator[pa.Table]:
        """The tables of the files with the dataset's rows."""
        for path in self.files():
            yield read_parquet(path)

    def count_rows(self) -> int:
        """Number of rows in the dataset, from the files' footers; warns if files are damaged."""
        found = self.inspect(ROWS_FOLDER)
        for damage in found.damage:
            _logger.warning("%s: %s; %s", self.path, damage, explain_repair(self.path))
        return found.count_rows()

    def processor_files(self) -> dict[str, list[Location]]:
        """Files of the additional tables that processors made, by processor name."""
        folders = list_paths(self.path / _PROCESSORS, "*")
        found = {folder.name: list_paths(folder, "batch_*.parquet") for folder in folders}
        return {name: paths for name, paths in found.items() if paths}

    def processor_files_of(self, name: str) -> list[Location]:
        """Files of one of these tables; raises `DatasetDamagedError` if one is damaged."""
        folder = f"{_PROCESSORS}/{name}"
        found = self.inspect(folder)
        require_intact(self.path, found.damage)
        return [self.path / folder / each for each in found.files]

    def replace_files(self, folder: Path) -> None:
        """Replace the files with the dataset's rows by those of a folder."""
        replace_folder(self.path / ROWS_FOLDER, folder)
        self.metadata.files.pop(ROWS_FOLDER, None)

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

    def beside(self) -> DatasetDirectory:
        """A directory next to this one that does not exist yet; its name ends with a timestamp."""
        stamp = datetime.now().strftime("%m-%d-%Y_%H%M%S")
        path = self.path.with_name(f"{self.path.name}_{stamp}")
        number = 1
        while path.exists():
            number += 1
            path = self.path.with_name(f"{self.path.name}_{stamp}_{number}")
        return DatasetDirectory(path)
