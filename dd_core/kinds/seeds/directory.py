"""The `directory` and `file_contents` seed sources: one row per file in a folder."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.declaration.trust import require_trust
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.seeds._text import check_encoding, explain_bad_byte, show_path
from dd_core.kinds.seeds.seed import SeedSource, SeedTable

_BLOCK = 2**20
"""Bytes of a file that are read at a time."""


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path."""
    try:
        return path.is_dir()
    except OSError:  # the name is too long
        return False


class FolderSource(SeedSource):
    """Untagged base of sources whose rows are the files of a folder."""

    path: str
    """Folder with the files. A relative path is relative to the working directory."""
    file_pattern: str = Field(default="*", min_length=1)
    """Case-sensitive pattern for file names, with `*` and `?`; default: all files."""
    recursive: bool = True
    """Whether to include files in subfolders; default: yes."""

    @property
    def runtime_path(self) -> str:
        """The path as it was declared; `locate` makes it absolute."""
        return self.path

    @field_validator("path", mode="before")
    @classmethod
    def _is_a_path(cls, given: Any) -> str:
        require_trust(f"reads the folder {str(given)!r}")
        if not str(given).strip():
            raise ValueError("path must not be empty; name a folder, or `.`")
        return str(given)

    @field_validator("file_pattern")
    @classmethod
    def _is_a_name(cls, pattern: str) -> str:
        if "/" in pattern or "\\" in pattern:
            raise ValueError(
                f"file_pattern {pattern!r} is for file names and must not have a slash"
            )
        return pattern

    def problems(self, place: str) -> Iterator[Problem]:
        """A missing folder, or a folder without matching files."""
        if not is_folder(self.locate(self.path)):
            message = f"there is no folder {str(self.locate(self.path))!r}; check the path"
            yield Problem(f"{place}.path", message)
        elif not self.files():
            message = f"no file in {self.path!r} matches {self.file_pattern!r}; check both"
            yield Problem(f"{place}.file_pattern", message)

    def resolve_paths(self) -> Self:
        """Return the source with an absolute path."""
        return self.model_copy(update={"path": str(self.locate(self.path))})

    def files(self) -> list[Path]:
        """The matching files, sorted by path; links that lead out of the folder are skipped."""
        root = self.locate(self.path).resolve()
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
            raise SeedDatasetError(
                f"no file in {self.path!r} matches {self.file_pattern!r}; check both"
            )
        return _Files(self.locate(self.path).resolve(), files, kind, encoding)


class DirectorySeedSource(FolderSource):
    """One row per file, with `source_kind`, `source_path`, `relative_path` and `file_name`."""

    seed_type: Literal["directory"] = "directory"

    def open(self) -> SeedTable:
        """The table of the files that exist now."""
        return self.table("directory_file")


class FileContentsSeedSource(FolderSource):
    """One row per file, with the columns of `directory` and the text of the file in `content`."""

    seed_type: Literal["file_contents"] = "file_contents"
    encoding: str = "utf-8"
    """Encoding of the files."""

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return check_encoding(name)

    def open(self) -> SeedTable:
        """The table of the files; their text is read when a batch needs it.

        Raises `SeedDatasetError` if a file is not text in this encoding.
        """
        return self.table("file_contents", self.encoding)


class _Files(SeedTable):
    """Files as rows. Their text is read batch by batch and never held in memory as a whole."""

    def __init__(self, root: Path, files: Sequence[Path], kind: str, encoding: str | None) -> None:
        self.columns = ["source_kind", "source_path", "relative_path", "file_name"]
        self.columns += ["content"] if encoding else []
        self.num_rows = len(files)
        self._root = root
        self._files = files
        self._kind = kind
        self._encoding = encoding
        # The bytes are hashed while the text is checked, so that files are read only once.
        self._digests = [_digest_text(path, encoding) for path in files] if encoding else []

    def take(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """Values of one column; raises `SeedDatasetError` if a file cannot be read."""
        indexes: list[int] = rows.tolist()
        chosen = [self._files[index] for index in indexes]
        match column:
            case "source_kind":
                return [self._kind] * len(chosen)
            case "source_path":
                return [show_path(path) for path in chosen]
            case "relative_path":
                return [show_path(path.relative_to(self._root).as_posix()) for path in chosen]
            case "file_name":
                return [show_path(path.name) for path in chosen]
            case _:
                texts = {path: self._read(path) for path in {*chosen}}
                return [texts[path] for path in chosen]

    def content_hash(self) -> str:
        """Hash of the files' paths and, if there is a `content` column, of their bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for position, path in enumerate(self._files):
            digest.update(os.fsencode(path.relative_to(self._root)) + b"\0")
            if self._digests:
                digest.update(self._digests[position])
        return digest.hexdigest()

    def _read(self, path: Path) -> str:
        try:
            text = path.read_text(encoding=self._encoding)
        except (OSError, UnicodeError) as error:
            raise _cannot_read(path, self._encoding, error) from error
        return text.removeprefix("\ufeff")


def _digest_text(path: Path, encoding: str) -> bytes:
    """The hash of a file; raises `SeedDatasetError` if it is not text in this encoding."""
    digest, decoder = hashlib.blake2b(), codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except (OSError, UnicodeError) as error:
        raise _cannot_read(path, encoding, error) from error
    return digest.digest()


def _cannot_read(path: Path, encoding: str | None, error: Exception) -> SeedDatasetError:
    reason = str(error)
    if isinstance(error, UnicodeDecodeError):
        with suppress(OSError):
            try:
                path.read_bytes().decode(encoding or "utf-8")
            except UnicodeDecodeError as found:
                before = found.object[: found.start].decode(encoding or "utf-8", errors="replace")
                reason = explain_bad_byte(found, before, encoding)
    return SeedDatasetError(f"seed file {show_path(path)!r} cannot be read as {encoding}: {reason}")
