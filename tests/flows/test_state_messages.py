"""Which failures are tried again, and what the states of runs say to people."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun

import dd_core.config as dd
from dd_core.errors import DataDesignerGenerationError
from flows import generate_dataset
from flows.tasks import RETRIES, generate_column
from tests.conftest import ServerFactory
from tests.datasets import chain
from tests.refusing import refusing

pytestmark = pytest.mark.slow

_KEY: dict[str, Any] = {"message": "Incorrect API key provided.", "code": "invalid_api_key"}
_QUOTA: dict[str, Any] = {
    "message": "You exceeded your current quota",
    "code": "insufficient_quota",
}
_OPTION: dict[str, Any] = {"message": "no such option"}
_INTERNAL: dict[str, Any] = {"message": "internal error"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_column, "retry_delay_seconds", 0.1)


async def _runs(name: str) -> tuple[list[FlowRun], list[TaskRun]]:
    """The batches' flow runs of a dataset, and the tasks of its column `c0` once recorded."""
    async with get_client() as client:
        named = FlowRunFilter(name=FlowRunFilterName(like_=f"{name}["))
        batches = await client.read_flow_runs(flow_run_filter=named)
        ids = TaskRunFilterFlowRunId(any_=[run.id for run in batches])
        deadline = time.monotonic() + 120
        while True:
            tasks = await client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=ids))
            columns = [task for task in tasks if task.name.startswith("c0[")]
            ended = [task for task in columns if task.state and task.state.is_final()]
            if len(ended) == len(batches) or time.monotonic() > deadline:
                return batches, columns
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("name", "status", "error", "good", "said"),
    [
        ("key-at-start", 401, _KEY, 0, "the models are not ready: provider 'openai' at "),
        (
            "key-later",
            401,
            _KEY,
            5,
            "returned status 401: Incorrect API key provided. Check the API key",
        ),
        ("quota", 429, _QUOTA, 5, "exceeded your current quota. Add credit or use another API key"),
        ("option", 400, _OPTION, 1, "of column 'c0' failed (10 x ModelBadRequestError)"),
        ("down", 500, _INTERNAL, 0, "the models are not ready: provider 'openai' at "),
    ],
)
async def test_errors_that_stay_are_not_tried_again_and_all_states_say_what_they_are(
    tmp_path: Path, name: str, status: int, error: dict[str, Any], good: int, said: str
) -> None:
    with refusing(status, error, good=good) as url:
        state = await generate_dataset(
            chain(url, 1, parallel=1).build(),
            num_records=20,
            dataset_name=name,
            artifact_path=str(tmp_path),
            run_config=dd.RunConfig(max_request_retries=0),
            return_state=True,
        )
    assert state.is_failed()
    assert said in str(state.message)
    assert error["message"].rstrip(".") in str(state.message)
    batches, columns = await _runs(name)
    for run in [*batches, *columns]:
        assert run.state is not None
        assert run.state.is_failed()
        assert error["message"].rstrip(".") in str(run.state.message)
    assert [column.run_count for column in columns] == [1] * len(batches)
    assert bool(batches) == (good > 0)


async def test_after_the_last_try_rows_are_dropped_and_only_they_were_asked_again(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(error_rate=0.7, seed=5, record=True)
    state = await generate_dataset(
        chain(server.url, 1, skip_health_check=True).build(),
        num_records=20,
        dataset_name="dropping",
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(max_request_retries=0, disable_early_shutdown=True),
        return_state=True,
    )
    assert state.name == "Rows missing"
    summary = await state.aresult()
    assert summary.rows_written + summary.rows_dropped == 20
    assert summary.rows_dropped > 0
    counts = [count for _, _, count in server.prompts()]
    assert max(counts) == 1 + RETRIES
    assert counts.count(1 + RETRIES) >= summary.rows_dropped
    assert min(counts) == 1, "a cell that was answered was asked again"
    _, [column] = await _runs("dropping")
    assert column.run_count == 1 + RETRIES


async def test_a_run_that_used_up_its_budget_says_what_was_kept_and_how_to_go_on(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    config = chain(bench_server().url, 1, parallel=1).build()

    async def run(requests: int) -> Any:
        return await generate_dataset(
            config,
            num_records=20,
            dataset_name="thrifty",
            artifact_path=str(tmp_path),
            run_config=dd.RunConfig(budget=dd.Budget(requests=requests)),
            resume=dd.ResumeMode.IF_POSSIBLE,
            return_state=True,
        )

    state = await run(7)
    assert state.name == "Stopped early"
    for said in ("7 of 20 rows", "the budget of 7 requests is used up", "thrifty", "if_possible"):
        assert said in str(state.message)
    batches, [column] = await _runs("thrifty")
    for each in [*batches, column]:
        assert each.state is not None
        assert "the budget of 7 requests is used up" in str(each.state.message)
    assert (await (await run(20)).aresult()).rows_written == 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("columns: [{name: a, column_type: nonsense}]", "columns.a: input tag 'nonsense'"),
        ("columns: [a\n b: {", "config.yaml cannot be read"),
        (
            "seed_config: {source: {seed_type: local, path: gone.parquet}}\n"
            "columns: [{name: a, column_type: expression, expr: '1'}]",
            "gone.parquet'; check the path",
        ),
    ],
)
async def test_a_broken_configuration_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    state = await generate_dataset(
        str(tmp_path / "config.yaml"), artifact_path=str(tmp_path), return_state=True
    )
    assert state.is_failed()
    assert said in str(state.message)


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with refusing(500, _INTERNAL) as url:
        pass
    state = await generate_dataset(
        chain(url, 1).build(),
        artifact_path=str(tmp_path),
        run_config=dd.RunConfig(max_request_retries=0),
        return_state=True,
    )
    assert state.is_failed()
    assert "the models are not ready" in str(state.message)
    assert "check that the server is running at this URL" in str(state.message)


async def test_a_preview_of_batches_elsewhere_cannot_be_approved(tmp_path: Path) -> None:
    with pytest.raises(DataDesignerGenerationError, match="approve_after_preview does not work"):
        await generate_dataset(
            chain("http://unused.test", 1).build(),
            artifact_path=str(tmp_path),
            batches_on="generate-batch/workers",
            approve_after_preview=True,
        )


async def test_a_long_wait_is_said_in_the_state_of_the_run(tmp_path: Path) -> None:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    error = {"message": "Slow down.", "details": [{"@type": kind, "retryDelay": "3600s"}]}
    with refusing(429, error, good=1) as url:
        run = asyncio.ensure_future(
            generate_dataset(
                chain(url, 1, parallel=1).build(),
                num_records=3,
                dataset_name="waits",
                artifact_path=str(tmp_path),
            )
        )
        named = FlowRunFilter(name=FlowRunFilterName(like_="waits ("))
        message = None
        async with get_client() as client:
            while not message:
                assert not run.done(), run.result()
                await asyncio.sleep(0.2)
                for found in await client.read_flow_runs(flow_run_filter=named):
                    message = found.state and found.state.message
        assert "model 'm' waits until 20" in message
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
