"""A flow that resumes a dataset generates lost parts again, whichever run had written them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from prefect import get_client

import dd_core.config as dd
from dd_core import DataDesigner
from flows import generate_dataset
from flows.cli.resume import find_interrupted_runs, resume_run
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.flows.workers import start_flow

pytestmark = pytest.mark.slow

_CHILD = """
import asyncio, sys
import dd_core.config as dd
from flows import generate_dataset
asyncio.run(generate_dataset(
    sys.argv[1], num_records=60, dataset_name="damaged", artifact_path=sys.argv[2],
    run_config=dd.RunConfig(buffer_size=20, max_concurrent_row_groups=1),
))
"""


async def test_a_later_run_generates_lost_parts_again(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    parameters = {
        "config": chain(server.url, 1).build(),
        "num_records": 30,
        "dataset_name": "later",
        "artifact_path": str(tmp_path),
        "run_config": dd.RunConfig(buffer_size=10),
        "resume": "if_possible",
    }
    await generate_dataset(**parameters)  # pyright: ignore
    expected = DataDesigner(tmp_path).open("later").load_dataset()
    part = tmp_path / "later" / "parquet-files" / "batch_00001.parquet"
    part.write_bytes(part.read_bytes()[:500])
    summary = await generate_dataset(**parameters)  # pyright: ignore
    assert summary.rows_in_dataset == 30
    assert [path.name for path in tmp_path.iterdir()] == ["later"]
    found = DataDesigner(tmp_path).open("later")
    assert found.load_dataset().equals(expected), "the answers come from Prefect's results"
    assert found.verify().is_intact


async def test_a_run_that_is_resumed_generates_its_own_lost_parts_again(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.1, record=True)
    config = tmp_path / "chain.yaml"
    chain(server.url, 2, parallel=4).write_config(config)
    child = start_flow(_CHILD, str(config), str(tmp_path))
    deadline = time.monotonic() + 300
    part = tmp_path / "damaged" / "parquet-files" / "batch_00000.parquet"
    while not part.exists() or server.stats()["requests"] < 50:  # the second batch has begun
        assert child.poll() is None
        assert time.monotonic() < deadline, "the run does not get on"
        await asyncio.sleep(0.05)
    child.kill()
    child.wait()
    part.unlink()

    async with get_client() as client:
        [flow_run] = [
            run for run in await find_interrupted_runs(client) if run.name == "damaged (60 rows)"
        ]
        summary = await resume_run(client, flow_run.id)
    assert (summary.rows_written, summary.rows_in_dataset) == (60, 60)
    results = DataDesigner(tmp_path).open("damaged")
    assert results.load_dataset()["id"].is_unique
    assert results.verify().is_intact
    assert not list((tmp_path / "damaged").glob("journal/*"))
