"""The contract of a processor: what becomes of rows on their way into the dataset.

A kind of processor lives in one file of `dd_core/processors/` and overrides the stages that it
works in; the other stages cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from dd_core.declaration.kind import Kind
from dd_core.errors import Problem
from dd_core.kinds.scope import Scope
from dd_core.templates.template import RenderingMode

if TYPE_CHECKING:
    import pyarrow as pa


Stage = Literal["before_batch", "after_batch", "after_generation"]


class ProcessorType(StrEnum):
    """Names of the built-in processors."""

    DROP_COLUMNS = "drop_columns"
    SCHEMA_TRANSFORM = "schema_transform"
    FILTER_ROWS = "filter_rows"
    DEDUPLICATE = "deduplicate"


class ProcessorConfig(Kind, tag="processor_type"):
    """What every kind of processor has in common."""

    name: str = Field(min_length=1, pattern=r'^[^<>:"/\\|?*\x00-\x1f.][^<>:"/\\|?*\x00-\x1f]*$')
    """Name of the processor, and of the folder with what it makes."""

    def identity(self) -> dict[str, Any]:
        """What determines what it does, for the fingerprint."""
        return self.model_dump(mode="json") | self.own_code

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """What is wrong with this processor, given the columns."""
        yield from ()

    def drops(self, name: str) -> bool:
        """Whether it keeps a column out of the dataset."""
        return False

    @property
    def reads(self) -> list[str]:
        """Columns that `transformed` and `after_generation` need, dropped ones included."""
        return []

    def transformed(
        self, rows: Sequence[Mapping[str, Any]], engine: RenderingMode
    ) -> list[Any] | None:
        """A side dataset's record for each row of a batch; None if the processor makes none."""
        return None

    def before_batch(self, table: pa.Table) -> pa.Table:
        """Other values for a batch's sampled and seeded columns, before anything uses them.

        Rows and columns must stay as many. The same input must give the same output, because a
        batch that is resumed comes here again.
        """
        return table

    def after_batch(self, table: pa.Table) -> pa.Table:
        """Other values for a batch that is done, before it is written; the rows stay as many."""
        return table

    def after_generation(self, tables: Iterable[pa.Table]) -> Iterable[pa.Table]:
        """Other rows for the whole dataset, which comes as one table a batch.

        `tables` can be gone through more than once; each time they are read from disk.
        """
        return tables

    def works_in(self, stage: Stage) -> bool:
        """Whether the kind overrides a stage."""
        return getattr(type(self), stage) is not getattr(ProcessorConfig, stage)


def select_stage(
    processors: Sequence[ProcessorConfig] | None, stage: Stage
) -> list[ProcessorConfig]:
    """The processors that work in a stage, in their order."""
    return [processor for processor in processors or () if processor.works_in(stage)]
