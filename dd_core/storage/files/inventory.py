"""Compares the files of a dataset with what its metadata records about them.

While a run is in progress, or after it was killed, there may be files that are not recorded yet,
and recorded files may have been rewritten. Then only what is recorded must exist, and each part
must fit what it says about itself: its name, its dataset, and rows that no other part has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from dd_core.errors import DatasetDamagedError
from dd_core.storage.batch import ROWS_KEY, Part
from dd_core.storage.files.metadata import DatasetMetadata, FileRecord
from dd_core.storage.files.parquet import parse_footer
from dd_core.storage.files.seal import (
    DamagedFileError,
    check_content,
    explain_repair,
    read_footer,
)
from dd_core.storage.location import Location, read_content

ListedFiles = Sequence[tuple[Location, tuple[Any, ...]]]
"""Files with their states, the last member of which is the size in bytes."""
_CACHED_FILES = 4_096


@dataclass(frozen=True)
class Damage:
    """A file of a dataset that is missing or not what was written."""

    path: Location
    reason: str
    """Completes a sentence that starts with the path."""
    start: int | None = None
    """First row of the dataset that is affected, if known."""
    stop: int | None = None
    is_missing: bool = False
    is_extra: bool = False
    """Whether the file itself is readable, but is none that the dataset has."""

    @property
    def rows(self) -> int:
        """Number of affected rows of the dataset; 0 if none are affected, or not known."""
        return (self.stop or 0) - (self.start or 0)

    def __str__(self) -> str:
        place = f"{self.path.parent.name}/{self.path.name}"
        if self.start is None or self.stop is None:
            return f"{place} {self.reason}"
        return f"{place} {self.reason} (rows {self.start:,} to {self.stop - 1:,})"


@dataclass(frozen=True)
class FoundFile:
    """A file whose footer is intact."""

    rows: int
    size: int
    checksum: str | None
    metadata: Mapping[bytes, bytes]

    def to_record(self, part: Part | None = None) -> FileRecord:
        """What the metadata records about the file."""
        known = {"rows": self.rows, "size": self.size, "checksum": self.checksum}
        if part is None:
            return FileRecord.model_validate(known)
        return FileRecord(**known, start=part.start, stop=part.stop)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=_CACHED_FILES)
def find_file(path: Location, state: tuple[Any, ...]) -> FoundFile:
    """Read the footer of a file; raises `DamagedFileError`.

    `state` changes when the file is replaced. It is part of the cache key: a run lists its parts
    often, and reads only the new ones.
    """
    footer = read_footer(path, state[-1])
    known = parse_footer(footer)
    return FoundFile(known.num_rows, footer.size, footer.checksum, known.metadata or {})


@dataclass(frozen=True)
class Inventory:
    """The files of one folder: those that are intact, and what is wrong with the others."""

    files: Mapping[str, FoundFile]
    parts: Sequence[Part]
    """The intact parts in row order, if the folder has parts."""
    damage: Sequence[Damage]

    def count_rows(self) -> int:
        """Number of rows in the intact files."""
        return sum(file.rows for file in self.files.values())

    def to_records(self, known: Mapping[str, FileRecord]) -> dict[str, FileRecord]:
        """What the metadata records: the intact files, and those that are still to be restored."""
        parts = {part.path.name: part for part in self.parts}
        found = {name: file.to_record(parts.get(name)) for name, file in self.files.items()}
        for name, record in known.items():
            if name not in found and not is_covered(record, self.parts):
                found[name] = record
        return dict(sorted(found.items()))


def is_covered(record: FileRecord, parts: Iterable[Part]) -> bool:
    """Whether parts have rows of a recorded one."""
    if record.start is None or record.stop is None:
        return False
    return any(part.start < record.stop and part.stop > record.start for part in parts)


def make_origin(metadata: DatasetMetadata) -> str | None:
    """Return what the parts of a dataset record about where they belong: its plan and its seed."""
    if metadata.plan_hash is None or metadata.seed is None:
        return None
    return _name_origin(metadata.plan_hash, metadata.seed)


def _list_origins(metadata: DatasetMetadata) -> list[str]:
    """What parts that belong to the dataset may record; empty if that is not known."""
    if metadata.plan_hash is None or metadata.seed is None:
        return []
    plans = [metadata.plan_hash, *metadata.earlier_plan_hashes]
    return [_name_origin(plan, metadata.seed) for plan in plans]


def _name_origin(plan_hash: str, seed: int) -> str:
    return hashlib.blake2b(f"{plan_hash}:{seed}".encode(), digest_size=8).hexdigest()


def list_records(metadata: DatasetMetadata, folder: str) -> dict[str, FileRecord]:
    """The records of a folder's files; of datasets of earlier versions, only their names."""
    if metadata.files:
        return metadata.files.get(folder, {})
    names = [name.split("/") for name in metadata.file_paths.get(folder, [])]
    return {name[-1]: FileRecord() for name in names if name[0] == folder}


