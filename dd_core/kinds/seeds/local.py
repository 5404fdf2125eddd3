"""Seed rows from Parquet, CSV or JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import field_validator

from dd_core.errors import Problem
from dd_core.kinds.seeds._files import LocalFiles, RemoteFiles, get_suffix, open_table
from dd_core.kinds.seeds.seed import SeedSource, SeedTable


class LocalFileSeedSource(SeedSource):
    """A file, or all files of a folder that have the same suffix, in order of their names."""

    seed_type: Literal["local"] = "local"
    path: str
    """A .parquet, .csv, .json or .jsonl file, or `folder/*.parquet` and the like. JSON is one
    object a line or an array of objects. Addresses such as `s3://bucket/rows.parquet` are read
    through fsspec, with the credentials that its file systems find in the environment."""

    @field_validator("path", mode="before")
    @classmethod
    def _exists(cls, given: Any) -> str:
        if not isinstance(given, str | Path):
            raise ValueError(f"path must be text, not {type(given).__name__}")
        suffix = get_suffix(str(given))
        if str(given).startswith("hf://"):
            raise ValueError("use seed_type 'hf' for files on Hugging Face")
        if "://" in str(given):
            return str(given)
        path = Path(given).expanduser().absolute()
        wildcard = "*" in str(path)
        if wildcard and ("*" in str(path.parent) or path.name != f"*{suffix}"):
            raise ValueError(
                f"path {str(given)!r} may have a wildcard only as file name, like *{suffix}"
            )
        if not LocalFiles(str(path)).paths():
            what = "no file matches" if wildcard else "there is no file"
            raise ValueError(f"{what} {str(path)!r}; check the path")
        return str(path)

    def problems(self, place: str) -> Iterator[Problem]:
        """Addresses must not hold what nobody else may see."""
        if "://" in self.path and urlsplit(self.path).password:
            message = "must not hold a password; give it in the environment"
            yield Problem(f"{place}.path", message)

    @classmethod
    def from_dataframe(cls, df: Any, path: str | Path) -> Self:
        """Write a pandas data frame to a Parquet file and use that."""
        df.to_parquet(path, index=False)
        return cls(path=str(path))

    def open(self) -> SeedTable:
        """The table; it is read once a process for as long as the files do not change."""
        remote = "://" in self.path
        return open_table(RemoteFiles(self.path) if remote else LocalFiles(self.path))
