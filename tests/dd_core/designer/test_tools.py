"""Datasets whose models call tools of a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import BudgetExhaustedError, DataDesignerGenerationError
from tests.dd_core.models.tools.test_turns import calling
from tests.scripted import Body, ScriptedModel, asking, builder, refusal
from tests.serving import find_free_port
from tests.tool_servers import make_server, serving_tools


@pytest.fixture(scope="module")
def provider() -> Iterator[dd.MCPProvider]:
    port = find_free_port()
    with serving_tools(make_server(port=port), "streamable-http", port):
        address = f"http://127.0.0.1:{port}/mcp"
        yield dd.MCPProvider(name="p", endpoint=address, provider_type="streamable_http")


def with_tools(made: dd.DataDesignerConfigBuilder, **fields: Any) -> dd.DataDesignerConfigBuilder:
    return made.add_tool_config(dd.ToolConfig(tool_alias="t", providers=["p"], **fields))


def asking_with_tools(**fields: Any) -> dd.DataDesignerConfigBuilder:
    made = builder(max_parallel_requests=4).add_column(
        name="text",
        column_type="llm-text",
        model_alias="m",
        prompt="On {{ topic }}.",
        tool_alias="t",
        with_trace="all_messages",
        extract_reasoning_content=True,
    )
    return with_tools(made, **fields)


def results_in(body: Body) -> list[str]:
    return [each["content"] for each in body["messages"] if each["role"] == "tool"]


def look_twice(body: Body) -> Any:
    """Call a tool that only reads, twice in a row, then answer with its results."""
    found = results_in(body)
    return calling(("slow", {"seconds": 0})) if len(found) < 2 else f"seen: {found}"


def tool_calls(usage: Any) -> float:
    return usage["m"]["text"]["tool_calls"]


def test_rows_traces_and_usage(tmp_path: Path, provider: dd.MCPProvider) -> None:
    designer = DataDesigner(tmp_path, transport=ScriptedModel(look_twice), mcp_providers=[provider])
    made = asking_with_tools()
    designer.check_models(made)
    results = designer.create(made, num_records=5, dataset_name="d")
    assert results.load_dataset()["text"].tolist() == ["seen: ['done', 'done']"] * 5
    part = next((tmp_path / "d").rglob("*.parquet"))
    trace = pq.read_table(part)["text__trace"].to_pylist()[0]
    assert [message["role"] for message in trace] == [
        "user", "assistant", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    (call,) = trace[1]["tool_calls"]
    assert call["function"] == {"name": "slow", "arguments": '{"seconds": 0}'}
    assert trace[2]["tool_call_id"] == call["id"]
    used = results.usage["m"]["text"]
    assert (used["tool_turns"], used["tool_calls"], used["tool/slow/calls"]) == (10, 10, 10)


def test_a_structured_answer_comes_after_the_tools_and_is_corrected(
    tmp_path: Path, provider: dd.MCPProvider
) -> None:
    def script(body: Body) -> Any:
        assert "response_format" not in body
        roles = [message["role"] for message in body["messages"]]
        if "tool" not in roles:
            return calling(("maths_add", {"a": 2, "b": 3}))
        if roles[-1] == "tool":
            return {"total": "not a number"}
        return {"total": int(results_in(body)[0])}

    made = builder().add_column(
        name="sum",
        column_type="llm-structured",
        model_alias="m",
        prompt="Add for {{ topic }}.",
        output_format={
            "type": "object",
            "properties": {"total": {"type": "integer"}},
            "required": ["total"],
        },
        tool_alias="t",
    )
    settings = dd.RunConfig(max_conversation_correction_steps=1)
    designer = DataDesigner(
        tmp_path,
        run_config=settings,
        transport=(transport := ScriptedModel(script)),
        mcp_providers=[provider],
    )
    results = designer.preview(with_tools(made), num_records=2)
    assert [row["total"] for row in results.dataset["sum"]] == [5, 5]
    assert len(transport.requests) == 2 * 3


def test_custom_columns_use_tools_by_alias(tmp_path: Path, provider: dd.MCPProvider) -> None:
    seen: list[Any] = []

    @dd.custom_column_generator(required_columns=["topic"], model_aliases=["m"])
    async def ask(row: dict[str, Any], generator_params: None, models: Any) -> dict[str, Any]:
        value, messages = await models["m"].agenerate("Look.", tool_alias="t")
        seen.extend(messages)
        return {**row, "text": value}

    made = builder().add_column(name="text", column_type="custom", generator_function=ask)
    designer = DataDesigner(tmp_path, transport=ScriptedModel(look_twice), mcp_providers=[provider])
    results = designer.preview(with_tools(made), num_records=1)
    assert results.dataset["text"].tolist() == ["seen: ['done', 'done']"]
    assert [message.role for message in seen][:3] == ["user", "assistant", "tool"]
    assert seen[1].tool_calls[0]["function"]["name"] == "slow"
    assert seen[2].tool_call_id == seen[1].tool_calls[0]["id"]


def test_an_alias_that_nobody_declares_is_named_by_a_custom_column(tmp_path: Path) -> None:
    @dd.custom_column_generator(required_columns=["topic"], model_aliases=["m"])
    async def ask(row: dict[str, Any], generator_params: None, models: Any) -> dict[str, Any]:
        value, _ = await models["m"].agenerate("Look.", tool_alias="web")
        return {**row, "text": value}

    made = builder().add_column(name="text", column_type="custom", generator_function=ask)
    designer = DataDesigner(tmp_path, transport=ScriptedModel("x"), mcp_providers=[])
    with pytest.raises(DataDesignerGenerationError, match="no tool configuration has the alias"):
        designer.preview(made, num_records=1)


def test_a_resumed_cell_continues_after_turns_that_may_be_repeated(
    tmp_path: Path, provider: dd.MCPProvider
) -> None:
    def create(requests: int | None) -> Any:
        budget = dd.Budget(requests=requests) if requests else None
        settings = dd.RunConfig(seed=1, budget=budget)
        designer = DataDesigner(
            tmp_path, run_config=settings, transport=script, mcp_providers=[provider]
        )
        return designer.create(
            asking_with_tools(), num_records=1, dataset_name="d", resume="if_possible"
        )

    script = ScriptedModel(look_twice)
    with pytest.raises(BudgetExhaustedError):
        create(requests=2)
    assert [len(results_in(body)) for body in script.requests] == [0, 1]
    script = ScriptedModel(look_twice)
    results = create(requests=None)
    assert [len(results_in(body)) for body in script.requests] == [2]
    assert results.load_dataset()["text"].tolist() == ["seen: ['done', 'done']"]


def test_a_resumed_cell_begins_again_if_a_tool_may_have_changed_something(
    tmp_path: Path, provider: dd.MCPProvider
) -> None:
    def change(body: Body) -> Any:
        found = results_in(body)
        if len(found) == 2:
            return f"seen: {found}"
        # The first tool only reads. Nobody says that of the second one.
        return calling([("slow", {"seconds": 0}), ("echo", {"text": "x"})][len(found)])

    def create(requests: int | None) -> Any:
        budget = dd.Budget(requests=requests) if requests else None
        designer = DataDesigner(
            tmp_path,
            run_config=dd.RunConfig(seed=1, budget=budget),
            transport=script,
            mcp_providers=[provider],
        )
        return designer.create(
            asking_with_tools(), num_records=1, dataset_name="d", resume="if_possible"
        )

    script = ScriptedModel(change)
    with pytest.raises(BudgetExhaustedError):
        create(requests=2)
    script = ScriptedModel(change)
    results = create(requests=None)
    assert [len(results_in(body)) for body in script.requests] == [0, 1, 2]
    assert results.load_dataset()["text"].tolist() == ["seen: ['done', 'x']"]


def test_an_estimate_contains_the_calls_of_tools(provider: dd.MCPProvider) -> None:
    limited = provider.changed(calls_per_minute=600)
    designer = DataDesigner(transport=ScriptedModel(look_twice), mcp_providers=[limited])
    found = designer.estimate(asking_with_tools(), num_records=1000, probe_rows=2)
    [tool] = found.tools
    assert (tool.name, tool.calls) == ("slow", 2000)
    assert tool.seconds == pytest.approx(200)
    assert found.seconds >= 200


def test_a_cell_that_is_retried_repeats_no_call(tmp_path: Path, provider: dd.MCPProvider) -> None:
    failures = iter([refusal(503)])

    def script(body: Body) -> Any:
        found = results_in(body)
        if not found:
            return calling(("echo", {"text": "once"}))
        return next(failures, None) or f"seen: {found}"

    settings = dd.RunConfig(max_request_retries=0)
    designer = DataDesigner(
        tmp_path, run_config=settings, transport=ScriptedModel(script), mcp_providers=[provider]
    )
    results = designer.create(asking_with_tools(), num_records=1, dataset_name="d")
    assert results.load_dataset()["text"].tolist() == ["seen: ['once']"]
    assert tool_calls(results.usage) == 1


def look_once(body: Body) -> Any:
    found = results_in(body)
    return f"seen: {found}" if found else calling(("slow", {"seconds": 0}))


def test_the_budget_of_tool_calls_ends_the_run_and_a_larger_one_continues_it(
    tmp_path: Path, provider: dd.MCPProvider
) -> None:
    def create(calls: int) -> Any:
        settings = dd.RunConfig(seed=1, budget=dd.Budget(tool_calls=calls))
        designer = DataDesigner(
            tmp_path,
            run_config=settings,
            transport=ScriptedModel(look_once, latency=0.01),
            mcp_providers=[provider],
        )
        return designer.create(
            asking_with_tools(), num_records=20, dataset_name="d", resume="if_possible"
        )

    first = create(calls=7)
    assert first.count_records() == tool_calls(first.usage) == 7
    second = create(calls=20)
    assert second.count_records() == 20
    total = json.loads((tmp_path / "d" / "metadata.json").read_text())["usage"]
    assert tool_calls(total) == 20


def test_rows_that_call_without_end_are_dropped_with_the_reason(
    tmp_path: Path, provider: dd.MCPProvider
) -> None:
    def script(body: Body) -> Any:
        return calling(("slow", {"seconds": 0}))

    designer = DataDesigner(tmp_path, transport=ScriptedModel(script), mcp_providers=[provider])
    made = asking_with_tools(max_tool_call_turns=1)
    with pytest.raises(DataDesignerGenerationError, match="raise max_tool_call_turns"):
        designer.preview(made, num_records=1)


def test_a_server_that_is_not_there_ends_the_run_before_anything_is_spent(tmp_path: Path) -> None:
    away = dd.MCPProvider(name="p", endpoint="http://127.0.0.1:9/mcp")
    script = ScriptedModel("x", probes=True)
    designer = DataDesigner(tmp_path, transport=script, mcp_providers=[away])
    for act in (designer.check_models, designer.preview):
        with pytest.raises(Exception, match="tool server 'p'"):
            act(asking_with_tools())
    assert script.requests == []


def test_the_columns_of_other_datasets_keep_their_fingerprints() -> None:
    made = asking("Hello {{ topic }}")
    plain = DataDesigner(mcp_providers=[])._plan(made, 1).columns["text"].fingerprint
    with_unused = DataDesigner(mcp_providers=[])._plan(with_tools(made), 1)
    assert with_unused.columns["text"].fingerprint == plain
