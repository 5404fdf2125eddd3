"""Quality gates: the conditions that a finished dataset must meet to be accepted.

`dd_core/dataset/checks.py` checks the gates themselves before a run.
`dd_core/quality/acceptance.py` evaluates them for a finished dataset.
"""

from __future__ import annotations

from pydantic import Field

from dd_core.declaration.kind import Declaration


class ColumnGates(Declaration):
    """Quality gates for the values of one column. A gate that is not set is not checked.

    Shares are between 0 and 1.
    """

    max_null_share: float | None = Field(default=None, ge=0, le=1)
    """Maximum share of rows without a value."""
    max_duplicate_share: float | None = Field(default=None, ge=0, le=1)
    """Maximum share of values that repeat another value; rows without a value do not count."""
    min_valid_share: float | None = Field(default=None, ge=0, le=1)
    """Minimum share of rows that a validation column finds valid; rows without a verdict count as
    invalid."""
    min_mean_scores: dict[str, float] | None = Field(default=None, min_length=1)
    """Minimum mean of a judge's scores, by the name of the score."""
    max_drift: float | None = Field(default=None, gt=0, le=1)
    """Maximum difference from the previous accepted version; 0 means the same distribution. It is
    the Kolmogorov-Smirnov statistic for numbers, dates and text lengths, and the total variation
    distance for categories. Differences that may be due to chance (p >= 0.01) do not count. A good
    starting value is 0.1."""

    @property
    def wanted(self) -> list[str]:
        """Names of the gates that are set."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class Gates(Declaration):
    """Quality gates for a finished dataset. A dataset that fails one is kept, but not accepted."""

    min_rows: int | None = Field(default=None, ge=1)
    """Minimum number of rows in the dataset, after processors have filtered them."""
    max_dropped_share: float | None = Field(default=None, ge=0, le=1)
    """Maximum share of the requested rows that were dropped because they failed."""
    max_duplicate_share: float | None = Field(default=None, ge=0, le=1)
    """Maximum share of rows that repeat another row in every column."""
    columns: dict[str, ColumnGates] = Field(default_factory=dict[str, ColumnGates])
    """Quality gates for single columns, by column name."""
