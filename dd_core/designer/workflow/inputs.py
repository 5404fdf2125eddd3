"""The rows that have arrived in a stage: stored with its dataset, and its seed dataset."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from dd_core.dataset.config import encode_canonical
from dd_core.dataset.workflow.plan import INPUT_FOLDER, ExpectedTable
from dd_core.dataset.workflow.steps import ADDRESS, Columns, list_addresses
from dd_core.errors import SeedDatasetError
from dd_core.storage.arrow import ArrowValues, combine_chunks
from dd_core.storage.batch import make_key
from dd_core.storage.files.parquet import encode_parquet, read_parquet, read_parquet_facts
from dd_core.storage.location import Location, list_paths, put
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import pyarrow as pa

_FACTS = b"dd.input"
_HASH = "row_hash"
"""Column with a hash of the values of each row."""
_CHUNKS_KEPT = 16
"""Chunks that stay in memory: batches run concurrently, and each reads one column after another."""


@dataclass(frozen=True)
class Chunk:
    """Rows that arrived together."""

    start: int
    stop: int
    digest: str
    """Hash of the rows and their addresses."""
    path: Location


class StageInput(ExpectedTable):
    """The rows that have arrived, each with its address, its key and a hash of its values.

    They are stored in files, so that a later run notices which of them are others than before.
    """

    def __init__(self, folder: Location, columns: Columns) -> None:
        super().__init__(columns)
        self._folder = folder / INPUT_FOLDER
        self.chunks: list[Chunk] = [*_read_chunks(self._folder)]
        self._starts = [chunk.start for chunk in self.chunks]
        self._read_chunk = lru_cache(maxsize=_CHUNKS_KEPT)(read_parquet)
        """Reads the file of a chunk. Other runs may write other rows to the same path."""

    @property
    def stop(self) -> int:
        """Number of rows that have arrived."""
        return self.chunks[-1].stop if self.chunks else 0

    def add(self, table: pa.Table) -> Chunk:
        """Store rows behind the others."""
        import pyarrow as pa

        hashes = hash_rows(table)
        digest = make_digest(table, hashes)
        number, start = len(self.chunks), self.stop
        path = self._folder / f"batch_{number:05d}.parquet"
        facts = {"start": start, "digest": digest}
        stored = table.append_column(_HASH, pa.array(hashes, pa.string()))
        put(path, encode_parquet(stored, {_FACTS: orjson.dumps(facts)}))
        chunk = Chunk(start, start + table.num_rows, digest, path)
        self.chunks.append(chunk)
        self._starts.append(start)
        return chunk

    def take(self, column: str, rows: NDArray[np.int64]) -> ArrowValues:
        """Values of consecutive rows."""
        start, stop = int(rows[0]), int(rows[-1]) + 1
        return ArrowValues(combine_chunks(self._slice(start, stop).column(column)))

    def keys(self, start: int, stop: int) -> NDArray[np.int64]:
        """The keys of a range of rows, which follow from their addresses."""
        return _make_keys(self._slice(start, stop))

    def identify(self, start: int, stop: int) -> list[tuple[str, str]]:
        """The address and the hash of each row of a range."""
        rows = self._slice(start, stop)
        return [*zip(list_addresses(rows), rows.column(_HASH).to_pylist(), strict=True)]

    def identify_all(self) -> Iterator[tuple[str, str]]:
        """Yield the address and the hash of each row, with one chunk at a time in memory."""
        for chunk in self.chunks:
            rows: Any = read_parquet(chunk.path, [ADDRESS, _HASH])
            yield from zip(list_addresses(rows), rows.column(_HASH).to_pylist(), strict=True)

    def _slice(self, start: int, stop: int) -> Any:
        found: list[Any] = []
        for chunk in self.chunks[bisect_right(self._starts, start) - 1 :]:
            if chunk.start >= stop:
                break
            first, last = max(start, chunk.start), min(stop, chunk.stop)
            found.append(self._read_chunk(chunk.path).slice(first - chunk.start, last - first))
        if not found:
            raise SeedDatasetError(f"rows {start} to {stop - 1} have not arrived yet")
        if len(found) == 1:
            return found[0]
        return concatenate(found)


class RowsInMemory(ExpectedTable):
    """The rows that have arrived, in memory."""

    def __init__(self, columns: Columns, rows: pa.Table) -> None:
        super().__init__(columns)
        self._rows: Any = rows

    def take(self, column: str, rows: NDArray[np.int64]) -> ArrowValues:
        """Values of some rows."""
        import pyarrow as pa

        arrow: Any = pa
        return ArrowValues(combine_chunks(self._rows.column(column).take(arrow.array(rows))))

    def keys(self, start: int, stop: int) -> NDArray[np.int64]:
        """The keys of a range of rows, which follow from their addresses."""
        return _make_keys(self._rows.slice(start, stop - start))


def _make_keys(table: pa.Table) -> NDArray[np.int64]:
    return np.array([make_key(address) for address in list_addresses(table)], dtype=np.int64)


def hash_rows(table: pa.Table) -> list[str]:
    """A hash of the values of each row, without its address."""
    names = [name for name in table.column_names if name != ADDRESS]
    rows: list[dict[str, Any]] = table.select(names).to_pylist()
    return [
        hashlib.blake2b(encode_canonical(_without_nulls(row)), digest_size=12).hexdigest()
        for row in rows
    ]


def make_digest(table: pa.Table, hashes: list[str]) -> str:
    """A hash of rows and their addresses."""
    content = encode_canonical([list_addresses(table), hashes])
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _without_nulls(value: Any) -> Any:
    """A value without null members: whether files have them depends on the other rows in them."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return {name: _without_nulls(member) for name, member in members if member is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in cast("list[Any]", value)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _read_chunks(folder: Location) -> Iterator[Chunk]:
    for path in list_paths(folder, "batch_*.parquet"):
        rows, facts = read_parquet_facts(path)
        known: dict[str, Any] = orjson.loads(facts[_FACTS])
        yield Chunk(known["start"], known["start"] + rows, known["digest"], path)
