"""A tool server for tests: `python -m tests.tool_servers [TRANSPORT] [PORT]`."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.fastmcp import Context, FastMCP, Image
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ListToolsRequest,
    ListToolsResult,
    ResourceLink,
    ServerResult,
    TextContent,
    TextResourceContents,
    Tool,
    ToolAnnotations,
)
from pydantic import AnyUrl, BaseModel

from dd_core.models.tools.session import Connection, Streams

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = 10
"""Tools per page."""


class Point(BaseModel):
    """A point, which makes schemas refer to a definition."""

    x: int
    y: int = 0


def make_server(*, more_tools: int = 0, port: int = 8000) -> FastMCP:
    """A server with tools for all cases; `more_tools` are named `extra_0`, `extra_1` and so on."""
    server = FastMCP("test", port=port, log_level="WARNING")
    state: dict[str, Any] = {"calls": 0, "cancelled": 0, "running": 0, "most": 0}
    read_only = ToolAnnotations(readOnlyHint=True)

    @server.tool()
    def echo(text: str) -> str:
        """Repeat a text."""
        state["calls"] += 1
        return text

    @server.tool(name="maths.add")
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def measure(point: Point) -> int:
        """Add the coordinates of a point."""
        return point.x + point.y

    @server.tool(annotations=read_only)
    async def slow(seconds: float = 1.0) -> str:
        """Wait without blocking others."""
        state["running"] += 1
        state["most"] = max(state["most"], state["running"])
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            state["cancelled"] += 1
            raise
        finally:
            state["running"] -= 1
        return "done"

    @server.tool()
    async def meet(number: int) -> str:
        """Wait until so many calls of this tool have run at the same time."""
        state["running"] += 1
        state["most"] = max(state["most"], state["running"])
        while state["most"] < number:
            await asyncio.sleep(0.01)
        state["running"] -= 1
        return "met"

    @server.tool()
    def block(seconds: float) -> str:
        """Wait and block the whole server."""
        time.sleep(seconds)
        return str(os.getpid())

    @server.tool()
    def hang(path: str) -> str:
        """Create a file, then block the whole server for good."""
        Path(path).touch()
        while True:
            time.sleep(1)

    @server.tool()
    def die() -> str:
        """End the process."""
        os.write(2, b"goodbye\n")
        os._exit(3)

    @server.tool(annotations=read_only)
    def die_once(path: str) -> str:
        """End the process, but not the next one."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return "alive"
        os._exit(3)

    @server.tool()
    def fail() -> str:
        """Raise an error."""
        raise ValueError("kaput")

    @server.tool()
    def say_state() -> dict[str, Any]:
        """What this server has seen."""
        return {**state, "pid": os.getpid()}

    @server.tool()
    def say_variable(variable: str) -> str:
        """An environment variable of this server."""
        return os.environ.get(variable, "(not set)")

    @server.tool()
    def big() -> str:
        """Return 5 MB."""
        return "x" * 5_000_000

    @server.tool()
    def shout() -> str:
        """Print to standard output, which is not allowed."""
        os.write(1, b"what a noise\n")
        return "quiet"

    @server.tool()
    async def ask_back(context: Context[Any, Any, Any]) -> str:
        """Request an answer of a model, which clients refuse."""
        from mcp import McpError
        from mcp.types import SamplingMessage

        message = SamplingMessage(role="user", content=TextContent(type="text", text="Hello"))
        try:
            await context.session.create_message([message], max_tokens=5)
        except McpError as error:
            return f"refused: {error}"
        return "answered"

    @server.tool()
    async def add_tool(context: Context[Any, Any, Any]) -> str:
        """Offer one more tool from now on."""
        server.tool(name="late")(echo)
        await context.session.send_tool_list_changed()
        return "added"

    @server.tool()
    def leave_child(seconds: float) -> str:
        """Start a process that ignores SIGTERM and that this server does not wait for."""
        code = f"import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep({seconds})"
        null = subprocess.DEVNULL
        return str(subprocess.Popen([sys.executable, "-c", code], stdin=null, stdout=null).pid)

    @server.tool()
    def ignore_signals() -> str:
        """Survive SIGTERM from now on."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return str(os.getpid())

    _add_results(server)
    for number in range(more_tools):
        server.tool(name=f"extra_{number}")(echo)
    _serve_pages(server)
    return server


def _add_results(server: FastMCP) -> None:
    """Tools that return content of all kinds."""

    @server.tool(structured_output=False)
    def image() -> list[Any]:
        """Return a text, an image and a text."""
        return ["before", Image(data=PIXEL, format="png"), "after"]

    @server.tool()
    def raw(kind: str) -> CallToolResult:
        """Return content of a kind."""
        uri = AnyUrl("test://thing")
        encoded = base64.b64encode(b"12345").decode()
        content: dict[str, list[Any]] = {
            "nothing": [],
            "structured": [],
            "bad image": [ImageContent(type="image", data="%%%", mimeType="image/png")],
            "bitmap": [ImageContent(type="image", data=encoded, mimeType="image/bmp")],
            "cut image": [
                ImageContent(
                    type="image", data=base64.b64encode(PIXEL[:-9]).decode(), mimeType="image/png"
                )
            ],
            "audio": [AudioContent(type="audio", data=encoded, mimeType="audio/wav")],
            "resource": [
                EmbeddedResource(
                    type="resource", resource=TextResourceContents(uri=uri, text="the content")
                )
            ],
            "blob": [
                EmbeddedResource(
                    type="resource",
                    resource=BlobResourceContents(
                        uri=uri, blob=encoded, mimeType="application/zip"
                    ),
                )
            ],
            "link": [ResourceLink(type="resource_link", uri=uri, name="thing")],
        }
        structured = {"a": 1} if kind == "structured" else None
        return CallToolResult(content=content[kind], structuredContent=structured)


def _serve_pages(server: FastMCP) -> None:
    """List the tools in pages."""

    async def list_page(request: ListToolsRequest | None) -> ServerResult:
        start = int((request and request.params and request.params.cursor) or 0)
        tools: list[Tool] = await server.list_tools()
        end = start + PAGE
        cursor = str(end) if end < len(tools) else None
        return ServerResult(ListToolsResult(tools=tools[start:end], nextCursor=cursor))

    server._mcp_server.request_handlers[ListToolsRequest] = list_page


class MemoryConnection(Connection):
    """A connection to a server in this process."""

    def __init__(self, server: FastMCP) -> None:
        super().__init__()
        self._server = server._mcp_server

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Streams]:
        """Run the server for the duration of the block."""
        async with create_client_server_memory_streams() as (streams, theirs):
            options = self._server.create_initialization_options()
            task = asyncio.create_task(self._server.run(*theirs, options))
            try:
                yield streams
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@contextmanager
def serving_tools(server: FastMCP, transport: str, port: int) -> Iterator[None]:
    """Serve over HTTP for the duration of the block."""
    app = server.sse_app() if transport == "sse" else server.streamable_http_app()
    config = uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    wait_until(lambda: running.started)

    try:
        yield
    finally:
        running.should_exit = True
        thread.join()


def start_server(transport: str, port: int) -> subprocess.Popen[bytes]:
    """Start a server process, and wait until it listens."""
    name = transport.replace("_", "-")
    command = [sys.executable, "-m", "tests.tool_servers", name, str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens)
    return process


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.02)


if __name__ == "__main__":
    transport: Any = sys.argv[1] if len(sys.argv) > 1 else "stdio"
    make_server(port=int(sys.argv[2]) if len(sys.argv) > 2 else 8000).run(transport)
