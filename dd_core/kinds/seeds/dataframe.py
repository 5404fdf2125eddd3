"""The `df` seed source: the rows of a pandas DataFrame in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from dd_core.errors import SeedDatasetError, ValueNotStorableError
from dd_core.kinds.seeds._table import ArrowSeedTable, check_names
from dd_core.kinds.seeds.seed import SeedSource, SeedTable
from dd_core.storage.values import admit_value


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
        """The DataFrame as an Arrow table.

        Python objects take the form in which any other column stores them (`storage/values.py`).
        """
        import pyarrow as pa

        names = [str(name) for name in self.df.columns]
        try:
            check_names(names)
        except ValueError as error:
            raise SeedDatasetError(f"the seed DataFrame cannot be used: {error}") from None
        columns = [_convert(self.df.iloc[:, index], name) for index, name in enumerate(names)]
        return ArrowSeedTable(pa.Table.from_arrays(columns, names=names))


def _convert(column: Any, name: str) -> Any:
    """A column as an Arrow array; raises `SeedDatasetError` if it has no single type."""
    import pandas as pd
    import pyarrow as pa

    if column.dtype == object:
        values = [_admit(value, name, row) for row, value in enumerate(column)]
        column = pd.Series(values, dtype=object)
    try:
        return pa.Table.from_pandas(column.to_frame("x"), preserve_index=False).column(0)
    except (ValueError, TypeError, OverflowError, NotImplementedError, MemoryError) as error:
        raise SeedDatasetError(
            f"column {name!r} of the seed DataFrame cannot be stored: {error.args[0]}. Give all "
            "of its values one type, for example text with astype(str)"
        ) from error


def _admit(value: Any, name: str, row: int) -> Any:
    try:
        return admit_value(value)
    except ValueNotStorableError as error:
        raise SeedDatasetError(
            f"column {name!r} of the seed DataFrame, row {row}: {error}; change or remove it"
        ) from error
