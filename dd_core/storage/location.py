"""Locations that datasets are written to: folders, and prefixes in object storage.

An address with a scheme (`s3://`, `gs://`, `memory://`, ...) is accessed through fsspec and has the
methods of a path. Every other address is a path.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dd_core.errors import ArtifactStorageError

if TYPE_CHECKING:
    from upath import UPath


Location: TypeAlias = "Path | UPath"

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_PASSWORD = re.compile(r"//[^/?#\s]*:[^/?#\s]*@")
_LOCAL_SCHEMES = ("file", "local")
_LONGEST_NAME = 200
"""Bytes of a name. File systems allow 255; the rest is for suffixes of ours."""


def is_remote(address: str | Location) -> bool:
    """Whether an address is in object storage."""
    if isinstance(address, Path):
        return False
    found = _SCHEME.match(str(address))
    return found is not None and found[1].lower() not in _LOCAL_SCHEMES


def parse_location(address: str | Location, options: Mapping[str, Any] | None = None) -> Location:
    """Return the folder or the object storage prefix that an address names.

    `options` are passed to the fsspec filesystem. Without them, it reads credentials from its usual
    sources, such as environment variables. A location is returned unchanged, with its options.
    """
    if not isinstance(address, str | Path):
        return address
    if not is_remote(address):
        text = _SCHEME.sub("", str(address))
        for step in Path(text).parts:
            require_short_name("artifact_path", step, limit=255)
        return Path(text).expanduser().resolve()
    if _PASSWORD.search(str(address)):
        raise ArtifactStorageError(
            "artifact_path contains a password, which would be written to logs and results; put "
            "the credentials into the environment or into the options of a storage block"
        )
    from upath import UPath

    # Files that other processes write in the meantime must be found.
    given: dict[str, Any] = {"use_listings_cache": False, **(options or {})}
    try:
        location = UPath(str(address), **given)
        _filesystem(location)  # created now, so that a missing package is reported now
        return location
    except (ImportError, ValueError) as error:
        raise ArtifactStorageError(
            f"{address} cannot be reached: {error}; install the fsspec package for it, "
            "for example s3fs for s3:// or gcsfs for gs://"
        ) from error


def require_short_name(what: str, name: str, limit: int = _LONGEST_NAME) -> None:
    """Raise `ArtifactStorageError` if a folder or file cannot have this name in every storage."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ArtifactStorageError(f"{what} {name!a} is not valid text; rename it") from None
    if "\0" in name:
        raise ArtifactStorageError(f"{what} {name!r} contains a null character; rename it")
    if length > limit:
        raise ArtifactStorageError(
            f"{what} '{name[:20]}...' has {length} bytes; use at most {limit}"
        )


def require_folder(path: Location) -> None:
    """Raise `ArtifactStorageError` if no folder can be at this path, because a file is there."""
    if not isinstance(path, Path):
        return
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if os.path.lexists(place):
            raise ArtifactStorageError(
                f"{place} is a file, but a folder is needed there; choose another path"
            )


def put(path: Location, content: bytes | memoryview) -> None:
    """Write a file atomically: readers see the old content or all of the new content."""
    if not isinstance(path, Path):
        path.write_bytes(bytes(content))  # an object appears once it is complete
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = stage_path(path)
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:  # a full disk needs the space
        with suppress(OSError):
            staged.unlink(missing_ok=True)
        raise


def read_content(path: Location) -> bytes:
    """Read a file that `put` wrote.

    In object storage this takes a single request, because the object could be replaced between two.
    """
    if isinstance(path, Path):
        return path.read_bytes()
    content: bytes = _filesystem(path).cat_file(path.path)
    return content


def read_modified(path: Location) -> float | None:
    """When a file was last written, in seconds since 1970 by the clock of its storage.

    None if the storage does not say so. Raises `FileNotFoundError` if there is no such file.
    """
    if isinstance(path, Path):
        return path.stat().st_mtime
    try:
        modified: float = _filesystem(path).modified(path.path).timestamp()
        return modified
    except (NotImplementedError, AttributeError, KeyError):
        return None


