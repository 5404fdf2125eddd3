"""Which stored results there are, and which of them to remove."""

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

_DAY = 86_400.0
_RECORD = ".json"


@dataclass(frozen=True)
class StoredRange:
    """A stored result, of a column or of a batch's rows, with Prefect's record of it."""

    folder: str
    fingerprint: str
    start: int
    stop: int
    files: tuple[StoredFile, ...]
    """One or two: either may be missing after a crash."""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def modified(self) -> float:
        """When it was written, in seconds since 1970."""
        return max(file.modified for file in self.files)


@dataclass(frozen=True)
class StoredFingerprint:
    """All that is stored of a column as one configuration makes it."""

    folder: str
    fingerprint: str
    ranges: tuple[StoredRange, ...]

    @property
    def column(self) -> str | None:
        """The column's name; None for the batches' rows."""
        return None if self.folder == PARTS else parse_column(self.folder)

    @property
    def size(self) -> int:
        return sum(each.size for each in self.ranges)

    @property
    def modified(self) -> float:
        """When something of it was last written."""
        return max(each.modified for each in self.ranges)

    def covered(self) -> list[tuple[int, int]]:
        """The rows as ranges that do not touch."""
        held = sorted((each.start, each.stop) for each in self.ranges)
        stop = max(last for _, last in held)
        joined: list[tuple[int, int]] = []
        position = 0
        for first, last in [*find_gaps(held, stop), (stop, stop)]:
            joined += [(position, first)] if first > position else []
            position = last
        return joined


@dataclass(frozen=True)
class Retention:
    """What is removed: whatever one of these rules says."""

    older_than: float | None = None
    """Seconds since a result was written."""
    keep_latest: int | None = None
    """Fingerprints of each column that stay, those written last."""
    max_size: int | None = None
    """Bytes that stay at most; the oldest results go first."""

    def expired(self, stored: Iterable[StoredFingerprint], now: float) -> list[StoredRange]:
        """The results to remove, oldest first."""
        by_folder: dict[str, list[StoredFingerprint]] = {}
        for each in sorted(stored, key=lambda each: -each.modified):
            by_folder.setdefault(each.folder, []).append(each)
        everything: list[StoredRange] = []
        gone: list[StoredRange] = []
        for fingerprints in by_folder.values():
            for place, fingerprint in enumerate(fingerprints):
                everything += fingerprint.ranges
                surplus = self.keep_latest is not None and place >= self.keep_latest
                gone += [each for each in fingerprint.ranges if surplus or self._is_old(each, now)]
        gone += self._surplus(everything, {id(each) for each in gone})
        return sorted(gone, key=lambda each: each.modified)

    def _is_old(self, stored: StoredRange, now: float) -> bool:
        return self.older_than is not None and now - stored.modified > self.older_than

    def _surplus(self, everything: Sequence[StoredRange], gone: set[int]) -> list[StoredRange]:
        left = sorted(
            (each for each in everything if id(each) not in gone), key=lambda each: each.modified
        )
        if self.max_size is None:
            return []
        size, surplus = sum(each.size for each in left), list[StoredRange]()
        while left and size > self.max_size:
            surplus.append(left.pop(0))
            size -= surplus[-1].size
        return surplus


def list_stored(listing: Listing, folder: str | None = None) -> list[StoredFingerprint]:
    """What is stored, of one folder or of all; files that are not ours are passed over."""
    found: dict[tuple[str, str], dict[tuple[int, int], list[StoredFile]]] = {}
    for file in listing.files(folder or ""):
        owner, rows = parse_owner(file.key), parse_range(file.key.removesuffix(_RECORD))
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
    """Remove results and their records; returns the bytes that they took."""
    size = 0
    for each in expired:
        size += each.size
        for file in sorted(each.files, key=lambda file: file.key, reverse=True):  # records first
            listing.remove(file.key)
    return size


def remove_older(listing: Listing, folders: Iterable[str], days: float) -> int:
    """Remove what is older of columns, given by folders of theirs, and of batches' rows."""
    names = {folder.split("/")[0] for folder in folders}
    stored = [each for name in sorted({*names, PARTS}) for each in list_stored(listing, name)]
    return remove(listing, Retention(older_than=days * _DAY).expired(stored, time.time()))


def find_datasets(artifact_path: str | Location) -> dict[str, list[str]]:
    """Names of the datasets in a folder by the fingerprints of their columns."""
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
