"""What models are told about tools: schemas without references, and names."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
from hypothesis import given, strategies as st

from dd_core.models.tools.definitions import OfferedTool, inline_references, make_shown_name

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}


def test_references_become_what_they_refer_to() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/Point", "description": "mine"},
            "b": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
            "$ref": {"type": "string"},
        },
        "$defs": {
            "Point": {"type": "object", "description": "any", "properties": {"x": {"const": 1}}},
            "Line": {"properties": {"end": {"$ref": "#/$defs/Point"}}},
        },
    }
    point = {"type": "object", "description": "any", "properties": {"x": {"const": 1}}}
    assert inline_references(schema) == {
        "type": "object",
        "properties": {
            "a": {**point, "description": "mine"},
            "b": {"type": "array", "items": {"properties": {"end": point}}},
            "$ref": {"type": "string"},
        },
    }


def test_schemas_that_cannot_be_inlined_stay_valid() -> None:
    recursive = {"properties": {"head": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": NODE}}
    inlined = inline_references(recursive)
    assert inlined["$defs"] == {"Node": NODE}
    for schema in (recursive, inlined):
        validator = jsonschema_rs.validator_for(schema)
        assert validator.is_valid({"head": {"next": {"next": {}}}})
        assert not validator.is_valid({"head": {"next": {"next": 5}}})
    doubling: dict[str, Any] = {"d0": {"type": "string"}}
    for number in range(40):
        both = {"$ref": f"#/$defs/d{number}"}
        doubling[f"d{number + 1}"] = {"properties": {"a": both, "b": both}}
    large = {"properties": {"a": {"$ref": "#/$defs/d40"}}, "$defs": doubling}
    assert inline_references(large) == large
    for odd in ({"$ref": "http://x.invalid/y"}, {"$ref": "#/$defs/missing"}, {"$ref": "#"}):
        assert inline_references({"properties": {"a": odd}}) == {"properties": {"a": odd}}


def test_a_schema_that_is_not_valid_is_left_to_the_server() -> None:
    for schema in ({"type": "nonsense"}, {"properties": {"a": {"$ref": "http://x.invalid/y"}}}):
        server: Any = None
        tool = OfferedTool(server, "a", "a", "", schema, is_repeatable=False)
        assert tool.parse_arguments('{"a": 1}') == {"a": 1}


@given(st.lists(st.text(min_size=1, max_size=100), unique=True, max_size=20))
def test_every_name_is_accepted_and_unique(names: list[str]) -> None:
    shown: dict[str, str] = {}
    for name in names:
        shown[make_shown_name(name, shown)] = name
    assert sorted(shown.values()) == sorted(names)
    for name in shown:
        assert 1 <= len(name) <= 64
        assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in name)


def test_names_that_are_accepted_do_not_change() -> None:
    assert make_shown_name("get_fact-2", {}) == "get_fact-2"
    assert make_shown_name("a.b", {}) == "a_b"
    assert make_shown_name("a.b", {"a_b"}).startswith("a_b_")
