"""Workflows as flow runs: a subflow per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

import dd_core.config as dd
from dd_core import DataDesigner
from flows import generate_workflow
from tests.conftest import ServerFactory

WORKFLOW = """
workflow: flow-test
model_configs:
- {alias: m, model: tiny, provider: server}
stages:
- name: first
  num_records: 6
  review: REVIEW
  columns:
  - {name: a, column_type: llm-text, model_alias: m, prompt: "a {{ row_address }}"}
- name: second
  from: first
  steps: [{type: filter, when: "{{ row_address | int < 4 }}"}]
  columns:
  - {name: tone, column_type: sampler, sampler_type: uniform, params: {low: 0, high: 1}}
  - {name: b, column_type: llm-text, model_alias: m, prompt: "b {{ a }}"}
"""


def load(review: str = "false") -> dd.WorkflowConfig:
    return dd.load_workflow(WORKFLOW.replace("REVIEW", review))


@pytest.mark.slow
async def test_a_flow_run_has_the_rows_of_the_library(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.01)
    providers = [dd.ModelProvider(name="server", endpoint=server.url)]
    settings = dd.RunConfig(seed=5, buffer_size=2)
    flow: Any = generate_workflow

    async def generate() -> Any:
        return await flow(
            load(),
            artifact_path=str(tmp_path / "flow"),
            run_config=settings,
            model_providers=providers,
        )

    summary = await generate()
    rows = {name: (stage.status, stage.rows) for name, stage in summary.stages.items()}
    assert rows == {"first": ("completed", 6), "second": ("completed", 4)}
    assert summary.stages["second"].left_out == {"1. filter": {"the condition is false": 2}}
    designer = DataDesigner(tmp_path / "library", model_providers=providers, run_config=settings)
    expected = await designer.workflow(load()).arun()
    made = DataDesigner(tmp_path / "flow" / "flow-test" / "second").open(
        Path(summary.stages["second"].path).name
    )
    assert made.load_dataset().equals(expected.load_dataset())
    again = await generate()
    assert {stage.status for stage in again.stages.values()} == {"unchanged"}
    async with get_client() as client:
        runs = {run.name: run.tags for run in await client.read_flow_runs()}
    assert {"flow-test: first", "flow-test: second"} <= runs.keys()
    assert "model:m" in runs["flow-test: first"]
    assert "model:m" not in runs["flow-test-first[0]"], "tasks would wait for its slots"


@pytest.mark.slow
async def test_a_run_whose_rows_have_to_be_reviewed_ends(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server(latency=0.01)
    providers = [dd.ModelProvider(name="server", endpoint=server.url)]
    flow: Any = generate_workflow
    given: dict[str, Any] = {
        "artifact_path": str(tmp_path),
        "run_config": dd.RunConfig(seed=5),
        "model_providers": providers,
    }
    state = await flow(load("true"), **given, return_state=True)
    assert (state.name, state.is_completed()) == ("Waiting for review", True)
    designer = DataDesigner(tmp_path, model_providers=providers)
    designer.workflow(load("true")).import_review("first", by="ann", rest="accept")
    summary = await flow(load("true"), **given)
    assert summary.stages["second"].rows == 4
