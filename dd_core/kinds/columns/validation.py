"""Validation results for other columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from dd_core.errors import Problem
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import GroupColumn, Row
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.kinds.validators.validator import Validator, ValidatorParams

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView


class ValidationColumnConfig(Column):
    """A verdict, `{is_valid, ...}`, on other columns of the same row.

    With several target columns, the `code` validator gives one verdict for each of them.
    """

    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "min_valid_share")
    shown_as: ClassVar[Literal["value", "verdict", "images"]] = "verdict"

    column_type: Literal["validation"] = "validation"
    target_columns: list[str] = Field(min_length=1)
    """Columns to validate."""
    validator_type: str = ""
    """Kind of validator, for example `code`, `local_callable` or `remote`; default: the kind of
    `validator_params`."""
    validator_params: ValidatorParams
    """Parameters of the validator."""
    batch_size: int = Field(default=10, ge=1)
    """Rows per call of the validator; default: 10."""

    @model_validator(mode="before")
    @classmethod
    def _complete_types(cls, given: Any) -> Any:
        """Copy `validator_type` between the column and the parameters; one of them suffices."""
        if not isinstance(given, Mapping):
            return given
        fields = {**cast("Mapping[str, Any]", given)}
        params = fields.get("validator_params")
        if isinstance(params, Mapping):
            kind = fields.get("validator_type")
            tagged = {"validator_type": kind, **cast("Mapping[str, Any]", params)}
            fields["validator_params"] = tagged
            fields.setdefault("validator_type", tagged["validator_type"])
        elif isinstance(params, ValidatorParams):
            fields.setdefault("validator_type", params.kind)
        return fields

    @model_validator(mode="after")
    def _types_agree(self) -> ValidationColumnConfig:
        if self.validator_params.kind != self.validator_type:
            raise ValueError(
                f"validator_type is {self.validator_type!r}, but validator_params are for "
                f"{self.validator_params.kind!r}; change one of them"
            )
        return self

    @property
    def required_columns(self) -> list[str]:
        """Columns that are validated."""
        return [*self.target_columns]

    def identity(self) -> dict[str, Any]:
        """Return the declaration, with the part of the validator that determines the verdicts."""
        return {**super().identity(), "validator_params": self.validator_params.identity()}

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of the verdicts, if the validator declares it."""
        kind = self.validator_params.verdict_type(self.target_columns)
        return {} if kind is None else {self.name: kind}

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield target columns that do not exist, and the problems of the validator."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        for name in scope.unknown(self.target_columns):
            yield report_unknown(f"{place}.target_columns", name, scope)
        yield from self.validator_params.problems(place, self.target_columns, scope)

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return the general statistics, and the number of valid records."""
        from dd_core.kinds.statistics import ValidationColumnStatistics

        targets = self.target_columns if self.validator_type == "code" else []
        return ValidationColumnStatistics(
            **view.general(), num_valid_records=view.count_valid(targets)
        )

    def bind(self, binding: Binding) -> GroupColumn:
        """Return the generator that calls the validator."""
        return _Validation(self)


class _Validation(GroupColumn):
    def __init__(self, column: ValidationColumnConfig) -> None:
        params, targets = column.validator_params, column.target_columns
        self._validator: Validator = params.bind(targets, column.batch_size)
        self.group_size = self._validator.group_size
        self.max_parallel_groups = self._validator.max_parallel_groups
        self._name = column.name

    async def generate(self, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
        """Return a verdict for each row."""
        return [{self._name: verdict} for verdict in await self._validator.validate(rows)]
