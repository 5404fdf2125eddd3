"""Tool servers over HTTP: connections, failures and secrets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pytest

import dd_core.config as dd
from dd_core.errors import MCPToolError
from dd_core.models.tools.result import ToolOutcome
from dd_core.models.tools.toolbox import Toolboxes
from dd_core.models.wire.answers import ToolCall
from tests.serving import find_free_port, serving
from tests.tool_servers import make_server, serving_tools, start_server

from .test_calls import call

Kind = Literal["sse", "streamable_http"]
KINDS: list[Kind] = ["sse", "streamable_http"]
KEY = "tk-7f3a9c51e2b84d60"


def connect(kind: Kind, port: int, path: str | None = None, **fields: Any) -> Toolboxes:
    path = path or ("sse" if kind == "sse" else "mcp")
    endpoint = f"http://127.0.0.1:{port}/{path}"
    provider = dd.MCPProvider(name="web", endpoint=endpoint, provider_type=kind, **fields)
    config = dd.ToolConfig(tool_alias="t", providers=["web"], start_timeout_sec=30)
    return Toolboxes([config], [provider], None)


@pytest.mark.parametrize("kind", KINDS)
async def test_tools_are_called_over_http(kind: Kind) -> None:
    port = find_free_port()
    with serving_tools(make_server(), kind, port):
        async with connect(kind, port) as toolboxes:
            toolbox = toolboxes["t"]
            await toolbox.open()
            assert (await call(toolbox, "maths.add", a=1, b=2)).content == "3"
            results = await asyncio.gather(*(call(toolbox, "meet", number=4) for _ in range(8)))
            assert {result.content for result in results} == {"met"}
            assert "[The result is cut off" in str((await call(toolbox, "big")).content)


async def test_a_redirect_within_the_server_is_followed() -> None:
    port = find_free_port()
    with serving_tools(make_server(), "streamable_http", port):
        async with connect("streamable_http", port, "mcp/") as toolboxes:
            await toolboxes["t"].open()
            assert (await call(toolboxes["t"], "echo", text="a")).content == "a"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_killed_loses_its_calls_and_gets_a_new_session(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    port = find_free_port()
    server = start_server(kind, port)
    try:
        async with connect(kind, port) as toolboxes:
            toolbox = toolboxes["t"]
            await toolbox.open()
            lost = asyncio.create_task(call(toolbox, "meet", number=100))
            state: dict[str, Any] = {}
            while not state.get("running"):
                state = json.loads(str((await call(toolbox, "say_state")).content))
            server.kill()
            server.wait()
            result = await lost
            assert result.outcome is ToolOutcome.UNAVAILABLE
            assert "may have taken effect" in str(result.content)
            result = await call(toolbox, "echo", text="a")
            assert result.outcome is ToolOutcome.UNAVAILABLE
            assert "is not available at the moment" in str(result.content)
            server = start_server(kind, port)
            assert (await call(toolbox, "echo", text="b")).content == "b"
    finally:
        server.kill()
        server.wait()
    assert "the session with tool server 'web' is replaced" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there_is_named_with_the_cause(kind: Kind) -> None:
    async with connect(kind, find_free_port()) as toolboxes:
        with pytest.raises(MCPToolError, match=r"tool server 'web' .*ConnectError.*; check that"):
            await toolboxes["t"].open()


class Refusing(BaseHTTPRequestHandler):
    """Answers everything with a status and the request's headers."""

    status = 401

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer()

    def answer(self) -> None:
        self.send_response(self.status)
        self.send_header("content-type", "text/html")
        self.send_header("location", "http://elsewhere.invalid/mcp")
        self.end_headers()
        self.wfile.write(str(self.headers).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[Callable[[int], int]]:
    """Starts a server that answers with a status; returns its port."""
    opened: list[Any] = []

    def start(status: int) -> int:
        handler = type("Handler", (Refusing,), {"status": status})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        opened.append(serving(server))
        opened[-1].__enter__()
        return server.server_port

    yield start
    for each in opened:
        each.__exit__(None, None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "401"), (404, "404"), (500, "500"), (307, "[Rr]edirect"), (200, "text/html|Unexpected")],
)
async def test_the_error_says_what_the_server_answered_without_the_key(
    kind: Kind, status: int, reason: str, refusing: Callable[[int], int]
) -> None:
    port = refusing(status)
    fields: dict[str, Any] = {"api_key": KEY, "headers": {"x-api-key": f"{KEY}-2"}}
    async with connect(kind, port, **fields) as toolboxes:
        with pytest.raises(MCPToolError, match=f"tool server 'web' .*({reason})") as raised:
            await toolboxes["t"].open()
    assert KEY[-12:] not in str(raised.value)


async def test_keys_are_sent_and_masked_in_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_TEST_KEY", KEY)
    received: list[dict[str, str]] = []
    port = find_free_port()
    server = make_server()

    @server.tool()
    def quote_headers() -> str:
        """What the request contained."""
        request = server.get_context().request_context.request
        assert request is not None
        received.append(dict(request.headers))
        return str(request.headers)

    headers = {"x-team": "${TOOL_TEST_KEY}-a", "x-secret": "TOOL_TEST_KEY"}
    with serving_tools(server, "streamable_http", port):
        options: dict[str, Any] = {"api_key": "TOOL_TEST_KEY", "headers": headers}
        async with connect("streamable_http", port, **options) as toolboxes:
            await toolboxes["t"].open()
            result = await toolboxes["t"].call(ToolCall("1", "quote_headers", ""))
    assert received[0]["authorization"] == f"Bearer {KEY}"
    assert received[0]["x-secret"] == KEY
    assert received[0]["x-team"] == f"{KEY}-a"
    assert "authorization" in str(result.content)
    assert KEY not in str(result.content)
