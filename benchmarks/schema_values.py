"""A value that satisfies a JSON schema, the same one for the same schema and number."""

from __future__ import annotations

import string
from typing import Any

_LETTERS = string.ascii_lowercase


def value_of(schema: dict[str, Any], number: int, root: dict[str, Any] | None = None) -> Any:
    """A value of the schema; `number` varies what the schema leaves open."""
    root = root or schema
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[step] if step else target
        return value_of(target, number, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return value_of(schema[name][0], number, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    return _FILLERS[kind](schema, number, root)


def _object(schema: dict[str, Any], number: int, root: dict[str, Any]) -> dict[str, Any]:
    members = schema.get("properties", {}).items()
    return {name: value_of(part, number + i, root) for i, (name, part) in enumerate(members)}


def _array(schema: dict[str, Any], number: int, root: dict[str, Any]) -> list[Any]:
    count = max(schema.get("minItems", 1), 1)
    return [value_of(schema.get("items", {}), number + index, root) for index in range(count)]


def _string(schema: dict[str, Any], number: int, root: dict[str, Any]) -> str:
    text = "".join(_LETTERS[(number + index) % 26] for index in range(12))
    length = max(schema.get("minLength", 0), min(len(text), schema.get("maxLength", len(text))))
    return (text * (length // len(text) + 1))[:length]


def _integer(schema: dict[str, Any], number: int, root: dict[str, Any]) -> int:
    low = int(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
    high = int(schema.get("maximum", schema.get("exclusiveMaximum", low + 100) - 1))
    return low + number % (high - low + 1)


_FILLERS: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": lambda schema, number, root: float(_integer(schema, number, root)),
    "boolean": lambda schema, number, root: number % 2 == 0,
    "null": lambda schema, number, root: None,
}
