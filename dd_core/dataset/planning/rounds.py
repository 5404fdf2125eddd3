"""The columns that the compiler plans in place of columns that are repeated.

A `RoundColumn` is one column in one round. A skipped cell and a null value must be told apart, so
its values are in a list of one item; a skipped cell is null. A `ComputedColumn` decides from the
values of the rounds what happens next, and which of them the dataset contains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import (
    CellColumn,
    Generator,
    GroupColumn,
    Row,
    RowColumn,
    WholeColumn,
)
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch, NumberedRow

if TYPE_CHECKING:
    from dd_core.kinds.constraint import Constraint
    from dd_core.kinds.seeds.seed import SeedConfig, SeedTable
    from dd_core.models.admission.slot import RequestSlot
    from dd_core.models.model import Model
    from dd_core.models.probe import Probe

PREVIOUS, ROUND = "previous", "round"
"""Names that templates of repeated columns may use besides those of columns."""

Compute: TypeAlias = Callable[[Row], Any]


@dataclass(frozen=True)
class Round:
    """One round: where the names that its templates use are found."""

    number: int
    """Counted from 1."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Stored names of this round by the names that templates use."""
    previous: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same for the round before; empty in the first round."""
    boxed: frozenset[str] = frozenset()
    """Stored names whose values are in a list of one item."""

    def list_stored(self, names: Iterable[str]) -> list[str]:
        """The stored names from which the values of some names are taken."""
        found: list[str] = []
        for name in names:
            if name == PREVIOUS:
                found += self.previous.values()
            elif name != ROUND:
                found.append(self.names.get(name, name))
        return [*dict.fromkeys(found)]

    def make_reader(self, names: Iterable[str], *, numbered: bool = True) -> Callable[[Row], Row]:
        """A function that finds the values of some names in a row of stored values.

        `numbered` rows know their place in the dataset. Only what chooses at random needs them.
        """
        wanted = [*names]
        own = [each for each in wanted if each not in (PREVIOUS, ROUND)]
        stored = [(each, self.names.get(each, each)) for each in own]
        before = [*self.previous.items()] if PREVIOUS in wanted else None
        fixed: dict[str, Any] = {ROUND: self.number} if ROUND in wanted else {}
        read = self.open

        def find(row: Row) -> Row:
            values = {**fixed}
            for name, at in stored:
                values[name] = read(row, at)
            if before is not None:
                values[PREVIOUS] = {name: read(row, at) for name, at in before} or None
            if numbered and isinstance(row, NumberedRow):
                # What a template chooses at random differs from round to round.
                column = f"{row.column} ({self.number})"
                return NumberedRow(values, row.seed, column, row.number)
            return values

        return find

    def open(self, row: Row, stored: str) -> Any:
        """The value under a stored name."""
        value = row[stored]
        return value[0] if stored in self.boxed and value is not None else value


class ComputedColumn(Column):
    """Values that follow from those of other columns of the row."""

    is_internal = True

    reads: list[str]
    compute: Any
    """A function of a row that returns a value."""
    facts: Any
    """What the function depends on besides the row."""
    types: Any = None
    """A function that returns the Arrow type of the values, given the seed table."""

    @property
    def kind(self) -> str:
        return "computed"

    @property
    def required_columns(self) -> list[str]:
        """The columns that the function reads."""
        return self.reads

    def identity(self) -> dict[str, Any]:
        """Return what the values depend on besides the columns."""
        return {"computed": self.facts, "skip": self.skip and self.skip.model_dump()}

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of the values, if it is known."""
        kind = None if self.types is None else self.types(seed_table)
        return {} if kind is None else {self.name: kind}

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator that calls the function."""
        return _Computed(self.compute)


class _Computed(RowColumn):
    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        return [self._try(row) for row in rows]

    def _try(self, row: Row) -> Any:
        try:
            return self._compute(row)
        except Exception as error:  # the engine drops the row
            return error


class KeptColumn(ComputedColumn):
    """The values of a repeated column that the dataset contains."""

    is_internal = False


class RoundColumn(Column):
    """A column in one round, under names of its own."""

    inner: Any
    """The column that is repeated."""
    scope: Any
    """The round."""
    stored: dict[str, str]
    """Stored names by the names under which the column returns its values."""

    @property
    def kind(self) -> str:
        return self._column.kind

    @property
    def _column(self) -> Column:
        return self.inner

    @property
    def _round(self) -> Round:
        return self.scope

    @property
    def required_columns(self) -> list[str]:
        """The stored names of what the column reads."""
        return self._round.list_stored(self._column.required_columns)

    @property
    def side_effect_columns(self) -> list[str]:
        """The stored names of the side effects."""
        return [self.stored[name] for name in self._column.side_effect_columns]

    def inputs(self, constraints: Sequence[Constraint]) -> list[str]:
        """Return the stored names of what the generator needs."""
        return self._round.list_stored(self._column.inputs(constraints))

    def get_model_aliases(self) -> list[str]:
        """Return the models of the column."""
        return self._column.get_model_aliases()

    def count_requests(self) -> int | None:
        """Return how many requests a cell of the column takes."""
        return self._column.count_requests()

    def get_probe(self) -> Probe | None:
        """Return the request that checks the model."""
        return self._column.get_probe()

    def get_tool_aliases(self) -> list[str]:
        """Return the tools of the column."""
        return self._column.get_tool_aliases()

    def identity(self) -> dict[str, Any]:
        """Return the declaration of the column, and the round that it is for."""
        skip = self.skip and self.skip.model_dump()
        return {"round": self._round.number, "column": self._column.identity(), "skip": skip}

    def fingerprint_parts(
        self,
        constraints: Sequence[Constraint],
        seed_config: SeedConfig | None,
        seed_table: SeedTable | None,
    ) -> dict[str, Any]:
        """Return what else determines the values of the column."""
        return self._column.fingerprint_parts(constraints, seed_config, seed_table)

    def bind(self, binding: Binding) -> Generator:
        """Return the generator of the column, connected to the names of the round."""
        generator = self._column.bind(binding)
        reads = self._column.inputs(binding.constraints)
        if isinstance(generator, CellColumn):
            return _RoundCells(generator, self, reads)
        if isinstance(generator, GroupColumn):
            return _RoundGroups(generator, self, reads)
        if isinstance(generator, RowColumn):
            return _RoundRows(generator, self, reads)
        return _RoundBatches(generator, self._round, reads)

    def store(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the column and of its side effects, under their stored names."""
        found = {self.stored[name]: value for name, value in values.items() if name in self.stored}
        found[self.name] = [found[self.name]]
        return found


