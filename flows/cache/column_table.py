"""Column values as Prefect results: plain Parquet files under readable keys (`keys.py`).

A key does not name the run, so that a later run, a retry and another worker all find what was
generated; Prefect then shows the column's task as Cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from dd_core.engine.batch_run import BatchRun
from dd_core.engine.cells import CellState, ColumnState
from dd_core.storage.arrow import Values, to_array
from dd_core.storage.json_codec import decode_value, encode_value

from .keys import ROW, SKIPPED

_SCALARS: set[Any] = {str, int, float, bool}
_AS_JSON = {b"encoding": b"json"}
"""Metadata of a column whose values are JSON texts."""


def make_column_table(run: BatchRun, state: ColumnState) -> pa.Table:
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


def restore_values(table: pa.Table, name: str) -> list[Any]:
    """The values of a stored column, the same as when it was stored."""
    values: list[Any] = table.column(name).to_pylist()
    schema: Any = table.schema
    is_json = _AS_JSON.items() <= (schema.field(name).metadata or {}).items()
    return [decode_value(value) for value in values] if is_json else values


def combine_tables(tables: Sequence[pa.Table]) -> pa.Table:
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
    array: Any = to_array(values, rows)
    native = array, pa.field(name, array.type)
    if isinstance(values, np.ndarray):
        return native
    chosen = [values[row] for row in rows]
    forms = {*map(_form, chosen)}
    is_uniform = len(forms) == 1 and None not in forms
    if is_uniform and (forms == {str} or not pa.types.is_string(array.type)):
        return native
    if [*map(encode_value, chosen)] == [*map(encode_value, array.to_pylist())]:
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
    texts = pa.array([encode_value(value).decode() for value in values], pa.string())
    return texts, pa.field(name, pa.string(), metadata=_AS_JSON)


def _all_as_json(table: pa.Table) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name not in (ROW, SKIPPED):
            texts, field = _as_json(name, restore_values(table, name))
            table = table.set_column(place, field, texts)
    return table
