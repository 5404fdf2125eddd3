"""The values of a running batch: a list or an array for each column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dd_core.storage.arrow import Values


class BatchValues:
    """Values by column name and by row, counted from the start of the batch."""

    def __init__(self, size: int) -> None:
        self._size = size
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

    def column(self, name: str) -> Values:
        """All rows of a column or side effect."""
        return self._arrays[name] if name in self._arrays else self._lists[name]

    def row(self, names: Iterable[str], row: int) -> dict[str, Any]:
        """One row's values of some columns, as Python objects."""
        return {name: self._list(name)[row] for name in names}

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
