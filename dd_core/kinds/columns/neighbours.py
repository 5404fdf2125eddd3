"""Other rows of the seed dataset, for example as distractors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dd_core.declaration.own_fields import OWN
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.columns._chosen_rows import choose_distinct, list_types, take_mappings
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.draws import Draws
from dd_core.kinds.generators import Row, RowColumn
from dd_core.kinds.scope import Scope, list_known
from dd_core.storage.batch import Batch

if TYPE_CHECKING:
    from dd_core.kinds.constraint import Constraint
    from dd_core.kinds.seeds.seed import SeedConfig, SeedRows, SeedTable
    from dd_core.storage.batch import NumberedRow

_BLOCK = 10_000
"""Rows of the seed dataset that are read at a time."""
_QUERIES = 64
"""Rows whose similarities to all others are in memory at a time."""
_DECIMALS = 5
"""Similarities are rounded, because their last digits depend on how many are computed at once."""


class NeighboursColumnConfig(Column):
    """A list of other rows of the seed dataset, for example as distractors."""

    reads_all_seed_rows = True

    column_type: Annotated[Literal["neighbours"], OWN] = "neighbours"
    by: Literal["random", "group", "embedding"] = "random"
    """How the rows are chosen. `random`: among all rows; `group`: at random among the rows with the
    same value of `column`; `embedding`: those whose vectors in `column` are most similar."""
    k: int = Field(default=3, ge=1, le=1000)
    """Number of rows."""
    column: str | None = None
    """Column of the seed dataset with the group or the vector."""
    different: bool = False
    """With `by: group`, whether to choose from all other groups instead; default: no."""
    columns: list[str] | None = Field(default=None, min_length=1)
    """Columns of the seed dataset to keep; default: all except the vector."""

    @model_validator(mode="after")
    def _column_fits(self) -> Self:
        if self.by == "random" and self.column is not None:
            raise ValueError("column is not used by 'random'; remove it, or change by")
        if self.by != "random" and self.column is None:
            raise ValueError(f"by {self.by!r} needs column, the column of the seed dataset")
        if self.different and self.by != "group":
            raise ValueError("different needs by: group; remove it, or change by")
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

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield what keeps the rows from being chosen."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        rows = scope.seed_rows
        if rows is None:
            message = "chooses rows of the seed dataset, but there is none; add a seed_config"
            yield Problem(place, message)
            return
        known = rows.table.columns
        used = {"column": [self.column] if self.column else [], "columns": self.columns or []}
        unknown = [(field, name) for field in used for name in used[field] if name not in known]
        for field, name in unknown:
            close = get_close_matches(name, known, n=1)
            fix = f"did you mean {close[0]!r}?" if close else list_known("columns", known)
            message = f"the seed dataset has no column {name!r}; {fix}"
            yield Problem(f"{place}.{field}", message)
        if self.k >= len(rows.selected):
            most = len(rows.selected) - 1
            message = f"must be at most {most}, the number of other rows of the seed dataset"
            yield Problem(f"{place}.k", message)
        if self.by == "embedding" and not unknown:
            try:
                _read_vectors(rows, self.column or "")
            except SeedDatasetError as error:
                yield Problem(f"{place}.column", str(error))

    def list_kept(self, table: SeedTable) -> list[str]:
        """Return the columns of the seed dataset that the values contain."""
        vector = self.column if self.by == "embedding" else None
        return self.columns or [name for name in table.columns if name != vector]

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of the lists of rows."""
        if seed_table is None:
            return {}
        return list_types(self.name, seed_table, self.list_kept(seed_table))

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator; raises `SeedDatasetError` if there is no seed dataset."""
        rows = binding.seed_rows
        if rows is None:
            raise SeedDatasetError(f"column {self.name!r} needs a seed dataset; add a seed_config")
        return (_Nearest if self.by == "embedding" else _AtRandom)(self, rows)


class _Neighbours(RowColumn):
    def __init__(self, config: NeighboursColumnConfig, rows: SeedRows) -> None:
        self._config = config
        self._rows = rows
        self._columns = config.list_kept(rows.table)

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        """Return one list of rows of the seed dataset per row."""
        if not rows:
            return []
        numbered = cast("Sequence[NumberedRow]", rows)
        numbers = np.array([row.number for row in numbered], dtype=np.int64)
        first = int(numbers.min())
        span = Batch(0, first, int(numbers.max()) - first + 1)
        start = self._rows.selected.start
        own = self._rows.indexes(span)[numbers - first] - start
        draws = Draws(numbered[0].seed, self._config.name, first, span.size)
        chosen = self._choose(draws, numbers - first, own)
        chosen = np.where(chosen < 0, -1, chosen + start)
        return take_mappings(self._rows.table, self._columns, chosen)

    def _choose(
        self, draws: Draws, places: NDArray[np.int64], own: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Choose selected rows, counted from 0. `places` are places in the draws."""
        raise NotImplementedError