class _RoundCells(CellColumn):
    def __init__(self, inner: CellColumn, column: RoundColumn, reads: Sequence[str]) -> None:
        self.model: Model | None = inner.model
        self._inner, self._column, self._read = inner, column, column.scope.make_reader(reads)

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        return self._column.store(await self._inner.generate(self._read(row), slot))


class _RoundGroups(GroupColumn):
    def __init__(self, inner: GroupColumn, column: RoundColumn, reads: Sequence[str]) -> None:
        self.group_size = inner.group_size
        self.max_parallel_groups = inner.max_parallel_groups
        self._inner, self._column, self._read = inner, column, column.scope.make_reader(reads)

    async def generate(self, rows: Sequence[Row]) -> list[Mapping[str, Any] | Exception]:
        return [
            entry if isinstance(entry, Exception) else self._column.store(entry)
            for entry in await self._inner.generate([*map(self._read, rows)])
        ]


class _RoundRows(RowColumn):
    def __init__(self, inner: RowColumn, column: RoundColumn, reads: Sequence[str]) -> None:
        self.is_repeatable = inner.is_repeatable
        self.has_side_effects = inner.has_side_effects
        self._inner, self._column, self._read = inner, column, column.scope.make_reader(reads)

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        return [
            entry if isinstance(entry, Exception) else self._store(entry)
            for entry in self._inner.generate([*map(self._read, rows)])
        ]

    def _store(self, entry: Any) -> Any:
        return self._column.store(entry) if self.has_side_effects else [entry]


class _RoundBatches(WholeColumn):
    """The values are not put into lists, because no cell is skipped."""

    def __init__(self, inner: WholeColumn, scope: Round, reads: Sequence[str]) -> None:
        self._inner, self._scope, self._reads = inner, scope, reads

    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        names = self._scope.names
        return self._inner.generate(
            batch, {each: inputs[names.get(each, each)] for each in self._reads}
        )
