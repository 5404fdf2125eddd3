"""The contract of a column: what a declaration says, and how its values come about.

A kind of column lives in one file of `dd_core/columns/`: a frozen declaration (a subclass of
`Column`) whose `bind` returns one of four generators. The engine asks only which of the four it
is; everything else it learns from the declaration.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch

if TYPE_CHECKING:
    from dd_core.models.admission.slot import RequestSlot
    from dd_core.models.model import Model


Row: TypeAlias = Mapping[str, Any]
"""One row's values by column name, restricted to what the column needs."""


class WholeColumn(ABC):
    """Generates a column of a batch in one go, when its inputs are complete."""

    seconds_a_row: float = math.inf
    """What a row took the last time."""

    @abstractmethod
    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        """Values of all `batch.size` rows. Runs in a worker thread unless it is very quick."""


class RowColumn(ABC):
    """Generates any set of rows whose inputs are there, by computing."""

    @abstractmethod
    def generate(self, rows: Sequence[Row]) -> Sequence[Any]:
        """One value a row, in order; an exception instance in a row's place drops that row."""


class CellColumn(ABC):
    """Generates one cell at a time by waiting for something, usually a model."""

    model: Model | None = None
    """The model whose request slots the cells queue for; None for cells that ask no model."""

    @abstractmethod
    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Values of the column and its side effects. `slot` is the cell's place at `model`."""


class GroupColumn(ABC):
    """Generates rows in groups by waiting for something, such as a server or a thread."""

    group_size: int | None = None
    """Most rows in a group; None for all rows of a batch at once, when all inputs are complete."""
    max_parallel_groups: int = 4
    """Groups at work at the same time, in each batch."""

    @abstractmethod
    async def generate(self, rows: Sequence[Row]) -> Sequence[Mapping[str, Any] | Exception]:
        """For each row the values of the column and its side effects; an exception drops the row.

        Rows that were dropped or skipped before are not among those given.
        """


Generator: TypeAlias = WholeColumn | RowColumn | CellColumn | GroupColumn
