"""Converts the values of a column to a table, and back to exactly the same values.

These tables are what Prefect stores as the results of column tasks.
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
_JSON_METADATA = {b"encoding": b"json"}
"""Field metadata of a column whose values are stored as JSON strings."""


def make_column_table(run: BatchRun, state: ColumnState) -> pa.Table:
    """The finished cells of a column: row index, whether skipped, value and side effects."""
    finished = (CellState.DONE, CellState.SKIPPED)
    rows = [row for row, status in enumerate(state.status) if status in finished]
    arrays: dict[str, Any] = {
        ROW: pa.array([run.batch.start + row for row in rows], pa.int64()),
        SKIPPED: pa.array([state.status[row] == CellState.SKIPPED for row in rows], pa.bool_()),
    }
    fields = [pa.field(name, array.type) for name, array in arrays.items()]
    for name in state.planned.outputs:
        arrays[name], field = _convert_exactly(name, run.values(name), rows)
        fields.append(field)
    return pa.table([*arrays.values()], schema=pa.schema(fields))


def restore_values(table: pa.Table, name: str) -> list[Any]:
    """The values of a stored column, exactly as they were before they were stored."""
    values: list[Any] = table.column(name).to_pylist()
    schema: Any = table.schema
    is_json = _JSON_METADATA.items() <= (schema.field(name).metadata or {}).items()
    return [decode_value(value) for value in values] if is_json else values


def combine_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables of a column; their values may be stored in different ways."""
    first = tables[0].schema
    if any(not table.schema.equals(first, check_metadata=True) for table in tables):
        tables = [_convert_to_json(table) for table in tables]
    return pa.concat_tables(tables)


def _convert_exactly(name: str, values: Values, rows: Sequence[int]) -> tuple[Any, Any]:
    """Array and field of the values: native Arrow if it keeps them exactly, otherwise JSON strings.

    Arrow would change some values: it gives all objects of a column the same members and all
    numbers the same type, and it turns values without a common type into strings.
    """
    array: Any = to_array(values, rows)
    native = array, pa.field(name, array.type)
    if isinstance(values, np.ndarray):
        return native
    chosen = [values[row] for row in rows]
    forms = {*map(_describe_types, chosen)}
    is_uniform = len(forms) == 1 and None not in forms
    # An array of strings for values that are not strings: Arrow found no common type.
    if is_uniform and (forms == {str} or not pa.types.is_string(array.type)):
        return native
    if [*map(encode_value, chosen)] == [*map(encode_value, array.to_pylist())]:
        return native
    return _encode_json(name, chosen)


def _describe_types(value: Any) -> Any:
    """The types of a value and of everything in it; None if Arrow may change the value.

    Arrow keeps values that all have the same types. Comparing types is faster than converting the
    values and comparing the result, which takes a third of a second for a thousand embeddings.
    """
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        forms = tuple((key, _describe_types(each)) for key, each in members.items())
        return None if any(form is None for _, form in forms) else forms
    if isinstance(value, list):
        items = cast("list[Any]", value)
        kinds: set[Any] = {*map(type, items)}
        inner = kinds if kinds <= _SCALARS else {*map(_describe_types, items)}
        return (list, *inner) if len(inner) == 1 and None not in inner else None
    return next((kind for kind in _SCALARS if type(value) is kind), None)


def _encode_json(name: str, values: Sequence[Any]) -> tuple[Any, Any]:
    strings = pa.array([encode_value(value).decode() for value in values], pa.string())
    return strings, pa.field(name, pa.string(), metadata=_JSON_METADATA)


def _convert_to_json(table: pa.Table) -> pa.Table:
    for index, name in enumerate(table.column_names):
        if name not in (ROW, SKIPPED):
            strings, field = _encode_json(name, restore_values(table, name))
            table = table.set_column(index, field, strings)
    return table
