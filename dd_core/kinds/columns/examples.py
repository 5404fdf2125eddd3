"""Rows of another table, for example as few-shot examples in prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.declaration.own_fields import OWN
from dd_core.declaration.written import for_identity
from dd_core.errors import Problem, SeedDatasetError, UserTemplateError
from dd_core.kinds.columns._chosen_rows import (
    choose_distinct,
    choose_in_passes,
    list_types,
    take_mappings,
)
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.draws import Draws
from dd_core.kinds.generators import Row, RowColumn
from dd_core.kinds.scope import Scope, list_known, report_unknown
from dd_core.kinds.seeds.seed import SeedSource, SeedTable
from dd_core.storage.batch import are_keys
from dd_core.templates.template import Condition

if TYPE_CHECKING:
    from dd_core.kinds.constraint import Constraint
    from dd_core.kinds.seeds.seed import SeedConfig
    from dd_core.storage.batch import NumberedRow

_BLOCK = 10_000
"""Rows of the source for which a condition is evaluated at a time."""


class ExamplesColumnConfig(Column):
    """A list of rows of another table, for example as few-shot examples in prompts."""

    column_type: Annotated[Literal["examples"], OWN] = "examples"
    source: SeedSource
    """Where the examples come from. Every seed source can be used."""
    k: int = Field(default=3, ge=1, le=1000)
    """Number of examples in each row."""
    where: str | None = None
    """Jinja condition over the columns of the source, for example `{{ stars > 3 }}`; default: all
    rows of the source are examples."""
    match: dict[str, str] = {}
    """Columns of the source that must equal columns of the row, as in `{topic: row_topic}`. A row
    gets fewer than `k` examples if fewer match."""
    columns: list[str] | None = Field(default=None, min_length=1)
    """Columns of the source to keep; default: all."""
    without_replacement: bool = True
    """Whether to use every example once before any is used again; default: yes. If false, or with
    `match`, only the examples within a row differ from each other."""

    @field_validator("where")
    @classmethod
    def _compiles(cls, where: str | None) -> str | None:
        if where is not None:
            Condition.compile(where)
        return where

    @property
    def required_columns(self) -> list[str]:
        """Columns of the row that `match` refers to."""
        return sorted(set(self.match.values()))

    def resolve_paths(self) -> Self:
        """Return the column with absolute paths in its source."""
        return self.model_copy(update={"source": self.source.resolve_paths()})

    def identity(self) -> dict[str, Any]:
        """Return the fields. The content of the source stands for the source."""
        excluded = {"drop", "source"}
        return self.model_dump(mode="json", exclude=excluded, context=for_identity)

    def locate_content(self) -> dict[str, Any]:
        """Return the source."""
        return {"source": self.source.model_dump(mode="json", context=for_identity)}

    def fingerprint_parts(
        self,
        constraints: Sequence[Constraint],
        seed_config: SeedConfig | None,
        seed_table: SeedTable | None,
    ) -> dict[str, Any]:
        """Return the hash of the source's content."""
        return {"source": self.source.open().content_hash()}

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield what keeps the examples from being chosen."""
        yield from super().problems(scope)
        place = f"columns.{self.name}"
        for name in scope.unknown(self.required_columns):
            yield report_unknown(f"{place}.match", name, scope)
        found = [*self.source.problems(f"{place}.source")]
        yield from found
        if not found:
            yield from self._source_problems(place)

    def _source_problems(self, place: str) -> Iterator[Problem]:
        try:
            table = self.source.open()
        except SeedDatasetError as error:
            yield Problem(f"{place}.source", str(error))
            return
        conditions = Condition.compile(self.where).references if self.where else ()
        used = {"where": sorted(conditions), "match": self.match, "columns": self.columns or ()}
        unknown = [
            _report_unknown_source_column(f"{place}.{field}", name, table)
            for field, names in used.items()
            for name in names
            if name not in table.columns
        ]
        yield from unknown
        if unknown:
            return
        try:
            size = len(self._select(table))
        except UserTemplateError as error:
            yield Problem(f"{place}.where", str(error))
            return
        if size == 0 and self.where:
            yield Problem(f"{place}.where", "no row of the source meets the condition; change it")
        elif size == 0:
            yield Problem(f"{place}.source", "has no rows; add examples to it")
        elif size < self.k:
            yield Problem(f"{place}.k", f"must be at most {size}, the number of examples")

    def _select(self, table: SeedTable) -> NDArray[np.int64]:
        """Rows of the source that meet the condition."""
        everything = np.arange(table.num_rows, dtype=np.int64)
        if self.where is None:
            return everything
        condition = Condition.compile(self.where)
        names = sorted(condition.references)
        kept: list[int] = []
        for start in range(0, table.num_rows, _BLOCK):
            rows = everything[start : start + _BLOCK]
            values = [table.take(name, rows) for name in names]
            kept.extend(
                start + index
                for index, line in enumerate(zip(*values, strict=True))
                if condition.holds(dict(zip(names, line, strict=True)))
            )
        return np.array(kept, dtype=np.int64)

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of the lists of rows."""
        table = self.source.open()
        return list_types(self.name, table, self.columns or table.columns)

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator, which holds the numbers of the examples, not their values."""
        table = self.source.open()
        chosen = self._select(table)
        columns = self.columns or table.columns
        if self.match:
            return _MatchingExamples(self, table, columns, chosen)
        return _Examples(self, table, columns, chosen)


def _report_unknown_source_column(place: str, name: str, table: SeedTable) -> Problem:
    close = get_close_matches(name, table.columns, n=1)
    fix = f"did you mean {close[0]!r}?" if close else list_known("columns", table.columns)
    return Problem(place, f"the source has no column {name!r}; {fix}")


class _Examples(RowColumn):
    def __init__(
        self,
        config: ExamplesColumnConfig,
        table: SeedTable,
        columns: Sequence[str],
        selected: NDArray[np.int64],
    ) -> None:
        self._config = config
        self._table = table
        self._columns = columns
        self._selected = selected

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        """Return one list of examples per row."""
        if not rows:
            return []
        numbered = cast("Sequence[NumberedRow]", rows)
        numbers = np.array([row.number for row in numbered], dtype=np.int64)
        chosen = self._choose(rows, numbers, numbered[0].seed)
        return take_mappings(self._table, self._columns, chosen)

    def _choose(
        self, rows: Sequence[Row], numbers: NDArray[np.int64], seed: int
    ) -> NDArray[np.int64]:
        config, size = self._config, len(self._selected)
        if config.without_replacement and not are_keys(numbers):
            places = choose_in_passes(seed, config.name, numbers, size, config.k)
        else:
            places = self._draw(numbers, seed, np.full(len(rows), size, dtype=np.int64))
        return self._selected[places]

    def _draw(
        self, numbers: NDArray[np.int64], seed: int, sizes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Choose for rows that need not be consecutive, such as those that are not skipped."""
        draws, first = Draws.of_rows(seed, self._config.name, numbers)
        if draws.keys is not None:
            return choose_distinct(draws, sizes, self._config.k)
        spread = np.ones(draws.size, dtype=np.int64)
        spread[numbers - first] = sizes
        return choose_distinct(draws, spread, self._config.k)[numbers - first]


