"""Batches that no machine generates for now: the run says why, and goes on when one does."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun

import dd_core.config as dd
from benchmarks.prefect_processes import kill_tree
from dd_core.storage.directory import DatasetDirectory
from flows import generate_batch, generate_dataset
from flows.distributed.obstacles import explain_waiting
from flows.distributed.records import BatchRecord
from flows.distributed.worker import DATASETS
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.flows.workers import deploy, redeploy, start_worker

pytestmark = pytest.mark.slow


async def _named(client: PrefectClient, name: str) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    )


async def _says(client: PrefectClient, text: str, running: asyncio.Task[object]) -> None:
    """Wait until the state of the dataset's run contains a text."""
    deadline, message = time.monotonic() + 300, None
    while text not in str(message):
        assert not running.done(), running.result()
        assert time.monotonic() < deadline, message
        await asyncio.sleep(0.2)
        for run in await _named(client, "held up (2 rows)"):
            message = run.state and run.state.message


async def test_a_run_says_why_no_machine_takes_its_batches_and_goes_on_when_one_does(
    tmp_path: Path,
    bench_server: ServerFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("flows.distributed.deployment_runs._WAITING_NOTICE_SECONDS", 0.0)
    server = bench_server(record=True)
    async with get_client() as client:
        entrypoint = "flows.batch.generate_batch"
        pool, deployment = await deploy(client, generate_batch, entrypoint)
        running = asyncio.create_task(
            generate_dataset(
                chain(server.url, 1).build(),
                num_records=2,
                dataset_name="held up",
                artifact_path=str(tmp_path),
                run_config=dd.RunConfig(buffer_size=2, batch_tries=1),
                batches_on=f"generate-batch/{pool}",
            )
        )
        await _says(client, f"no worker is running for work pool '{pool}'", running)

        elsewhere = {DATASETS: str(tmp_path / "elsewhere")}
        wrong = await start_worker(pool, environ=elsewhere)
        try:
            await _says(client, "this worker only generates datasets below", running)
        finally:
            kill_tree(wrong.pid)
            await wrong.wait()
        refused = [run for run in await _named(client, "held up[0]") if run.state_name == "Refused"]
        messages = [str(run.state and run.state.message) for run in refused]
        assert f"{socket.gethostname()} refused it" in messages[0]

        await client.delete_deployment(deployment)
        await _says(client, f"deployment 'generate-batch/{pool}' no longer exists", running)
        await redeploy(client, generate_batch, entrypoint, pool)
        right = await start_worker(pool)
        try:
            summary = await running
        finally:
            kill_tree(right.pid)
            await right.wait()
    assert summary.rows_written == 2
    assert max(count for _, _, count in server.prompts()) == 1
    assert len(BatchRecord.all(DatasetDirectory(tmp_path / "held up"))) < 12
    logged = [record.getMessage() for record in caplog.records]
    assert [line for line in logged if "it is offered to other machines in" in line]
    assert [line for line in logged if "no worker is running for work pool" in line]


async def test_what_keeps_a_run_waiting_is_named_with_what_to_do() -> None:
    async with get_client() as client:
        pool, deployment = await deploy(client, generate_batch, "flows.batch.generate_batch")
        name = f"generate-batch/{pool}"
        said = [await explain_waiting(client, name)]
        await client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
        said.append(await explain_waiting(client, name))
        await client.delete_work_pool(pool)
        said.append(await explain_waiting(client, name))
        await client.delete_deployment(deployment)
        said.append(await explain_waiting(client, name))
    expected = [
        f"start one with `prefect worker start --pool {pool}`",
        f"resume it with `prefect work-pool resume {pool}`",
        "has no work pool; deploy it again with one",
        "no longer exists; create it again",
    ]
    assert [part for part, message in zip(expected, said, strict=True) if part not in message] == []
