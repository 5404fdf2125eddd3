"""The contract of a column: what a declaration says, and how its values come about.

A kind of column lives in one file of `dd_core/columns/`: a frozen declaration (a subclass of
`Column`) whose `bind` returns one of four generators. The engine asks only which of the four it
is; everything else it learns from the declaration.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import Field, field_validator, model_validator

from dd_core.errors import Problem, UserTemplateError
from dd_core.kind import Declaration, Kind
from dd_core.location import Location
from dd_core.template import Condition, Engine, Template, references

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dd_core.constraint import Constraint
    from dd_core.models.config import ModelConfig
    from dd_core.models.model import Model
    from dd_core.models.seat import Seat
    from dd_core.run_config import RunConfig
    from dd_core.seed import SeedRows
    from dd_core.statistics import ColumnStatistics, ColumnView


class DataDesignerColumnType(StrEnum):
    """Names of the built-in kinds of column."""

    SAMPLER = "sampler"
    SEED_DATASET = "seed-dataset"
    LLM_TEXT = "llm-text"
    LLM_CODE = "llm-code"
    LLM_STRUCTURED = "llm-structured"
    LLM_JUDGE = "llm-judge"
    EXPRESSION = "expression"
    VALIDATION = "validation"
    EMBEDDING = "embedding"
    IMAGE = "image"
    CUSTOM = "custom"


Row: TypeAlias = Mapping[str, Any]
"""One row's values by column name, restricted to what the column needs."""

Values: TypeAlias = "list[Any] | NDArray[np.generic]"
"""One column's values over a batch, in row order."""


class SkipConfig(Declaration):
    """When a cell is not generated, and what stands in its place."""

    when: str
    """Jinja condition over other columns, for example `{{ rating > 3 }}`; true skips the cell."""
    value: bool | int | float | str | None = None
    """What a skipped cell holds."""

    @field_validator("when")
    @classmethod
    def _compiles(cls, when: str) -> str:
        Condition.compile(when)
        return when

    @property
    def columns(self) -> list[str]:
        """Names that the condition refers to, sorted."""
        return sorted(Condition.compile(self.when).references)


@dataclass(frozen=True)
class Batch:
    """A range of the dataset's rows that is generated and written together."""

    index: int
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Scope:
    """What a column can refer to, for the checks before a run."""

    columns: Mapping[str, Column]
    names: frozenset[str]
    """Every name a template may use: columns, their side effects, seed columns."""
    models: Mapping[str, ModelConfig]
    """The models by alias."""
    constraints: Sequence[Constraint] = ()
    rendering: Engine = "secure"
    """The engine that templates are rendered with."""

    def unknown(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self.names]


@dataclass(frozen=True)
class Binding:
    """What a declaration needs to become a generator."""

    seed: int
    run_config: RunConfig
    models: Mapping[str, Model] = field(default_factory=dict[str, "Model"])
    constraints: Sequence[Constraint] = ()
    seed_rows: SeedRows | None = None
    columns: Mapping[str, Column] = field(default_factory=dict[str, "Column"])
    """Every column of the dataset by name, for kinds that draw their siblings' values again."""
    folder: Location | None = None
    """The dataset's folder, for kinds that read or write files there; None in a preview."""


class WholeColumn(ABC):
    """Generates a column of a batch in one go, when its inputs are complete."""

    seconds_a_row: float = math.inf
    """What a row took the last time."""

    @abstractmethod
    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        """Values of all `batch.size` rows. Runs in a worker thread unless it is very quick."""


class RowColumn(ABC):
    """Generates any set of rows whose inputs are there, by computing."""

    @abstractmethod
    def generate(self, rows: Sequence[Row]) -> Sequence[Any]:
        """One value a row, in order; an exception instance in a row's place drops that row."""


class CellColumn(ABC):
    """Generates one cell at a time by waiting for something, usually a model."""

    model: Model | None = None
    """The model whose request slots the cells queue for; None for cells that ask no model."""

    @abstractmethod
    async def generate(self, row: Row, seat: Seat | None) -> Mapping[str, Any]:
        """Values of the column and its side effects. `seat` is the cell's place at `model`."""


class GroupColumn(ABC):
    """Generates rows in groups by waiting for something, such as a server or a thread."""

    group_size: int | None = None
    """Most rows in a group; None for all rows of a batch at once, when all inputs are complete."""
    max_parallel_groups: int = 4
    """Groups at work at the same time, in each batch."""

    @abstractmethod
    async def generate(self, rows: Sequence[Row]) -> Sequence[Mapping[str, Any] | Exception]:
        """For each row the values of the column and its side effects; an exception drops the row.

        Rows that were dropped or skipped before are not among those given.
        """


