"""What the result storage holds of a run's columns, found by row of the dataset.

Values belong to rows, not to batches: what earlier runs stored in batches of another size is put
together. A file that cannot be read is as good as none.
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

from dd_core.dataset.plan import Plan
from dd_core.engine.batch_run import BatchRun
from dd_core.kinds.generators import CellColumn, GroupColumn
from dd_core.storage.batch import Batch, find_gaps
from dd_core.storage.journal import JournalledCells
from dd_core.storage.location import Location

from .column_table import combine_tables, restore_values
from .keys import ROW, SKIPPED, make_column_folders, make_key, parse_range
from .listing import Listing, make_listing
from .results import BesideResults, ParquetSerializer, get_result_storage, read_file
from .retention import remove_older

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredColumn:
    """What the storage holds of a column in a batch."""

    table: pa.Table
    """The rows in order; each has its index in the dataset and whether it was skipped."""
    key: str
    """Where the column of just this batch belongs."""
    is_complete: bool
    is_assembled: bool
    """Whether it comes from files of other batches."""

    def cells(self) -> dict[int, dict[str, Any]]:
        """Values by row of the dataset; skipped cells are left out, they are skipped again."""
        names = [name for name in self.table.column_names if name not in (ROW, SKIPPED)]
        skipped: list[Any] = self.table.column(SKIPPED).to_pylist()
        rows: list[Any] = self.table.column(ROW).to_pylist()
        columns = [restore_values(self.table, name) for name in names]
        return {
            row: dict(zip(names, values, strict=True))
            for row, is_skipped, *values in zip(rows, skipped, *columns, strict=True)
            if not is_skipped
        }


class ColumnCache:
    """The stored columns of one run. Each column's folder is listed once, when it has to be."""

    def __init__(self, plan: Plan, dataset: Location) -> None:
        self._plan = plan
        self._folders = make_column_folders(plan, dataset)
        self._ranges: dict[str, asyncio.Task[_Ranges]] = {}
        self._latest: dict[str, tuple[str, pa.Table | None]] = {}
        """By folder the file that was read last: the next batch may need its other rows."""
        self._storage: WritableFileSystem | None = None
        self._listing: Listing | None = None

    async def columns(self, batch: Batch) -> dict[str, StoredColumn]:
        """The columns of a batch that the storage holds, whole or in part."""
        storage = await self._opened()
        found = await asyncio.gather(
            *(self._column(storage, folder, batch) for folder in self._folders.values())
        )
        return {
            name: column
            for name, column in zip(self._folders, found, strict=True)
            if column is not None
        }

    async def covers(self, batches: Sequence[Batch]) -> bool:
        """Whether there are files for every row of every column that asks a model.

        Rows may be missing in them, for they are not read; and False if files cannot be listed.
        """
        await self._opened()
        for name, folder in self._folders.items():
            if self._plan.columns[name].column.get_model_aliases():
                ranges = await self._ranges_of(folder)
                if not all(ranges.cover(batch) for batch in batches):
                    return False
        return True

    def reusable(self, stored: Mapping[str, StoredColumn]) -> set[str]:
        """Columns that are whole and were made from stored columns that are used as well."""
        reusable: set[str] = set()
        for name, planned in self._plan.columns.items():
            held = stored.get(name)
            if held is not None and held.is_complete and reusable.issuperset(planned.producers):
                reusable.add(name)
        return reusable

    async def keep(self, columns: Mapping[str, StoredColumn]) -> None:
        """Store columns that were put together under their own keys, where Prefect finds them."""
        storage = await self._opened()
        store = ResultStore(
            result_storage=storage,
            metadata_storage=BesideResults.of(storage),
            serializer=ParquetSerializer(),
        )
        for column in columns.values():
            if column.is_assembled:
                await store.awrite(column.table, key=column.key)

    async def remove_older(self, days: float) -> None:
        """Remove stored values of these columns that were written before."""
        await self._opened()
        if self._listing is None:
            _logger.warning("cache_days has no effect: the result storage cannot be listed")
            return
        await asyncio.to_thread(remove_older, self._listing, self._folders.values(), days)

    async def _opened(self) -> WritableFileSystem:
        if self._storage is None:
            self._storage = await get_result_storage()
            self._listing = make_listing(self._storage)
        return self._storage

    async def _column(
        self, storage: WritableFileSystem, folder: str, batch: Batch
    ) -> StoredColumn | None:
        key = make_key(folder, batch.start, batch.stop)
        own = await _read(storage, key)
        if own is not None and own.num_rows == batch.size:
            return StoredColumn(own, key, is_complete=True, is_assembled=False)
        tables = [] if own is None else [own]
        for start, stop in (await self._ranges_of(folder)).overlapping(batch):
            if (start, stop) != (batch.start, batch.stop):
                tables += await self._read_other(storage, folder, start, stop)
        table = _rows_of(tables, batch)
        if table is None:
            return None
        is_complete = table.num_rows == batch.size
        return StoredColumn(table, key, is_complete, is_assembled=True)

    async def _ranges_of(self, folder: str) -> _Ranges:
        if folder not in self._ranges:
            listed = asyncio.to_thread(_ranges_in, self._listing, folder)
            self._ranges[folder] = asyncio.create_task(listed)
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


