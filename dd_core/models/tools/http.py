"""Talks to a tool server over HTTP.

The SDK leaves requests unanswered, or ends the whole session, if one request fails. So the HTTP
client is watched here: it reports each request that will not be answered, and nothing else fails.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from dd_core.models.tools.config import MCPProvider
from dd_core.models.tools.providers import ToolServerAccess
from dd_core.models.tools.session import (
    MOST_MESSAGE_BYTES,
    Connection,
    SessionLostError,
    Streams,
)
from dd_core.models.wire.waits import parse_wait

if TYPE_CHECKING:
    import httpx
    from pydantic import ValidationError

_SECONDS = 30.0
"""Timeout for connecting, and for sending a request."""
_SILENT_SECONDS = 3600.0
"""Streams may be silent for long. Timeouts of calls are kept elsewhere."""
_GRACE_SECONDS = 5.0
"""An answer that has been received in full is delivered within this time."""
_BUSY_SECONDS = 1.0
"""Wait after status 429 without a `Retry-After`."""
_QUOTED_BYTES = 300
_TOO_LARGE = f"it sent a message of more than {MOST_MESSAGE_BYTES} bytes"
_EVENT_ID = re.compile(rb"(?:^|\n)id:")
_ANSWERS = ("application/json", "text/event-stream")
_ENCODING = "gzip"
_GZIP_BITS = 31
_DECOMPRESSED_BYTES = 2**18
"""Size of the pieces that a compressed response is read in."""


class HttpConnection(Connection):
    """A connection over streamable HTTP or SSE."""

    def __init__(self, access: ToolServerAccess) -> None:
        super().__init__()
        assert isinstance(access.provider, MCPProvider)
        self._provider = access.provider
        self._access = access
        self._fault = ""

    def handle_unreadable(self, error: ValidationError) -> None:
        """Report all requests: answers over SSE do not belong to the response of a request.

        With streamable HTTP, the end of the response is noticed.
        """
        if self._is_sse:
            reason = f"its answer is not a valid message: {error.errors()[0]['msg']}"
            self.report_lost(None, SessionLostError(reason, was_sent=True, ends_session=False))

    def explain(self) -> str:
        """Why the connection ended, if that was decided here."""
        return self._fault

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Streams]:
        """Connect."""
        client = self._make_client()
        url = self._provider.endpoint
        async with AsyncExitStack() as stack:
            if self._provider.provider_type == "sse":

                def give_client(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
                    return client  # the SDK opens and closes it

                opening = sse_client(url, httpx_client_factory=give_client)
                yield await stack.enter_async_context(opening)
                return
            await stack.enter_async_context(client)
            opened = await stack.enter_async_context(
                streamable_http_client(url, http_client=client)
            )
            yield opened[0], opened[1]

    def _make_client(self) -> httpx.AsyncClient:
        import httpx

        connection = self

        class WatchedClient(httpx.AsyncClient):
            async def send(
                self, request: httpx.Request, *, stream: bool = False, **options: Any
            ) -> httpx.Response:
                number = _read_id(await request.aread()) if request.method == "POST" else None
                try:
                    # The body is read below, after its size has been limited.
                    response = await super().send(request, stream=True, **options)
                    response = await _decompress(response)
                except httpx.TransportError as error:
                    if request.method != "POST":
                        raise
                    connection._report(number, connection._read_error(error))
                    return httpx.Response(202, request=request)
                if request.method == "POST":
                    response = await connection._check(number, response)
                else:
                    response.stream = _make_watched(
                        response.stream,
                        on_flood=lambda: connection._end_all(_TOO_LARGE),
                        on_break=connection._end_all_for if connection._is_sse else None,
                    )
                if not stream:
                    await response.aread()
                return response

        return WatchedClient(
            headers={**self._access.values, "accept-encoding": _ENCODING},
            timeout=httpx.Timeout(_SECONDS, read=_SILENT_SECONDS),
            limits=httpx.Limits(max_connections=None),
        )

    def _report(self, number: int | None, error: SessionLostError) -> None:
        if number is not None:
            self.report_lost(number, error)

    def _read_error(self, error: httpx.TransportError) -> SessionLostError:
        import httpx

        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
        reason = self._access.redactor.mask(f"{type(error).__name__}: {error}".rstrip(": "))
        return SessionLostError(reason, was_sent=not isinstance(error, unsent))

    async def _check(self, number: int | None, response: httpx.Response) -> httpx.Response:
        """The response, if it may contain the answer; otherwise one that the SDK ignores."""
        if response.is_redirect:
            return response  # the SDK follows it, or ends the session with a good explanation
        if response.is_success and number is None:
            return response
        kind = response.headers.get("content-type", "").lower()
        if response.is_success and (self._is_sse or kind.startswith(_ANSWERS)):
            if not self._is_sse:
                assert number is not None
                response.stream = _make_watched(
                    response.stream, lambda: self._end(number), lambda: self._refuse(number)
                )
            return response
        self._report(number, await self._read_refusal(response))
        return type(response)(202, request=response.request)

    @property
    def _is_sse(self) -> bool:
        """Whether answers arrive in another response than that to the request."""
        return self._provider.provider_type == "sse"

    async def _read_refusal(self, response: httpx.Response) -> SessionLostError:
        status = response.status_code
        words = b""
        try:
            async for chunk in response.aiter_bytes():
                words += chunk
                if len(words) > _QUOTED_BYTES:
                    break
        finally:
            await response.aclose()
        quoted = self._access.redactor.mask(words.decode(errors="replace"))[:_QUOTED_BYTES]
        reason = f"it returned status {status}: {quoted}".rstrip(": ")
        if response.is_success:
            kind = response.headers.get("content-type", "nothing")
            reason = f"it returned {kind}, which is not an answer; check its endpoint"
        elif status in (401, 403):
            reason += "; check its api_key and headers"
        # A server that was restarted does not know the session any more.
        is_unknown = status in (400, 404)
        return SessionLostError(
            reason,
            was_sent=not 400 <= status < 500,
            ends_session=is_unknown,
            wait_seconds=_read_wait(response),
        )

    def _end(self, number: int) -> None:
        """Report a request if the answer does not come now that its response has ended."""
        error = SessionLostError("its answer broke off", was_sent=True, ends_session=False)
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._report, number, error)

    def _refuse(self, number: int) -> None:
        """Report a request whose answer is too large."""
        self._report(number, SessionLostError(_TOO_LARGE, was_sent=True, ends_session=False))

    def _end_all(self, reason: str) -> None:
        """Keep the reason for which the stream of all answers has ended."""
        self._fault = reason

    def _end_all_for(self, error: httpx.TransportError) -> None:
        self._end_all(str(self._read_error(error)))


def _make_watched(
    stream: Any,
    on_end: Callable[[], None] = lambda: None,
    on_flood: Callable[[], None] = lambda: None,
    on_break: Callable[[httpx.TransportError], None] | None = None,
) -> Any:
    """The stream of a response, which says when it has ended for good.

    It ends early, and says so, if a message is too large.
    """
    import httpx

    class WatchedStream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            can_resume = False
            size = 0
            try:
                async for chunk in stream:
                    # An empty line ends an event. One that is cut in two by chunks is overlooked,
                    # which only makes the message seem larger.
                    end = max(chunk.rfind(b"\n\n"), chunk.rfind(b"\r\n\r\n"))
                    size = len(chunk) - end if end >= 0 else size + len(chunk)
                    if size > MOST_MESSAGE_BYTES:
                        on_flood()
                        return
                    can_resume = can_resume or _EVENT_ID.search(chunk) is not None
                    yield chunk
            except httpx.TransportError as error:
                if on_break is None:
                    raise
                on_break(error)  # the SDK would write the traceback into the log
            finally:
                if not can_resume:
                    on_end()

        async def aclose(self) -> None:
            await stream.aclose()

    return WatchedStream()


async def _decompress(response: httpx.Response) -> httpx.Response:
    """The response with a body that is decompressed piece by piece.

    httpx decompresses whatever has arrived at once, and 64 KiB can become gigabytes. Here, a
    watched stream ends after the piece with which the message becomes too large.
    """
    import httpx

    encoding = response.headers.pop("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return response
    if encoding != _ENCODING:
        await response.aclose()
        raise httpx.RemoteProtocolError(
            f"it encoded its response as {encoding[:_QUOTED_BYTES]!r}, but accepted is only "
            f"{_ENCODING!r}; check the server, and proxies in front of it"
        )
    compressed = response.stream

    class DecompressedStream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            assert isinstance(compressed, httpx.AsyncByteStream)
            decoder = zlib.decompressobj(_GZIP_BITS)
            async for chunk in compressed:
                try:
                    rest = chunk
                    while rest and not decoder.eof:
                        yield decoder.decompress(rest, _DECOMPRESSED_BYTES)
                        rest = decoder.unconsumed_tail
                except zlib.error as error:
                    reason = f"its response is not valid gzip: {error}"
                    raise httpx.RemoteProtocolError(reason) from None

        async def aclose(self) -> None:
            assert isinstance(compressed, httpx.AsyncByteStream)
            await compressed.aclose()

    response.stream = DecompressedStream()
    return response


def _read_wait(response: httpx.Response) -> float | None:
    """Seconds to wait if the server is busy; None if it is not, or does not say for how long."""
    if response.status_code not in (429, 503):
        return None
    wait = parse_wait(response.headers)
    return _BUSY_SECONDS if wait is None and response.status_code == 429 else wait


def _read_id(content: bytes) -> int | None:
    """The id of a request; None for notifications and answers."""
    message: Any = json.loads(content)
    number = message.get("id") if "method" in message else None
    return number if isinstance(number, int) else None
