"""Columns that are repeated, on Prefect."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)

import dd_core.config as dd
from flows import generate_dataset
from tests.conftest import ServerFactory
from tests.datasets import model, topics

pytestmark = pytest.mark.slow


async def test_rounds_are_tasks_and_are_not_generated_twice(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(record=True)
    made = topics(model(server.url))
    prompt = "Write on {{ id }}, {{ round }}{% if previous %}: {{ previous.text }}{% endif %}"
    made.add_column(name="text", column_type="llm-text", model_alias="m", prompt=prompt)
    made.add_repeat("text", until="{{ round == 2 }}", at_most=3, rounds_column="rounds")
    given: dict[str, Any] = {
        "num_records": 6,
        "dataset_name": "repeated",
        "artifact_path": str(tmp_path),
        "run_config": dd.RunConfig(buffer_size=3, seed=1),
    }
    generate: Any = generate_dataset
    state = await generate(made.build(), return_state=True, **given)
    summary = await state.aresult()
    frame = pd.read_parquet(Path(summary.path) / "parquet-files")
    assert frame["rounds"].tolist() == [2] * 6
    assert summary.requests == 12
    async with get_client() as client:
        parent = FlowRunFilterParentFlowRunId(any_=[state.state_details.flow_run_id])
        batches = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=parent)
        )
        of_batches = FlowRunFilter(id=FlowRunFilterId(any_=[each.id for each in batches]))
        expected = {"text[0]", "text__round_1[0]", "text__round_3[1]", "write[0]", "write[1]"}
        names, deadline = set[str](), time.monotonic() + 120
        while not expected <= names:  # the server records task runs a moment later
            assert time.monotonic() < deadline, names
            await asyncio.sleep(0.2)
            tasks = await client.read_task_runs(flow_run_filter=of_batches)
            names = {task.name for task in tasks}
    assert not [name for name in names if "__repeat_" in name]

    again = await generate(made.build(), **{**given, "dataset_name": "other"})
    assert again.requests == 0, "all rounds come from the results of the first run"
