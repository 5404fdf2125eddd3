"""The parameter schema, with which a Prefect server checks parameters before it stores them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.utilities.schema_tools.validation import validate

from dd_core.config import DataDesignerConfig
from flows import generate_dataset

_URL = "https://host/v1"


def _count_errors(**parameters: Any) -> int:
    schema: Any = generate_dataset.parameters.model_dump_for_openapi()
    return len(validate({"config": "reviews.yaml", **parameters}, schema))


def _provider(**fields: Any) -> dict[str, Any]:
    return {"model_providers": [{"name": "p", "endpoint": _URL, **fields}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "sk-proj-abcdefghijk"},
        {"api_key": "hf_abcdefghijk"},
        {"endpoint": "https://user:password@host/v1"},
        {"extra_headers": {"Authorization": "Bearer abcdefghijk"}},
        {"extra_headers": {"x-api-key": "abcdefghijk"}},
        {"extra_body": {"api_key": "abcdefghijk"}},
    ],
    ids=str,
)
def test_keys_are_refused(fields: dict[str, Any]) -> None:
    assert _count_errors(**_provider(**fields)) > 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"api_key": None},
        {"api_key": "OPENAI_API_KEY"},
        {"api_key": "block:my-key"},
        {"endpoint": "http://localhost:8000"},
        {"endpoint": "https://host/v1?api-version=2024-06-01"},
        {"extra_headers": {"Idempotency-Key": "night", "X-Team": "red"}},
        {"extra_body": {"max_tokens": 5, "api_key": "MY_API_KEY"}},
    ],
    ids=str,
)
def test_references_and_ordinary_fields_are_accepted(fields: dict[str, Any]) -> None:
    assert _count_errors(**_provider(**fields)) == 0


_TOOLS = "https://host/mcp"


@pytest.mark.parametrize(
    "server",
    [
        {"name": "t", "endpoint": _TOOLS, "api_key": "sk-proj-abcdefghijk"},
        {"name": "t", "endpoint": "https://user:password@host/mcp"},
        {"name": "t", "endpoint": _TOOLS, "headers": {"Authorization": "Bearer abcdefghijk"}},
        {"provider_type": "stdio", "name": "t", "command": "x", "env": {"API_KEY": "abcdefghijk"}},
        {"provider_type": "stdio", "name": "t", "endpoint": _TOOLS},
        {"provider_type": "carrier pigeon", "name": "t", "endpoint": _TOOLS},
    ],
    ids=str,
)
def test_keys_and_mistakes_in_tool_servers_are_refused(server: dict[str, Any]) -> None:
    assert _count_errors(mcp_providers=[server]) > 0


@pytest.mark.parametrize(
    "server",
    [
        "block:search",
        {"name": "t", "endpoint": _TOOLS},
        {"provider_type": "streamable_http", "name": "t", "endpoint": _TOOLS, "api_key": "A_KEY"},
        {"name": "t", "endpoint": _TOOLS, "headers": {"Authorization": "Bearer ${TOKEN}"}},
        {"name": "t", "endpoint": _TOOLS, "headers": {"x-api-key": "block:key", "x-team": "red"}},
        {
            "provider_type": "stdio",
            "name": "t",
            "command": "python",
            "args": ["server.py"],
            "env": {"API_KEY": "MY_API_KEY", "MODE": "read"},
            "processes": 2,
        },
    ],
    ids=str,
)
def test_tool_servers_with_references_are_accepted(server: Any) -> None:
    assert _count_errors(mcp_providers=[server]) == 0


def test_the_form_has_fields_for_tools() -> None:
    schema: Any = generate_dataset.parameters.model_dump_for_openapi()
    definitions = schema["definitions"]
    assert {"tool_alias", "providers", "allow_tools"} <= {*definitions["ToolConfig"]["properties"]}
    assert "tool_configs" in definitions["DataDesignerConfig"]["properties"]
    assert "tool_alias" in definitions["LLMTextColumnConfig"]["properties"]
    tools = [{"tool_alias": "t", "providers": ["p"]}]
    assert _count_errors(config={"columns": [], "tool_configs": tools}) == 0
    assert _count_errors(config={"columns": [], "tool_configs": [{"tool_alias": "t"}]}) > 0


def test_text_that_refers_to_no_block_is_not_a_server() -> None:
    assert _count_errors(model_providers=["sk-proj-abcdefghijk"]) > 0
    assert _count_errors(mcp_providers=["abcdefghijk"]) > 0
    assert _count_errors(model_providers=["block:gateway"]) == 0


@pytest.mark.parametrize("key", ["sk-proj-abcdefghijk", "gsk_a1b2c3d4e5f6", "0a" * 16, "a0" * 16])
def test_a_key_is_not_the_name_of_a_variable(key: str) -> None:
    model = {"alias": "m", "model": "m", "base_url": _URL}
    good = {"columns": [], "model_configs": [{**model, "api_key_env_var": "MY_KEY"}]}
    bad = {"columns": [], "model_configs": [{**model, "api_key_env_var": key}]}
    assert _count_errors(config=good) == 0
    assert _count_errors(config=bad) > 0


def test_a_key_in_a_configuration_is_refused() -> None:
    column = {"name": "text", "column_type": "llm-text", "model_alias": "m", "prompt": "Hi"}
    model = {"alias": "m", "model": "m", "base_url": _URL}
    good = {"columns": [column], "model_configs": [model]}
    bad = {"columns": [column], "model_configs": [{**model, "base_url": "https://me:pw@host"}]}
    assert _count_errors(config=good) == 0
    assert _count_errors(config=bad) > 0


_TEXT = {"name": "text", "column_type": "llm-text", "model_alias": "m", "prompt": "Hi"}


def test_the_form_accepts_candidates_and_comparisons() -> None:
    several = {**_TEXT, "model_alias": ["m", "k"], "n": 2}
    best = {"name": "best", "column_type": "llm-compare", "candidates": "text"}
    best |= {"model_alias": "m", "prompt": "Which?", "method": "listwise", "criteria": ["brief"]}
    assert _count_errors(config={"columns": [several, best]}) == 0
    for wrong in ({**_TEXT, "n": 0}, {**_TEXT, "model_alias": 3}, {**best, "method": "guess"}):
        assert _count_errors(config={"columns": [wrong]}) > 0


_NUMBER = {"name": "n", "column_type": "sampler", "sampler_type": "uniform"}


_LEFT_OUT: list[dict[str, Any]] = [
    {"model_configs": [{"alias": "m", "model": "m", "inference_parameters": {}}]},
    {
        "model_configs": [
            {"alias": "m", "model": "m", "inference_parameters": {"max_parallel_requests": 4}}
        ]
    },
    {"columns": [{**_TEXT, "multi_modal_context": [{"column_name": "photo"}]}]},
    {"columns": [{**_NUMBER, "params": {"low": 0, "high": 1}}]},
    {
        "columns": [
            {
                **_NUMBER,
                "params": {"low": 0, "high": 1},
                "conditional_params": {"kind == 'a'": {"low": 1, "high": 2}},
            }
        ]
    },
    {
        "columns": [
            {
                "name": "verdict",
                "column_type": "validation",
                "target_columns": ["code"],
                "validator_type": "code",
                "validator_params": {"code_lang": "python"},
            }
        ]
    },
    {"constraints": [{"target_column": "n", "operator": "lt", "rhs": 5}]},
    {"constraints": [{"target_column": "n", "operator": "lt", "rhs": "m"}]},
]
_MISTAKES: list[dict[str, Any]] = [
    {"promt": "Hi"},
    {"column_type": "poem"},
    {"prompt": 5},
    {"multi_modal_context": [{}]},
]


@pytest.mark.filterwarnings("ignore:a context without `modality`:DeprecationWarning")
@pytest.mark.parametrize("fields", _LEFT_OUT, ids=str)
def test_what_may_be_left_out_of_a_configuration_may_be_left_out_of_parameters(
    fields: dict[str, Any],
) -> None:
    config = {"columns": [_TEXT], **fields}
    DataDesignerConfig.model_validate(config)
    assert _count_errors(config=config) == 0


@pytest.mark.parametrize("fields", _MISTAKES, ids=str)
def test_mistakes_in_columns_are_refused(fields: dict[str, Any]) -> None:
    assert _count_errors(config={"columns": [{**_TEXT, **fields}]}) > 0


@pytest.mark.parametrize("rows", [0, -1, "ten"])
def test_a_dataset_has_at_least_one_row(rows: Any) -> None:
    assert _count_errors(num_records=rows) > 0


@pytest.mark.parametrize(
    ("processor", "errors"),
    [
        ({"processor_type": "select", "by": "a", "top": 3, "per": ["a"]}, 0),
        ({"processor_type": "select", "diverse": {"column": "a", "min_distance": 0.1}}, 0),
        ({"processor_type": "select", "diverse": {"column": "a", "max_distance": 0.1}}, 1),
        ({"processor_type": "balance", "column": "a", "target": "equal"}, 0),
        ({"processor_type": "balance", "column": "a", "target": {"x": 0.5, "y": 0.5}}, 0),
        ({"processor_type": "balance", "column": "a", "target": "even"}, 1),
        ({"processor_type": "decontaminate", "columns": ["a"], "against": ["known.txt"]}, 0),
        ({"processor_type": "decontaminate", "columns": ["a"], "against": [
            {"source": {"seed_type": "local", "path": "known.csv"}, "columns": ["question"]}]}, 0),
        ({"processor_type": "decontaminate", "columns": ["a"], "against": [
            "https://user:password@host/known.csv"]}, 1),
    ],
)  # fmt: skip
def test_processors_that_choose_rows_are_checked(processor: dict[str, Any], errors: int) -> None:
    column = {"name": "a", "column_type": "expression", "expr": "1"}
    config = {"columns": [column], "processors": [{"name": "p", **processor}]}
    assert (_count_errors(config=config) > 0) == bool(errors)


def _find_alternatives(schema: Any) -> Iterator[list[Any]]:
    """The alternatives of every part of a schema."""
    if isinstance(schema, dict):
        if "anyOf" in schema:
            yield schema["anyOf"]
        for value in schema.values():
            yield from _find_alternatives(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _find_alternatives(value)


def test_a_form_recognizes_each_kind_that_is_chosen() -> None:
    """Prefect's form takes the first alternative that has most of the fields of the chosen one."""
    schema: Any = generate_dataset.parameters.model_dump_for_openapi()
    definitions = schema["definitions"]
    families = {"LocalFileSeedSource", "LLMTextColumnConfig", "CategorySamplerParams"}
    found: set[str] = set()
    for alternatives in _find_alternatives(schema):
        assert not [each for each in alternatives if "anyOf" in each]  # forms do not offer these
        names = [each["$ref"].rpartition("/")[2] for each in alternatives if "$ref" in each]
        if not families & {*names}:
            continue
        found |= families & {*names}
        fields = {name: {*definitions[name]["properties"]} for name in names}
        for chosen in names:
            assert max(names, key=lambda name: len(fields[name] & fields[chosen])) == chosen
    assert found == families
