"""The values of a running batch: how they are admitted, and a list or an array per column."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sized
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import (
    DataDesignerError,
    DataDesignerGenerationError,
    ValueNotStorableError,
)
from dd_core.storage.arrow import ArrowValues, Values
from dd_core.storage.batch import Batch, NumberedRow
from dd_core.storage.values import admit_value


class BatchValues:
    """Values by column name and by row, counted from the start of the batch."""

    def __init__(self, batch: Batch, seed: int, keys: NDArray[np.int64] | None = None) -> None:
        self._size = batch.size
        self._start = batch.start
        self._seed = seed
        self._keys: list[int] | None = None if keys is None else keys.tolist()
        self._lists: dict[str, list[Any]] = {}
        self._arrays: dict[str, Values] = {}

    def expect(self, names: Iterable[str]) -> None:
        """Make room for columns that arrive row by row; a missing value is None."""
        for name in names:
            self._lists[name] = [None] * self._size

    def put(self, names: Iterable[str], row: int, values: Mapping[str, Any]) -> None:
        """Store one row's values of some columns."""
        for name in names:
            self._lists[name][row] = values.get(name)

    def put_column(self, name: str, values: Values) -> None:
        """Store a column that arrived as a whole."""
        self._lists.pop(name, None)
        self._arrays[name] = values

    def has_column(self, name: str) -> bool:
        """Whether there is a column or side effect of this name."""
        return name in self._arrays or name in self._lists

    def column(self, name: str) -> Values:
        """All rows of a column or side effect."""
        return self._arrays[name] if name in self._arrays else self._lists[name]

    def row(self, names: Iterable[str], row: int, reader: str) -> NumberedRow:
        """One row's values of some columns, as Python objects, for a column or processor."""
        values = {name: self._list(name)[row] for name in names}
        number = self._start + row if self._keys is None else self._keys[row]
        return NumberedRow(values, self._seed, reader, number)

    def clear(self) -> None:
        """Release all values."""
        self._lists.clear()
        self._arrays.clear()

    def _list(self, name: str) -> list[Any]:
        values = self._lists.get(name)
        if values is None:
            array = self._arrays[name]
            values = self._lists[name] = array if isinstance(array, list) else array.tolist()
        return values


def admit_row(returned: Any, row: int) -> Mapping[str, Any]:
    """Return what a generator returned for a row, in the form in which it is stored.

    Raises `ValueNotStorableError` if a value cannot be stored.
    """
    if not isinstance(returned, Mapping):
        raise ValueNotStorableError(
            f"row {row}: the generator returned {type(returned).__name__}, not values by column"
        )
    values = cast("Mapping[str, Any]", returned)
    changed: dict[str, Any] = {}
    for name, value in values.items():
        admitted = _admit(value, name, row)
        if admitted is not value:
            changed[name] = admitted
    return {**values, **changed} if changed else values


def admit_cell(value: Any, column: str, row: int) -> Any:
    """Return a value in the form in which it is stored, or the error that says why it cannot be."""
    if type(value) is str and value.isascii():
        return value
    try:
        return _admit(value, column, row)
    except Exception as error:
        return to_exception(error)


def require_count(values: Sized, count: int, column: str) -> None:
    """Raise `DataDesignerGenerationError` unless a column returned one value for each row."""
    if len(values) != count:
        raise DataDesignerGenerationError(
            f"column {column!r} was asked for {count} values and returned {len(values)}; "
            "it must return one value per row"
        )


def admit_column(
    values: Values, column: str, batch: Batch
) -> tuple[Values, Mapping[int, Exception]]:
    """Return a column in the form in which it is stored, and the rows whose value was refused.

    Rows are counted from the start of the batch.
    """
    require_count(values, batch.size, column)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufmM" and values.itemsize <= 8:
        return values, {}
    listed: list[Any] = values if isinstance(values, list) else [*values.tolist()]
    if {*map(type, listed)} == {str} and all(map(str.isascii, listed)):
        return values, {}
    refused: dict[int, Exception] = {}
    admitted: list[Any] = []
    for row, value in enumerate(listed):
        found = admit_cell(value, column, batch.start + row)
        if isinstance(found, Exception):
            refused[row], found = found, None
        admitted.append(found)
    if all(map(operator.is_, admitted, listed)):
        return values, {}
    if isinstance(values, ArrowValues):  # its array keeps the type of the values
        admitted = ArrowValues(values.array, admitted)
    return admitted, refused


def to_exception(error: BaseException) -> Exception:
    """Return an exception that can be reported: one with text, and not one that ends a process."""
    try:
        text = str(error)
    except Exception as failure:
        text = f"its text cannot be read ({type(failure).__name__})"
    else:
        if isinstance(error, Exception):
            return error
    described = DataDesignerGenerationError(f"{type(error).__name__}: {text}")
    described.__cause__ = error
    return described


def _admit(value: Any, column: str, row: int) -> Any:
    try:
        return admit_value(value)
    except DataDesignerError as error:
        raise ValueNotStorableError(f"column {column!r}, row {row}: {error}") from error
