"""Columns that are generated again for a row until a condition holds."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import DataDesignerError
from tests.scripted import (
    Answer,
    Body,
    ScriptedModel,
    answer_schema,
    builder,
    prompt_of,
    refusal,
)

_FIRST = "Draft {{ number }}, round {{ round }}"
_NEXT = "{% if previous %}: {{ previous.draft }} was {{ previous.verdict }}{% endif %}"


def answer(body: Body) -> Answer:
    """Write drafts; accept that of row n after n + 1 rounds."""
    prompt = prompt_of(body)
    if found := re.match(r"Draft (\d+), round (\d+)", prompt):
        return f"{found[1]}.{found[2]}"
    if found := re.match(r"Judge (\d+)\.(\d+)", prompt):
        return "good" if int(found[2]) > int(found[1]) else "bad"
    return f"answer to {prompt}"


def drafting(**repeat: Any) -> dd.DataDesignerConfigBuilder:
    """Rows 0, 1, 2 ... with a draft and a verdict, which are repeated."""
    numbers = dd.DataFrameSeedSource(df=pd.DataFrame({"number": range(10)}))
    made = builder().with_seed_dataset(numbers)
    for name, prompt in ("draft", _FIRST + _NEXT), ("verdict", "Judge {{ draft }}"):
        made.add_column(name=name, column_type="llm-text", model_alias="m", prompt=prompt)
    given = {"until": "{{ verdict == 'good' }}", "rounds_column": "rounds", **repeat}
    return made.add_repeat("draft", "verdict", **given)


def preview(made: Any, rows: int, script: ScriptedModel | None = None) -> list[dict[str, Any]]:
    transport = script or ScriptedModel(answer)
    return DataDesigner(transport=transport).preview(made, num_records=rows).records()


def test_only_rows_that_are_not_done_are_generated_again() -> None:
    script = ScriptedModel(answer)
    rows = preview(drafting(at_most=4), 3, script)
    assert [row["draft"] for row in rows] == ["0.1", "1.2", "2.3"]
    assert [row["rounds"] for row in rows] == [1, 2, 3]
    assert {row["verdict"] for row in rows} == {"good"}
    prompts = [prompt_of(body) for body in script.requests]
    assert Counter(prompt[:5] for prompt in prompts) == {"Draft": 6, "Judge": 6}
    assert "Draft 2, round 3: 2.2 was bad" in prompts
    assert "Draft 2, round 1" in prompts, "nothing is known before the first round"


def test_rows_are_kept_or_fail_after_the_last_round(tmp_path: Path) -> None:
    rows = preview(drafting(at_most=2), 3)
    assert [(row["draft"], row["verdict"]) for row in rows] == [
        ("0.1", "good"),
        ("1.2", "good"),
        ("2.2", "bad"),
    ]
    settings = dd.RunConfig(disable_early_shutdown=True)
    designer = DataDesigner(tmp_path, transport=ScriptedModel(answer), run_config=settings)
    made = drafting(at_most=2, on_exhausted="fail")
    results = designer.create(made, num_records=3)
    assert results.load_dataset()["draft"].tolist() == ["0.1", "1.2"]
    failed = pd.read_parquet(tmp_path / "dataset" / "failed-rows")
    assert failed["row"].tolist() == [2]
    assert failed["column"].tolist() == ["draft"]
    expected = "after 2 rounds of 'draft', `until` is still false; raise at_most"
    assert expected in failed["message"][0]


def test_all_rounds_are_generated_without_a_condition() -> None:
    script = ScriptedModel(answer)
    made = drafting(until=None, at_most=3, keep="all")
    made.add_column(name="text", column_type="expression", expr="{{ draft|last }}")
    [row] = preview(made, 1, script)
    assert row["draft"] == ["0.1", "0.2", "0.3"]
    assert row["verdict"] == ["good", "good", "good"]
    assert (row["text"], row["rounds"]) == ("0.3", 3)
    assert len(script.requests) == 6


def test_all_rounds_that_were_generated_are_kept() -> None:
    rows = preview(drafting(at_most=3, keep="all"), 2)
    assert [row["draft"] for row in rows] == [["0.1"], ["1.1", "1.2"]]


def test_the_best_round_is_kept() -> None:
    score = "{{ 10 - (round - 2) ** 2 }}"
    rows = preview(drafting(until=None, at_most=4, keep="best", score=score), 2)
    assert [row["draft"] for row in rows] == ["0.2", "1.2"]
    assert [row["rounds"] for row in rows] == [4, 4]


def test_the_later_of_two_equal_rounds_is_the_best() -> None:
    [row] = preview(drafting(until=None, at_most=3, keep="best", score="{{ round * 0 }}"), 1)
    assert row["draft"] == "0.3"


def test_rounds_without_a_score_are_not_the_best() -> None:
    score = "{{ 'none' if round == 3 else round }}"
    [row] = preview(drafting(until=None, at_most=3, keep="best", score=score), 1)
    assert row["draft"] == "0.2"


def test_rounds_that_were_not_generated_have_no_score() -> None:
    score = "{{ -(verdict|length) }}"
    rows = preview(drafting(at_most=4, keep="best", score=score), 2)
    assert [(row["draft"], row["rounds"]) for row in rows] == [("0.1", 1), ("1.1", 2)]
    score = "{{ verdict.a.b }}"
    [row] = preview(drafting(at_most=3, keep="best", score=score), 1)
    assert row["draft"] == "0.1"


def test_a_condition_that_fails_does_not_end_a_row(caplog: pytest.LogCaptureFixture) -> None:
    [row] = preview(drafting(until="{{ verdict.a.b == 1 }}", at_most=2), 1)
    assert row["rounds"] == 2
    assert any("a condition failed" in message for message in caplog.messages)


def test_columns_with_side_effects_and_scores_are_repeated() -> None:
    made = builder()
    made.add_column(
        name="text",
        column_type="llm-text",
        model_alias="m",
        prompt="Write, round {{ round }}",
        with_trace="last_message",
    )
    made.add_column(
        name="verdict",
        column_type="llm-judge",
        model_alias="m",
        prompt="Judge {{ text }}",
        scores=[{"name": "ok", "description": "d", "options": {"0": "no", "1": "yes"}}],
    )
    made.add_repeat("text", "verdict", until="{{ verdict.ok.score == 1 }}", at_most=3)

    def judge(body: Body) -> Answer:
        prompt = prompt_of(body)
        if prompt.startswith("Judge"):
            return {"ok": {"reasoning": "r", "score": int("version 2" in prompt)}}
        return f"version {prompt[-1]}"

    [row] = preview(made, 1, ScriptedModel(judge))
    assert row["text"] == "version 2"
    assert row["verdict"]["ok"]["score"] == 1
    assert row["text__trace"][-1]["content"][0]["text"] == "version 2"


@dd.custom_column_generator(required_columns=["topic"], side_effect_columns=["size"])
def measure(row: dict[str, Any]) -> dict[str, Any]:
    """Return the topic and its length."""
    return {**row, "measured": row["topic"].upper(), "size": len(row["topic"])}


def test_functions_and_expressions_are_repeated() -> None:
    made = builder()
    made.add_column(name="measured", column_type="custom", generator_function=measure)
    expr = "{{ (previous.total if previous else 0)|int + size }}"
    made.add_column(name="total", column_type="expression", expr=expr)
    made.add_repeat("measured", "total", until="{{ total|int > 8 }}", at_most=9, rounds_column="n")
    [row] = preview(made, 1)
    assert (row["measured"], row["size"], row["total"], row["n"]) == ("TEA", 3, "9", 3)


def test_samplers_draw_anew_in_each_round() -> None:
    def draw(**settings: Any) -> list[Any]:
        made = builder()
        params = {"low": 0, "high": 1}
        made.add_column(name="x", column_type="sampler", sampler_type="uniform", params=params)
        made.add_repeat("x", at_most=3, keep="all")
        designer = DataDesigner(run_config=dd.RunConfig(seed=7, **settings))
        return [row["x"] for row in designer.preview(made, num_records=20).records()]

    drawn = draw()
    assert len({value for values in drawn for value in values}) == 60
    assert draw(buffer_size=3) == drawn


def test_what_is_skipped_in_a_round_is_skipped_after_it() -> None:
    made = drafting(at_most=3)
    made.add_column(
        name="advice",
        column_type="llm-text",
        model_alias="m",
        prompt="Advise on {{ draft }} ({{ verdict }})",
        skip={"when": "{{ verdict == 'good' }}", "value": "none"},
    )
    made.add_column(
        name="reply", column_type="llm-text", model_alias="m", prompt="Reply to {{ advice }}"
    )
    config = made.build()
    assert config.repeats is not None
    members = ["draft", "verdict", "advice"]
    config = config.changed(repeats=[config.repeats[0].changed(columns=members, at_most=2)])
    rows = preview(config, 3)
    assert [row["advice"] for row in rows] == ["none", "none", "answer to Advise on 2.2 (bad)"]
    assert [row["reply"] for row in rows][:2] == [None, None], "it depends on a skipped cell"
    assert rows[2]["reply"].startswith("answer to Reply to answer")


def test_what_depends_on_a_skipped_column_is_not_repeated() -> None:
    script = ScriptedModel(answer)
    made = builder()
    made.add_column(
        name="number", column_type="expression", expr="1", skip={"when": "{{ topic == 'tea' }}"}
    )
    made.add_column(name="draft", column_type="llm-text", model_alias="m", prompt=_FIRST)
    made.add_column(name="after", column_type="expression", expr="{{ draft }}")
    made.add_repeat("draft", until="{{ draft == 'x' }}", on_exhausted="fail", at_most=3)
    [row] = preview(made, 1, script)
    assert (row["draft"], row["after"]) == (None, None)
    assert script.requests == []


def interrupted(limit: int) -> ScriptedModel:
    """A model that answers some requests and then refuses all others, which stops the run."""
    answered = 0

    def respond(body: Body) -> Answer:
        nonlocal answered
        answered += 1
        return answer(body) if answered <= limit else refusal(401)

    return ScriptedModel(respond)


@pytest.mark.parametrize("limit", [3, 8, 15, 25])
@pytest.mark.parametrize("buffer_size", [10, 3])
def test_a_resumed_run_repeats_no_round(tmp_path: Path, limit: int, buffer_size: int) -> None:
    made = drafting(at_most=4)
    made.add_column(
        name="reply", column_type="llm-text", model_alias="m", prompt="Reply to {{ draft }}"
    )
    settings = dd.RunConfig(seed=1, buffer_size=buffer_size)
    first = interrupted(limit)
    with pytest.raises(DataDesignerError):
        DataDesigner(tmp_path, transport=first, run_config=settings).create(
            made, num_records=6, dataset_name="d"
        )
    second = ScriptedModel(answer)
    results = DataDesigner(tmp_path, transport=second, run_config=settings).create(
        made, num_records=6, dataset_name="d", resume="always"
    )
    rows = results.load_dataset()
    assert rows["draft"].tolist() == ["0.1", "1.2", "2.3", "3.4", "4.4", "5.4"]
    answered = {prompt_of(body) for body in first.requests[:limit]}
    again = answered & {prompt_of(body) for body in second.requests}
    assert not again
    assert max(Counter(prompt_of(body) for body in second.requests).values()) == 1


def test_more_rounds_reuse_those_that_were_generated(tmp_path: Path) -> None:
    DataDesigner(tmp_path, transport=ScriptedModel(answer)).create(
        drafting(at_most=2), num_records=3, dataset_name="d"
    )

    def prints(at_most: int) -> dict[str, str]:
        from dd_core.dataset.compile import compile_plan
        from dd_core.models.providers import Providers

        plan = compile_plan(drafting(at_most=at_most).build(), Providers(), seed=1)
        return {name: planned.fingerprint for name, planned in plan.columns.items()}

    few, many = prints(2), prints(3)
    for name in ("draft__round_1", "draft__round_2", "verdict__round_2"):
        assert few[name] == many[name]
    assert few["draft"] != many["draft"]


def test_a_configuration_with_repeats_is_written_and_read_back() -> None:
    config = (
        builder()
        .add_column(
            name="text", column_type="llm-text", model_alias="m", prompt="{{ topic }} {{ round }}"
        )
        .add_repeat("text", at_most=2, keep="all")
        .build()
    )
    text = config.to_yaml()
    assert text is not None and "repeats:" in text
    assert dd.load_config(text) == config
    assert "repeats" not in builder().build().to_dict()


def problems_of(made: dd.DataDesignerConfigBuilder) -> str:
    with pytest.raises(InvalidConfigError) as raised:
        DataDesigner().validate(made)
    return str(raised.value)


def test_mistakes_are_found_before_a_run() -> None:
    made = drafting()
    made.add_column(name="middle", column_type="expression", expr="{{ draft }}!")
    made.add_column(
        name="verdict", column_type="llm-text", model_alias="m", prompt="Judge {{ middle }}"
    )
    assert "column 'middle' lies between the repeated columns; add it" in problems_of(made)

    made = drafting(until="{{ after == 1 }}")
    made.add_column(name="after", column_type="expression", expr="{{ draft }}!")
    assert "column 'after' depends on the repeated columns" in problems_of(made)

    assert "did you mean 'verdict'" in problems_of(drafting(until="{{ verdct == 1 }}"))
    made = drafting().add_repeat("draft", "nowhere", "number", at_most=2)
    text = problems_of(made)
    assert "'draft' is repeated by another entry" in text
    assert "unknown column 'nowhere'" in text
    assert "'number' is a column of the seed dataset" in text

    made = drafting(rounds_column="topic")
    assert "a column is named 'topic'" in problems_of(made)
    made = drafting()
    made.add_column(name="previous", column_type="expression", expr="{{ topic }}")
    assert "repeated columns use in another sense" in problems_of(made)
    made = drafting()
    made.add_column(name="late", column_type="expression", expr="{{ previous }}")
    assert "unknown column 'previous'" in problems_of(made)


def test_samplers_with_constraints_are_not_repeated() -> None:
    made = builder()
    for name in "ab":
        params = {"low": 0, "high": 1}
        made.add_column(name=name, column_type="sampler", sampler_type="uniform", params=params)
    made.add_constraint(
        constraint_type="column_inequality", target_column="a", operator="lt", rhs="b"
    )
    made.add_repeat("b", at_most=2)
    assert "'b' has a constraint" in problems_of(made)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": []}, "at least 1 item"),
        ({"columns": ["a", "a"]}, "more than once"),
        ({"columns": ["a"], "keep": "best"}, "score and keep: best need each other"),
        ({"columns": ["a"], "score": "{{ a }}"}, "score and keep: best need each other"),
        ({"columns": ["a"], "on_exhausted": "fail"}, "needs the condition until"),
        ({"columns": ["a"], "until": "yes"}, "does not refer to any column"),
        ({"columns": ["a"], "at_most": 0}, "greater than or equal to 1"),
    ],
)
def test_repeats_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dd.Repeat.model_validate(fields)


def test_a_profile_counts_the_rounds(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, transport=ScriptedModel(answer))
    results = designer.create(drafting(at_most=4), num_records=4)
    profiled = {each.column_name: each for each in results.load_analysis().column_statistics}
    assert {"draft", "verdict", "rounds"} <= {*profiled}
    assert set(results.load_dataset().columns) == {
        *("number", "topic", "draft", "verdict", "rounds")
    }
    usage = results.directory.metadata.usage["m"]
    assert usage["draft__round_1"]["requests"] == 4
    assert usage["draft__round_4"]["requests"] == 1


def test_an_answer_that_failed_is_retried_in_its_round(tmp_path: Path) -> None:
    failures = iter([refusal(503), refusal(429, retry_after="0.01")])

    def respond(body: Body) -> Answer:
        if prompt_of(body).startswith("Draft 1, round 2"):
            return next(failures, answer(body))
        return answer(body)

    rows = preview(drafting(at_most=3), 2, ScriptedModel(respond))
    assert [row["draft"] for row in rows] == ["0.1", "1.2"]


def test_cells_after_skipped_ones_are_not_generated_again(tmp_path: Path) -> None:
    numbers = dd.DataFrameSeedSource(df=pd.DataFrame({"number": range(6)}))
    made = builder().with_seed_dataset(numbers)
    made.add_column(
        name="first",
        column_type="llm-text",
        model_alias="m",
        prompt="First {{ number }}",
        skip={"when": "{{ number > 2 }}", "value": "none"},
    )
    for name, after in ("second", "first"), ("third", "second"):
        made.add_column(
            name=name,
            column_type="llm-text",
            model_alias="m",
            prompt=f"{name} {{{{ number }}}} {{{{ {after} }}}}",
            propagate_skip=False,
        )
    first = interrupted(10)
    with pytest.raises(DataDesignerError):
        DataDesigner(tmp_path, transport=first).create(made, num_records=6, dataset_name="d")
    second = ScriptedModel(answer)
    DataDesigner(tmp_path, transport=second).create(
        made, num_records=6, dataset_name="d", resume="always"
    )
    answered = {prompt_of(body) for body in first.requests[:10]}
    assert not answered & {prompt_of(body) for body in second.requests}


def test_candidates_and_comparisons_are_repeated() -> None:
    made = builder()
    made.add_column(
        name="draft",
        column_type="llm-text",
        model_alias="m",
        n=2,
        prompt="Draft, round {{ round }}",
    )
    made.add_column(
        name="choice",
        column_type="llm-compare",
        model_alias="m",
        candidates="draft",
        prompt="Which of them is better?",
    )
    made.add_repeat("draft", "choice", until="{{ round == 2 }}", at_most=3, rounds_column="rounds")
    numbers = iter(range(100))

    def respond(body: Body) -> Answer:
        if "response_format" in body:
            return answer_schema(body["response_format"]["json_schema"]["schema"])
        return f"{prompt_of(body)}, answer {next(numbers)}"

    [row] = preview(made, 1, ScriptedModel(respond))
    assert row["rounds"] == 2
    assert len(row["draft"]) == 2
    assert all(each["value"].startswith("Draft, round 2, answer") for each in row["draft"])
    assert "winner" in row["choice"]


@pytest.mark.parametrize("name", ["2nd", "x\u00b2", "my draft"])
def test_columns_of_any_name_are_repeated(name: str) -> None:
    made = builder()
    made.add_column(name=name, column_type="llm-text", model_alias="m", prompt="{{ round }}")
    made.add_repeat(name, at_most=3, until="{{ round == 2 }}")
    [row] = DataDesigner(transport=ScriptedModel("Hi.")).preview(made, num_records=1).records()
    assert row[name] == "Hi."
