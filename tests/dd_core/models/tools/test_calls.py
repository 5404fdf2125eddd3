"""Calls of tools: what reaches the server, and what the model is told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.fastmcp import FastMCP
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import CallToolRequest, EmptyResult, ListToolsRequest, ServerResult

import dd_core.config as dd
from dd_core.errors import (
    DuplicateToolNameError,
    InvalidConfigError,
    MCPConfigurationError,
    MCPToolError,
)
from dd_core.models.tools.result import UNKNOWN, ToolOutcome, ToolResult
from dd_core.models.tools.session import Streams
from dd_core.models.tools.toolbox import Toolbox, Toolboxes
from dd_core.models.wire.answers import ToolCall
from tests.tool_servers import PIXEL, MemoryConnection, make_server


def open_tools(*servers: FastMCP, limits: dict[str, Any] | None = None, **fields: Any) -> Toolboxes:
    """Toolboxes with one alias, `t`, of servers in this process: `s0`, `s1` and so on."""
    by_name = {f"s{number}": server for number, server in enumerate(servers)}
    providers = [
        dd.LocalStdioMCPProvider(name=name, command="none", **(limits or {})) for name in by_name
    ]
    config = dd.ToolConfig(**{"tool_alias": "t", "providers": [*by_name], **fields})
    return Toolboxes(
        [config], providers, None, lambda access: MemoryConnection(by_name[access.provider.name])
    )


async def call(toolbox: Toolbox, name: str, **arguments: Any) -> ToolResult:
    return await toolbox.call(ToolCall("1", name, json.dumps(arguments)))


async def call_raw(toolbox: Toolbox, kind: str) -> str:
    result = await call(toolbox, "raw", kind=kind)
    assert isinstance(result.content, str)
    return result.content


async def test_a_tool_is_called_and_counted() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        result = await call(toolbox, "echo", text="grüß dich")
        assert (result.content, result.outcome) == ("grüß dich", ToolOutcome.DONE)
        assert not result.is_repeatable
        assert (await call(toolbox, "slow", seconds=0)).is_repeatable
        assert (result.tool, result.size, result.was_sent) == ("echo", 11, True)
        assert 0 < result.seconds < 60


async def test_all_pages_of_tools_are_offered_under_names_that_models_accept() -> None:
    async with open_tools(make_server(more_tools=25)) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        names = [each["function"]["name"] for each in toolbox.definitions]
        assert {"extra_0", "extra_24", "maths_add"} <= {*names}
        assert len(names) == len({*names})
        for name in ("maths_add", "maths.add"):
            result = await call(toolbox, name, a=1, b=2)
            assert (result.content, result.tool) == ("3", "maths.add")
            assert toolbox.find_name(name) == "maths.add"
        assert toolbox.find_name("invented") == UNKNOWN


async def test_more_tools_than_servers_of_models_accept_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_tools(make_server(more_tools=150)) as toolboxes:
        await toolboxes["t"].open()
        count = len(toolboxes["t"].definitions)
        assert count > 150
        assert f"tool_configs.t: models are offered {count} tools, but" in caplog.text
        assert "allow_tools, or divide them" in caplog.text
    names = [f"extra_{number}" for number in range(128)]
    caplog.clear()
    async with open_tools(make_server(more_tools=150), allow_tools=names) as toolboxes:
        await toolboxes["t"].open()
        assert len(toolboxes["t"].definitions) == 128
        assert not caplog.records
        assert toolboxes.problem("t") is None
    async with open_tools(make_server(), allow_tools=[*names, "extra_128"]) as toolboxes:
        problem = toolboxes.problem("t")  # before any server is contacted
        assert problem is not None
        assert problem.level == "warning"
        assert str(problem).startswith("tool_configs.t.allow_tools: models are offered 129 tools")


async def test_definitions_do_not_refer_to_others() -> None:
    async with open_tools(make_server(), allow_tools=["measure"]) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        [definition] = toolbox.definitions
        assert definition["type"] == "function"
        function = definition["function"]
        assert function["description"] == "Add the coordinates of a point."
        assert function["parameters"]["properties"]["point"]["required"] == ["x"]
        assert "$ref" not in json.dumps(function)
        assert "$defs" not in function["parameters"]
        assert (await call(toolbox, "measure", point={"x": 1, "y": 2})).content == "3"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("[1]", "must be a JSON object, not an array"),
        ("null", "not the value null"),
        ("{", "not valid JSON"),
        ('{"text": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", '"text" is a required property'),
        ('{"text": 5}', "at 'text': 5 is not of type"),
    ],
)
async def test_the_model_is_told_what_is_wrong_with_its_arguments(
    arguments: str, reason: str
) -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        result = await toolbox.call(ToolCall("1", "echo", arguments))
        assert result.outcome is ToolOutcome.BAD_ARGUMENTS
        assert reason in str(result.content)
        assert "call the tool again" in str(result.content)
        assert json.loads(str((await call(toolbox, "say_state")).content))["calls"] == 0
        assert (result.tool, result.was_sent) == ("echo", False)


async def test_no_arguments_and_half_characters_are_no_problem() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        done = await toolbox.call(ToolCall("1", "say_state", ""))
        assert done.outcome is ToolOutcome.DONE
        done = await toolbox.call(ToolCall("1", "echo", '{"text": "a\\ud800b"}'))
        assert done.content == "a\ufffdb"


async def test_only_allowed_tools_are_called() -> None:
    async with open_tools(make_server(), allow_tools=["echo"]) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        result = await call(toolbox, "fail")
        assert result.outcome is ToolOutcome.NOT_ALLOWED
        assert (
            result.content == "You may not call the tool 'fail'. Call one of these, or none: echo."
        )
        result = await call(toolbox, "invented" * 100)
        assert result.outcome is ToolOutcome.UNKNOWN
        assert "There is no tool 'invented" in str(result.content)
        assert len(str(result.content)) < 300
        assert (result.tool, result.was_sent) == (UNKNOWN, False)


async def test_the_model_learns_of_errors_and_timeouts() -> None:
    server = make_server()
    configs = [
        dd.ToolConfig(tool_alias="hasty", providers=["s"], timeout_sec=0.1),
        dd.ToolConfig(tool_alias="patient", providers=["s"]),
    ]
    provider = dd.LocalStdioMCPProvider(name="s", command="none")
    async with Toolboxes(configs, [provider], None, lambda _: MemoryConnection(server)) as tools:
        hasty, patient = tools["hasty"], tools["patient"]
        await hasty.open()
        await patient.open()
        result = await call(patient, "fail")
        assert result.outcome is ToolOutcome.ERROR
        assert "kaput" in str(result.content)
        result = await call(hasty, "slow", seconds=3600)
        assert result.outcome is ToolOutcome.TIMEOUT
        assert "within 0.1 s" in str(result.content)
        state: dict[str, Any] = {}
        while not state.get("cancelled"):  # the server was told
            state = json.loads(str((await call(patient, "say_state")).content))
        assert state["running"] == 0


async def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        task = asyncio.create_task(call(toolbox, "slow", seconds=3600))
        state: dict[str, Any] = {}
        while not state.get("running"):
            state = json.loads(str((await call(toolbox, "say_state")).content))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not state["cancelled"]:
            state = json.loads(str((await call(toolbox, "say_state")).content))
        assert toolboxes.servers.get("s0", "").limit.in_flight == 0


async def test_calls_run_side_by_side_up_to_the_limit() -> None:
    async with open_tools(make_server(), limits={"max_parallel_calls": 3}) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        results = await asyncio.gather(*(call(toolbox, "meet", number=3) for _ in range(9)))
        assert {result.content for result in results} == {"met"}
        assert json.loads(str((await call(toolbox, "say_state")).content))["most"] == 3
        toolboxes.servers.get("s0", "").limit.maximum = 5
        await asyncio.gather(*(call(toolbox, "meet", number=5) for _ in range(9)))
        assert json.loads(str((await call(toolbox, "say_state")).content))["most"] == 5


async def test_content_of_all_kinds_is_readable() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        source = {
            "type": "base64",
            "media_type": "image/png",
            "data": base64.b64encode(PIXEL).decode(),
        }
        assert (await call(toolbox, "image")).content == [
            {"type": "text", "text": "before"},
            {"type": "image", "source": source},
            {"type": "text", "text": "after"},
        ]
        assert await call_raw(toolbox, "nothing") == ""
        assert await call_raw(toolbox, "structured") == '{"a": 1}'
        assert await call_raw(toolbox, "resource") == "the content"
        assert await call_raw(toolbox, "link") == "[resource test://thing: thing]"
        assert (
            await call_raw(toolbox, "audio") == "[audio that cannot be shown: audio/wav, 5 bytes]"
        )
        assert "application/zip, 5 bytes" in await call_raw(toolbox, "blob")
        assert "it is not base64 text" in await call_raw(toolbox, "bad image")
        assert "image/bmp is not PNG" in await call_raw(toolbox, "bitmap")
        assert "not complete" in await call_raw(toolbox, "cut image")


async def test_a_long_result_is_cut_off_with_a_note() -> None:
    async with open_tools(make_server(), max_result_bytes=1000) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        content = str((await call(toolbox, "big")).content)
        assert content.startswith(
            "x" * 1000 + "\n[The result is cut off here: it has 5000000 bytes"
        )
        whole = "é" * 500
        assert (await call(toolbox, "echo", text=whole)).content == whole
        cut = str((await call(toolbox, "echo", text=whole + "é")).content)
        assert cut.startswith(whole + "\n[The result is cut off")


async def test_a_server_that_wants_a_model_is_refused() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        assert (await call(toolbox, "ask_back")).content == "refused: Sampling not supported"


async def test_new_tools_are_offered_after_the_server_has_said_so() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        before = len(toolbox.definitions)
        assert (await call(toolbox, "late", text="a")).outcome is ToolOutcome.UNKNOWN
        assert (await call(toolbox, "add_tool")).content == "added"
        await toolbox.open()
        assert len(toolbox.definitions) == before + 1
        assert (await call(toolbox, "late", text="a")).content == "a"


async def test_names_that_do_not_match_the_servers_are_reported() -> None:
    async with open_tools(make_server(), allow_tools=["echo", "ech"]) as toolboxes:
        with pytest.raises(MCPConfigurationError, match="contains 'ech', which no tool server of"):
            await toolboxes["t"].open()
    async with open_tools(make_server(), make_server()) as toolboxes:
        with pytest.raises(DuplicateToolNameError, match=r"'echo' \('s0' and 's1'\)"):
            await toolboxes["t"].open()
    async with open_tools(make_server(), providers=["s0", "other"]) as toolboxes:
        problem = toolboxes.problem("t")
        assert problem is not None
        assert problem.where == "tool_configs.t.providers"
        with pytest.raises(MCPConfigurationError, match=r"unknown tool server 'other'.*\('s0'\)"):
            await toolboxes["t"].open()
    twice = [dd.LocalStdioMCPProvider(name="s", command="none")] * 2
    with pytest.raises(InvalidConfigError, match="two tool servers have the name 's'"):
        Toolboxes([], twice, None)


async def test_many_callers_list_the_tools_once_and_unused_servers_are_not_contacted() -> None:
    opened: list[str] = []
    server = make_server()

    def connect(access: Any) -> MemoryConnection:
        opened.append(access.provider.name)
        return MemoryConnection(server)

    providers = [dd.LocalStdioMCPProvider(name=name, command="none") for name in ("a", "b")]
    configs = [dd.ToolConfig(tool_alias=name, providers=[name]) for name in ("a", "b")]
    async with Toolboxes(configs, providers, None, connect) as toolboxes:
        assert [*toolboxes] == ["a", "b"]
        impatient = asyncio.create_task(toolboxes["a"].open())
        others = [asyncio.create_task(toolboxes["a"].open()) for _ in range(5)]
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(*others)
        assert opened == ["a"]
        assert toolboxes.servers.get("a", "").version == 1


class SilentConnection(MemoryConnection):
    """A connection on which nobody answers."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Streams]:
        async with create_client_server_memory_streams() as (streams, _):
            yield streams


