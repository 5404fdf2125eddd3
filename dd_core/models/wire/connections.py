"""Connections to servers: aiohttp, or an httpx transport in its place.

With hundreds of idle connections, the connection pool of httpx costs milliseconds of CPU time per
request. Its request and response objects cost a third of the CPU time of a cell. An httpx transport
is still accepted, so that tests can script the answers of a model.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Mapping
from functools import lru_cache
from urllib.request import getproxies

import aiohttp
import httpx
import yarl

from dd_core.models.wire.transport import MAX_BODY_BYTES, HttpResponse, LostError


class AiohttpConnections:
    """An unlimited number of persistent connections.

    `secure` loads the certificates of the system, which takes 20 ms.
    """

    def __init__(self, *, secure: bool) -> None:
        context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=30.0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Only with proxies, because it also makes every request look for a netrc file.
            trust_env=bool(getproxies()),
        )

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        wait: float,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> HttpResponse:
        """See `Connections`."""
        try:
            async with self._session.request(
                method,
                _address(url),
                headers=headers,
                data=content,
                allow_redirects=False,
                timeout=_timeout(wait),
            ) as response:
                if (response.content_length or most_bytes) < most_bytes and (
                    "Content-Encoding" not in response.headers
                ):
                    body = await response.read()
                else:
                    body = await _read_body(response.content.iter_any(), most_bytes)
                return HttpResponse(response.status, response.headers, body)
        except aiohttp.ConnectionTimeoutError as error:
            raise LostError(error, timed_out=False) from error
        except TimeoutError as error:
            raise LostError(error, timed_out=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise LostError(error, timed_out=False) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


class TransportConnections:
    """An httpx transport instead of the network."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        wait: float,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> HttpResponse:
        """See `Connections`."""
        limits = {"connect": wait, "read": wait, "write": wait, "pool": None}
        request = httpx.Request(
            method, url, headers=headers, content=content, extensions={"timeout": limits}
        )
        await asyncio.sleep(0)  # yield to other tasks, as network access does
        try:
            async with asyncio.timeout(wait):
                response = await self._transport.handle_async_request(request)
                try:
                    body = await _read_body(response.aiter_bytes(), most_bytes)
                finally:
                    await response.aclose()
        except httpx.ConnectTimeout as error:
            raise LostError(error, timed_out=False) from error
        except (httpx.TimeoutException, TimeoutError) as error:
            raise LostError(error, timed_out=True) from error
        except httpx.HTTPError as error:
            raise LostError(error, timed_out=False) from error
        return HttpResponse(response.status_code, response.headers, body)

    async def aclose(self) -> None:
        """Do nothing: the transport belongs to the caller."""


async def _read_body(chunks: AsyncIterable[bytes], most_bytes: int) -> bytes:
    """The whole body; its length is counted after decompression."""
    body, size = list[bytes](), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            body.clear()  # the traceback of the error keeps this frame
            raise LostError(ValueError("the answer is too long"), is_too_long=True)
        body.append(chunk)
    return body[0] if len(body) == 1 else b"".join(body)


@lru_cache(maxsize=64)
def _address(url: str) -> yarl.URL:
    return yarl.URL(url)


@lru_cache(maxsize=16)
def _timeout(wait: float) -> aiohttp.ClientTimeout:
    # Connecting takes a little less, so that a host that is down is not taken for a slow server.
    return aiohttp.ClientTimeout(total=wait, sock_connect=0.9 * wait)
