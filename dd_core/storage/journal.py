"""Stores finished cells, so that an answer is paid for once, whatever fails.

Each attempt at a batch writes its own segments: one JSON line per cell, with the fingerprint of the
cell's column, so that the cells of unchanged columns are still found after an edit. Each line ends
with a checksum, and a line that does not match its checksum counts as not written. In a folder, an
attempt appends to a single segment. Its lines are handed to the operating system almost
immediately and reach the disk within a second. Object storage cannot append, so there the lines of
each short interval become a new segment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

from dd_core.errors import ArtifactStorageError
from dd_core.retries import retry_blocking
from dd_core.storage.batch import Batch
from dd_core.storage.json_codec import decode_value, encode_value
from dd_core.storage.location import Location, list_paths, put

_logger = logging.getLogger(__name__)

_SYNC_SECONDS = 0.5
_WRITE_SECONDS = 0.1
_UPLOAD_SECONDS = 0.5
_UPLOAD_ATTEMPTS = 4
_CHECKSUM = re.compile(rb',"([0-9a-f]{8})"\]\n?\Z')
"""The end of a line: the last item of its array is the checksum of the array without it."""

JournalledCells = dict[str, dict[int, dict[str, Any]]]
"""Values by column fingerprint and by row, counted from the start of the dataset."""


class Journal:
    """The journal of one batch: its segments in a directory."""

    def __init__(self, directory: Location, batch: Batch) -> None:
        self._directory = directory
        self._batch = batch
        self.on_failure: Callable[[ArtifactStorageError], None] | None = None
        """Called once if cells cannot be stored in the folder."""
        self._has_failed = False
        self._pending: list[bytes] = []
        self.has_lines = False
        """Whether this attempt has recorded cells."""
        self._timer: asyncio.TimerHandle | None = None
        stem = f"rows-{batch.start:09d}-{batch.stop:09d}"
        self._segments: _Segments
        if isinstance(directory, Path):
            self._segments = _AppendedSegment(directory, stem, self._fail)
        else:
            self._segments = _UploadedSegments(directory, stem)

    def add(self, fingerprint: str, row: int, values: Mapping[str, Any]) -> None:
        """Record a finished cell; `row` counts from the start of the dataset."""
        self._pending.append(_format_line(encode_value((fingerprint, row, values))))
        self.has_lines = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._segments.pause, self._write)

    def flush(self) -> None:
        """Write the pending lines immediately."""
        if self._timer is not None:
            self._timer.cancel()
        self._write()

    @property
    def is_remote(self) -> bool:
        """Whether closing the journal waits for the network."""
        return not isinstance(self._directory, Path)

    def wait(self) -> None:
        """Wait until all written lines have been stored; may be called from another thread."""
        self._segments.wait()

    def close(self) -> None:
        """Write the pending lines and wait until they have been stored."""
        self.flush()
        if self._pending:
            _logger.warning("%d finished cells could not be kept", len(self._pending))
            self._pending = []
        self._segments.close()

    def remove(self) -> None:
        """Delete the segments that this batch covers; its part now contains their cells."""
        self.close()
        for segment, start, stop in list_segments(self._directory):
            if self._batch.start <= start and stop <= self._batch.stop:
                segment.unlink(missing_ok=True)

    def _write(self) -> None:
        self._timer = None
        if not self._pending:
            return
        try:
            self._segments.write(b"".join(self._pending))
        except Exception as error:  # lines stay pending: there may be room when the batch ends
            self._fail(error)
        else:
            self._pending = []

    def _fail(self, error: BaseException) -> None:
        """Report that answers that are paid for would be lost with this process."""
        if self._has_failed:
            return
        self._has_failed = True
        failure = ArtifactStorageError(
            f"finished cells cannot be written to {self._directory}: {error}; "
            "check its space and permissions, then resume"
        )
        failure.__cause__ = error
        _logger.error("%s", failure)
        if self.on_failure is not None:
            self.on_failure(failure)


class _Segments(Protocol):
    """Stores the lines of one attempt."""

    pause: float
    """Seconds for which lines are collected before they are written."""

    def write(self, lines: bytes) -> None:
        """Store lines, possibly in the background."""
        ...

    def wait(self) -> None:
        """Wait for writes in the background."""
        ...

    def close(self) -> None:
        """Wait for all writes and release the file or the thread."""
        ...


class _AppendedSegment:
    """A file that lines are appended to."""

    pause = _WRITE_SECONDS

    def __init__(
        self, directory: Path, stem: str, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._directory = directory
        self._stem = stem
        self._on_failure = on_failure
        self._file: int | None = None
        self._synced = 0.0
        self._is_cut = False
        """Whether the last write ended within a line."""

    def write(self, lines: bytes) -> None:
        if self._file is None:
            self._file = self._open()
        self._append(self._file, lines)
        # Syncing takes milliseconds and must not block the event loop, if there is one.
        loop = _running_loop()
        if loop is None:
            os.fsync(self._file)
        elif loop.time() - self._synced > _SYNC_SECONDS:
            self._synced = loop.time()
            loop.run_in_executor(None, _make_sync(self._file)).add_done_callback(self._synced_once)

    def _append(self, file: int, lines: bytes) -> None:
        """Write all lines, again from the start if an earlier write was cut off."""
        left = memoryview(b"\n" + lines if self._is_cut else lines)
        self._is_cut = True
        while left:  # a full disk takes only a part of what is written
            left = left[os.write(file, left) :]
        self._is_cut = False

    def _synced_once(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._on_failure(error)

    def wait(self) -> None:
        """Return immediately: the operating system already has the lines."""

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        self._directory.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            path = self._directory / f"{self._stem}.{number:03d}.jsonl"
            try:  # O_EXCL: an earlier attempt may have left a segment, or still be writing to it
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            except FileExistsError:
                number += 1


class _UploadedSegments:
    """One object for each write."""

    pause = _UPLOAD_SECONDS

    def __init__(self, directory: Location, stem: str) -> None:
        self._directory = directory
        # A random name, because checking for existing objects would take a request and could race.
        self._attempt = f"{stem}.{secrets.token_hex(4)}"
        self._number = 0
        self._uploads: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dd-journal")

    def write(self, lines: bytes) -> None:
        path = self._directory / f"{self._attempt}-{self._number:05d}.jsonl"
        self._number += 1
        self._uploads = [each for each in self._uploads if not each.done()]
        self._uploads.append(self._thread.submit(_upload, path, lines))

    def wait(self) -> None:
        wait(self._uploads)

    def close(self) -> None:
        self.wait()
        self._thread.shutdown()


def _upload(path: Location, lines: bytes) -> None:
    try:
        # Storage libraries raise exceptions of all kinds.
        retry_blocking((Exception,), attempts=_UPLOAD_ATTEMPTS)(path.write_bytes, lines)
    except Exception as error:
        _logger.warning("finished cells could not be kept in %s: %s", path, error)


def read_cells(directory: Location, batch: Batch) -> JournalledCells:
    """Read the cells of a batch's rows that earlier attempts finished, in whichever batches."""
    found: JournalledCells = {}
    for segment, start, stop in list_segments(directory):
        if start < batch.stop and stop > batch.start:
            _read_segment(segment, batch, found)
    return found


