"""From a declaration to a plan: what depends on what, in which order, and who each column is.

Everything that can be known to be wrong is found here, all of it at once, before a request is
sent. A column's fingerprint says what its values are a function of: equal fingerprints mean equal
distributions of values, so finished values can be used again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx

from dd_core.checks import dataset_problems, fallback_problems
from dd_core.column import Binding, Column, Generator, Scope
from dd_core.columns.sampler import SamplerColumnConfig
from dd_core.columns.seed_dataset import SeedDatasetColumnConfig
from dd_core.dataset_config import DataDesignerConfig, canonical_json
from dd_core.errors import InvalidConfigError, Problem, SeedDatasetError
from dd_core.graph import cycles_in, graph_of, inputs_of, producers_of, ranks_of
from dd_core.location import Location
from dd_core.models.config import ModelConfig
from dd_core.models.defaults import default_model_configs
from dd_core.models.providers import Providers
from dd_core.models.registry import Models, provider_problems
from dd_core.processor import in_stage, with_drops
from dd_core.run_config import RunConfig
from dd_core.seed import SeedRows, SeedTable
from dd_core.template import Engine

_FINGERPRINT_LENGTH = 16


@dataclass(frozen=True)
class PlannedColumn:
    """A column with its place in the graph."""

    column: Column
    reads: tuple[str, ...]
    """Names whose values generating needs, side effects of other columns included."""
    producers: tuple[str, ...]
    """Columns that must be finished in a row before this one, for values or for `skip.when`."""
    required: tuple[str, ...]
    """Those of the producers whose skip is passed on."""
    fingerprint: str
    rank: int
    """Model cells on the longest way from here to the end of a row, this one included."""

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.column.name, *self.column.side_effect_columns)


@dataclass(frozen=True)
class Plan:
    """A checked configuration, ready to be run."""

    config: DataDesignerConfig
    """The configuration with one `seed-dataset` column added for each seed column."""
    columns: Mapping[str, PlannedColumn]
    """In an order in which every column comes after what it needs."""
    models: tuple[ModelConfig, ...]
    """The models that columns ask."""
    seed: int
    warnings: tuple[Problem, ...]
    seed_table: SeedTable | None = None

    @property
    def output_columns(self) -> list[str]:
        """Names in the dataset, in declared order; side effects follow their column."""
        return [
            name
            for column in self.config.columns
            if not column.drop
            for name in (column.name, *column.side_effect_columns)
            if not any(processor.drops(name) for processor in self.config.processors or ())
        ]

    @property
    def stored_columns(self) -> list[str]:
        """The output columns, and dropped ones that are still needed to process the dataset."""
        late = in_stage(self.config.processors, "after_generation")
        shown = self.output_columns
        needed = {name for processor in late for name in processor.reads} - {*shown}
        return shown + [
            name for planned in self.columns.values() for name in planned.outputs if name in needed
        ]

    @property
    def dropped_columns(self) -> list[str]:
        """Names of columns that are generated but kept out of the dataset."""
        return [column.name for column in self.config.columns if column.drop]

    @property
    def fingerprint(self) -> str:
        """Hash over all columns and which of them are in the dataset."""
        parts = [planned.fingerprint for planned in self.columns.values()]
        changes = in_stage(self.config.processors, "after_batch")
        content = [each.identity() for each in changes]
        return _digest([sorted(parts), self.stored_columns, *content])

    def bind(
        self, models: Models, run_config: RunConfig, folder: Location | None = None
    ) -> dict[str, Generator]:
        """Every column's generator. `folder` is the dataset's; None in a preview."""
        seed_rows = None
        if self.seed_table is not None and self.config.seed_config is not None:
            seed_rows = SeedRows(self.config.seed_config, self.seed_table, self.seed)
        binding = Binding(
            seed=self.seed,
            run_config=run_config,
            models=models,
            constraints=self.config.constraints or (),
            seed_rows=seed_rows,
            columns={name: planned.column for name, planned in self.columns.items()},
            folder=folder,
        )
        return {name: planned.column.bind(binding) for name, planned in self.columns.items()}


def compile_plan(
    config: DataDesignerConfig,
    providers: Providers,
    seed: int,
    *,
    rendering: Engine = "secure",
    taken: Iterable[str] = (),
    managed_assets: Path | None = None,
) -> Plan:
    """Check a configuration and plan it; raises `InvalidConfigError` with every problem found.

    `taken` are names of columns that exist but could not be read; they count as known.
    `managed_assets` is the folder of managed datasets, if not the environment's.
    """
    problems: list[Problem] = []
    config = _located(config, managed_assets)
    table = _open_seed(config, problems)
    config = _with_seed_columns(config, table, problems)
    columns_kept = with_drops(config.columns, config.processors or ())
    config = config.model_copy(update={"columns": columns_kept})
    models = tuple(config.model_configs or default_model_configs())
    columns = {column.name: column for column in config.columns}
    producer = producers_of(config.columns, problems)
    scope = Scope(
        columns=columns,
        names=frozenset([*producer, *taken]),
        models={model.alias: model for model in models},
        constraints=config.constraints or (),
        rendering=rendering,
    )
    for part in [*config.columns, *(config.processors or ())]:
        problems.extend(part.problems(scope))
    problems.extend(dataset_problems(config, models))
    aliases = {alias for column in config.columns for alias in column.get_model_aliases()}
    aliases |= {profiler.model_alias for profiler in config.profilers or ()}
    used = _used(models, aliases)
    problems.extend(fallback_problems(models))
    problems.extend(provider_problems(used, providers))
    graph = graph_of(config, producer)
    problems.extend(cycles_in(graph))
    if any(problem.level == "error" for problem in problems):
        raise InvalidConfigError(problem for problem in problems if problem.level == "error")
    return Plan(
        config=config,
        columns=_planned(config, graph, producer, used, table, seed),
        models=used,
        seed=seed,
        warnings=tuple(problems),
        seed_table=table,
    )


def _located(config: DataDesignerConfig, assets: Path | None) -> DataDesignerConfig:
    if assets is None:
        return config
    columns = [
        column.located(assets) if isinstance(column, SamplerColumnConfig) else column
        for column in config.columns
    ]
    return config.model_copy(update={"columns": columns})


def _open_seed(config: DataDesignerConfig, problems: list[Problem]) -> SeedTable | None:
    if config.seed_config is None:
        return None
    found = [*config.seed_config.source.problems("seed_config.source")]
    problems.extend(found)
    if found:
        return None
    try:
        table = config.seed_config.source.open()
        SeedRows(config.seed_config, table, seed=0)
    except SeedDatasetError as error:
        problems.append(Problem("seed_config", str(error)))
        return None
    return table


def _used(models: Sequence[ModelConfig], aliases: set[str]) -> tuple[ModelConfig, ...]:
    """The models that columns ask, and those that may answer in their place."""
    wanted = aliases | {model.fallback for model in models if model.alias in aliases}
    return tuple(model for model in models if model.alias in wanted)


def _with_seed_columns(
    config: DataDesignerConfig, table: SeedTable | None, problems: list[Problem]
) -> DataDesignerConfig:
    if table is None:
        return config
    declared = {column.name for column in config.columns}
    seeds = {c.name for c in config.columns if isinstance(c, SeedDatasetColumnConfig)}
    problems.extend(
        Problem(f"columns.{name}", "the seed dataset has a column of this name; rename it")
        for name in table.columns
        if name in declared - seeds
    )
    missing = [name for name in table.columns if name not in declared]
    added = [SeedDatasetColumnConfig(name=name) for name in missing]
    return config.model_copy(update={"columns": [*added, *config.columns]})


def _planned(
    config: DataDesignerConfig,
    graph: nx.DiGraph[str],
    producer: Mapping[str, str],
    models: Sequence[ModelConfig],
    table: SeedTable | None,
    seed: int,
) -> dict[str, PlannedColumn]:
    columns = {column.name: column for column in config.columns}
    position = {column.name: index for index, column in enumerate(config.columns)}
    order = list(nx.lexicographical_topological_sort(graph, key=position.__getitem__))
    asking = {name for name in order if columns[name].get_model_aliases()}
    ranks = ranks_of(graph, order, asking)
    identities = {model.alias: model.identity() for model in models}
    early = _early(config)
    planned: dict[str, PlannedColumn] = {}
    for name in order:
        column = columns[name]
        reads = tuple(dict.fromkeys(inputs_of(column, config)))
        producers = tuple(graph.predecessors(name))
        content: dict[str, Any] = {
            "column": column.identity(),
            "models": {alias: identities[alias] for alias in column.get_model_aliases()},
            "inputs": {parent: planned[parent].fingerprint for parent in producers},
            "seed": seed,
        }
        if isinstance(column, SamplerColumnConfig):
            aimed = [c for c in config.constraints or () if c.target_column == name]
            content["constraints"] = [constraint.model_dump(mode="json") for constraint in aimed]
            data = [*filter(None, (each.content_hash() for each in column.all_params))]
            content |= {"data": data} if data else {}
        if column.is_drawn and early:
            content["before_batch"] = early
        if isinstance(column, SeedDatasetColumnConfig) and table and config.seed_config:
            content["source"] = table.content_hash()
            content["use"] = config.seed_config.model_dump(mode="json", exclude={"source"})
        planned[name] = PlannedColumn(
            column=column,
            reads=reads,
            producers=producers,
            required=tuple(dict.fromkeys(producer[name] for name in reads)),
            fingerprint=_digest(content),
            rank=ranks[name],
        )
    return planned


def _early(config: DataDesignerConfig) -> list[Any]:
    """What drawn columns depend on together, if processors change them together."""
    processors = in_stage(config.processors, "before_batch")
    drawn = [column.identity() for column in config.columns if column.is_drawn]
    return [drawn, [each.identity() for each in processors]] if processors else []


def _digest(content: Any) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()[:_FINGERPRINT_LENGTH]
