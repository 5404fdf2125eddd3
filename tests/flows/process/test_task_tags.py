"""Task runs of columns have the tags of their models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterTags
from prefect.client.schemas.objects import TaskRun

from flows import generate_dataset
from tests.conftest import ServerFactory
from tests.datasets import chain

pytestmark = pytest.mark.slow


async def _tagged(alias: str, wanted: Callable[[list[TaskRun]], bool]) -> list[TaskRun]:
    """The task runs with the tag of a model, once the server has recorded the wanted ones."""
    tagged = TaskRunFilter(tags=TaskRunFilterTags(all_=[f"model:{alias}"]))
    deadline = time.monotonic() + 120
    async with get_client() as client:
        while True:
            found = await client.read_task_runs(task_run_filter=tagged)
            if wanted(found) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)


async def test_a_finished_column_has_the_tag_of_its_model(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    await generate_dataset(
        chain(bench_server().url, 1, alias="finished").build(),
        num_records=2,
        artifact_path=str(tmp_path),
    )
    (column,) = await _tagged("finished", lambda found: len(found) == 1)
    assert column.name == "c0[0]"
    assert column.state is not None and column.state.is_completed()


async def test_a_column_that_takes_long_has_the_tag_while_it_runs(
    tmp_path: Path, bench_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.process.task_tags._DELAY_SECONDS", 0.1)
    server = bench_server(latency=20.0)
    run = asyncio.create_task(
        generate_dataset(
            chain(server.url, 1, alias="running").build(),
            num_records=2,
            artifact_path=str(tmp_path),
        )
    )
    try:
        (column,) = await _tagged("running", lambda found: len(found) == 1)
        assert column.name == "c0[0]"
        assert column.state is not None and column.state.is_running()
        assert not run.done()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