def merge_cells(cells: JournalledCells, more: JournalledCells) -> JournalledCells:
    """Merge cells from two sources; where both have a cell, that of the first is used."""
    found = {fingerprint: {**rows} for fingerprint, rows in cells.items()}
    for fingerprint, rows in more.items():
        found[fingerprint] = {**rows, **found.get(fingerprint, {})}
    return found


def list_segments(directory: Location) -> Iterator[tuple[Location, int, int]]:
    """Yield the segments in a directory, oldest first, with the range of rows they are for."""
    for path in list_paths(directory, "rows-*-*.jsonl"):
        _, start, rest = path.name.split("-", 2)
        yield path, int(start), int(rest.split(".")[0])


def _read_segment(segment: Location, batch: Batch, found: JournalledCells) -> None:
    count = unreadable = 0
    with segment.open("rb") as lines:
        for line in lines:
            count += 1
            cell = _parse_line(line)
            if cell is None:
                unreadable += 1
            elif batch.start <= cell[1] < batch.stop:
                fingerprint, row, values = cell
                found.setdefault(fingerprint, {})[row] = values
    if unreadable:
        _warn_of_unreadable(segment, unreadable, count)


@lru_cache(maxsize=1024)
def _warn_of_unreadable(segment: Location, unreadable: int, count: int) -> None:
    """Warn once, although every batch that the segment has rows of reads it."""
    _logger.warning(
        "%d of %d lines of the journal %s are unreadable; their cells are generated again",
        unreadable,
        count,
        segment,
    )


def count_lines(segment: Location) -> tuple[int, int]:
    """Count the lines of a segment that are readable, and those that are not."""
    with segment.open("rb") as lines:
        readable = [_parse_line(line) is not None for line in lines]
    return sum(readable), len(readable) - sum(readable)


def remove_unreadable(segment: Location) -> None:
    """Remove the unreadable lines of a segment to which nobody is writing."""
    with segment.open("rb") as lines:
        readable = [line for line in lines if _parse_line(line) is not None]
    put(segment, b"".join(readable))


def _format_line(cell: bytes) -> bytes:
    """Append the checksum to an encoded cell, a JSON array, and end the line."""
    return b'%b,"%08x"]\n' % (cell[:-1], zlib.crc32(cell))


def _parse_line(line: bytes) -> tuple[str, int, dict[str, Any]] | None:
    """Return fingerprint, row and values of a cell; None if the line is not what was written.

    Lines of earlier versions have no checksum, and one item less. A damaged line with a checksum
    cannot become such a line: where the checksum is no longer recognized, the fourth item is left.
    """
    checksum = _CHECKSUM.search(line)
    if checksum is not None:
        line = line[: checksum.start()] + b"]"
        if zlib.crc32(line) != int(checksum[1], 16):
            return None
    try:
        cell: Any = decode_value(line)
    except (ValueError, TypeError, RecursionError):
        return None  # for example, the process died while it was writing this line
    match cell:
        case [str(fingerprint), int(row), dict()] if not isinstance(row, bool):
            return fingerprint, row, cast("dict[str, Any]", cell[2])
        case _:
            return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _make_sync(file: int) -> Callable[[], None]:
    """Return a function that syncs the file, even if the file has been closed in the meantime."""
    try:
        copy = os.dup(file)
    except OSError:  # too many open files: the operating system has the lines all the same
        return lambda: None

    def sync() -> None:
        try:
            os.fsync(copy)
        finally:
            os.close(copy)

    return sync
