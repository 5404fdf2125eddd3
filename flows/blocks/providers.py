"""Loads API keys (`api_key: block:<name>`) and whole servers from Prefect blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from prefect.blocks.system import Secret
from pydantic import BaseModel, ValidationError

from dd_core.dataset.config import DataDesignerConfig
from dd_core.declaration.secrets import BLOCK_PREFIX, DefaultResolver
from dd_core.declaration.written import list_literal_keys
from dd_core.errors import DataDesignerGenerationError, SecretResolutionError
from dd_core.models.config import ModelProvider
from dd_core.models.providers import Providers, load_default_providers
from dd_core.models.tools.config import LocalStdioMCPProvider, MCPProvider
from dd_core.models.tools.providers import ToolProvider, choose_tool_providers
from dd_core.redaction.registry import register_secret
from dd_core.redaction.rules import is_masked

from .types import DataDesignerProvider, DataDesignerToolServer, parse_block_reference

_BlockType: TypeAlias = type[DataDesignerProvider] | type[DataDesignerToolServer]


class GivenServers(BaseModel):
    """The servers that a run was given, with references to keys, never keys.

    A string names a block. None stands for the default servers of the machine that generates.
    """

    model_providers: list[ModelProvider | str] | None = None
    mcp_providers: list[MCPProvider | LocalStdioMCPProvider | str] | None = None


class BlockResolver(DefaultResolver):
    """Resolves references to loaded blocks, and all other secrets with the default resolver."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def resolve(self, secret: str) -> str:
        """The value of a secret."""
        return self._values.get(secret) or super().resolve(secret)


async def load_providers(given: GivenServers) -> Providers:
    """The servers, with blocks and their keys loaded; the default servers for None.

    Raises `DataDesignerGenerationError` if they contain keys.
    """
    require_references(given)
    values: dict[str, str] = {}
    models: list[ModelProvider] = []
    for each in _or_default(given.model_providers):
        if isinstance(each, str):
            models.append(await _load_block(each, DataDesignerProvider, values))
            continue
        models.append(each)
        if each.names_block and (reference := each.key_reference):
            owner = f"api_key of provider {each.name!r}"
            values[reference] = await _load_secret(reference, owner)
    tools: list[ToolProvider] = []
    for tool in _tools_or_default(given.mcp_providers):
        if isinstance(tool, str):
            tools.append(await _load_block(tool, DataDesignerToolServer, values))
            continue
        tools.append(tool)
        for field, reference in _list_block_references(tool):
            owner = f"{field} of tool server {tool.name!r}"
            values[reference] = await _load_secret(reference, owner)
    return Providers(models, BlockResolver(values), tools)


def make_placeholder_providers(given: GivenServers) -> Providers:
    """The servers without their blocks, to check configurations without a Prefect server."""
    url = "https://block.invalid"
    models = [
        ModelProvider(name=_parse_name(each, DataDesignerProvider), endpoint=url)
        if isinstance(each, str)
        else each
        for each in _or_default(given.model_providers)
    ]
    tools = [
        MCPProvider(name=_parse_name(each, DataDesignerToolServer), endpoint=url)
        if isinstance(each, str)
        else each
        for each in _tools_or_default(given.mcp_providers)
    ]
    references = [each.key_reference or "" for each in models if each.names_block]
    references += [reference for each in tools for _, reference in _list_block_references(each)]
    resolver = BlockResolver(dict.fromkeys(references, "(read by the flow)"))
    return Providers(models, resolver, tools)


def _or_default(given: list[ModelProvider | str] | None) -> Sequence[ModelProvider | str]:
    return load_default_providers() if given is None else given


def _tools_or_default(
    given: list[MCPProvider | LocalStdioMCPProvider | str] | None,
) -> Sequence[ToolProvider | str]:
    return choose_tool_providers(None) if given is None else given


def require_references(given: GivenServers) -> None:
    """Raise if a server contains a key, because Prefect stores the parameters of flows."""
    for each in given.model_providers or ():
        if isinstance(each, str):
            _parse_name(each, DataDesignerProvider)
        else:
            _require_no_key(f"provider {each.name!r}", list_literal_keys(each), _PROVIDER_REMEDY)
    for tool in given.mcp_providers or ():
        if isinstance(tool, str):
            _parse_name(tool, DataDesignerToolServer)
        else:
            is_process = isinstance(tool, LocalStdioMCPProvider)
            remedy = _PROCESS_REMEDY if is_process else _TOOL_SERVER_REMEDY
            _require_no_key(f"tool server {tool.name!r}", list_literal_keys(tool), remedy)


