"""Seed tables that are Arrow tables in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SeedDatasetError, ValueNotStorableError
from dd_core.kinds.seeds._text import show_path
from dd_core.kinds.seeds.seed import SeedTable
from dd_core.storage.arrow import ArrowValues, combine_chunks
from dd_core.storage.schema import is_text
from dd_core.storage.values import MAX_DEPTH, admit_value, is_encodable

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowSeedTable(SeedTable):
    """An Arrow table, with the hash of its files if it was read from files.

    `mixed` names columns of floats whose whole numbers are returned as integers, because they were
    written without a decimal point.
    """

    def __init__(
        self, table: pa.Table, content_hash: str | None = None, mixed: Collection[str] = ()
    ) -> None:
        self.columns = [*table.column_names]
        self._mixed = frozenset(mixed)
        self.num_rows = table.num_rows
        self._table = _without_views(table)
        for name in table.column_names:
            _require_python_values(name, self._table.column(name))
        self._content_hash = content_hash

    def take(self, column: str, rows: NDArray[np.int64]) -> ArrowValues:
        """Python values, with the array that they come from, which keeps their type."""
        import pyarrow as pa
        import pyarrow.compute as pc

        indices: Any = pa.array(rows)
        taken: Any = combine_chunks(self._table.column(column).take(indices))
        if pa.types.is_floating(taken.type):
            taken = pc.if_else(pc.is_nan(taken), pa.scalar(None, taken.type), taken)
        if column in self._mixed:
            return ArrowValues(taken, [_whole(value) for value in taken.to_pylist()])
        return ArrowValues(taken)

    def column_type(self, column: str) -> Any:
        """Type of the column in the table."""
        return self._table.schema.field(column).type

    def content_hash(self) -> str:
        """Hash of the files that the table was read from; default: hash of its columns."""
        return self._content_hash or _table_hash(self._table)


def _without_views(table: pa.Table) -> pa.Table:
    """Return the table without string views and binary views: Arrow cannot select rows of them."""
    import pyarrow as pa

    types = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    for index, field in enumerate(table.schema):
        if field.type in types:
            column = table.column(index).cast(types[field.type])
            table = table.set_column(index, field.name, column)
    return table


def _require_python_values(name: str, column: Any) -> None:
    """Raise `SeedDatasetError` if a column has moments or texts that Python cannot hold.

    Values that cannot be stored are refused here, too: they would fail their rows in every run.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    try:
        require_storable(name, column)
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            extremes: Any = pc.min_max(column)
            for extreme in ("min", "max"):
                extremes[extreme].as_py()
    except ValueNotStorableError as error:
        raise SeedDatasetError(f"the seed dataset cannot be used: {error}") from None
    except (ValueError, OverflowError, KeyError) as error:  # KeyError: an unknown time zone
        raise SeedDatasetError(
            f"column {name!r} of the seed dataset has values that cannot be read "
            f"({type(error).__name__}: {error}); correct them or leave the column out"
        ) from error


def require_storable(name: str, column: Any) -> None:
    """Raise `ValueNotStorableError` if a value cannot be stored; the error names its row.

    Only values of types that can hold such values are looked at: texts, whose bytes may not be
    UTF-8, and moments inside of other values, and types of more than 40 levels.
    """
    import pyarrow as pa

    depth, leaves = _describe_type(column.type)
    is_sound = depth <= MAX_DEPTH and not (depth and any(map(pa.types.is_temporal, leaves)))
    if is_sound and not any(map(is_text, leaves)):
        return
    try:
        column.validate(full=True)
    except ValueError:
        is_sound = False
    for row in range(0 if is_sound else len(column)):
        try:
            admit_value(column[row].as_py())
        except (ValueNotStorableError, ValueError, OverflowError, KeyError) as error:
            is_text_error = isinstance(error, UnicodeError)
            reason = "the value has bytes that are not UTF-8" if is_text_error else str(error)
            raise ValueNotStorableError(
                f"column {name!r}, row {row}: {reason}; change or remove it"
            ) from error


def _describe_type(kind: Any) -> tuple[int, list[Any]]:
    """Return the number of levels of objects and lists in a type, and the types in them."""
    if hasattr(kind, "index_type"):  # a dictionary
        return _describe_type(kind.value_type)
    if not kind.num_fields:
        return 0, [kind]
    parts = [_describe_type(kind.field(index).type) for index in range(kind.num_fields)]
    leaves = [leaf for _, found in parts for leaf in found]
    return 1 + max(depth for depth, _ in parts), leaves


def _whole(value: float | None) -> float | int | None:
    return int(value) if value is not None and value.is_integer() else value


def check_names(names: Sequence[str]) -> None:
    """Raise `ValueError` if a column has no name, or the name of another column."""
    for position, name in enumerate(names, 1):
        if not name.strip():
            raise ValueError(
                f"column {position} has no name; name it, or leave it out "
                "(pandas writes an index without a name unless index=False)"
            )
        if not is_encodable(name):
            raise ValueError(
                f"the name of column {position}, {name!r}, contains half of a surrogate pair, "
                "which cannot be saved; rename it"
            )
        if name in names[: position - 1]:
            raise ValueError(f"two columns are named {name!r}; rename one")


def unify_tables(tables: Sequence[tuple[str, pa.Table]]) -> pa.Table:
    """Concatenate the tables of files, given by name.

    Equal types stay as they are. Others are widened if no value changes. Otherwise, the error names
    the column and two files.
    """
    import pyarrow as pa

    schemas = [table.schema for _, table in tables]
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SeedDatasetError(_explain_difference(tables) or str(error)) from error
    for name, table in tables:
        for field in table.schema:
            wanted = schema.field(field.name).type
            try:
                table.column(field.name).cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise SeedDatasetError(
                    f"seed file {show_path(name)!r} cannot be read: column {field.name!r} is "
                    f"{field.type}, which other files make {wanted}: {error}"
                ) from error
    return pa.concat_tables([table for _, table in tables], promote_options="permissive")


def _explain_difference(tables: Sequence[tuple[str, pa.Table]]) -> str | None:
    """Explain which column has different types in which two files."""
    import pyarrow as pa

    first: dict[str, tuple[str, Any]] = {}
    for name, table in tables:
        for field in table.schema:
            other, known = first.setdefault(field.name, (name, field))
            try:
                pa.unify_schemas(
                    [pa.schema([known]), pa.schema([field])], promote_options="permissive"
                )
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return (
                    f"seed file {show_path(name)!r} cannot be read: column {field.name!r} is "
                    f"{field.type}, but {known.type} in {show_path(other)!r}; use one type"
                )
    return None


def _table_hash(table: pa.Table) -> str:
    import pyarrow as pa

    digest = hashlib.blake2b(digest_size=16)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as stream:
        for batch in table.replace_schema_metadata(None).combine_chunks().to_batches():
            stream.write_batch(batch)
    digest.update(sink.getvalue())
    return digest.hexdigest()
