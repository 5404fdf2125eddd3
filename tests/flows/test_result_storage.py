"""Datasets do not depend on Prefect's result storage: it may move, vanish, or be a bucket."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.filesystems import RemoteFileSystem
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core import DataDesigner
from dd_core.storage.directory import DatasetDirectory
from flows import generate_dataset
from flows.cli.resume import find_interrupted_runs, resume_run
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.object_storage import s3_server

pytestmark = pytest.mark.slow

_PARALLEL = 8


@pytest.fixture
def bucket() -> Iterator[str]:
    """The block of a bucket for results."""
    with s3_server() as address:
        client = {"endpoint_url": address, "region_name": "us-east-1"}
        settings = {"key": "test", "secret": "test", "client_kwargs": client}
        block = RemoteFileSystem(basepath="s3://datasets/results", settings=settings)
        block.save("results-in-bucket", overwrite=True)
        yield "remote-file-system/results-in-bucket"


def _given(server: BenchServer, folder: Path, rows: int) -> dict[str, Any]:
    return {
        "config": chain(server.url, 1, parallel=_PARALLEL).build(),
        "num_records": rows,
        "dataset_name": "moved",
        "artifact_path": str(folder / "artifacts"),
        "run_config": dd.RunConfig(buffer_size=10, max_concurrent_row_groups=1, seed=41),
        "resume": dd.ResumeMode.IF_POSSIBLE,
    }


async def _interrupt(given: dict[str, Any]) -> None:
    """Start a run, and cancel it when its first batch is finished."""
    running = asyncio.create_task(generate_dataset(**given))
    dataset = DatasetDirectory.place(given["artifact_path"], "moved")
    while not [*dataset.path.glob("parquet-files/*.parquet")]:
        await asyncio.sleep(0.05)
        assert not running.done(), running.result()
    await asyncio.sleep(0.5)  # the next batch is generated
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _asked(server: BenchServer) -> list[int]:
    return [count for _, prompt, count in server.prompts() if "Go on" in prompt]


async def test_the_result_storage_may_change_between_the_attempts_of_a_run(
    tmp_path: Path, bench_server: ServerFactory, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = bench_server(latency=0.3, record=True)
    given = _given(server, tmp_path, 30)
    monkeypatch.chdir(tmp_path)
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: "results"}):  # relative
        await _interrupt(given)
    assert [*(tmp_path / "results").iterdir()]
    shutil.rmtree(tmp_path / "results")
    await asyncio.to_thread(server.settings, latency=0.0)

    async with get_client() as client:
        [run] = [
            each
            for each in await find_interrupted_runs(client)
            if each.parameters["artifact_path"] == given["artifact_path"]
        ]
        with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: bucket}):
            assert (await resume_run(client, run.id)).rows_written == 30
            assert len(_asked(server)) == 30
            assert sum(_asked(server)) <= 30 + _PARALLEL, "only what was in flight is repeated"

            longer = await generate_dataset(**given | {"num_records": 40})
            assert (longer.rows_written, longer.requests) == (40, 10)

    # The same values in another dataset, by an option of the flow instead of the setting
    block: Any = await RemoteFileSystem.aload(bucket.rpartition("/")[2])
    from_bucket = generate_dataset.with_options(result_storage=block)
    same = await from_bucket(**given | {"num_records": 30, "dataset_name": "other"})
    assert same.rows_written == 30
    assert same.requests <= 10, "the first batch was stored in the folder that is gone"
    rows = [
        DataDesigner(tmp_path / "artifacts").open(name).load_dataset()
        for name in ("moved", "other")
    ]
    assert [*rows[0]["id"][:30]] == [*rows[1]["id"]]
