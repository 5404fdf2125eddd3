"""Generate values that satisfy a JSON schema: the same schema and number give the same value."""

from __future__ import annotations

import json
import math
import re
import string
from typing import Any

Schema = dict[str, Any]

_LETTERS = string.ascii_lowercase * 2
_ELEMENT = re.compile(r"<response_schema>\s*(\{.*?\})\s*</response_schema>", re.DOTALL)
_FENCE = re.compile(r"starts with ```(\w+)")
_DEEP = 4
"""Number of references to follow before a recursive schema is cut short."""
_FORMATS = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "ipv4": "192.0.2.1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "6f1c2f8e-3c1d-4b52-9a54-0d5b3f5f7a10",
}


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content or ())


def structured_text(request: dict[str, Any], number: int) -> str | None:
    """The JSON or code that a chat request asks for, or None if it asks for prose.

    The schema is in `response_format`, or in a `<response_schema>` element of a user message. The
    latest element counts, because a conversation that corrects an answer does not repeat it.
    """
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(value_of(wanted["json_schema"]["schema"], number))
    for message in reversed(request["messages"]):
        if message["role"] == "user" and (found := _ELEMENT.search(text_of(message["content"]))):
            return f"```json\n{json.dumps(value_of(json.loads(found[1]), number))}\n```"
        if message["role"] == "user" and (fence := _FENCE.search(text_of(message["content"]))):
            code = f"SELECT {number % 100} AS n" if fence[1] == "sql" else f"n = {number % 100}"
            return f"```{fence[1]}\n{code}\n```"
    return None


def value_of(
    schema: Schema | bool, number: int = 0, root: Schema | None = None, depth: int = 0
) -> Any:
    """A value that satisfies the schema; `number` varies what the schema leaves open.

    Raises:
        ValueError: no value fits, or the schema has a `pattern`.
    """
    if not isinstance(schema, dict):
        return "anything"
    root = root or schema
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[step] if step else target
        return value_of({**target, **_without(schema, "$ref")}, number, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    for name in ("anyOf", "oneOf"):
        if branches := schema.get(name):
            branch = min(branches, key=_complexity) if depth > _DEEP else branches[0]
            return value_of({**_without(schema, name), **branch}, number, root, depth)
    if "allOf" in schema:
        return value_of(_merged(schema, root), number, root, depth)
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    return _FILLERS[kind if isinstance(kind, str) else kind[0]](schema, number, root, depth)


def _without(schema: Schema, name: str) -> Schema:
    return {key: value for key, value in schema.items() if key != name}


def _complexity(branch: Schema) -> int:
    return 0 if branch.get("type") == "null" else 2 if "$ref" in branch else 1


def _merged(schema: Schema, root: Schema) -> Schema:
    merged: Schema = {}
    for part in (*schema["allOf"], _without(schema, "allOf")):
        while "$ref" in part:
            target: Any = root
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            part = {**target, **_without(part, "$ref")}
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged = {**merged, **part}
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged


def _object(schema: Schema, number: int, root: Schema, depth: int) -> dict[str, Any]:
    known, required = schema.get("properties", {}), schema.get("required", ())
    others = schema.get("additionalProperties", True)
    names = [*(required if depth > _DEEP else known)]
    names += [name for name in required if name not in names]
    names += [f"key{index}" for index in range(schema.get("minProperties", 0) - len(names))]
    return {
        name: value_of(known.get(name, others), number + index, root, depth)
        for index, name in enumerate(names)
    }


def _array(schema: Schema, number: int, root: Schema, depth: int) -> list[Any]:
    first = schema.get("prefixItems", ())
    fewest = max(schema.get("minItems", 0), len(first))
    count = fewest if depth > _DEEP else max(fewest, 1)
    return [
        value_of(first[index] if index < len(first) else schema.get("items", True), at, root, depth)
        for index, at in enumerate(
            range(number, number + min(count, schema.get("maxItems", count)))
        )
    ]


def _string(schema: Schema, number: int, root: Schema, depth: int) -> str:
    if "pattern" in schema:
        raise ValueError(f"this server has no strings for the pattern {schema['pattern']!r}")
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    length = max(schema.get("minLength", 0), min(12, schema.get("maxLength", 12)))
    text = _LETTERS[number % 26 : number % 26 + min(length, 26)]
    return text if len(text) == length else (text * (length // len(text) + 1))[:length]


def _integer(schema: Schema, number: int, root: Schema, depth: int) -> int:
    step = schema.get("multipleOf", 1)
    low, high = _steps(schema, step)
    if low > high:
        raise ValueError(f"no integer satisfies {schema!r}")
    return int((low + number % (high - low + 1)) * step)


def _number(schema: Schema, number: int, root: Schema, depth: int) -> float:
    step = schema.get("multipleOf", 1)
    low, high = _steps(schema, step)
    if low <= high:
        return round(float((low + number % (high - low + 1)) * step), 12)
    # No multiple of `step` lies within the bounds, so use a fraction between them.
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    return float(least + (most - least) * (1 + number % 97) / 99)


def _steps(schema: Schema, step: float) -> tuple[int, int]:
    """Factors of the smallest and the largest multiple of `step` within the bounds."""
    lows, highs = [], []
    if "minimum" in schema:
        lows.append(math.ceil(schema["minimum"] / step))
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(schema["exclusiveMinimum"] / step) + 1)
    if "maximum" in schema:
        highs.append(math.floor(schema["maximum"] / step))
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(schema["exclusiveMaximum"] / step) - 1)
    low = max(lows) if lows else min(0, *(high - 100 for high in highs)) if highs else 0
    return low, min(highs) if highs else low + 100


_FILLERS: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda schema, number, root, depth: number % 2 == 0,
    "null": lambda schema, number, root, depth: None,
}
