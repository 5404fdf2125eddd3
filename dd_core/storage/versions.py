"""The versions of a dataset: `<dataset>/versions/<version>/`, and which of them is the latest.

`latest.json` names the latest one. It is a file because object storage has no links, and its path
is relative so that the folder can be moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from dd_core.errors import ArtifactStorageError
from dd_core.storage.directory import VERSIONS, DatasetDirectory
from dd_core.storage.location import read_content

_LATEST = "latest.json"
_NUMBER = re.compile(r"(\d+)")
_ABANDONED = timedelta(days=7)
"""Time since its start after which an unfinished version counts as abandoned."""


class Versions:
    """The versions below a dataset's folder."""

    def __init__(self, place: DatasetDirectory) -> None:
        self._place = place
        self._folder = place.path / VERSIONS

    @classmethod
    def around(cls, version: DatasetDirectory) -> Versions:
        """Return the versions of the dataset that a version belongs to."""
        return cls(DatasetDirectory(version.dataset_path))

    def names(self) -> list[str]:
        """The names of the versions in order; numbers within names compare as numbers."""
        if not self._folder.is_dir():
            return []
        folders = [path.name for path in self._folder.iterdir() if path.is_dir()]
        return sorted(folders, key=_order)

    def directory(self, name: str) -> DatasetDirectory:
        """The directory of a version."""
        return DatasetDirectory(self._folder / name, name)

    @property
    def latest(self) -> str | None:
        """Name of the newest accepted version; None if there is none."""
        try:
            found: dict[str, Any] = orjson.loads(read_content(self._place.path / _LATEST))
            return str(found["version"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactStorageError(
                f"{self._place.path / _LATEST} is damaged: {error}; remove it and run again"
            ) from error

    def before(self, version: str) -> DatasetDirectory | None:
        """The newest accepted version that precedes the given one; None if there is none."""
        earlier = [name for name in self.names() if _order(name) < _order(version)]
        for name in reversed(earlier):
            if (directory := self.directory(name)).accepted:
                return directory
        return None

    def settle(self, version: DatasetDirectory) -> bool:
        """Update `latest.json` after a version was evaluated; returns whether it is now the latest.

        A version that is older than the latest changes nothing. Neither does a version that failed
        its gates, unless it was the latest itself: then the accepted version before it becomes the
        latest again.
        """
        name, latest = version.path.name, self.latest
        if version.accepted and (latest is None or _order(latest) <= _order(name)):
            self._point_to(version)
            return True
        if not version.accepted and latest == name:
            former = self.before(name)
            if former is not None:
                self._point_to(former)
            else:
                (self._place.path / _LATEST).unlink()
        return False

    def prune(self, keep: int) -> list[str]:
        """Remove versions older than the newest `keep` accepted ones; returns the removed names.

        The latest version stays. An unfinished version stays unless it was started more than a week
        ago.
        """
        found = {name: self.directory(name) for name in reversed(self.names())}
        accepted = [name for name, directory in found.items() if directory.accepted]
        if len(accepted) < keep:
            return []
        oldest, latest = _order(accepted[keep - 1]), self.latest
        removed = [
            name
            for name, directory in found.items()
            if _order(name) < oldest and name != latest and _is_settled(directory)
        ]
        for name in removed:
            found[name].remove()
        return removed

    def _point_to(self, version: DatasetDirectory) -> None:
        content = {
            "version": version.path.name,
            "path": f"{VERSIONS}/{version.path.name}",
            "rows": version.metadata.actual_num_records,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._place.write_text(_LATEST, orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())


def settle_version(version: DatasetDirectory, keep: int | None) -> None:
    """Update `latest.json` after a version was evaluated; if it is now the latest, remove old ones.

    `keep` is the number of accepted versions to keep; None keeps all.
    """
    versions = Versions.around(version)
    is_latest = versions.settle(version)
    if (
        is_latest and keep is not None
    ):  # a backfill must not remove the version that it has just generated
        versions.prune(keep)


def find_current(place: DatasetDirectory) -> DatasetDirectory:
    """Return the directory with a dataset's rows: the latest version if it has versions."""
    versions = Versions(place)
    latest = versions.latest
    if latest is not None:
        return DatasetDirectory.place_version(place.path, latest)
    if names := versions.names():
        raise ArtifactStorageError(
            f"no version of {place.path} has been accepted yet; open one of {names} by name"
        )
    return place


def list_dates(first: str, last: str) -> Iterator[str]:
    """Yield the days from one ISO date to another, both included, as version names."""
    try:
        day, end = datetime.fromisoformat(first).date(), datetime.fromisoformat(last).date()
    except ValueError as error:
        raise ArtifactStorageError(f"{error}; write dates like 2026-11-24") from None
    while day <= end:
        yield day.isoformat()
        day += timedelta(days=1)


def _order(name: str) -> list[tuple[int, str]]:
    """Sort key of a version name: `v9` precedes `v10`, and dates are sorted by time."""
    pieces = _NUMBER.split(name)
    return [(int(piece), "") if at % 2 else (-1, piece) for at, piece in enumerate(pieces)]


def _is_settled(directory: DatasetDirectory) -> bool:
    if directory.accepted is not None:
        return True
    started = directory.metadata.started_at
    return started is None or datetime.now(UTC) - datetime.fromisoformat(started) > _ABANDONED
