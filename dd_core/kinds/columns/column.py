"""The contract of a column: a declaration, and the generator that produces its values.

A kind of column is a subclass of `Column` in one module of `dd_core/kinds/columns/`, or in your own
code (see docs/own-kinds.md):

- Its fields are the fields in YAML and in Prefect's form. A declaration is frozen; the docstring
  below a field is its description.
- `required_columns` names the columns that its values are computed from. They determine the order.
- `problems` reports mistakes before the run starts.
- `bind` returns one of the four generators of `dd_core/kinds/generators.py`.

The engine knows these four generators, not the kinds. Everything else it needs to know is a
property of the declaration.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.kind import Declaration, Kind
from dd_core.declaration.written import for_identity
from dd_core.errors import Problem
from dd_core.kinds.generators import Generator
from dd_core.kinds.scope import Scope, list_known, report_unknown
from dd_core.storage.location import Location
from dd_core.templates.template import Condition, RenderingMode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dd_core.kinds.code_lang import CodeLang
    from dd_core.kinds.constraint import Constraint
    from dd_core.kinds.seeds.seed import SeedConfig, SeedRows, SeedTable
    from dd_core.kinds.statistics import ColumnStatistics, ColumnView
    from dd_core.models.conversation import ConversationLimits
    from dd_core.models.model import Model
    from dd_core.models.probe import Probe
    from dd_core.models.tools.toolbox import Toolbox
    from dd_core.storage.batch import Batch
    from dd_core.storage.journal import TurnJournal


class DataDesignerColumnType(StrEnum):
    """Tags of the built-in kinds of column."""

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
    """A condition under which a cell is not generated, and the value that it holds instead."""

    when: str
    """Jinja condition over other columns of the row, for example `{{ rating > 3 }}`. If it is true,
    the cell is skipped."""
    value: bool | int | float | str | None = None
    """Value of a skipped cell; default: null."""

    @field_validator("when")
    @classmethod
    def _compiles(cls, when: str) -> str:
        Condition.compile(when)
        return when

    @property
    def columns(self) -> list[str]:
        """Names of the columns that the condition refers to, sorted."""
        return sorted(Condition.compile(self.when).references)


@dataclass(frozen=True)
class Binding:
    """The resources and settings of a run from which a declaration builds its generator."""

    seed: int
    """Seed of the run."""
    rendering: RenderingMode
    """Mode for `Template.compile`."""
    conversation: ConversationLimits
    """How often an answer that cannot be parsed is retried."""
    max_calls: int
    """Maximum number of cells of the run that are generated at the same time."""
    threads: int
    """Number of threads for work that sends no requests."""
    models: Mapping[str, Model] = field(default_factory=dict[str, "Model"])
    """Models by alias."""
    toolboxes: Mapping[str, Toolbox] = field(default_factory=dict[str, "Toolbox"])
    """Tools by alias."""
    turns: TurnJournal | None = None
    """Keeps what tools have returned for cells that are not finished."""
    constraints: Sequence[Constraint] = ()
    """All constraints of the dataset."""
    seed_rows: SeedRows | None = None
    """Rows of the seed dataset; None if there is no seed dataset."""
    columns: Mapping[str, Column] = field(default_factory=dict[str, "Column"])
    """All columns of the dataset by name, for kinds that compute values of other columns again."""
    folder: Location | None = None
    """Folder of the dataset, for kinds that read or write files there; None in a preview."""

    def find_keys(self, batch: Batch) -> NDArray[np.int64] | None:
        """The keys of a batch's rows; None if they have none, so that their places count."""
        return None if self.seed_rows is None else self.seed_rows.keys(batch)


