"""A tool server during a run: its sessions, its list of tools, and the limit of its calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from mcp import ClientSession, McpError
from mcp.types import (
    CallToolRequest,
    CallToolRequestParams,
    ClientRequest,
    PaginatedRequestParams,
    Tool,
)

from dd_core.errors import MCPToolError
from dd_core.models.tools.config import LocalStdioMCPProvider
from dd_core.models.tools.content import RawResult
from dd_core.models.tools.http import HttpConnection
from dd_core.models.tools.limit import CallLimit
from dd_core.models.tools.process import ProcessConnection
from dd_core.models.tools.providers import ToolServerAccess
from dd_core.models.tools.session import Connection, SessionLostError, ToolSession
from dd_core.retries import retry_async

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_MOST_PAGES = 1000
_MOST_TOOLS = 10_000
"""A server that has listed more, and goes on, is not asked any further."""
_REOPENING_ATTEMPTS = 3
_LEAST_WAIT = 0.5
"""Seconds that a call waits for a server that is busy; doubled from wait to wait."""


class ToolServer:
    """The sessions with one server; they are opened when they are needed."""

    def __init__(
        self,
        access: ToolServerAccess,
        connect: Callable[[ToolServerAccess], Connection] | None = None,
    ) -> None:
        provider = access.provider
        self.access = access
        self.limit = CallLimit(provider.max_parallel_calls, provider.calls_per_minute)
        """Whoever calls a tool holds it."""
        self.version = 0
        """Changes whenever the tools are listed again."""
        processes = provider.processes if isinstance(provider, LocalStdioMCPProvider) else 1
        self._slots = [
            _SessionSlot(access, connect or make_connection, self._forget_tools)
            for _ in range(processes)
        ]
        self._tools: _Shared[list[Tool]] = _Shared()
        self._start_seconds = 0.0

    async def list_tools(self, seconds: float) -> list[Tool]:
        """The tools that the server offers; raises `MCPToolError`.

        The server is asked once, however many callers there are, until it says that its tools have
        changed.
        """
        self._start_seconds = max(self._start_seconds, seconds)
        return await self._tools.get(lambda: self._list_tools(seconds))

    async def call(
        self, name: str, arguments: dict[str, Any], seconds: float, *, is_repeatable: bool
    ) -> RawResult:
        """Call a tool; raises `TimeoutError`, `SessionLostError`, `McpError` and `MCPToolError`.

        If the session is lost, the call is repeated in a new one, provided that the server cannot
        have received it or that repeating it does no harm. A server that is busy is asked again
        when it allows that, as long as all waits together are no longer than `seconds`.
        """
        parameters = CallToolRequestParams(name=name, arguments=arguments)
        request = ClientRequest(CallToolRequest(params=parameters))

        def send(client: ClientSession) -> Awaitable[RawResult]:
            # Not `call_tool`, which rejects results that the server did not declare correctly.
            return client.send_request(request, RawResult)

        return await self._ask(send, seconds, is_repeatable=is_repeatable)

    async def close(self) -> None:
        """End all sessions and all processes."""
        await self._tools.cancel()
        await asyncio.gather(*(slot.close() for slot in self._slots))

    async def _list_tools(self, seconds: float) -> list[Tool]:
        where = self.access.label
        try:
            async with asyncio.timeout(seconds):
                tools = await self._list_pages(seconds)
        except TimeoutError:
            raise MCPToolError(
                f"{where} did not list its tools within {seconds:g} s; check the server, or allow "
                "it more time (start_timeout_sec)"
            ) from None
        except MCPToolError:
            raise
        except Exception as error:  # the answer may be of any form
            reason = self.access.redactor.mask(str(error))
        else:
            self.version += 1
            return tools
        raise MCPToolError(f"{where} did not list its tools: {reason}")

    async def _list_pages(self, seconds: float) -> list[Tool]:
        tools: dict[str, Tool] = {}  # the pages of a list that changes may overlap
        cursors: set[str] = set()
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            parameters = PaginatedRequestParams(cursor=cursor) if cursor else None

            def send(
                client: ClientSession, parameters: PaginatedRequestParams | None = parameters
            ) -> Awaitable[Any]:
                return client.list_tools(params=parameters)

            page = await self._ask(send, seconds, is_repeatable=True)
            for tool in page.tools:
                tools.setdefault(tool.name, tool)
            cursor = page.nextCursor
            if not cursor or cursor in cursors:
                return [*tools.values()]
            if len(tools) > _MOST_TOOLS:
                break
            cursors.add(cursor)
        raise MCPToolError(
            f"{self.access.label} lists tools without end: {len(tools)} on {len(cursors) + 1} "
            "pages, and more follow; check the server"
        )

    async def _ask(
        self,
        send: Callable[[ClientSession], Awaitable[_T]],
        seconds: float,
        *,
        is_repeatable: bool,
    ) -> _T:
        least, waited, repeats = _LEAST_WAIT, 0.0, 0
        while True:
            try:
                return await self._use_session(send, seconds)
            except SessionLostError as error:
                if error.wait_seconds is None:
                    # A server that was restarted in the middle of a call refuses to repeat it in
                    # the session that it does not know any more, so that takes one more attempt.
                    most = (1 if is_repeatable else 0) if error.was_sent else 2
                    if repeats >= most:
                        raise
                    repeats += 1
                    continue
                wait = max(error.wait_seconds, least)
                if waited + wait > seconds:
                    raise
            least, waited = 2 * least, waited + wait
            await asyncio.sleep(wait)

    async def _use_session(
        self, send: Callable[[ClientSession], Awaitable[_T]], seconds: float
    ) -> _T:
        slot = min(self._slots, key=lambda each: each.in_flight)
        slot.in_flight += 1
        try:
            session = await slot.get(self._start_seconds)
            return await session.request(send, seconds)
        finally:
            slot.in_flight -= 1

    def _forget_tools(self) -> None:
        self._tools.forget()


class _Shared(Generic[_T]):
    """The result of work that several callers need and that is done once, even if one gives up."""

    def __init__(self) -> None:
        self._task: asyncio.Task[_T] | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self._task is not None and self._task.done()

    async def get(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return the result, or wait for it. Work that fails is tried again by the next caller."""
        if self._task is None:
            self._task = task = asyncio.create_task(work())
            task.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._task)

    def forget(self) -> None:
        """Do the work again for the next caller."""
        self._task = None

    async def cancel(self) -> None:
        """Cancel the work, and wait for its end."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _forget_failure(self, task: asyncio.Task[_T]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._task is task:
            self._task = None


class _SessionSlot:
    """A place for a session. A session that was lost is replaced when the next one is needed."""

    def __init__(
        self,
        access: ToolServerAccess,
        connect: Callable[[ToolServerAccess], Connection],
        on_list_changed: Callable[[], None],
    ) -> None:
        self.in_flight = 0
        self._access = access
        self._connect = connect
        self._on_list_changed = on_list_changed
        self._session: ToolSession | None = None
        self._opening: _Shared[ToolSession] = _Shared()
        self._was_open = False
        self._is_closed = False

    async def get(self, seconds: float) -> ToolSession:
        """The session of this slot, which is opened if there is none; raises `MCPToolError`."""
        if self._is_closed:
            raise MCPToolError(f"the run has ended its sessions with {self._access.label}")
        if self._session is not None and self._session.is_usable:
            return self._session
        if self._opening.is_done:
            self._opening.forget()
        return await self._opening.get(lambda: self._open(seconds))

    async def close(self) -> None:
        """End the session."""
        self._is_closed = True
        await self._opening.cancel()
        if self._session is not None:
            await self._session.close()

    async def _open(self, seconds: float) -> ToolSession:
        if self._session is not None:
            _logger.warning(
                "the session with %s is replaced: %s",
                self._access.label,
                self._access.redactor.mask(self._session.end_reason),
            )
            await self._session.close()
        # The first attempt fails at once, because the configuration is probably wrong.
        attempts = _REOPENING_ATTEMPTS if self._was_open else 1
        async for attempt in retry_async((MCPToolError,), attempts=attempts):
            with attempt:
                self._session = await self._open_once(seconds)
        assert self._session is not None
        self._was_open = True
        return self._session

    async def _open_once(self, seconds: float) -> ToolSession:
        connection = self._connect(self._access)
        session = ToolSession(connection, self._on_list_changed)
        try:
            await session.open(seconds)
        except Exception as error:
            is_described = isinstance(error, TimeoutError | McpError | SessionLostError)
            kind = "" if is_described else f"{type(error).__name__}: "
            reason = self._access.redactor.mask(kind + str(error))
        else:
            return session
        raise MCPToolError(
            f"{self._access.label} cannot be used ({reason}); {_advise(self._access)}"
        )


def make_connection(access: ToolServerAccess) -> Connection:
    """A new connection to a server."""
    if isinstance(access.provider, LocalStdioMCPProvider):
        return ProcessConnection(access)
    return HttpConnection(access)


def _advise(access: ToolServerAccess) -> str:
    if isinstance(access.provider, LocalStdioMCPProvider):
        return "check its command, args, env and cwd"
    return "check that it is running, and its endpoint, api_key and provider_type"
