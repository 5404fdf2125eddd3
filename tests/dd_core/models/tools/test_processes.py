"""Tool servers that are processes: what they are given, and that none is left over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core.errors import MCPToolError
from dd_core.models.tools.result import ToolOutcome, ToolResult
from dd_core.models.tools.toolbox import Toolbox, Toolboxes
from tests.tool_servers import wait_until

from .test_calls import call

ROOT = Path(__file__).parents[4]
KEY = "tk-7f3a9c51e2b84d60"
SCRIPT = """
import asyncio, sys
from tests.dd_core.models.tools.test_processes import hang_with_child, launch

async def main():
    async with launch() as toolboxes:
        hanging, *pids = await hang_with_child(toolboxes["t"], sys.argv[1])
        print(*pids, flush=True)
        await hanging

asyncio.run(main())
"""


def launch(
    command: str = sys.executable, args: list[str] | None = None, **fields: Any
) -> Toolboxes:
    """Toolboxes with the alias `t` of a process."""
    provider = dd.LocalStdioMCPProvider(
        name="here",
        command=command,
        args=["-m", "tests.tool_servers"] if args is None else args,
        cwd=str(ROOT),
        **fields,
    )
    config = dd.ToolConfig(tool_alias="t", providers=["here"])
    return Toolboxes([config], [provider], None)


def is_running(pid: str) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def read_parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def read_state(toolbox: Toolbox) -> dict[str, Any]:
    return json.loads(str((await call(toolbox, "say_state")).content))


@pytest.mark.slow
async def test_a_process_serves_a_run_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOOL_TEST_KEY", KEY)
    variables = {"SERVICE_API_KEY": "TOOL_TEST_KEY", "MODE": "READ_ONLY"}
    async with launch(env=variables) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        assert (await call(toolbox, "maths.add", a=1, b=2)).content == "3"
        # Its environment is what was declared, and nothing that holds keys of ours.
        assert (await call(toolbox, "say_variable", variable="MODE")).content == "READ_ONLY"
        assert (
            await call(toolbox, "say_variable", variable="TOOL_TEST_KEY")
        ).content == "(not set)"
        assert (await call(toolbox, "say_variable", variable="SERVICE_API_KEY")).content == "***"
        # What is no message is passed over.
        assert (await call(toolbox, "shout")).content == "quiet"
        assert "prints something to its standard output" in caplog.text
        assert "x" * 1000 in str((await call(toolbox, "big")).content)
        # A process that dies loses its calls, and is replaced.
        first = (await read_state(toolbox))["pid"]
        both = await asyncio.gather(call(toolbox, "meet", number=9), call(toolbox, "die"))
        assert {result.outcome for result in both} == {ToolOutcome.UNAVAILABLE}
        assert "it exited with status 3, its last lines on stderr: " in caplog.text
        assert "; goodbye" in caplog.text
        second = (await read_state(toolbox))["pid"]
        assert second != first
        # A call that only reads is repeated.
        again = await call(toolbox, "die_once", path=str(tmp_path / "died"))
        assert (again.content, again.outcome) == ("alive", ToolOutcome.DONE)
        # A process that has died while nobody called it is replaced. Whether a call that is made at
        # that moment was received cannot be known, so only one that reads is certain to be made.
        third = (await read_state(toolbox))["pid"]
        os.kill(third, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not is_running(third))
        assert (await call(toolbox, "slow", seconds=0)).content == "done"
        last = (await read_state(toolbox))["pid"]
    assert not is_running(last)


@pytest.mark.slow
async def test_several_processes_share_calls_that_block_them() -> None:
    async with launch(processes=2) as toolboxes:
        toolbox = toolboxes["t"]
        await toolbox.open()
        results = await asyncio.gather(*(call(toolbox, "block", seconds=0.1) for _ in range(4)))
        pids = {str(result.content) for result in results}
        assert len(pids) == 2
    assert not any(map(is_running, pids))


async def hang_with_child(toolbox: Toolbox, path: str) -> tuple[asyncio.Task[ToolResult], str, str]:
    """Make a server hang that ignores signals; returns the call, its process and a child of it."""
    await toolbox.open()
    pid = str((await call(toolbox, "ignore_signals")).content)
    child = str((await call(toolbox, "leave_child", seconds=3600)).content)
    hanging = asyncio.create_task(call(toolbox, "hang", path=path))
    await asyncio.to_thread(wait_until, Path(path).exists)
    return hanging, pid, child


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", ["cancel", "raise", "kill", "terminate", "interrupt", "kill parent of server"]
)
async def test_nothing_is_left_over_of_a_server_that_hangs_and_ignores_signals(
    end: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "hangs")
    if end in ("cancel", "raise", "kill parent of server"):
        pids = await leave_in_process(end, path)
    else:
        pids = await asyncio.to_thread(leave_in_child, end, path)
    await asyncio.to_thread(wait_until, lambda: not any(map(is_running, pids)))


async def leave_in_process(end: str, path: str) -> list[str]:
    """Leave the toolboxes while a call hangs; returns the processes."""
    pids: list[str] = []

    async def run() -> None:
        async with launch() as toolboxes:
            hanging, *found = await hang_with_child(toolboxes["t"], path)
            pids.extend(found)
            assert all(map(is_running, found))
            if end == "kill parent of server":
                os.kill(read_parent(read_parent(int(found[0]))), signal.SIGKILL)
            if end != "cancel":
                hanging.cancel()
                raise KeyError("expected")
            await hanging

    task = asyncio.create_task(run())
    while not pids:
        await asyncio.sleep(0.01)
    if end == "cancel":
        task.cancel()
    with suppress(KeyError, asyncio.CancelledError):
        await task
    return pids


def leave_in_child(end: str, path: str) -> list[str]:
    """Send a signal to a process that waits for a call that hangs; returns what it has started."""
    kinds = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with child:
        assert child.stdout is not None
        pids = child.stdout.readline().split()
        assert len(pids) == 2
        assert all(map(is_running, pids))
        child.send_signal(kinds[end])
    return pids


@pytest.mark.parametrize(
    ("command", "args", "reason"),
    [
        ("no-such-program", [], "status 127, .*no-such-program cannot be started: No such file"),
        (
            "sh",
            ["-c", "echo my token-7f3a9c51e2b84d60 is bad >&2; exit 5"],
            r"status 5.* my \*\*\*",
        ),
        ("true", [], "exited with status 0"),
    ],
)
async def test_the_error_says_why_a_process_did_not_start(
    command: str, args: list[str], reason: str
) -> None:
    env = {"THE_TOKEN": "token-7f3a9c51e2b84d60"}
    async with launch(command, args, env=env) as toolboxes:
        with pytest.raises(MCPToolError, match=f"tool server 'here' .*{reason}") as raised:
            await toolboxes["t"].open()
    assert "check its command, args, env and cwd" in str(raised.value)
    assert "7f3a9c51e2b84d60" not in str(raised.value)


async def test_a_folder_that_is_missing_is_named() -> None:
    provider = dd.LocalStdioMCPProvider(name="here", command="true", cwd="/no/such/folder")
    config = dd.ToolConfig(tool_alias="t", providers=["here"])
    async with Toolboxes([config], [provider], None) as toolboxes:
        with pytest.raises(MCPToolError, match="'/no/such/folder'"):
            await toolboxes["t"].open()
