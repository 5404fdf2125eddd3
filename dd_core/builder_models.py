"""The part of a builder that collects models and tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from dd_core.errors import BuilderConfigurationError, InvalidConfigError
from dd_core.models.config import ModelConfig
from dd_core.models.defaults import default_model_configs
from dd_core.tools import ToolConfig


class ModelsBuilder:
    """Models by alias, and tools by theirs."""

    def __init__(
        self,
        model_configs: list[ModelConfig] | str | Path | None = None,
        tool_configs: list[ToolConfig] | None = None,
    ) -> None:
        if isinstance(model_configs, str | Path):
            model_configs = load_model_configs(model_configs)
        self._models = model_configs or default_model_configs()
        self._tools: list[ToolConfig] = [] if tool_configs is None else tool_configs

    @property
    def model_configs(self) -> list[ModelConfig]:
        """The models that columns may name."""
        return self._models

    @property
    def tool_configs(self) -> list[ToolConfig]:
        """The tools that columns may name."""
        return self._tools

    def add_model_config(self, model_config: ModelConfig) -> Self:
        """Add a model; its alias must be new."""
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
        """Add tools; their alias must be new."""
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
        """The tools of an alias; `KeyError` if there are none."""
        found = [tool for tool in self._tools if tool.tool_alias == alias]
        if not found:
            raise KeyError(alias)
        return found[0]


def load_model_configs(source: str | Path) -> list[ModelConfig]:
    """Models of a YAML or JSON file whose top level has a `model_configs` list."""
    import yaml

    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no model config file {str(source)!r}")
    loaded: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(loaded, dict) or not isinstance(loaded.get("model_configs"), list):  # pyright: ignore[reportUnknownMemberType]
        raise InvalidConfigError(f"{path} has no top-level list `model_configs`")
    return [ModelConfig.model_validate(item) for item in loaded["model_configs"]]  # pyright: ignore[reportUnknownVariableType]
