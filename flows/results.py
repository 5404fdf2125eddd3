"""Column values as Prefect results: plain Parquet files under readable keys (`keys.py`).

A key does not name the run, so that a later run, a retry and another worker all find what was
generated; Prefect then shows the column's task as Cached.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore, aget_default_result_storage, get_result_store
from prefect.serializers import Serializer
from pydantic import Field, PrivateAttr

from dd_core.arrow import array_of, read_parquet, write_parquet
from dd_core.cell_json import decoded, encoded
from dd_core.cells import CellState, ColumnState
from dd_core.column import Values
from dd_core.errors import ArtifactStorageError
from dd_core.execute import BatchRun
from flows.keys import ROW, SKIPPED

_SCALARS: set[Any] = {str, int, float, bool}
_AS_JSON = {b"encoding": b"json"}
"""Metadata of a column whose values are JSON texts."""


class ParquetSerializer(Serializer):
    """Arrow tables as Parquet. Registered with Prefect under the name `parquet`."""

    type: str = Field(default="parquet", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """The Parquet file of a table."""
        if not isinstance(obj, pa.Table):
            raise TypeError(f"the parquet serializer takes Arrow tables, not {type(obj).__name__}")
        sink = io.BytesIO()
        write_parquet(obj, sink)
        return sink.getvalue()

    def loads(self, blob: bytes) -> pa.Table:
        """The table of a Parquet file."""
        return read_parquet(io.BytesIO(blob))


class BesideResults(WritableFileSystem):
    """Prefect's record of a result, stored next to the result itself with `.json` appended."""

    _block_type_name = "Records beside results"
    _storage: WritableFileSystem = PrivateAttr()

    @classmethod
    def of(cls, storage: WritableFileSystem) -> BesideResults:
        """Records beside the results of a storage."""
        beside = cls()
        beside._storage = storage
        return beside

    async def read_path(self, path: str) -> bytes:
        """A record's bytes."""
        return await read_file(self._storage, f"{path}.json")

    async def write_path(self, path: str, content: bytes) -> None:
        """Write a record."""
        written: Any = self._storage.write_path(f"{path}.json", content)
        if hasattr(written, "__await__"):
            await written


@dataclass
class GivenKey(CachePolicy):
    """The cache key is what the caller passes as `key`."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """The `key` parameter of the task."""
        return inputs.get("key")


async def read_file(storage: WritableFileSystem, path: str) -> bytes:
    """A file of a storage block, whether its methods are asynchronous or not."""
    content: Any = storage.read_path(path)
    return await content if hasattr(content, "__await__") else content


async def result_storage() -> WritableFileSystem:
    """Where the current flow run keeps its results."""
    store: ResultStore = get_result_store()
    return store.result_storage or await aget_default_result_storage()


def column_table(run: BatchRun, state: ColumnState) -> pa.Table:
    """The finished cells of a column: row index, whether skipped, value and side effects."""
    kept = (CellState.DONE, CellState.SKIPPED)
    rows = [row for row, status in enumerate(state.status) if status in kept]
    arrays: dict[str, Any] = {
        ROW: pa.array([run.batch.start + row for row in rows], pa.int64()),
        SKIPPED: pa.array([state.status[row] == CellState.SKIPPED for row in rows], pa.bool_()),
    }
    fields = [pa.field(name, array.type) for name, array in arrays.items()]
    for name in state.planned.outputs:
        arrays[name], field = _exact(name, run.values(name), rows)
        fields.append(field)
    return pa.table([*arrays.values()], schema=pa.schema(fields))


def exact_values(table: pa.Table, name: str) -> list[Any]:
    """The values of a stored column, the same as when it was stored."""
    values: list[Any] = table.column(name).to_pylist()
    schema: Any = table.schema
    is_json = _AS_JSON.items() <= (schema.field(name).metadata or {}).items()
    return [decoded(value) for value in values] if is_json else values


def put_together(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several tables of a column, whose values may be stored in different ways."""
    first = tables[0].schema
    if any(not table.schema.equals(first, check_metadata=True) for table in tables):
        tables = [_all_as_json(table) for table in tables]
    return pa.concat_tables(tables)


def _exact(name: str, values: Values, rows: Sequence[int]) -> tuple[Any, Any]:
    """Values as Arrow has them, or as JSON where it would make something else of them.

    In Arrow all objects of a column have the same members, numbers the same type, and values
    without a common type are text.
    """
    array: Any = array_of(values, rows)
    native = array, pa.field(name, array.type)
    if isinstance(values, np.ndarray):
        return native
    chosen = [values[row] for row in rows]
    forms = {*map(_form, chosen)}
    is_uniform = len(forms) == 1 and None not in forms
    if is_uniform and (forms == {str} or not pa.types.is_string(array.type)):
        return native
    if [*map(encoded, chosen)] == [*map(encoded, array.to_pylist())]:
        return native
    return _as_json(name, chosen)


def _form(value: Any) -> Any:
    """The types of a value and of all that is in it; None if Arrow may make something else of it.

    Values of one form stay what they are. That is quicker to see than what Arrow gives back: a
    third of a second for a thousand embeddings.
    """
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        forms = tuple((key, _form(each)) for key, each in members.items())
        return None if any(form is None for _, form in forms) else forms
    if isinstance(value, list):
        items = cast("list[Any]", value)
        kinds: set[Any] = {*map(type, items)}
        inner = kinds if kinds <= _SCALARS else {*map(_form, items)}
        return (list, *inner) if len(inner) == 1 and None not in inner else None
    return next((kind for kind in _SCALARS if type(value) is kind), None)


def _as_json(name: str, values: Sequence[Any]) -> tuple[Any, Any]:
    texts = pa.array([encoded(value).decode() for value in values], pa.string())
    return texts, pa.field(name, pa.string(), metadata=_AS_JSON)


def _all_as_json(table: pa.Table) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name not in (ROW, SKIPPED):
            texts, field = _as_json(name, exact_values(table, name))
            table = table.set_column(place, field, texts)
    return table


async def require_results(storage: WritableFileSystem, keys: Iterable[str]) -> None:
    """Prefect only logs it when it cannot write a result: see that each record is there."""
    for key in keys:
        try:
            await read_file(storage, f"{key}.json")
        except Exception as error:
            raise ArtifactStorageError(
                f"the result {key!r} was not written to Prefect's result storage "
                f"({type(error).__name__}: {error}); check the storage's space and permissions"
            ) from error
