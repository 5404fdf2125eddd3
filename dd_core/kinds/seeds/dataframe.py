"""Seed rows from a pandas data frame in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow comes without types)

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from dd_core.errors import SeedDatasetError
from dd_core.kinds.seeds._table import ArrowSeedTable
from dd_core.kinds.seeds.seed import SeedSource, SeedTable


class DataFrameSeedSource(SeedSource):
    """The rows of a data frame. It cannot be written to a file; a `LocalFileSeedSource` can."""

    seed_type: Literal["df"] = "df"
    df: Any = Field(exclude=True, repr=False)
    """The pandas data frame; its index is not used."""

    @field_validator("df")
    @classmethod
    def _is_a_frame(cls, df: Any) -> Any:
        if not (hasattr(df, "iloc") and hasattr(df, "columns")):
            raise ValueError(f"df must be a pandas DataFrame, not {type(df).__name__}")
        return df

    def open(self) -> SeedTable:
        """The frame as an Arrow table."""
        import pyarrow as pa

        try:
            return ArrowSeedTable(pa.Table.from_pandas(self.df, preserve_index=False))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SeedDatasetError(f"the seed data frame has no common types: {error}") from error
