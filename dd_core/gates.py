"""Gates: what a finished dataset must be like before it counts as good.

How datasets are measured is in `acceptance.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from dd_core.column import Column, Scope, known_names, unknown_reference
from dd_core.errors import Problem
from dd_core.kind import Declaration
from dd_core.processor import in_stage

if TYPE_CHECKING:
    from dd_core.plan import Plan

_PLACE = "run_config.gates"


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


def gate_problems(
    gates: Gates | None, plan: Plan, num_records: int, *, has_versions: bool
) -> Iterator[Problem]:
    """Gates that no dataset of this plan could pass, or that cannot be measured."""
    if gates is None:
        return
    late = in_stage(plan.config.processors, "after_generation")
    if gates.min_rows is not None and gates.min_rows > num_records and not late:
        message = f"is {gates.min_rows}, but only {num_records} rows are asked for; lower it"
        yield Problem(f"{_PLACE}.min_rows", message)
    columns = {column.name: column for column in plan.config.columns}
    shown = frozenset(plan.output_columns)
    for name, wanted in gates.columns.items():
        place = f"{_PLACE}.columns.{name}"
        if name in plan.dropped_columns:
            yield Problem(place, "is a dropped column; set its drop to false to gate it")
        elif name not in shown:
            yield unknown_reference(place, name, Scope(columns, shown, {}))
        else:
            yield from _column_problems(place, wanted, columns.get(name), has_versions)


def _column_problems(
    place: str, gates: ColumnGates, column: Column | None, has_versions: bool
) -> Iterator[Problem]:
    suited = (column or Column).gated_by  # a side effect is like any column
    for name in gates.wanted:
        if name not in suited:
            kind = f"a column of kind {column.kind!r}" if column else "a side effect"
            yield Problem(
                f"{place}.{name}", f"does not suit {kind}; {known_names('gates', suited)}"
            )
    if gates.max_drift is not None and not has_versions:
        message = "compares with the version before, but this dataset has no versions"
        yield Problem(f"{place}.max_drift", f"{message}; give the run a version, or leave it out")
    known: Mapping[str, bool] = column.scores_by_name if column else {}
    for score in (gates.min_mean_scores or {}) if "min_mean_scores" in suited else ():
        at = f"{place}.min_mean_scores.{score}"
        if score not in known:
            yield Problem(at, f"is no score of this judge; {known_names('scores', known)}")
        elif not known[score]:
            yield Problem(at, "has options that are no numbers, so there is no mean; leave it out")
