"""Rows that are missing from a dataset: which, why, and what the model was asked and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.errors import DataDesignerError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DroppedRow:
    """A row that is not in the dataset, and the reason."""

    row: int
    column: str
    error: str
    """Name of the error class."""
    message: str
    attempts: int = 1
    """How many times a model was asked."""
    prompt: str | None = None
    answer: str | None = None
    """The model's last answer."""

    @classmethod
    def of(cls, row: int, column: str, error: Exception) -> DroppedRow:
        """The row that was dropped because a cell of `column` failed with `error`."""
        known = error if isinstance(error, DataDesignerError) else DataDesignerError()
        return cls(
            row=row,
            column=column,
            error=type(error).__name__,
            message=str(error),
            attempts=known.attempts,
            prompt=known.prompt,
            answer=known.answer,
        )


def build_failures_table(rows: Sequence[DroppedRow]) -> pa.Table:
    """Dropped rows as a table, one row each."""
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
