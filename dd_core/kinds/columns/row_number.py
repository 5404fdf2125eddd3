"""The number of each row, which identifies it in the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from dd_core.declaration.own_fields import OWN
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import WholeColumn
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable


class RowNumberColumnConfig(Column):
    """The numbers of the rows.

    A row keeps its number if the dataset is continued, or if other rows fail or are filtered out.
    """

    is_drawn = True

    column_type: Annotated[Literal["row-number"], OWN] = "row-number"
    start: int = 0
    """Number of the first row; default: 0."""

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of integers."""
        import pyarrow as pa

        return {self.name: pa.int64()}

    def bind(self, binding: Binding) -> WholeColumn:
        """Return the generator."""
        return _RowNumbers(self.start)


class _RowNumbers(WholeColumn):
    def __init__(self, start: int) -> None:
        self._start = start

    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        return np.arange(batch.start, batch.stop, dtype=np.int64) + self._start
