"""What is wrong with a configuration as a whole; its parts check themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dd_core.column import known_names
from dd_core.columns.sampler import SamplerColumnConfig
from dd_core.dataset_config import DataDesignerConfig
from dd_core.errors import Problem
from dd_core.models.config import ModelConfig


def fallback_problems(models: Sequence[ModelConfig]) -> Iterator[Problem]:
    """A fallback must be another model of the same kind."""
    kinds = {model.alias: model.generation_type for model in models}
    for model in models:
        if model.fallback is None:
            continue
        place = f"model_configs.{model.alias}.fallback"
        if model.fallback not in kinds or model.fallback == model.alias:
            message = f"{model.fallback!r} is no other model's alias; name another model"
            yield Problem(place, message)
        elif kinds[model.fallback] != model.generation_type:
            yield Problem(place, f"{model.fallback!r} generates {kinds[model.fallback].value!r}")


def dataset_problems(
    config: DataDesignerConfig, models: Sequence[ModelConfig]
) -> Iterator[Problem]:
    """A dataset needs columns that are kept, and constraints need columns that are drawn."""
    if not config.columns:
        yield Problem("columns", "there are none; declare at least one column or a seed dataset")
    elif all(column.drop for column in config.columns):
        yield Problem("columns", "all of them are dropped; set drop to false on at least one")
    aliases = {model.alias for model in models}
    for number, profiler in enumerate(config.profilers or ()):
        if profiler.model_alias not in aliases:
            message = f"no model has the alias {profiler.model_alias!r}"
            known = known_names("aliases", aliases)
            yield Problem(f"profilers.{number}.model_alias", f"{message}; {known}")
    samplers = {c.name for c in config.columns if isinstance(c, SamplerColumnConfig)}
    for constraint in config.constraints or ():
        if constraint.target_column not in samplers:
            yield Problem(
                f"constraints.{constraint.target_column}",
                f"target_column {constraint.target_column!r} is no sampler column; "
                "constraints hold for sampler columns only",
            )
