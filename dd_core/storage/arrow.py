"""Converts batch values to Arrow tables, and tables to and from Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from dd_core.storage.json_codec import dump_json
from dd_core.storage.location import open_readable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray


Values: TypeAlias = "list[Any] | NDArray[np.generic]"
"""One column's values over a batch, in row order."""


def to_array(values: Values, rows: Sequence[int] | None = None) -> pa.Array[Any]:
    """Convert values, or some rows of them, to an Arrow array.

    Values without a common type become JSON text.
    """
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        return pa.array(values if rows is None else values[np.asarray(rows, dtype=np.int64)])
    chosen = values if rows is None else [values[row] for row in rows]
    try:
        array = _array(chosen)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return pa.array([_as_text(value) for value in chosen], pa.string())
    if _has_empty_struct(array.type):  # Parquet cannot store a struct without fields
        return pa.array([_as_text(value) for value in chosen], pa.string())
    return array


def _array(values: Sequence[Any]) -> Any:
    """Convert values like `pa.array`.

    Dictionaries with the same keys are converted key by key, which is faster.
    """
    import pyarrow as pa

    arrow: Any = pa
    first = next((value for value in values if value is not None), None)
    if type(first) is not dict or not first:  # pyright: ignore[reportUnknownArgumentType]
        return arrow.array(values)
    keys = cast("dict[Any, Any]", first).keys()
    for value in values:
        if value is not None and (type(value) is not dict or value.keys() != keys):
            return arrow.array(values)
    if not all(isinstance(key, str) for key in keys):
        return arrow.array(values)
    missing = [value is None for value in values]
    if any(missing):
        arrays = [_array([None if row is None else row[key] for row in values]) for key in keys]
        return arrow.StructArray.from_arrays(arrays, names=[*keys], mask=arrow.array(missing))
    arrays = [_array([row[key] for row in values]) for key in keys]
    return arrow.StructArray.from_arrays(arrays, names=[*keys])


def unify_schemas(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Merge schemas into one that fits all tables; columns without a common type become text."""
    import pyarrow as pa

    fields: dict[str, dict[str, Any]] = {}
    for schema in schemas:
        members: Any = schema.remove_metadata()
        for field in members:
            fields.setdefault(field.name, {})[str(field.type)] = field
    return pa.schema([_common_field(name, [*kinds.values()]) for name, kinds in fields.items()])


def _common_field(name: str, fields: Sequence[Any]) -> Any:
    import pyarrow as pa

    unify: Any = pa.unify_schemas
    try:
        return unify([pa.schema([each]) for each in fields], promote_options="permissive").field(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.field(name, pa.string())


def fit_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert a table to a schema.

    Missing columns are null. Nested values become JSON text where the schema has text.
    """
    import pyarrow as pa

    arrays: list[Any] = []
    fields: Any = schema
    for field in fields:
        if field.name not in table.column_names:
            arrays.append(pa.nulls(table.num_rows, field.type))
            continue
        column: Any = table.column(field.name)
        nested: Any = pa.types
        if pa.types.is_string(field.type) and nested.is_nested(column.type):
            arrays.append(pa.array([_as_text(value) for value in column.to_pylist()], pa.string()))
        else:
            arrays.append(_cast(column, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def concatenate(tables: list[pa.Table]) -> pa.Table:
    """Concatenate tables; a column whose type differs between them gets a common type."""
    import pyarrow as pa

    schema = unify_schemas([table.schema for table in tables])
    return pa.concat_tables([fit_table(table, schema) for table in tables])


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Convert a table to a DataFrame with Arrow types."""
    import pandas as pd

    source: Any = table
    return source.to_pandas(types_mapper=pd.ArrowDtype)


def _cast(column: Any, kind: Any) -> Any:
    import pyarrow as pa

    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        # Structs with different fields cannot be cast, but they can be rebuilt.
        build: Any = pa.array
        return build(column.to_pylist(), kind)


def load_libraries() -> None:
    """Import in advance what the first table needs, pandas included; this takes 0.25 s."""
    import io

    import pyarrow as pa

    write_parquet(pa.table({"x": pa.array([None])}), io.BytesIO())


def read_parquet(source: Any) -> pa.Table:
    """Read the table of a Parquet file from a path or an open file."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    return parquet.read_table(open_readable(source), partitioning=None)


def write_parquet(table: pa.Table, target: Any) -> None:
    """Write a table to a path or an open file."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    parquet.write_table(table, target)


def encode_parquet(table: pa.Table, facts: Mapping[bytes, bytes]) -> memoryview:
    """Encode a table as the content of a Parquet file, with `facts` in the file's metadata."""
    import pyarrow as pa

    content: Any = pa.BufferOutputStream()
    known: Mapping[bytes, bytes] = table.schema.metadata or {}
    write_parquet(table.replace_schema_metadata({**known, **facts}), content)
    return memoryview(content.getvalue())


def read_parquet_facts(path: Any) -> tuple[int, Mapping[bytes, bytes]]:
    """Read the number of rows and the metadata of a Parquet file from its footer."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    footer = parquet.read_metadata(open_readable(path))
    return footer.num_rows, footer.metadata or {}


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return dump_json(value).decode()


def _has_empty_struct(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        members: Any = kind
        fields: list[Any] = [members.field(index).type for index in range(members.num_fields)]
        return not fields or any(_has_empty_struct(field) for field in fields)
    return pa.types.is_list(kind) and _has_empty_struct(kind.value_type)
