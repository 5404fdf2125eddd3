"""A session with a tool server."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any, TypeAlias, TypeVar, cast

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import ClientSession, McpError
from mcp.shared.message import SessionMessage
from mcp.types import (
    CONNECTION_CLOSED,
    CancelledNotification,
    CancelledNotificationParams,
    ClientNotification,
    Implementation,
    ServerNotification,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from dd_core.errors import describe_error

Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]
_T = TypeVar("_T")

MOST_MESSAGE_BYTES = 2**26
"""A longer message is not read: whoever sends it has lost its way, or wants to fill the memory."""
_CLOSE_SECONDS = 10.0
_NOTICE_SECONDS = 5.0


class SessionLostError(Exception):
    """A request will not be answered, because the connection or the server is gone."""

    def __init__(
        self,
        reason: str,
        *,
        was_sent: bool,
        ends_session: bool = True,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.was_sent = was_sent
        """Whether the server may have received the request."""
        self.ends_session = ends_session
        """Whether further requests of the session would fail as well."""
        self.wait_seconds = wait_seconds
        """Seconds after which a server that is busy may be asked again; None if it is not busy."""


class Connection(ABC):
    """A way to a tool server. It is opened once."""

    def __init__(self) -> None:
        self.report_lost: Callable[[int | None, SessionLostError], None] = lambda number, error: (
            None
        )
        """Called if a request will not be answered. It is given by its id; None stands for all
        requests in flight, because it is not known which one is meant."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Streams]:
        """Open the connection for the task that calls this, which has to close it as well."""

    def handle_unreadable(self, error: ValidationError) -> None:  # noqa: B027
        """Called if the SDK could not read a message."""

    def explain(self) -> str:
        """What is known about the reason for which the connection ended; may be empty."""
        return ""


class _Client(ClientSession):
    """The SDK's session, which offers no way to cancel a request without knowing its id."""

    @property
    def next_id(self) -> int:
        """The id of the next request."""
        return self._request_id


class ToolSession:
    """A session that one task opens, keeps and closes, as the SDK demands; any task may use it."""

    def __init__(self, connection: Connection, on_list_changed: Callable[[], None]) -> None:
        self._connection = connection
        self._on_list_changed = on_list_changed
        self._closing = asyncio.Event()
        self._client: _Client | None = None
        self._lost: dict[int, asyncio.Future[SessionLostError]] = {}
        self._notices: set[asyncio.Task[None]] = set()
        self._is_over = False
        self.end_reason = "it has ended"
        """Why it cannot be used any more."""
        connection.report_lost = self._handle_lost

    async def open(self, seconds: float) -> None:
        """Connect; raises `TimeoutError`, or whatever prevents the connection."""
        ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(ready))
        self._task.add_done_callback(_retrieve_error)
        try:
            await asyncio.wait(
                {self._task, ready}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if not ready.done():
                self._is_over = True
                await self.close()
        if not ready.done():
            self._raise_failure(seconds)

    @property
    def is_usable(self) -> bool:
        """Whether requests can be sent, as far as is known."""
        return not self._is_over and not self._task.done()

    async def request(self, send: Callable[[ClientSession], Awaitable[_T]], seconds: float) -> _T:
        """Send a request, and wait for its answer.

        Raises `TimeoutError`, then the server is told that nobody waits any more;
        `SessionLostError`; and `McpError` if the server refuses the request.
        """
        assert self._client is not None
        return await self._ask(self._client, send, seconds, {self._task})

    async def close(self) -> None:
        """End the session. Requests in flight are lost."""
        self._is_over = True
        self._closing.set()
        try:
            await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS if self._client else 0.0)
        finally:
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)

    async def _run(self, ready: asyncio.Future[None]) -> None:
        async with (
            self._connection.open() as (incoming, outgoing),
            _Client(
                incoming,
                outgoing,
                message_handler=self._handle_message,
                client_info=Implementation(
                    name="prefect-data-designer", version=version("prefect-data-designer")
                ),
            ) as client,
        ):
            await self._ask(client, lambda each: cast("_Client", each).initialize(), None, set())
            self._client = client
            ready.set_result(None)
            try:
                await self._closing.wait()
            finally:
                self._is_over = True
                for notice in self._notices:
                    notice.cancel()

    async def _ask(
        self,
        client: _Client,
        send: Callable[[ClientSession], Awaitable[_T]],
        seconds: float | None,
        ends: set[asyncio.Task[None]],
    ) -> _T:
        lost: asyncio.Future[SessionLostError] = asyncio.get_running_loop().create_future()
        request: list[int] = []

        async def start() -> _T:
            request.append(client.next_id)
            self._lost[client.next_id] = lost
            return await send(client)

        task = asyncio.create_task(start())
        try:
            await asyncio.wait(
                {task, lost, *ends}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return self._read(task)
            if lost.done():
                raise lost.result()
            if ends and all(end.done() for end in ends):
                raise SessionLostError(self._explain(self._describe_end()), was_sent=True)
            raise TimeoutError
        except SessionLostError as error:
            if error.ends_session and not self._is_over:
                self._is_over, self.end_reason = True, str(error)
            raise
        finally:
            for each in request:
                self._lost.pop(each, None)
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_NOTICE_SECONDS)
                self._say_cancelled(client, request)

    def _read(self, task: asyncio.Task[_T]) -> _T:
        """The answer to a request that has ended."""
        try:
            return task.result()
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise SessionLostError(self._explain("it is closed"), was_sent=False) from None
        except McpError as error:
            if error.error.code != CONNECTION_CLOSED:
                raise
            reason = self._explain("the connection was closed")
        raise SessionLostError(reason, was_sent=True)

    def _say_cancelled(self, client: _Client, request: list[int]) -> None:
        """Tell the server that nobody waits for an answer any more."""
        if self._is_over or self._client is None or not request:
            return
        parameters = CancelledNotificationParams(requestId=request[0], reason="no longer needed")
        notice = ClientNotification(CancelledNotification(params=parameters))

        async def send() -> None:
            try:
                async with asyncio.timeout(_NOTICE_SECONDS):
                    await client.send_notification(notice)
            except (TimeoutError, anyio.ClosedResourceError, anyio.BrokenResourceError):
                pass  # the next request notices

        task = asyncio.create_task(send())
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    def _handle_lost(self, number: int | None, error: SessionLostError) -> None:
        for request, lost in self._lost.items():
            if number in (request, None) and not lost.done():
                lost.set_result(error)

    async def _handle_message(self, message: Any) -> None:
        if isinstance(message, ValidationError):
            self._connection.handle_unreadable(message)
        elif isinstance(message, ServerNotification) and isinstance(
            message.root, ToolListChangedNotification
        ):
            self._on_list_changed()

    def _explain(self, otherwise: str) -> str:
        return self._connection.explain() or otherwise

    def _describe_end(self) -> str:
        if self._task.cancelled() or (error := self._task.exception()) is None:
            return "the session was closed"
        return describe_error(find_cause(error))

    def _raise_failure(self, seconds: float) -> None:
        if self._task.cancelled() or self._task.exception() is None:
            said = self._connection.explain()
            raise TimeoutError(f"it did not answer within {seconds:g} s" + (said and f"; {said}"))
        raise find_cause(cast("BaseException", self._task.exception()))


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    """Tell asyncio that somebody knows about the error of a task."""
    if not task.cancelled():
        task.exception()


def find_cause(error: BaseException) -> BaseException:
    """The first error in groups of errors, which task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
