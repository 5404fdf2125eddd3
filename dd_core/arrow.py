"""From the values of a batch to an Arrow table, and from there to Parquet and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from dd_core.column import Values

if TYPE_CHECKING:
    import pyarrow as pa

    from dd_core.execute import BatchRun


def table_of(run: BatchRun, names: Sequence[str], rows: Sequence[int]) -> pa.Table:
    """The given rows of the named columns, in that order."""
    import pyarrow as pa

    everything = len(rows) == run.batch.size
    arrays: list[Any] = [array_of(run.values(name), None if everything else rows) for name in names]
    return pa.Table.from_arrays(arrays, names=[*names])


def array_of(values: Values, rows: Sequence[int] | None = None) -> pa.Array[Any]:
    """Values as an Arrow array; values without a common type become JSON text."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        return pa.array(values if rows is None else values[np.asarray(rows, dtype=np.int64)])
    chosen = values if rows is None else [values[row] for row in rows]
    try:
        array = pa.array(chosen)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        return pa.array([_as_text(value) for value in chosen], pa.string())
    if _has_empty_struct(array.type):  # Parquet cannot store an object without members
        return pa.array([_as_text(value) for value in chosen], pa.string())
    return array


def load_libraries() -> None:
    """Import what the first table would import, pandas included: a quarter of a second."""
    import io

    import pyarrow as pa

    write_parquet(pa.table({"x": pa.array([None])}), io.BytesIO())


def read_parquet(source: Any) -> pa.Table:
    """The table of a Parquet file, given by its path or as an open file."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    return parquet.read_table(source, partitioning=None)


def write_parquet(table: pa.Table, target: Any, facts: Mapping[bytes, bytes] | None = None) -> None:
    """Write a table to a path or an open file, with `facts` added to the file's metadata."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    if facts:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **facts})
    parquet.write_table(table, target)


def parquet_facts(path: Any) -> tuple[int, Mapping[bytes, bytes]]:
    """Number of rows and metadata of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    footer = parquet.read_metadata(path)
    return footer.num_rows, footer.metadata or {}


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _has_empty_struct(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        members: Any = kind
        fields: list[Any] = [members.field(index).type for index in range(members.num_fields)]
        return not fields or any(_has_empty_struct(field) for field in fields)
    return pa.types.is_list(kind) and _has_empty_struct(kind.value_type)
