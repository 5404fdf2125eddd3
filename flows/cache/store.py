"""Finds stored values of a run's columns in the result storage.

Values belong to rows, not to batches. If earlier runs used batches of another size, the values of a
batch are assembled from several files. A file that cannot be read counts as missing.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore
from prefect.settings import get_current_settings

from dd_core.dataset.plan import Plan
from dd_core.engine.batch_run import BatchRun
from dd_core.kinds.generators import CellColumn, GroupColumn
from dd_core.storage.batch import Batch, find_gaps
from dd_core.storage.journal import JournalledCells
from dd_core.storage.location import Location

from .column_table import combine_tables, restore_values
from .keys import ROW, SKIPPED, make_column_folders, make_key, parse_range
from .listing import Listing, make_listing
from .results import ParquetSerializer, ResultMetadataStorage, get_result_storage, read_file
from .retention import remove_older

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredColumn:
    """The stored values of a column in a batch."""

    table: pa.Table
    """The rows in order, each with its index in the dataset and whether it was skipped."""
    key: str
    """Key of the column in exactly this batch."""
    is_complete: bool
    is_assembled: bool
    """Whether rows come from the files of other batches."""

    def cells(self) -> dict[int, dict[str, Any]]:
        """Values by row of the dataset; a skipped cell has none."""
        names = [name for name in self.table.column_names if name not in (ROW, SKIPPED)]
        skipped: list[Any] = self.table.column(SKIPPED).to_pylist()
        rows: list[Any] = self.table.column(ROW).to_pylist()
        columns = [restore_values(self.table, name) for name in names]
        return {
            row: {} if is_skipped else dict(zip(names, values, strict=True))
            for row, is_skipped, *values in zip(rows, skipped, *columns, strict=True)
        }


class ColumnCache:
    """The stored columns of one run. The folder of a column is listed at most once."""

    def __init__(self, plan: Plan, dataset: Location) -> None:
        self._plan = plan
        self._folders = make_column_folders(plan, dataset)
        self._ranges: dict[str, asyncio.Task[_Ranges]] = {}
        self._latest: dict[str, tuple[str, pa.Table | None]] = {}
        """The last file that was read, by folder: the next batch may need other rows of it."""
        self._storage: WritableFileSystem | None = None
        self._listing: Listing | None = None

    async def load_columns(self, batch: Batch) -> dict[str, StoredColumn]:
        """Load the columns of a batch that the storage holds completely or in part."""
        if not _is_read():
            return {}
        storage = await self._open_storage()
        found = await asyncio.gather(
            *(self._load_column(storage, folder, batch) for folder in self._folders.values())
        )
        return {
            name: column
            for name, column in zip(self._folders, found, strict=True)
            if column is not None
        }

    async def covers(self, batches: Sequence[Batch]) -> bool:
        """Whether there are files for every row of every column that calls a model.

        The files are not read, so rows may still be missing in them. Returns False if the storage
        cannot list files.
        """
        if not _is_read():
            return False
        await self._open_storage()
        for name, folder in self._folders.items():
            if self._plan.columns[name].column.get_model_aliases():
                ranges = await self._list_ranges(folder)
                if not all(ranges.cover(batch) for batch in batches):
                    return False
        return True

    def find_reusable(self, stored: Mapping[str, StoredColumn]) -> set[str]:
        """The columns whose tasks Prefect may take from the cache as a whole.

        These are the complete columns that depend only on such columns. If an input is generated
        again, it may get other values, and a column that was made from the old ones would not fit.
        """
        reusable: set[str] = set()
        for name, planned in self._plan.columns.items():
            column = stored.get(name)
            is_known = column is not None and column.is_complete
            # Internal columns are not stored. They are computed again, from the same inputs.
            if (is_known or planned.column.is_internal) and reusable.issuperset(planned.producers):
                reusable.add(name)
        return reusable & stored.keys()

    async def store_assembled(self, columns: Mapping[str, StoredColumn]) -> None:
        """Store assembled columns under the keys of their batch, where Prefect looks for them."""
        storage = await self._open_storage()
        store = ResultStore(
            result_storage=storage,
            metadata_storage=ResultMetadataStorage.of(storage),
            serializer=ParquetSerializer(),
        )
        for column in columns.values():
            if column.is_assembled:
                await store.awrite(column.table, key=column.key)

    async def remove_older(self, days: float) -> None:
        """Remove stored values of these columns that are older than `days`."""
        await self._open_storage()
        if self._listing is None:
            _logger.warning("cache_days has no effect: the result storage cannot be listed")
            return
        await asyncio.to_thread(remove_older, self._listing, self._folders.values(), days)

    async def _open_storage(self) -> WritableFileSystem:
        if self._storage is None:
            self._storage = await get_result_storage()
            self._listing = make_listing(self._storage)
        return self._storage

    async def _load_column(
        self, storage: WritableFileSystem, folder: str, batch: Batch
    ) -> StoredColumn | None:
        key = make_key(folder, batch.start, batch.stop)
        own = await _read(storage, key)
        if own is not None and own.num_rows == batch.size:
            return StoredColumn(own, key, is_complete=True, is_assembled=False)
        tables = [] if own is None else [own]
        for start, stop in (await self._list_ranges(folder)).overlapping(batch):
            if (start, stop) != (batch.start, batch.stop):
                tables += await self._read_other(storage, folder, start, stop)
        table = _select_rows(tables, batch)
        if table is None:
            return None
        is_complete = table.num_rows == batch.size
        return StoredColumn(table, key, is_complete, is_assembled=True)

    async def _list_ranges(self, folder: str) -> _Ranges:
        # The task is stored, not its result: batches that start at once share one listing.
        if folder not in self._ranges:
            listing = asyncio.to_thread(_list_ranges, self._listing, folder)
            self._ranges[folder] = asyncio.create_task(listing)
        return await self._ranges[folder]

    async def _read_other(
        self, storage: WritableFileSystem, folder: str, start: int, stop: int
    ) -> list[pa.Table]:
        key = make_key(folder, start, stop)
        latest, table = self._latest.get(folder, ("", None))
        if latest != key:
            table = await _read(storage, key)
            self._latest[folder] = (key, table)
        return [] if table is None else [table]


def is_enabled() -> bool:
    """Whether columns are stored. `PREFECT_TASKS_DISABLE_CACHING` replaces their cache policy."""
    return not get_current_settings().tasks.disable_caching


def _is_read() -> bool:
    """Whether stored columns are reused. `PREFECT_TASKS_REFRESH_CACHE` replaces them instead."""
    return is_enabled() and not get_current_settings().tasks.refresh_cache


class _Ranges:
    """The ranges of rows for which a folder contains files."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._ranges = sorted(ranges)
        self._longest = max((stop - start for start, stop in ranges), default=0)

    def overlapping(self, batch: Batch) -> list[tuple[int, int]]:
        """The ranges that contain rows of a batch."""
        # No range that starts earlier than the longest range before the batch can reach into it.
        first = bisect_left(self._ranges, (batch.start - self._longest, 0))
        last = bisect_left(self._ranges, (batch.stop, 0))
        return [each for each in self._ranges[first:last] if each[1] > batch.start]

    def cover(self, batch: Batch) -> bool:
        """Whether every row of a batch is in at least one range."""
        return not [*find_gaps([(0, batch.start), *self.overlapping(batch)], batch.stop)]


