"""NeMo Data Designer can read what we write, or `ddflows validate --portable` says why not.

Its classes refuse fields that they do not know. `reference_fields.json` holds the fields of
data-designer 0.9.7 by class.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given

import dd_core.config as dd
from dd_core.dataset.planning.portability import list_unportable
from dd_core.declaration.kind import Declaration, Kind
from dd_core.declaration.own_fields import OWN
from dd_core.extend import Column, ProcessorConfig, SamplerParams, SeedSource, ValidatorParams
from flows.cli.main import cli
from tests.conformance.test_fields import FIELDS, declared
from tests.conformance.test_round_trip import SETTINGS, Fields, configs


@dd.custom_column_generator(required_columns=["s"])
def shout(row: dict[str, Any]) -> dict[str, Any]:
    return row


def own_fields(name: str) -> set[str]:
    return {field for field, info in declared(name).model_fields.items() if OWN in info.metadata}


ELSEWHERE = {"LocalStdioMCPProvider", "MCPProvider", "RunConfig"}
"""Declarations that configurations do not contain."""


@pytest.mark.parametrize("name", sorted({*FIELDS} - ELSEWHERE))
def test_every_field_that_only_we_have_is_marked(name: str) -> None:
    assert own_fields(name) == {*declared(name).model_fields} - {*FIELDS[name]}


FAMILIES: list[type[Kind]] = [Column, SamplerParams, SeedSource, ValidatorParams, ProcessorConfig]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_kind_that_only_we_have_is_marked(family: type[Kind]) -> None:
    """Unless the field of its tag is marked, a kind is said to be readable there."""
    ours = [kind for kind in family.all_kinds().values() if kind.__module__.startswith("dd_core.")]
    marked = {
        kind.__name__ for kind in ours if OWN in kind.model_fields[family.family_tag].metadata
    }
    assert marked == {kind.__name__ for kind in ours} - {*FIELDS}


def unknown(value: object, written: Any, place: str = "") -> Iterator[str]:
    """Places of fields that data-designer would refuse."""
    if isinstance(value, Declaration):
        known = FIELDS.get(type(value).__name__)
        if known is not None:
            yield from (f"{place}.{name}" for name in written if name not in known)
        elif isinstance(value, Kind):
            yield f"{place}.{value.family_tag}"
        for name in written:
            yield from unknown(getattr(value, name), written[name], f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for number, (part, shown) in enumerate(zip(value, written, strict=True)):
            yield from unknown(part, shown, f"{place}.{number}")
    elif isinstance(value, dict):
        for (_, part), (name, shown) in zip(value.items(), written.items(), strict=True):
            yield from unknown(part, shown, f"{place}.{name}")


@pytest.mark.slow
@given(configs())
@SETTINGS
def test_written_fields_are_known_there_or_reported(content: Fields) -> None:
    config = dd.DataDesignerConfig.model_validate(content)
    refused = [*unknown(config, config.to_dict())]
    reported = [problem for problem in list_unportable(config) if "only in this" in problem.message]
    assert len(refused) == len(reported), (refused, reported)


FULL: Fields = {
    "columns": [
        {"name": "s", "column_type": "sampler", "sampler_type": "uuid", "params": {}},
        {
            "name": "t",
            "column_type": "llm-text",
            "prompt": "{{ s }}",
            "model_alias": "m",
            "on_truncated": "keep",
        },
        {
            "name": "v",
            "column_type": "embedding",
            "target_column": "s",
            "model_alias": "e",
            "dtype": "float64",
        },
        {
            "name": "c",
            "column_type": "validation",
            "target_columns": ["t"],
            "validator_params": {
                "validator_type": "code",
                "code_lang": "sql:ansi",
                "sql_parser": "sqlfluff",
            },
        },
        {
            "name": "f",
            "column_type": "custom",
            "generator_function": f"{__name__}:shout",
        },
        {"name": "x", "column_type": "expression", "expr": "{{ [s] }}", "dtype": "json"},
    ],
    "model_configs": [
        {
            "alias": "m",
            "model": "big",
            "base_url": "http://localhost:9/v1",
            "inference_parameters": {"requests_per_minute": 5},
        },
        {
            "alias": "e",
            "model": "vectors",
            "provider": "openai",
            "price": {"input": 1, "output": 2},
            "inference_parameters": {"generation_type": "embedding"},
        },
    ],
    "processors": [{"processor_type": "deduplicate", "name": "once"}],
}


def test_what_is_not_portable_is_listed_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(FULL))
    assert CliRunner().invoke(cli, ["validate", str(path)]).exit_code == 0
    result = CliRunner().invoke(cli, ["validate", str(path), "--portable"])
    assert result.exit_code == 1
    only = "exists only in this project; remove it"
    assert result.output.splitlines()[-11:] == [
        "NeMo Data Designer cannot read it:",
        *(
            f"  - {place}: {only}"
            for place in (
                "columns.t.on_truncated",
                "columns.v.dtype",
                "columns.c.validator_params.sql_parser",
                "model_configs.m.inference_parameters.requests_per_minute",
                "model_configs.m.base_url",
                "model_configs.e.price",
                "processors.once.processor_type",
            )
        ),
        "  - model_configs.m.provider: is required there; set it",
        "  - columns.f.generator_function: is not read from files there; set it in Python",
        "  - columns.x.dtype: cannot be 'json' there; use 'str'",
    ]


def test_unset_fields_of_our_own_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    model = {"alias": "m", "model": "big", "provider": "openai"}
    plain: Fields = {"columns": FULL["columns"][:1], "model_configs": [model]}
    config = dd.load_config(plain)
    written = config.to_dict()
    assert {*written["model_configs"][0]} == {*FIELDS["ModelConfig"]}
    assert {*written["model_configs"][0]["inference_parameters"]} == {
        *FIELDS["ChatCompletionInferenceParams"]
    }
    assert yaml.safe_load(config.to_yaml() or "") == written == json.loads(config.to_json() or "")
    file = tmp_path / "config.yaml"
    dd.DataDesignerConfigBuilder.from_config(config).write_config(file)
    assert yaml.safe_load(file.read_text())["data_designer"] == {**written, "tool_configs": []}
    result = CliRunner().invoke(cli, ["validate", str(file), "--portable"])
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        (0, "NeMo Data Designer can read it.")
    )


def test_set_fields_are_written_and_files_with_all_fields_still_load() -> None:
    config = dd.load_config(FULL)
    assert dd.load_config(config.to_dict()) == config
    old = config.model_dump(mode="json")  # what earlier versions wrote
    assert old["model_configs"][0]["structured_output"] == "auto"
    again = dd.load_config(old)
    assert again.fingerprint() == config.fingerprint()
    assert again.to_dict() == config.to_dict()
    assert config.to_dict()["columns"][1]["on_truncated"] == "keep"
    assert config.to_dict()["processors"][0]["processor_type"] == "deduplicate"
