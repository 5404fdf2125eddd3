"""Rows that were dropped from a dataset: which, why, and the model's last prompt and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.errors import DataDesignerError
from dd_core.storage.values import admit_value

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DroppedRow:
    """A row that is missing from the dataset, and the reason."""

    row: int
    column: str
    error: str
    """Name of the error class."""
    message: str
    attempts: int = 1
    """Number of attempts to generate the failed cell."""
    prompt: str | None = None
    answer: str | None = None
    """The model's last answer."""

    @classmethod
    def of(cls, row: int, column: str, error: Exception) -> DroppedRow:
        """Describe a row that was dropped because a cell of `column` failed with `error`."""
        known = error if isinstance(error, DataDesignerError) else DataDesignerError()
        return cls(
            row=row,
            column=column,
            error=type(error).__name__,
            message=admit_value(str(error)),
            attempts=known.attempts,
            prompt=admit_value(known.prompt),
            answer=admit_value(known.answer),
        )


def build_failures_table(rows: Sequence[DroppedRow]) -> pa.Table:
    """Build a table with one row for each dropped row."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "row": pa.array([row.row for row in rows], pa.int64()),
        "column": pa.array([row.column for row in rows], pa.string()),
        "error": pa.array([row.error for row in rows], pa.string()),
        "message": pa.array([row.message for row in rows], pa.string()),
        "attempts": pa.array([row.attempts for row in rows], pa.int64()),
        "prompt": pa.array([row.prompt for row in rows], pa.string()),
        "answer": pa.array([row.answer for row in rows], pa.string()),
    }
    return pa.table(columns)
