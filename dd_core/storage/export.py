"""Exports a dataset to a single file, one batch at a time."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.errors import ArtifactStorageError, UnknownFormatError, convert_errors
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.access.trial import write_trial
from dd_core.storage.files.parquet import open_parquet_writer
from dd_core.storage.json_codec import dump_json
from dd_core.storage.location import require_folder, require_short_name
from dd_core.storage.schema import is_text
from dd_core.storage.unify import fit_table, unify_schemas, widen_schema

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
    target, name = require_target(path, format)
    with report_storage_errors(target):
        # A pass of its own finds the schema, so that only one table at a time is in memory. The
        # tables of a finished dataset have the same schema.
        schemas = [table.schema for table in tables()]
        schema = unify_schemas(schemas)
        if any(not each.equals(schema) for each in schemas):
            for table in tables():
                schema = widen_schema(schema, table)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.partial")
        try:
            _WRITERS[name]((fit_table(table, schema) for table in tables()), schema, staged)
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
    return target


def require_target(path: str | Path, format: str | None = None) -> tuple[Path, str]:  # noqa: A002
    """Return the file that an export writes and its format.

    Raises `ArtifactStorageError` if the format is unknown or the file cannot be written.
    """
    target = Path(path).expanduser()
    name = (format or target.suffix.removeprefix(".")).lower()
    if name not in _WRITERS:
        raise UnknownFormatError(
            f"unknown format {name!r}; use {', '.join(_WRITERS)}, or a path with such a suffix"
        )
    require_writable(target)
    return target, name


def require_writable(target: Path) -> None:
    """Raise `ArtifactStorageError` if a file cannot be written."""
    require_short_name("the file name", target.name)
    with convert_errors(ArtifactStorageError, f"{target} cannot be written"):
        require_folder(target.parent)
        if target.is_dir():
            raise ArtifactStorageError(f"{target} is a folder; name a file")
        folder = next(each for each in target.absolute().parents if each.exists())
    with report_storage_errors(folder):
        write_trial(folder)


def _write_jsonl(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    with path.open("wb") as file:
        for table in tables:
            for record in table.to_pylist():
                file.write(dump_json(record, orjson.OPT_APPEND_NEWLINE))


def _write_csv(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    fields: Any = schema
    flat = pa.schema(
        [each if _is_plain(each.type) else pa.field(each.name, pa.string()) for each in fields]
    )
    with csv.CSVWriter(path, flat) as writer:
        for table in tables:
            writer.write_table(fit_table(table, flat))


def _is_plain(kind: Any) -> bool:
    """Whether Arrow writes values of a type to CSV as they are."""
    import pyarrow as pa

    types: Any = pa.types
    checks = [types.is_integer, types.is_floating, types.is_boolean, types.is_null, types.is_date]
    checks += [types.is_timestamp, types.is_decimal, types.is_time, is_text]
    return any(check(kind) for check in checks)


def _write_parquet(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    with open_parquet_writer(path, schema) as writer:
        for table in tables:
            writer.write_table(table)


_WRITERS: dict[str, Callable[[Iterable[Any], Any, Path], None]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
