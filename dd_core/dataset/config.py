"""The configuration of a dataset: columns, models, seed dataset, constraints, processors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, cast

import orjson
from pydantic import Field, field_validator, model_validator

from dd_core.dataset.planning.acceptance import Accept
from dd_core.dataset.planning.repeat import Repeat
from dd_core.declaration.kind import Declaration, find_repeated
from dd_core.declaration.own_fields import OWN, drop_unset
from dd_core.declaration.secrets import SecretResolver
from dd_core.declaration.user_code import allow_missing_code
from dd_core.declaration.written import for_identity
from dd_core.declaration.yaml_text import dump_yaml
from dd_core.kinds.columns.column import Column
from dd_core.kinds.constraint import Constraint
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.seeds.seed import SeedConfig, SourceReader
from dd_core.models.config import ModelConfig
from dd_core.models.parameters import LIMITS
from dd_core.models.tools.config import ToolConfig

_HASH_ALGORITHM = "sha256"
_HASH_VERSION = 2
_NOT_HASHED = ("skip_health_check", "base_url", "api_key_env_var", "endpoints", "price")
_LISTS = ("model_configs", "tool_configs", "constraints", "processors")


def _is_unset(value: object) -> bool:
    return not value


class Exportable(Declaration):
    """Base class of configurations that can be written to YAML and JSON and read back."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; those that only we have are left out if unset."""
        return drop_unset(self, self.model_dump(mode="json"))

    def to_yaml(self, path: str | Path | None = None, *, indent: int = 2) -> str | None:
        """Return YAML text, or write it to `path` and return None."""
        text = dump_yaml(self.to_dict(), indent=indent)
        return _text_or_file(text, path)

    def to_json(self, path: str | Path | None = None, *, indent: int = 2) -> str | None:
        """Return JSON text, or write it to `path` and return None."""
        return _text_or_file(json.dumps(self.to_dict(), indent=indent, ensure_ascii=False), path)


def _text_or_file(text: str, path: str | Path | None) -> str | None:
    if path is None:
        return text
    Path(path).write_text(text, encoding="utf-8")
    return None


class DataDesignerConfig(Exportable):
    """Declaration of a dataset. `RunConfig` controls how a run generates it."""

    columns: list[Column]
    """Columns in the order in which they appear in the dataset."""
    model_configs: list[ModelConfig] | None = None
    """Models that columns refer to by alias; default: the default models."""
    tool_configs: list[ToolConfig] | None = None
    """Tools that columns refer to by alias; default: none."""
    seed_config: SeedConfig | None = None
    """Seed dataset on whose rows the dataset is built; default: none."""
    constraints: list[Constraint] | None = None
    """Inequalities that hold for sampler columns in every row; default: none."""
    profilers: list[JudgeScoreProfilerConfig] | None = None
    """Summaries of judges' scores that models write for the finished dataset; default: none."""
    processors: list[ProcessorConfig] | None = None
    """Processors that change, filter or export the rows; default: none."""
    repeats: Annotated[list[Repeat] | None, OWN] = Field(default=None, exclude_if=_is_unset)
    """Columns that are generated again for a row until a condition holds; default: none."""
    accept: Annotated[Accept | None, OWN] = Field(default=None, exclude_if=_is_unset)
    """Which rows are accepted. Rows are generated until as many are accepted as were requested;
    default: every row is accepted."""

    def use_readers(self, readers: Mapping[str, SourceReader], resolver: SecretResolver) -> Self:
        """Return the configuration with a seed source that is read by the reader of its type."""
        seed = self.seed_config
        reader = readers.get(getattr(seed.source, "seed_type", "")) if seed is not None else None
        if seed is None or reader is None:
            return self
        source = seed.source.read_with(reader, resolver)
        return self.model_copy(update={"seed_config": seed.model_copy(update={"source": source})})

    @field_validator("columns")
    @classmethod
    def _names_are_unique(cls, columns: list[Column]) -> list[Column]:
        if repeated := find_repeated(column.name for column in columns):
            raise ValueError(f"more than one column is named {repeated[0]!r}; rename one of them")
        return columns

    @field_validator("processors")
    @classmethod
    def _processors_are_unique(
        cls, processors: list[ProcessorConfig] | None
    ) -> list[ProcessorConfig] | None:
        if repeated := find_repeated(processor.name for processor in processors or ()):
            raise ValueError(f"more than one processor is named {repeated[0]!r}; rename one")
        return processors

    @field_validator("model_configs")
    @classmethod
    def _aliases_are_unique(cls, models: list[ModelConfig] | None) -> list[ModelConfig] | None:
        aliases = [model.alias for model in models or ()]
        repeated = sorted({alias for alias in aliases if aliases.count(alias) > 1})
        if repeated:
            raise ValueError(f"more than one model has the alias {repeated[0]!r}; rename one")
        return models

    def get_model_aliases(self) -> set[str]:
        """The aliases of the models that the columns and the profilers use."""
        aliases = {alias for column in self.columns for alias in column.get_model_aliases()}
        return aliases | {profiler.model_alias for profiler in self.profilers or ()}

    def resolve_paths(self) -> Self:
        """Return the configuration with absolute paths, for processes in other directories."""
        resolved: dict[str, Any] = {"columns": [column.resolve_paths() for column in self.columns]}
        if self.seed_config is not None:
            source = self.seed_config.source.resolve_paths()
            resolved["seed_config"] = self.seed_config.model_copy(update={"source": source})
        if self.processors is not None:
            resolved["processors"] = [each.resolve_paths() for each in self.processors]
        return self.model_copy(update=resolved)

    def fingerprint(self) -> dict[str, str | int]:
        """Hash everything that determines the data; limits and timeouts are not part of it."""
        resolved = self.resolve_paths()
        columns = [
            {"drop": column.drop, **column.identity(), **column.locate_content()}
            for column in resolved.columns
        ]
        fields = resolved.model_dump(mode="json", context=for_identity)
        content = encode_canonical(_hashed({**fields, "columns": columns}))
        digest = hashlib.sha256(content).hexdigest()
        return {
            "config_hash": f"{_HASH_ALGORITHM}:{digest}",
            "config_hash_algo": _HASH_ALGORITHM,
            "config_hash_version": _HASH_VERSION,
        }


