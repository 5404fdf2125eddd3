"""From an answer's text to a value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field

import dd_core.config as dd
from dd_core.errors import ResponseParseError
from dd_core.kinds.columns._answers import extract_code, extract_json
from dd_core.kinds.columns._schema import ResponseSchema, Rubric
from dd_core.models.address import parse_address
from dd_core.models.wire.answers import parse_chat, strip_text
from dd_core.models.wire.anthropic import AnthropicWire
from dd_core.models.wire.reasoning import strip_reasoning

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@pytest.mark.slow
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
    "answer",
    [
        "Code:\n```python\nx = 1\n```\nOutput:\n```\n1\n```",
        "```\nfirst\n```\n```python\nx = 1\n```\n```\nlast\n```",
        "```python\nx = 1\n```\nRun it:\n```bash\npython x.py\n```",
        "```python\nx = 1\n```\nOutput:\n```\n1",
        "```python\nx = 1\n```\n```",
        "```python\n\nx = 1\n\n\n```",
        "```python\r\nx = 1\r\n```\r\n",
        "1. Code:\n   ```python\n   x = 1\n   ```",
        "- ```python\n  x = 1\n  ```",
        "1. a\n\n    ```python\n    x = 1\n    ```",
        "\t```python\n\tx = 1\n\t```",
        "> ```python\n> x = 1\n> ```",
        "  ```python\n  x = 1\n```",
        "```python\nx = 1\n   ```",
        "```python\nx = 1\n``````  ",
        "~~~~ python\nx = 1\n~~~~",
        '```python title="x.py"\nx = 1\n```',
        "```python:x.py\nx = 1\n```",
        "```{.python .numbers}\nx = 1\n```",
        "```language-python\nx = 1\n```",
        "```x.py\nx = 1\n```",
    ],
)
def test_code_is_found_however_it_is_fenced(answer: str) -> None:
    assert extract_code(answer, "python") == "x = 1"


@pytest.mark.parametrize(
    "code",
    [
        'def f():\n    """\n    ```\n    f()\n    ```\n    """\n    return 1',
        "def f():\n    '''\n    ```python\n    f()\n    ```\n    '''",
        'TEXT = """\n```\nx\n```\n"""',
        "x = 1  # ``` ends nothing here",
        "~~~",
        "if x:\n    pass\n\n\nprint(x)",
    ],
)
@pytest.mark.parametrize("indent", ["", "   "])
def test_fences_inside_code_do_not_end_it(code: str, indent: str) -> None:
    if indent and "TEXT" in code:
        pytest.skip("Markdown would end the block")
    fenced = f"```python\n{code}\n```"
    answer = "Here:\n\n" + "\n".join(indent + line for line in fenced.split("\n"))
    assert extract_code(answer + "\n\nDone.\n```\noutput\n```", "python") == code


@pytest.mark.parametrize("indent", ["", " ", "   ", "\t"])
@pytest.mark.parametrize("before", ["", "\n\n", "<think>\nhm\n</think>\n", "hm\n</think>\n\n"])
def test_the_indentation_of_a_fence_at_the_start_belongs_to_the_block(
    indent: str, before: str
) -> None:
    lines = ["```python", "def f():", "    return 1", "```"]
    body = {"content": before + "".join(f"{indent}{line}\n" for line in lines)}
    reply = parse_chat(json.dumps({"choices": [{"message": body}]}).encode())
    text, _ = strip_reasoning(reply.text)
    assert extract_code(text, "python") == "def f():\n    return 1"
    message = {"content": [{"type": "text", "text": body["content"]}], "stop_reason": "end_turn"}
    parsed = AnthropicWire(parse_address("http://model.test")).reply(json.dumps(message).encode())
    text, _ = strip_reasoning(parsed.text)
    assert extract_code(text, "python") == "def f():\n    return 1"


def test_white_space_around_other_text_is_no_part_of_it() -> None:
    assert strip_text("\n  Tea.\n") == "Tea."
    assert strip_text(" \n") == ""


def test_a_longer_fence_contains_a_shorter_one() -> None:
    assert extract_code("````python\n```\nx\n```\n````", "python") == "```\nx\n```"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("```python\nx = (1 +", "not closed"),
        ("```python\nx = 1\n```\nBetter:\n```python\ndef f(", "not closed"),
        ("```\nx = 1\n```\n```\ny = (", "not closed"),
        ("```python\nx = 1\n``` and more", "not closed"),
        ("````python\nx = 1\n```", "not closed"),
        ("```python\n```", "is empty"),
        ("```python\n  \n\n```\nOutput:\n```\n1\n```", "is empty"),
        ("```\n```", "is empty"),
        ("Use ```python x = 1```", "no code block"),
    ],
)
def test_blocks_that_are_empty_or_not_closed_are_refused(answer: str, complaint: str) -> None:
    with pytest.raises(ResponseParseError, match=complaint):
        extract_code(answer, "python")


FACT = ResponseSchema(
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
)
ANY = ResponseSchema({"type": "object"})


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1}\n\nReplace {a} with your value, or use {"b": 2} and [1, 2].',
        'As in [1] and {this}: {"a": 1}',
        'Your input {"topic": "tea"} gives {"a": 1}, not {"a": 2}.',
        '{ {"a": 1} }',
        '{{"a": 1}}',
        '[The answer: {"a": 1}]',
        'A { comes first. {"a": 1}',
        '{"a": 1}}',
        '{"a": 1} {"a": 2}',
        "{'a': 1,} or {that}",
        '{"b": 2}\n```json\n{"a": 1}\n```\n{"a": 3}',
        '```json\n{"a": 1}\n```\nwhere ```{"a": 3}``` is wrong, and so is\n```\n{"a": "x"}\n```',
        '```json\nThe object:\n{"a": 1}\n```',
        '\ufeff{"a": 1}',
        '"{\\"a\\": 1}"',
        '{"a": 1, // first\n}',
    ],
)
def test_the_first_document_that_satisfies_the_schema_counts(answer: str) -> None:
    assert extract_json(answer, FACT.parse) == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": 1',
        '{"a": {"b": 1}, "c": "hal',
        '{"a": [1, 2',
        '[{"a": 1}, {"a": 2}, {"a"',
        '```json\n{"a": {"b": 1},\n```',
        '{"a": {"b": 1}, "x": NaN}',
        '{"a": 1e999}',
        '{"a": 02116}',
        "{'a': 02116,}",
        "Dear {name}, I cannot.",
        "[see above]",
    ],
)
def test_what_is_cut_off_or_is_not_json_is_not_completed(answer: str) -> None:
    with pytest.raises(ResponseParseError):
        extract_json(answer, ANY.parse)


def test_the_complaint_is_about_the_likeliest_document() -> None:
    with pytest.raises(ResponseParseError, match=r"at a: \"x\""):
        extract_json('```json\n{"a": "x"}\n```\nHope {this} and {"b": 1} help.', FACT.parse)


@given(st.integers())
@pytest.mark.parametrize("form", ['{{"a": {}}}', "Sure: {{'a': {},}}", '```json\n{{"a": {}}}\n```'])
def test_integers_keep_all_digits(form: str, number: int) -> None:
    for value in (number, number * 10**40):
        assert extract_json(form.format(value), FACT.parse) == {"a": value}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"a": "half \\ud83d"}', {"a": "half \ufffd"}),
        ('{"\\ude00": "\\ud83d\\ude00"}', {"\ufffd": "\U0001f600"}),
        ('So: {"a": ["\\ud83dx"]}', {"a": ["\ufffdx"]}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
    ],
)
def test_text_in_json_can_be_stored(answer: str, value: Any) -> None:
    assert extract_json(answer, ANY.parse) == value


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        ("Tea.", ("Tea.", None)),
        ("<think>Hm.</think>\nTea.", ("Tea.", "Hm.")),
        ("Hm.</think>Tea.", ("Tea.", "Hm.")),
        ("<think>Hm, never ending", ("", "Hm, never ending")),
        ("I think so.", ("I think so.", None)),
        ("<Think>Hm.</Think> Tea.", ("Tea.", "Hm.")),
        ("\ufeff<thought>Hm.</thought>Tea.", ("Tea.", "Hm.")),
        ("<think>Hm.</think><think>Ah.</think>Tea.", ("Tea.", "Hm.\nAh.")),
        ("<think>Hm.</think>The tag </think> ends it.", ("The tag </think> ends it.", "Hm.")),
        ("1 < 2 </b>", ("1 < 2 </b>", None)),
        ("<seed:think>Hm.</seed:think>Tea.", ("Tea.", "Hm.")),
        ("<longcat_think>Hm, never ending", ("", "Hm, never ending")),
        ("[THINK]Hm.[/THINK]Tea.", ("Tea.", "Hm.")),
        ("Hm.[/THINK]Tea.", ("Tea.", "Hm.")),
        ("◁think▷Hm.◁/think▷Tea.", ("Tea.", "Hm.")),
        (
            "<|begin_of_thought|>Hm.<|end_of_thought|>\n"
            "<|begin_of_solution|>Tea.<|end_of_solution|>",
            ("Tea.", "Hm."),
        ),
        (
            "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Tea.<|END_RESPONSE|>",
            ("Tea.", "Hm."),
        ),
        (
            "<|channel|>analysis<|message|>Hm.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>Tea.<|return|>",
            ("Tea.", "Hm."),
        ),
        (
            "Hm.<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{}",
            ("{}", "Hm."),
        ),
        ("Hm.<|end|><|start|>assistant<|channel|>final<|message|>Tea.", ("Tea.", "Hm.")),
        ("<|channel|>analysis<|message|>Hm, never ending", ("", "Hm, never ending")),
        ("<|channel|>final <|constrain|>json<|message|>{}", ("{}", None)),
        ("analysisHm.assistantfinalTea.", ("Tea.", "Hm.")),
        ("analysis of tea", ("analysis of tea", None)),
        ("The list [THINKING] <b>", ("The list [THINKING] <b>", None)),
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


class Offer(BaseModel):
    price: Decimal = Field(ge=0, decimal_places=2)
    weight: Decimal
    discount: Decimal | None = None
    note: float | str = ""
    grade: Decimal | Literal["none"] = "none"


def test_decimals_of_models_become_floats() -> None:
    fields: dict[str, Any] = {"name": "o", "model_alias": "m", "prompt": "p"}
    column = dd.LLMStructuredColumnConfig.model_validate(fields | {"output_format": Offer})
    schema = ResponseSchema(column.output_format)
    answer = {"price": 2.675, "weight": "1.2345", "discount": "0.125", "note": "1.0", "grade": "1"}
    assert schema.parse(answer) == {**answer, "price": 2.68, "weight": 1.2345, "discount": 0.125}
    assert schema.parse({"price": "3", "weight": 4, "discount": None})["discount"] is None
    with pytest.raises(ResponseParseError, match="at price"):
        schema.parse({"price": "about 3", "weight": 4})
    assert column.value_type() == pa.struct(
        [
            ("price", pa.float64()),
            ("weight", pa.float64()),
            ("discount", pa.float64()),
            ("note", pa.string()),
            ("grade", pa.string()),
        ]
    )


def test_patterns_that_are_not_of_decimals_leave_text_alone() -> None:
    grade = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[A-F]$"}]}
    schema = ResponseSchema({"type": "object", "properties": {"grade": grade}})
    assert schema.parse({"grade": "B"}) == {"grade": "B"}


def test_the_pattern_that_some_versions_of_pydantic_write_is_one_of_decimals() -> None:
    pattern = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
    weight = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}]}
    schema = ResponseSchema({"type": "object", "properties": {"weight": weight}})
    assert schema.parse({"weight": "1.2345"}) == {"weight": 1.2345}


def test_an_integer_that_is_written_with_a_point_is_an_integer() -> None:
    fields = {
        "count": {"type": ["integer", "null"]},
        "size": {"type": "number"},
        "many": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
    }
    schema = ResponseSchema({"type": "object", "properties": fields})
    found = schema.parse({"count": 3.0, "size": 3.0, "many": [1e3, "1.0", 2]})
    assert json.dumps(found) == '{"count": 3, "size": 3.0, "many": [1000, "1.0", 2]}'
    assert json.dumps(schema.parse({"count": 1e300})) == '{"count": 1e+300}'


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
