"""Resolves the secrets of tool servers, and loads the default ones."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from urllib.request import getproxies

from dd_core.declaration.secrets import SecretResolver, default_resolver, resolve_variable
from dd_core.errors import MCPConfigurationError, SecretResolutionError
from dd_core.models.address import parse_address
from dd_core.models.providers import check_headers, load_home_list, strip_key
from dd_core.models.tools.config import LocalStdioMCPProvider, MCPProvider
from dd_core.redaction.redactor import Redactor
from dd_core.redaction.registry import register_secrets
from dd_core.redaction.rules import (
    BLOCK_PREFIX,
    WRITTEN_MASK,
    Secrets,
    is_masked,
    is_secret_name,
    parse_key_reference,
)

ToolProvider: TypeAlias = MCPProvider | LocalStdioMCPProvider

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""Variables that a tool server inherits, as every client of the protocol does it: no keys."""


def load_default_tool_providers() -> list[ToolProvider]:
    """Load the tool servers in the user's `mcp_providers.yaml`; default: none."""
    return load_home_list("mcp_providers.yaml", "providers", parse_tool_provider) or []


def choose_tool_providers(given: Sequence[ToolProvider] | None) -> list[ToolProvider]:
    """The given tool servers; the default ones for None."""
    return load_default_tool_providers() if given is None else [*given]


def parse_tool_provider(item: Any) -> ToolProvider:
    """Parse the declaration of a tool server."""
    return choose_declaration(item).model_validate(item)


def choose_declaration(item: Any) -> type[ToolProvider]:
    """The class that `provider_type` stands for."""
    kind: Any = item.get("provider_type") if isinstance(item, Mapping) else None  # pyright: ignore
    return LocalStdioMCPProvider if kind == "stdio" else MCPProvider


@dataclass(frozen=True)
class ToolServerAccess:
    """A tool server, and what connecting to it needs."""

    provider: ToolProvider
    values: Mapping[str, str]
    """Headers of requests, or environment variables of the process, without references."""

    @property
    def label(self) -> str:
        """The server's name in messages."""
        return f"tool server {self.provider.name!r}"

    @cached_property
    def redactor(self) -> Redactor:
        """Masks what the server receives in what it says."""
        return Redactor(self.collect_secrets())

    def collect_secrets(self) -> Secrets:
        """What the server receives and must not show up anywhere, as servers may quote it."""
        found = Secrets()
        if isinstance(self.provider, MCPProvider):
            found.add_headers(self.values)
            found.add_address(self.provider.endpoint)
            for proxy in getproxies().values():
                found.add_address(proxy)
            return found
        arguments = Secrets()
        arguments.add_fields(self.provider.args)
        variables = Secrets()
        variables.add_fields({k: v for k, v in self.values.items() if k in self.provider.env})
        # Paths and options are no secrets, and messages without them would explain nothing.
        found.secrets |= arguments.secrets | variables.secrets
        return found


def resolve_access(provider: ToolProvider, resolver: SecretResolver | None) -> ToolServerAccess:
    """Resolve the secrets of a tool server, and register them, so that nothing shows them.

    Raises `MCPConfigurationError` and `SecretResolutionError`.
    """
    owner = f"tool server {provider.name!r}"
    if isinstance(provider, MCPProvider):
        values = _resolve_headers(provider, resolver, owner)
    else:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        values = inherited | _resolve_values(provider.env, "env", resolver, owner)
    access = ToolServerAccess(provider, values)
    register_secrets(access.collect_secrets())
    return access


def _resolve_headers(
    provider: MCPProvider, resolver: SecretResolver | None, owner: str
) -> dict[str, str]:
    try:
        parse_address(provider.endpoint)
    except ValueError as error:
        raise MCPConfigurationError(f"endpoint of {owner} {error}") from None
    values = _resolve_values(provider.headers, "headers", resolver, owner)
    check_headers(values, "headers", owner)
    if provider.api_key is not None and (written := provider.api_key.get_secret_value()):
        field = f"the key of {owner}"
        try:
            key = _resolve(written, resolver, is_secret=True)
        except SecretResolutionError as error:
            raise SecretResolutionError(f"{field}: {error}") from None
        values["Authorization"] = f"Bearer {strip_key(key, field)}"
    return values


def _resolve_values(
    given: Mapping[str, str], field: str, resolver: SecretResolver | None, owner: str
) -> dict[str, str]:
    resolved: dict[str, str] = {}
    for name, value in given.items():
        if is_masked(value):
            raise SecretResolutionError(
                f"{name!r} in {field} of {owner} contains {WRITTEN_MASK} in place of a key, which "
                "is left out when a configuration is written; use the name of an environment "
                "variable"
            )
        is_reference = is_secret_name(name) and parse_key_reference(value) is not None
        is_secret = is_reference or value.startswith(BLOCK_PREFIX)
        try:
            resolved[name] = _resolve(value, resolver, is_secret=is_secret)
        except SecretResolutionError as error:
            raise SecretResolutionError(f"{name!r} in {field} of {owner}: {error}") from None
    return resolved


def _resolve(value: str, resolver: SecretResolver | None, *, is_secret: bool) -> str:
    """The value with `${NAME}` expanded. A secret without that is a reference, or the key."""

    def look_up(found: re.Match[str]) -> str:
        return resolve_variable(found[1], resolver)

    if is_secret and _VARIABLE.search(value) is None:
        return (resolver or default_resolver).resolve(value)
    return _VARIABLE.sub(look_up, value)
