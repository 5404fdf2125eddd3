"""`ddflows config`: the user's providers, models and tools, without ever showing a key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from dd_core.models.providers import load_default_models, load_default_providers
from flows.cli.main import cli

KEY = "nvapi-k8Jd93kdLs02mQpz71"
PROVIDERS = f"""# My servers
providers:
  # The one at work
  - name: work
    endpoint: https://work.test/v1  # behind the proxy
    api_key: {KEY}

  # The one at home
  - name: home
    endpoint: http://home.test/v1
    api_key: HOME_API_KEY
# The end
"""


@pytest.fixture
def home() -> Path:
    return Path(os.environ["DATA_DESIGNER_HOME"])


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert KEY not in result.output
    return result.exit_code, result.output


def test_everything_is_listed_and_files_are_named(home: Path) -> None:
    code, text = call("config", "list")
    assert code == 0
    assert "Model providers (built in)" in text
    assert "key: NVIDIA_API_KEY" in text
    assert "Tool servers (none)" in text
    (home / "model_providers.yaml").write_text(PROVIDERS)
    (home / "mcp_providers.yaml").write_text(
        "providers: [{name: docs, endpoint: 'https://docs.test/sse', api_key: DOCS_KEY},"
        " {name: shell, provider_type: stdio, command: run}]"
    )
    (home / "tool_configs.yaml").write_text("tool_configs: [{tool_alias: t, providers: [docs]}]")
    code, text = call("config", "list")
    assert f"Model providers ({home / 'model_providers.yaml'})" in text
    assert "work  endpoint: https://work.test/v1  key: (hidden)" in text
    assert "docs  endpoint: https://docs.test/sse  key: DOCS_KEY" in text
    assert "shell  command: run" in text
    assert "t  providers: docs" in text
    found: dict[str, Any] = json.loads(call("config", "list", "--json")[1])
    assert [*found] == ["provider", "model", "mcp-provider", "tool-config"]
    assert found["tool-config"] == [{"tool_alias": "t", "providers": ["docs"]}]


def test_an_entry_is_shown_as_yaml(home: Path) -> None:
    (home / "model_providers.yaml").write_text(PROVIDERS)
    code, text = call("config", "show", "provider", "home")
    assert code == 0
    assert yaml.safe_load(text) == {
        "name": "home", "endpoint": "http://home.test/v1", "api_key": "HOME_API_KEY",
    }  # fmt: skip
    assert call("config", "show", "provider", "work")[0] == 0
    code, text = call("config", "show", "provider", "x")
    assert (code, "there is no provider 'x'; known: 'work', 'home'" in text) == (1, True)


def test_a_change_touches_only_its_entry(home: Path) -> None:
    path = home / "model_providers.yaml"
    path.write_text(PROVIDERS)
    path.chmod(0o640)
    code, text = call("config", "set", "provider", "home", "api_key=OTHER_KEY", "endpoint=http://b")
    assert (code, text) == (0, f"Changed home in {path}\n")
    changed = PROVIDERS.replace("HOME_API_KEY", "OTHER_KEY").replace(
        "http://home.test/v1", "http://b"
    )
    assert path.read_text() == changed
    assert path.stat().st_mode & 0o777 == 0o640
    code, text = call("config", "set", "provider", "new", "endpoint=http://new", "extra_body.a=[1]")
    assert (code, text) == (0, f"Added new in {path}\n")
    assert path.read_text().startswith(changed.removesuffix("# The end\n"))
    assert path.read_text().endswith("# The end\n")
    [*_, new] = load_default_providers()
    assert (new.name, new.extra_body) == ("new", {"a": [1]})
    code, text = call("config", "set", "provider", "work", "provider_type=anthropic")
    assert (code, "Some comments in the file were lost" in text) == (0, True)
    assert KEY in path.read_text()  # the key that the file held before is kept
    assert call("config", "remove", "provider", "home")[0] == 0
    assert [each.name for each in load_default_providers()] == ["work", "new"]
    assert "# My servers" in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "{providers: [{name: a, endpoint: 'http://a'}]}  # flow style\n",
        "providers:\n- {name: a, endpoint: 'http://a'}",
        "other: 1\nproviders: [{name: a, endpoint: 'http://a'}]\n",
        "providers:\n- name: a\n  endpoint: >-\n    http://a\n\n",
    ],
)
def test_a_file_of_any_form_can_be_changed(text: str, home: Path) -> None:
    path = home / "model_providers.yaml"
    path.write_text(text)
    assert call("config", "set", "provider", "b", "endpoint=http://b")[0] == 0
    assert call("config", "set", "provider", "a", "endpoint=http://c")[0] == 0
    found = [(each.name, each.endpoint) for each in load_default_providers()]
    assert found == [("a", "http://c"), ("b", "http://b")]
    assert ("other" in text) == ("other" in path.read_text())


def test_the_first_change_keeps_the_built_in_entries(home: Path) -> None:
    before = {model.alias: model for model in load_default_models()}
    code, _ = call(
        "config", "set", "model", "writer", "model=gpt-x", "provider=openai",
        "inference_parameters.temperature=0.5",
    )  # fmt: skip
    assert code == 0
    after = {model.alias: model for model in load_default_models()}
    writer = after.pop("writer")
    assert after == before
    assert writer.inference_parameters.temperature == 0.5
    assert (home / "model_configs.yaml").stat().st_mode & 0o077 == 0
    assert call("config", "set", "model", "writer", "inference_parameters.temperature=")[0] == 0
    [*_, writer] = load_default_models()
    assert writer.inference_parameters.temperature is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["provider", "a", f"api_key={KEY}"], 2, "must be the name of an environment variable"),
        (["provider", "a", f"extra_headers={{x-api-key: {KEY}}}"], 2, "extra_headers.x-api-key"),
        (["provider", "a", f"endpoint=https://u:{KEY}@a.test"], 2, "contains a password or a key"),
        (["provider", "a", "endpoint=ftp://a"], 1, "provider 'a' is not valid:\n  - endpoint"),
        (["provider", "a", "name=b"], 2, "name is given as NAME; leave it out"),
        (["provider", "a", "endpoint"], 2, "must have the form FIELD=VALUE"),
        (["provider", "a", "endpoint=[1"], 2, "is not valid YAML"),
        (["provider", "a"], 2, "Missing argument"),
        (["thing", "a", "x=1"], 2, "is not one of"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(
    arguments: list[str], code: int, message: str, home: Path
) -> None:
    found, text = call("config", "set", *arguments)
    assert (found, message in text) == (code, True), text
    assert [*home.iterdir()] == []
