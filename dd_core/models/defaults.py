"""The models that are there when a config names none."""

from __future__ import annotations

from typing import Any

from dd_core.models.config import ModelConfig
from dd_core.models.providers import home_directory

_MEDIUM = {"extra_body": {"reasoning_effort": "medium"}}
_NANO = "nvidia/nemotron-3-nano-30b-a3b"
_OMNI = "nvidia/nemotron-3-nano-omni-30b-a3b-reasoning"

_BUILT_IN: dict[str, tuple[str, dict[str, Any]]] = {
    "nvidia-text": (_NANO, {"temperature": 1.0, "top_p": 1.0}),
    "nvidia-reasoning": (
        "nvidia/nemotron-3-super-120b-a12b",
        {"temperature": 1.0, "top_p": 0.95, **_MEDIUM},
    ),
    "nvidia-vision": (_OMNI, {"temperature": 0.60, "top_p": 0.95}),
    "nvidia-embedding": (
        "nvidia/llama-nemotron-embed-1b-v2",
        {"encoding_format": "float", "extra_body": {"input_type": "query"}},
    ),
    "openai-text": ("gpt-4.1", {"temperature": 0.85, "top_p": 0.95}),
    "openai-reasoning": ("gpt-5", _MEDIUM),
    "openai-vision": ("gpt-5", _MEDIUM),
    "openai-embedding": ("text-embedding-3-large", {"encoding_format": "float"}),
    "openrouter-text": (_NANO, {"temperature": 1.0, "top_p": 1.0}),
    "openrouter-reasoning": ("openai/gpt-oss-20b", {"temperature": 0.35, "top_p": 0.95}),
    "openrouter-vision": (f"{_OMNI}:free", {"temperature": 0.60, "top_p": 0.95}),
    "openrouter-embedding": ("openai/text-embedding-3-large", {"encoding_format": "float"}),
}


def default_model_configs() -> list[ModelConfig]:
    """The models of the user's `model_configs.yaml`, or the built-in ones."""
    path = home_directory() / "model_configs.yaml"
    if path.is_file():
        import yaml

        loaded: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return [ModelConfig.model_validate(item) for item in loaded.get("model_configs", [])]
    return [
        ModelConfig.model_validate(
            {
                "alias": alias,
                "model": model,
                "provider": alias.split("-")[0],
                "inference_parameters": parameters,
            }
        )
        for alias, (model, parameters) in _BUILT_IN.items()
    ]
