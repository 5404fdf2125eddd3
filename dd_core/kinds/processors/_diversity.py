"""Chooses rows that differ from each other, greedily: the best rows first.

What is compared, vectors or signatures of texts, lies in temporary files, so memory use does not
grow with the number of rows.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (pyarrow's compute functions have no type annotations)

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections import defaultdict
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import DataDesignerGenerationError
from dd_core.kinds.processors._minhash import choose_bands, compute_signature, find_equal
from dd_core.kinds.processors._words import to_text
from dd_core.storage.arrow import combine_chunks

if TYPE_CHECKING:
    import pyarrow as pa


_BLOCK = 1024
"""Rows that are compared in one product of matrices."""
_CHUNK = 8192
"""Selected rows that they are compared with in one product."""
_ROUNDING = 1e-5
"""Products of matrices are only this precise: their last digits depend on the processor."""
_PERMUTATIONS = 128


class Index(ABC):
    """The rows of a dataset, of which some are selected. Use as a context manager."""

    def __init__(self) -> None:
        self._file = TemporaryFile(prefix="dd-select-")  # noqa: SIM115  (closed at exit)
        self.missing = array("q")
        """Positions of rows that have nothing to compare."""
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @abstractmethod
    def extend(self, column: pa.ChunkedArray[Any]) -> None:
        """Add the values of further rows."""

    @abstractmethod
    def start(self, capacity: int) -> None:
        """Prepare to select at most `capacity` of the added rows."""

    @abstractmethod
    def open_block(self, positions: NDArray[np.int64]) -> Block:
        """Prepare to compare rows."""


class Block(ABC):
    """Some rows, which are compared with the selected ones and with each other."""

    @abstractmethod
    def is_close(self, number: int) -> bool:
        """Return whether a row of the block is too close to a selected row."""

    @abstractmethod
    def select(self, number: int) -> None:
        """Add a row of the block to the selected rows."""


class VectorIndex(Index):
    """Rows compared by the cosine distance of their vectors.

    Memory is needed for two blocks of vectors, and temporary disk space for all of them.
    """

    def __init__(self, column: str, min_distance: float) -> None:
        super().__init__()
        self._column = column
        self.most = 1.0 - min_distance
        """Cosine of the closest vectors that may both be selected."""
        self._dimension = 0
        self.count = 0
        """Number of selected rows."""

    def extend(self, column: pa.ChunkedArray[Any]) -> None:
        """Add the vectors of further rows, normalized."""
        vectors = _read_vectors(self._column, column)
        dimension = vectors.shape[1]
        if self._dimension and dimension and dimension != self._dimension:
            raise _differ(self._column, self._dimension, dimension)
        if dimension and not self._dimension:
            self._dimension = dimension
            self._file.seek(4 * dimension * self.size)  # after earlier rows, which had no vectors
        with np.errstate(invalid="ignore", over="ignore"):
            # The largest number becomes 1, so that no square is too large or too small.
            largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
            scaled = vectors / np.where(largest > 0, largest, 1.0)
            lengths = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
        missing = ~np.isfinite(lengths) | (largest == 0)
        normalized = np.where(missing, 0.0, scaled / np.where(missing, 1.0, lengths))
        if self._dimension:
            rows = normalized if dimension else np.zeros((len(vectors), self._dimension))
            self._file.write(rows.astype(np.float32).tobytes())
        self.missing.extend((np.flatnonzero(missing.ravel()) + self.size).tolist())
        self.size += len(vectors)

    def start(self, capacity: int) -> None:
        """Map the files with all vectors and with those of the selected rows."""
        self._file.flush()
        if not self._dimension:
            return
        shape = (self.size, self._dimension)
        self._vectors = np.memmap(self._file, dtype=np.float32, mode="r", shape=shape)
        with TemporaryFile(prefix="dd-select-") as file:
            shape = (max(1, capacity), self._dimension)
            self._selected = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)

    def open_block(self, positions: NDArray[np.int64]) -> Block:
        """Compare rows with the selected ones and with each other."""
        vectors = np.asarray(self._vectors[positions])
        close = np.zeros(len(vectors), dtype=np.bool_)
        unsure: list[tuple[int, int]] = []
        for first in range(0, self.count, _CHUNK):
            selected = self._selected[first : min(first + _CHUNK, self.count)]
            cosines = selected @ vectors.T
            close |= (cosines > self.most + _ROUNDING).any(axis=0)
            near = np.abs(cosines - self.most) <= _ROUNDING
            near[:, close] = False
            unsure += [(first + int(row), int(number)) for row, number in np.argwhere(near)]
        for row, number in unsure:
            if not close[number]:
                close[number] = self.are_close(self._selected[row], vectors[number])
        return _VectorBlock(self, vectors, close)

    def are_close(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
        """Compare two vectors exactly, with the same result on every machine."""
        products = one.astype(np.float64) * other.astype(np.float64)
        return math.fsum(products.tolist()) > self.most

    def add(self, vector: NDArray[np.float32]) -> None:
        """Add a vector to those of the selected rows."""
        self._selected[self.count] = vector
        self.count += 1


class _VectorBlock(Block):
    def __init__(
        self, index: VectorIndex, vectors: NDArray[np.float32], close: NDArray[np.bool_]
    ) -> None:
        self._index = index
        self._vectors = vectors
        self._close = close
        self._cosines = vectors @ vectors.T

    def is_close(self, number: int) -> bool:
        return bool(self._close[number])

    def select(self, number: int) -> None:
        cosines, most = self._cosines[number], self._index.most
        self._close |= cosines > most + _ROUNDING
        near = (np.abs(cosines - most) <= _ROUNDING) & ~self._close
        for other in np.flatnonzero(near):
            self._close[other] = self._index.are_close(self._vectors[number], self._vectors[other])
        self._index.add(self._vectors[number])


class TextIndex(Index):
    """Rows compared by the similarity of their texts, which MinHash estimates."""

    def __init__(self, max_similarity: float, ngram_size: int) -> None:
        super().__init__()
        self._most = max_similarity
        self._ngram_size = ngram_size
        self._members: defaultdict[int, list[int]] = defaultdict(list)
        """Selected rows by bucket."""

    def extend(self, column: pa.ChunkedArray[Any]) -> None:
        """Add the signatures of further rows."""
        for value in column.to_pylist():
            signature = compute_signature(to_text(value), self._ngram_size, _PERMUTATIONS)
            self._file.write(signature.tobytes())
            self.size += 1

    def start(self, capacity: int) -> None:
        """Map the file with the signatures, and find the buckets: rows that agree in a band."""
        self._file.flush()
        if not self.size:
            return
        shape = (self.size, _PERMUTATIONS)
        self._signatures = np.memmap(self._file, dtype=np.uint32, mode="r", shape=shape)
        rows, buckets = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        count = 0
        for band in choose_bands(self._most, _PERMUTATIONS):
            for members in find_equal(self._signatures[:, band]):
                rows.append(members)
                buckets.append(np.full(len(members), count, np.int32))
                count += 1
        found = np.concatenate(rows)
        # The buckets of each row are together, because most rows are in few of them.
        self._buckets = np.concatenate(buckets)[np.argsort(found, kind="stable")]
        self._ends = np.cumsum(np.bincount(found, minlength=self.size))

    def open_block(self, positions: NDArray[np.int64]) -> Block:
        """Prepare to compare rows one at a time."""
        return _TextBlock(self, positions)

    def is_close(self, position: int) -> bool:
        """Return whether a row is more similar to a selected row than allowed."""
        found = {row for bucket in self._list_buckets(position) for row in self._members[bucket]}
        if not found:
            return False
        signature = self._signatures[position]
        agreement = (self._signatures[sorted(found)] == signature).mean(axis=1)
        return bool((agreement > self._most).any())

    def select(self, position: int) -> None:
        """Add a row to the selected rows."""
        for bucket in self._list_buckets(position):
            self._members[bucket].append(position)

    def _list_buckets(self, position: int) -> list[int]:
        start = self._ends[position - 1] if position else 0
        return self._buckets[start : self._ends[position]].tolist()


class _TextBlock(Block):
    def __init__(self, index: TextIndex, positions: NDArray[np.int64]) -> None:
        self._index = index
        self._positions: list[int] = positions.tolist()

    def is_close(self, number: int) -> bool:
        return self._index.is_close(self._positions[number])

    def select(self, number: int) -> None:
        self._index.select(self._positions[number])


def choose_diverse(
    order: NDArray[np.int64],
    groups: NDArray[np.int32],
    quotas: NDArray[np.int64],
    index: Index,
) -> tuple[list[int], list[int]]:
    """Select rows in an order, unless they are too close to a row that was selected before.

    `quotas` is the number of rows to select of each group, and `groups` the group of each row of
    the dataset. Returns the positions of the selected rows, and of those that were too close.
    """
    left = quotas.copy()
    selected: list[int] = []
    close: list[int] = []
    index.start(min(len(order), int(left.sum())))
    for first in range(0, len(order), _BLOCK):
        if not left.any():
            break
        positions = order[first : first + _BLOCK]
        positions = positions[left[groups[positions]] > 0]
        if not len(positions):
            continue
        block = index.open_block(positions)
        for number, (position, group) in enumerate(
            zip(positions.tolist(), groups[positions].tolist(), strict=True)
        ):
            if not left[group]:
                continue
            if block.is_close(number):
                close.append(position)
                continue
            block.select(number)
            selected.append(position)
            left[group] -= 1
    return selected, close


def _read_vectors(name: str, column: pa.ChunkedArray[Any]) -> NDArray[np.float64]:
    """Return the vectors of rows, shape (rows, dimension); a row without one has zeros.

    A row with several vectors, from an embedding of several texts, is represented by their mean.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values: Any = combine_chunks(column)
    if pa.types.is_struct(values.type) and values.type.get_field_index("embeddings") >= 0:
        values = pc.struct_field(values, "embeddings")
    if pa.types.is_null(values.type):
        return np.zeros((len(values), 0))
    kind: Any = values.type
    if not _is_list(kind):
        raise DataDesignerGenerationError(
            f"column {name!r} has values of type {kind}, not vectors; name an embedding "
            "column or a column with lists of numbers"
        )
    if not _is_list(kind.value_type) and not pa.types.is_null(kind.value_type):
        return _to_matrix(name, values)
    counts = _count_members(values)
    vectors = _to_matrix(name, pc.list_flatten(values))
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, np.repeat(np.arange(len(counts)), counts), vectors)
    return means / np.maximum(counts, 1)[:, None]


def _to_matrix(name: str, lists: Any) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (_is_number(lists.type.value_type) or pa.types.is_null(lists.type.value_type)):
        raise DataDesignerGenerationError(
            f"column {name!r} has lists of {lists.type.value_type}, not of numbers"
        )
    lengths = _count_members(lists)
    sizes = np.unique(lengths[lengths > 0]).tolist()
    if len(sizes) > 1:
        raise _differ(name, *sizes[:2])
    size = sizes[0] if sizes else 0
    matrix = np.zeros((len(lengths), size))
    if size:
        numbers = pc.list_flatten(lists).cast(pa.float64()).to_numpy(zero_copy_only=False)
        matrix[lengths > 0] = numbers.reshape(-1, size)
    return matrix


def _count_members(lists: Any) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    lengths: Any = pc.list_value_length(lists)
    return lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _differ(column: str, one: int, other: int) -> DataDesignerGenerationError:
    return DataDesignerGenerationError(
        f"column {column!r} has vectors of {one} and of {other} numbers, which cannot be compared; "
        "use one embedding model for all rows"
    )
