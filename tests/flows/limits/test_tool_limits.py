"""Limits of tools: one for each alias in Prefect, shared by all runs, if somebody creates it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from mcp.server.fastmcp import FastMCP
from prefect import get_client
from prefect.client.orchestration import PrefectClient

import dd_core.config as dd
from flows import RunSummary, generate_dataset
from flows.cli.main import cli
from flows.limits.tag_limits import make_tool_tag, parse_alias, parse_limits, read_limits, set_limit
from tests.flows.limits.test_request_slots import _until, tagged_with
from tests.serving import find_free_port
from tests.tool_calling import asking_with_tools, serve_tool_caller
from tests.tool_servers import serving_tools


def test_people_write_the_prefix_only_for_tools() -> None:
    assert parse_alias("writer") == parse_alias("model:writer") == "model:writer"
    assert parse_alias("tool:a/b") == make_tool_tag("a/b") == "tool:a-b"


class Load:
    """What a tool server sees."""

    def __init__(self, port: int) -> None:
        self.running = 0
        self.most = 0
        self.calls = 0
        self.seconds = 0.1
        self.server = FastMCP("load", port=port, log_level="WARNING")
        self.server.tool()(self.look_up)
        self.provider = dd.MCPProvider(
            name="load",
            endpoint=f"http://127.0.0.1:{port}/mcp",
            provider_type="streamable_http",
            max_parallel_calls=100,
        )

    async def look_up(self, text: str) -> str:
        """Look up a text."""
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.seconds)
        self.running -= 1
        return f"all about {text}"


@pytest.fixture
async def client() -> AsyncIterator[PrefectClient]:
    async with get_client() as connected:
        yield connected


async def _run(
    url: str, alias: str, load: Load, path: Path, rows: int, name: str = "tools"
) -> RunSummary:
    config = asking_with_tools(url, alias, "load", max_parallel_requests=8)
    config = config.model_copy(
        update={"model_configs": [each.changed(alias=alias) for each in config.model_configs or ()]}
    )
    columns = [
        each.changed(model_alias=alias) if each.get_model_aliases() else each
        for each in config.columns
    ]
    summary: RunSummary = await generate_dataset(
        config.model_copy(update={"columns": columns}),
        num_records=rows,
        dataset_name=name,
        artifact_path=str(path),
        mcp_providers=[load.provider],
    )
    assert summary.rows_written == rows
    return summary


async def _live(client: PrefectClient, tag: str) -> int:
    return parse_limits(await read_limits(client), [tag])[tag].live


@pytest.mark.slow
async def test_two_runs_stay_within_a_limit(tmp_path: Path, client: PrefectClient) -> None:
    alias, load = f"t{uuid4().hex[:8]}", Load(find_free_port())
    tag = make_tool_tag(alias)
    await set_limit(client, tag, 3)
    with (
        serving_tools(load.server, "streamable_http", load.server.settings.port),
        serve_tool_caller("look_up", "text") as url,
    ):
        await asyncio.gather(
            _run(url, alias, load, tmp_path, 20, "a"), _run(url, alias, load, tmp_path, 20, "b")
        )
    assert (load.calls, load.most) == (40, 3)
    assert await _live(client, tag) == 0


@pytest.mark.slow
async def test_a_limit_that_is_created_during_a_run_pauses_it(
    tmp_path: Path, client: PrefectClient
) -> None:
    alias, load = f"t{uuid4().hex[:8]}", Load(find_free_port())
    tag = make_tool_tag(alias)

    async def is_said(words: str) -> bool:
        [run] = await client.read_flow_runs(flow_run_filter=tagged_with(tag))
        return run.state is not None and words in (run.state.message or "")

    async def reaches(most: int) -> bool:
        assert not running.done(), "it ended before"
        return load.most >= most

    async def is_idle() -> bool:
        return load.running == 0

    with (
        serving_tools(load.server, "streamable_http", load.server.settings.port),
        serve_tool_caller("look_up", "text") as url,
    ):
        running = asyncio.create_task(_run(url, alias, load, tmp_path, 800))
        await _until(lambda: reaches(5))
        await set_limit(client, tag, 0)
        await _until(lambda: is_said(f"waiting for slots of {tag} (limit 0)"))
        await _until(is_idle)
        assert not running.done()
        load.most, load.seconds = 0, 0.0
        await set_limit(client, tag, 2)
        await running
    assert load.most <= 2
    assert await _live(client, tag) == 0


@pytest.mark.slow
async def test_a_limit_that_is_deleted_no_longer_restricts(
    tmp_path: Path, client: PrefectClient
) -> None:
    alias, load = f"t{uuid4().hex[:8]}", Load(find_free_port())
    tag = make_tool_tag(alias)
    await set_limit(client, tag, 1)

    async def reaches(most: int) -> bool:
        assert not running.done(), "it ended before"
        return load.most >= most

    with (
        serving_tools(load.server, "streamable_http", load.server.settings.port),
        serve_tool_caller("look_up", "text") as url,
    ):
        running = asyncio.create_task(_run(url, alias, load, tmp_path, 1000))
        await _until(lambda: reaches(1))
        assert load.most == 1
        await client.delete_concurrency_limit_by_tag(tag)
        await _until(lambda: reaches(4))
        load.seconds = 0.0
        await running
    assert tag not in {each.tag for each in await read_limits(client)}


@pytest.mark.slow
async def test_the_command_line_shows_and_sets_limits_of_tools(client: PrefectClient) -> None:
    alias = f"tool:{uuid4().hex[:8]}"

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["limits", *arguments], terminal_width=200)
        return done.exit_code, done.output

    code, output = await asyncio.to_thread(call, "set", alias, "5")
    assert code == 0
    assert alias in output
    limits = parse_limits(await read_limits(client), [alias])
    assert limits[alias].limit == 5
    code, output = await asyncio.to_thread(call, "set", alias, "5", "--per-minute", "60")
    assert code == 2
    assert "calls_per_minute" in output
