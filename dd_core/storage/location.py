"""Places that datasets are written to: folders, and prefixes of object storage.

What has an address with a scheme (`s3://`, `gs://`, `memory://` ...) is reached through fsspec and
has the methods of a path; everything else is a path.
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
_HERE = ("file", "local")


def is_remote(address: str | Location) -> bool:
    """Whether an address is one of object storage."""
    if isinstance(address, Path):
        return False
    found = _SCHEME.match(str(address))
    return found is not None and found[1].lower() not in _HERE


def parse_location(address: str | Location, options: Mapping[str, Any] | None = None) -> Location:
    """The folder or the prefix that an address names.

    `options` are those of the fsspec filesystem; without them it takes its credentials from where
    it always does, such as the environment. A location is given back as it is, with its options.
    """
    if not isinstance(address, str | Path):
        return address
    if not is_remote(address):
        text = str(address)
        return Path(_SCHEME.sub("", text)).expanduser().resolve()
    from upath import UPath

    # What other processes write meanwhile must be seen.
    given: dict[str, Any] = {"use_listings_cache": False, **(options or {})}
    try:
        place = UPath(str(address), **given)
        _files_of(place)  # made now, so that a missing package is missed now
        return place
    except (ImportError, ValueError) as error:
        raise ArtifactStorageError(
            f"{address} cannot be reached: {error}; install the fsspec package for it, "
            "for example s3fs for s3:// or gcsfs for gs://"
        ) from error


def put(path: Location, content: bytes | memoryview) -> None:
    """Write a file as a whole: readers see what was there before or all of it."""
    if not isinstance(path, Path):
        path.write_bytes(bytes(content))  # an object appears when it has been sent
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = stage_path(path)
    with staged.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


def read_content(path: Location) -> bytes:
    """A file as `put` has left it: in object storage with one request, between two of which the
    object could be replaced."""
    if isinstance(path, Path):
        return path.read_bytes()
    content: bytes = _files_of(path).cat_file(path.path)
    return content


def stage_path(path: Path) -> Path:
    """Where a file is written before it takes its place: hidden, so that readers pass over it, and
    no other process's, on whatever machine."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def list_files(folder: Location, pattern: str) -> list[tuple[Location, tuple[Any, ...]]]:
    """The files of a folder whose names fit, in order, each with what changes when it is replaced.

    One request to object storage, however many files there are.
    """
    if isinstance(folder, Path):
        here: list[tuple[Location, tuple[Any, ...]]] = []
        for path in sorted(folder.glob(pattern)):
            with suppress(FileNotFoundError):  # it has been removed meanwhile
                stat = path.stat()
                here.append((path, (stat.st_ino, stat.st_mtime_ns, stat.st_size)))
        return here
    import fnmatch

    try:
        entries: list[dict[str, Any]] = _files_of(folder).ls(folder.path, detail=True)
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
    """The files of a folder whose names fit, in order."""
    return [path for path, _ in list_files(folder, pattern)]


def resolve_within(folder: Location, name: str) -> Location | None:
    """The file of this name in a folder or below it; None if the name leads out of the folder."""
    if isinstance(folder, Path):
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) else None
    if is_remote(name) or name.startswith("/") or ".." in name.split("/"):
        return None
    return folder / name


def is_below(place: Location, folder: Location) -> bool:
    """Whether a place is in a folder or is the folder itself."""
    steps, above = str(place).rstrip("/").split("/"), str(folder).rstrip("/").split("/")
    return steps[: len(above)] == above and ".." not in steps


def sync_folder(folder: Location) -> None:
    """See to it that files which took their place in a folder keep it when the power fails."""
    if isinstance(folder, Path) and os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def replace_folder(folder: Location, by: Path) -> None:
    """Let the files of a folder be those of another one, which is used up.

    A folder on disk changes at once; in object storage its files change one by one.
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
    """Names and states of listed files, as JSON gives them back."""
    return [[path.name, *state] for path, state in files]


def open_readable(path: Any) -> Any:
    """What Arrow can read from: paths as they are, objects opened."""
    return path if isinstance(path, str | Path) or not hasattr(path, "fs") else path.open("rb")


def remove_tree(folder: Location) -> None:
    """Remove a folder with what is in it; fine if it is not there."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        _files_of(folder).rm(folder.path, recursive=True)


def _files_of(place: UPath) -> Any:
    """The fsspec filesystem behind a location."""
    return place.fs
