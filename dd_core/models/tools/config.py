"""Declarations of tool servers, which speak the Model Context Protocol (MCP), and of tools."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dd_core.declaration.kind import Declaration
from dd_core.declaration.written import Address, Headers, Key


class MCPProvider(Declaration):
    """A tool server that is reached over HTTP."""

    provider_type: Literal["sse", "streamable_http"] = "sse"
    """Protocol of the server."""
    name: str
    """Name of the server in tool configurations."""
    endpoint: Address
    """URL of the server."""
    api_key: Key | None = None
    """Name of the environment variable with the bearer token; default: no token."""


class LocalStdioMCPProvider(Declaration):
    """A tool server that is started as a process."""

    provider_type: Literal["stdio"] = "stdio"
    """Protocol of the server."""
    name: str
    """Name of the server in tool configurations."""
    command: str
    """Program to start."""
    args: list[str] = []
    """Arguments of the program."""
    env: Headers = {}
    """Environment variables of the program."""


class ToolConfig(Declaration):
    """Tools that columns refer to by an alias."""

    tool_alias: str = Field(min_length=1)
    """Name of the tools in columns."""
    providers: list[str]
    """Names of the tool servers."""
    allow_tools: list[str] | None = None
    """Names of the tools that a model may call; default: all."""
    max_tool_call_turns: int = Field(default=5, ge=1)
    """Maximum number of turns with tool calls in a conversation; default: 5."""
    timeout_sec: float | None = Field(default=None, gt=0)
    """Timeout of a tool call in seconds; default: no timeout."""

    def identity(self) -> dict[str, Any]:
        """Return what the values of a column depend on; limits and timeouts are not part of it."""
        allowed = None if self.allow_tools is None else sorted(self.allow_tools)
        return {
            "providers": [*self.providers],
            "allow_tools": allowed,
            "max_tool_call_turns": self.max_tool_call_turns,
        }

    @model_validator(mode="after")
    def _tools_are_named_once(self) -> Self:
        names = self.allow_tools or []
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"allow_tools lists {repeated[0]!r} more than once; list it once")
        return self
