"""Workflows for tests, with a scripted model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.designer.workflow.results import WorkflowResults
from tests.scripted import Body, ScriptedModel

DIAMOND = """
workflow: pairs
model_configs:
- {alias: m, model: tiny, provider: server}
stages:
- name: topics
  num_records: 7
  columns:
  - {name: topic, column_type: sampler, sampler_type: category, params: {values: [a, b, c]}}
  - name: plan
    column_type: llm-structured
    model_alias: m
    prompt: "plan {{ topic }}"
    output_format:
      {type: object, properties: {parts: {type: array, items: {type: string}}}, required: [parts]}
- name: pages
  from: topics
  steps:
  - {type: explode, column: plan.parts, into: part, position: number}
  - {type: filter, when: "{{ number < 3 }}"}
  columns:
  - {name: tone, column_type: sampler, sampler_type: uniform, params: {low: 0, high: 1}}
  - {name: page, column_type: llm-text, model_alias: m, prompt: "page {{ part }} {{ topic }}"}
- name: facts
  from: topics
  columns:
  - {name: fact, column_type: llm-text, model_alias: m, prompt: "fact {{ topic }}"}
- name: joined
  from: [pages, facts]
  steps:
  - {type: join}
  columns:
  - {name: text, column_type: llm-text, model_alias: m, prompt: "text {{ fact }}, {{ page }}"}
- name: books
  from: joined
  steps:
  - {type: collect, to: topics, columns: [text]}
  columns:
  - {name: title, column_type: expression, expr: "{{ topic }}: {{ text | length }}"}
"""
"""A stage, two stages that use its rows, a join of the two, and a collection."""

PROVIDER = dd.ModelProvider(name="server", endpoint="http://localhost:1/v1", api_key="k")


def answer(body: Body) -> Any:
    """Four parts for a plan; for everything else, the prompt."""
    prompt = prompt_of(body)
    if prompt.startswith("plan"):
        return json.dumps({"parts": [f"p{number}" for number in range(4)]})
    return f"<{prompt}>"


def prompt_of(body: Body) -> str:
    return body["messages"][-1]["content"]


def count(script: ScriptedModel) -> dict[str, int]:
    """The number of requests by the first word of their prompts."""
    return dict(Counter(prompt_of(body).split()[0] for body in script.requests))


def designer(folder: Path, script: ScriptedModel, **settings: Any) -> DataDesigner:
    given = {"seed": 1, "buffer_size": 2, **settings}
    return DataDesigner(
        folder,
        transport=script,
        run_config=dd.RunConfig.model_validate(given),
        model_providers=[PROVIDER],
    )


def run(
    folder: Path, text: str = DIAMOND, respond: Any = answer, **options: Any
) -> tuple[WorkflowResults, dict[str, int]]:
    """Run a workflow; returns its results and the requests that were sent."""
    settings = options.pop("settings", {})
    script = ScriptedModel(respond)
    results = designer(folder, script, **settings).workflow(text).run(**options)
    return results, count(script)


def statuses(results: WorkflowResults) -> dict[str, str]:
    return {name: record.status for name, record in results.manifest.stages.items()}


def rows(results: WorkflowResults, stage: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for table in results[stage].directory.tables():
        found += table.to_pylist()
    return found
