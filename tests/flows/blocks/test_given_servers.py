"""Servers as parameters of a flow: what is refused, and what is loaded from blocks."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.blocks.fields import SecretDict
from prefect.blocks.system import Secret
from pydantic import SecretStr, ValidationError

import dd_core.config as dd
from dd_core.errors import DataDesignerGenerationError, SecretResolutionError
from dd_core.models.tools.providers import resolve_access
from dd_core.redaction.rules import WRITTEN_MASK
from flows import DataDesignerToolServer
from flows.blocks.providers import (
    GivenServers,
    load_providers,
    make_placeholder_providers,
    require_references,
)
from flows.distributed.records import RunSpec
from flows.process.keyless_flow import keyless_flow

URL = "https://tools.test/mcp"
KEY = "sk-0123456789abcdef0123"


def _remote(**fields: Any) -> dd.MCPProvider:
    return dd.MCPProvider.model_validate({"name": "t", "endpoint": URL, **fields})


def _process(**fields: Any) -> dd.LocalStdioMCPProvider:
    return dd.LocalStdioMCPProvider.model_validate({"name": "t", "command": "python", **fields})


@pytest.mark.parametrize(
    ("server", "field"),
    [
        (_remote(api_key=KEY), "api_key"),
        (_remote(headers={"x-api-key": "hunter22"}), "headers"),
        (_remote(endpoint=f"{URL}?token={KEY}"), "endpoint"),
        (_process(env={"API_KEY": KEY}), "env"),
        (_process(env={"MODE": f"with {KEY}"}), "env"),
        (_process(args=["--api-key", "hunter22"]), "args"),
        (_process(args=["--password=hunter22"]), "args"),
        (_process(args=[KEY]), "args"),
        ("sk-key", "mcp_providers must be block:<name>"),
        ("block:data-designer-provider/x", "mcp_providers must be block:<name>"),
    ],
    ids=str,
)
def test_a_key_is_refused_and_never_quoted(server: Any, field: str) -> None:
    with pytest.raises(DataDesignerGenerationError) as refused:
        require_references(GivenServers(mcp_providers=[server]))
    assert field in str(refused.value)
    assert KEY not in str(refused.value)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    "server",
    [
        "block:search",
        "block:data-designer-tool-server/search",
        _remote(api_key="SEARCH_API_KEY", headers={"x-api-key": "block:key", "x-team": "red"}),
        _remote(api_key="${SEARCH}", headers={"Authorization": "Bearer ${SEARCH_TOKEN}"}),
        _process(args=["-m", "server", "--port=80"], env={"API_KEY": "${KEY}", "MODE": "read"}),
    ],
    ids=str,
)
def test_references_are_accepted_and_survive_a_file(server: Any) -> None:
    given = GivenServers(mcp_providers=[server])
    require_references(given)
    again = GivenServers.model_validate_json(given.model_dump_json())
    assert again == given


def test_batches_on_other_machines_get_the_servers() -> None:
    spec = RunSpec(
        run="r", fingerprint="f", seed=1, num_records=1, run_config=dd.RunConfig(),
        mcp_providers=["block:search", _process(env={"API_KEY": "MY_KEY"})],
    )  # fmt: skip
    assert RunSpec.model_validate_json(spec.model_dump_json()).mcp_providers == spec.mcp_providers
    without = spec.model_dump(exclude={"mcp_providers", "model_providers"})
    assert RunSpec.model_validate(without).mcp_providers is None  # of an older version


def test_prefect_stores_no_keys_of_tool_servers() -> None:
    @keyless_flow(name="any")
    async def flow(mcp_providers: list[Any]) -> None: ...

    given = [
        {"name": "t", "endpoint": URL, "api_key": KEY},
        {"provider_type": "stdio", "name": "u", "command": "x", "args": ["--api-key", KEY]},
        {"provider_type": "stdio", "name": "v", "command": "x", "env": {"API_KEY": KEY}},
        {"provider_type": "stdio", "name": "w", "args": ["--api-key", "hunter22"], "unknown": 1},
    ]
    stored = flow.serialize_parameters({"mcp_providers": given})
    assert KEY not in str(stored)
    assert "hunter22" not in str(stored)
    assert [each["name"] for each in stored["mcp_providers"]] == ["t", "u", "v", "w"]


def test_prefect_stores_no_text_in_place_of_a_server_but_blocks() -> None:
    @keyless_flow(name="any")
    async def flow(model_providers: list[Any]) -> None: ...

    stored = flow.serialize_parameters({"model_providers": ["block:gateway", KEY]})
    assert stored == {"model_providers": ["block:gateway", WRITTEN_MASK]}


def test_a_configuration_is_checked_without_blocks() -> None:
    given = GivenServers(
        model_providers=["block:known"],
        mcp_providers=["block:search", _remote(name="own", api_key="block:key")],
    )
    providers = make_placeholder_providers(given)
    assert "known" in providers.names
    assert [each.name for each in providers.tool_providers] == ["search", "own"]
    assert resolve_access(providers.tool_providers[1], providers.resolver).values


def test_a_block_shows_no_key() -> None:
    with pytest.raises(ValidationError, match="contains a key"):
        DataDesignerToolServer(endpoint=f"{URL}?token={KEY}", provider_type="sse")
    block = DataDesignerToolServer(endpoint=URL, provider_type="sse", api_key=SecretStr(KEY))
    assert KEY not in repr(block)


@pytest.mark.slow
async def test_keys_are_loaded_from_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    block = DataDesignerToolServer(
        endpoint=URL,
        provider_type="streamable_http",
        api_key=SecretStr("token-of-the-block"),
        headers=SecretDict({"x-team": "red", "x-api-key": "NO_VARIABLE"}),
    )
    await block.save("search-in-block", overwrite=True)  # type: ignore[misc]
    await Secret(value="value-of-secret").save("tool-secret", overwrite=True)  # type: ignore[misc]
    monkeypatch.setenv("TOKEN", "of-the-variable")
    own = _remote(name="own", api_key="block:tool-secret", headers={"x-token": "Bearer ${TOKEN}"})
    process = _process(name="process", env={"API_KEY": "block:tool-secret", "HOME": "/nowhere"})
    given = GivenServers(mcp_providers=["block:search-in-block", own, process])
    providers = await load_providers(given)
    found = [resolve_access(each, providers.resolver) for each in providers.tool_providers]
    assert found[0].provider.name == "search-in-block"
    assert found[0].provider.provider_type == "streamable_http"
    assert found[0].values == {
        "x-team": "red",
        "x-api-key": "NO_VARIABLE",
        "Authorization": "Bearer token-of-the-block",
    }
    expected = {"x-token": "Bearer of-the-variable", "Authorization": "Bearer value-of-secret"}
    assert found[1].values == expected
    assert found[2].values["API_KEY"] == "value-of-secret"

    monkeypatch.delenv("TOKEN")
    with pytest.raises(SecretResolutionError, match="'TOKEN' is not set"):
        resolve_access(providers.tool_providers[1], providers.resolver)
    for wrong in ("block:no-such", _remote(api_key="block:no-such")):
        with pytest.raises(SecretResolutionError, match="cannot be loaded"):
            await load_providers(GivenServers(mcp_providers=[wrong]))
