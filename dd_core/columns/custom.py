"""Columns that a function of the user's generates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema, model_validator

from dd_core.column import (
    Binding,
    CellColumn,
    Column,
    GroupColumn,
    Scope,
    unknown_reference,
)
from dd_core.custom import (
    CustomColumnMetadata,
    GenerationStrategy,
    described,
    function_named,
    metadata_of,
    name_of,
    positional_parameters,
    typed_parameters,
)
from dd_core.errors import Problem
from dd_core.source import source_hash


def _function(given: Any) -> Any:
    if isinstance(given, str):
        return function_named(given)
    metadata_of(given)
    return given


def _written(params: Any) -> Any:
    return params.model_dump(mode="json") if isinstance(params, BaseModel) else params


GeneratorFunction = Annotated[
    Any,
    BeforeValidator(_function),
    PlainSerializer(name_of),
    WithJsonSchema({"type": "string", "description": "package.module:function"}),
]
GeneratorParams = Annotated[
    Any,
    PlainSerializer(_written),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]}),
]


class CustomColumnConfig(Column):
    """What a function decorated with `custom_column_generator` returns."""

    column_type: Literal["custom"] = "custom"
    generator_function: GeneratorFunction
    """The function, or `package.module:function` in a file."""
    generation_strategy: GenerationStrategy = GenerationStrategy.CELL_BY_CELL
    """Whether the function takes one row at a time or a batch as a DataFrame."""
    generator_params: GeneratorParams = None
    """Passed to the function; a mapping becomes the pydantic model of its annotation."""

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        typed = typed_parameters(self.generator_function, self.generator_params)
        object.__setattr__(self, "generator_params", typed)
        first = positional_parameters(self.generator_function)[0]
        wanted = "df" if self.generation_strategy is GenerationStrategy.FULL_COLUMN else "row"
        if first != wanted:
            raise ValueError(
                f"the function's first parameter is {first!r}, but generation_strategy "
                f"{self.generation_strategy.value!r} needs {wanted!r}; change one of them"
            )
        return self

    @property
    def metadata(self) -> CustomColumnMetadata:
        """What the decorator notes."""
        return metadata_of(self.generator_function)

    @property
    def function(self) -> Callable[..., Any]:
        """The function."""
        return self.generator_function

    @property
    def required_columns(self) -> list[str]:
        """Those that the decorator names."""
        return [*self.metadata.required_columns]

    @property
    def side_effect_columns(self) -> list[str]:
        """Those that the decorator names."""
        return [*self.metadata.side_effect_columns]

    @property
    def model_aliases(self) -> list[str]:
        """Those that the decorator names."""
        return [*self.metadata.model_aliases]

    def get_model_aliases(self) -> list[str]:
        """Aliases of the models that the function may ask."""
        return self.model_aliases

    def identity(self) -> dict[str, Any]:
        """The declaration, what the function says of itself, and its source."""
        return {
            **super().identity(),
            "metadata": described(self.metadata),
            "source": source_hash(self.function),
        }

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Required columns must exist."""
        yield from super().problems(scope)
        for name in scope.unknown(self.required_columns):
            yield unknown_reference(f"columns.{self.name}.generator_function", name, scope)

    def bind(self, binding: Binding) -> CellColumn | GroupColumn:
        """The generator that calls the function."""
        from dd_core.models.custom_cells import CustomCells, CustomGroups  # loads the HTTP client

        if self.generation_strategy is GenerationStrategy.FULL_COLUMN:
            return CustomGroups(self, binding)
        return CustomCells(self, binding)
