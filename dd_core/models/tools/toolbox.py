"""The tools that columns use: their definitions, and their calls."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from dd_core.declaration.kind import find_repeated
from dd_core.declaration.secrets import SecretResolver
from dd_core.errors import (
    DuplicateToolNameError,
    InvalidConfigError,
    MCPClientUnavailableError,
    MCPConfigurationError,
    MCPToolError,
    Problem,
    SecretResolutionError,
)
from dd_core.models.tools.config import MOST_TOOLS, ToolConfig, describe_excess
from dd_core.models.tools.definitions import OfferedTool, make_shown_name
from dd_core.models.tools.limit import CallLimit
from dd_core.models.tools.providers import ToolProvider, ToolServerAccess, resolve_access
from dd_core.models.tools.result import UNKNOWN, ToolOutcome, ToolResult
from dd_core.models.wire.answers import ToolCall
from dd_core.redaction.registry import mask_values

if TYPE_CHECKING:
    from dd_core.models.tools.server import ToolServer
    from dd_core.models.tools.session import Connection

_logger = logging.getLogger(__name__)

_QUOTED_LENGTH = 100


class Toolbox:
    """The tools of one alias."""

    def __init__(self, config: ToolConfig, servers: ToolServers) -> None:
        self.config = config
        self.limit = CallLimit(sys.maxsize)
        """Limits the calls of this alias, in addition to the limits of the servers."""
        self._servers = servers
        self._tools: dict[str, OfferedTool] = {}
        """By the names that models use."""
        self._refused: set[str] = set()
        """Names of tools that are offered but not allowed."""
        self._versions: list[int] | None = None
        self._definitions: list[dict[str, Any]] = []

    @property
    def alias(self) -> str:
        """Name of the tools in columns."""
        return self.config.tool_alias

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The tools in OpenAI's format, known after `open`."""
        return self._definitions

    @property
    def names(self) -> list[str]:
        """The names of the tools that models may call, as in `allow_tools`, known after `open`."""
        return [tool.name for tool in self._tools.values()]

    @property
    def providers(self) -> dict[str, ToolProvider]:
        """The server of each tool by the tool's name there, known after `open`."""
        return {tool.name: tool.server.access.provider for tool in self._tools.values()}

    async def open(self) -> None:
        """Connect to the servers and list their tools; raises `MCPError`, `SecretResolutionError`.

        Later calls return at once, unless a server has said that its tools have changed.
        """
        who = f"the tools {self.alias!r} refer to"
        servers = [self._servers.get(name, who) for name in self.config.providers]
        seconds = self.config.start_timeout_sec
        offered = await asyncio.gather(*(server.list_tools(seconds) for server in servers))
        listed = [*zip(servers, offered, strict=True)]
        versions = [server.version for server in servers]
        if versions != self._versions:
            self._check(listed)
            self._offer(listed)
            self._versions = versions

    async def call(self, call: ToolCall) -> ToolResult:
        """Call a tool. Whatever goes wrong is described in the result, for the model."""
        tool = self._find(call.name)
        if tool is None:
            return self._refuse_name(call.name)
        try:
            arguments = tool.parse_arguments(call.arguments)
        except ValueError as error:
            text = (
                f"The arguments of tool {call.name!r} are not valid: {error}. Correct them, and "
                "call the tool again."
            )
            return ToolResult(text, ToolOutcome.BAD_ARGUMENTS, 0.0, tool.is_repeatable, tool.name)
        # In this order: a call that the alias holds back takes no other's place at the server.
        async with self.limit.hold(), tool.server.limit.hold():
            started = time.monotonic()
            content, outcome = await self._send(tool, arguments)
        seconds = time.monotonic() - started
        return ToolResult(content, outcome, seconds, tool.is_repeatable, tool.name)

    async def _send(self, tool: OfferedTool, arguments: dict[str, Any]) -> tuple[Any, ToolOutcome]:
        """The content for the model, and what became of the call."""
        from mcp import McpError

        from dd_core.models.tools.content import ContentReader
        from dd_core.models.tools.session import SessionLostError

        server, name = tool.server, tool.shown_name
        reader = ContentReader(server.access.redactor, self.config.max_result_bytes)
        timeout = self.config.call_timeout
        try:
            result = await server.call(
                tool.name, arguments, timeout, is_repeatable=tool.is_repeatable
            )
            content = reader.read(result)
        except TimeoutError:
            text = f"The tool {name!r} did not answer within {timeout:g} s, and was cancelled."
            return text + _warn_of_effects(tool), ToolOutcome.TIMEOUT
        except SessionLostError as error:
            _logger.warning("a call of %s of %s failed: %s", name, server.access.label, error)
            if error.was_sent:
                text = f"The server of tool {name!r} failed during the call."
                return text + _warn_of_effects(tool), ToolOutcome.UNAVAILABLE
            return _say_unavailable(name), ToolOutcome.UNAVAILABLE
        except MCPToolError as error:
            _logger.warning("%s", error)
            return _say_unavailable(name), ToolOutcome.UNAVAILABLE
        except McpError as error:
            text = f"The server of tool {name!r} refused the call: {error}"
            return reader.limit_text(text), ToolOutcome.ERROR
        except Exception as error:  # a result may be of any form
            _logger.warning("%s sent no valid result of %s: %s", server.access.label, name, error)
            return f"The tool {name!r} returned no valid result.", ToolOutcome.ERROR
        if not result.isError:
            return content, ToolOutcome.DONE
        if isinstance(content, str):
            content = f"The tool failed: {content or 'it gave no reason'}"
        return content, ToolOutcome.ERROR

    def _refuse_name(self, name: str) -> ToolResult:
        shown = name if len(name) <= _QUOTED_LENGTH else name[:_QUOTED_LENGTH] + "..."
        names = ", ".join(self._tools)
        if name in self._refused:
            text = f"You may not call the tool {shown!r}. Call one of these, or none: {names}."
            return ToolResult(text, ToolOutcome.NOT_ALLOWED, 0.0, tool=name)
        text = f"There is no tool {shown!r}. Call one of these, or none: {names}."
        return ToolResult(text, ToolOutcome.UNKNOWN, 0.0)

    def find_name(self, name: str) -> str:
        """The name at its server of the tool that a model called; `UNKNOWN` if there is none."""
        tool = self._find(name)
        return UNKNOWN if tool is None else tool.name

    def _find(self, name: str) -> OfferedTool | None:
        """A tool by the name that models use, or by the one that its server uses."""
        if name in self._tools:
            return self._tools[name]
        return next((tool for tool in self._tools.values() if tool.name == name), None)

    def _check(self, listed: list[tuple[ToolServer, list[Any]]]) -> None:
        owners: dict[str, list[str]] = {}
        for server, tools in listed:
            for tool in tools:
                owners.setdefault(tool.name, []).append(server.access.provider.name)
        repeated = [
            f"{name!r} ({' and '.join(map(repr, names))})"
            for name, names in owners.items()
            if len(names) > 1
        ]
        if repeated:
            raise DuplicateToolNameError(
                f"the tools {self.alias!r} have names that several tool servers offer: "
                f"{', '.join(repeated)}; use one of the servers, or make two tool configurations"
            )
        missing = [name for name in self.config.allow_tools or () if name not in owners]
        if missing:
            known = ", ".join(sorted(owners)) or "none"
            raise MCPConfigurationError(
                f"allow_tools of the tools {self.alias!r} contains "
                f"{', '.join(map(repr, missing))}, which no tool server of them offers; they offer "
                f"{known}"
            )

    def _offer(self, listed: list[tuple[ToolServer, list[Any]]]) -> None:
        allowed = self.config.allow_tools
        tools: dict[str, OfferedTool] = {}
        refused: set[str] = set()
        for server, offered in listed:
            for tool in offered:
                if allowed is not None and tool.name not in allowed:
                    refused.add(tool.name)
                    continue
                shown = make_shown_name(tool.name, tools)
                hints = tool.annotations
                tools[shown] = OfferedTool(
                    server=server,
                    name=tool.name,
                    shown_name=shown,
                    description=tool.description or "",
                    schema=tool.inputSchema or {"type": "object", "properties": {}},
                    is_repeatable=bool(hints and (hints.readOnlyHint or hints.idempotentHint)),
                )
        if len(tools) > MOST_TOOLS:
            _logger.warning("tool_configs.%s: %s", self.alias, describe_excess(len(tools)))
        self._tools, self._refused = tools, refused
        self._definitions = [mask_values(tool.definition) for tool in tools.values()]


