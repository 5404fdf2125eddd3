"""Schemas with references and choices: pruned where they must be, strict everywhere."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel

from benchmarks.schema_values import value_of
from dd_core.errors import ResponseParseError
from dd_core.kinds.columns._answers import extract_json
from dd_core.kinds.columns._schema import ResponseSchema


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Shop(BaseModel):
    owner: Node | None
    prices: list[float]


def parsed(schema: dict[str, Any], value: Any) -> Any:
    return ResponseSchema(schema).parse(value)


def test_unknown_properties_are_removed_at_every_depth_of_a_recursive_schema() -> None:
    value = {
        "name": "a",
        "children": [{"name": "b", "age": 1, "children": [{"name": "c", "x": 0}]}],
    }
    assert parsed(Node.model_json_schema(), value) == {
        "name": "a",
        "children": [{"name": "b", "children": [{"name": "c"}]}],
    }


@pytest.mark.parametrize(("given", "kept"), [(None, None), ({"name": "a", "x": 1}, {"name": "a"})])
def test_an_optional_object_is_pruned_or_null(given: Any, kept: Any) -> None:
    value = {"owner": given, "prices": []}
    assert parsed(Shop.model_json_schema(), value) == {"owner": kept, "prices": []}


CIRCLE = {"type": "object", "properties": {"r": {"type": "number"}}, "required": ["r"]}
SQUARE = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}


@pytest.mark.parametrize("choice", ["anyOf", "oneOf"])
@pytest.mark.parametrize(
    ("given", "kept"),
    [({"r": 1}, {"r": 1}), ({"a": 2, "colour": "red"}, {"a": 2}), ({"r": 1, "n": 0}, {"r": 1})],
)
def test_the_variant_that_fits_decides_what_is_kept(choice: str, given: Any, kept: Any) -> None:
    schema = {"type": "object", "properties": {"s": {choice: [CIRCLE, SQUARE]}}}
    assert parsed(schema, {"s": given}) == {"s": kept}


@pytest.mark.parametrize("choice", ["anyOf", "oneOf"])
def test_what_fits_no_variant_is_refused(choice: str) -> None:
    schema = {"type": "object", "properties": {"s": {choice: [CIRCLE, SQUARE]}}}
    with pytest.raises(ResponseParseError, match="at s"):
        parsed(schema, {"s": {"r": "wide"}})


def test_a_map_keeps_its_keys() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert parsed(schema, {"any": 1, "key": 2}) == {"any": 1, "key": 2}
    with pytest.raises(ResponseParseError, match="at any"):
        parsed(schema, {"any": "one"})


@pytest.mark.parametrize("kind", ["integer", "number", "string", "boolean"])
@pytest.mark.parametrize("given", ["1", 1, 1.5, True, None, [], {}])
def test_no_type_is_converted_to_another(kind: str, given: Any) -> None:
    fits = {
        "integer": type(given) is int,
        "number": type(given) in (int, float),
        "string": type(given) is str,
        "boolean": type(given) is bool,
    }
    schema = {"type": "object", "properties": {"x": {"type": kind}}}
    if fits[kind]:
        assert parsed(schema, {"x": given}) == {"x": given}
        return
    with pytest.raises(ResponseParseError, match="at x"):
        parsed(schema, {"x": given})


def test_a_schema_is_not_changed_by_being_compiled() -> None:
    schema = Shop.model_json_schema()
    ResponseSchema(schema)
    assert schema == Shop.model_json_schema()


def test_many_complaints_are_cut_short() -> None:
    properties = {f"p{number}": {"type": "integer"} for number in range(20)}
    with pytest.raises(ResponseParseError, match="and 15 more") as raised:
        parsed({"type": "object", "properties": properties}, dict.fromkeys(properties, "x"))
    assert len(str(raised.value)) < 1000


@given(st.integers(0, 1000))
def test_a_value_of_a_schema_passes_unchanged(number: int) -> None:
    schema = {**Node.model_json_schema()["$defs"]["Node"], "$defs": {}}
    schema["properties"] = {"name": {"type": "string"}, "n": {"type": "integer"}}
    value = value_of(schema, number)
    assert ResponseSchema(schema).parse(value) == value


@pytest.mark.parametrize(
    "answer", ["[" * 20_000, '{"a":' * 20_000, "```json\n" * 5_000, "{" * 20_000 + "}" * 20_000]
)
def test_a_model_that_repeats_itself_costs_little_time(answer: str) -> None:
    began = time.thread_time()  # other processes may keep the machine busy
    with contextlib.suppress(ResponseParseError):
        extract_json(answer)
    assert time.thread_time() - began < 1.0
