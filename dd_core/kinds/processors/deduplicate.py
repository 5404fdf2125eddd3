"""Removes rows that are equal or similar to an earlier row.

Similar rows are found by MinHash with locality-sensitive hashing (LSH): each row gets a signature
of hash values, signatures are cut into bands, and only rows that agree in a whole band are compared
with each other. The number of comparisons thus grows with the number of similar rows, not with the
square of the number of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem
from dd_core.kinds.processors._minhash import choose_bands, compute_signature, find_equal
from dd_core.kinds.processors._words import to_bytes, to_text
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.scope import Scope, report_unknown

if TYPE_CHECKING:
    import pyarrow as pa


class DeduplicateProcessorConfig(ProcessorConfig):
    """Keeps only the first of several rows that are equal or similar."""

    processor_type: Annotated[Literal["deduplicate"], OWN] = "deduplicate"
    column_names: list[str] | None = Field(default=None, min_length=1)
    """Columns to compare, including dropped columns; default: all columns of the dataset."""
    similarity: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Fraction of word sequences that two rows must share to count as equal, for example 0.8. It is
    the Jaccard index, estimated by MinHash; default: rows must be exactly equal."""
    ngram_size: int = Field(default=3, ge=1, le=20)
    """Number of words in a sequence, used with `similarity`; default: 3."""
    num_permutations: int = Field(default=128, ge=16, le=1024)
    """Number of hash functions, used with `similarity`; default: 128. More of them make the
    estimate more precise: its standard error is at most 0.5 / sqrt(num_permutations)."""

    @property
    def reads(self) -> list[str]:
        """Columns that are compared."""
        return self.column_names or []

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield column names that do not exist."""
        for name in scope.unknown(self.reads):
            yield report_unknown(f"processors.{self.name}.column_names", name, scope)

    def after_generation(self, tables: Tables) -> Iterator[pa.Table]:
        """Yield the tables without the rows that repeat an earlier one."""
        if self.similarity is None:
            kept, reason = self._find_distinct(tables), "equal to an earlier row"
        else:
            kept, reason = self._find_dissimilar(tables), "similar to an earlier row"
        tables.record_removed(np.flatnonzero(~kept), reason)
        yield from tables.filter_rows(kept)

    def _rows(self, tables: Tables) -> Iterator[list[Any]]:
        for table in tables:
            names = sorted(self.column_names or table.column_names)
            for row in table.select(names).to_pylist():
                yield [row[name] for name in names]

    def _find_distinct(self, tables: Tables) -> NDArray[np.bool_]:
        """Return which rows are the first with their values, shape (rows,).

        Needs a digest of 16 bytes of memory per row.
        """
        digests = b"".join(
            hashlib.blake2b(to_bytes(row), digest_size=16).digest() for row in self._rows(tables)
        )
        keys = np.frombuffer(digests, dtype="S16")
        kept = np.zeros(len(keys), dtype=np.bool_)
        kept[np.unique(keys, return_index=True)[1]] = True
        return kept

    def _find_dissimilar(self, tables: Tables) -> NDArray[np.bool_]:
        """Return which rows are the first of their cluster, shape (rows,).

        Needs 4 bytes of temporary disk space per row and permutation.
        """
        import tempfile

        with tempfile.TemporaryFile(prefix="dd-signatures-") as file:
            count = 0
            for row in self._rows(tables):
                text = " ".join(map(to_text, row))
                signature = compute_signature(text, self.ngram_size, self.num_permutations)
                file.write(signature.tobytes())
                count += 1
            file.flush()
            if not count:
                return np.zeros(0, dtype=np.bool_)
            shape = (count, self.num_permutations)
            return self._find_firsts(np.memmap(file, dtype=np.uint32, mode="r", shape=shape))

    def _find_firsts(self, signatures: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return which rows are the first of their cluster, shape (rows,)."""
        clusters = _Clusters(len(signatures))
        # One band at a time, so that only one is in memory.
        for band in choose_bands(self.similarity or 1.0, self.num_permutations):
            for members in find_equal(signatures[:, band]):
                # Members are compared with the first one only, which keeps the time linear.
                first = signatures[members[0]]
                agreement = (signatures[members[1:]] == first).mean(axis=1)
                for member in members[1:][agreement >= self.similarity]:
                    clusters.join(int(members[0]), int(member))
        return clusters.firsts()


class _Clusters:
    """Clusters of connected rows, as a union-find structure.

    The root of a cluster is its first row.
    """

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size)

    def _root(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]  # halves the path for later searches
            row = int(parent[row])
        return row

    def join(self, one: int, other: int) -> None:
        """Merge the clusters of two rows."""
        first, second = sorted([self._root(one), self._root(other)])
        self._parent[second] = first

    def firsts(self) -> NDArray[np.bool_]:
        """Return which rows are the first of their cluster, shape (rows,)."""
        return self._parent == np.arange(len(self._parent))
