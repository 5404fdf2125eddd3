"""Every field of every declaration has the default and the bounds that users know.

`reference_fields.json` holds what data-designer 0.9.7 says of its own fields: whether a field is
required, its default, its bounds.
"""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import dd_core.config as dd

FIELDS: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "reference_fields.json").read_text()
)
CASES = [(name, field) for name, fields in FIELDS.items() for field in fields]
OTHERWISE = {
    ("ModelConfig", "provider"),  # not required: `base_url` or the first provider will do
    ("ModelConfig", "inference_parameters"),  # has limits of our own
    ("ValidationColumnConfig", "validator_type"),  # may stand in the parameters instead
    ("RunConfig", "otel_metrics_port"),  # no port is opened unasked
    ("ModalityContext", "modality"),  # a base class here, each kind of which has its modality
}
_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length")
_BROKEN_BY = {
    "ge": lambda bound: bound - 1,
    "gt": lambda bound: bound,
    "le": lambda bound: bound + 1,
    "lt": lambda bound: bound,
    "min_length": lambda bound: [],
    "max_length": lambda bound: [None] * (bound + 1),
}


def declared(name: str) -> type[BaseModel]:
    found = getattr(dd, name)
    found.model_rebuild()
    return found


def plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def complaints(name: str, field: str, value: Any) -> list[str]:
    """What is wrong with a value of one field, whatever is wrong with the others."""
    try:
        declared(name).model_validate({field: value})
    except ValidationError as error:
        return [each["type"] for each in error.errors() if each["loc"][:1] == (field,)]
    return []


def test_the_table_is_whole() -> None:
    assert len(FIELDS) >= 55
    assert len(CASES) >= 280


@pytest.mark.parametrize("name", FIELDS)
def test_fields_have_the_known_defaults(name: str) -> None:
    for field, expected in FIELDS[name].items():
        if (name, field) in OTHERWISE:
            continue
        ours = declared(name).model_fields[field]
        assert ours.is_required() is expected.get("required", False), field
        if not ours.is_required():
            found = plain(ours.get_default(call_default_factory=True))
            known = expected["default"]
            assert (found, type(found)) == (known, type(known)), field


@pytest.mark.parametrize("name", FIELDS)
def test_values_beyond_a_bound_are_refused(name: str) -> None:
    for field, expected in FIELDS[name].items():
        for bound in set(_BOUNDS) & {*expected}:
            assert complaints(name, field, _BROKEN_BY[bound](expected[bound])), (field, bound)


@pytest.mark.parametrize("name", FIELDS)
def test_defaults_are_themselves_allowed(name: str) -> None:
    for field, expected in FIELDS[name].items():
        if "default" in expected:
            assert complaints(name, field, expected["default"]) == [], field


@pytest.mark.parametrize("name", [name for name in FIELDS if not name.endswith("Context")])
def test_a_field_that_does_not_exist_is_refused(name: str) -> None:
    assert complaints(name, "no_such_field", 1) == ["extra_forbidden"]