def read_end(path: Location, size: int, count: int) -> bytes:
    """Read the last `count` bytes of a file of `size` bytes, or all of them if it is shorter."""
    start = max(0, size - count)
    if isinstance(path, Path):
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    content: bytes = _filesystem(path).cat_file(path.path, start=start, end=size)
    return content


def get_size(path: Location) -> int:
    """Return the size of a file in bytes; raises `FileNotFoundError` if it does not exist."""
    return path.stat().st_size if isinstance(path, Path) else int(_filesystem(path).size(path.path))


def stage_path(path: Path) -> Path:
    """Return the path that a file is written to before it replaces `path`.

    The name is hidden, so that readers skip it, and random, so that no other process on any machine
    uses it.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def list_files(folder: Location, pattern: str) -> list[tuple[Location, tuple[Any, ...]]]:
    """List the files of a folder that match a pattern, sorted by name, each with its state.

    The state changes when the file is replaced. In object storage, listing takes one request,
    regardless of the number of files.
    """
    if isinstance(folder, Path):
        here: list[tuple[Location, tuple[Any, ...]]] = []
        for path in sorted(folder.glob(pattern)):
            with suppress(FileNotFoundError):  # removed in the meantime
                stat = path.stat()
                here.append((path, (stat.st_ino, stat.st_mtime_ns, stat.st_size)))
        return here
    import fnmatch

    try:
        entries: list[dict[str, Any]] = _filesystem(folder).ls(folder.path, detail=True)
    except FileNotFoundError:
        return []
    found: list[tuple[Location, tuple[Any, ...]]] = []
    for entry in sorted(entries, key=lambda each: str(each["name"])):
        name = str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]
        if fnmatch.fnmatch(name, pattern):
            changed = entry.get("ETag") or entry.get("etag") or entry.get("mtime")
            found.append((folder / name, (str(changed or entry.get("created")), entry["size"])))
    return found


def list_paths(folder: Location, pattern: str) -> list[Location]:
    """List the files of a folder that match a pattern, sorted by name."""
    return [path for path, _ in list_files(folder, pattern)]


def resolve_within(folder: Location, name: str) -> Location | None:
    """Return the file of this name in or below a folder; None if the name leads out of it."""
    if isinstance(folder, Path):
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) else None
    if is_remote(name) or name.startswith("/") or ".." in name.split("/"):
        return None
    return folder / name


def is_below(location: Location, folder: Location) -> bool:
    """Whether a location is in a folder or is the folder itself."""
    steps, above = str(location).rstrip("/").split("/"), str(folder).rstrip("/").split("/")
    return steps[: len(above)] == above and ".." not in steps


def sync_folder(folder: Location) -> None:
    """Make sure that the files written to a folder survive a power failure."""
    if isinstance(folder, Path) and os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def replace_folder(folder: Location, by: Path) -> None:
    """Replace the files of a folder by those of another folder, which must not be used afterwards.

    A folder on disk changes as a whole; in object storage, files are replaced one by one.
    """
    if isinstance(folder, Path):
        former = folder.with_name(f".{folder.name}.former")
        if folder.exists():
            folder.replace(former)
        by.replace(folder)
        shutil.rmtree(former, ignore_errors=True)
        return
    files = sorted(by.iterdir())
    for file in files:
        put(folder / file.name, file.read_bytes())
    for path in list_paths(folder, "*"):
        if path.name not in {file.name for file in files}:
            path.unlink()


def stamp_files(files: Iterable[tuple[Location, tuple[Any, ...]]]) -> list[list[Any]]:
    """Return the names and states of listed files, as JSON types."""
    return [[path.name, *state] for path, state in files]


def remove_tree(folder: Location) -> None:
    """Remove a folder and its content, if it exists."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        _filesystem(folder).rm(folder.path, recursive=True)


def _filesystem(location: UPath) -> Any:
    """The fsspec filesystem of a location."""
    return location.fs
