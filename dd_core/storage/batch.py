"""Batches, the rows dropped from them, and their parts: Parquet files that say what they cover."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.errors import DataDesignerError
from dd_core.storage.location import Location
from dd_core.storage.values import admit_value

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


ROWS_KEY = b"dd.rows"
"""Key in the metadata of a part's file; its value records which rows the part covers."""


@dataclass(frozen=True)
class Batch:
    """A range of the dataset's rows that are generated and written together."""

    index: int
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


_FIRST_KEY = 1 << 62
"""Keys of rows are at least this large, and no row of a dataset has such a number."""


def make_key(address: str) -> int:
    """Return the key of a row: a hash of its address, as a number beyond all places."""
    digest = hashlib.blake2b(address.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2 | _FIRST_KEY


def are_keys(numbers: NDArray[np.int64]) -> bool:
    """Whether the numbers of rows are keys rather than places."""
    return bool(numbers.size) and int(numbers[0]) >= _FIRST_KEY


class NumberedRow(dict[str, Any]):
    """Values of one row by column name, and the number of the row.

    What templates choose at random depends on this number, so it is the same in every process, with
    any batch size, and when a run is resumed.
    """

    __slots__ = ("column", "number", "seed")

    def __init__(self, values: Mapping[str, Any], seed: int, column: str, number: int) -> None:
        super().__init__(values)
        self.seed = seed
        """Seed of the run."""
        self.column = column
        """Name of the column or processor that reads the values."""
        self.number = number
        """Row of the dataset, counted from 0, or the key of a row that has one."""


@dataclass(frozen=True)
class Part:
    """A batch that has been written."""

    index: int
    start: int
    stop: int
    rows: int
    """Rows in the file; fewer than `stop - start` if rows were dropped."""
    complete: bool
    """False if the run was stopped before every row was either finished or dropped."""
    path: Location
    dropped: tuple[int, ...] = ()
    """Rows that were dropped, counted from the start of the dataset."""
    rejected: tuple[int, ...] = ()
    """Rows that were not accepted, counted in the same way."""
    origin: str | None = None
    """Which dataset the part belongs to; None if an earlier version wrote it."""
    is_sealed: bool = False
    """Whether the file was written with a checksum of its whole content."""

    def to_facts(self) -> dict[str, Any]:
        """What the file records about itself, as JSON types."""
        return {
            "index": self.index,
            "start": self.start,
            "stop": self.stop,
            "complete": self.complete,
            "dropped": self.dropped,
            "origin": self.origin,
            "is_sealed": self.is_sealed,
            **({"rejected": self.rejected} if self.rejected else {}),
        }


@dataclass(frozen=True)
class DroppedRow:
    """A row that is missing from the dataset, and the reason."""

    row: int
    column: str
    error: str
    """Name of the error class."""
    message: str
    attempts: int = 1
    """Number of attempts to generate the failed cell."""
    prompt: str | None = None
    answer: str | None = None
    """The model's last answer."""

    @classmethod
    def of(cls, row: int, column: str, error: Exception) -> DroppedRow:
        """Describe a row that was dropped because a cell of `column` failed with `error`."""
        known = error if isinstance(error, DataDesignerError) else DataDesignerError()
        return cls(
            row=row,
            column=column,
            error=type(error).__name__,
            message=admit_value(str(error)),
            attempts=known.attempts,
            prompt=admit_value(known.prompt),
            answer=admit_value(known.answer),
        )


@dataclass(frozen=True)
class BatchTables:
    """The tables of a finished batch, as they are stored."""

    batch: Batch
    is_complete: bool
    """Whether every row was either finished or dropped."""
    rows: pa.Table
    dropped_columns: pa.Table | None
    """The columns that are not part of the dataset; None if they are not preserved."""
    side_tables: Mapping[str, pa.Table]
    """Additional tables that processors made, by processor name."""
    dropped_rows: Sequence[DroppedRow]
    rejected: tuple[int, ...] = ()
    """Rows that were not accepted."""


def find_gaps(covered: Sequence[tuple[int, int]], stop: int) -> Iterator[tuple[int, int]]:
    """Yield the row ranges below `stop` that are not covered; `covered` must be sorted."""
    position = 0
    for start, end in covered:
        if position < min(start, stop):
            yield position, min(start, stop)
        position = max(position, end)
    if position < stop:
        yield position, stop


def find_missing(
    parts: Sequence[Part],
    num_records: int,
    buffer_size: int,
    lost: Sequence[Batch] = (),
    *,
    retry_failed: bool = False,
) -> list[Batch]:
    """Return the batches that still have to be generated, in row order.

    The `lost` ones, whose parts are gone, are generated as they were. With `retry_failed`, the
    result includes batches with dropped rows.
    """
    indexes = {part.index for part in parts}
    batches = [
        Batch(part.index, part.start, part.stop - part.start)
        for part in parts
        if not part.complete or (retry_failed and part.dropped)
    ]
    batches += lost
    indexes |= {batch.index for batch in lost}
    covered = sorted((each.start, each.stop) for each in (*parts, *lost))
    for start, stop in find_gaps(covered, num_records):
        for first in range(start, stop, buffer_size):
            # The index names the part's file. If the buffer size has changed since an earlier run,
            # the index of this position may belong to another part.
            index = first // buffer_size
            if first % buffer_size or index in indexes:
                index = max(indexes, default=-1) + 1
            indexes.add(index)
            batches.append(Batch(index, first, min(buffer_size, stop - first)))
    return sorted(batches, key=lambda batch: batch.start)


def build_failures_table(rows: Sequence[DroppedRow]) -> pa.Table:
    """Build a table with one row for each dropped row."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "row": pa.array([row.row for row in rows], pa.int64()),
        "column": pa.array([row.column for row in rows], pa.string()),
        "error": pa.array([row.error for row in rows], pa.string()),
        "message": pa.array([row.message for row in rows], pa.string()),
        "attempts": pa.array([row.attempts for row in rows], pa.int64()),
        "prompt": pa.array([row.prompt for row in rows], pa.string()),
        "answer": pa.array([row.answer for row in rows], pa.string()),
    }
    return pa.table(columns)
