"""A proxy that counts the HTTP requests to a server, with one port per kind of client."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter

_REQUEST = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE) (/\S*) HTTP/1\.1\r\n")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27,}")


class CountingProxy:
    """Forwards one local port to another; `counts` maps paths, without IDs, to requests."""

    def __init__(self, port: int, target: int) -> None:
        self.counts: Counter[str] = Counter()
        self.sent = 0
        """Bytes from clients to the server, WebSockets included."""
        self._port, self._target = port, target
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._ready.wait()

    @property
    def requests(self) -> int:
        """Number of requests so far."""
        return sum(self.counts.values())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._ready.set()
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(
            self._forward(reader, here, count=True), self._forward(there, writer, count=False)
        )

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, count: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if count:
                    self.sent += len(data)
                    for path in _REQUEST.findall(data):
                        plain = path.decode().split("?")[0]
                        self.counts[_ID.sub("<id>", plain)] += 1
                sink.write(data)
                await sink.drain()
        except (ConnectionError, OSError):
            pass
        finally:
            sink.close()