async def test_a_server_that_says_nothing_does_not_hold_up_the_run() -> None:
    provider = dd.LocalStdioMCPProvider(name="s", command="none")
    config = dd.ToolConfig(tool_alias="t", providers=["s"], start_timeout_sec=0.2)
    server = make_server()
    async with Toolboxes([config], [provider], None, lambda _: SilentConnection(server)) as tools:
        with pytest.raises(MCPToolError, match=r"tool server 's' .*within 0\.2 s"):
            await tools["t"].open()


async def test_an_answer_of_the_wrong_form_is_no_reason_to_fail() -> None:
    server = make_server()

    async def answer_nonsense(request: Any) -> Any:
        return ServerResult(EmptyResult.model_validate({"tools": 5, "content": 5}))

    async with open_tools(server) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        server._mcp_server.request_handlers[CallToolRequest] = answer_nonsense
        result = await call(toolbox, "echo", text="a")
        assert result.outcome is ToolOutcome.ERROR
        assert "returned no valid result" in str(result.content)
    server._mcp_server.request_handlers[ListToolsRequest] = answer_nonsense
    async with open_tools(server) as toolboxes:
        with pytest.raises(MCPToolError, match="tool server 's0' did not list its tools"):
            await toolboxes["t"].open()


async def test_nothing_is_opened_after_the_end() -> None:
    async with open_tools(make_server()) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
    result = await call(toolbox, "echo", text="a")
    assert result.outcome is ToolOutcome.UNAVAILABLE
