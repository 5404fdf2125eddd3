"""When too many cells fail: the share of failed cells, column by column."""

from __future__ import annotations

from collections import Counter

from dd_core.dataset.run_config import RunConfig


class ErrorRates:
    """The share of each column's cells that failed permanently.

    Columns are counted separately. Otherwise a column whose every cell fails would hide behind the
    successes of the columns before it, which are then paid for in vain.
    """

    def __init__(self, run_config: RunConfig) -> None:
        self._config = run_config
        self._succeeded: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._error_names: dict[str, Counter[str]] = {}
        self._example: dict[str, Exception] = {}

    def count_success(self, column: str, cells: int = 1) -> None:
        """Count finished cells, whether they were generated, computed or restored."""
        self._succeeded[column] += cells

    def count_failure(self, column: str, error: Exception) -> None:
        """Count a cell that failed permanently."""
        self._failed[column] += 1
        self._error_names.setdefault(column, Counter())[type(error).__name__] += 1
        self._example.setdefault(column, error)

    def stop_reason(self, column: str, shown_name: str) -> str | None:
        """Why the run should stop because of this column; None if it should continue."""
        failed = self._failed[column]
        finished = failed + self._succeeded[column]
        config = self._config
        if config.disable_early_shutdown or finished < config.shutdown_error_window:
            return None
        if failed / finished <= config.shutdown_error_rate:
            return None
        errors = self._error_names[column].most_common()
        names = ", ".join(f"{count} x {name}" for name, count in errors)
        return (
            f"{failed} of {finished} cells of column {shown_name!r} failed ({names}), for example: "
            f"{self._example[column]}. Fix the cause, or raise the allowed error rate with "
            "RunConfig.shutdown_error_rate or disable_early_shutdown"
        )
