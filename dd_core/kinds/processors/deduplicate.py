"""Rows that say what no row before them has said."""

# pyright: reportMissingTypeStubs=false
# (datasketch comes without types)

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field

from dd_core.errors import Problem
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.storage.json_codec import dump_json

if TYPE_CHECKING:
    import pyarrow as pa


# Characters of scripts that put no space between words count as words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_SEED = 1
_MISSES_WEIGH_MORE = (0.1, 0.9)


class DeduplicateProcessorConfig(ProcessorConfig):
    """Keeps the first of rows that are equal, or nearly equal, in some columns."""

    processor_type: Literal["deduplicate"] = "deduplicate"
    column_names: list[str] | None = Field(default=None, min_length=1)
    """Columns that are compared, dropped ones included; all of the dataset's, if not given."""
    similarity: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Share of word sequences that two texts must have in common to count as one (the Jaccard
    index, estimated by MinHash), for example 0.8. Only equal rows count, if not given."""
    ngram_size: int = Field(default=3, ge=1, le=20)
    """Words in a sequence."""
    num_permutations: int = Field(default=128, ge=16, le=1024)
    """Precision of the estimate: its standard error is at most 0.5 / sqrt(num_permutations)."""

    @property
    def reads(self) -> list[str]:
        """Columns that are compared."""
        return self.column_names or []

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Names must exist."""
        for name in scope.unknown(self.reads):
            yield report_unknown(f"processors.{self.name}.column_names", name, scope)

    def after_generation(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables without the rows that repeat an earlier one."""
        import pyarrow as pa

        kept = self._distinct(tables) if self.similarity is None else self._dissimilar(tables)
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

    def _distinct(self, tables: Iterable[pa.Table]) -> NDArray[np.bool_]:
        """Which rows are the first of their values; 16 bytes of memory a row and a bit."""
        digests = b"".join(
            hashlib.blake2b(_as_bytes(row), digest_size=16).digest() for row in self._rows(tables)
        )
        keys = np.frombuffer(digests, dtype="S16")
        kept = np.zeros(len(keys), dtype=np.bool_)
        kept[np.unique(keys, return_index=True)[1]] = True
        return kept

    def _dissimilar(self, tables: Iterable[pa.Table]) -> NDArray[np.bool_]:
        """Which rows are the first of their cluster; 4 bytes a row and permutation on disk."""
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
            return self._firsts(np.memmap(file, dtype=np.uint32, mode="r", shape=shape))

    def _signature(self, row: list[Any]) -> NDArray[np.uint32]:
        from datasketch import MinHash

        text = " ".join(each if isinstance(each, str) else _as_text(each) for each in row)
        words = _WORD.findall(text.lower())
        size = min(self.ngram_size, len(words)) or 1
        grams = {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}
        made: Any = MinHash(num_perm=self.num_permutations, seed=_SEED)
        made.update_batch([gram.encode() for gram in grams])
        return made.hashvalues.astype(np.uint32)

    def _firsts(self, signatures: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Rows that are in no cluster with an earlier row; a band of signatures at a time."""
        from datasketch import MinHashLSH

        # Rather too many candidates than too few, because each is compared afterwards.
        index: Any = MinHashLSH(
            self.similarity or 1.0, num_perm=self.num_permutations, weights=_MISSES_WEIGH_MORE
        )
        clusters = _Clusters(len(signatures))
        for band in range(index.b):
            columns = signatures[:, band * index.r : (band + 1) * index.r]
            for members in _groups(np.ascontiguousarray(columns)):
                first = signatures[members[0]]
                shares = (signatures[members[1:]] == first).mean(axis=1)
                for member in members[1:][shares >= self.similarity]:
                    clusters.join(int(members[0]), int(member))
        return clusters.firsts()


class _Clusters:
    """Rows that are connected; each cluster is known by its first row."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size)

    def _root(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    def join(self, one: int, other: int) -> None:
        first, second = sorted([self._root(one), self._root(other)])
        self._parent[second] = first

    def firsts(self) -> NDArray[np.bool_]:
        return self._parent == np.arange(len(self._parent))


def _groups(band: NDArray[np.uint32]) -> Iterator[NDArray[np.intp]]:
    """Rows that are equal in a band, each group in row order; rows of their own are left out."""
    keys = band.view(f"S{band.itemsize * band.shape[1]}").ravel()
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(order))
    for group in np.flatnonzero(stops - starts > 1):
        yield order[starts[group] : stops[group]]


def _as_bytes(value: Any) -> bytes:
    return dump_json(value, orjson.OPT_SORT_KEYS)


def _as_text(value: Any) -> str:
    return "" if value is None else _as_bytes(value).decode()
