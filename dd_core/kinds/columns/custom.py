"""Columns whose values are returned by a user-defined function."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema, model_validator

from dd_core.declaration.user_code import (
    StandIn,
    get_import_name,
    hash_source,
    list_parameters,
    run_contained,
)
from dd_core.errors import CustomColumnGenerationError, ModelError, Problem, describe_error
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


_logger = logging.getLogger(__name__)


def _resolve_function(given: Any) -> Any:
    if isinstance(given, str):
        return find_function(given)
    get_metadata(given)
    return given


def _dump_params(params: Any) -> Any:
    return params.model_dump(mode="json") if isinstance(params, BaseModel) else params


GeneratorFunction = Annotated[
    Any,
    BeforeValidator(_resolve_function),
    PlainSerializer(get_import_name),
    WithJsonSchema({"type": "string", "description": "Function, as `package.module:function`."}),
]
GeneratorParams = Annotated[
    Any,
    PlainSerializer(_dump_params),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "null"}]}),
]


class CustomColumnConfig(Column):
    """Values returned by a function that is decorated with `custom_column_generator`."""

    column_type: Literal["custom"] = "custom"
    generator_function: GeneratorFunction
    """The decorated function; in a configuration file, `package.module:function`."""
    generation_strategy: GenerationStrategy = GenerationStrategy.CELL_BY_CELL
    """What the function takes: `cell_by_cell` passes one row at a time, `full_column` a whole batch
    as a DataFrame."""
    generator_params: GeneratorParams = None
    """Parameters that are passed to the function. If the function annotates `generator_params` with
    a pydantic model, a mapping is converted to this model."""

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        typed = convert_parameters(self.generator_function, self.generator_params)
        object.__setattr__(self, "generator_params", typed)
        if isinstance(self.generator_function, StandIn):
            return self
        first = list_parameters(self.generator_function)[0]
        expected = "df" if self.generation_strategy is GenerationStrategy.FULL_COLUMN else "row"
        if first != expected:
            raise ValueError(
                f"the function's first parameter is {first!r}, but generation_strategy "
                f"{self.generation_strategy.value!r} needs {expected!r}; change one of them"
            )
        return self

    @property
    def metadata(self) -> CustomColumnMetadata:
        """Arguments of the function's decorator."""
        return get_metadata(self.generator_function)

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        return self.generator_function

    @property
    def required_columns(self) -> list[str]:
        """Columns that the decorator names as required."""
        return [*self.metadata.required_columns]

    @property
    def side_effect_columns(self) -> list[str]:
        """Columns that the decorator names as side effects."""
        return [*self.metadata.side_effect_columns]

    @property
    def model_aliases(self) -> list[str]:
        """Aliases of the models that the decorator names."""
        return [*self.metadata.model_aliases]

    def for_round(self, name: str) -> Self:
        """Return the column as it is: the function knows it by its own name."""
        return self

    def get_model_aliases(self) -> list[str]:
        """Return the aliases of the models that the function may call."""
        return self.model_aliases

    def identity(self) -> dict[str, Any]:
        """Return the declaration, the arguments of the decorator and the hash of the source."""
        return {
            **super().identity(),
            "metadata": describe(self.metadata),
            "source": hash_source(self.function),
        }

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield required columns that do not exist, in addition to the problems of any column."""
        yield from super().problems(scope)
        for name in scope.unknown(self.required_columns):
            yield report_unknown(f"columns.{self.name}.generator_function", name, scope)

    def count_requests(self) -> int | None:
        """Return 0 if the function has no models; otherwise only the function knows."""
        return None if self.get_model_aliases() else 0

    def bind(self, binding: Binding) -> CellColumn | GroupColumn:
        """Return the generator that calls the function."""
        if self.generation_strategy is GenerationStrategy.FULL_COLUMN:
            return CustomGroups(self, binding)
        return CustomCells(self, binding)


class _Function:
    """The function of a column, with the arguments of its calls."""

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self.column = column
        self.is_async = inspect.iscoroutinefunction(column.function)
        self._parameters = list_parameters(column.function)
        self._models = {alias: binding.models[alias] for alias in column.model_aliases}
        self._toolboxes = binding.toolboxes
        # With fewer calls than the models take requests, the models would idle.
        requests = sum(model.queue.max_parallel_requests for model in self._models.values())
        self.max_calls = requests or (binding.max_calls if self.is_async else binding.threads)
        """Maximum number of calls at the same time."""
        # A separate pool: a function that waits for a model must not block computed columns.
        self._threads = ThreadPoolExecutor(self.max_calls, thread_name_prefix="dd-custom")
        self._warned: set[str] = set()
        """Undeclared columns that were already reported."""

    async def call(self, first: Any) -> Any:
        """Call the function; its exceptions become `CustomColumnGenerationError`.

        `first` is the first argument, a dict or a DataFrame. Model errors pass through unchanged.
        """
        loop = asyncio.get_running_loop()
        arguments: list[Any] = [first]
        if "generator_params" in self._parameters:
            arguments.append(self.column.generator_params)
        if "models" in self._parameters:
            arguments.append(
                {alias: ModelHandle(model, self.column.name, loop, self._toolboxes)
                 for alias, model in self._models.items()}
            )  # fmt: skip
        try:
            if self.is_async:
                return await self.column.function(*arguments)
            return await loop.run_in_executor(
                self._threads, run_contained, self.column.function, *arguments
            )
        except (ModelError, CustomColumnGenerationError):
            raise
        except KeyError as error:
            raise self.failure(
                f"KeyError: {error}; if this is a column, add it to required_columns"
            ) from error
        except (Exception, SystemExit) as error:
            raise self.failure(describe_error(error)) from error

    def failure(self, reason: str) -> CustomColumnGenerationError:
        """Return an error that names the function and the column."""
        name = getattr(self.column.function, "__name__", "?")
        return CustomColumnGenerationError(
            f"function {name!r} of column {self.column.name!r}: {reason}"
        )

    def check(self, given: Iterable[Any], returned: Iterable[Any]) -> None:
        """Compare the names of the columns that the function received and returned.

        Raises `CustomColumnGenerationError` if one is missing. Warns once about each column that
        is not declared.
        """
        column, names = self.column, {*returned}
        declared = {column.name, *column.side_effect_columns}
        if missing := sorted(declared - names):
            raise self.failure(f"it did not return {missing[0]!r}; add it to the returned columns")
        if lost := sorted({*given} - names):
            raise self.failure(f"it removed {lost[0]!r}; return all columns that it received")
        for name in sorted(names - declared - {*given} - self._warned):
            self._warned.add(name)
            _logger.warning(
                "column %r: the function also returned %r, which is ignored; "
                "add it to side_effect_columns to keep it",
                column.name,
                name,
            )


class CustomCells(CellColumn):
    """Calls a function once per row."""

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self._function = _Function(column, binding)
        self._outputs = (column.name, *column.side_effect_columns)
        self._call_limit = asyncio.Semaphore(self._function.max_calls)

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the values of one row.

        `slot` is None. The handles in `models` acquire a slot for each call of a model.
        """
        async with self._call_limit:
            returned: Any = await self._function.call({**row})
        if not isinstance(returned, dict):
            raise self._function.failure(f"it returned {type(returned).__name__}, not a dict")
        values = cast("dict[str, Any]", returned)
        self._function.check(row, values)
        return {name: values[name] for name in self._outputs}


