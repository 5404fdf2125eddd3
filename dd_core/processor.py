"""The contract of a processor: what becomes of a batch's rows when they are all there.

A kind of processor lives in one file of `dd_core/processors/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import Field

from dd_core.column import Column, Scope
from dd_core.errors import Problem
from dd_core.kind import Kind
from dd_core.template import Engine


class ProcessorType(StrEnum):
    """Names of the processors that configurations written for NeMo Data Designer may use."""

    DROP_COLUMNS = "drop_columns"
    SCHEMA_TRANSFORM = "schema_transform"


class ProcessorConfig(Kind, tag="processor_type"):
    """What every kind of processor has in common."""

    name: str = Field(min_length=1, pattern=r'^[^<>:"/\\|?*\x00-\x1f.][^<>:"/\\|?*\x00-\x1f]*$')
    """Name of the processor, and of the folder with what it makes."""

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """What is wrong with this processor, given the columns."""
        yield from ()

    def drops(self, name: str) -> bool:
        """Whether it keeps a column out of the dataset."""
        return False

    @property
    def reads(self) -> list[str]:
        """Columns that `transformed` needs, dropped ones included."""
        return []

    def transformed(self, rows: Sequence[Mapping[str, Any]], engine: Engine) -> list[Any] | None:
        """A side dataset's record for each row of a batch; None if the processor makes none."""
        return None


def with_drops(columns: Sequence[Column], processors: Sequence[ProcessorConfig]) -> list[Column]:
    """The columns, with `drop` set on those that processors keep out of the dataset."""
    return [
        column.changed(drop=True)
        if not column.drop and any(processor.drops(column.name) for processor in processors)
        else column
        for column in columns
    ]
