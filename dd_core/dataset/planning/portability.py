"""Finds what NeMo Data Designer could not read in a written configuration."""

from __future__ import annotations

from collections.abc import Iterator

from dd_core.dataset.config import DataDesignerConfig
from dd_core.declaration.own_fields import list_own_fields
from dd_core.errors import Problem

_FUNCTIONS = {"custom": "generator_function", "local_callable": "validation_function"}


def list_unportable(config: DataDesignerConfig) -> list[Problem]:
    """List what must be removed or set so that NeMo Data Designer can read the configuration."""
    message = "exists only in this project; remove it"
    own = (Problem(place, message) for place in list_own_fields(config))
    further = (_list_models_without_provider, _list_functions, _list_json_expressions)
    return [*own, *(problem for find in further for problem in find(config))]


def _list_models_without_provider(config: DataDesignerConfig) -> Iterator[Problem]:
    for model in config.model_configs or ():
        if model.provider is None:
            yield Problem(f"model_configs.{model.alias}.provider", "is required there; set it")


def _list_functions(config: DataDesignerConfig) -> Iterator[Problem]:
    message = "is not read from files there; set it in Python"
    for column in config.columns:
        if (field := _FUNCTIONS.get(column.kind)) is not None:
            yield Problem(f"columns.{column.name}.{field}", message)
        params = getattr(column, "validator_params", None)
        if params is not None and (field := _FUNCTIONS.get(params.kind)) is not None:
            yield Problem(f"columns.{column.name}.validator_params.{field}", message)


def _list_json_expressions(config: DataDesignerConfig) -> Iterator[Problem]:
    for column in config.columns:
        if column.kind == "expression" and getattr(column, "dtype", None) == "json":
            yield Problem(f"columns.{column.name}.dtype", "cannot be 'json' there; use 'str'")
