"""Seed rows from the files of a folder: where they are, or what they hold."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.seeds.seed import SeedSource, SeedTable


class FolderSource(SeedSource):
    """Untagged base: a folder, and which of its files are rows."""

    path: str
    """The folder."""
    file_pattern: str = Field(default="*", min_length=1)
    """Which names files must have, with `*` and `?`; upper and lower case differ."""
    recursive: bool = True
    """Whether files in folders within the folder count."""

    @field_validator("path", mode="before")
    @classmethod
    def _is_a_folder(cls, given: Any) -> str:
        path = Path(str(given)).expanduser().absolute()
        if not path.is_dir():
            raise ValueError(f"there is no folder {str(path)!r}; check the path")
        return str(path)

    @field_validator("file_pattern")
    @classmethod
    def _is_a_name(cls, pattern: str) -> str:
        if "/" in pattern or "\\" in pattern:
            raise ValueError(f"file_pattern {pattern!r} is for names and must not have a slash")
        return pattern

    def problems(self, place: str) -> Iterator[Problem]:
        """There must be files."""
        if not self.files():
            message = f"no file in {self.path!r} matches {self.file_pattern!r}; check both"
            yield Problem(f"{place}.file_pattern", message)

    def files(self) -> list[Path]:
        """The files in order of their paths; links that lead out of the folder are left out."""
        root = Path(self.path).resolve()
        paths = root.rglob("*") if self.recursive else root.glob("*")
        return sorted(
            path
            for path in paths
            if fnmatchcase(path.name, self.file_pattern)
            and path.is_file()
            and path.resolve().is_relative_to(root)
        )

    def table(self, kind: str, encoding: str | None = None) -> SeedTable:
        """The files as rows; raises `SeedDatasetError` if there are none."""
        files = self.files()
        if not files:
            raise SeedDatasetError(f"no file in {self.path!r} matches {self.file_pattern!r}")
        return _Files(Path(self.path).resolve(), files, kind, encoding)


class DirectorySeedSource(FolderSource):
    """A row for each file: `source_kind`, `source_path`, `relative_path`, `file_name`."""

    seed_type: Literal["directory"] = "directory"

    def open(self) -> SeedTable:
        """The table of the files that are there now."""
        return self.table("directory_file")


class FileContentsSeedSource(FolderSource):
    """As `directory`, and `content`, the text of each file."""

    seed_type: Literal["file_contents"] = "file_contents"
    encoding: str = "utf-8"
    """Of the files."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError(f"encoding {name!r} is not known; use utf-8 or latin-1") from None
        return name

    def open(self) -> SeedTable:
        """The table; a file is read when a batch needs it."""
        return self.table("file_contents", self.encoding)


class _Files(SeedTable):
    """Files as rows. Their contents are read for each batch and never held together."""

    def __init__(self, root: Path, files: Sequence[Path], kind: str, encoding: str | None) -> None:
        self.columns = ["source_kind", "source_path", "relative_path", "file_name"]
        self.columns += ["content"] if encoding else []
        self.num_rows = len(files)
        self._root = root
        self._files = files
        self._kind = kind
        self._encoding = encoding

    def take(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """Values of one column; raises `SeedDatasetError` for files that cannot be read."""
        indexes: list[int] = rows.tolist()
        chosen = [self._files[index] for index in indexes]
        match column:
            case "source_kind":
                return [self._kind] * len(chosen)
            case "source_path":
                return [str(path) for path in chosen]
            case "relative_path":
                return [path.relative_to(self._root).as_posix() for path in chosen]
            case "file_name":
                return [path.name for path in chosen]
            case _:
                known = {path: self._read(path) for path in {*chosen}}
                return [known[path] for path in chosen]

    def content_hash(self) -> str:
        """Of the files' paths, and of their contents where these are rows."""
        digest = hashlib.blake2b(digest_size=16)
        for path in self._files:
            digest.update(f"{path.relative_to(self._root)}\0".encode())
            if self._encoding:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()

    def _read(self, path: Path) -> str:
        try:
            return path.read_text(encoding=self._encoding)
        except (OSError, UnicodeError) as error:
            raise SeedDatasetError(
                f"seed file {str(path)!r} cannot be read as {self._encoding}: {error}"
            ) from error
