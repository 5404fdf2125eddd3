"""Seed rows from Parquet, CSV or JSON files."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow comes without types)

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic import field_validator

from dd_core.errors import SeedDatasetError
from dd_core.seed import SeedSource, SeedTable
from dd_core.seeds.table import ArrowSeedTable

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".json", ".jsonl")
Stamp: TypeAlias = tuple[str, int, int]
"""A file's path, time of change in ns and size in bytes: what tells one content from another."""


class LocalFileSeedSource(SeedSource):
    """A file, or all files of a folder that have the same suffix, in order of their names."""

    seed_type: Literal["local"] = "local"
    path: str
    """A .parquet, .csv, .json or .jsonl file, or `folder/*.parquet` and the like. JSON is one
    object a line or an array of objects."""

    @field_validator("path", mode="before")
    @classmethod
    def _exists(cls, given: Any) -> str:
        if not isinstance(given, str | Path):
            raise ValueError(f"path must be text, not {type(given).__name__}")
        path = Path(given).expanduser().absolute()
        if path.suffix not in SUFFIXES:
            raise ValueError(f"path {str(given)!r} must end in one of {', '.join(SUFFIXES)}")
        wildcard = "*" in str(path)
        if wildcard and ("*" in str(path.parent) or path.name != f"*{path.suffix}"):
            raise ValueError(
                f"path {str(given)!r} may have a wildcard only as file name, like *{path.suffix}"
            )
        if wildcard and not _files(path):
            raise ValueError(f"no file matches {str(path)!r}; check the path")
        if not wildcard and not path.is_file():
            raise ValueError(f"there is no file {str(path)!r}; check the path")
        return str(path)

    @classmethod
    def from_dataframe(cls, df: Any, path: str | Path) -> Self:
        """Write a pandas data frame to a Parquet file and use that."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pandas(df, preserve_index=False), path)
        return cls(path=str(path))

    def open(self) -> SeedTable:
        """The table; it is read once a process for as long as the files do not change."""
        return ArrowSeedTable(*_read(self._stamps()))

    def _stamps(self) -> tuple[Stamp, ...]:
        files = _files(Path(self.path))
        if not files:
            raise SeedDatasetError(f"there is no file {self.path!r} any more")
        stats = [(str(file), file.stat()) for file in files]
        return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path][: path.is_file()]


@lru_cache(maxsize=4)
def _read(stamps: Sequence[Stamp]) -> tuple[pa.Table, str]:
    """The files' rows and the hash of their content, taken together so that they agree."""
    import pyarrow as pa

    name = ""
    digest = hashlib.blake2b(digest_size=16)
    try:
        tables: list[pa.Table] = []
        for name, _, size in stamps:
            tables.append(_read_file(Path(name), size))
            with Path(name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        return pa.concat_tables(tables, promote_options="permissive"), digest.hexdigest()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SeedDatasetError(f"seed file {name!r} cannot be read: {error}") from error


def _read_file(path: Path, size: int) -> pa.Table:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.ParquetFile(path).read()  # `read_table` would add columns for folders like a=1
    return _read_csv(path, size) if path.suffix == ".csv" else _read_json(path)


def _read_csv(path: Path, size: int) -> pa.Table:
    from pyarrow import csv

    return csv.read_csv(
        path,
        # One block, because types are guessed from the first block only.
        read_options=csv.ReadOptions(block_size=min(size + 1, 2**31 - 1)),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _read_json(path: Path) -> pa.Table:
    import orjson
    import pyarrow as pa

    content = path.read_bytes()
    if content.lstrip().startswith(b"["):
        records = orjson.loads(content)
    else:
        records = [orjson.loads(line) for line in content.splitlines() if line.strip()]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("every record must be a JSON object")
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: [record.get(name) for record in records] for name in names})
