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
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from dd_core.errors import ArtifactStorageError
from dd_core.storage.access.failures import describe_storage_error
from dd_core.storage.access.segments import AppendedSegment, Segments, UploadedSegments
from dd_core.storage.access.trial import SpaceReserve
from dd_core.storage.batch import Batch
from dd_core.storage.json_codec import decode_value, encode_value
from dd_core.storage.location import Location, list_paths, put

_logger = logging.getLogger(__name__)

_CHECKSUM = re.compile(rb',"([0-9a-f]{8})"\]\n?\Z')
"""The end of a line: the last item of its array is the checksum of the array without it."""

Turn = Mapping[str, Any]
"""The messages of one turn with tool calls, and which attempt at the cell they belong to."""
JournalledCells = dict[str, dict[int, dict[str, Any]]]
"""Values by column fingerprint and by row, counted from the start of the dataset.

A skipped cell has no values, not even its own.
"""


class Journal:
    """The journal of one batch: its segments in a directory.

    `reserve` is released when the disk is full, for the lines of the cells that are in flight then.
    """

    def __init__(
        self, directory: Location, batch: Batch, reserve: SpaceReserve | None = None
    ) -> None:
        self._directory = directory
        self._batch = batch
        self.on_failure: Callable[[ArtifactStorageError], None] | None = None
        """Called once if cells cannot be stored."""
        self.on_last_space: Callable[[ArtifactStorageError], None] | None = None
        """Called once if the cells in flight can perhaps be stored, but not many others."""
        self.on_hold: Callable[[bool], None] | None = None
        """Called with True while a write is retried, and with False afterwards."""
        self.lost = 0
        """Finished cells that could not be kept, once the journal is closed."""
        self._failures: set[bool] = set()
        self._pending: list[bytes] = []
        self.has_lines = False
        """Whether this attempt has recorded cells."""
        self._timer: asyncio.TimerHandle | None = None
        stem = f"rows-{batch.start:09d}-{batch.stop:09d}"
        self._segments: Segments
        if isinstance(directory, Path):
            self._segments = AppendedSegment(directory, stem, self, reserve)
        else:
            self._segments = UploadedSegments(directory, stem, self)

    def open(self) -> None:
        """Create the first file; if that fails, the run stops before anything is spent."""
        self._segments.open()

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

    def close(self) -> None:
        """Write the pending lines and wait until they have been stored."""
        self.flush()
        self.lost = self._segments.close()
        if self.lost:
            _logger.warning("%d finished cells could not be kept", self.lost)

    def remove(self) -> None:
        """Delete the segments that this batch covers; its part now contains their cells."""
        self.close()
        for segment, start, stop in list_segments(self._directory):
            if self._batch.start <= start and stop <= self._batch.stop:
                segment.unlink(missing_ok=True)

    def _write(self) -> None:
        self._timer = None
        if self._pending:
            lines, self._pending = b"".join(self._pending), []
            self._segments.write(lines)

    def held(self, is_held: bool) -> None:
        """Let no further cells start while a write is retried."""
        if self.on_hold is not None:
            self.on_hold(is_held)

    def failed(self, error: BaseException, *, is_kept: bool) -> None:
        """Report that further answers would be lost with this process."""
        if is_kept in self._failures:
            return
        self._failures.add(is_kept)
        failure = ArtifactStorageError(
            f"finished cells cannot be written to {self._directory}: "
            f"{describe_storage_error(self._directory, error)}"
        )
        failure.__cause__ = error
        _logger.error("%s", failure)
        notify = self.on_last_space if is_kept else self.on_failure
        if notify is not None:
            notify(failure)


class TurnJournal:
    """What tools returned for cells that are not finished, over all batches of a run.

    Turns are kept until their batch is closed, so that another attempt at a cell in this process
    repeats none. Durable turns are also written to the journal of the batch, below a fingerprint of
    their own, for a later process. `fingerprints` are those of the columns that use tools.
    """

    def __init__(self, fingerprints: Mapping[str, str]) -> None:
        self._fingerprints = fingerprints
        self._turns: dict[tuple[str, int], list[Turn]] = {}
        self._journals: dict[Batch, Journal] = {}

    def attach(self, batch: Batch, journal: Journal | None) -> None:
        """Record the turns of a batch in its journal."""
        if journal is not None and self._fingerprints:
            self._journals[batch] = journal

    def restore(self, cells: JournalledCells) -> None:
        """Take over what earlier processes recorded."""
        for column, fingerprint in self._fingerprints.items():
            for row, first in cells.get(_name_turn(fingerprint, 0), {}).items():
                attempt, turns = first.get("attempt"), list[Turn]()
                turn: Turn | None = first
                # Turns of another attempt at the cell may follow.
                while turn and attempt and turn.get("attempt") == attempt:
                    turns.append(turn)
                    turn = cells.get(_name_turn(fingerprint, len(turns)), {}).get(row)
                self._turns[column, row] = turns

    def detach(self, batch: Batch) -> None:
        """Forget a batch that is closed."""
        self._journals.pop(batch, None)
        if not self._turns:
            return
        rows = range(batch.start, batch.stop)
        self._turns = {place: turns for place, turns in self._turns.items() if place[1] not in rows}

    def open(self, column: str, row: int) -> CellTurns:
        """The turns of one cell; `row` counts from the start of the dataset."""
        journals = self._journals.items()
        journal = next((each for batch, each in journals if batch.start <= row < batch.stop), None)
        turns = self._turns.setdefault((column, row), [])
        return CellTurns(turns, journal, self._fingerprints[column], row)


class CellTurns:
    """What tools returned for one cell."""

    def __init__(
        self, turns: list[Turn], journal: Journal | None, fingerprint: str, row: int
    ) -> None:
        self._turns = turns
        self._journal = journal
        self._fingerprint = fingerprint
        self._row = row

    def load(self) -> list[Turn]:
        """Return the turns so far, in order."""
        return [*self._turns]

    def save(self, number: int, turn: Turn, *, is_durable: bool) -> None:
        """Keep a turn; its number counts from 0.

        If it is not durable, a later process must not continue after the earlier ones either: the
        first one is replaced by nothing.
        """
        self._turns[number:] = [turn]
        if self._journal is not None and is_durable:
            self._journal.add(_name_turn(self._fingerprint, number), self._row, turn)
        elif self._journal is not None and number:
            self._journal.add(_name_turn(self._fingerprint, 0), self._row, {})


def _name_turn(fingerprint: str, number: int) -> str:
    return f"{fingerprint}/turn/{number}"


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
