"""Candidates that a model compares, in both orders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.errors import DataDesignerGenerationError
from tests.scripted import Body, ScriptedModel, builder, prompt_of

QUALITY = {"bad": 1, "fair": 2, "good": 3}


def lists(*values: Any) -> dict[str, Any]:
    """Fields of a column whose values are lists."""
    return {"name": "texts", "column_type": "expression", "expr": json.dumps([*values])}


def comparing(column: dict[str, Any] | None = None, **fields: Any) -> dd.DataDesignerConfigBuilder:
    """A list of texts, and the column `best` that compares them."""
    given = {"candidates": "texts", "model_alias": "m", "prompt": "On {{ topic }}."}
    made = builder().add_column(**(column or lists("bad", "good", "fair")))
    return made.add_column(name="best", column_type="llm-compare", **{**given, **fields})


def judge(body: Body) -> Any:
    """An answer for the better text, wherever it is."""
    prompt = prompt_of(body)
    pair = [re.search(rf"<{side}>\n(.*)\n</{side}>", prompt) for side in ("first", "second")]
    if all(pair):
        one, other = (QUALITY[found[1]] for found in pair if found)
        choice: Any = "tie" if one == other else "first" if one > other else "second"
    else:
        listed = [QUALITY[text] for text in re.findall(r"<candidate_\d>\n(.*)\n", prompt)]
        choice = listed.index(max(listed)) + 1
    return {"reasoning": "why", "winner": choice}


def compare(made: dd.DataDesignerConfigBuilder, script: Any = judge) -> tuple[Any, ScriptedModel]:
    """The verdict of one row, and the model."""
    model = ScriptedModel(script)
    [row] = DataDesigner(transport=model).preview(made, num_records=1).records()
    return row["best"], model


def test_each_pair_is_compared_in_both_orders() -> None:
    verdict, model = compare(comparing(max_candidates=3, criteria=["brief", "true"]))
    assert {name: verdict[name] for name in ("winner", "consistent", "margin", "wins")} == {
        "winner": 1,
        "consistent": True,
        "margin": 0.5,
        "wins": [0.0, 2.0, 1.0],
    }
    orders = [[0, 1], [1, 0], [0, 2], [2, 0], [1, 2], [2, 1]]
    assert [each["order"] for each in verdict["reasons"]] == orders
    assert [each["winner"] for each in verdict["reasons"]] == [1, 1, 2, 2, 1, 1]
    assert verdict["reasons"][0]["reasoning"] == "why"
    assert len(model.requests) == 6
    prompt = prompt_of(model.requests[0])
    assert prompt.startswith("On tea.\n\n<first>\nbad\n</first>\n\n<second>\ngood\n</second>")
    assert "Criteria:\n- brief\n- true\n\n" in prompt
    schema = model.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["winner"]["enum"] == ["first", "second", "tie"]


def test_all_candidates_are_compared_at_once_in_two_orders() -> None:
    verdict, model = compare(comparing(method="listwise"))
    assert verdict["winner"] == 1
    assert (verdict["consistent"], verdict["margin"]) == (True, 1.0)
    assert verdict["wins"] == [0.0, 2.0, 0.0]
    assert [each["order"] for each in verdict["reasons"]] == [[0, 1, 2], [2, 1, 0]]
    assert len(model.requests) == 2


def test_columns_are_compared_by_name() -> None:
    made = comparing(candidates=None, columns=["one", "two"])
    for name, text in (("one", "good"), ("two", "fair")):
        made.add_column(name=name, column_type="expression", expr=text)
    verdict, model = compare(made)
    assert (verdict["winner"], verdict["margin"], verdict["wins"]) == ("one", 1.0, [1.0, 0.0])
    assert [each["order"] for each in verdict["reasons"]] == [["one", "two"], ["two", "one"]]
    assert len(model.requests) == 2


def test_candidates_of_models_are_compared_without_their_models() -> None:
    texts = iter(["bad", "good"])

    def answer(body: Body) -> Any:
        return judge(body) if "<first>" in prompt_of(body) else next(texts)

    column = {"name": "texts", "column_type": "llm-text", "model_alias": "m", "n": 2}
    made = comparing({**column, "prompt": "Hi {{ topic }}."})
    made.add_column(
        name="chosen", column_type="expression", expr="{{ (texts | best_of(best.wins)).value }}"
    )
    model = ScriptedModel(answer)
    [row] = DataDesigner(transport=model).preview(made, num_records=1).records()
    assert row["texts"][row["best"]["winner"]]["value"] == row["chosen"] == "good"
    assert len(model.requests) == 4
    assert not any('"model"' in prompt_of(body) for body in model.requests)


@pytest.mark.parametrize("method", ["pairwise", "listwise"])
def test_a_judge_that_prefers_a_place_gives_a_tie(method: str) -> None:
    choice: Any = "first" if method == "pairwise" else 1
    made = comparing(lists("bad", "good"), max_candidates=2, method=method)
    verdict, _ = compare(made, lambda _: {"reasoning": "", "winner": choice})
    assert (verdict["winner"], verdict["consistent"], verdict["margin"]) == (None, False, 0.0)
    assert verdict["wins"][0] == verdict["wins"][1]


def test_a_judge_that_is_inconsistent_in_a_third_of_the_pairs(tmp_path: Path) -> None:
    rows = 60

    def answer(body: Body) -> Any:
        prompt = prompt_of(body)
        number = int(re.findall(r"row (\d+)", prompt)[0])
        return {"reasoning": "", "winner": "first"} if number % 3 == 0 else judge(body)

    made = builder()
    source = tmp_path / "rows.csv"
    source.write_text("row\n" + "\n".join(map(str, range(rows))))
    made.with_seed_dataset(dd.LocalFileSeedSource(path=str(source)))
    made.add_column(name="one", column_type="expression", expr="good")
    made.add_column(name="two", column_type="expression", expr="bad")
    made.add_column(
        name="best",
        column_type="llm-compare",
        columns=["one", "two"],
        model_alias="m",
        prompt="Compare in row {{ row }}.",
    )
    results = DataDesigner(tmp_path, transport=ScriptedModel(answer)).create(made, num_records=rows)
    frame = results.load_dataset()
    expected = [None if row % 3 == 0 else "one" for row in frame["row"]]
    assert [each["winner"] for each in frame["best"]] == expected
    assert [each["consistent"] for each in frame["best"]] == [each is not None for each in expected]
    statistics = results.load_analysis().column_statistics[-1]
    histogram = statistics.scores["consistent"].histogram  # type: ignore[union-attr]
    assert dict(zip(histogram.categories, histogram.counts, strict=True)) == {
        "true": 40,
        "false": 20,
    }


def test_an_inconsistent_pair_is_half_a_win_for_each() -> None:
    def answer(body: Body) -> Any:
        prompt = prompt_of(body)
        is_close = "good" in prompt and "fair" in prompt
        return {"reasoning": "", "winner": "first"} if is_close else judge(body)

    verdict, _ = compare(comparing(max_candidates=3), answer)
    assert verdict["wins"] == [0.0, 1.5, 1.5]
    assert (verdict["winner"], verdict["consistent"]) == (None, False)


@pytest.mark.parametrize(
    ("method", "values", "winner", "wins"),
    [
        ("pairwise", ["bad", "good"], 1, [0.0, 1.0]),
        ("listwise", ["bad", "good"], 1, [0.0, 2.0]),
        ("pairwise", ["good"], 0, [0.0]),
        ("listwise", ["good"], 0, [0.0]),
        ("pairwise", [], None, []),
        ("listwise", [], None, []),
    ],
)
def test_lists_may_be_shorter_than_the_maximum(
    method: str, values: list[str], winner: int | None, wins: list[float]
) -> None:
    verdict, model = compare(comparing(lists(*values), max_candidates=4, method=method))
    assert (verdict["winner"], verdict["consistent"], verdict["wins"]) == (winner, True, wins)
    assert len(model.requests) == (2 if len(values) == 2 else 0)


def test_equal_candidates_tie_without_a_request() -> None:
    verdict, model = compare(comparing(lists("good", "good"), max_candidates=2))
    assert (verdict["winner"], verdict["consistent"], verdict["wins"]) == (None, True, [0.5, 0.5])
    assert model.requests == []


@pytest.mark.parametrize("written", ["Second", " SECOND "])
def test_a_choice_is_read_as_it_was_meant(written: str) -> None:
    def answer(body: Body) -> Any:
        return {**judge(body), "winner": written if judge(body)["winner"] == "second" else "first"}

    verdict, model = compare(comparing(lists("bad", "good"), max_candidates=2), answer)
    assert verdict["winner"] == 1
    assert len(model.requests) == 2


def test_the_prompt_may_insert_the_candidates() -> None:
    prompt = "{{ topic }}: {{ first }} or {{ second.x }}?"
    made = comparing(lists({"x": 1}, {"x": 2}), max_candidates=2, prompt=prompt)
    verdict, model = compare(made, lambda _: {"reasoning": "", "winner": "tie"})
    assert sorted(prompt_of(body).split("\n")[0] for body in model.requests) == [
        "tea: {'x': 1} or 2?",
        "tea: {'x': 2} or 1?",
    ]
    assert "<first>" not in prompt_of(model.requests[0])
    assert (verdict["winner"], verdict["consistent"]) == (None, True)
    loop = "{% for each in candidates %}{{ loop.index }}={{ each.x }} {% endfor %}"
    made = comparing(lists({"x": 1}, {"x": 2}), method="listwise", prompt=loop)
    _, model = compare(made, lambda _: {"reasoning": "", "winner": "2"})
    assert sorted(prompt_of(body)[:8] for body in model.requests) == ["1=1 2=2 ", "1=2 2=1 "]


def test_a_value_that_is_no_list_or_too_long_fails_its_row() -> None:
    for column, message in (
        (lists("bad", "fair", "good"), "3 candidates, but max_candidates is 2"),
        ({**lists(), "expr": "{{ topic }}"}, "a value of type str, not a list of candidates"),
    ):
        with pytest.raises(DataDesignerGenerationError, match=message):
            compare(comparing(column, max_candidates=2))


def test_a_skipped_comparison_asks_nothing() -> None:
    made = comparing(max_candidates=3, skip={"when": "{{ topic == 'tea' }}"})
    verdict, model = compare(made)
    assert verdict is None
    assert model.requests == []


def test_requests_are_counted_by_comparison(tmp_path: Path) -> None:
    designer = DataDesigner(tmp_path, transport=ScriptedModel(judge))
    results = designer.create(comparing(max_candidates=3), num_records=4)
    usage = results.directory.metadata.usage["m"]
    assert {name: each["requests"] for name, each in usage.items()} == {
        f"best ({one} vs {other})": 4
        for one, other in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1))
    }
    estimate = designer.estimate(comparing(max_candidates=3), num_records=100)
    assert [each.requests for each in estimate.models] == [600]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"candidates": None}, "set either candidates"),
        ({"columns": ["a", "b"]}, "set either candidates"),
        ({"candidates": None, "columns": ["topic"]}, "at least two columns"),
        ({"candidates": None, "columns": ["a", "a"]}, "lists 'a' twice"),
        ({"candidates": None, "columns": ["a", "b"], "max_candidates": 3}, "is for candidates"),
        ({"max_candidates": 1}, "greater than or equal to 2"),
        ({"prompt": ""}, "at least 1 character"),
        ({"prompt": "{{ topic"}, "prompt"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        comparing(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"best\.max_candidates: is needed"),
        ({"candidates": "nope"}, r"best\.candidates: refers to unknown column 'nope'"),
        ({"max_candidates": 11}, r"best\.method: compares each pair of 11 candidates, in 110"),
        ({"max_candidates": 3, "prompt": "{{ first }}?"}, "only one of the two.*{{ second }}"),
        ({"method": "listwise", "prompt": "{{ first }}"}, "unknown column 'first'"),
        ({"method": "listwise", "prompt": "{{ texts2 }}"}, "did you mean 'texts'"),
        ({"max_candidates": 3, "model_alias": "z"}, r"best\.model_alias: no model"),
        ({"max_candidates": 3, "prompt": "{{ best }}"}, "depends on itself"),
    ],
)
def test_mistakes_are_found_before_the_run(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        compare(comparing(**fields))


def test_the_number_of_candidates_follows_from_their_column() -> None:
    column = {"name": "texts", "column_type": "llm-text", "model_alias": "m", "prompt": "Hi."}
    with pytest.raises(InvalidConfigError, match="has a single candidate"):
        compare(comparing({**column, "n": 1}))
    with pytest.raises(InvalidConfigError, match="max_candidates: is 2, but column 'texts' has 3"):
        compare(comparing({**column, "n": 3}, max_candidates=2))
    shadowed = comparing(max_candidates=3, prompt="{{ first }} {{ second }}")
    shadowed.add_column(name="first", column_type="expression", expr="x")
    with pytest.raises(InvalidConfigError, match="a column has this name, too; rename"):
        compare(shadowed)
