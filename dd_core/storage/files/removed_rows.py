"""Which rows a processor removed from a dataset, and why: counts for reports, and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dd_core.storage.batch import Part

if TYPE_CHECKING:
    import pyarrow as pa


_MOST_REASONS = 20
"""Reasons that the metadata lists; there may be one for each value of a column."""
_OTHER = "other reasons"


class RemovedRows:
    """The rows that one processor removed from those that it received."""

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self._numbers = numbers
        """The numbers of all rows that it received."""
        self._found: list[tuple[str, NDArray[np.int64]]] = []

    def add(self, positions: NDArray[np.integer[Any]], reason: str) -> None:
        """Add rows by their positions among the received rows."""
        if len(positions):
            self._found.append((reason, np.asarray(positions, dtype=np.int64)))

    def number_kept(self, rows: int) -> NDArray[np.int64]:
        """Return the numbers of the rows that were kept, of which there are `rows`.

        If not all removed rows were added, the kept rows are numbered again from 0.
        """
        kept = np.ones(len(self._numbers), dtype=np.bool_)
        for _, positions in self._found:
            kept[positions] = False
        numbers = self._numbers[kept]
        return numbers if len(numbers) == rows else np.arange(rows)

    def count(self) -> dict[str, int]:
        """Return the number of removed rows by reason, the most common reasons first."""
        counts = Counter[str]()
        for reason, positions in self._found:
            counts[reason] += len(positions)
        shown = dict(counts.most_common(_MOST_REASONS))
        rest = counts.total() - sum(shown.values())
        return shown | ({_OTHER: rest} if rest else {})

    def to_table(self) -> pa.Table | None:
        """Return the removed rows with their reasons, by number; None if there are none."""
        import pyarrow as pa

        if not self._found:
            return None
        numbers = self._numbers[np.concatenate([positions for _, positions in self._found])]
        order = np.argsort(numbers, kind="stable")
        counts = [len(positions) for _, positions in self._found]
        codes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        reasons: Any = pa.array([reason for reason, _ in self._found])
        return pa.table({"row": pa.array(numbers[order]), "reason": reasons.take(pa.array(codes))})


def list_row_numbers(parts: Iterable[Part]) -> NDArray[np.int64]:
    """Return the numbers of the rows in parts, counted from the start of the dataset."""
    return np.concatenate([_number_part(part) for part in parts])


def _number_part(part: Part) -> NDArray[np.int64]:
    numbers = np.arange(part.start, part.stop)
    finished = numbers[~np.isin(numbers, part.dropped + part.rejected)]
    # A part of a run that was stopped does not say which of its rows are missing.
    return finished if len(finished) == part.rows else numbers[: part.rows]
