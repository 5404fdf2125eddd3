"""Tables in Parquet, CSV and JSON files, on disk or at URLs."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow and fsspec have no type annotations)

from __future__ import annotations

import glob
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from pydantic import SecretStr

from dd_core.errors import ArtifactStorageError, SeedDatasetError, ValueNotStorableError
from dd_core.kinds.seeds._column_types import Typed
from dd_core.kinds.seeds._csv import read_csv_files
from dd_core.kinds.seeds._json import read_json_files
from dd_core.kinds.seeds._table import ArrowSeedTable, check_names, require_storable, unify_tables
from dd_core.kinds.seeds._text import TextOptions, UnreadableFileError, show_path
from dd_core.kinds.seeds.seed import SeedTable
from dd_core.models.wire.download import read_address
from dd_core.redaction.registry import register_address, register_secret
from dd_core.storage.directory import ROWS_FOLDER, DatasetDirectory
from dd_core.storage.files.metadata import METADATA
from dd_core.storage.files.parquet import decode_parquet
from dd_core.storage.files.seal import DamagedFileError
from dd_core.storage.location import parse_location

if TYPE_CHECKING:
    import pyarrow as pa


SUFFIXES = (".parquet", ".csv", ".json", ".jsonl")

_MOST_BYTES = 2_000_000_000
"""Largest file that is downloaded."""
_DEADLINE = 900.0
"""Seconds for the download of one file by HTTP."""

Stamp: TypeAlias = tuple[str, str, int]
"""A file's path, its version or modification time, and its size in bytes."""

_WILDCARDS = "*?["


