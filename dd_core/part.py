"""A part: one batch's rows as one Parquet file, which says itself which rows it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

from dd_core.arrow import parquet_facts

ROWS_KEY = b"dd.rows"
"""Under which key a file's metadata has the part's facts."""
_PARTS_KNOWN = 4_096


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
    path: Path
    dropped: tuple[int, ...] = ()
    """Rows of the dataset that were given up."""


def read_part(path: Path) -> Part | None:
    """What a part says about itself; None for files that cannot be read."""
    import pyarrow as pa

    try:
        stat = path.stat()
        return _read_part(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


@lru_cache(maxsize=_PARTS_KNOWN)
def _read_part(path: Path, _version: tuple[int, ...]) -> Part:
    """A run looks at all of its parts again and again, and a part is not written twice."""
    rows, metadata = parquet_facts(path)
    index = int(path.stem.removeprefix("batch_"))
    facts = orjson.loads(metadata[ROWS_KEY])
    dropped = tuple(facts.get("dropped", ()))
    return Part(index, facts["start"], facts["stop"], rows, facts["complete"], path, dropped)


def gaps(covered: Sequence[tuple[int, int]], stop: int) -> Iterator[tuple[int, int]]:
    """Row ranges below `stop` that no range covers; ranges are sorted."""
    position = 0
    for start, end in covered:
        if position < min(start, stop):
            yield position, min(start, stop)
        position = max(position, end)
    if position < stop:
        yield position, stop
