"""Several answers to one prompt, as a list of candidates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.dataset.compile import compile_plan, reseed
from dd_core.dataset.plan import Plan
from dd_core.declaration.own_fields import list_own_fields
from dd_core.models.providers import Providers, load_default_providers
from tests.scripted import Body, ScriptedModel, builder, chat_response, model, prompt_of, refusal


def several(**fields: Any) -> dd.DataDesignerConfigBuilder:
    """Models `m` and `k`, and the column `text` with the given fields."""
    given = {"column_type": "llm-text", "model_alias": ["m", "k"], "prompt": "On {{ topic }}."}
    made = builder().add_model_config(model("k", model="other"))
    return made.add_column(name="text", **{**given, **fields})


def preview(made: Any, script: Any = None, rows: int = 2) -> list[dict[str, Any]]:
    return DataDesigner(transport=ScriptedModel(script)).preview(made, num_records=rows).records()


def plan_of(made: dd.DataDesignerConfigBuilder) -> Plan:
    return compile_plan(made.build(), Providers(load_default_providers()), 1)


def list_own(made: dd.DataDesignerConfigBuilder) -> list[str]:
    return [each for each in list_own_fields(made.build()) if each.startswith("columns")]


def test_each_model_gives_its_answers_in_the_order_of_the_list() -> None:
    script = ScriptedModel(lambda body: f"by {body['model']}")
    made = several(n=2)
    rows = DataDesigner(transport=script).preview(made, num_records=3).records()
    by_m, by_k = (
        {"value": "by tiny", "model": "m"},
        {"value": "by other", "model": "k"},
    )
    assert [row["text"] for row in rows] == [[by_m, by_m, by_k, by_k]] * 3
    assert [*rows[0]] == ["topic", "text"], "no hidden column"
    assert len(script.requests) == 3 * 4


@pytest.mark.parametrize(
    ("fields", "aliases"),
    [
        ({"model_alias": "m", "n": 1}, ["m"]),
        ({"model_alias": "m", "n": 3}, ["m", "m", "m"]),
        ({"model_alias": ["k", "m"]}, ["k", "m"]),
        ({"model_alias": ["k"]}, ["k"]),
    ],
)
def test_a_number_or_a_list_of_models_makes_a_list(
    fields: dict[str, Any], aliases: list[str]
) -> None:
    [row] = preview(several(**fields), rows=1)
    assert [each["model"] for each in row["text"]] == aliases


def test_candidates_see_the_same_prompt_although_it_is_random() -> None:
    script = ScriptedModel()
    made = several(n=3, prompt="On {{ topic }}, {{ range(100000) | random }}.")
    DataDesigner(transport=script).preview(made, num_records=4)
    counts = Counter(map(prompt_of, script.requests))
    assert [*counts.values()] == [6] * 4


def test_traces_and_reasoning_are_members_of_the_candidates(tmp_path: Path) -> None:
    made = several(with_trace="last_message", extract_reasoning_content=True)
    made.add_column(name="why", column_type="expression", expr="{{ text[1].reasoning_content }}")
    script = ScriptedModel(lambda _: chat_response("x", reasoning="because"))
    frame = DataDesigner(tmp_path, transport=script).create(made, num_records=1).load_dataset()
    [row] = frame.to_dict("records")
    assert [*row] == ["topic", "text", "why"]
    assert [*row["text"][0]] == ["value", "model", "trace", "reasoning_content"]
    assert row["text"][0]["trace"][0]["role"] == "assistant"
    assert row["why"] == "because"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SCORE = {"name": "s", "description": "d", "options": {1: "no"}}


@pytest.mark.parametrize(
    ("fields", "value", "kind"),
    [
        ({"column_type": "llm-structured", "output_format": SCHEMA}, {"a": 1}, "struct<a: int64>"),
        (
            {"column_type": "llm-judge", "scores": [SCORE]},
            {"s": {"reasoning": "r", "score": 1}},
            "struct<s: struct<reasoning: string, score: int64>>",
        ),
        ({"column_type": "llm-code", "code_lang": "python"}, "x = 1", "string"),
    ],
)
def test_every_kind_of_answer_can_be_listed(
    tmp_path: Path, fields: dict[str, Any], value: Any, kind: str
) -> None:
    script = ScriptedModel("```python\nx = 1\n```" if value == "x = 1" else value)
    results = DataDesigner(tmp_path, transport=script).create(several(**fields), num_records=2)
    frame = results.load_dataset()
    assert [each["value"] for each in frame["text"][0]] == [value, value]
    [part] = (results.dataset_path / "parquet-files").glob("*.parquet")
    assert str(pq.read_schema(part).field("text").type) == (
        f"list<element: struct<value: {kind}, model: string>>"
    )
    assert results.load_analysis().column_statistics[1].column_type == fields["column_type"]


def test_a_skipped_cell_asks_no_model() -> None:
    script = ScriptedModel()
    made = several(skip={"when": "{{ topic == 'tea' }}", "value": "none"})
    made.add_column(name="after", column_type="expression", expr="{{ text | length }}")
    [row] = DataDesigner(transport=script).preview(made, num_records=1).records()
    assert (row["text"], row["after"]) == ("none", None)
    assert script.requests == []


def test_a_row_fails_with_any_of_its_candidates_and_the_failure_names_it(tmp_path: Path) -> None:
    def answer(body: Body) -> Any:
        return refusal(400) if body["model"] == "other" and "rain" in prompt_of(body) else "x"

    made = several(n=2)
    made.add_column(
        name="topic",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["tea", "rain"]},
    )
    run_config = dd.RunConfig(seed=1, disable_early_shutdown=True)
    designer = DataDesigner(tmp_path, transport=ScriptedModel(answer), run_config=run_config)
    results = designer.create(made, num_records=12)
    frame = results.load_dataset()
    assert 0 < len(frame) < 12
    assert {*frame["topic"]} == {"tea"}
    failed = [
        row["column"] for table in results.directory.failed_rows() for row in table.to_pylist()
    ]
    assert len(failed) == 12 - len(frame)
    assert {*failed} <= {"text (k)", "text (k 2)"}


def test_usage_estimates_and_budgets_count_every_request(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, transport=ScriptedModel())
    results = designer.create(several(n=2), num_records=5)
    usage = results.directory.metadata.usage
    assert {alias: {name: each["requests"] for name, each in columns.items()}
            for alias, columns in usage.items()} == {
        "m": {"text (m)": 5, "text (m 2)": 5},
        "k": {"text (k)": 5, "text (k 2)": 5},
    }  # fmt: skip
    estimate = designer.estimate(several(n=2), num_records=100)
    assert {each.alias: each.requests for each in estimate.models} == {"m": 200, "k": 200}
    limited = dd.RunConfig(budget={"requests": 12})
    script = ScriptedModel()
    stopped = DataDesigner(transport=script, run_config=limited)
    assert len(stopped.preview(several(n=2), num_records=9).records()) <= 3
    assert len(script.requests) <= 12


def test_more_candidates_keep_the_answers_that_are_there() -> None:
    plans = [
        plan_of(several(**fields)) for fields in ({"n": 1}, {"n": 3}, {"model_alias": ["k", "m"]})
    ]
    few, many, other = ({name: each.fingerprint for name, each in plan.columns.items()}
                        for plan in plans)  # fmt: skip
    hidden = {"text (m)", "text (k)"}
    assert {name: few[name] for name in hidden} == {name: many[name] for name in hidden}
    assert {name: few[name] for name in hidden} == {name: other[name] for name in hidden}
    assert few["text"] != other["text"], "the order of the list differs"
    assert reseed(plans[0], 2).columns["text (m)"].fingerprint != few["text (m)"]


def test_a_single_answer_has_the_fingerprint_of_before() -> None:
    plan = plan_of(several(model_alias="m"))
    assert "n" not in plan.columns["text"].column.identity()
    assert [*plan.columns] == ["topic", "text"]


def test_a_written_configuration_gives_the_same_lists() -> None:
    config = several(n=2).build()
    again = dd.DataDesignerConfigBuilder.from_config(config.to_yaml()).build()
    assert again.fingerprint() == config.fingerprint()
    assert list_own(several(n=2)) == list_own(several()) == ["columns.text.n"]
    assert list_own(several(model_alias="m")) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 0}, "greater than or equal to 1"),
        ({"n": 101}, "less than or equal to 100"),
        ({"model_alias": []}, "names no model"),
        ({"model_alias": ["m", "m"]}, "lists 'm' twice; set n"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        several(**fields)


def test_the_checks_know_what_a_list_is() -> None:
    with pytest.raises(InvalidConfigError, match=r"columns\.text\.model_alias: no model .*'z'"):
        preview(several(model_alias=["m", "z"]))
    taken = several().add_column(name="text (k)", column_type="expression", expr="{{ topic }}")
    with pytest.raises(InvalidConfigError, match=r"hidden column 'text \(k\)' has the name"):
        preview(taken)
    gates = dd.Gates(columns={"text": dd.ColumnGates(max_drift=0.1)})
    designer = DataDesigner(transport=ScriptedModel(), run_config=dd.RunConfig(gates=gates))
    with pytest.raises(InvalidConfigError, match="max_drift: does not apply"):
        designer.create(several(), num_records=1)
    cold = dd.DataDesignerConfigBuilder([model(temperature=0.0)])
    cold.add_column(name="t", column_type="llm-text", model_alias="m", prompt="Hi.", n=2)
    plan = plan_of(cold)
    assert any("temperature 0, so its 2 answers are alike" in str(each) for each in plan.warnings)