class _MatchingExamples(_Examples):
    """Examples that have the same values as the row."""

    def __init__(
        self,
        config: ExamplesColumnConfig,
        table: SeedTable,
        columns: Sequence[str],
        selected: NDArray[np.int64],
    ) -> None:
        super().__init__(config, table, columns, selected)
        values = [table.take(name, selected) for name in config.match]
        groups: dict[str, list[int]] = {}
        for row, line in zip(selected.tolist(), zip(*values, strict=True), strict=True):
            groups.setdefault(_key(line), []).append(row)
        self._groups = {key: np.array(rows, dtype=np.int64) for key, rows in groups.items()}

    def _choose(
        self, rows: Sequence[Row], numbers: NDArray[np.int64], seed: int
    ) -> NDArray[np.int64]:
        none = np.array([], dtype=np.int64)
        names = [*self._config.match.values()]
        groups = [self._groups.get(_key([row[name] for name in names]), none) for row in rows]
        places = self._draw(numbers, seed, np.array([len(group) for group in groups]))
        chosen = np.full_like(places, -1)
        for line, group in enumerate(groups):
            is_chosen = places[line] >= 0
            chosen[line, is_chosen] = group[places[line, is_chosen]]
        return chosen


def _key(values: Sequence[Any]) -> str:
    """Text that is equal for equal values; 2 and 2.0 are equal, 2 and "2" are not."""
    return repr([_plain(value) for value in values])


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        items: Any = value.items()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        return sorted((str(name), repr(_plain(part))) for name, part in items)
    return value
