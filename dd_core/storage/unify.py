"""Gives tables, and all Parquet files of a folder, one schema, so that any reader can load them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dd_core.errors import DatasetDamagedError
from dd_core.storage.arrow import combine_chunks, convert_column
from dd_core.storage.batch import ROWS_KEY
from dd_core.storage.files.parquet import encode_parquet, read_parquet, read_schema
from dd_core.storage.location import Location, list_files, put
from dd_core.storage.schema import (
    find_empty_objects,
    is_any,
    is_marked,
    is_text,
    is_written_as_text,
    make_readable,
    report_conflict,
    unify_or_text,
    widen_type,
)

if TYPE_CHECKING:
    import pyarrow as pa


_logger = logging.getLogger(__name__)
_PATTERN = "batch_*.parquet"
_CACHED_SCHEMAS = 4_096
_OWN_METADATA = {ROWS_KEY, b"ARROW:schema"}


def unify_folder(folder: Location, order: Sequence[str] = ()) -> dict[str, str]:
    """Rewrite the files whose schema differs from the common one; returns the types by column.

    Only one file is in memory at a time. A file is replaced atomically and keeps what it records
    about its rows, so a process may be killed at any moment: the next run finishes the work.
    """
    schemas = {
        path: schema
        for path, state in list_files(folder, _PATTERN)
        if (schema := _find_schema(path, state)) is not None
    }
    if not schemas:
        return {}
    unified = find_schema(schemas, read_parquet, order)
    _warn_of_conflicts(schemas, unified)
    for path, schema in schemas.items():
        if not _is_same(schema, unified):
            table = read_parquet(path)
            known: Mapping[bytes, bytes] = schema.metadata or {}
            facts = {key: value for key, value in known.items() if key == ROWS_KEY}
            put(path, encode_parquet(fit_table(table, unified), facts))
    fields: Any = unified
    return {each.name: str(each.type) for each in fields}


def unify_schemas(schemas: Iterable[pa.Schema], order: Sequence[str] = ()) -> pa.Schema:
    """Merge schemas into one: the names in `order` first, then the others as they appear."""
    import pyarrow as pa

    kinds: dict[str, Any] = {}
    latest: pa.Schema | None = None
    for schema in schemas:
        members: Any = [] if latest is not None and schema.equals(latest) else schema
        latest = schema
        for each in members:
            kinds[each.name] = unify_or_text(kinds.get(each.name, pa.null()), each.type)
    names = dict.fromkeys([*(name for name in order if name in kinds), *kinds])
    return pa.schema([pa.field(name, kinds[name]) for name in names])


def widen_schema(schema: pa.Schema, table: pa.Table) -> pa.Schema:
    """Return the schema, with text wherever it cannot hold a value of the table exactly."""
    import pyarrow as pa

    fields: Any = schema
    found: list[Any] = []
    for each in fields:
        kind = each.type
        if each.name in table.column_names:
            column: Any = table.column(each.name)
            for chunk in column.chunks:
                kind = widen_type(chunk, kind)
        found.append(pa.field(each.name, kind))
    return pa.schema(found)


def find_schema(
    schemas: Mapping[Any, pa.Schema],
    read: Callable[[Any, Sequence[str]], pa.Table],
    order: Sequence[str] = (),
) -> pa.Schema:
    """Return the schema that holds the values of all tables, given the schema of each.

    `read` returns some columns of a table. It is called only for tables whose values decide.
    """
    schemas = _find_empty_objects(schemas, read)
    unified: Any = _make_readable(unify_schemas(schemas.values(), order))
    for key, schema in schemas.items():
        fields: Any = schema
        kinds: dict[str, Any] = {each.name: each.type for each in unified}
        if names := [each.name for each in fields if _may_widen(each.type, kinds[each.name])]:
            unified = widen_schema(unified, read(key, names))
    return unified


def _find_empty_objects(
    schemas: Mapping[Any, pa.Schema], read: Callable[[Any, Sequence[str]], pa.Table]
) -> Mapping[Any, pa.Schema]:
    """Return the schemas with objects where one table has objects and another only the text `{}`.

    Parquet cannot store an object without members, so a batch of them is stored as text.
    """
    import pyarrow as pa

    unified: Any = unify_schemas(schemas.values())
    kinds: dict[str, Any] = {each.name: each.type for each in unified}
    found: dict[Any, Any] = {**schemas}
    mixed = {
        each.name
        for schema in found.values()
        for each in schema
        if is_written_as_text(each.type, kinds[each.name])
    }
    for key, schema in found.items():
        if names := [name for name in schema.names if name in mixed]:
            table: Any = read(key, names)
            types = {
                name: find_empty_objects(combine_chunks(table.column(name)))
                for name in names
                if is_marked(schema.field(name)) or not is_text(schema.field(name).type)
            }
            fields = [pa.field(each.name, types.get(each.name, each.type)) for each in schema]
            found[key] = pa.schema(fields)
    return found


def _make_readable(schema: Any) -> Any:
    import pyarrow as pa

    return pa.schema([pa.field(each.name, make_readable(each.type)) for each in schema])


def _may_widen(kind: Any, target: Any) -> bool:
    return not (kind.equals(target) or is_text(target) or is_any(kind, "null"))


def fit_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert a table to a schema that holds its values; missing columns are null."""
    import pyarrow as pa

    fields: Any = schema
    arrays: list[Any] = [
        convert_column(table.column(each.name), each.type)
        if each.name in table.column_names
        else pa.nulls(table.num_rows, each.type)
        for each in fields
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def concatenate(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate tables; a column whose type differs between them gets the type that holds all."""
    import pyarrow as pa

    numbered = dict(enumerate(tables))
    schemas = {number: table.schema for number, table in numbered.items()}
    schema = find_schema(schemas, lambda number, names: numbered[number].select([*names]))
    return pa.concat_tables([fit_table(table, schema) for table in tables])


def _find_schema(path: Location, state: tuple[Any, ...]) -> pa.Schema | None:
    """The schema of a file; None if it cannot be read, in which case it is not a part either."""
    try:
        return _read_schema(path, state)
    except DatasetDamagedError:
        return None


@lru_cache(maxsize=_CACHED_SCHEMAS)
def _read_schema(path: Location, _state: tuple[Any, ...]) -> pa.Schema:
    return read_schema(path)


def _is_same(schema: pa.Schema, unified: pa.Schema) -> bool:
    metadata: Mapping[bytes, bytes] = schema.metadata or {}
    return schema.equals(unified) and metadata.keys() <= _OWN_METADATA


def _warn_of_conflicts(schemas: Mapping[Location, pa.Schema], unified: pa.Schema) -> None:
    """Warn about columns that become text, with the values of two files as examples."""
    fields: Any = unified
    for field in fields:
        kinds: dict[Any, Location] = {}
        for path, schema in schemas.items():
            members: Any = schema
            if field.name in schema.names:
                kinds.setdefault(members.field(field.name).type, path)
        if any(is_written_as_text(kind, field.type) for kind in kinds):
            found = [_find_example(path, field.name) for path in kinds.values()]
            examples = [value for value in found if value is not None]
            report_conflict(field.name, *(examples + [None, None])[:2])


def _find_example(path: Location, name: str) -> Any:
    values: Any = read_parquet(path, [name]).column(name).drop_null()
    return values[0].as_py() if len(values) else None