def read_stored_config(written: Mapping[str, Any]) -> tuple[DataDesignerConfig, list[str]]:
    """Read the configuration of a finished dataset, and return what of its code is missing here.

    A custom column takes the place of a column whose kind only the script declared that made the
    dataset. Raises `ValidationError`.
    """
    columns: list[dict[str, Any]] = written["columns"]
    with allow_missing_code() as missing:
        known = {**written, "columns": [*map(_replace_unknown_kind, columns)]}
        return DataDesignerConfig.model_validate(known), missing


def _replace_unknown_kind(column: dict[str, Any]) -> dict[str, Any]:
    kind = column["column_type"]
    if kind in Column.all_kinds():
        return column
    kept = {name: column[name] for name in ("name", "drop") if name in column}
    return {**kept, "column_type": "custom", "generator_function": str(kind)}


def encode_canonical(content: Any) -> bytes:
    """Encode content as JSON; equal content gives equal bytes."""
    try:
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers of more than 64 bits
        return json.dumps(content, sort_keys=True, default=str).encode()


def _hashed(config: dict[str, Any]) -> dict[str, Any]:
    """The parts of a configuration that determine the data; models are sorted by alias."""
    config = {name: value for name, value in config.items() if name != "profilers"}
    for name in _LISTS:
        config[name] = config.get(name) or None
    models: list[dict[str, Any]] = []
    for model in config["model_configs"] or ():
        parameters = {
            name: value
            for name, value in model["inference_parameters"].items()
            if name not in LIMITS
        }
        kept = {name: value for name, value in model.items() if name not in _NOT_HASHED}
        models.append(kept | {"inference_parameters": parameters})
    seed: dict[str, Any] = config.get("seed_config") or {}
    if seed and seed["source"]["seed_type"] == "hf":
        source: dict[str, Any] = seed["source"]
        kept = {name: source[name] for name in source if name not in ("token", "endpoint")}
        config["seed_config"] = seed | {"source": kept}
    config["model_configs"] = sorted(models, key=lambda model: model["alias"]) or None
    return config


class BuilderConfig(Exportable):
    """The content of a configuration file: a dataset's configuration and the library's version."""

    data_designer: DataDesignerConfig
    """Configuration of the dataset."""
    library_version: str | None = None
    """Version of the library that wrote the file; default: unknown."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "columns" in given:
            return {"data_designer": cast("Mapping[str, Any]", given)}
        return given  # pyright: ignore[reportUnknownVariableType]

    @classmethod
    def of(cls, config: DataDesignerConfig) -> Self:
        """Add the version of the installed library to a configuration."""
        from importlib.metadata import version

        return cls(data_designer=config, library_version=version("prefect-data-designer"))


class JudgeScoreProfilerConfig(Declaration):
    """Profiles each score of each judge: its distribution, examples, and a summary by a model."""

    model_alias: str
    """Alias of the model that writes the summaries."""
    summary_score_sample_size: int | None = Field(default=20, ge=1)
    """Number of sampled reasonings that a summary is based on; default: 20. With
    null, no summaries are written."""