Generator: TypeAlias = WholeColumn | RowColumn | CellColumn | GroupColumn


class Column(Kind, tag="column_type"):
    """What every kind of column has in common."""

    answered_by: ClassVar[tuple[str, ...]] = ()
    """Values of a model's `generation_type` that suit this kind; any, if there are none."""
    writes_files: ClassVar[bool] = False
    """Whether values name files in the dataset's folder, so that other datasets cannot use them."""
    gated_by: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share", "max_drift")
    """The gates of `ColumnGates` that values of this kind can be held against."""
    is_drawn: ClassVar[bool] = False
    """Whether values are there from the start, drawn or looked up: `before_batch` is given them."""

    name: str = Field(min_length=1)
    """Name of the column in the dataset and in templates."""
    drop: bool = False
    """Generate the column and let others use it, but leave it out of the dataset."""
    skip: SkipConfig | None = None
    """When not to generate a cell of this column."""
    propagate_skip: bool = True
    """Skip a cell also when one of the columns that it needs was skipped in that row."""

    @model_validator(mode="after")
    def _skip_looks_elsewhere(self) -> Column:
        own = {self.name, *self.side_effect_columns}
        if self.skip is not None and not own.isdisjoint(self.skip.columns):
            raise ValueError(
                f"skip.when of column {self.name!r} refers to the column itself; "
                "use a column that is generated before it"
            )
        return self

    @property
    def required_columns(self) -> list[str]:
        """Names of the columns that the values depend on."""
        return []

    @property
    def side_effect_columns(self) -> list[str]:
        """Names of further columns that come out of generating this one."""
        return []

    @property
    def scores_by_name(self) -> Mapping[str, bool]:
        """The scores that a judge's values hold, and whether they are numbers."""
        return {}

    def get_model_aliases(self) -> list[str]:
        """Aliases of the models that generating this column asks."""
        alias = getattr(self, "model_alias", None)
        return [] if alias is None else [alias]

    def identity(self) -> dict[str, Any]:
        """The part of the declaration that determines the values, for the fingerprint."""
        return self.model_dump(mode="json", exclude={"drop"}) | self.own_code

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """What is wrong with this column, given all the others. Kinds add to what is here."""
        place = f"columns.{self.name}"
        for alias in self.get_model_aliases():
            yield from self._alias_problems(alias, scope)
        if self.skip is not None:
            for name in scope.unknown(self.skip.columns):
                yield unknown_reference(f"{place}.skip.when", name, scope)

    def _alias_problems(self, alias: str, scope: Scope) -> Iterator[Problem]:
        place = f"columns.{self.name}.model_alias"
        model = scope.models.get(alias)
        if model is None:
            known = known_names("aliases", scope.models)
            yield Problem(place, f"no model has the alias {alias!r}; {known}")
        elif self.answered_by and model.generation_type not in self.answered_by:
            wanted = " or ".join(repr(each) for each in self.answered_by)
            yield Problem(
                place,
                f"model {alias!r} is for {model.generation_type.value!r}; set generation_type to "
                f"{wanted} in its inference_parameters, or name another model",
            )

    @abstractmethod
    def bind(self, binding: Binding) -> Generator:
        """The generator of this column's values."""

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """What the values of a finished dataset are like. Kinds add figures of their own."""
        from dd_core.statistics import ColumnStatistics

        return ColumnStatistics(**view.general())


def template_references(source: str | None) -> list[str]:
    """Names that a template uses, sorted; none for None."""
    return sorted(references(source)) if source else []


def known_names(what: str, names: Collection[str]) -> str:
    """The end of an error message that lists what could have been meant."""
    if not names:
        return f"there are no {what}"
    listed = ", ".join(repr(name) for name in sorted(names)[:20])
    return f"known {what}: {listed}" + (" ..." if len(names) > 20 else "")


def template_problems(place: str, source: str | None, scope: Scope) -> Iterator[Problem]:
    """What keeps a template from being rendered: a rule that it breaks, or unknown names."""
    if not source:
        return
    try:
        Template.compile(source, engine=scope.rendering)
    except UserTemplateError as error:
        yield Problem(place, str(error))
        return
    for name in scope.unknown(template_references(source)):
        yield unknown_reference(place, name, scope)


def unknown_reference(place: str, name: str, scope: Scope) -> Problem:
    """The problem of a template that uses a name which nothing provides."""
    from difflib import get_close_matches

    close = get_close_matches(name, scope.names, n=1)
    fix = f"did you mean {close[0]!r}?" if close else known_names("columns", scope.names)
    return Problem(place, f"refers to {name!r}, which is no column; {fix}")
