"""Converts batch values to Arrow arrays, and tables to DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from dd_core.storage.json_codec import write_as_text
from dd_core.storage.schema import (
    EMPTY_OBJECTS,
    build_lists,
    convert_array,
    fit_type,
    is_text,
    is_written_as_text,
    make_readable,
    report_conflict,
    unify_or_text,
    widen_type,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray


Values: TypeAlias = "list[Any] | NDArray[np.generic]"
"""One column's values over a batch, in row order."""


class ArrowValues(list[Any]):
    """Python values together with the Arrow array that they come from, which has their type."""

    def __init__(self, array: pa.Array[Any], values: Sequence[Any] | None = None) -> None:
        super().__init__(array.to_pylist() if values is None else values)
        self.array = array


class ColumnTypes:
    """The types that the columns of a dataset declare; builds arrays of these types."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.declared = declared
        """Arrow types by column. The types of other columns follow from their values."""
        self._warned: set[str] = set()

    def build_array(
        self, name: str, values: Values, rows: Sequence[int] | None = None
    ) -> pa.Array[Any]:
        """Convert values of a column; warns once if some of them have no common type."""
        conflicts: _Conflicts = []
        array = to_array(values, rows, self.declared.get(name), conflicts)
        if conflicts and name not in self._warned:
            self._warned.add(name)
            report_conflict(name, *conflicts[0])
        return array


def make_field(name: str, array: Any, values: Values, rows: Sequence[int] | None = None) -> Any:
    """Return the field of a column; it is marked if its text `{}` stands for objects.

    Text that a column holds as `{}` stays text, even if other batches have objects.
    """
    import pyarrow as pa

    found: Any = EMPTY_OBJECTS if is_text(array.type) and _are_empty_objects(values, rows) else None
    return pa.field(name, array.type, metadata=found)


def _are_empty_objects(values: Values, rows: Sequence[int] | None) -> bool:
    chosen: Any = values if rows is None else (values[row] for row in rows)
    has_objects = False
    for value in chosen:
        if isinstance(value, str) or value:
            return False
        has_objects = has_objects or isinstance(value, dict)
    return has_objects


_Conflicts: TypeAlias = "list[tuple[Any, Any]]"
"""Pairs of values without a common type."""


def to_array(
    values: Values,
    rows: Sequence[int] | None = None,
    declared: Any = None,
    conflicts: _Conflicts | None = None,
) -> pa.Array[Any]:
    """Convert values, or some rows of them, to an Arrow array.

    Values without a common type become text, and an example is added to `conflicts`. With a
    `declared` type, the array has this type, or the type that also holds the values which do not
    fit it; see `dd_core/storage/schema.py`.
    """
    array = _build_array(values, rows, [] if conflicts is None else conflicts)
    target = array.type
    if declared is not None and not target.equals(declared):
        array = convert_array(array, fit_type(array, declared))
        target = widen_type(array, unify_or_text(declared, array.type))
        if conflicts is not None and is_written_as_text(declared, target):
            example = next((value for value in array.to_pylist() if value is not None), None)
            conflicts.append((declared, example))
    return convert_array(array, make_readable(target))


def _build_array(values: Values, rows: Sequence[int] | None, conflicts: _Conflicts) -> Any:
    import pyarrow as pa

    arrow: Any = pa
    if isinstance(values, ArrowValues):
        return values.array if rows is None else values.array.take(arrow.array(rows, pa.int64()))
    if isinstance(values, np.ndarray):
        chosen = values if rows is None else values[np.asarray(rows, dtype=np.int64)]
        if chosen.dtype != object:
            return arrow.array(chosen)
        return _infer_or_text(chosen.tolist(), conflicts)
    return _infer_or_text(values if rows is None else [values[row] for row in rows], conflicts)


class _NoCommonTypeError(Exception):
    """The values have no type in common but text."""


def _infer_or_text(values: Sequence[Any], conflicts: _Conflicts) -> Any:
    import pyarrow as pa

    try:
        return _infer(values, conflicts)
    except _CONFLICTS:
        given = [value for value in values if value is not None]
        other = next((value for value in given if type(value) is not type(given[0])), None)
        if other is not None or len(given) > 1:
            conflicts.append((given[0], given[1] if other is None else other))
        return pa.array([write_as_text(value) for value in values], pa.string())


_CONFLICTS = (_NoCommonTypeError, ValueError, TypeError, NotImplementedError, OverflowError)
"""What keeps values from having a type; the errors of Arrow derive from the errors of Python."""


def _infer(values: Sequence[Any], conflicts: _Conflicts) -> Any:
    """Convert values to an array of the type that they have in common.

    Unlike `pa.array`, it never changes a value: `True` does not become 1.0, a datetime not a date.
    """
    import pyarrow as pa

    arrow: Any = pa
    kinds: set[type] = {*map(type, values)} - {type(None)}
    if len(kinds) > 1 and kinds != {int, float}:
        _require_common_kind(kinds)
    if kinds == {dict}:
        return _infer_objects(values, conflicts)
    if kinds <= _SEQUENCES:
        return _infer_lists(values, conflicts) if kinds else arrow.nulls(len(values))
    if any(issubclass(kind, datetime | time | timedelta) for kind in kinds):
        return _infer_moments(values)
    array = arrow.array(values)
    types: Any = pa.types
    if types.is_nested(array.type) or types.is_decimal256(array.type):
        raise _NoCommonTypeError  # objects of a library, and decimals that few readers support
    return array


_SEQUENCES: set[type] = {list, tuple, set, frozenset, np.ndarray}


def _require_common_kind(kinds: set[type]) -> None:
    """Raise unless the kinds have a type in common.

    They may be sequences, moments, durations, or numbers of which none is a decimal or all are.
    """
    if any(all(issubclass(kind, base) for kind in kinds) for base in (datetime, timedelta)):
        return  # some of them are those of pandas
    numbers = (int, float, Decimal, np.integer, np.floating)
    is_decimal = Decimal in kinds and any(issubclass(kind, float | np.floating) for kind in kinds)
    are_numbers = bool not in kinds and all(issubclass(kind, numbers) for kind in kinds)
    if not kinds <= _SEQUENCES and (is_decimal or not are_numbers):
        raise _NoCommonTypeError


def _infer_objects(values: Sequence[Any], conflicts: _Conflicts) -> Any:
    """Convert dictionaries member by member; a missing member is null."""
    import pyarrow as pa

    arrow: Any = pa
    names: dict[Any, None] = {}
    for value in values:
        if value is not None and value.keys() != names.keys():
            names |= dict.fromkeys(value)
    if not names:
        return arrow.array(values)
    if not all(isinstance(name, str) and "\0" not in name for name in names):
        raise _NoCommonTypeError  # for many readers, a name ends at a null character
    missing = [value is None for value in values]
    arrays: list[Any] = []
    for name in names:
        members = [None if value is None else value.get(name) for value in values]
        arrays.append(_infer_or_text(members, conflicts))
    mask = arrow.array(missing) if any(missing) else None
    fields = [pa.field(name, array.type) for name, array in zip(names, arrays, strict=True)]
    return arrow.StructArray.from_arrays(arrays, fields=fields, mask=mask)


def _infer_lists(values: Sequence[Any], conflicts: _Conflicts) -> Any:
    import pyarrow as pa

    arrow: Any = pa
    given = [value for value in values if value is not None]
    if {*map(type, chain.from_iterable(given))} == {float}:
        return arrow.array(values)  # embeddings: the fast way for the largest values
    lengths = [0 if value is None else len(value) for value in values]
    items = _infer([*chain.from_iterable(given)], conflicts)
    missing = [value is None for value in values]
    mask = arrow.array(missing) if any(missing) else None
    is_large = sum(lengths) >= 2**31
    target = arrow.large_list(items.type) if is_large else arrow.list_(items.type)
    return build_lists(target, lengths, items, mask)


def _infer_moments(values: Sequence[datetime | time | timedelta | None]) -> Any:
    import pyarrow as pa

    arrow: Any = pa
    given = [value for value in values if value is not None]
    zoned = {getattr(value, "tzinfo", None) is not None for value in given}
    if len(zoned) > 1 or (True in zoned and any(isinstance(value, time) for value in given)):
        raise _NoCommonTypeError  # Arrow has no time of day with a time zone
    array = arrow.array(values)
    if any(getattr(value, "nanosecond", 0) for value in given):  # timestamps of pandas
        return arrow.array(values, arrow.timestamp("ns", array.type.tz))
    if any(getattr(value, "nanoseconds", 0) for value in given):  # durations of pandas
        return arrow.array(values, arrow.duration("ns"))
    return array


def combine_chunks(column: Any) -> Any:
    """Return a column of a table as one array."""
    import pyarrow as pa

    types: Any = pa.types
    if types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return column.combine_chunks()


DtypeBackend: TypeAlias = Literal["numpy", "pyarrow"]
"""Types of a DataFrame: those of plain pandas, or those of Arrow, which are those of the files."""

_EXACT = 2**53
"""Integers up to this size are exact as floats."""


def to_frame(table: pa.Table, dtype_backend: DtypeBackend = "numpy") -> pd.DataFrame:
    """Convert a table to a DataFrame with the types of plain pandas, or with Arrow types."""
    import pandas as pd

    source: Any = table
    if dtype_backend == "pyarrow":
        return source.to_pandas(types_mapper=pd.ArrowDtype)
    if dtype_backend != "numpy":  # pyright: ignore[reportUnnecessaryComparison]
        raise ValueError(f"dtype_backend must be 'numpy' or 'pyarrow', not {dtype_backend!r}")
    columns: dict[str, Any] = {
        name: _to_series(column)
        for name, column in zip(source.column_names, source.columns, strict=True)
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(source.num_rows))


def _to_series(column: Any) -> Any:
    """A column of a table as plain pandas has it; lists and objects as those of Python."""
    import pandas as pd
    import pyarrow as pa

    types: Any = pa.types
    kind = column.type
    if types.is_dictionary(kind):
        return _to_series(column.cast(kind.value_type))
    if types.is_nested(kind) or (column.null_count and _would_round(column)):
        return pd.Series(column.to_pylist(), dtype=object)
    return column.to_pandas()


def _would_round(column: Any) -> bool:
    """Whether integers would change as floats, which is how pandas has integers with gaps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not cast("Any", pa).types.is_integer(column.type):
        return False
    bounds = cast("Any", pc).min_max(column).as_py()
    return any(value is not None and abs(value) > _EXACT for value in bounds.values())


def convert_column(column: Any, target: Any) -> Any:
    """Convert a column of a table, chunk by chunk."""
    import pyarrow as pa

    arrow: Any = pa
    if column.type.equals(target):
        return column
    return arrow.chunked_array([convert_array(chunk, target) for chunk in column.chunks], target)
