"""The Parquet files of a dataset, compared with what its metadata records about them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dd_core.storage.access.failures import report_own_storage_errors, report_storage_errors
from dd_core.storage.batch import Batch, Part, find_missing
from dd_core.storage.files.inventory import (
    Damage,
    Inventory,
    find_damaged_content,
    inspect_files,
    list_records,
    require_intact,
)
from dd_core.storage.files.metadata import DatasetMetadata, FileRecord, read_metadata
from dd_core.storage.files.parquet import read_parquet
from dd_core.storage.files.seal import explain_repair
from dd_core.storage.location import (
    Location,
    list_files,
    list_paths,
    put,
    read_content,
    stamp_files,
)

if TYPE_CHECKING:
    import pyarrow as pa

_logger = logging.getLogger(__name__)

ROWS_FOLDER = "parquet-files"
GENERATED_FOLDER = "generated-files"
DROPPED_FOLDER = "dropped-columns-parquet-files"
FAILED_FOLDER = "failed-rows"
PROCESSORS_FOLDER = "processors-files"
REMOVED_FOLDER = "removed-rows"
ROW_FOLDERS = (ROWS_FOLDER, GENERATED_FOLDER, DROPPED_FOLDER, FAILED_FOLDER)
_DAMAGED = "damaged-files"
_TABLES = "batch_*.parquet"


class StoredFiles:
    """The files of a dataset in its folder."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self.metadata = read_metadata(path)
        self.lost: Sequence[Damage] = ()
        """What a run found damaged when it resumed the dataset, and generates again."""

    @property
    def parts_folder(self) -> str:
        """Folder of the parts: that of the rows, unless processors make the rows from the parts."""
        return self.metadata.parts_folder or ROWS_FOLDER

    @property
    def holds_parts(self) -> bool:
        """Whether the files with the dataset's rows are the parts themselves."""
        return self.parts_folder == ROWS_FOLDER

    @report_own_storage_errors
    def inspect(self, folder: str, name: str = _TABLES) -> Inventory:
        """Compare the files of a folder with what `metadata.json` records. Reads only footers.

        Another process may have written the metadata, so it is read again. `name` is a pattern.
        """
        return self._compare(folder, name, read_metadata(self.path))

    @report_own_storage_errors
    def inspect_all(self, *folders: str) -> dict[str, Inventory]:
        """The inventories of several folders."""
        metadata = read_metadata(self.path)
        return {
            folder: self._compare(folder, _TABLES, metadata) for folder in dict.fromkeys(folders)
        }

    def _compare(self, folder: str, name: str, metadata: DatasetMetadata) -> Inventory:
        listed = list_files(self.path / folder, name)
        records = list_records(metadata, folder)
        have_parts = folder == self.parts_folder
        return inspect_files(self.path / folder, listed, records, metadata, have_parts=have_parts)

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

    @report_own_storage_errors
    def part(self, index: int) -> Part | None:
        """The part of a batch; None if it does not exist or is damaged."""
        found = self.inspect(self.parts_folder, f"batch_{index:05d}.parquet").parts
        return found[0] if found else None

    def missing(
        self,
        num_records: int,
        buffer_size: int,
        *,
        retry_failed: bool = False,
        done: Iterable[Batch] = (),
    ) -> list[Batch]:
        """The batches that still have to be generated, in row order.

        With `retry_failed`, this includes batches with dropped rows. `done` are batches that have
        been generated; those without rows have left no file.
        """
        found = self.inspect(self.parts_folder)
        lost = self.list_lost(found)
        starts = {part.start for part in found.parts}
        empty = [
            Part(each.index, each.start, each.stop, 0, complete=True, path=self.path)
            for each in done
            if each.start not in starts
        ]
        return find_missing(
            [*found.parts, *empty], num_records, buffer_size, lost, retry_failed=retry_failed
        )

    def list_lost(self, found: Inventory | None = None) -> list[Batch]:
        """The batches that had a part which is gone or damaged now."""
        damage = (found or self.inspect(self.parts_folder)).damage
        return [
            Batch(int(each.path.stem.removeprefix("batch_")), each.start, each.rows)
            for each in damage
            if each.start is not None
        ]

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
        processors = [f"{PROCESSORS_FOLDER}/{name}" for name in self.processor_files()]
        recorded = [
            name for name in self.metadata.files if name.startswith(f"{PROCESSORS_FOLDER}/")
        ]
        return [
            *dict.fromkeys(
                [
                    self.parts_folder,
                    ROWS_FOLDER,
                    DROPPED_FOLDER,
                    FAILED_FOLDER,
                    *processors,
                    *recorded,
                ]
            )
        ]

    def set_aside(self, paths: Iterable[Location]) -> None:
        """Move damaged files, some of which may be missing, to the folder `damaged-files`."""
        for path in paths:
            below = str(path).removeprefix(str(self.path)).strip("/")
            with suppress(FileNotFoundError):
                put(self.path / _DAMAGED / below, read_content(path))
                path.unlink()

    def failed_rows(self) -> Iterator[pa.Table]:
        """The tables of dropped rows, in row order."""
        for path in list_paths(self.path / FAILED_FOLDER, "batch_*.parquet"):
            with report_storage_errors(path):
                table = read_parquet(path)
            yield table

    @report_own_storage_errors
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
        """Number of rows in the dataset, from the files' footers; warns if files are damaged."""
        found = self.inspect(ROWS_FOLDER)
        for damage in found.damage:
            _logger.warning("%s: %s; %s", self.path, damage, explain_repair(self.path))
        return found.count_rows()

    @report_own_storage_errors
    def processor_files(self) -> dict[str, list[Location]]:
        """Files of the additional tables that processors made, by processor name."""
        folders = list_paths(self.path / PROCESSORS_FOLDER, "*")
        found = {folder.name: list_paths(folder, "batch_*.parquet") for folder in folders}
        return {name: paths for name, paths in found.items() if paths}

    @report_own_storage_errors
    def processor_files_of(self, name: str) -> list[Location]:
        """Files of one of these tables; raises `DatasetDamagedError` if one is damaged."""
        folder = f"{PROCESSORS_FOLDER}/{name}"
        found = self.inspect(folder)
        require_intact(self.path, found.damage)
        return [self.path / folder / each for each in found.files]