def _list_ranges(listing: Listing | None, folder: str) -> _Ranges:
    if listing is None:
        return _Ranges([])
    try:
        found = [parse_range(file.key) for file in listing.files(folder)]
    except (
        Exception
    ) as error:  # storage blocks raise arbitrary errors; a run does not need the cache
        _logger.warning("folder %r cannot be listed: %s: %s", folder, type(error).__name__, error)
        return _Ranges([])
    return _Ranges([each for each in found if each is not None])


def collect_cells(run: BatchRun, stored: Mapping[str, StoredColumn]) -> JournalledCells:
    """Stored cells in the form of a journal, without columns that are cheap to compute again."""
    return {
        run.plan.columns[name].fingerprint: column.cells()
        for name, column in stored.items()
        if isinstance(run.states[name].generator, CellColumn | GroupColumn)
    }


async def _read(storage: WritableFileSystem, key: str) -> pa.Table | None:
    """A stored column; None if the file is missing or damaged."""
    try:
        table = ParquetSerializer().loads(await read_file(storage, key))
    except Exception:  # storage blocks raise arbitrary errors for a missing file
        return None
    return table if {ROW, SKIPPED} <= {*table.column_names} else None


def _select_rows(tables: Sequence[pa.Table], batch: Batch) -> pa.Table | None:
    """The rows of a batch in the tables, each once and in order; None if there are none."""
    taken, pieces = set[int](), list[pa.Table]()
    for table in tables:
        rows: list[Any] = table.column(ROW).to_pylist()
        chosen = [
            position
            for position, row in enumerate(rows)
            if batch.start <= row < batch.stop and row not in taken
        ]
        taken.update(rows[position] for position in chosen)
        if chosen:
            pieces.append(table.take(pa.array(chosen)))
    if not pieces:
        return None
    whole = pieces[0] if len(pieces) == 1 else combine_tables(pieces)
    rows = whole.column(ROW).to_pylist()
    return whole.take(pa.array(sorted(range(len(rows)), key=rows.__getitem__)))
