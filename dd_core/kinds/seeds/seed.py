"""The contract of a seed source: a table whose rows the dataset is built on.

A kind of source lives in one file of `dd_core/seeds/`. Which rows are used, and in which order,
is the same for all of them and is decided here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from dd_core.declaration.kind import Declaration, Kind
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.draws import permute
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch


class SamplingStrategy(StrEnum):
    """The order in which seed rows are used."""

    ORDERED = "ordered"
    SHUFFLE = "shuffle"


class IndexRange(Declaration):
    """A range of seed rows, both ends included."""

    start: int = Field(ge=0)
    """First row, from 0."""
    end: int = Field(ge=0)
    """Last row."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start ({self.start}) must not be greater than end ({self.end})")
        return self

    @property
    def size(self) -> int:
        return self.end - self.start + 1

    def select(self, total: int) -> range:
        """The selected rows out of `total`."""
        if self.end >= total:
            raise SeedDatasetError(
                f"selection_strategy ends at row {self.end}, but the seed dataset has {total} rows "
                f"(0 to {total - 1}); lower `end`"
            )
        return range(self.start, self.end + 1)


class PartitionBlock(Declaration):
    """One of several equal blocks of seed rows; the last takes the remainder."""

    index: int = Field(default=0, ge=0)
    """Which block, from 0."""
    num_partitions: int = Field(default=1, ge=1)
    """How many blocks the rows are divided into."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if self.index >= self.num_partitions:
            raise ValueError(
                f"index ({self.index}) must be less than num_partitions ({self.num_partitions})"
            )
        return self

    def select(self, total: int) -> range:
        """The selected rows out of `total`."""
        if self.num_partitions > total:
            raise SeedDatasetError(
                f"selection_strategy asks for {self.num_partitions} partitions, but the seed "
                f"dataset has only {total} rows; use fewer partitions"
            )
        size = total // self.num_partitions
        last = self.index == self.num_partitions - 1
        return range(self.index * size, total if last else (self.index + 1) * size)


class SeedTable(ABC):
    """An opened seed source."""

    columns: list[str]
    num_rows: int

    @abstractmethod
    def take(self, column: str, rows: NDArray[np.int64]) -> Values:
        """Values of one column at the given rows, in that order; null and NaN are None."""

    @abstractmethod
    def content_hash(self) -> str:
        """Hex digest of what the table holds; equal content gives an equal digest."""


class SeedSource(Kind, tag="seed_type"):
    """What every kind of seed source has in common."""

    def problems(self, place: str) -> Iterator[Problem]:
        """What keeps the source from being opened, found before a run."""
        yield from ()

    @abstractmethod
    def open(self) -> SeedTable:
        """The table; raises `SeedDatasetError` when it cannot be read."""


class SeedConfig(Declaration):
    """Where seed rows come from and how they are used."""

    # The kinds of source are declared after this module, so `source` is resolved on first use.
    model_config = ConfigDict(defer_build=True)

    source: SeedSource
    """The table of seed rows."""
    sampling_strategy: SamplingStrategy = SamplingStrategy.ORDERED
    """`ordered` uses the rows in turn, `shuffle` in a new random order each time round."""
    selection_strategy: IndexRange | PartitionBlock | None = None
    """Which of the rows are used; all, if not given."""


class SeedRows:
    """Which seed row stands behind each row of the dataset."""

    def __init__(self, config: SeedConfig, table: SeedTable, seed: int) -> None:
        if table.num_rows == 0:
            raise SeedDatasetError("the seed dataset has no rows")
        chosen = config.selection_strategy
        self.table = table
        self._selected = chosen.select(table.num_rows) if chosen else range(table.num_rows)
        self._shuffle = config.sampling_strategy is SamplingStrategy.SHUFFLE
        self._seed = seed

    def indexes(self, batch: Batch) -> NDArray[np.int64]:
        """Seed row of each row of the batch, shape (batch.size,)."""
        size = len(self._selected)
        position = np.arange(batch.start, batch.stop, dtype=np.int64) % size
        if self._shuffle:
            for cycle in range(batch.start // size, (batch.stop - 1) // size + 1):
                first = max(cycle * size - batch.start, 0)
                here = position[first : (cycle + 1) * size - batch.start]
                here[:] = permute(self._seed, "seed", cycle, size)[here]
        return position + self._selected.start
