"""Values computed from other columns of the row by a Jinja template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import field_validator, model_validator

from dd_core.errors import Problem, UserTemplateError
from dd_core.kinds.columns._json import load_json
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import Row, RowColumn
from dd_core.kinds.scope import Scope, check_template, find_references
from dd_core.templates.template import Template, list_references

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable


class ExpressionColumnConfig(Column):
    """A Jinja template, rendered once per row and converted to a type."""

    column_type: Literal["expression"] = "expression"
    expr: str
    """Jinja template over other columns, for example `{{ price * quantity }}`."""
    dtype: Literal["int", "float", "str", "bool", "json"] = "str"
    """Type of the values: `int`, `float`, `str`, `bool`, or `json` for lists and objects."""

    @field_validator("expr")
    @classmethod
    def _compiles(cls, expr: str) -> str:
        if not expr.strip():
            raise ValueError("expr must not be blank; write a template such as {{ a }}-{{ b }}")
        list_references(expr)
        return expr

    @model_validator(mode="after")
    def _skip_value_has_the_type(self) -> Self:
        if self.skip is not None and self.skip.value is not None and self.dtype != "json":
            try:
                value = _cast(str(self.skip.value), self.dtype)
            except ValueError:
                raise ValueError(
                    f"skip.value {self.skip.value!r} cannot be converted to {self.dtype!r}; "
                    "change it or dtype"
                ) from None
            if value != self.skip.value or type(value) is not type(self.skip.value):
                object.__setattr__(self, "skip", self.skip.changed(value=value))
        return self

    @property
    def required_columns(self) -> list[str]:
        """Columns that the template refers to."""
        return find_references(self.expr)

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield what prevents the template from being rendered."""
        yield from super().problems(scope)
        yield from check_template(f"columns.{self.name}.expr", self.expr, scope)

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type that `dtype` names; only the values can tell that of JSON."""
        import pyarrow as pa

        if self.dtype == "json":
            return {}
        kinds: dict[str, Any] = {
            "int": pa.int64(),
            "float": pa.float64(),
            "str": pa.string(),
            "bool": pa.bool_(),
        }
        return {self.name: kinds[self.dtype]}

    def bind(self, binding: Binding) -> RowColumn:
        """Return the compiled template."""
        output = "json" if self.dtype == "json" else "text"
        template = Template.compile(self.expr, mode=binding.rendering, output=output)
        return _Expression(template, self.dtype)


class _Expression(RowColumn):
    def __init__(self, template: Template, dtype: str) -> None:
        self._template = template
        self._dtype = dtype

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        """Return one value per row; an error if the result is blank or cannot be converted."""
        render, dtype = self._template.render, self._dtype
        values: list[Any] = []
        for row in rows:
            try:
                values.append(_cast(render(row), dtype))
            except UserTemplateError as error:
                values.append(error)
            except ValueError:
                values.append(_explain(render(row), dtype))
        return values


def _explain(text: str, dtype: str) -> UserTemplateError:
    if dtype == "json":
        return UserTemplateError(
            f"the result {text[:80]!r} is not JSON; print one value, such as {{{{ [a, b] }}}}, or "
            "change dtype"
        )
    message = f"the result {text[:80]!r} cannot be converted to {dtype!r}"
    return UserTemplateError(f"{message}; change expr or dtype")


def _cast(text: str, dtype: str) -> Any:
    if dtype == "str":
        return text
    if dtype == "json":
        return load_json(text.strip())
    if dtype == "float":
        return float(text)
    if dtype == "int":
        return int(float(text))
    try:
        return bool(int(float(text)))
    except ValueError:
        return text.strip().lower() == "true"
