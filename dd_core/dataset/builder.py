"""Builds the configuration of a dataset step by step in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from dd_core.dataset.config import BuilderConfig, DataDesignerConfig, JudgeScoreProfilerConfig
from dd_core.dataset.files import ConfigSource, load_config, load_model_configs
from dd_core.dataset.planning.acceptance import Accept
from dd_core.dataset.planning.repeat import Repeat
from dd_core.declaration.kind import Declaration
from dd_core.errors import (
    BuilderConfigurationError,
    BuilderSerializationError,
    InvalidColumnTypeError,
)
from dd_core.kinds.columns.column import Column
from dd_core.kinds.constraint import (
    ColumnInequalityConstraint,
    Constraint,
    ScalarInequalityConstraint,
)
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.seeds.seed import (
    IndexRange,
    PartitionBlock,
    SamplingStrategy,
    SeedConfig,
    SeedSource,
)
from dd_core.models.config import ModelConfig
from dd_core.models.providers import load_default_models
from dd_core.models.tools.config import ToolConfig

if TYPE_CHECKING:
    from dd_core.dataset.info import Info

_D = TypeVar("_D", bound=Declaration)


class ModelsBuilder:
    """Holds models and tools, both by alias."""

    def __init__(
        self,
        model_configs: list[ModelConfig] | str | Path | None = None,
        tool_configs: list[ToolConfig] | None = None,
    ) -> None:
        if isinstance(model_configs, str | Path):
            model_configs = load_model_configs(model_configs)
        self._models = model_configs or load_default_models()
        self._tools: list[ToolConfig] = [] if tool_configs is None else tool_configs

    @property
    def model_configs(self) -> list[ModelConfig]:
        """The models that columns may use."""
        return self._models

    @property
    def tool_configs(self) -> list[ToolConfig]:
        """The tools that columns may refer to."""
        return self._tools

    def add_model_config(self, model_config: ModelConfig) -> Self:
        """Add a model; raises `BuilderConfigurationError` if its alias exists."""
        if any(known.alias == model_config.alias for known in self._models):
            raise BuilderConfigurationError(
                f"there is already a model with the alias {model_config.alias!r}; "
                "choose another alias or delete it first"
            )
        self._models.append(model_config)
        return self

    def delete_model_config(self, alias: str) -> Self:
        """Remove a model; an unknown alias is ignored."""
        self._models[:] = [model for model in self._models if model.alias != alias]
        return self

    def add_tool_config(self, tool_config: ToolConfig) -> Self:
        """Add tools; raises `BuilderConfigurationError` if their alias exists."""
        if any(known.tool_alias == tool_config.tool_alias for known in self._tools):
            raise BuilderConfigurationError(
                f"there are already tools with the alias {tool_config.tool_alias!r}; "
                "choose another alias or delete them first"
            )
        self._tools.append(tool_config)
        return self

    def delete_tool_config(self, alias: str) -> Self:
        """Remove tools; an unknown alias is ignored."""
        self._tools[:] = [tool for tool in self._tools if tool.tool_alias != alias]
        return self

    def get_tool_config(self, alias: str) -> ToolConfig:
        """The tools with this alias; raises `KeyError` if there are none."""
        found = [tool for tool in self._tools if tool.tool_alias == alias]
        if not found:
            raise KeyError(alias)
        return found[0]


class DataDesignerConfigBuilder(ModelsBuilder):
    """Collects columns, models, a seed dataset and constraints; `build` returns the configuration.

    `model_configs` is a list, or the path of a YAML or JSON file with a `model_configs` list;
    default: the default models. Methods that add or delete return the builder. References between
    columns are not checked while columns are added, so any order works.
    """

    def __init__(
        self,
        model_configs: list[ModelConfig] | str | Path | None = None,
        tool_configs: list[ToolConfig] | None = None,
    ) -> None:
        super().__init__(model_configs, tool_configs)
        self._columns: dict[str, Column] = {}
        self._constraints: list[Constraint] = []
        self._processors: dict[str, ProcessorConfig] = {}
        self._profilers: list[JudgeScoreProfilerConfig] = []
        self._repeats: list[Repeat] = []
        self._accept: Accept | None = None
        self._seed: SeedConfig | None = None

    @classmethod
    def from_config(cls, config: ConfigSource, *, trust: bool = False) -> Self:
        """Create a builder from a configuration object, a file, a URL or YAML text.

        `trust` is that of `load_config`.
        """
        loaded = load_config(config, trust=trust)
        builder = cls([*(loaded.model_configs or ())], [*(loaded.tool_configs or ())])
        builder._columns = {column.name: column for column in loaded.columns}
        builder._constraints = [*(loaded.constraints or ())]
        builder._processors = {each.name: each for each in loaded.processors or ()}
        builder._profilers = [*(loaded.profilers or ())]
        builder._repeats = [*(loaded.repeats or ())]
        builder._accept = loaded.accept
        builder._seed = loaded.seed_config
        return builder

    @property
    def info(self) -> Info:
        """Help for the terminal: `info.display("samplers")` or `info.display("model_configs")`."""
        from dd_core.dataset.info import Info
        from dd_core.models.providers import load_default_providers

        return Info(lambda: self._models, load_default_providers)

    @property
    def allowed_references(self) -> list[str]:
        """Names that templates may use: columns and their side-effect columns."""
        return [
            name
            for column in self._columns.values()
            for name in (column.name, *column.side_effect_columns)
        ]

    def add_column(
        self,
        column_config: Column | None = None,
        *,
        name: str | None = None,
        column_type: str | None = None,
        **fields: Any,
    ) -> Self:
        """Add a column, either as an object or by name, type and fields.

        A column with the same name is replaced; the new one takes its position.
        """
        if column_config is None:
            if name is None or column_type is None:
                raise BuilderConfigurationError(
                    "add_column requires a column configuration, or both name and column_type"
                )
            given = {"name": name, "column_type": str(column_type), **fields}
            column_config = Column.read(given)
        if not isinstance(column_config, Column):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidColumnTypeError(
                f"{type(column_config).__name__!r} is not a column configuration; "
                f"known column types: {', '.join(sorted(Column.all_kinds()))}"
            )
        self._columns[column_config.name] = column_config
        return self

    def delete_column(self, column_name: str) -> Self:
        """Remove a column; an unknown name is ignored."""
        column = self._columns.get(column_name)
        if column is not None and column.is_seed:
            raise BuilderConfigurationError(
                f"{column_name!r} comes from the seed dataset and cannot be deleted; "
                "set its drop to true"
            )
        self._columns.pop(column_name, None)
        return self

    def add_processor(
        self,
        processor_config: ProcessorConfig | None = None,
        *,
        processor_type: str | None = None,
        **fields: Any,
    ) -> Self:
        """Add a processor, either as an object or by type and fields.

        A processor with the same name is removed; the new one comes last.
        """
        if processor_config is None:
            if processor_type is None:
                raise BuilderConfigurationError(
                    "add_processor requires a processor, or processor_type and its fields"
                )
            try:
                given = {"processor_type": str(processor_type), **fields}
                processor_config = ProcessorConfig.read(given)
            except ValueError as error:
                raise BuilderConfigurationError(str(error)) from None
        if not isinstance(processor_config, ProcessorConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BuilderConfigurationError(
                f"{type(processor_config).__name__!r} is not a processor; known processor types: "
                f"{', '.join(sorted(ProcessorConfig.all_kinds()))}"
            )
        self._processors.pop(processor_config.name, None)
        self._processors[processor_config.name] = processor_config
        return self

    def get_processor_configs(self) -> list[ProcessorConfig]:
        """The processors in the order in which they are applied."""
        return [*self._processors.values()]

    def add_profiler(self, profiler_config: JudgeScoreProfilerConfig) -> Self:
        """Add a profiler, which summarizes the judges' scores of the finished dataset."""
        if not isinstance(profiler_config, JudgeScoreProfilerConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BuilderConfigurationError(
                f"{type(profiler_config).__name__!r} is not a profiler; "
                "use JudgeScoreProfilerConfig"
            )
        self._profilers.append(profiler_config)
        return self

    def get_profilers(self) -> list[JudgeScoreProfilerConfig]:
        """The profilers."""
        return [*self._profilers]

    def add_constraint(
        self,
        constraint: ScalarInequalityConstraint | ColumnInequalityConstraint | None = None,
        *,
        constraint_type: str | None = None,
        **fields: Any,
    ) -> Self:
        """Add a constraint, either as an object or by type and fields."""
        if constraint is None:
            if constraint_type is None:
                raise BuilderConfigurationError(
                    "add_constraint requires a constraint, or constraint_type and its fields"
                )
            adapter: TypeAdapter[Any] = TypeAdapter(Constraint)
            given = {"constraint_type": str(constraint_type), **fields}
            try:
                constraint = adapter.validate_python(given)
            except ValidationError as error:
                raise BuilderConfigurationError(str(error)) from None
        known = (ScalarInequalityConstraint, ColumnInequalityConstraint)
        if not isinstance(constraint, known):
            raise BuilderConfigurationError(
                f"{type(constraint).__name__!r} is not a constraint; use "
                f"{' or '.join(each.__name__ for each in known)}"
            )
        self._constraints.append(constraint)
        return self

    def add_repeat(self, *columns: str, **fields: Any) -> Self:
        """Repeat columns until a condition holds; `fields` are those of `Repeat`."""
        self._repeats.append(_read(Repeat, {"columns": [*columns], **fields}))
        return self

    def get_repeats(self) -> list[Repeat]:
        """The repetitions."""
        return [*self._repeats]

    def accept_rows(self, when: str, **fields: Any) -> Self:
        """Generate rows until enough are accepted; the arguments are the fields of `Accept`."""
        self._accept = _read(Accept, {"when": when, **fields})
        return self

    def delete_constraints(self, target_column: str) -> Self:
        """Remove all constraints on a column; a column without constraints is ignored."""
        self._constraints = [c for c in self._constraints if c.target_column != target_column]
        return self

    def with_seed_dataset(
        self,
        seed_source: SeedSource,
        *,
        sampling_strategy: SamplingStrategy = SamplingStrategy.ORDERED,
        selection_strategy: IndexRange | PartitionBlock | None = None,
    ) -> Self:
        """Use a seed dataset. It replaces the seed dataset of an earlier call."""
        self._seed = SeedConfig(
            source=seed_source,
            sampling_strategy=sampling_strategy,
            selection_strategy=selection_strategy,
        )
        return self

    def get_column_config(self, name: str) -> Column:
        """The column with this name; raises `KeyError` if there is none."""
        return self._columns[name]

    def get_column_configs(self) -> list[Column]:
        """All columns in the order of declaration."""
        return [*self._columns.values()]

    def get_columns_of_type(self, column_type: str) -> list[Column]:
        """Columns of one type in the order of declaration."""
        return [column for column in self._columns.values() if column.kind == str(column_type)]

    def get_columns_excluding_type(self, column_type: str) -> list[Column]:
        """Columns of all other types in the order of declaration."""
        return [column for column in self._columns.values() if column.kind != str(column_type)]

    def num_columns_of_type(self, column_type: str) -> int:
        """The number of columns of one type."""
        return len(self.get_columns_of_type(column_type))

    def get_constraints(self, target_column: str) -> Sequence[Constraint]:
        """The constraints on a column."""
        return [c for c in self._constraints if c.target_column == target_column]

    def get_seed_config(self) -> SeedConfig | None:
        """The seed dataset; None if there is none."""
        return self._seed

    def build(self) -> DataDesignerConfig:
        """Return the configuration in its present state."""
        return DataDesignerConfig(
            columns=[*self._columns.values()],
            model_configs=[*self._models],
            tool_configs=[*self._tools],
            seed_config=self._seed,
            constraints=[*self._constraints] or None,
            processors=[*self._processors.values()] or None,
            profilers=[*self._profilers] or None,
            repeats=[*self._repeats] or None,
            accept=self._accept,
        )

    def get_builder_config(self) -> BuilderConfig:
        """The configuration with the version of the library, as it is written to files."""
        return BuilderConfig.of(self.build())

    def write_config(self, path: str | Path, indent: int = 2) -> None:
        """Write a YAML or JSON file that `from_config` reads back."""
        target = Path(path)
        if self._seed is not None and self._seed.source.kind == "df":
            raise BuilderSerializationError(
                "a DataFrame seed cannot be written to a file; "
                "save it with LocalFileSeedSource.from_dataframe and use that"
            )
        if target.suffix in (".yaml", ".yml"):
            self.get_builder_config().to_yaml(target, indent=indent)
        elif target.suffix == ".json":
            self.get_builder_config().to_json(target, indent=indent)
        else:
            raise BuilderConfigurationError(f"{target.name!r} must end with .yaml, .yml or .json")

    def __repr__(self) -> str:
        if not self._columns and self._seed is None:
            return "DataDesignerConfigBuilder()"
        lines = [f"    seed_dataset: {self._seed.source.kind} seed"] if self._seed else []
        for kind in Column.all_kinds():
            names = [column.name for column in self.get_columns_of_type(kind)]
            if names:
                lines.append(f"    {kind}: {', '.join(names)}")
        return "DataDesignerConfigBuilder(\n" + "\n".join(lines) + "\n)"


def _read(kind: type[_D], fields: dict[str, Any]) -> _D:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise BuilderConfigurationError(str(error)) from None
