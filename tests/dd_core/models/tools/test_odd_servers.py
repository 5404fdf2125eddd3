"""Servers that send what no server should: the run neither waits for them nor is flooded."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.types import ListToolsRequest, ListToolsResult, ServerResult, Tool

import dd_core.config as dd
from dd_core.errors import MCPToolError
from dd_core.models.tools import content, http, process, server as tool_server
from dd_core.models.tools.result import ToolOutcome
from dd_core.models.tools.toolbox import Toolbox, Toolboxes
from dd_core.redaction.redactor import Redactor
from dd_core.redaction.rules import Secrets
from tests.dd_core.models.tools.test_calls import call, open_tools
from tests.dd_core.models.tools.test_processes import is_running
from tests.serving import find_free_port
from tests.tool_servers import PIXEL, make_server, serving_tools, wait_until

SERVER = r"""
import json, os, sys

ANSWERS = {
    "surrogate": rb'{"content": [{"type": "text", "text": "cut \ud83d here"}]}',
    "latin-1": b'{"content": [{"type": "text", "text": "caf\xe9"}]}',
    "no object": b'"hello"',
    "null": b"null",
    "new kind": b'{"content": [{"type": "text", "text": "a"}, {"type": "video", "url": "b"}]}',
}

LINES = {  # in place of an answer to request %d
    "cut": b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [',
    "cut at its end": b'{"result": {"id": 1, "content": []}, "jsonrpc": "2.0", "id": %d,',
    "without id": b'{"result": {"content": [{"type": "text", "text": "a%d',
    "pretty": b'{\n  "jsonrpc": "2.0",\n  "id": %d,\n  "result": {"content": []}\n}',
    "refused": b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "bad %d"}}',
    "batch": b'[{"jsonrpc": "2.0", "id": %d, "result": {"content": []}}]',
}
PRINTED = [b"listening", b'{"id": %d, "level": "info"}', b'{"error": "none so far, %d"}']
PRINTED += [b'got {"jsonrpc": "2.0", "id": %d', b'{"jsonrpc": "2.0", "method": "cut %d']

def show(line, number):
    sys.stdout.buffer.write(line.replace(b"%d", str(number).encode()) + b"\n")
    sys.stdout.buffer.flush()

def answer(number, result):
    sys.stdout.buffer.write(b'{"jsonrpc": "2.0", "id": %d, "result": %s}\n' % (number, result))
    sys.stdout.buffer.flush()

