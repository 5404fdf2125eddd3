"""`ddflows kinds`, `schema` and `models`, for people, scripts and coding assistants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from flows.cli.main import cli


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_kinds_are_listed_one_in_a_line() -> None:
    code, text = call("kinds")
    assert code == 0
    assert [line.split()[:2] for line in text.splitlines() if "llm-judge" in line] == [
        ["column", "llm-judge"]
    ]
    code, text = call("kinds", "validators")
    listed = [line.split()[:2] for line in text.splitlines()[1:]]
    assert {family for family, _ in listed} == {"validator"}
    assert {"code", "local_callable", "remote"} <= {tag for _, tag in listed}


def test_a_kind_is_described_with_its_fields() -> None:
    code, text = call("kinds", "uniform")
    assert code == 0
    assert "sampler uniform (sampler_type: uniform)" in text
    assert "  low: number; required\n      Lower bound, inclusive." in text
    code, text = call("kinds", "llm-judge")
    assert "\nScore:\n  name: string, not empty; required" in text


def test_kinds_are_printed_as_json() -> None:
    code, text = call("kinds", "column", "--json")
    assert code == 0
    found = {kind["name"]: kind for kind in json.loads(text)}
    assert found["llm-text"]["class_name"] == "LLMTextColumnConfig"
    [prompt] = [each for each in found["llm-text"]["fields"] if each["name"] == "prompt"]
    assert (prompt["type"], prompt["required"]) == ("string", True)


@pytest.mark.parametrize("command", ["kinds", "schema"])
def test_a_kind_that_does_not_exist_is_a_usage_error(command: str) -> None:
    code, text = call(command, "lm-text")
    assert (code, "did you mean 'llm-text'?" in text) == (2, True)


def test_schemas_are_printed() -> None:
    code, text = call("schema")
    assert (code, json.loads(text)["title"]) == (0, "DataDesignerConfig")
    code, text = call("schema", "llm-text")
    assert json.loads(text)["required"] == ["name", "prompt", "model_alias"]


def test_models_say_whether_they_can_be_used_and_show_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key-of-mine")
    monkeypatch.delenv("NVIDIA_API_KEY", raising=False)
    code, text = call("models", "--json")
    found = {model["alias"]: model for model in json.loads(text)}
    assert code == 0
    assert found["openai-text"]["usable"] is True
    assert (found["openai-text"]["provider"], found["openai-text"]["reason"]) == ("openai", None)
    assert found["nvidia-text"]["usable"] is False
    assert "'NVIDIA_API_KEY' is not set" in found["nvidia-text"]["reason"]
    code, text = call("models")
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("openai-text")] == [
        "usable"
    ]
    assert "sk-secret" not in text


def _find_groups(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _find_groups(command, *path, name)


@pytest.mark.parametrize("group", [*_find_groups(cli)], ids=" ".join)
def test_the_summary_of_a_command_fits_in_a_line(group: tuple[str, ...]) -> None:
    """Click ends a longer one with dots."""
    shown = CliRunner().invoke(cli, [*group, "--help"], terminal_width=80).output
    commands = shown.partition("Commands:\n")[2].splitlines()
    assert len(commands) >= 2
    assert [line for line in commands if line.endswith("...")] == []
