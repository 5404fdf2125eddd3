"""The contract of a column: what a declaration says, and how its values come about.

A kind of column lives in one file of `dd_core/columns/`: a frozen declaration (a subclass of
`Column`) whose `bind` returns one of four generators. The engine asks only which of the four it
is; everything else it learns from the declaration.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.kind import Declaration, Kind
from dd_core.errors import Problem
from dd_core.kinds.generators import Generator
from dd_core.kinds.scope import Scope, list_known, report_unknown
from dd_core.storage.location import Location
from dd_core.templates.template import Condition, RenderingMode

if TYPE_CHECKING:
    from dd_core.kinds.code_lang import CodeLang
    from dd_core.kinds.constraint import Constraint
    from dd_core.kinds.seeds.seed import SeedConfig, SeedRows, SeedTable
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView
    from dd_core.models.conversation import ConversationLimits
    from dd_core.models.model import Model


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
class Binding:
    """What a declaration needs to become a generator."""

    seed: int
    """Seed of the dataset."""
    rendering: RenderingMode
    """How templates are rendered."""
    conversation: ConversationLimits
    """How often an answer that cannot be parsed is requested again."""
    max_calls: int
    """Most cells of the run that may be generated at the same time."""
    threads: int
    """Threads for work that sends no requests."""
    models: Mapping[str, Model] = field(default_factory=dict[str, "Model"])
    constraints: Sequence[Constraint] = ()
    seed_rows: SeedRows | None = None
    columns: Mapping[str, Column] = field(default_factory=dict[str, "Column"])
    """Every column of the dataset by name, for kinds that draw their siblings' values again."""
    folder: Location | None = None
    """The dataset's folder, for kinds that read or write files there; None in a preview."""


class Column(Kind, tag="column_type"):
    """What every kind of column has in common."""

    model_types: ClassVar[tuple[str, ...]] = ()
    """Values of a model's `generation_type` that suit this kind; any, if there are none."""
    writes_files: ClassVar[bool] = False
    """Whether values name files in the dataset's folder, so that other datasets cannot use them."""
    supported_gates: ClassVar[tuple[str, ...]] = (
        "max_null_share",
        "max_duplicate_share",
        "max_drift",
    )
    """The gates of `ColumnGates` that values of this kind can be held against."""
    is_sampled: ClassVar[bool] = False
    """Whether values are drawn by a sampler, so that constraints and conditions apply to them."""
    is_seed: ClassVar[bool] = False
    """Whether values come from the seed dataset."""
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

    @property
    def score_descriptions(self) -> Mapping[str, str]:
        """What each score of a judge measures, by the scores' names."""
        return {}

    @property
    def code_language(self) -> CodeLang | None:
        """The language of the values if they are code."""
        return None

    def inputs(self, constraints: Sequence[Constraint]) -> list[str]:
        """Names whose values generating needs, given the dataset's constraints."""
        return self.required_columns

    def with_managed_assets(self, folder: Path) -> Self:
        """The same column, told which folder managed datasets are in."""
        return self

    def get_model_aliases(self) -> list[str]:
        """Aliases of the models that generating this column asks."""
        alias = getattr(self, "model_alias", None)
        return [] if alias is None else [alias]

    def identity(self) -> dict[str, Any]:
        """The part of the declaration that determines the values, for the fingerprint."""
        return self.model_dump(mode="json", exclude={"drop"}) | self.own_code

    def fingerprint_parts(
        self,
        constraints: Sequence[Constraint],
        seed_config: SeedConfig | None,
        seed_table: SeedTable | None,
    ) -> dict[str, Any]:
        """What the values depend on beside the declaration, its inputs and its models."""
        return {}

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """What is wrong with this column, given all the others. Kinds add to what is here."""
        place = f"columns.{self.name}"
        for alias in self.get_model_aliases():
            yield from self._alias_problems(alias, scope)
        if self.skip is not None:
            for name in scope.unknown(self.skip.columns):
                yield report_unknown(f"{place}.skip.when", name, scope)

    def _alias_problems(self, alias: str, scope: Scope) -> Iterator[Problem]:
        place = f"columns.{self.name}.model_alias"
        model = scope.models.get(alias)
        if model is None:
            known = list_known("aliases", scope.models)
            yield Problem(place, f"no model has the alias {alias!r}; {known}")
        elif self.model_types and model.generation_type not in self.model_types:
            wanted = " or ".join(repr(each) for each in self.model_types)
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
        from dd_core.kinds.statistics import ColumnStatistics

        return ColumnStatistics(**view.general())
