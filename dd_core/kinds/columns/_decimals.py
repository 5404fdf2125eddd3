"""Decimal fields of JSON schemas: how models describe them, and how answers are read.

JSON has no decimals. A field of the type `Decimal` takes a number or text, and a pattern for the
text tells such a field from one that takes any text. Not all versions of pydantic write the
pattern, so it is written here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeAlias, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

Schema: TypeAlias = Mapping[str, Any]

_PLACES = re.compile(r"\\d\{0,(\d+)\}")
_ANY_PLACES = re.compile(r"\\\.\??\\d\*\)?\??\$$")


@dataclass(frozen=True)
class DecimalField:
    """A field whose values are stored as floats, with at most so many decimal places."""

    places: int | None
    """None if there is no limit."""

    def convert(self, value: str | float) -> float:
        """Return the rounded value; raises `ArithmeticError` for text that is no number."""
        exact = Decimal(str(value))
        if self.places is not None:
            exact = exact.quantize(Decimal(1).scaleb(-self.places), rounding=ROUND_HALF_UP)
        return float(exact)


def translate_model(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model, in which decimals have a pattern."""
    return model.model_json_schema(schema_generator=_ModelSchema)


def find_decimal(schema: Schema) -> DecimalField | None:
    """Return the decimal field that a schema describes; None for all others.

    Such a field takes numbers, the digits of numbers as text, and perhaps null, but nothing else.
    """
    choices = schema.get("anyOf")
    if not isinstance(choices, list):
        return None
    parts = [cast("Schema", each) for each in cast("list[Any]", choices) if isinstance(each, dict)]
    kinds = [part.get("type") for part in parts if part.get("type") != "null"]
    if sorted(map(str, kinds)) != ["number", "string"]:
        return None
    pattern = next(str(part.get("pattern")) for part in parts if part.get("type") == "string")
    if found := _PLACES.findall(pattern):
        return DecimalField(int(found[-1]))
    return DecimalField(None) if _ANY_PLACES.search(pattern) else None


class _ModelSchema(GenerateJsonSchema):
    """Writes the pattern of decimals."""

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        """Return a schema that takes a number, or text with the digits of one."""
        found = super().decimal_schema(schema)
        places = schema.get("decimal_places")
        digits = r"\d*" if places is None else rf"\d{{0,{places}}}0*"
        for choice in cast("list[dict[str, Any]]", found.get("anyOf", [])):
            if choice.get("type") == "string":
                choice["pattern"] = rf"^[+-]?\d+(\.{digits})?$"
        return found
