"""Rejection sampling: rows whose values break a constraint are drawn again, and only those.

Sampler columns are functions of (seed, column, row), so whoever needs the values of another
sampler column as they were before rounding and formatting draws them again instead of keeping them.
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
from dd_core.templates.template import Condition

ROUNDS = 64
"""Draws of all rows together, before those without a fitting value are drawn one by one."""
LONE_ROUNDS, LONE_DRAWS = 100, 100_000
"""Such a row counts as impossible after this many rounds of this many draws, whatever the batch."""

_NOUNS = {"number": "numbers", "text": "texts", "time": "points in time"}


@dataclass(frozen=True)
class SamplerSpec:
    """What a sampler column draws: its parameters, conditions and conversion."""

    name: str
    sampler_type: str
    params: SamplerParams
    conditional_params: Mapping[str, SamplerParams]
    """Other parameters for rows in which a condition is true; the last true condition counts."""
    convert_to: str | None

    @property
    def all_params(self) -> list[SamplerParams]:
        """`params`, then the conditional ones in order."""
        return [self.params, *self.conditional_params.values()]

    @property
    def order(self) -> Order | None:
        """What the values can be compared with; None if with nothing."""
        supports = [params.support(self.convert_to) for params in self.all_params]
        orders: list[Order] = [support.order for support in supports if support is not None]
        return "text" if "text" in orders else next(iter(orders), None)


@dataclass(frozen=True)
class SampledRows:
    """The values of sampler columns in the rows `start` to `start + size - 1`."""

    seed: int
    samplers: Mapping[str, SamplerSpec]
    constraints: Sequence[Constraint]
    start: int
    size: int
    inputs: Mapping[str, Values]
    """Columns that are there already, as the dataset stores them."""
    _drawn: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def finished(self, name: str) -> Values:
        """A column as the dataset stores it."""
        column = self.samplers[name]
        return column.params.finish(self.drawn(name), column.convert_to)

    def drawn(self, name: str) -> NDArray[Any]:
        """A column as it was drawn, within its constraints, before rounding and conversion."""
        if name not in self._drawn:
            column = self.samplers[name]
            branches = self._branches(column)
            values = self._draw(column, branches, 0, 0, self.size)
            aimed = [one for one in self.constraints if one.target_column == name]
            if aimed:
                self._redraw(column, branches, aimed, values)
            self._drawn[name] = values
        return self._drawn[name]

    def _redraw(
        self,
        column: SamplerSpec,
        branches: NDArray[np.int64],
        constraints: Sequence[Constraint],
        values: NDArray[Any],
    ) -> None:
        """Replace values that break a constraint until none does."""
        rows = np.arange(self.size)
        rows = rows[~self._holds(column, constraints, values, rows)]
        for attempt in range(1, ROUNDS):
            if not rows.size:
                return
            first = int(rows[0])
            again = self._draw(column, branches, attempt, first, int(rows[-1]) + 1)
            values[rows] = again[rows - first]
            rows = rows[~self._holds(column, constraints, values[rows], rows)]
        for row in rows.tolist():
            params = column.all_params[branches[row]]
            values[row] = self._insist(column, params, constraints, row, values.dtype)

    def _insist(
        self,
        column: SamplerSpec,
        params: SamplerParams,
        constraints: Sequence[Constraint],
        row: int,
        dtype: np.dtype[Any],
    ) -> Any:
        """The first of a great many draws of one row that satisfies the constraints."""
        for attempt in range(ROUNDS, ROUNDS + LONE_ROUNDS):
            count = LONE_DRAWS if attempt > ROUNDS else 1_000
            draws = Draws(self.seed, f"{column.name}/{self.start + row}", 0, count, attempt)
            inputs = {name: self.drawn(name)[[row]].repeat(count) for name in params.parents}
            values = _as_type(_array(params.draw(draws, inputs)), dtype)
            holds = self._holds(column, constraints, values, np.array([row]))
            if holds.any():
                return values[holds.argmax()]
        told = " and ".join(f"{one.operator} {one.rhs}" for one in constraints)
        raise SamplerError(
            f"row {self.start + row} of column {column.name!r} has no value that is {told} among "
            f"{LONE_ROUNDS * LONE_DRAWS} draws; change the constraint or the parameters"
        )

    def _holds(
        self,
        column: SamplerSpec,
        constraints: Sequence[Constraint],
        values: NDArray[Any],
        rows: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        settled = np.asarray(column.params.settle(values, column.convert_to))
        holds = np.ones(len(values), dtype=bool)
        for constraint in constraints:
            others = {name: self._settled(name)[rows] for name in constraint.references}
            holds &= constraint.holds(settled, others)
        return holds

    def _settled(self, name: str) -> NDArray[Any]:
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
        """Values of the rows `first` to `stop - 1`, each by the parameters of its branch."""
        draws = Draws(self.seed, column.name, self.start, self.size, attempt)
        if not column.conditional_params:
            inputs = {name: self.drawn(name)[first:stop] for name in column.params.parents}
            return _array(column.params.draw(draws.between(first, stop), inputs))
        values: NDArray[Any] | None = None
        for branch, params in enumerate(column.all_params):
            here = branches[first:stop] == branch
            # Without rows, the branch still has a say in the type, which no batch may differ in.
            end = stop if values is None or here.any() else first
            inputs = {name: self.drawn(name)[first:end] for name in params.parents}
            drawn = _array(params.draw(draws.between(first, end), inputs))
            values = drawn if values is None else _mixed(values, drawn, here)
        assert values is not None
        return values

    def _branches(self, column: SamplerSpec) -> NDArray[np.int64]:
        """Which of `all_params` each row is drawn from."""
        branches = np.zeros(self.size, dtype=np.int64)
        for branch, expression in enumerate(column.conditional_params, 1):
            branches[self._matches(Condition.from_expression(expression))] = branch
        return branches

    def _matches(self, condition: Condition) -> NDArray[np.bool_]:
        """Rows in which the condition is true; it is asked once for rows that look the same."""
        names = sorted(condition.references)
        columns = [self._shown(name) for name in names]
        rows = [*zip(*columns, strict=True)] if names else [()] * self.size
        answers: dict[Hashable, bool] = {}
        matches = np.zeros(self.size, dtype=bool)
        for index, row in enumerate(rows):
            key = row if _is_hashable(row) else index
            if key not in answers:
                answers[key] = condition.holds(dict(zip(names, row, strict=True)))
            matches[index] = answers[key]
        return matches

    def _shown(self, name: str) -> list[Any]:
        """A column as conditions see it: points in time as ISO text, others as stored."""
        column = self.samplers[name]
        values = self.inputs.get(name)
        if values is None or column.order == "time":
            pattern = None if column.order == "time" else column.convert_to
            values = column.params.finish(self.drawn(name), pattern)
        return values if isinstance(values, list) else values.tolist()


def _is_hashable(row: tuple[Any, ...]) -> bool:
    return not any(isinstance(value, dict | list) for value in row)


def _array(values: Values) -> NDArray[Any]:
    return values if isinstance(values, np.ndarray) else to_objects(values)


def _mixed(values: NDArray[Any], others: NDArray[Any], here: NDArray[np.bool_]) -> NDArray[Any]:
    """`values` with those of `others` where `here` is true; numbers beside texts become texts."""
    mixed = _as_type(values, np.result_type(values, others))
    return np.where(here, _as_type(others, mixed.dtype), mixed) if here.any() else mixed


def _as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "O" and values.dtype.kind != "O":
        return to_objects([str(value) for value in values.tolist()])
    return values.astype(dtype, copy=False)


def check_constraints(
    column: SamplerSpec,
    constraints: Sequence[Constraint],
    samplers: Mapping[str, SamplerSpec],
) -> Iterator[str]:
    """What can be known to be wrong with the constraints on a column before anything is drawn."""
    scalars = [one for one in constraints if isinstance(one, ScalarInequalityConstraint)]
    if constraints and column.order is None:
        yield f"{column.sampler_type} values have no order; remove the constraint"
        return
    if scalars and column.order == "number":
        yield from _unsatisfiable(column, scalars)
    elif scalars:
        yield (
            f"{column.name!r} holds {_NOUNS[column.order or 'text']}, which do not compare with "
            f"the number {scalars[0].rhs}; use a column constraint"
        )
    for name in (name for one in constraints for name in one.references):
        if name not in samplers:
            known = list_known("sampler columns", frozenset(samplers))
            yield f"rhs {name!r} is no sampler column; {known}"
        elif samplers[name].order != column.order:
            noun = _NOUNS.get(samplers[name].order or "", f"{samplers[name].sampler_type} values")
            yield (
                f"{column.name!r} holds {_NOUNS[column.order or 'text']}, which do not compare "
                f"with the {noun} of {name!r}; compare columns of the same kind"
            )


def _unsatisfiable(
    column: SamplerSpec, constraints: Sequence[ScalarInequalityConstraint]
) -> Iterator[str]:
    supports = [params.support(column.convert_to) for params in column.all_params]
    if not any(support is None or support.allows(constraints) for support in supports):
        told = " and ".join(f"{one.operator} {one.rhs}" for one in constraints)
        yield f"no value of {column.name!r} can be {told}; change the constraint or the parameters"
