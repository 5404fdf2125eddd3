"""The cells that wait for a model, and which of them comes next."""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dd_core.models.seat import Seat


class Cells(Protocol):
    """The cells of one column of one batch, as a model's queue sees them."""

    def wanted(self, row: int) -> bool:
        """Whether the cell is still to be generated."""
        ...

    def start(self, row: int, seat: Seat) -> None:
        """Start generating the cell; the seat holds a place for its first request."""
        ...


class ReadyCells:
    """Ready cells by rank, the number of model cells from a cell to its row's end."""

    def __init__(self, places: int) -> None:
        self.count = 0
        self.expected = 0
        """Cells that are still to come or to be served."""
        self.places = places
        """Requests that may be in flight at once."""
        self._buckets: dict[int, deque[tuple[Cells, int]]] = {}
        self._ranks: list[int] = []

    def add(self, rank: int, cells: Cells, row: int) -> None:
        """Queue a cell behind those of its rank."""
        bucket = self._buckets.get(rank)
        if bucket is None:
            bucket = self._buckets[rank] = deque()
            insort(self._ranks, rank)
        bucket.append((cells, row))
        self.count += 1

    def next(self) -> tuple[Cells, int]:
        """The cell to serve next: rows near their end first, so that rows are finished early.

        When no more is to come than fills the places to the end of the longest row, the order
        turns round: then the rows with most still ahead decide when the run is over.
        """
        longest = self._ranks[-1]
        ending = self.expected <= 2 * longest * self.places
        for rank in reversed(self._ranks) if ending else self._ranks:
            bucket = self._buckets[rank]
            if bucket:
                self.count -= 1
                return bucket.popleft()
        raise AssertionError("the queue counted a cell that it does not hold")
