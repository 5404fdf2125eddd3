"""Joins rows of two stages while they are generated."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from dd_core.dataset.workflow.steps import (
    SEPARATOR,
    Losses,
    append_ordinals,
    find_ancestor,
    list_addresses,
)
from dd_core.errors import DataDesignerGenerationError
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import pyarrow as pa

Rows = AsyncIterator["pa.Table"]
Order = tuple[int, ...]

_NO_MATCH = "there is no row to join"


async def join_by_values(
    left: Rows,
    right: Rows,
    on: Sequence[str],
    added: Sequence[str],
    losses: Losses,
    *,
    keeps_all: bool,
) -> Rows:
    """Join rows with equal values. All rows of `right` are kept in memory."""

    def keys_of(table: pa.Table) -> list[Hashable]:
        return [orjson.dumps([*row.values()]) for row in table.select([*on]).to_pylist()]

    tables = [table async for table in right]
    found = _Found(concatenate(tables) if tables else None, keys_of)
    async for table in left:
        yield found.join(table, keys_of(table), added, losses, keeps_all, adds_ordinals=True)


async def join_by_address(
    left: Rows,
    right: Rows,
    depth: int,
    added: Sequence[str],
    losses: Losses,
    *,
    keeps_all: bool,
    is_ordered: bool,
    adds_ordinals: bool,
) -> Rows:
    """Join rows that come from the same row of a stage with addresses of `depth` parts.

    If the rows of both sides arrive in the order of their addresses, only those that may still be
    needed are kept in memory.
    """

    def keys_of(table: pa.Table) -> list[Hashable]:
        return [find_ancestor(address, depth) for address in list_addresses(table)]

    window = _Window(right, depth, is_ordered=is_ordered, is_unique=not adds_ordinals)
    found: _Found | None = None
    async for table in left:
        if not table.num_rows:
            continue
        keys = keys_of(table)
        if await window.move(_order(str(keys[0])), _order(str(keys[-1]))) or found is None:
            found = _Found(window.rows(), keys_of)
        yield found.join(table, keys, added, losses, keeps_all, adds_ordinals=adds_ordinals)


class _Window:
    """The rows of the right side that may belong to the current rows of the left side."""

    def __init__(self, rows: Rows, depth: int, *, is_ordered: bool, is_unique: bool) -> None:
        self._rows = rows
        self._depth = depth
        self._is_ordered = is_ordered
        self._is_unique = is_unique
        """Whether at most one row has each address."""
        self._tables: deque[tuple[Order, pa.Table]] = deque()
        """The tables, each with its last address."""
        self._is_complete = False

    async def move(self, first: Order, last: Order) -> bool:
        """Read rows up to the address `last`, and forget those before `first`.

        Returns whether the rows are others than before.
        """
        before = [id(table) for _, table in self._tables]
        while self._is_ordered and self._tables and self._tables[0][0] < first:
            self._tables.popleft()
        while not self._is_complete and not self._reaches(last):
            table = await anext(self._rows, None)
            if table is None:
                self._is_complete = True
            elif table.num_rows:
                end = _order(find_ancestor(list_addresses(table)[-1], self._depth))
                if self._is_ordered and self._tables and end < self._tables[-1][0]:
                    raise DataDesignerGenerationError(
                        "the rows to join are not in the order of their addresses; join them by "
                        "columns, with `on`"
                    )
                self._tables.append((end, table))
        return before != [id(table) for _, table in self._tables]

    def _reaches(self, last: Order) -> bool:
        if not self._is_ordered or not self._tables:
            return False
        end = self._tables[-1][0]
        # Further rows of the last address may follow in the next table.
        return end > last or (self._is_unique and end == last)

    def rows(self) -> pa.Table | None:
        """The rows; None if there are none."""
        tables = [table for _, table in self._tables]
        return concatenate(tables) if tables else None


class _Found:
    """Rows of the right side by key."""

    def __init__(
        self, table: pa.Table | None, keys_of: Callable[[pa.Table], list[Hashable]]
    ) -> None:
        self._table = table
        self._rows: dict[Hashable, list[int]] = {}
        for row, key in enumerate(keys_of(table) if table is not None else ()):
            self._rows.setdefault(key, []).append(row)

    def join(
        self,
        left: pa.Table,
        keys: Sequence[Hashable],
        added: Sequence[str],
        losses: Losses,
        keeps_all: bool,
        *,
        adds_ordinals: bool,
    ) -> pa.Table:
        """Return the rows of the left side with the added columns."""
        import pyarrow as pa

        arrow: Any = pa
        sources: list[int] = []
        matches: list[int | None] = []
        ordinals: list[int] = []
        for row, key in enumerate(keys):
            found: list[int | None] = [*self._rows.get(key, ())]
            if not found and keeps_all:
                found = [None]
            elif not found:
                losses[_NO_MATCH] += 1
            sources += [row] * len(found)
            matches += found
            ordinals += range(len(found))
        made = left.take(arrow.array(sources, pa.int64()))
        if adds_ordinals:
            made = append_ordinals(made, ordinals)
        chosen = arrow.array(matches, pa.int64())
        for name in added:
            column: Any = arrow.nulls(len(chosen))
            if self._table is not None:
                column = self._table.column(name).take(chosen)
            made = made.append_column(name, column)
        return made


def _order(address: str) -> Order:
    """Sort key of an address."""
    return tuple(int(part) for part in address.split(SEPARATOR))
