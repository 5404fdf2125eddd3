"""The contract of a seed source: a table of existing rows that a dataset is built on.

Each kind of source has its own module in `dd_core/kinds/seeds/`. The selection and the order of
rows are the same for all kinds and are defined here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from dd_core.declaration.kind import Declaration, Kind
from dd_core.declaration.secrets import SecretResolver
from dd_core.errors import BuilderConfigurationError, Problem, SeedDatasetError
from dd_core.kinds.draws import permute
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch


class SamplingStrategy(StrEnum):
    """Order in which seed rows are used."""

    ORDERED = "ordered"
    SHUFFLE = "shuffle"


class IndexRange(Declaration):
    """A range of seed rows, both ends inclusive."""

    start: int = Field(ge=0)
    """First row, counted from 0."""
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
    """One of several blocks of equal size; the last block also has the remaining rows."""

    index: int = Field(default=0, ge=0)
    """Number of the block, counted from 0."""
    num_partitions: int = Field(default=1, ge=1)
    """Number of blocks."""

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
                f"selection_strategy has {self.num_partitions} partitions, but the seed "
                f"dataset has only {total} rows; use fewer partitions"
            )
        chosen = self.to_index_range(total)
        return range(chosen.start, chosen.end + 1)

    def to_index_range(self, dataset_size: int) -> IndexRange:
        """The block as a range of the rows of a seed dataset."""
        size = dataset_size // self.num_partitions
        is_last = self.index == self.num_partitions - 1
        stop = dataset_size if is_last else (self.index + 1) * size
        return IndexRange(start=self.index * size, end=stop - 1)


RowSelection: TypeAlias = IndexRange | PartitionBlock | None


class SeedTable(ABC):
    """An opened seed source."""

    columns: list[str]
    num_rows: int
    has_keys: ClassVar[bool] = False
    """Whether rows are identified by keys, and their values are no part of the content's hash."""

    @abstractmethod
    def take(self, column: str, rows: NDArray[np.int64]) -> Values:
        """Values of one column at the given rows, in the order of `rows`; null and NaN are None."""

    def column_type(self, column: str) -> Any:
        """Arrow type of a column; None if it follows from the values."""
        return None

    def keys(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """The keys of a range of rows; None if rows have none and their places count."""
        return None

    def select(self, chosen: RowSelection) -> range:
        """The rows that a selection chooses; raises `SeedDatasetError` if there are too few."""
        return range(self.num_rows) if chosen is None else chosen.select(self.num_rows)

    @abstractmethod
    def content_hash(self) -> str:
        """Hex digest of the table's content; equal content gives equal digests."""


def _read_working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it has been removed
        return "/"


class SeedSource(Kind, tag="seed_type"):
    """Base class of all seed sources.

    Paths are written as they were declared, because configurations are read on other machines.
    Files and folders need not exist before the source is opened.
    """

    _declared_in: str = PrivateAttr(default_factory=_read_working_directory)
    _reading: Callable[[Any], SeedTable] | None = PrivateAttr(default=None)

    def locate(self, path: str) -> Path:
        """Return the absolute path of a path in this source.

        A relative path is relative to the directory in which the process was when the source was
        declared or loaded.
        """
        return Path(self._declared_in, Path(path).expanduser())

    def resolve_paths(self) -> Self:
        """Return the source with absolute paths, for processes in other directories."""
        return self

    def problems(self, place: str) -> Iterator[Problem]:
        """Yield what keeps the source from being opened, before a run."""
        yield from ()

    def open(self) -> SeedTable:
        """Open the table; raises `SeedDatasetError` if it cannot be read."""
        raise SeedDatasetError(
            f"{type(self).__name__} cannot be opened: define its method `open`, or pass its seed "
            "reader, DataDesigner(seed_readers=[...])"
        )

    def read_with(self, reader: SourceReader, resolver: SecretResolver) -> Self:
        """Return the source with a reader that is used in place of `open`."""
        source = self.model_copy()
        source._reading = lambda each: reader.read_table(each, resolver)
        return source

    def open_table(self) -> SeedTable:
        """Open the table with the reader that was given, if there is one."""
        return self.open() if self._reading is None else self._reading(self)


class SourceReader(ABC):
    """Reads the sources of one type in place of their own `open`."""

    @abstractmethod
    def get_seed_type(self) -> str:
        """The type of the sources."""

    @abstractmethod
    def read_table(self, source: Any, resolver: SecretResolver) -> SeedTable:
        """The table of a source; raises `SeedDatasetError` if it cannot be read."""


def collect_readers(readers: Iterable[Any]) -> dict[str, SourceReader]:
    """Return readers by the type of their sources; raises `BuilderConfigurationError`."""
    indexed: dict[str, SourceReader] = {}
    for reader in readers:
        if not isinstance(reader, SourceReader):
            raise BuilderConfigurationError(
                f"seed_readers contains {reader!r}; it must contain instances of subclasses of "
                "SeedReader or FileSystemSeedReader"
            )
        seed_type = reader.get_seed_type()
        if seed_type in indexed:
            raise BuilderConfigurationError(
                f"seed_readers contains two readers of the seed type {seed_type!r}; remove one"
            )
        indexed[seed_type] = reader
    return indexed


class SeedConfig(Declaration):
    """The seed dataset: source, order and selection of its rows."""

    # The kinds of source are declared after this module, so `source` is resolved on first use.
    model_config = ConfigDict(defer_build=True)

    source: SeedSource
    """Source of the seed rows."""
    sampling_strategy: SamplingStrategy = SamplingStrategy.ORDERED
    """Order of the rows. `ordered` uses them in order and starts over at the end; `shuffle` uses
    each of them once per pass, in a new random order on every pass."""
    selection_strategy: RowSelection = None
    """Rows to use: a range or a block; default: all rows."""


class SeedRows:
    """Maps each row of the dataset to its seed row."""

    def __init__(self, config: SeedConfig, table: SeedTable, seed: int) -> None:
        if table.num_rows == 0:
            raise SeedDatasetError("the seed dataset has no rows; check its source")
        self.table = table
        self._selected = table.select(config.selection_strategy)
        self._shuffle = config.sampling_strategy is SamplingStrategy.SHUFFLE
        self._seed = seed

    @property
    def selected(self) -> range:
        """The rows of the table that are used."""
        return self._selected

    def keys(self, batch: Batch) -> NDArray[np.int64] | None:
        """The keys of the batch's rows; None if the table has no keys."""
        return self.table.keys(batch.start, batch.stop)

    def indexes(self, batch: Batch) -> NDArray[np.int64]:
        """The seed row of each row of the batch, shape (batch.size,)."""
        size = len(self._selected)
        position = np.arange(batch.start, batch.stop, dtype=np.int64) % size
        if self._shuffle:
            # A batch may span several passes through the seed rows. The permutation of a pass
            # depends only on the pass and the run's seed, so batches may come in any order.
            for cycle in range(batch.start // size, (batch.stop - 1) // size + 1):
                first = max(cycle * size - batch.start, 0)
                here = position[first : (cycle + 1) * size - batch.start]
                here[:] = permute(self._seed, "seed", cycle, size)[here]
        return position + self._selected.start
