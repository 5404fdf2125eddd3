"""The rows that a stage has generated so far, for the stages that use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dd_core.dataset.workflow.steps import ADDRESS, Losses, replace_addresses
from dd_core.designer.workflow.review import ReviewPendingError, Reviews
from dd_core.storage.batch import Batch, Part
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.files.parquet import read_parquet
from dd_core.storage.location import Location

if TYPE_CHECKING:
    import pyarrow as pa


class NotThereYetError(Exception):
    """The next rows have not been generated yet."""


class StageFeed:
    """The rows of one stage in their order, each batch as soon as it is written.

    If processors of the whole dataset choose the rows, these can be read when the stage is done.
    """

    def __init__(
        self, directory: DatasetDirectory, *, is_streamed: bool, reviews: Reviews | None = None
    ) -> None:
        self.directory = directory
        self._is_streamed = is_streamed and reviews is None
        self.reviews = reviews
        """The decisions about the rows, if people review them."""
        self._error: ReviewPendingError | None = None
        """Why there will be no further rows in this run."""
        self._ranges: dict[int, tuple[int, Location | None]] = {}
        """End and file of each batch, by its first row; a batch without rows has no file."""
        self._files: Sequence[Location] | None = None
        """The files with the rows, if the stage is done."""
        self._changed = asyncio.Event()

    def add_parts(self, parts: Iterable[Part]) -> None:
        """Add batches that earlier runs have finished."""
        for part in parts:
            self._ranges[part.start] = (part.stop, part.path if part.rows else None)

    def add_batch(self, batch: Batch, path: Location | None) -> None:
        """Add a batch that has just been written."""
        self._ranges[batch.start] = (batch.stop, path)
        self._notify()

    def finish(self) -> None:
        """Note that no further rows will come."""
        self._files = self.directory.files()
        self._notify()

    def stop(self, error: ReviewPendingError) -> None:
        """Note that the stage waits for a review, and so do the stages that use its rows."""
        self._error = error
        self._notify()

    async def read(self, losses: Losses, *, wait: bool) -> AsyncIterator[pa.Table]:
        """Yield tables of rows, and count those that a review has rejected.

        Raises `NotThereYetError` instead of waiting for rows, if it shall not `wait`, and
        `ReviewPendingError` if rows have to be reviewed first.
        """
        position = 0
        while self._is_streamed:
            found = self._ranges.get(position)
            if found is None and self._files is None:
                await self._wait(wait)
                continue
            if found is None:  # rows before the next batch are missing
                later = [start for start in self._ranges if start > position]
                if not later:
                    return
                position = min(later)
                continue
            position, path = found
            if path is not None:
                yield await asyncio.to_thread(_read_rows, path)
        while self._files is None:
            await self._wait(wait)
        if self.reviews is not None:
            await asyncio.to_thread(self._require_decisions, self.reviews)
        for path in self._files:
            table = await asyncio.to_thread(_read_rows, path)
            yield table if self.reviews is None else self.reviews.apply(table, losses)

    def _require_decisions(self, reviews: Reviews) -> None:
        """Raise `ReviewPendingError` before the first row is used, if any row is undecided."""
        undecided = reviews.count(map(_read_rows, self._files or ()))["undecided"]
        if undecided:
            raise ReviewPendingError(f"{undecided} rows have to be reviewed")

    async def _wait(self, wait: bool) -> None:
        if self._error is not None:
            raise self._error
        if not wait:
            raise NotThereYetError
        changed = self._changed
        await changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _read_rows(path: Location) -> pa.Table:
    """Read rows with their addresses as text."""
    table: Any = read_parquet(path)
    addresses = table.column(ADDRESS).to_pylist()
    return replace_addresses(table, [str(address) for address in addresses])
