"""Tool servers on the command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flows.cli.options import read_servers

CONFIG = """
model_configs:
- {alias: m, model: m, base_url: 'http://127.0.0.1:9/v1', provider: openai, skip_health_check: true}
tool_configs:
- {tool_alias: desk, providers: [tests], allow_tools: [maths.add, echo]}
columns:
- {name: t, column_type: llm-text, model_alias: m, prompt: x, tool_alias: desk}
"""
SERVER = json.dumps(
    {
        "provider_type": "stdio",
        "name": "tests",
        "command": sys.executable,
        "args": ["-m", "tests.tool_servers"],
        "cwd": str(Path(__file__).parents[3]),
    }
)


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return str(tmp_path / "config.yaml")


def test_tool_servers_come_from_the_file_or_the_home_folder(config: str, tmp_path: Path) -> None:
    code, text = call("validate", config)
    assert code == 1
    assert "unknown tool server 'tests'" in text
    given = tmp_path / "servers.yaml"
    given.write_text(f"mcp_providers: [{SERVER}]\n")
    assert call("validate", config, "--providers", str(given))[0] == 0
    home = Path(os.environ["DATA_DESIGNER_HOME"]) / "mcp_providers.yaml"
    home.write_text(f"providers: [{SERVER}]\n")
    assert call("validate", config)[0] == 0
    # A file that lists other servers replaces those in the home folder.
    given.write_text("mcp_providers: []\n")
    assert call("validate", config, "--providers", str(given))[0] == 1
    given.write_text("providers: []\n")
    assert call("validate", config, "--providers", str(given))[0] == 0


def test_a_file_may_contain_either_kind_of_server(tmp_path: Path) -> None:
    path = tmp_path / "servers.yaml"
    model = "{name: on, endpoint: 'http://a/v1'}"
    for content, models, tools in [
        (f"providers: [{model}]", 1, None),
        (f"- {model}", 1, None),
        (f"mcp_providers: [{SERVER}]", None, 1),
        (f"providers: [{model}]\nmcp_providers: []", 1, 0),
    ]:
        path.write_text(content)
        found = [
            None if listed is None else len(listed) for listed in read_servers(str(path)).values()
        ]
        assert found == [models, tools]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mcp_providers: 5", "has no top-level list `mcp_providers`"),
        ("mcp_providers: [{name: t}]", "endpoint"),
        ("mcp_providers: [{provider_type: stdio, name: t, endpoint: x}]", "endpoint"),
        ("mcp_providers: [5]", "is not valid"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    config: str, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "servers.yaml"
    path.write_text(content)
    code, text = call("validate", config, "--providers", str(path))
    assert code == 1
    assert message in text
    assert "servers.yaml" in text
    assert "pydantic" not in text


def test_check_models_lists_the_tools_of_each_alias(config: str, tmp_path: Path) -> None:
    path = tmp_path / "servers.yaml"
    path.write_text(f"mcp_providers: [{SERVER}]\n")
    code, text = call("check-models", config, "--providers", str(path))
    assert code == 0, text
    assert "All models and tool servers answered." in text
    assert "Tools 'desk': echo, maths.add" in text