class _AtRandom(_Neighbours):
    """Rows of the own group, or of the others. At random means that all rows are one group."""

    def __init__(self, config: NeighboursColumnConfig, rows: SeedRows) -> None:
        super().__init__(config, rows)
        codes = _read_groups(rows, config.column)
        self._order = np.argsort(codes, kind="stable")
        self._ranks = np.empty_like(self._order)
        self._ranks[self._order] = np.arange(len(codes))
        sizes = np.bincount(codes)
        self._starts = (np.cumsum(sizes) - sizes)[codes]
        self._sizes = sizes[codes]

    def _choose(
        self, draws: Draws, places: NDArray[np.int64], own: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        starts, sizes = self._starts[own], self._sizes[own]
        is_different = self._config.different
        limits = len(self._order) - sizes if is_different else sizes - 1
        spread = np.ones(draws.size, dtype=np.int64)
        spread[places] = limits
        chosen = choose_distinct(draws, spread, self._config.k)[places]
        is_none = chosen < 0
        if is_different:  # skip the own group
            chosen = np.where(chosen >= starts[:, None], chosen + sizes[:, None], chosen)
        else:  # skip the row itself
            chosen = chosen + starts[:, None]
            chosen += chosen >= self._ranks[own][:, None]
        return np.where(is_none, -1, self._order[np.where(is_none, 0, chosen)])


class _Nearest(_Neighbours):
    """The rows with the largest cosine similarity, the most similar first."""

    def __init__(self, config: NeighboursColumnConfig, rows: SeedRows) -> None:
        super().__init__(config, rows)
        self._vectors = _read_vectors(rows, config.column or "")

    def _choose(
        self, draws: Draws, places: NDArray[np.int64], own: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        unique, lines = np.unique(own, return_inverse=True)
        blocks = [
            self._find(unique[start : start + _QUERIES])
            for start in range(0, len(unique), _QUERIES)
        ]
        return np.concatenate(blocks)[lines.ravel()]

    def _find(self, own: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.empty((len(own), self._config.k), dtype=np.int64)
        similar = np.round(self._vectors[own] @ self._vectors.T, _DECIMALS)
        similar[np.arange(len(own)), own] = -np.inf
        last = np.partition(similar, -self._config.k, axis=1)[:, -self._config.k]
        for line, values in enumerate(similar):
            # All rows that are as similar as the last one take part, so that the first of them win.
            candidates = np.flatnonzero(values >= last[line])
            best = np.argsort(-values[candidates], kind="stable")[: self._config.k]
            found[line] = candidates[best]
        return found


def _read_groups(rows: SeedRows, column: str | None) -> NDArray[np.int64]:
    """The number of the group of each selected row."""
    if column is None:
        return np.zeros(len(rows.selected), dtype=np.int64)
    known: dict[str, int] = {}
    parts: list[NDArray[np.int64]] = []
    for block in _list_blocks(rows):
        values = rows.table.take(column, block)
        codes = [known.setdefault(repr(value), len(known)) for value in values]
        parts.append(np.array(codes, dtype=np.int64))
    return np.concatenate(parts)


def _read_vectors(rows: SeedRows, column: str) -> NDArray[np.float32]:
    """The vectors of the selected rows, each of length 1, shape (rows, dimension)."""
    parts: list[NDArray[np.float32]] = []
    for block in _list_blocks(rows):
        try:
            part = np.array([*rows.table.take(column, block)], dtype=np.float32)
        except (TypeError, ValueError):
            part = np.array([], dtype=np.float32)
        lengths = np.linalg.norm(part, axis=1) if part.ndim == 2 else np.zeros(1, np.float32)
        is_usable = bool(np.isfinite(lengths).all() and (lengths > 0).all())
        if not is_usable or (parts and parts[0].shape[1] != part.shape[1]):
            raise SeedDatasetError(
                f"column {column!r} of the seed dataset must hold a list of numbers in every row, "
                "all of the same length and not all zero; compute the vectors of all rows first"
            )
        parts.append(part / lengths[:, None])
    return np.concatenate(parts)


def _list_blocks(rows: SeedRows) -> Iterator[NDArray[np.int64]]:
    chosen = rows.selected
    for start in range(chosen.start, chosen.stop, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, chosen.stop), dtype=np.int64)
