"""The fingerprint of a config follows what determines the data; documented snippets construct."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from tests.scripted import asking, model


def hashed(config: dd.DataDesignerConfig) -> str:
    found = config.fingerprint()
    assert found["config_hash_algo"] == "sha256"
    assert found["config_hash_version"] == 2
    assert re.fullmatch("sha256:[0-9a-f]{64}", str(found["config_hash"]))
    return str(found["config_hash"])


@pytest.mark.parametrize(
    "fields",
    [{"max_parallel_requests": 64}, {"timeout": 7}, {"skip_health_check": True}],
)
def test_limits_and_timeouts_do_not_change_the_fingerprint(fields: dict[str, Any]) -> None:
    assert hashed(asking(**fields).build()) == hashed(asking().build())


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.1},
        {"top_p": 0.9},
        {"max_tokens": 5},
        {"extra_body": {"seed": 1}},
        {"model": "large"},
        {"prompt": "Else {{ topic }}"},
    ],
)
def test_what_changes_answers_changes_the_fingerprint(fields: dict[str, Any]) -> None:
    assert hashed(asking(**fields).build()) != hashed(asking().build())


def test_the_order_of_models_does_not_matter_and_that_of_columns_does() -> None:
    first, second = model("a"), model("b")
    columns = asking().build().columns
    one = dd.DataDesignerConfig(columns=columns, model_configs=[first, second])
    other = dd.DataDesignerConfig(columns=columns, model_configs=[second, first])
    turned = dd.DataDesignerConfig(columns=columns[::-1], model_configs=[first, second])
    assert hashed(one) == hashed(other)
    assert hashed(one) != hashed(turned)


@pytest.mark.parametrize("name", ["model_configs", "tool_configs", "constraints", "processors"])
def test_an_empty_list_is_as_good_as_none(name: str) -> None:
    config = dd.DataDesignerConfig(columns=asking().build().columns)
    assert hashed(config.changed(**{name: []})) == hashed(config)


# The snippets of docs "Architecture & Performance" that this project promises to take.
MODELS: list[dict[str, Any]] = [
    {"alias": "my-model", "max_parallel_requests": 8},
    {"alias": "nim-llama", "provider": "nvidia", "max_parallel_requests": 4, "timeout": 60},
    {
        "alias": "local-llm",
        "provider": "openai",
        "base_url": "http://localhost:8000/v1",
        "max_parallel_requests": 16,
        "timeout": 120,
    },
    {
        "alias": "enterprise-llm",
        "provider": "openai",
        "base_url": "https://llm-gateway.company.com/v1",
        "api_key_env_var": "GATEWAY_API_KEY",
        "max_parallel_requests": 8,
        "timeout": 90,
    },
    {
        "alias": "nim-endpoint",
        "provider": "nvidia",
        "base_url": "http://nim-service.namespace.svc:8000/v1",
        "max_parallel_requests": 32,
        "timeout": 120,
    },
]


@pytest.mark.parametrize("snippet", MODELS, ids=lambda snippet: str(snippet["alias"]))
def test_a_documented_model_constructs(snippet: dict[str, Any]) -> None:
    limits = {key: snippet[key] for key in ("max_parallel_requests", "timeout") if key in snippet}
    fields = {key: value for key, value in snippet.items() if key not in limits}
    config = dd.ModelConfig(
        model="meta/llama-3.1-70b-instruct",
        inference_parameters=dd.ChatCompletionInferenceParams(**limits),
        **fields,
    )
    assert config.inference_parameters.max_parallel_requests == limits["max_parallel_requests"]
    assert config.inference_parameters.timeout == limits.get("timeout")


@pytest.mark.parametrize(
    "fields",
    [
        {"buffer_size": 2000},
        {"non_inference_max_parallel_workers": 8},
        {"max_conversation_restarts": 3, "max_conversation_correction_steps": 1},
        {
            "disable_early_shutdown": False,
            "shutdown_error_rate": 0.5,
            "shutdown_error_window": 10,
        },
    ],
)
def test_a_documented_run_config_constructs(fields: dict[str, Any]) -> None:
    made = dd.RunConfig(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


def test_the_documented_defaults_hold() -> None:
    run_config = dd.RunConfig()
    assert run_config.buffer_size == 1000
    assert run_config.non_inference_max_parallel_workers == 4
    assert run_config.shutdown_error_rate == 0.5
    assert run_config.shutdown_error_window == 10
    assert run_config.max_conversation_restarts == 5
    assert run_config.max_conversation_correction_steps == 0
    assert not run_config.disable_early_shutdown
    assert dd.ChatCompletionInferenceParams().max_parallel_requests == 4


def test_a_config_with_a_key_names_its_variable_only(tmp_path: Path) -> None:
    builder = asking(api_key_env_var="GATEWAY_API_KEY")
    builder.write_config(tmp_path / "config.yaml")
    assert "api_key_env_var: GATEWAY_API_KEY" in (tmp_path / "config.yaml").read_text()
