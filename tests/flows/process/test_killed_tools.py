"""A flow run with tools is killed and resumed: no row is lost, and no tool server is left over."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from dd_core.storage.directory import DatasetDirectory
from flows.cli.resume import find_interrupted_runs, resume_run
from tests.flows.workers import start_flow
from tests.tool_calling import asking_with_tools, serve_tool_caller

pytestmark = pytest.mark.slow

_ROWS = 400
_SERVER = """
import asyncio, os, sys
from mcp.server.fastmcp import FastMCP
from mcp.types import ToolAnnotations

with open(os.environ["PIDS"], "a") as pids:
    print(os.getpid(), file=pids)
calls = open(os.environ["CALLS"], "a", buffering=1)
server = FastMCP("killed")

@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def look_up(text: str) -> str:
    print(text, file=calls)
    await asyncio.sleep(0.05)
    return f"all about {text}"

server.run("stdio")
"""
_CHILD = """
import asyncio, json, sys
import dd_core.config as dd
from flows import generate_dataset
asyncio.run(generate_dataset(
    sys.argv[1], num_records=int(sys.argv[3]), dataset_name="killed-tools",
    artifact_path=sys.argv[2], run_config=dd.RunConfig(buffer_size=100),
    mcp_providers=[json.loads(sys.argv[4])],
))
"""


async def _until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.05)


def _read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_run_with_tools_continues_after_its_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, pids, calls = (tmp_path / name for name in ("server.py", "pids", "calls"))
    script.write_text(_SERVER)
    monkeypatch.setenv("TOOLS_CALLS", str(calls))
    provider = {
        "provider_type": "stdio",
        "name": "killed",
        "command": sys.executable,
        "args": [str(script)],
        # One variable is a reference, which a resumed run has to resolve again.
        "env": {"PIDS": str(pids), "CALLS": "${TOOLS_CALLS}"},
    }
    with serve_tool_caller("look_up", "text") as url:
        config = tmp_path / "tools.yaml"
        asked = asking_with_tools(url, "killed", "killed", max_parallel_requests=16)
        config.write_text(json.dumps(asked.to_dict()))
        arguments = (str(config), str(tmp_path), str(_ROWS), json.dumps(provider))
        child = start_flow(_CHILD, *arguments)
        await _until(lambda: child.poll() is not None or len(_read_lines(calls)) >= 150)
        assert child.poll() is None, "the run ended before it was killed"
        child.kill()
        child.wait()
        [first] = _read_lines(pids)
        await _until(lambda: not _is_alive(first))
        before = len(_read_lines(calls))
        assert before < _ROWS

        async with get_client() as client:
            [flow_run] = [
                run
                for run in await find_interrupted_runs(client)
                if run.name == f"killed-tools ({_ROWS} rows)"
            ]
            summary = await resume_run(client, flow_run.id)
            shown = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["killed-tools-summary"]))
            )

    assert summary.rows_written == _ROWS
    await _until(lambda: not any(map(_is_alive, _read_lines(pids))))
    counts = Counter(_read_lines(calls))
    assert len(counts) == _ROWS
    assert max(counts.values()) <= 2
    # Only calls in flight, and those whose turn had not reached the journal, are repeated.
    assert len(_read_lines(calls)) - _ROWS < before - 30
    directory = DatasetDirectory.place(str(tmp_path), "killed-tools")
    frame = pd.concat([pd.read_parquet(str(path)) for path in directory.files()])
    assert len(frame) == _ROWS
    assert frame["id"].is_unique
    assert all(frame["text"] == "I found: all about On " + frame["id"])
    page = str(shown[0].data)
    assert "| column | tool | calls | errors | refused | seconds |" in page
    assert "| text | look\\_up |" in page
    assert "in flight | tools | retries" in page
    usage = directory.metadata.usage["m"]["text"]
    assert usage["tool/look_up/calls"] >= _ROWS - before
