"""A part: one batch's rows as one Parquet file, which says itself which rows it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.storage.arrow import read_parquet_facts
from dd_core.storage.dropped_rows import DroppedRow
from dd_core.storage.location import Location

if TYPE_CHECKING:
    import pyarrow as pa


ROWS_KEY = b"dd.rows"
"""Under which key a file's metadata has the part's facts."""
_PARTS_KNOWN = 4_096


@dataclass(frozen=True)
class Batch:
    """A range of the dataset's rows that is generated and written together."""

    index: int
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Part:
    """One written batch."""

    index: int
    start: int
    stop: int
    rows: int
    """Rows in the file; fewer than `stop - start` when rows were dropped."""
    complete: bool
    """False when the run was stopped before every row was either finished or given up."""
    path: Location
    dropped: tuple[int, ...] = ()
    """Rows of the dataset that were given up."""


@dataclass(frozen=True)
class BatchTables:
    """The tables of a finished batch as they are stored."""

    batch: Batch
    is_complete: bool
    """Whether every row was either finished or dropped."""
    rows: pa.Table
    dropped_columns: pa.Table | None
    """The columns that are kept out of the dataset; None if they are not preserved."""
    side_tables: Mapping[str, pa.Table]
    """What processors made beside the dataset, by processor name."""
    dropped_rows: Sequence[DroppedRow]


def read_part(path: Location, state: tuple[Any, ...]) -> Part | None:
    """What a part says about itself; None for files that cannot be read.

    `state` is what changes when the file is replaced: a run looks at all of its parts again and
    again, and one that is known is not read again.
    """
    import pyarrow as pa

    try:
        return _read_part(path, state)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


@lru_cache(maxsize=_PARTS_KNOWN)
def _read_part(path: Location, _state: tuple[Any, ...]) -> Part:
    rows, metadata = read_parquet_facts(path)
    index = int(path.stem.removeprefix("batch_"))
    facts = orjson.loads(metadata[ROWS_KEY])
    dropped = tuple(facts.get("dropped", ()))
    return Part(index, facts["start"], facts["stop"], rows, facts["complete"], path, dropped)


def find_gaps(covered: Sequence[tuple[int, int]], stop: int) -> Iterator[tuple[int, int]]:
    """Row ranges below `stop` that no range covers; ranges are sorted."""
    position = 0
    for start, end in covered:
        if position < min(start, stop):
            yield position, min(start, stop)
        position = max(position, end)
    if position < stop:
        yield position, stop


def find_missing(
    parts: Sequence[Part], num_records: int, buffer_size: int, *, retry_failed: bool = False
) -> list[Batch]:
    """The batches that are still to be generated, in row order.

    With `retry_failed`, batches of which rows were given up are among them.
    """
    indexes = {part.index for part in parts}
    batches = [
        Batch(part.index, part.start, part.stop - part.start)
        for part in parts
        if not part.complete or (retry_failed and part.dropped)
    ]
    for start, stop in find_gaps([(part.start, part.stop) for part in parts], num_records):
        for first in range(start, stop, buffer_size):
            index = first // buffer_size
            if first % buffer_size or index in indexes:
                index = max(indexes, default=-1) + 1
            indexes.add(index)
            batches.append(Batch(index, first, min(buffer_size, stop - first)))
    return sorted(batches, key=lambda batch: batch.start)