for line in sys.stdin:
    asked = json.loads(line)
    parameters = asked.get("params") or {}
    match asked["method"]:
        case "initialize":
            result = {
                "protocolVersion": parameters["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "odd", "version": "1"},
            }
            answer(asked["id"], json.dumps(result).encode())
        case "tools/list":
            key = os.environ["SERVICE_API_KEY"]
            schema = {"type": "object", "properties": {"how": {"default": key}}}
            tool = {"name": "odd", "description": f"Needs {key}", "inputSchema": schema}
            answer(asked["id"], json.dumps({"tools": [tool]}).encode())
        case "tools/call":
            how = parameters["arguments"]["how"]
            if how == "pid":
                found = {"content": [{"type": "text", "text": str(os.getpid())}]}
                answer(asked["id"], json.dumps(found).encode())
            while how == "endless":
                sys.stdout.buffer.write(b"x" * 100_000)
            if how == "printing":
                for line in PRINTED:
                    show(line, asked["id"])
                answer(asked["id"], ANSWERS["latin-1"])
            if how in LINES:
                show(LINES[how], asked["id"])
            if how in ANSWERS:
                answer(asked["id"], ANSWERS[how])
"""
KEY = "sk-odd-0123456789-abcdefghij"


@pytest.fixture
def open_odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Toolboxes]:
    monkeypatch.setenv("ODD_SERVICE_KEY", KEY)
    script = tmp_path / "odd.py"
    script.write_text(SERVER)

    def make() -> Toolboxes:
        provider = dd.LocalStdioMCPProvider(
            name="odd",
            command=sys.executable,
            args=[str(script)],
            env={"SERVICE_API_KEY": "ODD_SERVICE_KEY"},
        )
        # Nobody waits that long: what cannot be answered is noticed.
        config = dd.ToolConfig(tool_alias="t", providers=["odd"], timeout_sec=3600)
        return Toolboxes([config], [provider], None)

    return make


async def test_odd_answers_of_a_process_are_read_or_refused_at_once(
    open_odd: Callable[[], Toolboxes],
) -> None:
    async with open_odd() as toolboxes, asyncio.timeout(120):
        toolbox = toolboxes["t"]
        await toolbox.open()
        assert KEY not in json.dumps(toolbox.definitions)
        assert (await call(toolbox, "odd", how="surrogate")).content == "cut \ufffd here"
        assert (await call(toolbox, "odd", how="latin-1")).content == "caf\ufffd"
        new_kind = await call(toolbox, "odd", how="new kind")
        assert new_kind.content == "a\n[content of type 'video' that cannot be shown]"
        pid = (await call(toolbox, "odd", how="pid")).content
        for how in ("no object", "null"):
            assert (await call(toolbox, "odd", how=how)).outcome is ToolOutcome.UNAVAILABLE
        assert (await call(toolbox, "odd", how="pid")).content == pid  # the session is kept


async def test_lines_that_cannot_be_read_are_not_waited_for(
    open_odd: Callable[[], Toolboxes], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_odd() as toolboxes, asyncio.timeout(120):
        toolbox = toolboxes["t"]
        await toolbox.open()
        pid = (await call(toolbox, "odd", how="pid")).content
        hows = {"cut": "not valid JSON", "cut at its end": "not valid JSON", "pretty": "one line"}
        hows |= {"without id": "not valid JSON", "refused": "bad", "batch": "not a valid message"}
        for how, reason in hows.items():
            caplog.clear()
            assert (await call(toolbox, "odd", how=how)).outcome is ToolOutcome.UNAVAILABLE
            assert reason in caplog.text
        assert (await call(toolbox, "odd", how="printing")).outcome is ToolOutcome.DONE
        waiting = asyncio.create_task(call(toolbox, "odd", how="never answered"))
        cut = await call(toolbox, "odd", how="cut")  # which names the request that it answers
        assert cut.outcome is ToolOutcome.UNAVAILABLE
        assert not waiting.done()
        waiting.cancel()
        assert (await call(toolbox, "odd", how="pid")).content == pid  # the session is kept


async def test_a_process_that_formats_its_messages_is_explained() -> None:
    greeting = 'print(\'{\\n  "jsonrpc": "2.0",\\n  "id": 0,\', flush=True); input(); input()'
    provider = dd.LocalStdioMCPProvider(name="p", command=sys.executable, args=["-c", greeting])
    config = dd.ToolConfig(tool_alias="t", providers=["p"], start_timeout_sec=3600)
    async with Toolboxes([config], [provider], None) as toolboxes, asyncio.timeout(120):
        with pytest.raises(MCPToolError, match=r"cannot be used .its answer is not valid JSON"):
            await toolboxes["t"].open()


async def test_a_process_that_writes_without_end_is_stopped(
    open_odd: Callable[[], Toolboxes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(process, "MOST_MESSAGE_BYTES", 1_000_000)
    async with open_odd() as toolboxes, asyncio.timeout(120):
        toolbox = toolboxes["t"]
        await toolbox.open()
        pid = str((await call(toolbox, "odd", how="pid")).content)
        assert (await call(toolbox, "odd", how="endless")).outcome is ToolOutcome.UNAVAILABLE
        assert "it sent a message of more than 1000000 bytes" in caplog.text
        await asyncio.to_thread(wait_until, lambda: not is_running(pid))
        assert (await call(toolbox, "odd", how="pid")).outcome is ToolOutcome.DONE


@pytest.mark.parametrize("kind", ["sse", "streamable_http"])
async def test_a_message_over_http_that_is_too_large_is_not_read(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_MESSAGE_BYTES", 1_000_000)
    port = find_free_port()
    endpoint = f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}"
    provider = dd.MCPProvider(name="web", endpoint=endpoint, provider_type=kind)
    config = dd.ToolConfig(tool_alias="t", providers=["web"], timeout_sec=3600)
    with serving_tools(make_server(), kind, port):
        async with Toolboxes([config], [provider], None) as toolboxes, asyncio.timeout(120):
            toolbox = toolboxes["t"]
            await toolbox.open()
            assert (await call(toolbox, "big")).outcome is ToolOutcome.UNAVAILABLE
            assert (await call(toolbox, "echo", text="a")).content == "a"


async def test_the_parts_and_images_of_a_result_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "_MOST_PARTS", 4)
    monkeypatch.setattr(content, "_MOST_BYTES_OF_IMAGES", 2 * len(PIXEL))
    encoded = base64.b64encode(PIXEL).decode()
    image = {"type": "image", "data": encoded, "mimeType": "image/png"}
    reader = content.ContentReader(Redactor(Secrets()), 10_000)
    blocks = reader.read(content.RawResult(content=[image] * 3 + ["no part"] + [image] * 3))
    assert [block["type"] for block in blocks if isinstance(block, dict)] == [
        "image", "image", "text", "text", "text",
    ]  # fmt: skip
    text = str(blocks)
    assert "the images before it have reached the limit" in text
    assert "it has 7 parts, and only the first 4 are shown" in text


async def test_a_list_of_tools_that_never_ends_is_an_error() -> None:
    server = make_server()
    page = [
        Tool(name=name, description=text, inputSchema={})
        for name, text in (("a", "first"), ("a", "second"), ("b", ""))
    ]
    cursors = iter(["1", None])

    async def list_page(request: ListToolsRequest) -> ServerResult:
        return ServerResult(ListToolsResult(tools=page, nextCursor=next(cursors)))

    server._mcp_server.request_handlers[ListToolsRequest] = list_page
    async with open_tools(server) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        assert toolbox.names == ["a", "b"]
        assert toolbox.definitions[0]["function"]["description"] == "first"
    cursors = iter(str(number) for number in range(10_000))
    async with open_tools(server) as toolboxes:
        with pytest.raises(MCPToolError, match="tool server 's0' lists tools without end: 2 on"):
            await toolboxes["t"].open()


def refuse_calls(monkeypatch: pytest.MonkeyPatch, answers: list[httpx.Response]) -> None:
    """Answer the next calls of tools over HTTP with these responses, in place of the server."""
    original = httpx.AsyncClient.send

    async def send(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> Any:
        if not answers or b"tools/call" not in request.content:
            return await original(client, request, **options)
        answer = answers.pop(0)
        return httpx.Response(answer.status_code, headers=answer.headers, request=request)

    monkeypatch.setattr(httpx.AsyncClient, "send", send)


@asynccontextmanager
async def open_web(**fields: Any) -> AsyncGenerator[Toolbox]:
    port = find_free_port()
    endpoint = f"http://127.0.0.1:{port}/mcp"
    provider = dd.MCPProvider(name="web", endpoint=endpoint, provider_type="streamable_http")
    config = dd.ToolConfig(tool_alias="t", providers=["web"], **fields)
    with serving_tools(make_server(), "streamable_http", port):
        async with Toolboxes([config], [provider], None) as toolboxes:
            await toolboxes["t"].open()
            yield toolboxes["t"]


@pytest.mark.parametrize(("status", "header"), [(429, None), (429, "0"), (503, "0.01")])
async def test_a_server_that_is_busy_is_asked_again(
    status: int, header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(tool_server, "_LEAST_WAIT", 0.01)
    busy = httpx.Response(status, headers={} if header is None else {"retry-after": header})
    answers = [busy] * 3
    refuse_calls(monkeypatch, answers)
    async with open_web(timeout_sec=5) as toolbox:
        # It is not declared as repeatable, but a busy server has not called it.
        assert (await call(toolbox, "echo", text="a")).content == "a"
        assert not answers
        answers += [busy] * 100  # it is busy for longer than the call may wait
        assert (await call(toolbox, "echo", text="a")).outcome is ToolOutcome.UNAVAILABLE
        assert len(answers) > 80


async def test_a_call_is_repeated_in_a_new_session_if_the_server_was_restarted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, unknown_session = httpx.Response(500), httpx.Response(404)
    answers = [broken, unknown_session]
    refuse_calls(monkeypatch, answers)
    async with open_web() as toolbox:
        assert (await call(toolbox, "slow", seconds=0)).content == "done"
        answers += [unknown_session]
        assert (await call(toolbox, "echo", text="a")).content == "a"
        answers += [broken]
        result = await call(toolbox, "echo", text="a")
        assert result.outcome is ToolOutcome.UNAVAILABLE
        assert "may have taken effect" in str(result.content)
        answers += [broken] * 5
        result = await call(toolbox, "slow", seconds=0)
        assert result.outcome is ToolOutcome.UNAVAILABLE
        assert len(answers) == 3
