"""Values drawn from a distribution, optionally with conditions and constraints.

The distributions are in `dd_core/kinds/samplers/`. How constraints are satisfied is in
`_sampled_rows.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import field_validator, model_validator

from dd_core.errors import Problem
from dd_core.kinds.columns._sampled_rows import SampledRows, SamplerSpec, check_constraints
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.constraint import Constraint
from dd_core.kinds.generators import WholeColumn
from dd_core.kinds.samplers.sampler import SamplerParams, Siblings
from dd_core.kinds.scope import Scope, list_known
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch
from dd_core.storage.schema import unify_or_text
from dd_core.templates.template import Condition

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedConfig, SeedTable
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView


class SamplerColumnConfig(Column):
    """Values drawn from a distribution."""

    is_sampled = True
    is_drawn = True

    column_type: Literal["sampler"] = "sampler"
    sampler_type: str
    """Kind of sampler, for example `category` or `gaussian`."""
    params: SamplerParams
    """Parameters of the sampler."""
    conditional_params: dict[str, SamplerParams] = {}
    """Parameters that replace `params` in rows where a condition over other sampler columns is
    true, for example `tone == 'angry'`. If several conditions are true, the last one wins."""
    convert_to: str | None = None
    """Type to which numbers are converted, `float`, `int` or `str`; for dates and times, a strftime
    pattern such as `%Y-%m-%d`; default: no conversion."""

    @model_validator(mode="before")
    @classmethod
    def _params_match_the_kind(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "sampler_type" not in given:
            return given  # pyright: ignore[reportUnknownVariableType]
        fields: dict[str, Any] = dict(given)  # pyright: ignore[reportUnknownArgumentType]
        kind = fields["sampler_type"] = str(fields["sampler_type"])
        if kind not in SamplerParams.all_kinds():
            known = ", ".join(repr(name) for name in sorted(SamplerParams.all_kinds()))
            raise ValueError(f"sampler_type {kind!r} does not exist; use one of {known}")
        fields["params"] = _add_kind(kind, fields.get("params", {}))
        conditional = fields.get("conditional_params")
        if isinstance(conditional, Mapping):
            items: Mapping[str, Any] = conditional  # pyright: ignore[reportUnknownVariableType]
            fields["conditional_params"] = {key: _add_kind(kind, it) for key, it in items.items()}
        return fields

    @field_validator("conditional_params")
    @classmethod
    def _conditions_compile(cls, params: dict[str, SamplerParams]) -> dict[str, SamplerParams]:
        for condition in params:
            Condition.from_expression(condition)
        return params

    @model_validator(mode="after")
    def _is_never_skipped(self) -> Self:
        if self.skip is not None:
            raise ValueError(
                f"sampler column {self.name!r} cannot be skipped; remove skip, "
                "or add it to an expression column that reads this one"
            )
        return self

    @property
    def all_params(self) -> list[SamplerParams]:
        """`params`, followed by the conditional parameters in order."""
        return [self.params, *self.conditional_params.values()]

    def identity(self) -> dict[str, Any]:
        """Return the declaration, and the hashed code of custom samplers."""
        code = [params.own_code for params in self.all_params if params.own_code]
        return super().identity() | ({"code_of_params": code} if code else {})

    def with_managed_assets(self, folder: Path) -> Self:
        """Return the column with `folder` as the place of managed datasets."""
        conditional = {key: each.located(folder) for key, each in self.conditional_params.items()}
        changes = {"params": self.params.located(folder), "conditional_params": conditional}
        return self.model_copy(update=changes)

    @property
    def required_columns(self) -> list[str]:
        """Columns that the parameters and the conditions refer to."""
        parents = [name for params in self.all_params for name in params.parents]
        conditions = [
            name
            for condition in self.conditional_params
            for name in sorted(Condition.from_expression(condition).references)
        ]
        return [*dict.fromkeys([*parents, *conditions])]

    def inputs(self, constraints: Sequence[Constraint]) -> list[str]:
        """Return `required_columns` and the columns that constraints compare this one with."""
        compared = [name for one in self.constraints_of(constraints) for name in one.references]
        return [*dict.fromkeys([*self.required_columns, *compared])]

    def fingerprint_parts(
        self,
        constraints: Sequence[Constraint],
        seed_config: SeedConfig | None,
        seed_table: SeedTable | None,
    ) -> dict[str, Any]:
        """Return the constraints on this column, and hashes of the data that its samplers read."""
        own = self.constraints_of(constraints)
        parts: dict[str, Any] = {"constraints": [each.model_dump(mode="json") for each in own]}
        data = [*filter(None, (each.content_hash() for each in self.all_params))]
        return parts | ({"data": data} if data else {})

    def constraints_of(self, constraints: Sequence[Constraint]) -> list[Constraint]:
        """Return those of the constraints whose target is this column."""
        return [one for one in constraints if one.target_column == self.name]

    @property
    def spec(self) -> SamplerSpec:
        """The part of the declaration that rejection sampling needs."""
        return SamplerSpec(
            name=self.name,
            sampler_type=self.sampler_type,
            params=self.params,
            conditional_params=self.conditional_params,
            convert_to=self.convert_to,
        )

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type that the sampler draws, with all its parameters and after conversion."""
        kinds = [params.arrow_type(self.convert_to) for params in self.all_params]
        if any(kind is None for kind in kinds):
            return {}
        return {self.name: reduce(unify_or_text, kinds)}

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return the general statistics, and the distribution of the values."""
        from dd_core.kinds.statistics import SamplerColumnStatistics

        kind = self.params.distribution_type if self.convert_to != "str" else "text"
        shown = {"categorical": view.categorical, "numerical": view.numerical}
        return SamplerColumnStatistics(
            **view.general(),
            sampler_type=self.sampler_type,
            distribution_type=kind,
            distribution=shown[kind]() if kind in shown else None,
        )

    def bind(self, binding: Binding) -> WholeColumn:
        """Return the generator that draws the values.

        Where it depends on other sampler columns, it draws their values again; see
        `_sampled_rows.py`.
        """
        samplers = {
            name: column.spec
            for name, column in binding.columns.items()
            if isinstance(column, SamplerColumnConfig)
        }
        return _Sampler(self.name, {**samplers, self.name: self.spec}, binding)

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield unknown references, impossible conversions and impossible constraints."""
        yield from super().problems(scope)
        samplers = {
            name: column.spec
            for name, column in scope.columns.items()
            if isinstance(column, SamplerColumnConfig)
        }
        siblings: Siblings = {name: spec.all_params for name, spec in samplers.items()}
        yield from self._params_problems(siblings)
        for condition in self.conditional_params:
            for name in sorted(Condition.from_expression(condition).references - samplers.keys()):
                yield Problem(
                    f"columns.{self.name}.conditional_params[{condition!r}]",
                    f"refers to {name!r}, which is not a sampler column; conditions can only use "
                    f"sampler columns; {list_known('sampler columns', frozenset(samplers))}",
                )
        constraints = self.constraints_of(scope.constraints)
        for message in check_constraints(self.spec, constraints, samplers):
            yield Problem(f"constraints.{self.name}", message)

    def _params_problems(self, siblings: Siblings) -> Iterator[Problem]:
        place = f"columns.{self.name}"
        places = [f"{place}.conditional_params[{key!r}]" for key in self.conditional_params]
        for where, params in zip([f"{place}.params", *places], self.all_params, strict=True):
            yield from params.problems(where, siblings)
        if self.convert_to is not None:
            messages = [params.conversion_problem(self.convert_to) for params in self.all_params]
            for message in dict.fromkeys(filter(None, messages)):
                yield Problem(f"{place}.convert_to", message)


def _add_kind(kind: str, params: Any) -> Any:
    """Return parameters with the column's kind as their tag, which they may omit."""
    if isinstance(params, SamplerParams):
        own = params.kind
    elif isinstance(params, Mapping):
        fields: dict[str, Any] = {"sampler_type": kind, **params}
        own = fields["sampler_type"] = str(fields["sampler_type"])
        params = fields
    else:
        return params
    if own != kind:
        raise ValueError(
            f"params are of sampler_type {own!r}, but the column is of {kind!r}; change one of them"
        )
    return params


class _Sampler(WholeColumn):
    def __init__(self, name: str, samplers: Mapping[str, SamplerSpec], binding: Binding) -> None:
        self._name = name
        self._samplers = samplers
        self._binding = binding

    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        """Return the values of the batch.

        Raises `SamplerError` if a row has no value that satisfies the constraints.
        """
        binding = self._binding
        rows = SampledRows(
            binding.seed,
            self._samplers,
            binding.constraints,
            batch.start,
            batch.size,
            inputs,
            binding.find_keys(batch),
        )
        return rows.finished(self._name)
