"""Removes rows that are equal or similar to an earlier row.

Similar rows are found by MinHash with locality-sensitive hashing (LSH): each row gets a signature
of hash values, signatures are cut into bands, and only rows that agree in a whole band are compared
with each other. The number of comparisons thus grows with the number of similar rows, not with the
square of the number of rows.
"""

# pyright: reportMissingTypeStubs=false
# (datasketch has no type annotations)

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.storage.json_codec import dump_json

if TYPE_CHECKING:
    import pyarrow as pa


# In scripts without spaces between words, each character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_SEED = 1
_LSH_WEIGHTS = (0.1, 0.9)
"""Weights of false positives and false negatives when the number of bands is chosen."""


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

    def after_generation(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables without the rows that repeat an earlier one."""
        import pyarrow as pa

        if self.similarity is None:
            kept = self._find_distinct(tables)
        else:
            kept = self._find_dissimilar(tables)
        start = 0
        for table in tables:
            mask = kept[start : start + table.num_rows]
            start += table.num_rows
            yield table.filter(pa.array(mask))

    def _rows(self, tables: Iterable[pa.Table]) -> Iterator[list[Any]]:
        for table in tables:
            names = sorted(self.column_names or table.column_names)
            for row in table.select(names).to_pylist():
                yield [row[name] for name in names]

    def _find_distinct(self, tables: Iterable[pa.Table]) -> NDArray[np.bool_]:
        """Return which rows are the first with their values, shape (rows,).

        Needs a digest of 16 bytes of memory per row.
        """
        digests = b"".join(
            hashlib.blake2b(_to_bytes(row), digest_size=16).digest() for row in self._rows(tables)
        )
        keys = np.frombuffer(digests, dtype="S16")
        kept = np.zeros(len(keys), dtype=np.bool_)
        kept[np.unique(keys, return_index=True)[1]] = True
        return kept

    def _find_dissimilar(self, tables: Iterable[pa.Table]) -> NDArray[np.bool_]:
        """Return which rows are the first of their cluster, shape (rows,).

        Needs 4 bytes of temporary disk space per row and permutation.
        """
        import tempfile

        with tempfile.TemporaryFile(prefix="dd-signatures-") as file:
            count = 0
            for row in self._rows(tables):
                file.write(self._signature(row).tobytes())
                count += 1
            file.flush()
            if not count:
                return np.zeros(0, dtype=np.bool_)
            shape = (count, self.num_permutations)
            return self._find_firsts(np.memmap(file, dtype=np.uint32, mode="r", shape=shape))

    def _signature(self, row: list[Any]) -> NDArray[np.uint32]:
        """Return the MinHash signature of a row, shape (num_permutations,).

        Two signatures agree in about the fraction of positions that is the Jaccard index of the
        rows' word sequences.
        """
        from datasketch import MinHash

        text = " ".join(each if isinstance(each, str) else _to_text(each) for each in row)
        words = _WORD.findall(text.lower())
        size = min(self.ngram_size, len(words)) or 1
        ngrams = {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}
        minhash: Any = MinHash(num_perm=self.num_permutations, seed=_SEED)
        minhash.update_batch([ngram.encode() for ngram in ngrams])
        return minhash.hashvalues.astype(np.uint32)

    def _find_firsts(self, signatures: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return which rows are the first of their cluster, shape (rows,)."""
        from datasketch import MinHashLSH

        # Used only to choose `b` bands of `r` rows for the threshold. False negatives weigh more,
        # because false positives are sorted out by the comparison below.
        lsh: Any = MinHashLSH(
            self.similarity or 1.0, num_perm=self.num_permutations, weights=_LSH_WEIGHTS
        )
        clusters = _Clusters(len(signatures))
        # One band at a time, so that only one is in memory.
        for band in range(lsh.b):
            columns = signatures[:, band * lsh.r : (band + 1) * lsh.r]
            for members in _group_equal(np.ascontiguousarray(columns)):
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


def _group_equal(band: NDArray[np.uint32]) -> Iterator[NDArray[np.intp]]:
    """Yield groups of two or more rows that are equal in a band, each in row order.

    `band` has the shape (rows, values) and is contiguous.
    """
    # A row's values are viewed as one byte string, so that NumPy can sort and compare whole rows.
    keys = band.view(f"S{band.itemsize * band.shape[1]}").ravel()
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(order))
    for group in np.flatnonzero(stops - starts > 1):
        yield order[starts[group] : stops[group]]


def _to_bytes(value: Any) -> bytes:
    return dump_json(value, orjson.OPT_SORT_KEYS)


def _to_text(value: Any) -> str:
    return "" if value is None else _to_bytes(value).decode()