class Column(Kind, tag="column_type"):
    """The base class of all kinds of column.

    A kind must declare `column_type` as a `Literal` with a single value, and implement `bind`. All
    other members have defaults.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    """Values of a model's `generation_type` that this kind accepts; if empty, it accepts any."""
    writes_files: ClassVar[bool] = False
    """Whether values are names of files in the dataset's folder. Such values are not reused for
    other datasets."""
    supported_gates: ClassVar[tuple[str, ...]] = (
        "max_null_share",
        "max_duplicate_share",
        "max_drift",
    )
    """Fields of `ColumnGates` that apply to values of this kind."""
    is_sampled: ClassVar[bool] = False
    """Whether a sampler draws the values, so that constraints and conditions can refer to them."""
    is_seed: ClassVar[bool] = False
    """Whether the values come from the seed dataset."""
    reads_all_seed_rows: ClassVar[bool] = False
    """Whether a value may depend on any row of the seed dataset, so that all must be there."""
    is_drawn: ClassVar[bool] = False
    """Whether the values are sampled or come from the seed dataset. `before_batch` processors
    receive these columns."""

    is_internal: ClassVar[bool] = False
    """Whether the column only connects others: it is computed when it is needed, and neither
    progress nor Prefect shows it."""
    shown_as: ClassVar[Literal["value", "verdict", "images"]] = "value"
    """How a record shows the values: as text or JSON, as the verdict of a validator with the field
    `is_valid`, or as a list of images."""

    name: str = Field(min_length=1)
    """Name of the column in the dataset and in templates."""
    drop: bool = False
    """Whether to leave the column out of the dataset. It is still generated, and other columns can
    use it."""
    skip: SkipConfig | None = None
    """Condition under which a cell is not generated, and the value that it holds instead."""
    propagate_skip: bool = True
    """Whether a cell is also skipped if a cell that it depends on was skipped; default: yes."""

    @model_validator(mode="after")
    def _skip_reads_other_columns(self) -> Column:
        own = {self.name, *self.side_effect_columns}
        if self.skip is not None and not own.isdisjoint(self.skip.columns):
            raise ValueError(
                f"skip.when of column {self.name!r} refers to the column itself; "
                "use a column that is generated before it"
            )
        return self

    @property
    def required_columns(self) -> list[str]:
        """Names of the columns that the values are computed from. Generators receive only these."""
        return []

    @property
    def side_effect_columns(self) -> list[str]:
        """Names of additional columns that are generated together with this one."""
        return []

    @property
    def item_count(self) -> int | None:
        """Number of items in each value if the values are lists of one known length, else None."""
        return None

    @property
    def scores_by_name(self) -> Mapping[str, bool]:
        """For a judge, whether each score is a number, by score name; empty for other kinds."""
        return {}

    @property
    def score_descriptions(self) -> Mapping[str, str]:
        """For a judge, what each score measures, by score name; empty for other kinds."""
        return {}

    @property
    def code_language(self) -> CodeLang | None:
        """Language of the values if they are code, else None."""
        return None

    def list_gates(self) -> Sequence[str]:
        """Return the fields of `ColumnGates` that apply to the values of this declaration."""
        return self.supported_gates

    def expand(self, columns: Mapping[str, Column]) -> Sequence[Column]:
        """Return the columns that generate the values; usually the column itself.

        A column whose cells take several requests is expanded into hidden columns with one request
        per cell, and a last column that has its name and builds its values from theirs. Each
        request is then limited, retried, recorded and counted like any other cell. `columns` are
        all declared columns by name. The configuration may still have problems.
        """
        return [self]

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the Arrow types of the values, by name of the column and of its side effects.

        Leave out a column whose type only its values can tell. The type does not restrict the
        values: one that does not fit it widens the column, see `dd_core/storage/schema.py`.
        """
        return {}

    def inputs(self, constraints: Sequence[Constraint]) -> list[str]:
        """Return the names whose values the generator needs, given the dataset's constraints."""
        return self.required_columns

    def with_managed_assets(self, folder: Path) -> Self:
        """Return the column with `folder` as the place of managed datasets."""
        return self

    def for_round(self, name: str) -> Self:
        """Return the column under the name that it has in one round of a repetition."""
        return self.changed(name=name)

    def resolve_paths(self) -> Self:
        """Return the column with absolute paths, for processes in other directories."""
        return self

    def locate_content(self) -> dict[str, Any]:
        """Return where content is read that the values depend on, as JSON types.

        `fingerprint_parts` covers the content itself, so this is part of the configuration's hash
        only, not of the column's fingerprint.
        """
        return {}

    def get_model_aliases(self) -> list[str]:
        """Return the aliases of the models that the generator calls."""
        given: str | list[str] | None = getattr(self, "model_alias", None)
        return [given] if isinstance(given, str) else [*(given or ())]

    def count_requests(self) -> int | None:
        """Return how many requests to models a cell takes; None if that is not known in advance.

        Retries and corrections are not counted, and neither are turns with calls of tools.
        """
        return 1 if self.get_model_aliases() else 0

    def get_probe(self) -> Probe | None:
        """Return the request that shows whether a model can do what the column asks of it.

        None stands for the usual request of its generation type.
        """
        return None

    def get_tool_aliases(self) -> list[str]:
        """Return the aliases of the tools that models may call for the values."""
        return []

    def identity(self) -> dict[str, Any]:
        """Return the part of the declaration that determines the values, as JSON types.

        It is part of the column's fingerprint: if it changes, the column is generated again. An
        override excludes fields that do not affect the values, such as timeouts. For a custom kind,
        the hash of its source code is included.
        """
        return self.model_dump(mode="json", exclude={"drop"}, context=for_identity) | self.own_code

    def fingerprint_parts(
        self,
        constraints: Sequence[Constraint],
        seed_config: SeedConfig | None,
        seed_table: SeedTable | None,
    ) -> dict[str, Any]:
        """Return what else determines the values, for the fingerprint.

        The declaration (`identity`), the columns that it reads, its models and the seed are already
        part of the fingerprint. An example of something else is the content of a file.
        """
        return {}

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield what is wrong with this column, given the rest of the configuration.

        An override starts with `yield from super().problems(scope)`.
        """
        place = f"columns.{self.name}"
        for alias in self.get_model_aliases():
            yield from self._alias_problems(f"{place}.model_alias", alias, scope)
        if self.skip is not None:
            for name in scope.unknown(self.skip.columns):
                yield report_unknown(f"{place}.skip.when", name, scope)

    def _alias_problems(self, place: str, alias: str, scope: Scope) -> Iterator[Problem]:
        model = scope.models.get(alias)
        if model is None:
            known = list_known("aliases", scope.models)
            yield Problem(place, f"no model has the alias {alias!r}; {known}")
        elif self.model_types and model.generation_type not in self.model_types:
            wanted = " or ".join(repr(each) for each in self.model_types)
            yield Problem(
                place,
                f"model {alias!r} is for {model.generation_type.value!r}; set generation_type to "
                f"{wanted} in its inference_parameters, or use another model",
            )

    @abstractmethod
    def bind(self, binding: Binding) -> Generator:
        """Return the generator of this column's values.

        It is called once per run in each process, after the configuration has been checked. The
        generator serves all batches that the process generates.
        """

    def statistics(self, view: ColumnView) -> ColumnStatistics:
        """Return statistics about the values of a finished dataset.

        Override it to return a subclass of `ColumnStatistics` with more fields.
        """
        from dd_core.kinds.statistics import ColumnStatistics

        return ColumnStatistics(**view.general())
