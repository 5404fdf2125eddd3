"""Rejection sampling: only the rows whose values violate a constraint are drawn again.

A sampler column is a function of (seed, column, row). A column that needs the values of another
sampler column before rounding and formatting therefore draws them again; nothing is kept for it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SamplerError
from dd_core.kinds.constraint import Constraint, ScalarInequalityConstraint
from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import to_objects
from dd_core.kinds.samplers.sampler import Order, SamplerParams
from dd_core.kinds.scope import list_known
from dd_core.storage.arrow import Values
from dd_core.storage.batch import NumberedRow
from dd_core.templates.template import Condition

ROUNDS = 64
"""Attempts in which all violating rows are drawn together. After that, each is drawn alone."""
LONE_ROUNDS, LONE_DRAWS = 100, 100_000
"""Attempts for a row that is drawn alone, and draws per attempt. They do not depend on the batch,
so a row is impossible in every batch or in none."""

_NOUNS = {"number": "numbers", "text": "text", "time": "dates and times"}


@dataclass(frozen=True)
class SamplerSpec:
    """The part of a sampler column that determines its values."""

    name: str
    sampler_type: str
    params: SamplerParams
    conditional_params: Mapping[str, SamplerParams]
    """Parameters by the condition for which they apply. If several are true, the last one wins."""
    convert_to: str | None
    """`int`, `float`, `str` or a strftime pattern; None to keep the values as they are."""

    @property
    def all_params(self) -> list[SamplerParams]:
        """`params`, followed by the conditional parameters in order."""
        return [self.params, *self.conditional_params.values()]

    @property
    def order(self) -> Order | None:
        """What the values can be compared with; None if they have no order."""
        supports = [params.support(self.convert_to) for params in self.all_params]
        orders: list[Order] = [support.order for support in supports if support is not None]
        return "text" if "text" in orders else next(iter(orders), None)


@dataclass(frozen=True)
class SampledRows:
    """The values of sampler columns in the rows `start` to `start + size - 1` of the dataset.

    Row indexes in the methods count from `start`. A column is drawn when it is first needed.
    """

    seed: int
    samplers: Mapping[str, SamplerSpec]
    """All sampler columns by name."""
    constraints: Sequence[Constraint]
    """All constraints of the dataset."""
    start: int
    size: int
    inputs: Mapping[str, Values]
    """Columns that are already generated, as the dataset stores them."""
    keys: NDArray[np.int64] | None = None
    """The rows' keys, if they have any."""
    _drawn: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def finished(self, name: str) -> Values:
        """Return the values of a column as the dataset stores them.

        Raises `SamplerError` if a row has no value that satisfies the constraints.
        """
        column = self.samplers[name]
        return column.params.finish(self.drawn(name), column.convert_to)

    def drawn(self, name: str) -> NDArray[Any]:
        """Return the values of a column that satisfy its constraints, before conversion."""
        if name not in self._drawn:
            column = self.samplers[name]
            branches = self._select_branches(column)
            values = self._draw(column, branches, 0, 0, self.size)
            constraints = [one for one in self.constraints if one.target_column == name]
            if constraints:
                self._redraw(column, branches, constraints, values)
            self._drawn[name] = values
        return self._drawn[name]

    def _redraw(
        self,
        column: SamplerSpec,
        branches: NDArray[np.int64],
        constraints: Sequence[Constraint],
        values: NDArray[Any],
    ) -> None:
        """Replace values that violate a constraint, in place, until none does."""
        rows = np.arange(self.size)
        rows = rows[~self._satisfy(column, constraints, values, rows)]
        for attempt in range(1, ROUNDS):
            if not rows.size:
                return
            # `Draws` covers a contiguous range: the rows in between are drawn, too, and ignored.
            first = int(rows[0])
            again = self._draw(column, branches, attempt, first, int(rows[-1]) + 1)
            values[rows] = again[rows - first]
            rows = rows[~self._satisfy(column, constraints, values[rows], rows)]
        for row in rows.tolist():
            params = column.all_params[branches[row]]
            values[row] = self._draw_alone(column, params, constraints, row, values.dtype)

    def _draw_alone(
        self,
        column: SamplerSpec,
        params: SamplerParams,
        constraints: Sequence[Constraint],
        row: int,
        dtype: np.dtype[Any],
    ) -> Any:
        """Return the first of many draws of one row that satisfies the constraints.

        Raises `SamplerError` if none does.
        """
        for attempt in range(ROUNDS, ROUNDS + LONE_ROUNDS):
            # The first attempt is smaller, because it usually succeeds.
            count = LONE_DRAWS if attempt > ROUNDS else 1_000
            # The row is part of the name and the draws are numbered from 0: the numbers depend on
            # the row alone, and many of them can be drawn in one call.
            draws = Draws(self.seed, f"{column.name}/{self._number(row)}", 0, count, attempt)
            inputs = {name: self.drawn(name)[[row]].repeat(count) for name in params.parents}
            values = _convert_type(_to_array(params.draw(draws, inputs)), dtype)
            satisfied = self._satisfy(column, constraints, values, np.array([row]))
            if satisfied.any():
                return values[satisfied.argmax()]
        raise SamplerError(
            f"row {self.start + row} of column {column.name!r} has no value that is "
            f"{_describe(constraints)} among {LONE_ROUNDS * LONE_DRAWS} draws; change the "
            "constraint or the parameters"
        )

    def _number(self, row: int) -> int:
        return self.start + row if self.keys is None else int(self.keys[row])

    def _satisfy(
        self,
        column: SamplerSpec,
        constraints: Sequence[Constraint],
        values: NDArray[Any],
        rows: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Return which of the values, drawn for these rows, satisfy the constraints.

        Values are compared after rounding, so that the dataset itself satisfies the constraints.
        """
        settled = np.asarray(column.params.settle(values, column.convert_to))
        satisfied = np.ones(len(values), dtype=bool)
        for constraint in constraints:
            others = {name: self._settle(name)[rows] for name in constraint.references}
            satisfied &= constraint.holds(settled, others)
        return satisfied

    def _settle(self, name: str) -> NDArray[Any]:
        """Return the values of a column as constraints compare them."""
        column = self.samplers[name]
        return np.asarray(column.params.settle(self.drawn(name), column.convert_to))

    def _draw(
        self,
        column: SamplerSpec,
        branches: NDArray[np.int64],
        attempt: int,
        first: int,
        stop: int,
    ) -> NDArray[Any]:
        """Return values of the rows `first` to `stop - 1`, each drawn from its row's branch.

        A branch is an index into `column.all_params`.
        """
        draws = Draws(self.seed, column.name, self.start, self.size, attempt, self.keys)
        if not column.conditional_params:
            inputs = {name: self.drawn(name)[first:stop] for name in column.params.parents}
            return _to_array(column.params.draw(draws.between(first, stop), inputs))
        # `Draws` covers a contiguous range: every branch is drawn for all rows and then masked.
        values: NDArray[Any] | None = None
        for branch, params in enumerate(column.all_params):
            in_branch = branches[first:stop] == branch
            # A branch without rows is drawn with zero rows, because its type counts as well: the
            # type of the column must not depend on which branches occur in a batch.
            end = stop if values is None or in_branch.any() else first
            inputs = {name: self.drawn(name)[first:end] for name in params.parents}
            drawn = _to_array(params.draw(draws.between(first, end), inputs))
            values = drawn if values is None else _merge(values, drawn, in_branch)
        assert values is not None
        return values

    def _select_branches(self, column: SamplerSpec) -> NDArray[np.int64]:
        """Return which of `all_params` each row is drawn from, shape (size,)."""
        branches = np.zeros(self.size, dtype=np.int64)
        for branch, expression in enumerate(column.conditional_params, 1):
            branches[self._match(column.name, Condition.from_expression(expression))] = branch
        return branches

    def _match(self, reader: str, condition: Condition) -> NDArray[np.bool_]:
        """Return in which rows the condition is true, shape (size,)."""
        names = sorted(condition.references)
        columns = [self._show(name) for name in names]
        rows = [*zip(*columns, strict=True)] if names else [()] * self.size
        # Evaluating a template is slow, and a batch usually has few distinct rows.
        known: dict[Hashable, bool] = {}
        matches = np.zeros(self.size, dtype=bool)
        for index, row in enumerate(rows):
            key = row if not condition.draws and _is_hashable(row) else index
            if key not in known:
                values = dict(zip(names, row, strict=True))
                numbered = NumberedRow(values, self.seed, reader, self._number(index))
                known[key] = condition.holds(numbered)
            matches[index] = known[key]
        return matches

    def _show(self, name: str) -> list[Any]:
        """Return a column as conditions see it: dates and times as ISO text, others as stored."""
        column = self.samplers[name]
        values = self.inputs.get(name)
        if values is None or column.order == "time":
            pattern = None if column.order == "time" else column.convert_to
            values = column.params.finish(self.drawn(name), pattern)
        return values if isinstance(values, list) else values.tolist()


def _is_hashable(row: tuple[Any, ...]) -> bool:
    return not any(isinstance(value, dict | list) for value in row)


def _to_array(values: Values) -> NDArray[Any]:
    return values if isinstance(values, np.ndarray) else to_objects(values)


def _merge(values: NDArray[Any], others: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return `others` where `mask` is true and `values` elsewhere, in their common type."""
    merged = _convert_type(values, np.result_type(values, others))
    return np.where(mask, _convert_type(others, merged.dtype), merged) if mask.any() else merged


def _convert_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert an array to a type; numbers that are mixed with text become text."""
    if dtype.kind == "O" and values.dtype.kind != "O":
        return to_objects([str(value) for value in values.tolist()])
    return values.astype(dtype, copy=False)


def check_constraints(
    column: SamplerSpec,
    constraints: Sequence[Constraint],
    samplers: Mapping[str, SamplerSpec],
) -> Iterator[str]:
    """Yield what is wrong with the constraints on a column, as far as it is known before a run."""
    scalars = [one for one in constraints if isinstance(one, ScalarInequalityConstraint)]
    if constraints and column.order is None:
        yield f"{column.sampler_type} values have no order; remove the constraint"
        return
    if scalars and column.order == "number":
        yield from _check_satisfiable(column, scalars)
    elif scalars:
        yield (
            f"{column.name!r} holds {_NOUNS[column.order or 'text']}, which cannot be compared "
            f"with the number {scalars[0].rhs}; use a column constraint"
        )
    for name in (name for one in constraints for name in one.references):
        if name not in samplers:
            known = list_known("sampler columns", frozenset(samplers))
            yield f"rhs {name!r} is not a sampler column; {known}"
        elif samplers[name].order != column.order:
            noun = _NOUNS.get(samplers[name].order or "", f"{samplers[name].sampler_type} values")
            yield (
                f"{column.name!r} holds {_NOUNS[column.order or 'text']}, which cannot be compared "
                f"with the {noun} of {name!r}; compare columns of the same kind"
            )


def _check_satisfiable(
    column: SamplerSpec, constraints: Sequence[ScalarInequalityConstraint]
) -> Iterator[str]:
    # Constraints that only some of the conditional parameters can satisfy are found while drawing.
    supports = [params.support(column.convert_to) for params in column.all_params]
    if not any(support is None or support.allows(constraints) for support in supports):
        yield (
            f"no value of {column.name!r} can be {_describe(constraints)}; "
            "change the constraint or the parameters"
        )


def _describe(constraints: Sequence[Constraint]) -> str:
    return " and ".join(f"{one.operator} {one.rhs}" for one in constraints)
