"""Compiles a configuration into a plan: dependencies, order and fingerprints of the columns.

All problems that can be found in advance are reported here together, before any request is sent.
A column's fingerprint is a hash of everything that its values depend on. Columns with equal
fingerprints have values of the same distribution, so finished values can be reused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx

from dd_core.dataset.checks import check_dataset, check_fallbacks, check_texts, check_tools
from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.plan import Plan, PlannedColumn, digest
from dd_core.dataset.planning.acceptance import ACCEPTED
from dd_core.dataset.planning.graph import (
    build_graph,
    check_hidden_names,
    compute_ranks,
    expand_columns,
    find_cycles,
    find_producers,
)
from dd_core.dataset.planning.repeat import list_rounds_columns
from dd_core.dataset.planning.unrolling import (
    check_repeats,
    make_accepted_column,
    unroll,
    widen,
)
from dd_core.errors import InvalidConfigError, Problem, SeedDatasetError, convert_errors
from dd_core.kinds.columns.column import Column
from dd_core.kinds.processors.processor import ProcessorConfig, select_stage
from dd_core.kinds.scope import Scope, UnknownReferenceProblem
from dd_core.kinds.seeds.seed import SeedRows, SeedTable
from dd_core.models.config import ModelConfig
from dd_core.models.pool import check_providers
from dd_core.models.providers import Providers, load_default_models
from dd_core.templates.template import RenderingMode


@convert_errors(InvalidConfigError, "it cannot be checked")
def compile_plan(
    config: DataDesignerConfig,
    providers: Providers,
    seed: int,
    *,
    rendering: RenderingMode = "secure",
    taken: Iterable[str] = (),
    managed_assets: Path | None = None,
    table: SeedTable | None = None,
) -> Plan:
    """Check a configuration and plan it; raises `InvalidConfigError` with all problems.

    `taken` are names of columns that exist but cannot be read; references to them are valid.
    `managed_assets` is the folder of managed datasets; default: the folder from the environment.
    `table` is the seed dataset, if it is not opened from its source.
    """
    problems = [*check_texts(config)]
    if problems:  # the other checks read and encode these texts
        raise InvalidConfigError(problems)
    config = _set_managed_assets(config, managed_assets)
    table = table if table is not None else _open_seed(config, problems)
    config = _add_seed_columns(config, table, problems)
    columns_kept = mark_dropped(config.columns, config.processors or ())
    config = config.model_copy(update={"columns": columns_kept})
    models = tuple(config.model_configs or load_default_models())
    producer = find_producers(config.columns, problems)
    names = [*producer, *taken, *list_rounds_columns(config.repeats)]
    seed_rows = _select_seed_rows(config, table, seed)
    scope = _make_scope(config, names, models, rendering, seed_rows)
    problems.extend(_check_parts(config, scope))
    problems.extend(check_dataset(config, models))
    used = _select_models(models, config.get_model_aliases())
    problems.extend(check_fallbacks(models))
    problems.extend(check_providers(used, providers))
    problems.extend(check_tools(config, providers))
    graph = build_graph(config.columns, config.constraints or (), producer)
    problems.extend([*find_cycles(graph), *check_hidden_names(config.columns)])
    problems.extend(check_repeats(config.repeats or (), scope, graph))
    problems.extend(config.accept.problems(scope) if config.accept is not None else ())
    if config.seed_config is not None and table is None:  # its columns are missing, not unknown
        problems = [each for each in problems if not isinstance(each, UnknownReferenceProblem)]
    if any(problem.level == "error" for problem in problems):
        raise InvalidConfigError(problem for problem in problems if problem.level == "error")
    return Plan(
        config=config,
        columns=_plan_columns(config, used, table, seed),
        models=used,
        tools=tuple(config.tool_configs or ()),
        seed=seed,
        warnings=tuple(problems),
        seed_table=table,
    )


def _make_scope(
    config: DataDesignerConfig,
    names: Iterable[str],
    models: Sequence[ModelConfig],
    rendering: RenderingMode,
    seed_rows: SeedRows | None,
) -> Scope:
    return Scope(
        columns={column.name: column for column in config.columns},
        names=frozenset(names),
        models={model.alias: model for model in models},
        tools=[tools.tool_alias for tools in config.tool_configs or ()],
        constraints=config.constraints or (),
        rendering=rendering,
        seed_rows=seed_rows,
    )


def _check_parts(config: DataDesignerConfig, scope: Scope) -> Iterator[Problem]:
    """Yield the problems of each column and processor."""
    repeated = {name for each in config.repeats or () for name in each.columns}
    inner = widen(scope)
    for part in [*config.columns, *(config.processors or ())]:
        with convert_errors(InvalidConfigError, f"{part.name!r} cannot be checked"):
            yield from part.problems(inner if part.name in repeated else scope)


def reseed(plan: Plan, seed: int) -> Plan:
    """Return the plan with another seed. Nothing is checked or opened again."""
    columns = _plan_columns(plan.config, plan.models, plan.seed_table, seed)
    return replace(plan, columns=columns, seed=seed)


def _set_managed_assets(config: DataDesignerConfig, assets: Path | None) -> DataDesignerConfig:
    if assets is None:
        return config
    columns = [column.with_managed_assets(assets) for column in config.columns]
    return config.model_copy(update={"columns": columns})


def _open_seed(config: DataDesignerConfig, problems: list[Problem]) -> SeedTable | None:
    """Open the seed dataset; None if there is none or if it has problems."""
    if config.seed_config is None:
        return None
    found = [*config.seed_config.source.problems("seed_config.source")]
    problems.extend(found)
    if found:
        return None
    try:
        table = config.seed_config.source.open_table()
        SeedRows(config.seed_config, table, seed=0)  # raises an error if the selection is invalid
    except SeedDatasetError as error:
        problems.append(Problem("seed_config", str(error)))
        return None
    return table


def _select_seed_rows(
    config: DataDesignerConfig, table: SeedTable | None, seed: int
) -> SeedRows | None:
    """The rows of the seed dataset that are used; None if there is none or if it has problems."""
    if config.seed_config is None or table is None:
        return None
    return SeedRows(config.seed_config, table, seed)


def _select_models(models: Sequence[ModelConfig], aliases: set[str]) -> tuple[ModelConfig, ...]:
    """The models with these aliases and their fallbacks."""
    wanted = aliases | {model.fallback for model in models if model.alias in aliases}
    return tuple(model for model in models if model.alias in wanted)


def _add_seed_columns(
    config: DataDesignerConfig, table: SeedTable | None, problems: list[Problem]
) -> DataDesignerConfig:
    """Put a `seed-dataset` column for each column of the seed dataset in front of the others."""
    if table is None:
        return config
    declared = {column.name for column in config.columns}
    seeds = {column.name for column in config.columns if column.is_seed}
    problems.extend(
        Problem(f"columns.{name}", "the seed dataset also has a column with this name; rename it")
        for name in table.columns
        if name in declared - seeds
    )
    missing = [name for name in table.columns if name not in declared]
    added = [Column.read({"column_type": "seed-dataset", "name": name}) for name in missing]
    return config.model_copy(update={"columns": [*added, *config.columns]})


def _plan_columns(
    config: DataDesignerConfig,
    models: Sequence[ModelConfig],
    table: SeedTable | None,
    seed: int,
) -> dict[str, PlannedColumn]:
    """Expand and order the columns, and compute their fingerprints, each from its inputs'."""
    constraints = config.constraints or ()
    planned_for = _list_planned(config)
    columns = {each.name: each for parts in planned_for.values() for each in parts}
    owners = {each.name: name for name, parts in planned_for.items() for each in parts}
    producer = find_producers([*columns.values()], [])
    graph = build_graph([*columns.values()], constraints, producer)
    gated = _put_behind_acceptance(graph, columns)
    position = {name: index for index, name in enumerate(columns)}
    # Columns stay in the order of declaration where their dependencies allow it.
    order = list(nx.lexicographical_topological_sort(graph, key=position.__getitem__))
    model_columns = {name for name in order if columns[name].get_model_aliases()}
    ranks = compute_ranks(graph, order, model_columns)
    identities = {model.alias: model.identity() for model in models}
    tools = {each.tool_alias: each.identity() for each in config.tool_configs or ()}
    drawn_together = _identify_drawn_columns(config)
    planned: dict[str, PlannedColumn] = {}
    for name in order:
        column = columns[name]
        reads = tuple(dict.fromkeys(column.inputs(constraints)))
        producers = tuple(graph.predecessors(name))
        content: dict[str, Any] = {
            "column": column.identity(),
            "models": {alias: identities[alias] for alias in column.get_model_aliases()},
            "inputs": {parent: planned[parent].fingerprint for parent in producers},
            "seed": seed,
        }
        if aliases := column.get_tool_aliases():
            content["tools"] = {alias: tools[alias] for alias in aliases}
        content |= column.fingerprint_parts(constraints, config.seed_config, table)
        if column.is_drawn and drawn_together:
            content["before_batch"] = drawn_together
        planned[name] = PlannedColumn(
            column=column,
            owner=owners[name],
            reads=reads,
            producers=producers,
            required=tuple(dict.fromkeys(producer[name] for name in reads)),
            fingerprint=digest(content),
            rank=ranks[name],
            gate=ACCEPTED if name in gated else None,
        )
    return planned


