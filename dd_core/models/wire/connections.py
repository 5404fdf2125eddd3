"""How requests get to servers: over aiohttp, or to an httpx transport that takes its place.

httpx's own connection pool costs milliseconds of CPU a request when hundreds of connections idle,
and its request and response objects a third of what a cell costs. Its transports are still the seam
behind which tests script a model.
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
    """Connections that are kept open, as many as are needed.

    `secure` loads the system's certificates, which takes 20 ms.
    """

    def __init__(self, *, secure: bool) -> None:
        context = httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=30.0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Only where there are proxies: with it, a netrc file is looked for at every request.
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
    """An httpx transport in place of the network."""

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
        await asyncio.sleep(0)  # a network lets others run meanwhile
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
        """The transport belongs to whoever made it."""


@lru_cache(maxsize=64)
def _address(url: str) -> yarl.URL:
    return yarl.URL(url)


@lru_cache(maxsize=16)
def _timeout(wait: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=wait, sock_read=wait)
