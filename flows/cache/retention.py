"""Lists stored results, and selects those that a retention rule removes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from dd_core.storage.batch import find_gaps
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, list_paths, read_content

from .keys import PARTS, parse_column, parse_owner, parse_range
from .listing import Listing, StoredFile

_SECONDS_PER_DAY = 86_400.0
_METADATA_SUFFIX = ".json"


@dataclass(frozen=True)
class StoredRange:
    """A stored result (of a column, or the rows of a batch) with its metadata."""

    folder: str
    fingerprint: str
    start: int
    stop: int
    files: tuple[StoredFile, ...]
    """The result and its metadata; one of them may be missing after a crash."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(file.size for file in self.files)

    @property
    def modified(self) -> float:
        """When the result was written, in seconds since 1970."""
        return max(file.modified for file in self.files)


@dataclass(frozen=True)
class StoredFingerprint:
    """All stored results of a column with one fingerprint."""

    folder: str
    fingerprint: str
    ranges: tuple[StoredRange, ...]

    @property
    def column(self) -> str | None:
        """Name of the column; None for the rows of batches."""
        return None if self.folder == PARTS else parse_column(self.folder)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(each.size for each in self.ranges)

    @property
    def modified(self) -> float:
        """When the newest result was written, in seconds since 1970."""
        return max(each.modified for each in self.ranges)

    def covered(self) -> list[tuple[int, int]]:
        """The stored rows as merged ranges, which neither overlap nor touch."""
        stored = sorted((each.start, each.stop) for each in self.ranges)
        stop = max(last for _, last in stored)
        merged: list[tuple[int, int]] = []
        position = 0
        # The merged ranges are what lies between the gaps.
        for first, last in [*find_gaps(stored, stop), (stop, stop)]:
            merged += [(position, first)] if first > position else []
            position = last
        return merged


@dataclass(frozen=True)
class Retention:
    """Rules for removing stored results. A result is removed if one of the rules selects it."""

    older_than: float | None = None
    """Remove results that were written more than this many seconds ago."""
    keep_latest: int | None = None
    """Number of fingerprints to keep per column, newest first."""
    max_size: int | None = None
    """Maximum total size in bytes. The oldest results are removed first."""

    def expired(self, stored: Iterable[StoredFingerprint], now: float) -> list[StoredRange]:
        """The results to remove, oldest first."""
        by_folder: dict[str, list[StoredFingerprint]] = {}
        for each in sorted(stored, key=lambda each: -each.modified):
            by_folder.setdefault(each.folder, []).append(each)
        everything: list[StoredRange] = []
        removed: list[StoredRange] = []
        for fingerprints in by_folder.values():
            for position, fingerprint in enumerate(fingerprints):
                everything += fingerprint.ranges
                surplus = self.keep_latest is not None and position >= self.keep_latest
                removed += [
                    each for each in fingerprint.ranges if surplus or self._is_old(each, now)
                ]
        removed += self._select_surplus(everything, {id(each) for each in removed})
        return sorted(removed, key=lambda each: each.modified)

    def _is_old(self, stored: StoredRange, now: float) -> bool:
        return self.older_than is not None and now - stored.modified > self.older_than

    def _select_surplus(
        self, everything: Sequence[StoredRange], removed: set[int]
    ) -> list[StoredRange]:
        """The oldest results that exceed `max_size`."""
        if self.max_size is None:
            return []
        kept = sorted(
            (each for each in everything if id(each) not in removed), key=lambda each: each.modified
        )
        size, surplus = sum(each.size for each in kept), list[StoredRange]()
        while kept and size > self.max_size:
            surplus.append(kept.pop(0))
            size -= surplus[-1].size
        return surplus


def list_stored(listing: Listing, folder: str | None = None) -> list[StoredFingerprint]:
    """The stored results, of one folder or of all; ignores files that the cache did not write."""
    found: dict[tuple[str, str], dict[tuple[int, int], list[StoredFile]]] = {}
    for file in listing.files(folder or ""):
        owner, rows = parse_owner(file.key), parse_range(file.key.removesuffix(_METADATA_SUFFIX))
        if owner is not None and rows is not None:
            found.setdefault(owner, {}).setdefault(rows, []).append(file)
    return [
        StoredFingerprint(
            *owner,
            tuple(StoredRange(*owner, *rows, tuple(files)) for rows, files in ranges.items()),
        )
        for owner, ranges in sorted(found.items())
    ]


def remove(listing: Listing, expired: Iterable[StoredRange]) -> int:
    """Remove results and their metadata; returns the removed bytes."""
    size = 0
    for each in expired:
        size += each.size
        # The metadata goes first. Without it, Prefect no longer finds the result.
        for file in sorted(each.files, key=lambda file: file.key, reverse=True):
            listing.remove(file.key)
    return size


def remove_older(listing: Listing, folders: Iterable[str], days: float) -> int:
    """Remove old results of columns, given by their folders, and old rows of batches."""
    names = {folder.split("/")[0] for folder in folders}
    stored = [each for name in sorted({*names, PARTS}) for each in list_stored(listing, name)]
    return remove(
        listing, Retention(older_than=days * _SECONDS_PER_DAY).expired(stored, time.time())
    )


def find_datasets(artifact_path: str | Location) -> dict[str, list[str]]:
    """The names of the datasets in a folder, by the fingerprints of their columns."""
    found: dict[str, list[str]] = {}
    below = DatasetDirectory.place(artifact_path, "any").path.parent
    for path in list_paths(below, "*"):
        try:
            content = read_content(path / "metadata.json")
            fingerprints = orjson.loads(content).get("column_fingerprints", {})
        except (OSError, ValueError):
            continue
        for fingerprint in fingerprints.values():
            found.setdefault(str(fingerprint), []).append(path.name)
    return found
