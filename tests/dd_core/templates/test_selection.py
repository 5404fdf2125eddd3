"""The filters that choose from several answers."""

from __future__ import annotations

from typing import Any

import pytest

from dd_core.errors import UserTemplateError
from dd_core.templates.template import Condition, Template

ANSWERS = [
    {"value": "x", "model": "m", "score": 1},
    {"value": "y", "model": "k", "score": 3},
    {"value": "y", "model": "j", "score": 3},
]


def render(source: str, answers: Any = ANSWERS, **values: Any) -> str:
    return Template.compile(source).render({"answers": answers, **values})


@pytest.mark.parametrize(
    ("source", "answers", "text"),
    [
        ("{{ answers | majority('value') }}", ANSWERS, "y"),
        ("{{ answers | majority(attribute='value') }}", ANSWERS, "y"),
        ("{{ answers | majority }}", ["b", "a", "a", "b"], "b"),
        ("{{ answers | majority }}", "[1, 2, 2]", "2"),
        ("{{ answers | majority }}", [42, 7, 42.0, True], "42"),
        ("{{ (answers | majority).b }}", [{"b": 9}, {"b": 1, "c": 2}, {"c": 2, "b": 1}], "1"),
        ("{{ answers | majority('a.b') }}", [{"a": {"b": 1}}, {"a": {"b": 1}}], "1"),
        ("{{ answers | majority_share('value') | round(2) }}", ANSWERS, "0.67"),
        ("{{ answers | majority_share }}", [1, True, "1", None], "0.25"),
        ("{{ answers | majority_share }}", [], "0.0"),
        ("{{ (answers | best_of('score')).model }}", ANSWERS, "k"),
        ("{{ (answers | best_of(by='score')).model }}", ANSWERS, "k"),
        ("{{ (answers | best_of([3, 2, 1])).model }}", ANSWERS, "m"),
        ("{{ answers | best_of([none, '2', 10]) }}", ["a", "b", "c"], "c"),
        ("{{ answers | best_of([none, none]) }}", ["a", "b"], "a"),
    ],
)  # fmt: skip
def test_an_answer_is_chosen(source: str, answers: Any, text: str) -> None:
    assert render(source, answers) == text


def test_conditions_may_count_votes() -> None:
    condition = Condition.compile("{{ answers | majority_share('value') < 0.6 }}")
    assert not condition.holds({"answers": ANSWERS})
    assert condition.holds({"answers": ANSWERS[:2]})


@pytest.mark.parametrize(
    ("source", "answers", "message"),
    [
        ("{{ answers | majority }}", [], "majority has no items"),
        ("{{ answers | best_of([]) }}", [], "best_of has no items"),
        ("{{ answers | majority }}", "text", "majority needs a list, not str"),
        ("{{ answers | majority_share }}", {"a": 1}, "majority_share needs a list, not dict"),
        ("{{ answers | best_of([1]) }}", ANSWERS, "3 items and 1 scores"),
        ("{{ answers | best_of('value') }}", ANSWERS, "could not convert"),
        ("{{ answers | majority('other') }}", ANSWERS, "has no attribute 'other'"),
        ("{{ answers | majority('" + "a." * 30 + "b') }}", ANSWERS, "more than 20 steps"),
        ("{{ answers | majority }}", ["a" * 1000] * 60_000, "too much work"),
    ],
)
def test_what_cannot_be_chosen_fails(source: str, answers: Any, message: str) -> None:
    with pytest.raises(UserTemplateError, match=message):
        render(source, answers)
