"""Seed readers: classes for NeMo Data Designer that read a seed source in their own way.

`DataDesigner(seed_readers=[...])` uses them in place of the source's own `open`. Their methods have
the names and arguments of NeMo Data Designer. Own seed sources (docs/own-kinds.md) are simpler.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow and fsspec have no type annotations)

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from dd_core.declaration.secrets import SecretResolver
from dd_core.errors import BuilderConfigurationError, SeedDatasetError, convert_errors
from dd_core.kinds.seeds._table import ArrowSeedTable
from dd_core.kinds.seeds.dataframe import DataFrameSeedSource
from dd_core.kinds.seeds.directory import FolderSource, is_folder
from dd_core.kinds.seeds.seed import RowSelection, SeedSource, SeedTable, SourceReader
from dd_core.storage.arrow import Values

_Source = TypeVar("_Source", bound=SeedSource)
_Folder = TypeVar("_Folder", bound=FolderSource)


class SeedReader(SourceReader, Generic[_Source]):
    """Reads a table with DuckDB. `SeedReader[MySeedSource]` says which source it reads."""

    source: _Source
    secret_resolver: SecretResolver

    @abstractmethod
    def get_dataset_uri(self) -> str:
        """Name of the table, or path of the file, that DuckDB reads."""

    @abstractmethod
    def create_duckdb_connection(self) -> Any:
        """A connection to DuckDB that can read it."""

    def on_attach(self) -> None:
        """Prepare for reading `source`."""

    def attach(self, source: _Source, secret_resolver: SecretResolver) -> None:
        """Remember what is read, and prepare for it."""
        self.source = source
        self.secret_resolver = secret_resolver
        self.on_attach()

    def create_dataframe_duckdb_connection(self, *, table_name: str, dataframe: Any) -> Any:
        """A connection to DuckDB with a DataFrame as a table."""
        import duckdb

        connection = duckdb.connect()
        connection.register(table_name, dataframe)
        return connection

    def get_seed_type(self) -> str:
        """The `seed_type` of the source that the class is declared for."""
        for base in _list_bases(type(self)):
            for argument in get_args(base):
                source = get_origin(argument) or argument
                field = getattr(source, "model_fields", {}).get("seed_type")
                if field is not None and isinstance(field.default, str):
                    return field.default
        raise BuilderConfigurationError(
            f"{type(self).__name__} does not say which seed source it reads; declare it as "
            "class MyReader(SeedReader[MySeedSource]), where MySeedSource has a seed_type"
        )

    def read_table(self, source: SeedSource, resolver: SecretResolver) -> SeedTable:
        """The rows that this reader finds in a source."""
        reader = copy(self)  # it may read other sources at the same time
        with convert_errors(SeedDatasetError, f"the seed reader {type(self).__name__} failed"):
            reader.attach(cast("_Source", source), resolver)
            return reader._read()

    def _read(self) -> SeedTable:
        connection = self.create_duckdb_connection()
        uri = self.get_dataset_uri().replace("'", "''")
        query = f"SELECT * FROM '{uri}'"  # noqa: S608
        return ArrowSeedTable(connection.sql(query).to_arrow_table())


@dataclass(frozen=True)
class SeedReaderFileSystemContext:
    """The folder of a source."""

    fs: Any
    """Its files, as a file system of `fsspec`; paths are relative to the folder."""
    root_path: PurePath


class FileSystemSeedReader(SeedReader[_Folder]):
    """Makes rows of the files in a folder.

    `build_manifest` lists entries, usually the files, and `hydrate_row` turns each of them into one
    row or several rows, with the columns `output_columns`. The selection of a seed dataset counts
    entries, not rows.
    """

    output_columns: ClassVar[list[str] | None] = None

    @abstractmethod
    def build_manifest(self, *, context: SeedReaderFileSystemContext) -> Any:
        """The entries: a DataFrame, or a list with a dictionary for each of them."""

    def hydrate_row(
        self, *, manifest_row: dict[str, Any], context: SeedReaderFileSystemContext
    ) -> dict[str, Any] | Iterable[dict[str, Any]]:
        """The row of an entry, or its rows; default: the entry itself."""
        return manifest_row

    def get_matching_relative_paths(
        self, *, context: SeedReaderFileSystemContext, file_pattern: str, recursive: bool
    ) -> list[str]:
        """The files whose names match a pattern, sorted; raises `SeedDatasetError` if none does."""
        found: list[str] = context.fs.find("", maxdepth=None if recursive else 1)
        paths = [path.lstrip("/") for path in found]
        matching = [path for path in paths if fnmatchcase(PurePosixPath(path).name, file_pattern)]
        if not matching:
            raise SeedDatasetError(
                f"no file in {str(context.root_path)!r} matches {file_pattern!r}; check both"
            )
        return sorted(matching)

    def create_filesystem_context(self, root_path: Path | str) -> SeedReaderFileSystemContext:
        """The folder at a path."""
        from fsspec.implementations.dirfs import DirFileSystem
        from fsspec.implementations.local import LocalFileSystem

        root = Path(root_path).expanduser().resolve()
        if not is_folder(root):
            raise SeedDatasetError(f"there is no folder {str(root)!r}; check the path")
        return SeedReaderFileSystemContext(DirFileSystem(str(root), LocalFileSystem()), root)

    def get_dataset_uri(self) -> str:
        """Name of the table for DuckDB."""
        return "seed_rows"

    def create_duckdb_connection(self) -> Any:
        """A connection to DuckDB with all rows."""
        frame, _ = self._make_rows()
        return self.create_dataframe_duckdb_connection(
            table_name=self.get_dataset_uri(), dataframe=frame
        )

    def _read(self) -> SeedTable:
        frame, counts = self._make_rows()
        return _EntryTable(DataFrameSeedSource(df=frame).open(), counts)

    def _make_rows(self) -> tuple[Any, list[int]]:
        """All rows as a DataFrame, and the number of rows of each entry."""
        import pandas as pd

        context = self.create_filesystem_context(self.source.locate(self.source.path))
        manifest = self.build_manifest(context=context)
        entries = pd.DataFrame(manifest).to_dict(orient="records")
        groups = [
            _list_rows(self.hydrate_row(manifest_row=entry, context=context))
            for entry in cast("list[dict[str, Any]]", entries)
        ]
        rows = [row for group in groups for row in group]
        columns = self.output_columns or [*pd.DataFrame(manifest).columns]
        for number, row in enumerate(rows):
            if {*row} != {*columns}:
                raise SeedDatasetError(
                    f"row {number} of {type(self).__name__} has the columns {[*row]}, but "
                    f"output_columns are {columns}; return the same columns for every row"
                )
        return pd.DataFrame(rows, columns=columns), [*map(len, groups)]


class _EntryTable(SeedTable):
    """A table whose rows are selected by the entries that they were made of."""

    def __init__(self, table: SeedTable, counts: Sequence[int]) -> None:
        self.columns = table.columns
        self.num_rows = table.num_rows
        self._table = table
        self._starts = [0, *accumulate(counts)]

    def take(self, column: str, rows: NDArray[np.int64]) -> Values:
        """Values of one column."""
        return self._table.take(column, rows)

    def column_type(self, column: str) -> Any:
        """Arrow type of a column."""
        return self._table.column_type(column)

    def content_hash(self) -> str:
        """Hash of the rows."""
        return self._table.content_hash()

    def select(self, chosen: RowSelection) -> range:
        """The rows of the selected entries."""
        if chosen is None:
            return range(self.num_rows)
        entries = chosen.select(len(self._starts) - 1)
        rows = range(self._starts[entries.start], self._starts[entries.stop])
        if not rows:
            raise SeedDatasetError(
                "the entries that selection_strategy selects have no rows; select others"
            )
        return rows


def _list_bases(kind: type) -> list[Any]:
    return [base for each in kind.__mro__ for base in each.__dict__.get("__orig_bases__", ())]


def _list_rows(made: dict[str, Any] | Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(made, Mapping):
        return [cast("dict[str, Any]", made)]
    return [*made]
