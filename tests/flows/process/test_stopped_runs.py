"""Runs that a person or the system stops keep what was paid for, and say why they ended."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import State
from prefect.flow_runs import aresume_flow_run

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core.errors import DataDesignerGenerationError
from dd_core.storage.batch import Batch
from flows import generate_dataset
from flows.approval import put_preview_first, set_approver
from flows.cli.resume import find_interrupted_runs, resume_run
from flows.session import DatasetRun
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.flows.workers import environment

pytestmark = pytest.mark.slow

_CHILD = """
import asyncio, sys
import dd_core.config as dd
from flows import generate_dataset
asyncio.run(generate_dataset(
    sys.argv[1], num_records=3000, dataset_name=sys.argv[3], artifact_path=sys.argv[2],
    run_config=dd.RunConfig(buffer_size=500),
))
"""


async def _to_be_approved(server: BenchServer, path: Path) -> State[Any]:
    return await generate_dataset(
        chain(server.url, 1).build(),
        num_records=50,
        artifact_path=str(path),
        run_config=dd.RunConfig(buffer_size=30),
        approve_after_preview=True,
        return_state=True,
    )


async def _asked(server: BenchServer, child: subprocess.Popen[str], requests: int) -> None:
    deadline = time.monotonic() + 300
    while server.stats()["requests"] < requests:
        assert child.poll() is None
        assert time.monotonic() < deadline, "the run does not get on"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_run_ends_and_repeats_only_what_was_in_flight(
    tmp_path: Path, bench_server: ServerFactory, sent: signal.Signals
) -> None:
    server = bench_server(latency=0.002, record=True)  # busy: a signal hits any code
    config, name = tmp_path / "chain.yaml", f"stopped-{sent.name.lower()}"
    chain(server.url, 2, parallel=64).write_config(config)
    command = [sys.executable, "-c", _CHILD, str(config), str(tmp_path), name]
    child = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    await _asked(server, child, 1000)
    child.send_signal(sent)
    _, noise = child.communicate(timeout=300)
    assert child.returncode != 0
    assert "never retrieved" not in noise
    assert "Exception in callback" not in noise

    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(like_=name))
        runs = await client.read_flow_runs(flow_run_filter=named)
        assert {run.state_name for run in runs} <= {"Crashed", "Cancelled", "Completed"}
        [main] = [run for run in runs if run.name == f"{name} (3000 rows)"]
        summary = await resume_run(client, main.id)

    assert summary.rows_written == 3000
    repeated = [count for _, prompt, count in server.prompts() if count > 1 and "Go on" in prompt]
    assert len(repeated) <= 64
    assert max(repeated, default=1) <= 2


async def test_a_run_of_another_flow_is_not_resumed() -> None:
    @flow
    def other() -> None:
        raise ValueError

    state = other(return_state=True)
    async with get_client() as client:
        with pytest.raises(DataDesignerGenerationError, match="of the flow 'other', not of a data"):
            await resume_run(client, state.state_details.flow_run_id)


async def test_a_run_that_times_out_ends_its_batches_and_is_resumed_whatever_its_name(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.3)
    given = {"num_records": 300, "dataset_name": "late", "artifact_path": str(tmp_path)}
    config = chain(server.url, 1, parallel=1).build()
    own = generate_dataset.with_options(name="own-name", timeout_seconds=15)
    state = await own(config, **given, return_state=True)
    assert state.name == "TimedOut"
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(like_="late["))
        batches = await client.read_flow_runs(flow_run_filter=named)
        assert [run.name for run in batches if run.state is None or not run.state.is_final()] == []
        [run] = [run for run in await find_interrupted_runs(client) if run.name.startswith("late ")]
        await asyncio.to_thread(server.settings, latency=0.0)
        assert (await resume_run(client, run.id)).rows_written == 300
        resumed = await client.read_flow_run(run.id)
        assert (resumed.flow_id, resumed.state_name) == (run.flow_id, "Completed")
        assert [run for run in await find_interrupted_runs(client) if "late" in run.name] == []


@pytest.mark.parametrize("answer", [True, False])
async def test_a_person_sees_ten_rows_before_the_rest_is_generated(
    tmp_path: Path, bench_server: ServerFactory, answer: bool
) -> None:
    server = bench_server()
    seen: list[int] = []

    async def ask(session: DatasetRun) -> bool:
        seen.append(len(session.preview))
        assert server.stats()["requests"] <= 11
        return answer

    set_approver(ask)
    state = await _to_be_approved(server, tmp_path)
    assert seen == [10]
    if answer:
        assert (await state.aresult()).rows_written == 50
    else:
        assert "the preview was declined; its rows are kept in" in str(state.message)
        with pytest.raises(DataDesignerGenerationError):
            await state.aresult()


async def test_a_run_that_nobody_approved_asks_again_when_it_is_resumed(
    tmp_path: Path, bench_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.approval._TIMEOUT_SECONDS", 1)
    monkeypatch.setattr("flows.approval._POLL_SECONDS", 0.2)
    server = bench_server(record=True)
    state = await _to_be_approved(server, tmp_path)
    assert "nobody approved the preview" in str(state.message)
    assert server.stats()["requests"] == 11
    run = state.state_details.flow_run_id
    assert run is not None
    monkeypatch.setattr("flows.approval._TIMEOUT_SECONDS", 600)
    async with get_client() as client:
        again = asyncio.create_task(resume_run(client, run))
        while (await client.read_flow_run(run)).state_name != "Paused":
            await asyncio.sleep(0.2)
            assert not again.done()
        await aresume_flow_run(run, run_input={"go_on": True})
        assert (await again).rows_written == 50
    assert max(count for _, prompt, count in server.prompts() if "Go on" in prompt) == 1


async def test_a_process_that_dies_while_it_waits_for_approval_is_found_and_resumed(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    config = tmp_path / "chain.yaml"
    chain(bench_server().url, 1).write_config(config)
    code = _CHILD.replace("run_config=", "approve_after_preview=True, run_config=")
    command = [sys.executable, "-c", code, str(config), str(tmp_path), "unanswered"]
    child = subprocess.Popen(command, env=environment())
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(like_="unanswered (3000"))
        deadline = time.monotonic() + 300
        while not (runs := await client.read_flow_runs(flow_run_filter=named)) or (
            runs[0].state_name != "Paused"
        ):
            await asyncio.sleep(0.2)
            assert time.monotonic() < deadline
        assert runs[0].id not in [run.id for run in await find_interrupted_runs(client)]
        child.kill()
        child.wait()
        assert runs[0].id in [run.id for run in await find_interrupted_runs(client)]
        set_approver(_agree)
        assert (await resume_run(client, runs[0].id)).rows_written == 3000


async def _agree(session: DatasetRun) -> bool:
    return True


def test_the_preview_is_a_batch_of_the_same_rows() -> None:
    batches = [Batch(0, 0, 30), Batch(1, 30, 20)]
    parted = put_preview_first(batches)
    assert [(b.index, b.start, b.stop) for b in parted] == [(0, 0, 10), (2, 10, 30), (1, 30, 50)]
    assert put_preview_first([Batch(0, 0, 5)]) == [Batch(0, 0, 5)]