_PROVIDER_REMEDY = (
    "put the server into a block of the type Data Designer Provider, and use 'block:<name>' in "
    "model_providers"
)
_TOOL_SERVER_REMEDY = (
    "use the name of an environment variable or ${NAME}, or put the server into a block of the "
    "type Data Designer Tool Server, and use 'block:<name>' in mcp_providers"
)
_PROCESS_REMEDY = (
    "put the key into env as the name of an environment variable, as ${NAME} or as 'block:<name>'"
)


def _require_no_key(owner: str, literal: Sequence[str], remedy: str) -> None:
    if "api_key" in literal:
        raise DataDesignerGenerationError(
            f"api_key of {owner} looks like a key, which Prefect would store in its database; use "
            "the name of an environment variable, such as 'MY_API_KEY', or a reference to a "
            "block, such as 'block:my-key'"
        )
    if literal:
        raise DataDesignerGenerationError(
            f"{' and '.join(literal)} of {owner} may contain a key, which must not be a flow "
            f"parameter, because Prefect stores parameters; {remedy}"
        )


def _list_block_references(provider: ToolProvider) -> Iterator[tuple[str, str]]:
    """The fields that refer to Secret blocks, and the references."""
    if isinstance(provider, LocalStdioMCPProvider):
        fields = {f"env {name!r}": value for name, value in provider.env.items()}
    else:
        fields = {f"header {name!r}": value for name, value in provider.headers.items()}
        if provider.api_key is not None:
            fields["api_key"] = provider.api_key.get_secret_value()
    for field, value in fields.items():
        if value.startswith(BLOCK_PREFIX):
            yield field, value


def require_no_literal_keys(config: DataDesignerConfig) -> None:
    """Raise if a configuration contains keys, which are not written for other processes."""
    if is_masked(config.model_dump(mode="json", include={"model_configs", "seed_config"})):
        raise DataDesignerGenerationError(
            "a base_url, an extra_body or a path of the configuration contains a key, which is not "
            "written to storage, so batches_on cannot hand it to workers; move it to a provider "
            "block, and use 'block:<name>' in model_providers"
        )


def _parse_name(reference: str, kind: _BlockType) -> str:
    """The name of the server, which is the name of its block."""
    parsed = parse_block_reference(reference)
    if parsed is None or parsed[0] not in (None, kind.get_block_type_slug()) or parsed[2]:
        parameter = "model_providers" if kind is DataDesignerProvider else "mcp_providers"
        # The message does not show the string, which may be a key.
        raise DataDesignerGenerationError(
            f"a string in {parameter} must be block:<name>, with the name of a block of the type "
            f"{kind.get_block_type_name()}"
        )
    return parsed[1]


async def _load_block(reference: str, kind: _BlockType, values: dict[str, str]) -> Any:
    """The server in a block; adds what it must not show to `values`, by reference."""
    name, slug = _parse_name(reference, kind), kind.get_block_type_slug()
    block: Any = kind
    try:
        loaded: DataDesignerProvider | DataDesignerToolServer = await block.aload(name)
        key = f"{BLOCK_PREFIX}{slug}/{name}"
        provider = loaded.provider(name, key)
    except ValidationError as error:  # its message may contain values of the block
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
        raise SecretResolutionError(
            f"the block {slug}/{name} is not valid; check its {fields}"
        ) from None
    except ValueError:
        raise SecretResolutionError(
            f"the Prefect block {slug}/{name} cannot be loaded; create a block of the type "
            f"{kind.get_block_type_name()} with the name {name!r}"
        ) from None
    values |= loaded.list_secrets(key)
    if loaded.api_key is not None:
        register_secret(loaded.api_key.get_secret_value())
    return provider


async def _load_secret(reference: str, owner: str) -> str:
    name = reference.removeprefix(BLOCK_PREFIX)
    try:
        blocks: Any = Secret
        block: Any = await blocks.aload(name)
    except ValueError as error:
        raise SecretResolutionError(
            f"{owner} refers to the Prefect block {name!r}, which cannot be loaded; create a "
            "Secret block with that name"
        ) from error
    register_secret(str(block.get()))
    return str(block.get())