def split_pattern(path: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """Split a path into the file or folder that it names, and the pattern below, if there is one.

    `[` and `?` are common in names. So a step such as `drafts [2]` is a pattern only if there is
    nothing of this name.
    """
    parts = PurePosixPath(path).parts
    for at, part in enumerate(parts):
        if any(each in part for each in _WILDCARDS):
            named = str(PurePosixPath(*parts[: at + 1]))
            if "*" in part or not exists(named):
                return str(PurePosixPath(*parts[:at])), str(PurePosixPath(*parts[at:]))
    return path, ""


def find_matches(system: Any, path: str) -> list[str]:
    """The files and folders of an fsspec file system that match a pattern."""
    root, pattern = split_pattern(path, system.exists)
    return system.glob(str(PurePosixPath(glob.escape(root), pattern)))


@dataclass(frozen=True)
class LocalFiles:
    """A local file, or all files that match `folder/*.suffix`."""

    path: str

    def paths(self) -> list[Path]:
        """The files that exist now."""
        path = Path(self.path)
        if "*" in path.name:
            return sorted(path.parent.glob(path.name))
        try:
            return [path] if path.is_file() else []
        except OSError:  # the name is too long
            return []

    def stamps(self) -> tuple[Stamp, ...]:
        """The files and their versions; these change whenever the content does."""
        stats = [(str(path), path.stat()) for path in self.paths()]
        return tuple((name, str(stat.st_mtime_ns), stat.st_size) for name, stat in stats)

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading bytes."""
        return Path(name).open("rb")


@dataclass(frozen=True)
class RemoteFiles:
    """A file or pattern at a URL that fsspec can read, such as `s3://bucket/*.parquet`."""

    path: str
    token: SecretStr | None = None
    endpoint: str | None = None
    """URL of the Hugging Face hub; for `hf://` only."""

    def stamps(self) -> tuple[Stamp, ...]:
        """The files and their versions; these change whenever the content does."""
        system, path = self.find_system()
        system.invalidate_cache()
        found = sorted(find_matches(system, path)) if "*" in path else [path]
        return tuple(self.find_stamp(system, name) for name in found)

    def open(self, name: str) -> BinaryIO:
        """Download a file as a whole; raises `ValueError` if it is larger than 2 GB."""
        if name.startswith(("http://", "https://")):
            return io.BytesIO(read_address(name, most_bytes=_MOST_BYTES, deadline=_DEADLINE))
        system, _ = self.find_system()
        if self.find_stamp(system, name)[2] > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES // 10**9} GB")
        return io.BytesIO(system.cat_file(name))

    def find_stamp(self, system: Any, name: str) -> Stamp:
        """The version of one file."""
        facts: dict[str, Any] = system.info(name)
        # Each file system has its own name for the version or the modification time.
        keys = ("ETag", "etag", "blob_id", "generation", "LastModified", "mtime", "created")
        version = next((facts[key] for key in keys if facts.get(key)), "")
        return name, str(version), int(facts.get("size") or 0)

    def find_system(self) -> tuple[Any, str]:
        """The file system, and the path or pattern in it."""
        register_address(self.path)
        if self.token is not None:
            register_secret(self.token.get_secret_value())
        if self.path.startswith("hf://"):
            try:
                from huggingface_hub import HfFileSystem
            except ImportError:
                raise SeedDatasetError(
                    "seed datasets of Hugging Face require huggingface-hub; "
                    "install prefect-data-designer[hub]"
                ) from None

            token = self.token.get_secret_value() if self.token else False
            system = HfFileSystem(endpoint=self.endpoint, token=token)
            return system, self.path.removeprefix("hf://")
        from fsspec.core import url_to_fs

        return url_to_fs(self.path)


def open_table(files: LocalFiles | RemoteFiles, options: TextOptions | None = None) -> SeedTable:
    """Open the files as one table. A process reads them once, as long as they do not change."""
    try:
        stamps = files.stamps()
    except SeedDatasetError:
        raise
    except Exception as error:  # each file system raises its own errors
        raise _unreadable(files.path, error) from error
    if not stamps:
        raise SeedDatasetError(f"there is no file at {show_path(files.path)!r}; check the path")
    _require_intact(files)
    return _read(files, options or TextOptions(), stamps)


def _require_intact(files: LocalFiles | RemoteFiles) -> None:
    """Raise if the files are the rows of a dataset of ours, and some of them are damaged."""
    if isinstance(files, RemoteFiles) and (files.path.startswith("hf://") or files.token):
        return
    folder = parse_location(files.path).parent
    try:
        if folder.name == ROWS_FOLDER and (folder.parent / METADATA).exists():
            DatasetDirectory(folder.parent).files()
    except ArtifactStorageError as error:
        raise SeedDatasetError(str(error)) from error


def _unreadable(name: str, error: Exception) -> SeedDatasetError:
    return UnreadableFileError(name, str(error) or type(error).__name__)


@lru_cache(maxsize=4)
def _read(
    files: LocalFiles | RemoteFiles, options: TextOptions, stamps: Sequence[Stamp]
) -> ArrowSeedTable:
    """The files' rows and a hash of their content, from the same bytes so that they agree.

    `stamps` is part of the cache key: a file that has changed is read again.
    """
    name = files.path
    digest = hashlib.blake2b(digest_size=16)
    try:
        contents: list[tuple[str, bytes]] = []
        for name, _, _ in stamps:
            with files.open(name) as file:
                content = file.read()
            digest.update(hashlib.blake2b(content).digest())
            contents.append((name, content))
        found = _READERS[get_suffix(files.path)](contents, options)
        table = found.table()
    except SeedDatasetError:
        raise
    except Exception as error:  # each file system raises its own errors
        raise _unreadable(name, error) from error
    for fact in (options.describe(), *found.notes):
        digest.update(fact.encode())
    return ArrowSeedTable(table, digest.hexdigest(), found.mixed)


def get_suffix(name: str) -> str:
    """The suffix of a file name; raises `ValueError` if it is not one of `SUFFIXES`."""
    suffix = PurePosixPath(name).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"path {name!r} must end in one of {', '.join(SUFFIXES)}")
    return suffix


def _read_parquet_files(files: Sequence[tuple[str, bytes]], options: TextOptions) -> Typed:
    tables: list[tuple[str, pa.Table]] = []
    for name, content in files:
        try:
            table = decode_parquet(content)
            check_names(table.column_names)
            for column in table.column_names:
                require_storable(column, table.column(column))
        except (DamagedFileError, ValueNotStorableError, ValueError) as error:
            raise _unreadable(name, error) from error
        tables.append((name, table))
    return Typed.of(unify_tables(tables))


_READERS = {
    ".parquet": _read_parquet_files,
    ".csv": read_csv_files,
    ".json": read_json_files,
    ".jsonl": read_json_files,
}
