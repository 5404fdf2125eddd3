"""A flow run that is killed and run again goes on where it was."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pandas as pd
import pytest
from prefect import get_client

from dd_core.errors import DataDesignerGenerationError
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
    sys.argv[1], num_records=300, dataset_name="killed", artifact_path=sys.argv[2],
    run_config=dd.RunConfig(buffer_size=100),
))
"""


async def test_a_killed_flow_run_that_is_run_again_repeats_only_what_was_in_flight(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.05, record=True)
    config = tmp_path / "chain.yaml"
    chain(server.url, 2, parallel=16).write_config(config)
    child = start_flow(_CHILD, str(config), str(tmp_path))
    deadline = time.monotonic() + 300
    while server.stats()["requests"] < 250:
        assert child.poll() is None
        assert time.monotonic() < deadline, "the run does not get on"
        await asyncio.sleep(0.05)
    child.kill()
    child.wait()

    async with get_client() as client:
        [flow_run] = [
            run for run in await find_interrupted_runs(client) if run.name == "killed (300 rows)"
        ]
        summary = await resume_run(client, flow_run.id)
        with pytest.raises(DataDesignerGenerationError, match="is complete"):
            await resume_run(client, flow_run.id)

    assert summary.rows_written == 300
    repeated = [count for _, prompt, count in server.prompts() if count > 1 and "Go on" in prompt]
    assert len(repeated) <= 16 + 16 * 4
    assert max(repeated, default=1) <= 2
    parts = sorted((tmp_path / "killed" / "parquet-files").glob("*.parquet"))
    frame = pd.concat([pd.read_parquet(part) for part in parts])
    assert len(frame) == 300
    assert frame["id"].is_unique
    assert [path.name for path in tmp_path.glob("killed*")] == ["killed"]