class CustomGroups(GroupColumn):
    """Calls a function once per batch, with a DataFrame."""

    group_size = None

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self._function = _Function(column, binding)
        self._outputs = (column.name, *column.side_effect_columns)

    async def generate(self, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
        """Return the values of all rows of a batch."""
        import pandas as pd

        given = [*rows[0]] if rows else []
        frame = pd.DataFrame([*rows], columns=given, index=range(len(rows)))
        returned: Any = await self._function.call(frame)
        if not isinstance(returned, pd.DataFrame):
            raise self._function.failure(f"it returned {type(returned).__name__}, not a DataFrame")
        if len(returned) != len(rows):
            raise self._function.failure(
                f"it received {len(rows)} rows and returned {len(returned)}; "
                "return one row for each row that it receives"
            )
        names: list[str] = [*returned.columns]
        if repeated := [each for each in self._outputs if names.count(each) > 1]:
            raise self._function.failure(
                f"it returned more than one column {repeated[0]!r}; return it once"
            )
        self._function.check(given, names)
        outputs: Any = returned[[*self._outputs]]
        return [_replace_nan(record) for record in outputs.to_dict("records")]


def _replace_nan(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with None instead of NaN, which is pandas' missing value."""
    return {
        name: None if isinstance(value, float) and value != value else value
        for name, value in record.items()
    }
