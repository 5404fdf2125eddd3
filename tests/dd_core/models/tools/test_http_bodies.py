"""Bodies over HTTP that are compressed, or cannot be read."""

from __future__ import annotations

import asyncio
import json
import queue
import tracemalloc
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal

import pytest

import dd_core.config as dd
from dd_core.models.tools import http
from dd_core.models.tools.result import ToolOutcome
from dd_core.models.tools.toolbox import Toolboxes
from tests.serving import serving

from .test_calls import call

MOST_BYTES = 1_000_000


class Speaking(BaseHTTPRequestHandler):
    """A tool server over SSE and streamable HTTP. Calls say how they want to be answered."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[queue.Queue[bytes]]
    """What is sent to the stream of answers over SSE."""

    def do_GET(self) -> None:
        if self.path != "/sse":
            self.send(b"", status=405)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"event: endpoint\ndata: /messages\n\n")
        self.wfile.flush()
        while answer := self.answers.get():
            self.wfile.write(b"event: message\ndata: " + answer + b"\n\n")
            self.wfile.flush()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        how = asked["params"]["arguments"]["how"] if asked["method"] == "tools/call" else ""
        answer = make_answer(asked, how) if "id" in asked else b""
        if self.path == "/messages":
            if answer:
                self.answers.put(answer)
            self.send(b"", status=202)
        elif how in ("bomb", "compressed"):
            assert self.headers["accept-encoding"] == "gzip"
            self.send(compress(answer, blanks=100 if how == "bomb" else 0), encoding="gzip")
        else:
            self.send(answer, encoding=how if how in ("br", "gzip") else None)

    def do_DELETE(self) -> None:
        self.send(b"")

    def send(self, body: bytes, status: int = 200, encoding: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if encoding is not None:
            self.send_header("content-encoding", encoding)
        self.end_headers()
        with suppress(OSError):  # nobody reads it to its end
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def make_answer(asked: dict[str, Any], how: str) -> bytes:
    if how == "cut":
        return b'{"jsonrpc": "2.0", "id": %d, "result": {' % asked["id"]
    result: dict[str, Any] = {"content": [{"type": "text", "text": "fine"}]}
    if asked["method"] == "initialize":
        result = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {}}
        result["serverInfo"] = {"name": "speaking", "version": "1"}
    if asked["method"] == "tools/list":
        result = {"tools": [{"name": "speak", "inputSchema": {}}]}
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()


def compress(answer: bytes, blanks: int) -> bytes:
    """Compress an answer with some megabytes of blanks in front of it."""
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(b" " * MOST_BYTES) for _ in range(blanks)]
    return b"".join([*parts, packer.compress(answer), packer.flush()])


def connect(url: str, kind: Literal["sse", "streamable_http"]) -> Toolboxes:
    endpoint = f"{url}/{'sse' if kind == 'sse' else 'mcp'}"
    provider = dd.MCPProvider(name="web", endpoint=endpoint, provider_type=kind)
    # Nobody waits that long: what cannot be answered is noticed.
    config = dd.ToolConfig(tool_alias="t", providers=["web"], timeout_sec=3600)
    return Toolboxes([config], [provider], None)


@pytest.fixture
def server() -> ThreadingHTTPServer:
    handler = type("Handler", (Speaking,), {"answers": queue.Queue[bytes]()})
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


async def test_a_compressed_answer_is_read_but_not_beyond_the_limit(
    server: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(http, "MOST_MESSAGE_BYTES", MOST_BYTES)
    # A limit of the bytes on the wire would not notice it.
    assert len(compress(b"", blanks=100)) < MOST_BYTES
    with serving(server) as url:
        async with connect(url, "streamable_http") as toolboxes, asyncio.timeout(120):
            toolbox = toolboxes["t"]
            await toolbox.open()
            assert (await call(toolbox, "speak", how="compressed")).content == "fine"
            tracemalloc.start()
            try:
                refused = await call(toolbox, "speak", how="bomb")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert refused.outcome is ToolOutcome.UNAVAILABLE
            assert "it sent a message of more than" in caplog.text
            assert peak < 20 * MOST_BYTES
            for how, reason in {"br": "accepted is only 'gzip'", "gzip": "not valid gzip"}.items():
                refused = await call(toolbox, "speak", how=how)
                assert refused.outcome is ToolOutcome.UNAVAILABLE
                assert reason in caplog.text
            assert (await call(toolbox, "speak", how="plain")).content == "fine"


async def test_an_answer_over_sse_that_cannot_be_read_is_not_waited_for(
    server: ThreadingHTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(server) as url:
        async with connect(url, "sse") as toolboxes, asyncio.timeout(120):
            toolbox = toolboxes["t"]
            await toolbox.open()
            assert (await call(toolbox, "speak", how="plain")).content == "fine"
            refused = await call(toolbox, "speak", how="cut")
            assert refused.outcome is ToolOutcome.UNAVAILABLE
            assert "its answer is not a valid message" in caplog.text
            assert (await call(toolbox, "speak", how="plain")).content == "fine"
            server.RequestHandlerClass.answers.put(b"")  # type: ignore[attr-defined]