class ToolServers:
    """The tool servers of a run by name. They are made when they are needed."""

    def __init__(
        self,
        providers: Iterable[ToolProvider],
        resolver: SecretResolver | None,
        connect: Callable[[ToolServerAccess], Connection] | None = None,
    ) -> None:
        given = [*providers]
        if repeated := find_repeated(provider.name for provider in given):
            problem = f"two tool servers have the name {repeated[0]!r}; rename one"
            raise InvalidConfigError([Problem("mcp_providers", problem)])
        self._providers = {provider.name: provider for provider in given}
        self._resolver = resolver
        self._connect = connect
        self._servers: dict[str, ToolServer] = {}

    def get(self, name: str, who: str) -> ToolServer:
        """The server of this name; `who` begins the message of an error."""
        if name in self._servers:
            return self._servers[name]
        access = self.resolve(name, who)
        from dd_core.models.tools.server import ToolServer

        server = self._servers[name] = ToolServer(access, self._connect)
        return server

    def resolve(self, name: str, who: str) -> ToolServerAccess:
        """Resolve the secrets of a server; raises if it is not known, or cannot be used."""
        provider = self._providers.get(name)
        if provider is None:
            known = ", ".join(map(repr, sorted(self._providers))) or "none is registered"
            raise MCPConfigurationError(
                f"{who} unknown tool server {name!r}; use one of these ({known}), or add it to "
                "mcp_providers"
            )
        _require_sdk()
        return resolve_access(provider, self._resolver)

    async def list_names(self, name: str, seconds: float) -> list[str]:
        """The names of the tools that one server offers; all sessions end afterwards."""
        try:
            server = self.get(name, "list_mcp_tool_names was called with")
            return [tool.name for tool in await server.list_tools(seconds)]
        finally:
            await self.close()

    async def close(self) -> None:
        """End all sessions and all processes."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))


class Toolboxes(Mapping[str, Toolbox]):
    """All tools of a run by alias. Servers that no column uses are never contacted."""

    def __init__(
        self,
        configs: Iterable[ToolConfig],
        providers: Iterable[ToolProvider],
        resolver: SecretResolver | None,
        connect: Callable[[ToolServerAccess], Connection] | None = None,
    ) -> None:
        self.servers = ToolServers(providers, resolver, connect)
        self._toolboxes = {each.tool_alias: Toolbox(each, self.servers) for each in configs}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.servers.close()

    def __getitem__(self, alias: str) -> Toolbox:
        return self._toolboxes[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._toolboxes)

    def __len__(self) -> int:
        return len(self._toolboxes)

    def problem(self, alias: str) -> Problem | None:
        """A problem with the tools of an alias that shows without a connection."""
        config = self[alias].config
        for name in config.providers:
            try:
                self.servers.resolve(name, "it refers to")
            except MCPClientUnavailableError as error:
                return Problem(f"tool_configs.{alias}", str(error))
            except (MCPConfigurationError, SecretResolutionError) as error:
                return Problem(f"tool_configs.{alias}.providers", str(error))
        if len(config.allow_tools or ()) > MOST_TOOLS:
            excess = describe_excess(len(config.allow_tools or ()))
            return Problem(f"tool_configs.{alias}.allow_tools", excess, level="warning")
        return None


def _require_sdk() -> None:
    try:
        is_missing = find_spec("mcp") is None
    except ValueError:  # somebody has put something else in its place
        is_missing = True
    if is_missing:
        raise MCPClientUnavailableError(
            "tools require the package mcp; run: pip install 'prefect-data-designer[tools]'"
        )


def _say_unavailable(name: str) -> str:
    return f"The tool {name!r} is not available at the moment. Continue without it."


def _warn_of_effects(tool: OfferedTool) -> str:
    if tool.is_repeatable:
        return " You may call it again, or continue without it."
    return " It may have taken effect all the same, so do not simply repeat the call."
