"""Rows that could not be generated: which, why, and what the model was asked and said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.errors import DataDesignerError

if TYPE_CHECKING:
    import pyarrow as pa

    from dd_core.execute import BatchRun


@dataclass(frozen=True)
class DroppedRow:
    """A row that is not in the dataset, and why."""

    row: int
    column: str
    error: str
    """Name of the error's class."""
    message: str
    attempts: int = 1
    """How often a model was asked."""
    prompt: str | None = None
    answer: str | None = None
    """What the model answered last."""


def dropped_rows(run: BatchRun) -> tuple[DroppedRow, ...]:
    """Rows of a batch that are missing, and why."""
    return tuple(
        _dropped(run.batch.start + row, name, error)
        for name, state in run.states.items()
        for row, error in sorted(state.failures.items())
    )


def failures_table(run: BatchRun) -> pa.Table | None:
    """The missing rows of a batch as a table; None if there are none."""
    import pyarrow as pa

    rows = dropped_rows(run)
    if not rows:
        return None
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


def _dropped(row: int, column: str, error: Exception) -> DroppedRow:
    known = error if isinstance(error, DataDesignerError) else DataDesignerError()
    return DroppedRow(
        row=row,
        column=column,
        error=type(error).__name__,
        message=str(error),
        attempts=known.attempts,
        prompt=known.prompt,
        answer=known.answer,
    )
