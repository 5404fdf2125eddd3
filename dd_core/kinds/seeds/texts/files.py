"""Finds documents on disk and in object storage, and reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dd_core.errors import SeedDatasetError
from dd_core.kinds.seeds._files import (
    LocalFiles,
    RemoteFiles,
    Stamp,
    find_matches,
    split_pattern,
)
from dd_core.kinds.seeds._text import show_path


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file that may be a document."""

    document_id: str
    """The path of the file below the folder in which documents are looked for."""
    stamp: Stamp
    """Path, version and size."""

    @property
    def name(self) -> str:
        """The path of the file, for reading it."""
        return self.stamp[0]


def find_files(path: str, *, recursive: bool) -> list[DocumentFile]:
    """The file at a path, those in a folder, or those that match a pattern, sorted by path.

    Hidden files and folders are left out, and so are links that lead out of the folder. Raises
    `SeedDatasetError` if there is nothing at this path.
    """
    try:
        if "://" in path:
            found = [*_find_remote(path, recursive=recursive)]
        else:
            found = [*_find_local(Path(path), recursive=recursive)]
    except SeedDatasetError:
        raise
    except Exception as error:  # each file system raises its own errors
        raise SeedDatasetError(f"{show_path(path)!r} cannot be read: {error}") from error
    if not found:
        raise SeedDatasetError(f"there is no document at {show_path(path)!r}; check the path")
    return sorted(found, key=lambda file: file.document_id)


def read_file(path: str, file: DocumentFile) -> bytes:
    """The content of a file that was found at a path."""
    files = RemoteFiles(path) if "://" in path else LocalFiles(path)
    with files.open(file.name) as opened:
        return opened.read()


def _find_local(path: Path, *, recursive: bool) -> Iterator[DocumentFile]:
    if path.is_file():
        root, found = path.parent, iter([path])
    elif path.is_dir():
        root, found = path, path.rglob("*") if recursive else path.glob("*")
    else:
        named, pattern = split_pattern(path.as_posix(), lambda name: Path(name).exists())
        root = Path(named)
        found = root.glob(pattern) if pattern else iter(())
    resolved = root.resolve()
    for each in found:
        below = each.relative_to(root)
        if each.is_file() and not _is_hidden(below) and each.resolve().is_relative_to(resolved):
            stat = each.stat()
            stamp = (str(each), str(stat.st_mtime_ns), stat.st_size)
            yield DocumentFile(show_path(below.as_posix()), stamp)


def _find_remote(url: str, *, recursive: bool) -> Iterator[DocumentFile]:
    if url.startswith(("http://", "https://")):
        yield DocumentFile(PurePosixPath(url.partition("?")[0]).name or url, (url, "", 0))
        return
    files = RemoteFiles(url)
    system, path = files.find_system()
    system.invalidate_cache()
    named, pattern = split_pattern(path, system.exists)
    root = PurePosixPath(named)
    if pattern:
        names = find_matches(system, path)
    elif system.isfile(path):
        root, names = root.parent, [path]
    else:
        names = system.find(path, maxdepth=None if recursive else 1)
    for name in names:
        below = PurePosixPath("/", name).relative_to(PurePosixPath("/", root))
        if not _is_hidden(below) and not system.isdir(name):
            yield DocumentFile(str(below), files.find_stamp(system, name))


def _is_hidden(path: Path | PurePosixPath) -> bool:
    return any(part.startswith(".") for part in path.parts)
