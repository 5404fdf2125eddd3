"""Calls functions of the user's for cells and for whole batches."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from dd_core.column import Binding, CellColumn, GroupColumn, Row
from dd_core.columns.custom import CustomColumnConfig
from dd_core.custom import positional_parameters
from dd_core.errors import CustomColumnGenerationError, ModelError
from dd_core.models.asked import AskedModel

if TYPE_CHECKING:
    from dd_core.models.seat import Seat

_logger = logging.getLogger(__name__)


class _Function:
    """A function with what it is called with."""

    def __init__(self, column: CustomColumnConfig, binding: Binding) -> None:
        self.column = column
        self.is_async = inspect.iscoroutinefunction(column.function)
        self._wanted = positional_parameters(column.function)
        self._models = {alias: binding.models[alias] for alias in column.model_aliases}
        places = sum(model.max_parallel_requests for model in self._models.values())
        config = binding.run_config
        own = (
            config.max_in_flight_tasks
            if self.is_async
            else (config.non_inference_max_parallel_workers)
        )
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
                {alias: AskedModel(model, self.column.name, loop)
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

    async def generate(self, row: Row, seat: Seat | None) -> Mapping[str, Any]:
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
