"""Lists and removes the files of a result storage, if the storage supports it.

Prefect's interface of a storage can only read and write files. Folders on disk and blocks that use
an fsspec filesystem can also list and remove them.
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

_TIME_FIELDS = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Names under which filesystems report when a file was written."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a storage."""

    key: str
    """Path relative to the root of the storage."""
    size: int
    """Size in bytes."""
    modified: float
    """Time of the last change, in seconds since 1970."""


class Listing(ABC):
    """The files of a storage. Its methods block, so call them in a thread."""

    @abstractmethod
    def files(self, folder: str = "") -> list[StoredFile]:
        """All files below a folder; empty if it does not exist."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a file, if it exists, and the folders that are empty without it."""


def make_listing(storage: WritableFileSystem) -> Listing | None:
    """A listing of the storage; None if the storage cannot list files."""
    if isinstance(storage, LocalFileSystem):
        return _Folder(Path(storage.basepath or ".").expanduser().resolve())
    filesystem: Any = getattr(storage, "filesystem", None)
    if isinstance(filesystem, WritableFileSystem):  # a block that wraps another block
        return make_listing(filesystem)
    base: Any = getattr(storage, "basepath", None)
    if hasattr(filesystem, "find") and isinstance(base, str):
        return _Remote(filesystem, base)
    return None


class _Folder(Listing):
    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self, folder: str = "") -> list[StoredFile]:
        """All files below a folder."""
        found: list[StoredFile] = []
        for path in (self._root / folder).rglob("*"):
            with suppress(FileNotFoundError):  # another process removed it
                if path.is_file() and not path.is_symlink():
                    stat, key = path.stat(), path.relative_to(self._root).as_posix()
                    found.append(StoredFile(key, stat.st_size, stat.st_mtime))
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
        self._filesystem.invalidate_cache()  # other processes write here too
        try:
            found = self._filesystem.find(f"{self._root}/{folder}".rstrip("/"), detail=True)
        except FileNotFoundError:
            return []
        return [
            StoredFile(self._key(path), int(info.get("size") or 0), _parse_time(info))
            for path, info in cast("Mapping[str, Mapping[str, Any]]", found).items()
        ]

    def remove(self, key: str) -> None:
        """Remove a file. Object storage has no folders to remove."""
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._root}/{key}")

    def _key(self, path: str) -> str:
        return PurePosixPath(path).relative_to(self._root or "/").as_posix()


def _parse_time(info: Mapping[str, Any]) -> float:
    """When a file was written; the current time if the filesystem does not report it."""
    for name in _TIME_FIELDS:
        value = info.get(name)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    return time.time()
