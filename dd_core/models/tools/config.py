"""Declarations of tool servers, which speak the Model Context Protocol (MCP), and of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dd_core.declaration.kind import Declaration, find_repeated
from dd_core.declaration.own_fields import OWN
from dd_core.declaration.written import Address, Arguments, Headers, Key

MOST_TOOLS = 128
"""Number of tools that OpenAI and many servers of its kind accept in a request."""
_CALL_SECONDS = 60.0


class _ToolServerLimits(Declaration):
    """Limits on the calls of one server."""

    max_parallel_calls: Annotated[int, OWN] = Field(default=16, ge=1)
    """Maximum number of calls that run at the same time; default: 16."""
    calls_per_minute: Annotated[int | None, OWN] = Field(default=None, ge=1)
    """Maximum number of calls that start per minute; default: no limit."""


class MCPProvider(_ToolServerLimits):
    """A tool server that is reached over HTTP."""

    provider_type: Literal["sse", "streamable_http"] = "sse"
    """Protocol of the server."""
    name: str
    """Name of the server in tool configurations."""
    endpoint: Address
    """URL of the server."""
    api_key: Key | None = None
    """Name of the environment variable with the bearer token; default: no token."""
    headers: Annotated[Headers, OWN] = {}
    """HTTP headers of every request. `${NAME}` inserts an environment variable. For headers such
    as `x-api-key`, the name of the variable alone is enough."""


class LocalStdioMCPProvider(_ToolServerLimits):
    """A tool server that is started as a process."""

    provider_type: Literal["stdio"] = "stdio"
    """Protocol of the server."""
    name: str
    """Name of the server in tool configurations."""
    command: str
    """Program to start."""
    args: Arguments = []
    """Arguments of the program. Put keys in `env`."""
    env: Headers = {}
    """Environment variables of the program, which inherits only HOME, LOGNAME, PATH, SHELL, TERM
    and USER. `${NAME}` inserts a variable of this process. For variables such as `API_KEY`, the
    name of a variable alone is enough."""
    cwd: Annotated[str | None, OWN] = None
    """Working directory of the program; default: that of this process."""
    processes: Annotated[int, OWN] = Field(default=1, ge=1)
    """Number of processes that share the calls; default: 1. Increase it if the program handles
    only one call at a time."""


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
    """Timeout of a tool call in seconds, not counting the wait for its turn; default: 60."""
    start_timeout_sec: Annotated[float, OWN] = Field(default=60.0, gt=0)
    """Timeout in seconds for connecting to a tool server and listing its tools; default: 60."""
    max_result_bytes: Annotated[int, OWN] = Field(default=100_000, ge=1)
    """Maximum size of a result's text in bytes; the rest is cut off, and the model is told so;
    default: 100000 bytes. Images do not count."""

    @property
    def call_timeout(self) -> float:
        """Timeout of a tool call in seconds."""
        return self.timeout_sec or _CALL_SECONDS

    def identity(self) -> dict[str, Any]:
        """Return what the values of a column depend on; limits and timeouts are not part of it."""
        allowed = None if self.allow_tools is None else sorted(self.allow_tools)
        return {
            "providers": [*self.providers],
            "allow_tools": allowed,
            "max_tool_call_turns": self.max_tool_call_turns,
        }

    @model_validator(mode="after")
    def _names_are_given_once(self) -> Self:
        if self.allow_tools is not None:
            _check_names("allow_tools", self.allow_tools, "a tool, or remove the field")
        _check_names("providers", self.providers, "a tool server")
        return self


def describe_excess(count: int) -> str:
    """Describe what is wrong with a number of tools that is larger than `MOST_TOOLS`."""
    return (
        f"models are offered {count} tools, but many servers refuse requests with more than "
        f"{MOST_TOOLS}, and models choose badly among so many; name the tools that are needed in "
        "allow_tools, or divide them among several aliases"
    )


def _check_names(field: str, names: Sequence[str], remedy: str) -> None:
    if repeated := find_repeated(names):
        raise ValueError(f"{field} lists {repeated[0]!r} more than once; list it once")
    if not names:
        raise ValueError(f"{field} is empty, so that there are no tools; add {remedy}")