class _Ranges:
    """Ranges of rows that a folder has files of."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._ranges = sorted(ranges)
        self._longest = max((stop - start for start, stop in ranges), default=0)

    def overlapping(self, batch: Batch) -> list[tuple[int, int]]:
        """Those with rows of a batch."""
        first = bisect_left(self._ranges, (batch.start - self._longest, 0))
        last = bisect_left(self._ranges, (batch.stop, 0))
        return [each for each in self._ranges[first:last] if each[1] > batch.start]

    def cover(self, batch: Batch) -> bool:
        """Whether every row of a batch is in one of them."""
        return not [*find_gaps([(0, batch.start), *self.overlapping(batch)], batch.stop)]


def _ranges_in(listing: Listing | None, folder: str) -> _Ranges:
    if listing is None:
        return _Ranges([])
    try:
        found = [parse_range(file.key) for file in listing.files(folder)]
    except Exception as error:  # storages raise what they like; a run can do without
        _logger.warning("%s cannot be listed: %s: %s", folder, type(error).__name__, error)
        return _Ranges([])
    return _Ranges([each for each in found if each is not None])


def collect_cells(run: BatchRun, stored: Mapping[str, StoredColumn]) -> JournalledCells:
    """Stored cells as journals have them, of the columns that are not just computed again."""
    return {
        run.plan.columns[name].fingerprint: column.cells()
        for name, column in stored.items()
        if isinstance(run.states[name].generator, CellColumn | GroupColumn)
    }


async def _read(storage: WritableFileSystem, key: str) -> pa.Table | None:
    """A stored column; None for a file that is not there, or is damaged."""
    try:
        table = ParquetSerializer().loads(await read_file(storage, key))
    except Exception:  # storages raise what they like for a missing file
        return None
    return table if {ROW, SKIPPED} <= {*table.column_names} else None


def _rows_of(tables: Sequence[pa.Table], batch: Batch) -> pa.Table | None:
    """The rows of a batch that tables hold, each once and in order; None if they hold none."""
    taken, pieces = set[int](), list[pa.Table]()
    for table in tables:
        rows: list[Any] = table.column(ROW).to_pylist()
        chosen = [
            place
            for place, row in enumerate(rows)
            if batch.start <= row < batch.stop and row not in taken
        ]
        taken.update(rows[place] for place in chosen)
        if chosen:
            pieces.append(table.take(pa.array(chosen)))
    if not pieces:
        return None
    whole = pieces[0] if len(pieces) == 1 else combine_tables(pieces)
    rows = whole.column(ROW).to_pylist()
    return whole.take(pa.array(sorted(range(len(rows)), key=rows.__getitem__)))
