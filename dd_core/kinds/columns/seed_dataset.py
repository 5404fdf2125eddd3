"""Values taken from a column of the seed dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import model_validator

from dd_core.errors import SeedDatasetError
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.constraint import Constraint
from dd_core.kinds.generators import WholeColumn
from dd_core.kinds.seeds.seed import SeedConfig, SeedRows, SeedTable
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch


class SeedDatasetColumnConfig(Column):
    """Values of the column of the same name in the seed dataset.

    These columns need not be declared: the engine adds one for each column of the seed dataset.
    """

    is_seed = True
    is_drawn = True

    column_type: Literal["seed-dataset"] = "seed-dataset"

    @model_validator(mode="after")
    def _is_never_skipped(self) -> Self:
        if self.skip is not None:
            raise ValueError(
                f"seed column {self.name!r} cannot be skipped; remove skip, "
                "or add it to an expression column that reads this one"
            )
        return self

    def fingerprint_parts(
        self,
        constraints: Sequence[Constraint],
        seed_config: SeedConfig | None,
        seed_table: SeedTable | None,
    ) -> dict[str, Any]:
        """Return the hash of the seed dataset, and which of its rows are used in which order."""
        if seed_config is None or seed_table is None:
            return {}
        return {
            "source": seed_table.content_hash(),
            "use": seed_config.model_dump(mode="json", exclude={"source"}),
        }

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of the column in the seed dataset."""
        kind = None if seed_table is None else seed_table.column_type(self.name)
        return {} if kind is None else {self.name: kind}

    def bind(self, binding: Binding) -> WholeColumn:
        """Return the generator; raises `SeedDatasetError` if the seed has no such column."""
        rows = binding.seed_rows
        if rows is None:
            raise SeedDatasetError(
                f"column {self.name!r} comes from a seed dataset, but none is configured; "
                "add a seed_config"
            )
        if self.name not in rows.table.columns:
            known = ", ".join(repr(name) for name in rows.table.columns)
            raise SeedDatasetError(
                f"the seed dataset has no column {self.name!r}; its columns are {known}"
            )
        return _SeedColumn(self.name, rows)


class _SeedColumn(WholeColumn):
    def __init__(self, name: str, rows: SeedRows) -> None:
        self._name = name
        self._rows = rows

    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        return self._rows.table.take(self._name, self._rows.indexes(batch))
