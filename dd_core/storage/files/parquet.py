"""Reads and writes the Parquet files of datasets, with checksums of pages and of whole files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_core.storage.arrow import convert_column
from dd_core.storage.files.seal import (
    DamagedFileError,
    Footer,
    check_content,
    make_damage_error,
    read_footer,
    seal_parquet,
)
from dd_core.storage.location import Location, get_size, read_content
from dd_core.storage.schema import EMPTY_OBJECTS, is_marked, make_readable

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(source: Any, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the table, or some of its columns, of a Parquet file from a path or an open file.

    Raises `DatasetDamagedError` if the file does not exist or does not match its checksums.
    """
    try:
        return decode_parquet(_read_bytes(source), columns)
    except FileNotFoundError:
        raise make_damage_error(source, "is missing") from None
    except DamagedFileError as error:
        raise make_damage_error(source, error) from error


def decode_parquet(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Decode the content of a Parquet file; raises `DamagedFileError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow: Any = pa
    parquet: Any = pq
    names = None if columns is None else [*columns]
    check_content(content)
    try:
        # Without threads, and not with `read_table`, which has some of its own: a process that
        # exits while one of Arrow's threads starts is aborted. A part is decoded as fast.
        with parquet.ParquetFile(
            arrow.BufferReader(content), page_checksum_verification=True
        ) as file:
            return file.read(names, use_threads=False)
    except Exception as error:  # the content is in memory, so it is the content that is wrong
        raise DamagedFileError(f"is damaged: {error}") from error


def _read_bytes(source: Any) -> bytes:
    if isinstance(source, str | Path):
        return Path(source).read_bytes()
    return source.read() if hasattr(source, "read") else read_content(source)


def require_readable(path: Location) -> None:
    """Raise `DatasetDamagedError` unless a Parquet file matches its checksum; reads all of it.

    For files that are then read by a library which does not compare checksums.
    """
    try:
        check_content(read_content(path))
    except (DamagedFileError, FileNotFoundError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else error
        raise make_damage_error(path, reason) from error


def write_parquet(table: pa.Table, target: Any) -> None:
    """Write a table to a path or an open file, with types that every reader has."""
    content = _encode(_make_table_readable(table))
    if isinstance(target, str | Path):
        Path(target).write_bytes(content)
    else:
        target.write(content)


def open_parquet_writer(target: Any, schema: pa.Schema) -> Any:
    """Return a writer of Parquet files to a path or stream; every file of ours goes through it."""
    import pyarrow.parquet as pq

    writer: Any = pq.ParquetWriter
    return writer(target, schema, write_page_checksum=True)


def _encode(table: Any) -> bytes:
    """Encode a table as the content of a Parquet file with checksums."""
    import pyarrow as pa

    content: Any = pa.BufferOutputStream()
    with open_parquet_writer(content, table.schema) as writer:
        writer.write_table(table)
    return seal_parquet(memoryview(content.getvalue()))


def _make_table_readable(table: Any) -> Any:
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        kind = make_readable(field.type)
        if not kind.equals(field.type):
            column = convert_column(table.column(index), kind)
            table = table.set_column(index, pa.field(field.name, kind), column)
    return table


def encode_parquet(table: pa.Table, facts: Mapping[bytes, bytes]) -> bytes:
    """Encode a table as the content of a Parquet file, with `facts` in the file's metadata."""
    import pyarrow as pa

    # No other metadata: what pandas adds differs from batch to batch.
    fields = [
        pa.field(each.name, each.type, metadata=EMPTY_OBJECTS if is_marked(each) else None)
        for each in _fields(table)
    ]
    known: Any = dict(facts)
    schema = pa.schema(fields, metadata=known)
    return _encode(_make_table_readable(pa.Table.from_arrays(table.columns, schema=schema)))


def _fields(table: pa.Table) -> Iterable[Any]:
    schema: Any = table.schema
    return schema


def read_schema(path: Location) -> pa.Schema:
    """Read the schema of a Parquet file from its footer, with the file's metadata."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    return _read_footer(path, parquet.read_schema)


def read_parquet_facts(path: Location) -> tuple[int, Mapping[bytes, bytes]]:
    """Read the number of rows and the metadata of a Parquet file from its footer."""
    import pyarrow.parquet as pq

    parquet: Any = pq
    footer = _read_footer(path, parquet.read_metadata)
    return footer.num_rows, footer.metadata or {}


def _read_footer(path: Location, read: Callable[[Any], Any]) -> Any:
    """Read the footer of a file with a function of Arrow; raises `DatasetDamagedError`."""
    try:
        return parse_footer(read_footer(path, get_size(path)), read)
    except FileNotFoundError:
        raise make_damage_error(path, "is missing") from None
    except DamagedFileError as error:
        raise make_damage_error(path, error) from error


def parse_footer(footer: Footer, read: Callable[[Any], Any] | None = None) -> Any:
    """Parse a footer with a function of Arrow; raises `DamagedFileError` if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow: Any = pa
    parquet: Any = pq
    try:
        return (read or parquet.read_metadata)(arrow.BufferReader(footer.content))
    except Exception as error:  # the content is in memory, so it is the content that is wrong
        raise DamagedFileError(f"is damaged: {error}") from error


def load_libraries() -> None:
    """Import in advance what the first table needs, pandas included; this takes 0.25 s."""
    import pyarrow as pa

    write_parquet(pa.table({"x": pa.array([None])}), io.BytesIO())
