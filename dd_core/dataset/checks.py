"""Checks of a configuration as a whole; its parts check themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.gates import ColumnGates, Gates
from dd_core.dataset.plan import Plan
from dd_core.errors import Problem
from dd_core.kinds.columns.column import Column
from dd_core.kinds.processors.processor import select_stage
from dd_core.kinds.scope import Scope, list_known, report_unknown
from dd_core.models.config import ModelConfig
from dd_core.models.providers import Providers
from dd_core.models.tools.toolbox import Toolboxes
from dd_core.storage.values import is_encodable

_GATES = "run_config.gates"
MOST_ROWS = 1_000_000_000
"""Rows that a dataset may have. Each of its batches is an object in memory."""
_MAX_DEPTH = 100
"""Levels in which texts are looked for."""


def check_fallbacks(models: Sequence[ModelConfig]) -> Iterator[Problem]:
    """Check that each fallback is another model of the same generation type."""
    kinds = {model.alias: model.generation_type for model in models}
    for model in models:
        if model.fallback is None:
            continue
        place = f"model_configs.{model.alias}.fallback"
        if model.fallback not in kinds or model.fallback == model.alias:
            message = f"{model.fallback!r} is not the alias of another model; name another model"
            yield Problem(place, message)
        elif kinds[model.fallback] != model.generation_type:
            message = f"{model.fallback!r} has generation_type {kinds[model.fallback].value!r}"
            fix = f"name a model of type {model.generation_type.value!r}"
            yield Problem(place, f"{message}; {fix}")


def check_tools(config: DataDesignerConfig, providers: Providers) -> Iterator[Problem]:
    """Check that aliases of tools are unique, and that the servers of used tools can be used."""
    tools = config.tool_configs or []
    used = {alias for column in config.columns for alias in column.get_tool_aliases()}
    toolboxes = Toolboxes(tools, providers.tool_providers, providers.resolver)
    for number, each in enumerate(tools):
        if any(other.tool_alias == each.tool_alias for other in tools[:number]):
            place = f"tool_configs.{each.tool_alias}"
            yield Problem(place, "the alias is used twice; rename one of the two")
        elif each.tool_alias in used and (problem := toolboxes.problem(each.tool_alias)):
            yield problem


def check_texts(config: DataDesignerConfig) -> Iterator[Problem]:
    """Check that every text can be saved: half of a surrogate pair has no form in UTF-8."""
    for place, text in _list_texts(config, "", 0):
        if not is_encodable(text):
            message = f"{text[:60]!a} contains half of a surrogate pair, which cannot be saved"
            yield Problem(place, f"{message}; remove it, or write the whole character")


def _list_texts(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the texts of a configuration, including the keys of mappings, with their places."""
    if isinstance(value, str | Path):
        yield place, str(value)
    elif depth > _MAX_DEPTH:
        return
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _list_texts(getattr(value, name), _extend(place, name), depth + 1)
    elif isinstance(value, Mapping):
        for name, member in cast("Mapping[Any, Any]", value).items():
            yield from _list_texts(name, place, depth + 1)
            yield from _list_texts(member, _extend(place, name), depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for index, member in enumerate(cast("Sequence[Any]", value)):
            name = getattr(member, "name", None) or getattr(member, "alias", None) or index
            yield from _list_texts(member, _extend(place, name), depth + 1)


def _extend(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)


def check_dataset(config: DataDesignerConfig, models: Sequence[ModelConfig]) -> Iterator[Problem]:
    """Check that some columns are kept, and that constraints and profilers refer to what exists."""
    if not config.columns and config.seed_config is None:
        yield Problem("columns", "the list is empty; declare at least one column or a seed dataset")
    elif config.columns and all(column.drop for column in config.columns):
        yield Problem("columns", "all columns are dropped; set drop to false on at least one")
    aliases = {model.alias for model in models}
    for number, profiler in enumerate(config.profilers or ()):
        if profiler.model_alias not in aliases:
            message = f"no model has the alias {profiler.model_alias!r}"
            known = list_known("aliases", aliases)
            yield Problem(f"profilers.{number}.model_alias", f"{message}; {known}")
    samplers = {column.name for column in config.columns if column.is_sampled}
    for constraint in config.constraints or ():
        if constraint.target_column not in samplers:
            yield Problem(
                f"constraints.{constraint.target_column}",
                f"target_column {constraint.target_column!r} is not a sampler column; "
                "constraints apply to sampler columns only",
            )


def check_row_counts(**counts: Any) -> list[Problem]:
    """Check numbers of rows, given by the name of the argument."""
    return [
        Problem(name, f"must be a whole number from 1 to {MOST_ROWS:,}, but it is {count!r}")
        for name, count in counts.items()
        if not _is_row_count(count)
    ]


def _is_row_count(count: Any) -> bool:
    # Integers of NumPy count, too, and booleans do not.
    is_integer = hasattr(count, "__index__") and type(count).__name__ not in ("bool", "bool_")
    return is_integer and 1 <= int(count) <= MOST_ROWS


def check_gates(
    gates: Gates | None, plan: Plan, num_records: int, *, has_versions: bool
) -> Iterator[Problem]:
    """Check for gates that no dataset of this plan can pass, or that cannot be measured."""
    if gates is None:
        return
    late = select_stage(plan.config.processors, "after_generation")
    if gates.min_rows is not None and gates.min_rows > num_records and not late:
        message = f"is {gates.min_rows}, but only {num_records} rows are requested; lower it"
        yield Problem(f"{_GATES}.min_rows", message)
    columns = {column.name: column for column in plan.config.columns}
    shown = frozenset(plan.output_columns)
    for name, column_gates in gates.columns.items():
        place = f"{_GATES}.columns.{name}"
        if name in plan.dropped_columns:
            yield Problem(place, "is a dropped column; set its drop to false, or remove the gate")
        elif name not in shown:
            yield report_unknown(place, name, Scope(columns, shown, {}))
        else:
            yield from _check_column(place, column_gates, columns.get(name), has_versions)


def _check_column(
    place: str, gates: ColumnGates, column: Column | None, has_versions: bool
) -> Iterator[Problem]:
    # Side-effect columns have the default gates.
    supported = column.list_gates() if column else Column.supported_gates
    for name in gates.wanted:
        if name not in supported:
            kind = f"a column of type {column.kind!r}" if column else "a side-effect column"
            message = f"does not apply to {kind}; {list_known('gates', supported)}"
            yield Problem(f"{place}.{name}", message)
    if gates.max_drift is not None and not has_versions:
        message = "compares with the previous version, but this dataset has no versions"
        yield Problem(
            f"{place}.max_drift", f"{message}; set a version for the run, or remove the gate"
        )
    known: Mapping[str, bool] = column.scores_by_name if column else {}
    for score in (gates.min_mean_scores or {}) if "min_mean_scores" in supported else ():
        at = f"{place}.min_mean_scores.{score}"
        if score not in known:
            yield Problem(at, f"is not a score of this judge; {list_known('scores', known)}")
        elif not known[score]:
            yield Problem(at, "has options that are not numbers, so it has no mean; remove it")