def _list_planned(config: DataDesignerConfig) -> dict[str, Sequence[Column]]:
    """The columns that are planned, by the declared or internal column that they belong to."""
    planned = unroll(expand_columns(config.columns), config.repeats or ())
    if config.accept is not None:
        planned[ACCEPTED] = [make_accepted_column(config.accept.when)]
    return planned


def _put_behind_acceptance(graph: nx.DiGraph[str], columns: Mapping[str, Column]) -> set[str]:
    """Let columns wait until a row is accepted if the decision does not depend on them.

    Returns their names. Drawn columns cost nothing, so they do not wait.
    """
    if ACCEPTED not in columns:
        return set()
    before: set[str] = nx.ancestors(graph, ACCEPTED)  # pyright: ignore
    gated = {name for name, each in columns.items() if not each.is_drawn} - before - {ACCEPTED}
    graph.add_edges_from((ACCEPTED, name) for name in gated)
    return gated


def _identify_drawn_columns(config: DataDesignerConfig) -> list[Any]:
    """The identities of all drawn columns and of the processors that change them before a batch.

    Such a processor works on all drawn columns together, so each of them depends on all of this.
    The list is empty if there is no such processor.
    """
    processors = select_stage(config.processors, "before_batch")
    drawn = [column.identity() for column in config.columns if column.is_drawn]
    return [drawn, [each.identity() for each in processors]] if processors else []


def mark_dropped(columns: Sequence[Column], processors: Sequence[ProcessorConfig]) -> list[Column]:
    """Return the columns, with `drop` set on those that processors remove from the dataset."""
    return [
        column.changed(drop=True)
        if not column.drop and any(processor.drops(column.name) for processor in processors)
        else column
        for column in columns
    ]
