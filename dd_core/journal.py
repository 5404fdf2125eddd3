"""Finished cells on disk, so that an answer is paid for once whatever dies.

Each attempt at a batch appends to a segment of its own: one JSON line a cell, with the
fingerprint of its column, so that cells of unchanged columns are found again after an edit. Lines
are handed to the operating system at once and reach the disk within a second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from dd_core.column import Batch

_SYNC_SECONDS = 0.5
_WRITE_SECONDS = 0.1

JournalledCells = dict[str, dict[int, dict[str, Any]]]
"""Values by column fingerprint and row index of the dataset."""


class Journal:
    """The journal of one batch: segments in a directory."""

    def __init__(self, directory: Path, batch: Batch) -> None:
        self._directory = directory
        self._batch = batch
        self._pending: list[bytes] = []
        self._file: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._synced = 0.0

    def cells(self) -> JournalledCells:
        """What earlier attempts finished of this batch's rows, whatever batches they ran in."""
        found: JournalledCells = {}
        for segment, start, stop in segments(self._directory):
            if start < self._batch.stop and stop > self._batch.start:
                _read_segment(segment, self._batch, found)
        return found

    def add(self, fingerprint: str, row: int, values: Mapping[str, Any]) -> None:
        """Note a finished cell; `row` counts from the start of the dataset."""
        line = orjson.dumps(
            (fingerprint, row, values),
            default=str,
            option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
        )
        self._pending.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WRITE_SECONDS, self._write)

    def close(self) -> None:
        """Write what is pending."""
        if self._timer is not None:
            self._timer.cancel()
        self._write()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def remove(self) -> None:
        """Delete the segments that this batch covers; its part holds their cells now."""
        self.close()
        for segment, start, stop in segments(self._directory):
            if self._batch.start <= start and stop <= self._batch.stop:
                segment.unlink(missing_ok=True)

    def _write(self) -> None:
        self._timer = None
        if not self._pending:
            return
        lines, self._pending = b"".join(self._pending), []
        if self._file is None:
            self._file = self._open_segment()
        os.write(self._file, lines)
        loop = _running_loop()
        if loop is None:
            os.fsync(self._file)
        elif loop.time() - self._synced > _SYNC_SECONDS:
            self._synced = loop.time()
            loop.run_in_executor(None, _sync_copy(self._file))

    def _open_segment(self) -> int:
        self._directory.mkdir(parents=True, exist_ok=True)
        stem = f"rows-{self._batch.start:09d}-{self._batch.stop:09d}"
        number = 0
        while True:
            path = self._directory / f"{stem}.{number:03d}.jsonl"
            try:
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            except FileExistsError:
                number += 1


def merged(cells: JournalledCells, more: JournalledCells) -> JournalledCells:
    """Cells of two places together; those of the first count where both have one."""
    found = {fingerprint: {**rows} for fingerprint, rows in cells.items()}
    for fingerprint, rows in more.items():
        found[fingerprint] = {**rows, **found.get(fingerprint, {})}
    return found


def segments(directory: Path) -> Iterator[tuple[Path, int, int]]:
    """The segments in a directory, oldest first, with the range of rows they were begun for."""
    for path in sorted(directory.glob("rows-*-*.jsonl")):
        _, start, rest = path.name.split("-")
        yield path, int(start), int(rest.split(".")[0])


def _read_segment(segment: Path, batch: Batch, found: JournalledCells) -> None:
    with segment.open("rb") as lines:
        for line in lines:
            try:
                fingerprint, row, values = orjson.loads(line)
            except ValueError:
                continue  # the line that was being written when the process died
            if batch.start <= row < batch.stop:
                found.setdefault(fingerprint, {})[row] = values


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _sync_copy(file: int) -> Callable[[], None]:
    copy = os.dup(file)

    def sync() -> None:
        try:
            os.fsync(copy)
        finally:
            os.close(copy)

    return sync
