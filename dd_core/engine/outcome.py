"""What a batch came to: the values of its finished rows, and the rows that were dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.engine.values import BatchValues
from dd_core.storage.arrow import ColumnTypes
from dd_core.storage.batch import Batch, DroppedRow

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class BatchOutcome:
    """The result of a batch run, complete or stopped early."""

    batch: Batch
    rows: Sequence[int]
    """Positions within the batch of the rows that are complete in every column."""
    values: BatchValues
    dropped_rows: tuple[DroppedRow, ...]
    """Rows that failed permanently, and why."""
    is_complete: bool
    """Whether every row was either finished or dropped; False for a batch that was stopped."""

    def table(self, names: Sequence[str], types: ColumnTypes) -> pa.Table:
        """The finished rows of the named columns, in that order and with their declared types."""
        import pyarrow as pa

        chosen = None if len(self.rows) == self.batch.size else self.rows
        arrays: list[Any] = [
            types.build_array(name, self.values.column(name), chosen) for name in names
        ]
        return pa.Table.from_arrays(arrays, names=[*names])

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The finished rows as dictionaries with the named columns."""
        return [self.values.row(names, row) for row in self.rows]
