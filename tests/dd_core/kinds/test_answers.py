"""From an answer's text to a value."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field

import dd_core.config as dd
from dd_core.errors import ResponseParseError
from dd_core.kinds.columns._answers import extract_code, extract_json
from dd_core.kinds.columns._schema import ResponseSchema, Rubric
from dd_core.models.conversation import strip_reasoning

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), JSON))
def test_json_in_a_fence_with_prose_around_it_comes_back(value: dict[str, Any]) -> None:
    answer = f"Sure, here it is:\n\n```json\n{json.dumps(value)}\n```\n\nAnything else?"
    assert extract_json(answer) == value


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": [1, 2]}',
        '```JSON\n{"a": [1, 2]}\n```',
        '```\n{"a": [1, 2]}\n```',
        '~~~json\n{"a": [1, 2]}\n~~~',
        '```json\n{"a": [1, 2]}',
        'The answer is {"a": [1, 2]}, I think.',
        "```json\n{'a': [1, 2,]}\n```",
        '```json\n{"a": 0}\n```\nNo, rather:\n```json\n{"a": [1, 2]}\n```',
        '```python\nprint()\n```\n```json\n{"a": [1, 2]}\n```',
    ],
)
def test_json_is_found_however_it_is_wrapped(answer: str) -> None:
    assert extract_json(answer) == {"a": [1, 2]}


@pytest.mark.parametrize("answer", ["", "I cannot do that.", '"text"', "12", "null"])
def test_prose_is_never_json(answer: str) -> None:
    with pytest.raises(ResponseParseError, match="no JSON object"):
        extract_json(answer)


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("```python\nx = 1\n```", "python"),
        ("```py\nx = 1\n```", "python"),
        ("```Python3\nx = 1\n```", "python"),
        ("```\nx = 1\n```", "python"),
        ("```postgresql\nx = 1\n```", "sql"),
        ("```c++\nx = 1\n```", "cpp"),
        ("```js\ny\n```\n```js\nx = 1\n```", "javascript"),
    ],
)
def test_code_is_the_last_block_of_its_language(answer: str, language: str) -> None:
    assert extract_code(answer, language) == "x = 1"


@pytest.mark.parametrize("answer", ["x = 1", "```rust\nx = 1\n```"])
def test_code_of_another_language_or_without_a_block_is_refused(answer: str) -> None:
    with pytest.raises(ResponseParseError, match="python"):
        extract_code(answer, "python")


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        ("Tea.", ("Tea.", None)),
        ("<think>Hm.</think>\nTea.", ("Tea.", "Hm.")),
        ("Hm.</think>Tea.", ("Tea.", "Hm.")),
        ("<think>Hm, never ending", ("", "Hm, never ending")),
        ("I think so.", ("I think so.", None)),
    ],
)
def test_reasoning_is_set_apart(answer: str, parts: tuple[str, str | None]) -> None:
    assert strip_reasoning(answer) == parts


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Home(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    rent: float
    rooms: list[str] = []


def test_a_value_of_the_schema_is_kept_and_unknown_properties_are_removed() -> None:
    value = {"pet": {"kind": "dog", "name": "Bo", "age": 3}, "rent": 812.5, "garden": True}
    assert ResponseSchema(Home.model_json_schema()).parse(value) == {
        "pet": {"kind": "dog", "name": "Bo"},
        "rent": 812.5,
    }


def test_decimals_become_floats_with_the_places_of_their_pattern() -> None:
    price = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d*\.?\d{0,2}$"}]}
    schema = ResponseSchema({"type": "object", "properties": {"price": price}})
    assert schema.parse({"price": "1.5"}) == {"price": 1.5}
    assert schema.parse({"price": 2.675}) == {"price": 2.68}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"rent": 1}, "pet"),
        ({"pet": {"kind": "cat", "lives": "9"}, "rent": 1}, "at pet"),
        ({"pet": {"kind": "cow"}, "rent": 1}, "at pet"),
        ({"pet": {"kind": "cat", "lives": 9}, "rent": 1, "rooms": [1]}, r"at rooms\[0\]"),
    ],
)
def test_nothing_is_converted_and_the_complaint_names_the_place(
    value: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ResponseParseError, match=complaint):
        ResponseSchema(Home.model_json_schema()).parse(value)


def test_text_that_looks_like_json_stays_text() -> None:
    schema = ResponseSchema({"type": "object", "properties": {"x": {"type": "string"}}})
    assert schema.parse({"x": "1.0"}) == {"x": "1.0"}


def test_a_bare_object_takes_what_comes() -> None:
    assert ResponseSchema({"type": "object"}).parse({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("schema", [{"type": "objec"}, {"properties": 3}, {"minimum": "x"}])
def test_what_is_no_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a valid JSON schema"):
        ResponseSchema(schema)


SCORE = dd.Score(name="taste", description="How good", options={1: "bad", 5: "good"})


@pytest.mark.parametrize("given", [5, "5", " 5 ", 5.0])
def test_a_score_is_one_of_the_options(given: Any) -> None:
    value = Rubric([SCORE]).parse({"taste": {"reasoning": "hm", "score": given}})
    assert value == {"taste": {"reasoning": "hm", "score": 5}}
    assert type(value["taste"]["score"]) is int


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"taste": {"score": 5}},
        {"taste": {"reasoning": "hm", "score": 3}},
        {"taste": {"reasoning": "hm", "score": True}},
        [1],
    ],
)
def test_anything_else_is_no_score(value: Any) -> None:
    with pytest.raises(ResponseParseError):
        Rubric([SCORE]).parse(value)


def test_options_of_text_are_met_whatever_their_case() -> None:
    score = dd.Score(name="tone", description="Tone", options={"Calm": "quiet", "Angry": "loud"})
    value = Rubric([score]).parse({"tone": {"reasoning": "", "score": "angry"}})
    assert value["tone"]["score"] == "Angry"
