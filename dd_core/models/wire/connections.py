"""Connections to servers: aiohttp, or an httpx transport in its place.

With hundreds of idle connections, the connection pool of httpx costs milliseconds of CPU time per
request. Its request and response objects cost a third of the CPU time of a cell. An httpx transport
is still accepted, so that tests can script the answers of a model.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache
from urllib.request import getproxies

import aiohttp
import httpx
import yarl

from dd_core.models.wire.transport import HttpResponse, LostError


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
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, wait: float
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
                return HttpResponse(response.status, response.headers, await response.read())
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
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, wait: float
    ) -> HttpResponse:
        """See `Connections`."""
        limits = {"connect": wait, "read": wait, "write": wait, "pool": None}
        request = httpx.Request(
            method, url, headers=headers, content=content, extensions={"timeout": limits}
        )
        await asyncio.sleep(0)  # yield to other tasks, as network access does
        try:
            response = await self._transport.handle_async_request(request)
            body = await response.aread()
            await response.aclose()
        except httpx.ConnectTimeout as error:
            raise LostError(error, timed_out=False) from error
        except httpx.TimeoutException as error:
            raise LostError(error, timed_out=True) from error
        except httpx.HTTPError as error:
            raise LostError(error, timed_out=False) from error
        return HttpResponse(response.status_code, response.headers, body)

    async def aclose(self) -> None:
        """Do nothing: the transport belongs to the caller."""


@lru_cache(maxsize=64)
def _address(url: str) -> yarl.URL:
    return yarl.URL(url)


@lru_cache(maxsize=16)
def _timeout(wait: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=wait, sock_read=wait)
