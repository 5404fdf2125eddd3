"""A proxy that records what clients send to a Prefect server, WebSocket messages included."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27,}")
_OWN_HEADERS = {"host", "content-length", "transfer-encoding", "accept-encoding", "connection"}
"""Headers that belong to a connection, and the one that would compress the responses."""


@dataclass
class Exchange:
    """A request with its response, or one message on a WebSocket."""

    at: float
    client: str
    method: str
    """`WS` for a message on a WebSocket."""
    path: str
    """With the query."""
    content: Any
    """The JSON of the request or message."""
    status: int = 0
    response: Any = None

    @property
    def route(self) -> str:
        """Method and path, without IDs and query."""
        return f"{self.method} {_ID.sub('<id>', self.path.split('?')[0])}"


class RecordingProxy:
    """Forwards one local port per kind of client to a Prefect server."""

    def __init__(self, target: int, clients: dict[str, int]) -> None:
        self.exchanges: list[Exchange] = []
        self._target = f"http://127.0.0.1:{target}"
        self._clients = clients
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._ready.wait()

    async def _serve(self) -> None:
        async with aiohttp.ClientSession(self._target, auto_decompress=False) as session:
            for client, port in self._clients.items():
                app = web.Application(client_max_size=2**30)
                app["session"], app["client"] = session, client
                app.router.add_route("*", "/{path:.*}", self._handle)
                runner = web.AppRunner(app, access_log=None)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", port).start()
            self._ready.set()
            await asyncio.Event().wait()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._forward_messages(request)
        began, body = time.monotonic(), await request.read()
        sent = {k: v for k, v in request.headers.items() if k.lower() not in _OWN_HEADERS}
        headers = {**sent, "Accept-Encoding": "identity"}
        session: aiohttp.ClientSession = request.app["session"]
        async with session.request(
            request.method, request.path_qs, data=body, headers=headers
        ) as response:
            answer = await response.read()
        self.exchanges.append(
            Exchange(
                began, request.app["client"], request.method, request.path_qs,
                _decode(body), response.status, _decode(answer),
            )
        )  # fmt: skip
        kept = {k: v for k, v in response.headers.items() if k.lower() not in _OWN_HEADERS}
        return web.Response(status=response.status, body=answer, headers=kept)

    async def _forward_messages(self, request: web.Request) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol")
        protocols = [each.strip() for each in offered.split(",")] if offered else []
        here = web.WebSocketResponse(protocols=protocols, max_msg_size=0)
        await here.prepare(request)
        session: aiohttp.ClientSession = request.app["session"]
        async with session.ws_connect(
            request.path_qs, protocols=protocols, max_msg_size=0
        ) as there:

            async def receive() -> None:
                async for message in there:
                    await here.send_str(message.data)
                await here.close()

            answering = asyncio.create_task(receive())
            async for message in here:
                if message.type is aiohttp.WSMsgType.TEXT:
                    client = request.app["client"]
                    content = _decode(message.data.encode())
                    self.exchanges.append(
                        Exchange(time.monotonic(), client, "WS", request.path_qs, content)
                    )
                    await there.send_str(message.data)
            await there.close()
            await asyncio.gather(answering, return_exceptions=True)
        return here


def _decode(body: bytes) -> Any:
    return json.loads(body) if body else None
