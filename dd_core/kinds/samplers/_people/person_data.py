"""Managed datasets of people: Parquet files that are too large to be kept in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow comes without types)

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SamplerError
from dd_core.models.providers import get_home_directory

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


_READ_AT_ONCE = 16_384
"""Rows of the file that are decoded together."""

Wanted = tuple[tuple[str, tuple[str | int, ...]], ...]
"""Columns and the values that a person may have in them."""


def find_dataset(assets: Path | None, locale: str) -> Path:
    """Where the people of a locale are: below `assets`, or the folder of the environment."""
    given = assets or os.environ.get("DATA_DESIGNER_MANAGED_ASSETS_PATH")
    folder = Path(given).expanduser() if given else get_home_directory() / "managed-assets"
    return folder.absolute() / "datasets" / f"{locale}.parquet"


@dataclass(frozen=True)
class PersonFile:
    """One content of a file; when the file changes, it is another."""

    path: str
    changed: int
    """Time of change in ns."""
    size: int
    """Bytes."""

    @classmethod
    def at(cls, path: Path) -> PersonFile:
        """The file that is there now; raises `SamplerError` if there is none."""
        try:
            stat = path.stat()
        except OSError:
            raise SamplerError(f"there is no file {str(path)!r} any more") from None
        return cls(str(path), stat.st_mtime_ns, stat.st_size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that hold anything in any row."""
        return _described(self)[0]

    @property
    def digest(self) -> str:
        """Hash of the file's footer, which holds places, sizes and statistics of all its data."""
        return _described(self)[1]

    def matching(self, wanted: Wanted) -> NDArray[np.uint32]:
        """Numbers of the rows that satisfy all of `wanted`; the file is read once for it."""
        return _matching(self, wanted)

    def rows(self, numbers: NDArray[np.uint32], columns: Sequence[str]) -> pa.Table:
        """The rows of ascending numbers; never more than a little of the file is in memory."""
        import pyarrow as pa

        with _opened(self) as file:
            parts: list[pa.RecordBatch] = []
            for start, batch in _batches(file, columns, numbers):
                first, stop = np.searchsorted(numbers, [start, start + batch.num_rows])
                if first < stop:
                    parts.append(batch.take(numbers[first:stop].astype(np.int64) - start))
            return pa.Table.from_batches(parts)


@lru_cache(maxsize=16)
def _described(file: PersonFile) -> tuple[tuple[str, ...], str]:
    with _opened(file) as opened:
        metadata = opened.metadata
        names = [
            name for index, name in enumerate(opened.schema_arrow.names) if _holds(opened, index)
        ]
        with Path(file.path).open("rb") as raw:
            raw.seek(file.size - metadata.serialized_size - 8)
            footer = hashlib.blake2b(raw.read(), digest_size=16).hexdigest()
    return tuple(names), footer


def _holds(file: pq.ParquetFile, index: int) -> bool:
    """Whether the file's statistics leave room for a value in a column."""
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
def _matching(file: PersonFile, wanted: Wanted) -> NDArray[np.uint32]:
    names = [*dict.fromkeys(name for name, _ in wanted)]
    found: list[NDArray[np.uint32]] = [np.array([], dtype=np.uint32)]
    with _opened(file) as opened:
        for start, batch in _batches(opened, names):
            mask = _mask(batch, wanted)
            found.append((start + np.flatnonzero(mask)).astype(np.uint32))
    return np.concatenate(found)


def _mask(batch: pa.RecordBatch, wanted: Wanted) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = np.ones(batch.num_rows, dtype=bool)
    for name, values in wanted:
        column = batch.column(name)
        texts = [str(value) for value in values]
        if pa.types.is_boolean(column.type):
            texts = [text.lower() for text in texts]
        try:  # as text, because a configuration lists texts also for numbers and truth values
            held = pc.is_in(column.cast(pa.string()), value_set=pa.array(texts, pa.string()))
        except pa.ArrowException:
            raise SamplerError(
                f"field {name!r} holds {column.type}, which nothing can be selected by; "
                "use a field of texts, numbers or truth values"
            ) from None
        mask &= held.to_numpy(zero_copy_only=False)
    return mask


def _batches(
    file: pq.ParquetFile, columns: Sequence[str], numbers: NDArray[np.uint32] | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Parts of the file with the number of their first row, without row groups of no interest."""
    start = 0
    for group in range(file.metadata.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        if numbers is None or np.diff(np.searchsorted(numbers, [start, stop])).any():
            first = start
            for batch in file.iter_batches(_READ_AT_ONCE, row_groups=[group], columns=[*columns]):
                yield first, batch
                first += batch.num_rows
        start = stop


def _opened(file: PersonFile) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file.path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise SamplerError(f"{file.path!r} cannot be read as Parquet: {error}") from error