def inspect_files(
    folder: Location,
    listed: ListedFiles,
    records: Mapping[str, FileRecord],
    metadata: DatasetMetadata,
    *,
    have_parts: bool,
) -> Inventory:
    """Compare the listed files of a folder with their records. Reads only footers."""
    files: dict[str, FoundFile] = {}
    parts: list[Part] = []
    damage: list[Damage] = []
    for path, state in listed:
        record = records.get(path.name)
        found = None
        try:
            found = find_file(path, state)
            _require_recorded(found, record, is_settled=bool(metadata.is_settled))
            if have_parts:
                parts.append(_require_part(path, found, record, metadata))
            files[path.name] = found
        except DamagedFileError as error:
            known = _describe(path, str(error), record, state[-1])
            damage.append(replace(known, is_extra=found is not None and record is None))
        except FileNotFoundError:  # removed since it was listed
            continue
    copies = [replace(each, is_extra=each.path.name not in records) for each in _find_copies(parts)]
    parts = [part for part in parts if part.path not in {each.path for each in copies}]
    present = {path.name for path, _ in listed}
    missing = [
        Damage(folder / name, "is missing", record.start, record.stop, is_missing=True)
        for name, record in sorted(records.items())
        if name not in present and not is_covered(record, parts)
    ]
    for each in copies:
        del files[each.path.name]
    parts.sort(key=lambda part: part.start)
    return Inventory(files, parts, [*damage, *copies, *missing])


def require_intact(dataset: Location, damage: Sequence[Damage]) -> None:
    """Raise `DatasetDamagedError` if there is damage."""
    if damage:
        more = f"; {len(damage) - 1} more files are damaged" if damage[1:] else ""
        raise DatasetDamagedError(f"{dataset}: {damage[0]}{more}; {explain_repair(dataset)}")


def _describe(
    path: Location, reason: str, record: FileRecord | None, size: int | None = None
) -> Damage:
    if record is None:
        return Damage(path, reason)
    if reason.startswith("is truncated") and record.size is not None and size is not None:
        reason = f"is truncated: it has {size:,} of {record.size:,} bytes"
    return Damage(path, reason, record.start, record.stop)


def _require_recorded(found: FoundFile, record: FileRecord | None, *, is_settled: bool) -> None:
    """Raise `DamagedFileError` if a file is not the one that was recorded."""
    if record is None:
        if is_settled:
            raise DamagedFileError("was not written by a run of this dataset")
        return
    if record.checksum is not None and found.checksum is None:
        raise DamagedFileError("was replaced by another program")
    if not is_settled or record.size is None:
        return
    if (found.rows, found.size, found.checksum) != (record.rows, record.size, record.checksum):
        raise DamagedFileError("is not the file that was written: it was replaced")


def _require_part(
    path: Location, found: FoundFile, record: FileRecord | None, metadata: DatasetMetadata
) -> Part:
    """Return the part in a file; raises `DamagedFileError` if it does not belong there."""
    part = _parse_part(path, found.rows, found.metadata)
    if part.is_sealed and found.checksum is None:
        raise DamagedFileError("is damaged: its checksum is missing")
    if path.name != f"batch_{part.index:05d}.parquet":
        raise DamagedFileError(f"is a copy of batch_{part.index:05d}.parquet")
    if part.origin not in (None, *(_list_origins(metadata) or [part.origin])):
        raise DamagedFileError("belongs to another dataset")
    recorded = (part.start, part.stop) if record is None else (record.start, record.stop)
    if recorded not in ((part.start, part.stop), (None, None)):
        raise DamagedFileError(f"has rows {part.start:,} to {part.stop - 1:,} instead")
    return part


def _parse_part(path: Location, rows: int, metadata: Mapping[bytes, bytes]) -> Part:
    """Return the part in a file from the file's metadata; raises `DamagedFileError`."""
    try:
        facts: dict[str, Any] = orjson.loads(metadata[ROWS_KEY])
        return Part(
            # Earlier versions did not record the index.
            index=facts.get("index", int(path.stem.removeprefix("batch_"))),
            start=facts["start"],
            stop=facts["stop"],
            rows=rows,
            complete=facts["complete"],
            path=path,
            dropped=tuple(facts.get("dropped", ())),
            rejected=tuple(facts.get("rejected", ())),
            origin=facts.get("origin"),
            is_sealed=facts.get("is_sealed", False),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedFileError("does not say which rows of the dataset it has") from None


def _find_copies(parts: Iterable[Part]) -> Iterator[Damage]:
    """Find parts with rows that another part has, whose name comes first."""
    kept: list[Part] = []
    for part in sorted(parts, key=lambda each: (each.start, each.index)):
        if kept and part.start < kept[-1].stop:
            yield Damage(part.path, f"has rows that {kept[-1].path.name} has too")
        else:
            kept.append(part)


def find_damaged_content(files: Iterable[Location]) -> Iterator[Damage]:
    """Find files whose content does not match its checksum. Reads all of them."""
    for path in files:
        try:
            check_content(read_content(path))
        except DamagedFileError as error:
            yield Damage(path, str(error))
