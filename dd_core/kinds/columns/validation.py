"""Verdicts on other columns."""

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
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView


class ValidationColumnConfig(Column):
    """For each row `{is_valid, ...}`; with several targets of code, that for each of them."""

    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "min_valid_share")

    column_type: Literal["validation"] = "validation"
    target_columns: list[str] = Field(min_length=1)
    """The columns to validate."""
    validator_type: str = ""
    """Kind of the validator: `code`, `local_callable` or `remote`; that of the parameters, if not
    given."""
    validator_params: ValidatorParams
    """Its parameters."""
    batch_size: int = Field(default=10, ge=1)
    """Rows that the validator is given at once."""

    @model_validator(mode="before")
    @classmethod
    def _params_are_of_the_type(cls, given: Any) -> Any:
        """`validator_type` may stand on the column, in the parameters, or on both."""
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
        """The validated columns."""
        return [*self.target_columns]

    def identity(self) -> dict[str, Any]:
        """The declaration, with what of the validator determines the verdicts."""
        return {**super().identity(), "validator_params": self.validator_params.identity()}

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Targets must exist, and suit the validator."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        for name in scope.unknown(self.target_columns):
            yield report_unknown(f"{place}.target_columns", name, scope)
        yield from self.validator_params.problems(place, self.target_columns, scope)

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Valid records too."""
        from dd_core.kinds.statistics import ValidationColumnStatistics

        targets = self.target_columns if self.validator_type == "code" else []
        return ValidationColumnStatistics(
            **view.general(), num_valid_records=view.count_valid(targets)
        )

    def bind(self, binding: Binding) -> GroupColumn:
        """The generator that asks the validator."""
        return _Validation(self)


class _Validation(GroupColumn):
    def __init__(self, column: ValidationColumnConfig) -> None:
        params, targets = column.validator_params, column.target_columns
        self._validator: Validator = params.bind(targets, column.batch_size)
        self.group_size = self._validator.group_size
        self.max_parallel_groups = self._validator.max_parallel_groups
        self._name = column.name

    async def generate(self, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
        """The verdicts on some rows."""
        return [{self._name: verdict} for verdict in await self._validator.validate(rows)]
