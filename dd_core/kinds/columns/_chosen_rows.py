"""Choosing rows of a table at random, as a function of the seed, the column and the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.kinds.draws import Draws, permute
from dd_core.kinds.seeds.seed import SeedTable


def choose_distinct(draws: Draws, sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` distinct indexes below each size in random order, shape (draws.size, count).

    A size below `count` gives that many indexes; the rest of its line is -1.
    """
    # Floyd's algorithm draws `count` numbers per row, whatever the size. It favors some orders, so
    # the numbers are shuffled.
    chosen = np.full((draws.size, count), -1, dtype=np.int64)
    wanted = np.minimum(sizes, count)
    for step in range(count):
        last = sizes - wanted + step
        drawn = draws.below(np.maximum(last, 0) + 1, f"rows/{step}")
        is_taken = (chosen[:, :step] == drawn[:, None]).any(axis=1)
        chosen[:, step] = np.where(step < wanted, np.where(is_taken, last, drawn), -1)
    keys = np.stack([draws.uniform(f"order/{step}") for step in range(count)], axis=1)
    keys[chosen < 0] = 2.0
    return np.take_along_axis(chosen, keys.argsort(axis=1, kind="stable"), axis=1)


def choose_in_passes(
    seed: int, column: str, rows: NDArray[np.int64], size: int, count: int
) -> NDArray[np.int64]:
    """Return `count` distinct indexes below `size` for each row, shape (len(rows), count).

    Consecutive rows go through all indexes in a random order before one comes again. The last
    indexes of a pass and the first of the next one may share a row. If `size` is so small that the
    two could then not differ, each row starts its own pass.
    """
    if size < 2 * count - 1:
        chosen = [permute(seed, f"examples/{column}", row, size)[:count] for row in rows.tolist()]
        return np.array(chosen, dtype=np.int64).reshape(len(rows), count)
    slots = rows[:, None] * count + np.arange(count)
    passes, places = slots // size, slots % size
    chosen = np.empty_like(slots)
    for each in np.unique(passes).tolist():
        here = passes == each
        chosen[here] = _order_pass(seed, column, each, size, count)[places[here]]
    return chosen


def _order_pass(seed: int, column: str, number: int, size: int, count: int) -> NDArray[np.int64]:
    """The order of a pass, whose first indexes differ from the others in the row that it shares."""
    order = permute(seed, f"examples/{column}", number, size)
    before = number * size % count  # indexes that the shared row has from the pass before
    if not before:
        return order
    # The last indexes of a pass are never moved, so a pass depends only on the one before it.
    tail = permute(seed, f"examples/{column}", number - 1, size)[size - before :]
    head, own_tail = count - before, (number + 1) * size % count
    middle = np.arange(head, size - own_tail)
    free = middle[~np.isin(order[middle], tail)]
    repeated = np.flatnonzero(np.isin(order[:head], tail))
    spare = free[: len(repeated)]
    order[repeated], order[spare] = order[spare], order[repeated]
    return order


def list_types(name: str, table: SeedTable, columns: Sequence[str]) -> dict[str, Any]:
    """Return the Arrow type of a column of chosen rows, by its name, if the table knows its types.

    See `Column.arrow_types`.
    """
    import pyarrow as pa

    types = [(each, table.column_type(each)) for each in columns if each in table.columns]
    if len(types) < len(columns) or any(kind is None for _, kind in types):
        return {}
    return {name: pa.list_(pa.struct(types))}


def take_mappings(
    table: SeedTable, columns: Sequence[str], chosen: NDArray[np.int64]
) -> list[list[dict[str, Any]]]:
    """Return the rows of the table as mappings, one list per line of `chosen`; -1 is left out.

    Each row of the table is read once.
    """
    used, places = np.unique(chosen[chosen >= 0], return_inverse=True)
    values = {name: table.take(name, used) for name in columns}
    mappings = [{name: values[name][index] for name in columns} for index in range(len(used))]
    flat = iter(places.ravel().tolist())
    counts = (chosen >= 0).sum(axis=1).tolist()
    return [[dict(mappings[next(flat)]) for _ in range(count)] for count in counts]
