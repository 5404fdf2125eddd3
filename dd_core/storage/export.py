"""Exports a dataset to a single file, one batch at a time."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.errors import ArtifactStorageError
from dd_core.storage.arrow import fit_table, unify_schemas
from dd_core.storage.json_codec import dump_json

if TYPE_CHECKING:
    import pyarrow as pa


def export(
    tables: Callable[[], Iterable[pa.Table]],
    path: str | Path,
    format: str | None = None,  # noqa: A002
) -> Path:
    """Write tables to a `jsonl`, `csv` or `parquet` file, which appears when it is complete.

    `format` defaults to the path's suffix. `tables` is called once for each pass over the dataset.
    """
    target = Path(path).expanduser()
    name = (format or target.suffix.removeprefix(".")).lower()
    if name not in _WRITERS:
        raise ArtifactStorageError(
            f"unknown format {name!r}; use {', '.join(_WRITERS)}, or a path with such a suffix"
        )
    # The first pass finds a schema that fits all tables, so that the second needs only one of them
    # in memory.
    schema = unify_schemas([table.schema for table in tables()])
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.partial")
    try:
        _WRITERS[name]((fit_table(table, schema) for table in tables()), schema, staged)
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)
    return target


def _write_jsonl(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    with path.open("wb") as file:
        for table in tables:
            for record in table.to_pylist():
                file.write(dump_json(record, orjson.OPT_APPEND_NEWLINE))


def _write_csv(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    types: Any = pa.types
    fields: Any = schema
    flat = pa.schema(
        [
            pa.field(each.name, pa.string()) if types.is_nested(each.type) else each
            for each in fields
        ]
    )
    with csv.CSVWriter(path, flat) as writer:
        for table in tables:
            writer.write_table(fit_table(table, flat))


def _write_parquet(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    import pyarrow.parquet as pq

    parquet: Any = pq
    with parquet.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table)


_WRITERS: dict[str, Callable[[Iterable[Any], Any, Path], None]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
