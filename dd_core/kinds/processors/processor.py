"""The contract of a processor: it transforms or filters rows on their way into the dataset.

A kind of processor is a subclass of `ProcessorConfig` in one module of `dd_core/kinds/processors/`,
or in your own code (see docs/own-kinds.md). Its fields are the fields in YAML. It overrides the
stages in which it changes something; stages that no processor overrides are left out of the run:

- `before_batch` changes sampled and seed values before other columns use them.
- `after_batch` changes the values of a finished batch before it is written.
- `transformed` makes a side dataset of the finished rows.
- `after_generation` changes the rows of the whole dataset.

In every stage, processors run in the order of the configuration. An exception in a stage stops the
run; what was generated is kept.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.declaration.kind import Kind
from dd_core.errors import ArtifactStorageError, Problem
from dd_core.kinds.scope import Scope
from dd_core.storage.batch import NumberedRow
from dd_core.storage.files.removed_rows import RemovedRows
from dd_core.storage.location import require_short_name
from dd_core.templates.template import RenderingMode

if TYPE_CHECKING:
    import pyarrow as pa


Stage = Literal["before_batch", "after_batch", "after_generation"]
"""Names of the methods that receive Arrow tables."""


class ProcessorType(StrEnum):
    """Tags of the built-in kinds of processor."""

    DROP_COLUMNS = "drop_columns"
    SCHEMA_TRANSFORM = "schema_transform"
    FILTER_ROWS = "filter_rows"
    DEDUPLICATE = "deduplicate"


class Tables(ABC, Iterable["pa.Table"]):
    """The rows of the whole dataset for `after_generation`, one table per batch.

    A row's position counts from 0 in the order in which the processor receives the rows.
    """

    def __init__(self, seed: int, numbers: NDArray[np.int64]) -> None:
        self.seed = seed
        """Seed of the run."""
        self.numbers = numbers
        """The rows' numbers in the generated dataset, counted from 0, shape (rows,). Unlike
        positions, they stay the same if an earlier processor removes other rows."""
        self.removed = RemovedRows(numbers)
        """The rows that the processor removes."""

    def read_rows(
        self, reader: ProcessorConfig, names: Sequence[str] | None = None
    ) -> Iterator[tuple[pa.Table, list[NumberedRow]]]:
        """Yield each table with its rows, which hold the columns that the processor reads.

        The rows are numbered by their positions. `names` selects some of the columns.
        """
        number = 0
        for table in self:
            found: list[dict[str, Any]]
            found = table.select([*(reader.reads if names is None else names)]).to_pylist()
            rows = [
                NumberedRow(row, self.seed, reader.name, each)
                for each, row in enumerate(found, number)
            ]
            number += len(rows)
            yield table, rows

    def record_removed(self, positions: NDArray[np.integer[Any]], reason: str) -> None:
        """Record which rows the processor removes, and why. Record each row once.

        The counts appear in the metadata and in reports, and the rows in `removed-rows/`.
        """
        self.removed.add(positions, reason)

    def filter_rows(self, kept: NDArray[np.bool_]) -> Iterator[pa.Table]:
        """Yield the tables with those of their rows that `kept` selects, shape (rows,)."""
        import pyarrow as pa

        start = 0
        for table in self:
            yield table.filter(pa.array(kept[start : start + table.num_rows]))
            start += table.num_rows


class ProcessorConfig(Kind, tag="processor_type"):
    """The base class of all kinds of processor.

    A kind must declare `processor_type` as a `Literal` with a single value. All methods have
    defaults that change nothing.
    """

    name: str = Field(min_length=1, pattern=r'^[^<>:"/\\|?*\x00-\x1f.][^<>:"/\\|?*\x00-\x1f]*$')
    """Name of the processor, and of the folder of its side dataset."""

    @field_validator("name")
    @classmethod
    def _fits_a_folder(cls, name: str) -> str:
        try:
            require_short_name("the name", name)
        except ArtifactStorageError as error:
            raise ValueError(str(error)) from None
        return name

    def identity(self) -> dict[str, Any]:
        """Return what determines the effect of this processor, as JSON types, for fingerprints."""
        return self.model_dump(mode="json") | self.own_code

    def resolve_paths(self) -> Self:
        """Return the processor with absolute paths, for processes in other directories."""
        return self

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield what is wrong with this processor, given the columns, before a run."""
        yield from ()

    def drops(self, name: str) -> bool:
        """Return whether this processor leaves a column out of the dataset."""
        return False

    @property
    def reads(self) -> list[str]:
        """Columns that `transformed` and `after_generation` need, dropped columns included."""
        return []

    @property
    def side_columns(self) -> list[str] | None:
        """Columns of the side dataset; None if there is none, or if they are not known."""
        return None

    def transformed(
        self, rows: Sequence[Mapping[str, Any]], mode: RenderingMode
    ) -> list[Any] | None:
        """Return the records of a side dataset for a batch; None if there is no side dataset.

        `rows` contains the columns named by `reads`. `mode` is the mode for `Template.compile`.
        """
        return None

    def before_batch(self, table: pa.Table) -> pa.Table:
        """Return the sampled and seed columns of a batch with changed values.

        Keep all rows and columns. The same input must give the same output, because this method
        runs again when a batch is resumed.
        """
        return table

    def after_batch(self, table: pa.Table) -> pa.Table:
        """Return the rows of a finished batch with changed values or additional columns.

        Keep all rows and columns.
        """
        return table

    def after_generation(self, tables: Tables) -> Iterable[pa.Table]:
        """Return the rows of the whole dataset with changed values, rows or columns.

        `tables` yields one table per batch. It can be iterated more than once, and each iteration
        reads the tables from disk again. Yield one table at a time, so that memory stays constant.
        The same tables must give the same result, because this method runs again when rows are
        added or retried. If it removes rows, call `tables.record_removed`.
        """
        return tables

    def works_in(self, stage: Stage) -> bool:
        """Return whether this kind overrides a stage."""
        return getattr(type(self), stage) is not getattr(ProcessorConfig, stage)


def select_stage(
    processors: Sequence[ProcessorConfig] | None, stage: Stage
) -> list[ProcessorConfig]:
    """Return the processors that override a stage, in the order of the configuration."""
    return [processor for processor in processors or () if processor.works_in(stage)]
