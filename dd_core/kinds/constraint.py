"""Constraints on sampler columns: rows that break one are drawn again."""

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
    """How the target compares with the right-hand side."""

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
    """The two kinds of constraint."""

    SCALAR_INEQUALITY = "scalar_inequality"
    COLUMN_INEQUALITY = "column_inequality"


class ScalarInequalityConstraint(Declaration):
    """Target column against a number."""

    constraint_type: Literal["scalar_inequality"] = "scalar_inequality"
    target_column: str
    """Sampler column whose rows are drawn again until they satisfy the constraint."""
    rhs: float
    """The number on the right-hand side."""
    operator: InequalityOperator
    """`lt`, `le`, `gt` or `ge`."""

    @property
    def references(self) -> list[str]:
        return []

    def holds(self, target: NDArray[Any], columns: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which rows satisfy the constraint, shape (rows,)."""
        return np.asarray(_COMPARE[self.operator](target, self.rhs), dtype=bool)


class ColumnInequalityConstraint(Declaration):
    """Target column against another sampler column of the same row."""

    constraint_type: Literal["column_inequality"] = "column_inequality"
    target_column: str
    """Sampler column whose rows are drawn again until they satisfy the constraint."""
    rhs: str
    """The sampler column on the right-hand side; it is drawn first and stays as it is."""
    operator: InequalityOperator
    """`lt`, `le`, `gt` or `ge`."""

    @property
    def references(self) -> list[str]:
        return [self.rhs]

    def holds(self, target: NDArray[Any], columns: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Which rows satisfy the constraint, shape (rows,)."""
        return np.asarray(_COMPARE[self.operator](target, columns[self.rhs]), dtype=bool)


def _constraint_type(value: Any) -> str:
    """The tag, also of files that leave it out: a number or numeric text compares with a number."""
    if not isinstance(value, Mapping):
        return str(value.constraint_type)
    given: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    if "constraint_type" in given:
        return str(given["constraint_type"])
    rhs = given.get("rhs")
    try:
        is_number = rhs is None or bool(np.isfinite(float(rhs)))
    except (TypeError, ValueError):
        is_number = False
    return "scalar_inequality" if is_number else "column_inequality"


Constraint = Annotated[
    Annotated[ScalarInequalityConstraint, Tag("scalar_inequality")]
    | Annotated[ColumnInequalityConstraint, Tag("column_inequality")],
    Discriminator(_constraint_type),
]
