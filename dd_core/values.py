"""The values of a batch while it is at work, a list or an array for each column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dd_core.column import Values


class BatchValues:
    """Values by column name and by row, counted from the batch's start."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lists: dict[str, list[Any]] = {}
        self._arrays: dict[str, Values] = {}

    def expect(self, names: Iterable[str]) -> None:
        """Make room for columns that come row by row; missing values are None."""
        for name in names:
            self._lists[name] = [None] * self._size

    def put(self, names: Iterable[str], row: int, values: Mapping[str, Any]) -> None:
        """Keep one row's values of some columns."""
        for name in names:
            self._lists[name][row] = values.get(name)

    def put_column(self, name: str, values: Values) -> None:
        """Keep a column that came as a whole."""
        self._lists.pop(name, None)
        self._arrays[name] = values

    def column(self, name: str) -> Values:
        """All rows of a column."""
        return self._arrays[name] if name in self._arrays else self._lists[name]

    def row(self, names: Iterable[str], row: int) -> dict[str, Any]:
        """One row's values of some columns, as Python objects."""
        return {name: self._list(name)[row] for name in names}

    def _list(self, name: str) -> list[Any]:
        values = self._lists.get(name)
        if values is None:
            array = self._arrays[name]
            values = self._lists[name] = array if isinstance(array, list) else array.tolist()
        return values
