"""Dataset runs that a worker has started, and that people stop, suspend and approve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.flow_runs import aresume_flow_run, asuspend_flow_run
from prefect.states import Cancelling, Scheduled

from benchmarks.prefect_processes import kill_tree
from benchmarks.server import BenchServer
from dd_core.storage.directory import DatasetDirectory
from flows import generate_dataset
from flows.limits.tag_limits import make_tag, parse_limits, read_limits
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.flows.workers import deploy, start_worker

pytestmark = pytest.mark.slow

_PATIENCE = 300.0


class Worked:
    """A deployment of `generate-dataset` whose runs a worker process takes."""

    def __init__(self, client: PrefectClient, deployment: UUID, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self._deployment = deployment

    async def run(self, server: BenchServer, alias: str, rows: int, **more: Any) -> UUID:
        """Ask for a run of a chain of two columns."""
        config = self.folder / f"{alias}.yaml"
        chain(server.url, 2, alias, parallel=32).write_config(config)
        given: dict[str, Any] = {
            "config": str(config),
            "num_records": rows,
            "dataset_name": "worked",
            "artifact_path": str(self.folder),
            "run_config": {"buffer_size": 100},
            **more,
        }
        run = await self.client.create_flow_run_from_deployment(self._deployment, parameters=given)
        return run.id

    async def until(self, run: UUID, state: str) -> FlowRun:
        """The run, once it is in a state."""
        found: list[FlowRun] = []

        async def is_there() -> bool:
            found[:] = [await self.client.read_flow_run(run)]
            name = found[0].state_name
            assert name == state or name not in ("Completed", "Failed", "Crashed"), found[0].state
            return name == state

        await until(is_there)
        return found[0]

    async def batches(self, run: UUID) -> list[FlowRun]:
        """The runs of its batches."""
        parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
        return await self.client.read_flow_runs(flow_run_filter=parent)

    async def slots(self, alias: str) -> int:
        """Request slots of the alias that are held."""
        tag = make_tag(alias)
        return parse_limits(await read_limits(self.client), [tag])[tag].live


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        answer = is_so()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


@pytest.fixture
async def worked(tmp_path: Path) -> AsyncIterator[Worked]:
    async with get_client() as client:
        entrypoint = "flows.dataset.generate_dataset"
        pool, deployment = await deploy(client, generate_dataset, entrypoint)
        worker = await start_worker(pool)
        try:
            yield Worked(client, deployment, tmp_path)
        finally:
            kill_tree(worker.pid)
            await worker.wait()


async def _busy(worked: Worked, server: BenchServer, alias: str) -> UUID:
    """A run that is at work."""
    run = await worked.run(server, alias, 600)
    await until(lambda: server.stats()["requests"] > 150)
    return run


def _rows(run_folder: Path) -> pd.DataFrame:
    parts = sorted((run_folder / "parquet-files").glob("*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def _repeated(server: BenchServer) -> list[int]:
    return [count for _, prompt, count in server.prompts() if count > 1 and "Go on" in prompt]


async def _is_quiet(server: BenchServer) -> None:
    requests = server.stats()["requests"]
    await asyncio.sleep(2)
    assert server.stats()["requests"] == requests


async def test_a_suspended_run_lets_go_and_goes_on_where_it_was(
    worked: Worked, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.1, record=True)
    run = await _busy(worked, server, "suspended")
    await asuspend_flow_run(flow_run_id=run, timeout=3600)
    await until(lambda: _is_free(worked, "suspended"))
    await _is_quiet(server)
    await worked.until(run, "Suspended")
    assert {each.state_name for each in await worked.batches(run)} <= {"Suspended", "Completed"}

    await aresume_flow_run(run)
    await worked.until(run, "Completed")
    assert len(_rows(worked.folder / "worked")) == 600
    assert len(_repeated(server)) <= 32
    batches = await worked.batches(run)
    assert sorted(each.name for each in batches) == [f"worked[{index}]" for index in range(6)]
    assert {each.state_name for each in batches} == {"Completed"}


async def test_a_cancelled_run_frees_its_slots_and_can_be_resumed(
    worked: Worked, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.1, record=True)
    run = await _busy(worked, server, "cancelled")
    await worked.client.set_flow_run_state(run, Cancelling())
    await until(lambda: _is_free(worked, "cancelled"))
    await _is_quiet(server)
    await worked.until(run, "Cancelled")

    await worked.client.set_flow_run_state(run, Scheduled(), force=True)  # as `ddflows resume`
    await worked.until(run, "Completed")
    assert len(_rows(worked.folder / "worked")) == 600
    assert len(_repeated(server)) <= 32


@pytest.mark.parametrize("go_on", [True, False])
async def test_a_run_that_waits_for_approval_needs_no_process(
    worked: Worked, bench_server: ServerFactory, go_on: bool
) -> None:
    server = bench_server()
    alias = f"approved-{go_on}".lower()
    run = await worked.run(server, alias, 50, approve_after_preview=True)
    await worked.until(run, "Suspended")
    await until(lambda: _is_free(worked, alias))
    assert server.stats()["requests"] == 21  # ten rows of two columns, and the readiness check
    directory = DatasetDirectory(worked.folder / "worked")
    assert [part.rows for part in directory.parts()] == [10]

    await aresume_flow_run(run, run_input={"go_on": go_on})
    if go_on:
        await worked.until(run, "Completed")
        assert len(_rows(worked.folder / "worked")) == 50
        return
    found = await worked.until(run, "Failed")
    assert found.state is not None
    assert "the preview was declined; its rows are kept" in str(found.state.message)
    assert len(_rows(worked.folder / "worked")) == 10


async def _is_free(worked: Worked, alias: str) -> bool:
    return not await worked.slots(alias)
