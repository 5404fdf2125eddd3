"""Which files a result storage holds, for those storages that can say it.

Prefect's contract of a storage is to read and write; folders on disk and blocks that have an
fsspec filesystem behind them can be listed, and files in them removed.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, cast

from prefect.filesystems import LocalFileSystem, WritableFileSystem

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Where filesystems say when a file was written."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a storage."""

    key: str
    """Its path from the storage's root."""
    size: int
    modified: float
    """Seconds since 1970."""


class Listing(ABC):
    """The files of a storage. Every method waits for the storage: call it in a thread."""

    @abstractmethod
    def files(self, folder: str = "") -> list[StoredFile]:
        """All files below a folder; none if it does not exist."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a file, if it is there, and folders that are empty without it."""


def make_listing(storage: WritableFileSystem) -> Listing | None:
    """The files of a storage; None if it cannot list them."""
    if isinstance(storage, LocalFileSystem):
        return _Folder(Path(storage.basepath or ".").expanduser().resolve())
    behind: Any = getattr(storage, "filesystem", None)
    if isinstance(behind, WritableFileSystem):  # a block around another one
        return make_listing(behind)
    base: Any = getattr(storage, "basepath", None)
    if hasattr(behind, "find") and isinstance(base, str):
        return _Remote(behind, base)
    return None


class _Folder(Listing):
    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self, folder: str = "") -> list[StoredFile]:
        """All files below a folder."""
        found: list[StoredFile] = []
        for path in (self._root / folder).rglob("*"):
            with suppress(FileNotFoundError):  # removed meanwhile
                if path.is_file() and not path.is_symlink():
                    facts, key = path.stat(), path.relative_to(self._root).as_posix()
                    found.append(StoredFile(key, facts.st_size, facts.st_mtime))
        return found

    def remove(self, key: str) -> None:
        """Remove a file."""
        path = self._root / key
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for parent in path.parents:
                if parent == self._root:
                    break
                parent.rmdir()


class _Remote(Listing):
    def __init__(self, filesystem: Any, base: str) -> None:
        self._filesystem = filesystem
        self._root = str(filesystem._strip_protocol(base)).rstrip("/")

    def files(self, folder: str = "") -> list[StoredFile]:
        """All files below a folder."""
        self._filesystem.invalidate_cache()  # others write here too
        try:
            found = self._filesystem.find(f"{self._root}/{folder}".rstrip("/"), detail=True)
        except FileNotFoundError:
            return []
        return [
            StoredFile(self._key(path), int(facts.get("size") or 0), _modified(facts))
            for path, facts in cast("Mapping[str, Mapping[str, Any]]", found).items()
        ]

    def remove(self, key: str) -> None:
        """Remove a file; stores of objects have no folders to remove."""
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._root}/{key}")

    def _key(self, path: str) -> str:
        return PurePosixPath(path).relative_to(self._root or "/").as_posix()


def _modified(facts: Mapping[str, Any]) -> float:
    """When a file was written; now, if the filesystem does not say."""
    for name in _TIMES:
        value = facts.get(name)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    return time.time()
