"""What a batch came to: the values of its finished rows, and the rows that were dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.dataset.planning.acceptance import ACCEPTED
from dd_core.engine.values import BatchValues
from dd_core.storage.arrow import ColumnTypes, make_field
from dd_core.storage.batch import Batch, DroppedRow, NumberedRow

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
    rejected: tuple[int, ...] = ()
    """Rows of the dataset that were not accepted."""

    def table(self, names: Sequence[str], types: ColumnTypes) -> pa.Table:
        """The finished rows of the named columns, in that order and with their declared types."""
        import pyarrow as pa

        chosen = None if len(self.rows) == self.batch.size else self.rows
        arrays: list[Any] = []
        fields: list[Any] = []
        for name in names:
            values = self.values.column(name)
            arrays.append(types.build_array(name, values, chosen))
            fields.append(make_field(name, arrays[-1], values, chosen))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def records(self, names: Sequence[str], reader: str) -> list[NumberedRow]:
        """The finished rows with the named columns, for a processor."""
        return [self.values.row(names, row, reader) for row in self.rows]


def select_accepted(
    rows: Sequence[int], values: BatchValues, batch: Batch
) -> tuple[Sequence[int], tuple[int, ...]]:
    """Return the accepted rows, and the numbers of the others in the dataset."""
    if not values.has_column(ACCEPTED):
        return rows, ()
    accepted = values.column(ACCEPTED)
    rejected = tuple(batch.start + row for row in rows if not accepted[row])
    return [row for row in rows if accepted[row]], rejected
