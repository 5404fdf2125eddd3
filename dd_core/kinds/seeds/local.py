"""The `local` seed source: the rows of Parquet, CSV or JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import field_validator

from dd_core.declaration.trust import require_trust
from dd_core.declaration.written import Address, check_key
from dd_core.errors import Problem
from dd_core.kinds.seeds._files import LocalFiles, RemoteFiles, get_suffix, open_table
from dd_core.kinds.seeds._text import TextFileSource
from dd_core.kinds.seeds.seed import SeedTable


class LocalFileSeedSource(TextFileSource):
    """The rows of a file, or of all files in a folder with the same suffix, sorted by name."""

    seed_type: Literal["local"] = "local"
    path: Address
    """Path of a `.parquet`, `.csv`, `.json` or `.jsonl` file, or a pattern such as
    `folder/*.parquet`. A relative path is relative to the working directory. JSON files hold one
    object per line or an array of objects. URLs such as `s3://bucket/rows.parquet` are read through
    fsspec, with the credentials that its file systems find in the environment."""

    @field_validator("path", mode="before")
    @classmethod
    def _names_files(cls, given: Any) -> str:
        if not isinstance(given, str | Path):
            raise ValueError(f"path must be a string, not {type(given).__name__}")
        require_trust(f"reads {str(given)!r}")
        suffix = get_suffix(str(given))
        if str(given).startswith("hf://"):
            raise ValueError("use seed_type 'hf' for files on Hugging Face")
        if "://" in str(given):
            return str(given)
        path = Path(given)
        if "*" in str(path) and ("*" in str(path.parent) or path.name != f"*{suffix}"):
            raise ValueError(
                f"path {str(given)!r} may use a wildcard only as the file name, as in *{suffix}"
            )
        return str(given)

    def problems(self, place: str) -> Iterator[Problem]:
        """A missing file, or a URL with a password, which would be saved with the configuration."""
        if "://" not in self.path:
            files = LocalFiles(str(self.locate(self.path)))
            if not files.paths():
                message = "no file matches" if "*" in self.path else "there is no file"
                yield Problem(f"{place}.path", f"{message} {files.path!r}; check the path")
            return
        parts = urlsplit(self.path)
        if parts.username or parts.password:
            message = "must not contain a user or a password; put them in the environment"
            yield Problem(f"{place}.path", message)
            return
        yield from check_key(f"{place}.path", self.path)

    @classmethod
    def from_dataframe(cls, df: Any, path: str | Path) -> Self:
        """Write a pandas DataFrame to a Parquet file and use this file as the source."""
        df.to_parquet(path, index=False)
        return cls(path=str(path))

    @property
    def runtime_path(self) -> str:
        """The absolute path, or the URL."""
        return self.resolve_paths().path

    def resolve_paths(self) -> Self:
        """Return the source with an absolute path."""
        if "://" in self.path:
            return self
        return self.model_copy(update={"path": str(self.locate(self.path))})

    def open(self) -> SeedTable:
        """The table of the files. A process reads them once, as long as they do not change."""
        if "://" in self.path:
            return open_table(RemoteFiles(self.path), self.options)
        return open_table(LocalFiles(str(self.locate(self.path))), self.options)
