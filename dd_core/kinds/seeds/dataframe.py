"""The `df` seed source: the rows of a pandas DataFrame in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from dd_core.errors import SeedDatasetError
from dd_core.kinds.seeds._table import ArrowSeedTable, check_names
from dd_core.kinds.seeds.seed import SeedSource, SeedTable


class DataFrameSeedSource(SeedSource):
    """The rows of a pandas DataFrame. Configurations with this source cannot be saved to a file."""

    seed_type: Literal["df"] = "df"
    df: Any = Field(exclude=True, repr=False)
    """The pandas DataFrame. Its index is ignored."""

    @field_validator("df")
    @classmethod
    def _is_a_frame(cls, df: Any) -> Any:
        if not (hasattr(df, "iloc") and hasattr(df, "columns")):
            raise ValueError(f"df must be a pandas DataFrame, not {type(df).__name__}")
        return df

    def open(self) -> SeedTable:
        """The DataFrame as an Arrow table."""
        import pyarrow as pa

        try:
            check_names([str(name) for name in self.df.columns])
        except ValueError as error:
            raise SeedDatasetError(f"the seed DataFrame cannot be used: {error}") from None
        try:
            return ArrowSeedTable(pa.Table.from_pandas(self.df, preserve_index=False))
        except (ValueError, TypeError, OverflowError, NotImplementedError) as error:
            raise SeedDatasetError(
                f"a column of the seed DataFrame mixes types: {error}"
            ) from error
