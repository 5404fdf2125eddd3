"""Constraints on sampler columns: rows that violate one are drawn again."""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Tag

from dd_core.declaration.kind import Declaration


class InequalityOperator(StrEnum):
    """How the target column must compare with the right-hand side."""

    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"


_COMPARE: dict[InequalityOperator, Callable[[Any, Any], Any]] = {
    InequalityOperator.LT: op.lt,
    InequalityOperator.LE: op.le,
    InequalityOperator.GT: op.gt,
    InequalityOperator.GE: op.ge,
}


class ConstraintType(StrEnum):
    """Names of the two kinds of constraint."""

    SCALAR_INEQUALITY = "scalar_inequality"
    COLUMN_INEQUALITY = "column_inequality"


class ScalarInequalityConstraint(Declaration):
    """An inequality between the target column and a number."""

    constraint_type: Literal["scalar_inequality"] = "scalar_inequality"
    target_column: str
    """Sampler column whose values are redrawn until they satisfy the constraint."""
    rhs: float
    """Number on the right-hand side."""
    operator: InequalityOperator
    """Comparison of the target column with `rhs`: `lt`, `le`, `gt` or `ge`."""

    @property
    def references(self) -> list[str]:
        """Columns that the target is compared with: none."""
        return []

    def holds(self, target: NDArray[Any], columns: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Return which rows satisfy the constraint, shape (rows,)."""
        return np.asarray(_COMPARE[self.operator](target, self.rhs), dtype=bool)


class ColumnInequalityConstraint(Declaration):
    """An inequality between the target column and another sampler column of the same row."""

    constraint_type: Literal["column_inequality"] = "column_inequality"
    target_column: str
    """Sampler column whose values are redrawn until they satisfy the constraint."""
    rhs: str
    """Sampler column on the right-hand side. It is drawn first and not changed."""
    operator: InequalityOperator
    """Comparison of the target column with `rhs`: `lt`, `le`, `gt` or `ge`."""

    @property
    def references(self) -> list[str]:
        """Columns that the target is compared with."""
        return [self.rhs]

    def holds(self, target: NDArray[Any], columns: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Return which rows satisfy the constraint, shape (rows,).

        `columns` holds the values of `references` for the same rows.
        """
        return np.asarray(_COMPARE[self.operator](target, columns[self.rhs]), dtype=bool)


def _constraint_type(value: Any) -> str:
    """Return the tag of a constraint; if a file omits it, `rhs` decides.

    A number, or a string that contains one, makes a scalar constraint.
    """
    if not isinstance(value, Mapping):
        return str(getattr(value, "constraint_type", "scalar_inequality"))
    given: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    if "constraint_type" in given:
        return str(given["constraint_type"])
    rhs = given.get("rhs")
    try:
        is_number = rhs is None or bool(np.isfinite(float(rhs)))
    except (TypeError, ValueError, OverflowError):
        is_number = False
    return "scalar_inequality" if is_number else "column_inequality"


Constraint = Annotated[
    Annotated[ScalarInequalityConstraint, Tag("scalar_inequality")]
    | Annotated[ColumnInequalityConstraint, Tag("column_inequality")],
    Discriminator(_constraint_type),
]
