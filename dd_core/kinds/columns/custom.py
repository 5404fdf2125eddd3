"""Columns that a function of the user's generates."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema, model_validator

from dd_core.declaration.user_code import get_import_name, hash_source, list_parameters
from dd_core.errors import CustomColumnGenerationError, ModelError, Problem
from dd_core.kinds.columns._custom_function import (
    CustomColumnMetadata,
    GenerationStrategy,
    convert_parameters,
    describe,
    find_function,
    get_metadata,
)
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, GroupColumn, Row
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.models.handle import ModelHandle

if TYPE_CHECKING:
    from dd_core.models.admission.slot import RequestSlot


def _function(given: Any) -> Any:
    if isinstance(given, str):
        return find_function(given)
    get_metadata(given)
    return given


def _written(params: Any) -> Any:
    return params.model_dump(mode="json") if isinstance(params, BaseModel) else params


GeneratorFunction = Annotated[
    Any,
    BeforeValidator(_function),
    PlainSerializer(get_import_name),
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
        typed = convert_parameters(self.generator_function, self.generator_params)
        object.__setattr__(self, "generator_params", typed)
        first = list_parameters(self.generator_function)[0]
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
        return get_metadata(self.generator_function)

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
            "metadata": describe(self.metadata),
            "source": hash_source(self.function),
        }

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Required columns must exist."""
        yield from super().problems(scope)
        for name in scope.unknown(self.required_columns):
            yield report_unknown(f"columns.{self.name}.generator_function", name, scope)

    def bind(self, binding: Binding) -> CellColumn | GroupColumn:
        """The generator that calls the function."""

        if self.generation_strategy is GenerationStrategy.FULL_COLUMN:
            return CustomGroups(self, binding)
        return CustomCells(self, binding)


_logger = logging.getLogger(__name__)


class _Function:
    """A function with what it is called with."""

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self.column = column
        self.is_async = inspect.iscoroutinefunction(column.function)
        self._wanted = list_parameters(column.function)
        self._models = {alias: binding.models[alias] for alias in column.model_aliases}
        places = sum(model.queue.max_parallel_requests for model in self._models.values())
        own = binding.max_calls if self.is_async else binding.threads
        self.places = places or own
        """Calls at the same time: as many as the models take requests, else what the run allows."""
        self._threads = ThreadPoolExecutor(self.places, thread_name_prefix="dd-custom")
        self._warned: set[str] = set()

    async def call(self, first: Any) -> Any:
        """What the function returns; its errors become `CustomColumnGenerationError`."""
        loop = asyncio.get_running_loop()
        arguments: list[Any] = [first]
        if "generator_params" in self._wanted:
            arguments.append(self.column.generator_params)
        if "models" in self._wanted:
            arguments.append(
                {alias: ModelHandle(model, self.column.name, loop)
                 for alias, model in self._models.items()}
            )  # fmt: skip
        try:
            if self.is_async:
                return await self.column.function(*arguments)
            return await loop.run_in_executor(
                self._threads, lambda: self.column.function(*arguments)
            )
        except (ModelError, CustomColumnGenerationError):
            raise
        except KeyError as error:
            raise self.failure(
                f"KeyError: {error}; if that is a column, add it to required_columns"
            ) from error
        except Exception as error:
            raise self.failure(f"{type(error).__name__}: {error}") from error

    def failure(self, words: str) -> CustomColumnGenerationError:
        """The error of this column."""
        name = getattr(self.column.function, "__name__", "?")
        return CustomColumnGenerationError(
            f"function {name!r} of column {self.column.name!r}: {words}"
        )

    def check(self, given: Iterable[Any], returned: Iterable[Any]) -> None:
        """Refuse what lacks a column; warn once of each column that nobody declared."""
        column, names = self.column, {*returned}
        wanted = {column.name, *column.side_effect_columns}
        if missing := sorted(wanted - names):
            raise self.failure(f"it returned no {missing[0]!r}; add it to what it returns")
        if lost := sorted({*given} - names):
            raise self.failure(f"it removed {lost[0]!r}; return what it was given as well")
        for name in sorted(names - wanted - {*given} - self._warned):
            self._warned.add(name)
            _logger.warning(
                "column %r: the function also returned %r, which is left out; "
                "name it in side_effect_columns to keep it",
                column.name,
                name,
            )


class CustomCells(CellColumn):
    """Calls a function once a row."""

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self._function = _Function(column, binding)
        self._outputs = (column.name, *column.side_effect_columns)
        self._places = asyncio.Semaphore(self._function.places)

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """The values of one row."""
        async with self._places:
            returned: Any = await self._function.call({**row})
        if not isinstance(returned, dict):
            raise self._function.failure(f"it returned {type(returned).__name__}, not a dict")
        values = cast("dict[str, Any]", returned)
        self._function.check(row, values)
        return {name: values[name] for name in self._outputs}


class CustomGroups(GroupColumn):
    """Calls a function once a batch, with a DataFrame."""

    group_size = None

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self._function = _Function(column, binding)
        self._outputs = (column.name, *column.side_effect_columns)

    async def generate(self, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
        """The values of the rows."""
        import pandas as pd

        given = [*rows[0]] if rows else []
        frame = pd.DataFrame([*rows], columns=given, index=range(len(rows)))
        returned: Any = await self._function.call(frame)
        if not isinstance(returned, pd.DataFrame):
            raise self._function.failure(f"it returned {type(returned).__name__}, not a DataFrame")
        if len(returned) != len(rows):
            raise self._function.failure(
                f"it was given {len(rows)} rows and returned {len(returned)}; the number must stay"
            )
        names: list[str] = [*returned.columns]
        self._function.check(given, names)
        chosen: Any = returned[[*self._outputs]]
        return [_plain(record) for record in chosen.to_dict("records")]


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with None for NaN, as the rest of the engine has it."""
    return {
        name: None if isinstance(value, float) and value != value else value
        for name, value in record.items()
    }
