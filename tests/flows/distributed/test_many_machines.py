"""Batches as runs of a deployment. Most tests make the runs themselves, as a worker would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Crashed, Pending, Running, Scheduled
from s3fs import S3FileSystem

import dd_core.config as dd
from benchmarks.prefect_processes import kill_tree
from dd_core.errors import (
    ArtifactStorageError,
    BatchLostError,
    DataDesignerGenerationError,
    InvalidConfigError,
)
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.journal import list_segments
from flows import RunSummary, generate_batch, generate_dataset
from flows.blocks.types import DatasetStorage
from flows.distributed.deployment_runs import cancel_batches
from flows.distributed.records import AttemptState, BatchRecord
from flows.distributed.worker import DATASETS
from tests.conftest import ServerFactory
from tests.datasets import chain, model, topics
from tests.flows.workers import deploy, start_worker
from tests.object_storage import s3_server

pytestmark = pytest.mark.slow

Take = Callable[[FlowRun], Any]


class Deployed:
    """A deployment of `generate-batch`, and a stand-in for the workers of its pool."""

    def __init__(self, client: PrefectClient, pool: str, deployment_id: Any) -> None:
        self.client = client
        self.pool = pool
        self.name = f"generate-batch/{pool}"
        self._id = deployment_id

    async def runs(self) -> list[FlowRun]:
        """All runs so far, oldest first."""
        chosen = DeploymentFilter(id=DeploymentFilterId(any_=[self._id]))
        runs = await self.client.read_flow_runs(deployment_filter=chosen)
        return sorted(runs, key=lambda run: run.created)  # type: ignore[arg-type,return-value]

    @asynccontextmanager
    async def worker(self, take: Take | None = None) -> AsyncIterator[None]:
        """Make each run as it is asked for, or do with it what `take` does."""
        working = asyncio.create_task(self._work(take or _generate))
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self, take: Take) -> None:
        taken: set[Any] = set()
        while True:
            for run in await self.runs():
                if run.id not in taken and run.state is not None and run.state.is_scheduled():
                    taken.add(run.id)
                    await take(run)
            await asyncio.sleep(0.1)


async def _generate(run: FlowRun) -> None:
    await run_flow(generate_batch, flow_run=run, parameters=run.parameters, return_type="state")


@pytest.fixture
async def deployed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployed]:
    monkeypatch.setattr("flows.distributed.coordinator._POLL_SECONDS", 0.1)
    monkeypatch.setattr("flows.distributed.attempt._MAX_PAUSE_SECONDS", 0.1)
    async with get_client() as client:
        pool, deployment_id = await deploy(client, generate_batch, "flows.batch.generate_batch")
        yield Deployed(client, pool, deployment_id)


async def _run(config: dd.DataDesignerConfig, path: Path, rows: int, **more: Any) -> RunSummary:
    settings = {"buffer_size": 5, "seed": 3, **more.pop("run_config", {})}
    given = {"dataset_name": "far", "artifact_path": str(path), **more}
    return await generate_dataset(
        config, num_records=rows, run_config=dd.RunConfig.model_validate(settings), **given
    )


def _rows(path: str | Path) -> pd.DataFrame:
    parts = sorted((Path(path) / "parquet-files").glob("*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def _started(dataset: Path) -> int:
    """Batches whose processes have begun."""
    records = BatchRecord.all(DatasetDirectory(dataset)) if dataset.exists() else []
    return len({record.index for record in records if record.owner})


def _kept(dataset: Path) -> int:
    """Answers that are in the journals or, three in each row, in the parts."""
    journals = [path for path, _, _ in list_segments(dataset / "journal")]
    lines = sum(len(path.read_text().splitlines()) for path in journals)
    return lines + 3 * (len(_rows(dataset)) if [*dataset.glob("parquet-files/*.parquet")] else 0)


def _warm(config: dd.DataDesignerConfig) -> dd.DataDesignerConfig:
    """A configuration of which no other test has stored columns."""
    [only] = config.model_configs or []
    parameters = dd.ChatCompletionInferenceParams(temperature=0.9)
    return config.model_copy(
        update={"model_configs": [only.model_copy(update={"inference_parameters": parameters})]}
    )


async def test_rows_are_the_same_here_and_there_and_the_figures_come_back(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    config = _warm(chain(bench_server(record=True).url, 2).build())
    async with deployed.worker():
        there = await _run(config, tmp_path / "there", 10, batches_on=deployed.name)
    here = await _run(config, tmp_path / "here", 10)
    assert (there.rows_written, there.requests, there.rows_dropped) == (10, 20, 0)
    assert there.output_tokens > 0
    assert here.requests == 0  # the columns were in the result storage
    pd.testing.assert_frame_equal(_rows(there.path), _rows(here.path))
    metadata = DatasetDirectory(Path(there.path)).metadata
    [usage] = metadata.usage.values()
    assert {column: count["requests"] for column, count in usage.items()} == {"c0": 10, "c1": 10}
    assert metadata.num_completed_batches == 2
    assert {"c0", "c1"} <= metadata.times.keys()
    assert sorted(run.name for run in await deployed.runs()) == ["far[0]", "far[1]"]


async def test_batches_elsewhere_find_a_bucket_by_the_block_that_holds_its_keys(
    tmp_path: Path,
    bench_server: ServerFactory,
    deployed: Deployed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = _warm(chain(bench_server().url, 2).build())
    with s3_server() as address:
        options = {
            "key": "test",
            "secret": "marker-of-the-bucket",
            "client_kwargs": {"endpoint_url": address, "region_name": "us-east-1"},
        }
        await DatasetStorage(url="s3://datasets/far", options=options).asave("far-bucket")
        monkeypatch.setenv(DATASETS, "block:far-bucket")
        async with deployed.worker():
            summary = await _run(
                config,
                tmp_path,
                10,
                artifact_path="block:far-bucket",
                batches_on=deployed.name,
                run_config={"seed": 31},
            )
        assert (summary.rows_written, summary.requests) == (10, 20)
        files = S3FileSystem(**options).glob("datasets/far/far/parquet-files/*.parquet")
        assert len(files) == 2
        [first, _] = await deployed.runs()
        assert first.parameters["folder"] == "block:far-bucket//far"
        assert "marker" not in first.model_dump_json()

        monkeypatch.setenv(DATASETS, "block:far-bucket//others")
        async with deployed.worker():
            with pytest.raises(BatchLostError, match=r"3 attempts; .* only generates datasets"):
                await _run(
                    config,
                    tmp_path,
                    10,
                    artifact_path="block:far-bucket",
                    batches_on=deployed.name,
                    dataset_name="elsewhere",
                    run_config={"batch_tries": 1},
                )


async def test_a_run_that_crashed_is_made_again_a_few_times(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    config = topics(model("http://unused.test")).build()
    fates = {0: Crashed(message="out of memory"), 1: Cancelled()}

    async def take(run: FlowRun) -> None:
        if run.parameters["attempt"] == 2:
            await _generate(run)
        else:
            fate = fates[run.parameters["index"]]
            await deployed.client.set_flow_run_state(run.id, fate, force=True)

    async with deployed.worker(take):
        summary = await _run(config, tmp_path, 10, batches_on=deployed.name)
    assert summary.rows_written == 10
    runs = await deployed.runs()
    assert all({"data-designer-batch", "far"} <= {*run.tags} for run in runs)
    tries = [(run.name, "try 2" in run.tags) for run in runs]
    assert sorted(tries) == [
        ("far[0]", False),
        ("far[0]", True),
        ("far[1]", False),
        ("far[1]", True),
    ]

    async def crash(run: FlowRun) -> None:
        dataset = DatasetDirectory(tmp_path / "never" / "far")
        record = BatchRecord.read(dataset, 0, run.parameters["attempt"])
        assert record is not None
        record.model_copy(update={"owner": "a process"}).write(dataset)
        fate = Crashed(message="no space left")
        await deployed.client.set_flow_run_state(run.id, fate, force=True)

    with pytest.raises(BatchLostError, match=r"batch 0 .* 3 attempts; .* Crashed: no space left"):
        async with deployed.worker(crash):
            await _run(config, tmp_path / "never", 5, batches_on=deployed.name)


async def test_runs_that_have_fallen_silent_are_made_again_and_are_no_failures(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    async def take(run: FlowRun) -> None:
        if run.parameters["attempt"] < 3:  # as if its process and its worker had been killed
            await deployed.client.set_flow_run_state(run.id, Pending())
            await deployed.client.set_flow_run_state(run.id, Running())
        else:
            await _generate(run)

    async with deployed.worker(take):
        summary = await _run(
            topics(model("http://unused.test")).build(),
            tmp_path,
            5,
            batches_on=deployed.name,
            run_config={"batch_silence": 1.0, "batch_tries": 1},
        )
    assert summary.rows_written == 5
    states = [run.state for run in await deployed.runs() if run.state is not None]
    assert [state.name for state in states] == ["Crashed", "Crashed", "Completed"]
    assert "no heartbeat for 1 s" in str(states[0].message)
    assert "no heartbeat for 2 s" in str(states[1].message)


async def test_a_run_of_the_dataset_that_is_made_again_takes_over_what_is_at_work(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    config = chain(bench_server().url, 1).build()
    given: dict[str, Any] = {
        "config": config,
        "num_records": 10,
        "dataset_name": "taken over",
        "artifact_path": str(tmp_path),
        "run_config": dd.RunConfig(buffer_size=5, seed=22),
        "batches_on": deployed.name,
    }
    running = asyncio.create_task(generate_dataset(**given))
    while len(await deployed.runs()) < 2:
        await asyncio.sleep(0.1)
    first, *_ = await deployed.runs()
    await _generate(first)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    named = FlowRunFilter(name=FlowRunFilterName(any_=["taken over (10 rows)"]))
    [flow_run] = await deployed.client.read_flow_runs(flow_run_filter=named)
    await deployed.client.set_flow_run_state(flow_run.id, Scheduled(), force=True)
    flow_run = await deployed.client.read_flow_run(flow_run.id)
    async with deployed.worker():
        summary = await run_flow(generate_dataset, flow_run=flow_run, parameters=given)
    assert summary.rows_written == 10
    assert len(await deployed.runs()) == 2
    assert _rows(summary.path)["id"].is_unique
    # Either attempt of the dataset's run may have counted the batch that was at work.
    [usage] = DatasetDirectory(tmp_path / "taken over").metadata.usage.values()
    assert usage["c0"]["requests"] == 10


async def test_a_budget_holds_over_all_batches_and_a_higher_one_goes_on(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    server = bench_server()
    config = chain(server.url, 1).build()
    async with deployed.worker():
        cut = await _run(
            config,
            tmp_path,
            10,
            batches_on=deployed.name,
            run_config={"seed": 21, "budget": {"requests": 6}},
        )
        assert server.stats()["requests"] <= 6
        assert 4 <= cut.rows_written <= 6
        whole = await _run(
            config,
            tmp_path,
            10,
            batches_on=deployed.name,
            resume="always",
            run_config={"seed": 21, "budget": {"requests": 20}},
        )
    assert whole.rows_written == 10
    assert server.stats()["requests"] == 10
    [usage] = DatasetDirectory(Path(whole.path)).metadata.usage.values()
    assert usage["c0"]["requests"] == 10


async def test_what_stops_one_batch_for_good_stops_the_others(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    builder = topics(model("http://unused.test"))
    builder.add_column(name="n", column_type="expression", expr="{{ topic }}", dtype="int")

    async def take(run: FlowRun) -> None:
        if run.parameters["index"] == 0:
            await _generate(run)

    with pytest.raises(DataDesignerGenerationError, match=r"of column 'n' failed"):
        async with deployed.worker(take):
            await _run(
                builder.build(),
                tmp_path,
                80,
                batches_on=deployed.name,
                run_config={"buffer_size": 20, "max_concurrent_row_groups": 3},
            )
    states = {run.name: run.state.name for run in await deployed.runs() if run.state}
    assert states == {"far[0]": "Failed", "far[1]": "Cancelled", "far[2]": "Cancelled"}


async def test_cancelling_the_datasets_run_cancels_its_batches(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    config = topics(model("http://unused.test")).build()
    running = asyncio.create_task(_run(config, tmp_path, 10, batches_on=deployed.name))
    while len(await deployed.runs()) < 2:
        await asyncio.sleep(0.1)
    at_work, waiting = await deployed.runs()
    await deployed.client.set_flow_run_state(at_work.id, Pending())
    await deployed.client.set_flow_run_state(at_work.id, Running())
    record = BatchRecord.read(DatasetDirectory(tmp_path / "far"), 0, 1)
    assert record is not None
    parent = await deployed.client.read_flow_run(record.run)  # type: ignore[arg-type]
    assert parent.state is not None
    await cancel_batches(generate_dataset, parent, parent.state)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    states = {run.id: run.state.name for run in await deployed.runs() if run.state}
    assert states == {at_work.id: "Cancelling", waiting.id: "Cancelled"}


async def test_a_batch_by_itself_says_what_is_wrong_with_its_parameters(
    tmp_path: Path,
    bench_server: ServerFactory,
    deployed: Deployed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def batch(folder: str, **more: Any) -> Any:
        given = {"dataset": "d", "index": 0, "start": 0, "size": 5, "folder": folder, **more}
        return await generate_batch(**given)

    with pytest.raises(DataDesignerGenerationError, match="generate_batch runs inside"):
        await batch("")
    with pytest.raises(ArtifactStorageError, match="not an absolute path"):
        await batch("datasets/d")
    with pytest.raises(ArtifactStorageError, match=r"the storage .* is mounted at the same path"):
        await batch(str(tmp_path / "nowhere"))
    with pytest.raises(ArtifactStorageError, match=r"no readable batches/run\.json"):
        await batch(str(tmp_path))
    monkeypatch.setenv(DATASETS, str(tmp_path / "allowed"))
    with pytest.raises(ArtifactStorageError, match="only generates datasets below"):
        await batch(str(tmp_path / "allowed" / ".." / "elsewhere"))
    monkeypatch.delenv(DATASETS)

    async with deployed.worker():
        config = topics(model("http://unused.test")).build()
        summary = await _run(config, tmp_path, 5, batches_on=deployed.name)
    with pytest.raises(ArtifactStorageError, match="rows 5 to 9 are not in the dataset"):
        await batch(summary.path, index=1, start=5)
    again = await batch(summary.path, attempt=2)
    assert again.rows == 5
    changed = Path(summary.path) / "builder_config.json"
    changed.write_text(changed.read_text().replace("chess", "cheese"))
    with pytest.raises(InvalidConfigError, match="this machine computes a different plan"):
        await batch(summary.path, attempt=3)
    record = BatchRecord.read(DatasetDirectory(Path(summary.path)), 0, 3)
    assert record is not None and record.remote_error is not None
    assert (record.state, record.remote_error.kind) == (AttemptState.REFUSED, "BatchRefusedError")


async def test_a_deployment_that_is_none_is_named_before_anything_is_begun(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    config = topics(model("http://unused.test")).build()
    for name, complaint in [("workers", "such as"), ("generate-batch/none", "prefect deploy")]:
        with pytest.raises(DataDesignerGenerationError, match=complaint):
            await _run(config, tmp_path, 5, batches_on=name)
    assert not [*tmp_path.iterdir()]


async def test_a_worker_that_is_killed_with_its_batches_costs_no_row_and_no_answer(
    tmp_path: Path, bench_server: ServerFactory, deployed: Deployed
) -> None:
    server = bench_server(latency=0.5, record=True)
    config = chain(server.url, 3, parallel=40).build()

    first = await start_worker(deployed.pool, "--limit", "2")
    running = asyncio.create_task(
        _run(
            config,
            tmp_path,
            20,
            batches_on=deployed.name,
            run_config={"seed": 23, "buffer_size": 10, "batch_silence": 4.0},
        )
    )
    while _started(tmp_path / "far") < 2 or _kept(tmp_path / "far") < 10:
        await asyncio.sleep(0.1)
        assert not running.done()
    kill_tree(first.pid)
    await first.wait()
    asked = len([prompt for _, prompt, _ in server.prompts() if "Go on" in prompt])
    kept = _kept(tmp_path / "far")
    second = await start_worker(deployed.pool, "--limit", "2")
    summary = await running
    second.terminate()
    await second.wait()
    assert summary.rows_written == 20
    frame = _rows(summary.path)
    assert len(frame) == 20
    assert frame["id"].is_unique
    repeated = [count for _, prompt, count in server.prompts() if count > 1 and "Go on" in prompt]
    assert len(repeated) <= asked - kept
    assert max(repeated, default=1) <= 2
