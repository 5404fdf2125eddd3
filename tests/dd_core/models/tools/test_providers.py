"""Declarations of tool servers: their secrets, the user's file, and the list of names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import (
    InvalidConfigError,
    MCPClientUnavailableError,
    MCPConfigurationError,
    MCPToolError,
    SecretResolutionError,
)
from dd_core.models.tools.providers import resolve_access
from dd_core.models.tools.toolbox import Toolboxes
from tests.serving import find_free_port
from tests.tool_servers import make_server, serving_tools

KEY = "tk-7f3a9c51e2b84d60"


def resolve(provider: Any, resolver: Any = None) -> dict[str, str]:
    return dict(resolve_access(provider, resolver).values)


def web(**fields: Any) -> dd.MCPProvider:
    return dd.MCPProvider(**{"name": "web", "endpoint": "http://localhost:1/mcp", **fields})


def here(**fields: Any) -> dd.LocalStdioMCPProvider:
    return dd.LocalStdioMCPProvider(**{"name": "here", "command": "x", **fields})


def test_references_are_resolved_where_a_key_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_TEST_KEY", KEY)
    for written in ("TOOL_TEST_KEY", "${TOOL_TEST_KEY}"):
        assert resolve(web(api_key=written)) == {"Authorization": f"Bearer {KEY}"}
        assert resolve(here(env={"API_KEY": written}))["API_KEY"] == KEY
        assert resolve(web(headers={"x-api-key": written}))["x-api-key"] == KEY
    assert resolve(web(headers={"X": "Key ${TOOL_TEST_KEY}"})) == {"X": f"Key {KEY}"}
    # Only under the name of a secret, a name is a reference.
    assert resolve(here(env={"MODE": "TOOL_TEST_KEY"}))["MODE"] == "TOOL_TEST_KEY"
    assert resolve(web(api_key="")) == {}
    resolver = dd.PlaintextResolver()
    assert resolve(web(api_key="literal"), resolver) == {"Authorization": "Bearer literal"}


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (web(api_key="NO_SUCH_KEY"), "key of tool server 'web': .*'NO_SUCH_KEY' is not set"),
        (here(env={"A": "${NO_SUCH_KEY}"}), "'A' in env of tool server 'here': .*NO_SUCH_KEY"),
        (web(headers={"A": "${NO_SUCH_KEY}"}), "'A' in headers of tool server 'web'"),
        (web(headers={"x-api-key": "(masked)"}), "contains .masked. in place of a key"),
        (web(headers={"a b": "c"}), "headers of tool server 'web' contain a name"),
        (web(headers={"a": "b\n"}), "header 'a' of tool server 'web' contains a line break"),
        (here(env={"A": "block:mine"}), "refers to a Prefect block"),
    ],
)
def test_a_secret_that_is_missing_is_named(provider: Any, message: str) -> None:
    with pytest.raises(SecretResolutionError, match=message):
        resolve(provider)
    config = dd.ToolConfig(tool_alias="t", providers=[provider.name])
    problem = Toolboxes([config], [provider], None).problem("t")
    assert problem is not None
    assert problem.where == "tool_configs.t.providers"


def test_an_endpoint_has_to_be_a_url() -> None:
    with pytest.raises(MCPConfigurationError, match="endpoint of tool server 'web' must start"):
        resolve(web(endpoint="localhost:1"))


def test_declarations_refuse_what_means_nothing() -> None:
    for fields in ({"allow_tools": []}, {"providers": []}):
        with pytest.raises(ValueError, match=f"{next(iter(fields))} is empty"):
            dd.ToolConfig(**{"tool_alias": "t", "providers": ["a"], **fields})
    with pytest.raises(ValueError, match="providers lists 'a' more than once"):
        dd.ToolConfig(tool_alias="t", providers=["a", "a"])
    assert dd.ToolConfig(tool_alias="t", providers=["a"]).call_timeout == 60.0
    written = here(env={"API_KEY": KEY, "MODE": "on"}).model_dump(mode="json")["env"]
    assert written == {"API_KEY": "(masked)", "MODE": "on"}


FILE = """
providers:
  - name: web
    endpoint: http://localhost:1/sse
  - provider_type: streamable_http
    name: web2
    endpoint: http://localhost:1/mcp
    api_key: ${TOOL_TEST_KEY}
  - provider_type: stdio
    name: here
    command: python
    args: [-m, tests.tool_servers]
    processes: 2
"""


def test_the_users_tool_servers_are_the_default(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATA_DESIGNER_HOME", str(tmp_path))
    assert DataDesigner().providers.tool_providers == []
    path = tmp_path / "mcp_providers.yaml"
    path.write_text(FILE)
    web, web2, here = DataDesigner().providers.tool_providers
    assert (web.provider_type, web2.provider_type) == ("sse", "streamable_http")
    assert isinstance(here, dd.LocalStdioMCPProvider)
    assert here.processes == 2
    assert DataDesigner(mcp_providers=[web]).providers.tool_providers == [web]
    path.write_text("providers:\n  - provider_type: stdio\n    name: a\n")
    with pytest.raises(InvalidConfigError, match=r"mcp_providers\.yaml.*command: Field required"):
        DataDesigner()


def test_the_names_of_a_servers_tools_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_TEST_KEY", KEY)
    port = find_free_port()
    found = dd.MCPProvider(
        name="web",
        endpoint=f"http://127.0.0.1:{port}/mcp",
        provider_type="streamable_http",
        api_key="TOOL_TEST_KEY",  # pyright: ignore[reportArgumentType]
    )
    designer = DataDesigner(mcp_providers=[found])
    with serving_tools(make_server(more_tools=15), "streamable_http", port):
        names = designer.list_mcp_tool_names("web")
    assert {"echo", "maths.add", "extra_14"} <= {*names}
    with pytest.raises(
        ValueError, match="unknown tool server 'other'; use one of these \\('web'\\)"
    ):
        designer.list_mcp_tool_names("other")
    with pytest.raises(MCPToolError, match=r"tool server 'web' .*ConnectError"):
        designer.list_mcp_tool_names("web")


@pytest.mark.slow
def test_the_sdk_is_imported_only_when_tools_are_used() -> None:
    check = (
        "import sys, dd_core.config as dd, dd_core;"
        "[getattr(dd, name) for name in dd.__all__];"
        "from dd_core.models.tools.toolbox import Toolboxes; Toolboxes([], [], None);"
        "dd_core.DataDesigner(); print('mcp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


async def test_a_missing_sdk_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    config = dd.ToolConfig(tool_alias="t", providers=["here"])
    async with Toolboxes([config], [here()], None) as toolboxes:
        with pytest.raises(
            MCPClientUnavailableError, match=r"pip install 'prefect-data-designer\[tools\]'"
        ):
            await toolboxes["t"].open()
        problem = toolboxes.problem("t")
        assert problem is not None
        assert "[tools]" in problem.message
