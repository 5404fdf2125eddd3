"""What Prefect's own controls do to the dataset runs of a worker."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
    FlowRun,
    State,
    StateType,
)
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Cancelling, Crashed

from benchmarks.prefect_processes import kill_tree
from benchmarks.server import BenchServer
from dd_core import DataDesigner
from flows import generate_dataset
from flows.cli.resume import find_interrupted_runs, resume_run
from tests.conftest import ServerFactory
from tests.flows.distributed.test_worker_runs import Worked, until
from tests.flows.workers import deploy, environment, redeploy

pytestmark = pytest.mark.slow


class Pool:
    """A work pool with a deployment of `generate-dataset`, and its only worker."""

    def __init__(self) -> None:
        self.name, self.deployment = asyncio.run(self._create())
        self._worker: subprocess.Popen[bytes] | None = None

    async def _create(self) -> tuple[str, UUID]:
        async with get_client() as client:
            return await deploy(client, generate_dataset, "flows.dataset.generate_dataset")

    def start(self) -> None:
        """Start the worker unless it is running."""
        if self._worker is None:
            command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process"]
            self._worker = subprocess.Popen([*command, "--pool", self.name], env=environment())

    def stop(self, sent: signal.Signals) -> None:
        """Send a signal to the worker, not to its runs, and wait until it has ended."""
        assert self._worker is not None
        self._worker.send_signal(sent)
        self._worker.wait(timeout=120)
        self._worker = None

    def kill(self) -> None:
        """Kill the worker with its runs."""
        if self._worker is not None:
            kill_tree(self._worker.pid)
            self._worker.wait()


@pytest.fixture(scope="module")
def pool(prefect_server: None) -> Iterator[Pool]:
    """One worker for all tests here."""
    pool = Pool()
    yield pool
    pool.kill()


@pytest.fixture
async def worked(pool: Pool, tmp_path: Path) -> AsyncIterator[Worked]:
    pool.start()
    async with get_client() as client:
        yield Worked(client, pool.deployment, tmp_path)


def _asked_again(server: BenchServer) -> list[int]:
    """How often each prompt was sent that was sent more than once."""
    return [count for _, prompt, count in server.prompts() if count > 1 and "Go on" in prompt]


async def _retry(client: PrefectClient, run: UUID) -> None:
    """What the Retry button of the UI does."""
    state = State(type=StateType.SCHEDULED, name="AwaitingRetry", message="Retry from the UI")
    result = await client.set_flow_run_state(run, state)
    assert result.status == SetStateStatus.ACCEPT, result.details


async def _running_batch(worked: Worked, run: UUID, index: int) -> FlowRun:
    """The flow run of a batch, once it is running."""
    found: list[FlowRun] = []

    async def is_running() -> bool:
        batches = await worked.batches(run)
        found[:] = [each for each in batches if each.name == f"worked[{index}]"]
        return bool(found) and found[0].state_name == "Running"

    await until(is_running)
    return found[0]


def _ids(worked: Worked) -> set[str]:
    """The ids of the rows; as many as there are rows, if none is lost or doubled."""
    dataset = DataDesigner(worked.folder).open("worked").load_dataset()
    assert dataset["id"].is_unique
    return {*dataset["id"]}


async def _asks(server: BenchServer, more: int) -> None:
    """Wait until the model has received some more requests."""
    before = server.stats()["requests"]
    await until(lambda: server.stats()["requests"] >= before + more)


async def _latest_states(worked: Worked, run: UUID) -> dict[str, str | None]:
    """The state of the latest flow run of each batch; all of its flow runs have ended."""
    batches = await worked.batches(run)
    assert all(each.state is not None and each.state.is_final() for each in batches)
    latest = sorted(batches, key=lambda each: str(each.expected_start_time))
    return {each.name: each.state_name for each in latest}


async def test_runs_of_a_worker_that_is_stopped_are_resumed_and_retried(
    pool: Pool, worked: Worked, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=1.0, record=True)
    run = await worked.run(server, "worker-stopped", 200)
    for sent in (signal.SIGTERM, signal.SIGINT):
        await _asks(server, 80)
        await asyncio.to_thread(pool.stop, sent)
        interrupted = [each.id for each in await find_interrupted_runs(worked.client)]
        assert run in interrupted, "Prefect shows it as running, but its process has ended"
        if sent == signal.SIGTERM:
            assert await resume_run(worked.client, run) is None
        else:
            await worked.client.set_flow_run_state(run, Crashed(), force=True)
            await _retry(worked.client, run)
        pool.start()
    await worked.until(run, "Completed")
    assert await _latest_states(worked, run) == {f"worked[{n}]": "Completed" for n in range(2)}
    assert len(_ids(worked)) == 200
    # Twice, the requests in flight and the answers of the last second.
    assert len(_asked_again(server)) <= 2 * (32 + 32)
    assert await worked.slots("worker-stopped") == 0


async def test_a_batch_that_is_cancelled_ends_and_retry_continues_it(
    worked: Worked, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=1.0, record=True)
    settings = {"buffer_size": 100, "max_concurrent_row_groups": 3}
    run = await worked.run(server, "one-cancelled", 400, run_config=settings)
    second = await _running_batch(worked, run, 1)
    await worked.client.set_flow_run_state(second.id, Cancelling())
    failed = await worked.until(run, "Failed")
    said = str(failed.state and failed.state.message)
    assert "batches were cancelled: 1. The other batches are finished: 300 rows are kept" in said
    assert f"ddflows resume {run}" in said
    states = {each.name: each.state_name for each in await worked.batches(run)}
    assert states == {"worked[1]": "Cancelled"} | {f"worked[{n}]": "Completed" for n in (0, 2, 3)}
    assert await worked.slots("one-cancelled") == 0
    assert server.stats()["requests"] < 800

    await _retry(worked.client, run)
    await _asks(server, 60)
    await worked.client.set_flow_run_state(run, Cancelling())
    await worked.until(run, "Cancelled")
    assert {each.state_name for each in await worked.batches(run)} == {"Cancelled", "Completed"}

    await _retry(worked.client, run)
    await worked.until(run, "Completed")
    assert await _latest_states(worked, run) == {f"worked[{n}]": "Completed" for n in range(4)}
    assert len(_ids(worked)) == 400
    assert len(_asked_again(server)) <= 2 * 32


async def _deploy_nights(
    pool: Pool, worked: Worked, strategy: ConcurrencyLimitStrategy
) -> tuple[UUID, Worked]:
    """A deployment that runs one night at a time."""
    deployment = await redeploy(
        worked.client,
        generate_dataset,
        "flows.dataset.generate_dataset",
        pool.name,
        name=f"nights-{strategy.value}",
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=strategy),
    )
    return deployment, Worked(worked.client, deployment, worked.folder)


async def _free_slots(client: PrefectClient, deployment: UUID) -> int:
    limit = (await client.read_deployment(deployment)).global_concurrency_limit
    assert limit is not None
    return limit.limit - limit.active_slots


async def test_nights_that_overlap_follow_one_another_or_are_cancelled(
    pool: Pool, worked: Worked, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.3, record=True)
    gates = {"gates": {"min_rows": 8}}
    days = [f"2026-11-0{day}" for day in range(1, 3)]

    queued, nights = await _deploy_nights(pool, worked, ConcurrencyLimitStrategy.ENQUEUE)
    backfill = [
        await nights.run(server, "queued", 8, version=day, run_config=gates) for day in days
    ]
    for run in backfill:
        await nights.until(run, "Completed")
    versions = worked.folder / "worked" / "versions"
    assert sorted(path.name for path in versions.iterdir()) == days

    cancelling, others = await _deploy_nights(pool, worked, ConcurrencyLimitStrategy.CANCEL_NEW)
    first = await others.run(server, "queued", 8, version="2026-11-04", run_config=gates)
    await others.until(first, "Running")
    second = await others.run(server, "queued", 8, version="2026-11-05", run_config=gates)
    await others.until(second, "Cancelled")
    await others.until(first, "Completed")

    opened = [DataDesigner(worked.folder).open("worked", day) for day in [*days, "2026-11-04"]]
    assert [each.count_records() for each in opened] == [8] * 3
    assert all(each.directory.accepted for each in opened)
    latest = DataDesigner(worked.folder).open("worked")
    assert latest.directory.version == "2026-11-04"
    assert len({row for each in opened for row in each.load_dataset()["id"]}) == 24
    assert _asked_again(server) == []
    assert [await _free_slots(worked.client, each) for each in (queued, cancelling)] == [1, 1]
    assert await worked.slots("queued") == 0
