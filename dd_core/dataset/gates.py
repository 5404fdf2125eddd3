"""Gates: what a finished dataset must be like before it counts as good.

What can be wrong with them is in `checks.py`, how datasets are measured in `acceptance.py`.
"""

from __future__ import annotations

from pydantic import Field

from dd_core.declaration.kind import Declaration


class ColumnGates(Declaration):
    """What the values of one column must be like. Shares are between 0 and 1."""

    max_null_share: float | None = Field(default=None, ge=0, le=1)
    """Largest share of rows without a value."""
    max_duplicate_share: float | None = Field(default=None, ge=0, le=1)
    """Largest share of values that repeat another one, of those that are there."""
    min_valid_share: float | None = Field(default=None, ge=0, le=1)
    """Smallest share of rows that a validation column finds valid; no verdict is not valid."""
    min_mean_scores: dict[str, float] | None = Field(default=None, min_length=1)
    """Smallest mean of a judge's scores, by the scores' names."""
    max_drift: float | None = Field(default=None, gt=0, le=1)
    """Largest difference to the accepted version before this one, 0 for the same distribution: the
    Kolmogorov-Smirnov statistic of numbers, dates and lengths of texts, the total variation
    distance of categories. A difference that may be chance (p >= 0.01) does not count. 0.1 is a
    good start."""

    @property
    def wanted(self) -> list[str]:
        """Names of the gates that are set."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class Gates(Declaration):
    """What a finished dataset must be like; one that is not is kept, but not accepted."""

    min_rows: int | None = Field(default=None, ge=1)
    """Fewest rows in the dataset, after processors have filtered them."""
    max_dropped_share: float | None = Field(default=None, ge=0, le=1)
    """Largest share of rows that were given up, of those asked for."""
    max_duplicate_share: float | None = Field(default=None, ge=0, le=1)
    """Largest share of rows that repeat another one in every column."""
    columns: dict[str, ColumnGates] = Field(default_factory=dict[str, ColumnGates])
    """What single columns must be like, by their names."""
