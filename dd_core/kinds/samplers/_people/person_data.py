"""Managed datasets of people: Parquet files that are too large to hold in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SamplerError
from dd_core.models.providers import get_managed_assets

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


_ROWS_PER_READ = 16_384
"""Rows of the file that are decoded together."""

Filters = tuple[tuple[str, tuple[str | int, ...]], ...]
"""Columns, each with the values that a person may have in it."""


def find_dataset(assets: Path | None, locale: str) -> Path:
    """Path of a locale's file in `assets`; default: the folder from the environment."""
    folder = assets.expanduser().absolute() if assets else get_managed_assets()
    return folder / "datasets" / f"{locale}.parquet"


@dataclass(frozen=True)
class PersonFile:
    """One version of a file. A file that has changed is a different `PersonFile`."""

    path: str
    modified: int
    """Modification time in ns."""
    size: int
    """Bytes."""

    @classmethod
    def at(cls, path: Path) -> PersonFile:
        """The file's present version; raises `SamplerError` if there is no file."""
        try:
            stat = path.stat()
        except OSError:
            raise SamplerError(f"file {str(path)!r} no longer exists; restore it") from None
        return cls(str(path), stat.st_mtime_ns, stat.st_size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are not empty."""
        return _describe(self)[0]

    @property
    def digest(self) -> str:
        """Hash of the file's footer, which holds offsets, sizes and statistics of all its data."""
        return _describe(self)[1]

    def matching(self, filters: Filters) -> NDArray[np.uint32]:
        """Numbers of the rows that match all filters, found in one pass through the file."""
        return _find_matching(self, filters)

    def rows(self, numbers: NDArray[np.uint32], columns: Sequence[str]) -> pa.Table:
        """The rows with these ascending numbers; little of the file is in memory at a time."""
        import pyarrow as pa

        with _open(self) as file:
            parts: list[pa.RecordBatch] = []
            for start, batch in _batches(file, columns, numbers):
                first, stop = np.searchsorted(numbers, [start, start + batch.num_rows])
                if first < stop:
                    parts.append(batch.take(numbers[first:stop].astype(np.int64) - start))
            return pa.Table.from_batches(parts)


@lru_cache(maxsize=16)
def _describe(file: PersonFile) -> tuple[tuple[str, ...], str]:
    """The names of the columns that are not empty, and the hash of the footer."""
    with _open(file) as opened:
        metadata = opened.metadata
        names = [
            name
            for index, name in enumerate(opened.schema_arrow.names)
            if _may_have_values(opened, index)
        ]
        with Path(file.path).open("rb") as raw:
            # A Parquet file ends with the footer, its length and a magic number of 4 bytes each.
            raw.seek(file.size - metadata.serialized_size - 8)
            footer = hashlib.blake2b(raw.read(), digest_size=16).hexdigest()
    return tuple(names), footer


def _may_have_values(file: pq.ParquetFile, index: int) -> bool:
    """Whether a column can have values that are not null, according to the file's statistics."""
    metadata = file.metadata
    name = file.schema_arrow.names[index]
    leaves = [
        leaf
        for leaf in range(metadata.num_columns)
        if metadata.schema.column(leaf).path.split(".")[0] == name
    ]
    for group in range(metadata.num_row_groups):
        for leaf in leaves:
            chunk = metadata.row_group(group).column(leaf)
            nulls = chunk.statistics and chunk.statistics.null_count
            if nulls is None or nulls < chunk.num_values:
                return True
    return False


@lru_cache(maxsize=8)
def _find_matching(file: PersonFile, filters: Filters) -> NDArray[np.uint32]:
    names = [*dict.fromkeys(name for name, _ in filters)]
    found: list[NDArray[np.uint32]] = [np.array([], dtype=np.uint32)]
    with _open(file) as opened:
        for start, batch in _batches(opened, names):
            mask = _mask(batch, filters)
            found.append((start + np.flatnonzero(mask)).astype(np.uint32))
    return np.concatenate(found)


def _mask(batch: pa.RecordBatch, filters: Filters) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = np.ones(batch.num_rows, dtype=bool)
    for name, values in filters:
        column = batch.column(name)
        strings = [str(value) for value in values]
        if pa.types.is_boolean(column.type):
            strings = [text.lower() for text in strings]
        try:  # as strings, because a configuration lists numbers and booleans as strings, too
            held = pc.is_in(column.cast(pa.string()), value_set=pa.array(strings, pa.string()))
        except pa.ArrowException:
            raise SamplerError(
                f"field {name!r} holds {column.type}, which cannot be used as a filter; "
                "use a field of strings, numbers or booleans"
            ) from None
        mask &= held.to_numpy(zero_copy_only=False)
    return mask


def _batches(
    file: pq.ParquetFile, columns: Sequence[str], numbers: NDArray[np.uint32] | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of the file, each with the number of its first row.

    With `numbers`, row groups that contain none of these rows are skipped.
    """
    start = 0
    for group in range(file.metadata.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        if numbers is None or np.diff(np.searchsorted(numbers, [start, stop])).any():
            first = start
            for batch in file.iter_batches(_ROWS_PER_READ, row_groups=[group], columns=[*columns]):
                yield first, batch
                first += batch.num_rows
        start = stop


def _open(file: PersonFile) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file.path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise SamplerError(f"{file.path!r} cannot be read as Parquet: {error}") from error
