"""Declarations of tools that models may call. They are read and written, not run yet."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, field_serializer, model_validator

from dd_core.kind import Declaration
from dd_core.models.secret import shown_secret


class MCPProvider(Declaration):
    """A server of tools that is reached over HTTP."""

    provider_type: Literal["sse", "streamable_http"] = "sse"
    """How the server is spoken to."""
    name: str
    """Name that tool configurations use."""
    endpoint: str
    """Address of the server."""
    api_key: SecretStr | None = None
    """Name of the environment variable that holds the bearer token."""

    @field_serializer("api_key")
    def _names_show_and_keys_do_not(self, value: SecretStr | None) -> str | None:
        return shown_secret(value)


class LocalStdioMCPProvider(Declaration):
    """A server of tools that is started as a process."""

    provider_type: Literal["stdio"] = "stdio"
    """How the server is spoken to."""
    name: str
    """Name that tool configurations use."""
    command: str
    """The program."""
    args: list[str] = []
    """Its arguments."""
    env: dict[str, str] = {}
    """Its environment variables."""


class ToolConfig(Declaration):
    """Tools under the alias that columns refer to."""

    tool_alias: str = Field(min_length=1)
    """Name that columns use."""
    providers: list[str]
    """Names of the servers that offer the tools."""
    allow_tools: list[str] | None = None
    """Which tools a model may call; all, if not given."""
    max_tool_call_turns: int = Field(default=5, ge=1)
    """How often a model may call tools in a conversation."""
    timeout_sec: float | None = Field(default=None, gt=0)
    """Seconds that a call may take."""

    @model_validator(mode="after")
    def _tools_are_named_once(self) -> Self:
        names = self.allow_tools or []
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"allow_tools names {repeated[0]!r} twice; name it once")
        return self
