"""A model server on a real socket that answers some requests and rejects all others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import serving


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    good: int
    status: int
    error: dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # type: ignore[assignment]
    lock = threading.Lock()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.lock:
            self.server.good -= 1
            status = 200 if self.server.good >= 0 else self.server.status
        said = {"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        good = {"id": "1", "model": "m", "choices": [{"index": 0, **said}], "usage": usage}
        body = json.dumps(good if status == 200 else {"error": self.server.error}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def refusing(status: int, error: dict[str, Any], *, good: int = 0) -> Iterator[str]:
    """Run a server that answers `good` requests and then returns `error`; yields the URL."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.good, server.status, server.error = good, status, error
    with serving(server) as address:
        yield f"{address}/v1"
