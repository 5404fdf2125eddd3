"""The shape that a model's JSON must have: schemas of structured columns, rubrics of judges.

Strict about the shape: nothing is converted. Properties that the schema does not know are removed
instead of failing the answer.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol, cast

import jsonschema_rs

from dd_core.errors import ResponseParseError

Schema = dict[str, Any]

_MOST_COMPLAINTS = 5
_DECIMALS = re.compile(r"\\d\{0,(\d+)\}")
_CHILDREN = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "not", "if", "then", "else", "contains", "additionalProperties")


class ResponseSchema:
    """A JSON schema (draft 2020-12), compiled. Raises `ValueError` when it is none."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema: Schema = copy.deepcopy({**schema})
        _close_objects(self.schema)
        _pick_discriminated(self.schema)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(self.schema)
        except jsonschema_rs.ValidationError as error:
            where = "/".join(map(str, cast("list[Any]", error.instance_path))) or "its top"
            raise ValueError(f"this is no JSON schema: at {where}, {error.message}") from None
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValueError(f"this is no JSON schema: {error}") from None
        self._has_decimals = any(_decimals(part) is not None for part in _parts(self.schema))

    def parse(self, value: Any) -> Any:
        """The value without unknown properties; `ResponseParseError` when it does not fit."""
        if not self._validator.is_valid(value):
            value = self._pruned(value, self.schema)
            errors = [*self._validator.iter_errors(value)]
            if errors:
                raise ResponseParseError(_complaint(errors))
        return self._rounded(value, self.schema) if self._has_decimals else value

    def _resolved(self, schema: Schema) -> Schema:
        """The schema that a chain of local references ends at."""
        while "$ref" in schema:
            target: Any = self.schema
            for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                target = target[step] if step else target
            schema = target
        return schema

    def _variants(self, schema: Schema, value: Any) -> Iterator[Schema]:
        """The schemas that apply to a value: itself, all of `allOf`, what fits of the choices."""
        schema = self._resolved(schema)
        yield schema
        for part in schema.get("allOf", ()):
            yield from self._variants(part, value)
        for name in ("anyOf", "oneOf"):
            choices = [self._resolved(part) for part in schema.get(name, ())]
            chosen = [part for part in choices if self._suits(part, value)][:1] or choices[:1]
            for part in chosen:
                yield from self._variants(part, value)

    def _suits(self, schema: Schema, value: Any) -> bool:
        """Whether a variant fits a value once unknown properties are removed from it."""
        whole = {**self.schema, **schema} if schema is not self.schema else schema
        for name in ("type", "properties", "required", "anyOf", "oneOf", "allOf"):
            if name not in schema:
                whole.pop(name, None)
        pruned = self._pruned(value, schema)
        return jsonschema_rs.Draft202012Validator(whole).is_valid(pruned)

    def _pruned(self, value: Any, schema: Schema) -> Any:
        variants = [*self._variants(schema, value)]
        if isinstance(value, list):
            items = _items(variants)
            return [self._pruned(item, items) for item in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        members = _members(variants)
        closed = any(variant.get("additionalProperties") is False for variant in variants)
        return {
            name: self._pruned(item, members.get(name, {}))
            for name, item in cast("dict[str, Any]", value).items()
            if name in members or not closed
        }

    def _rounded(self, value: Any, schema: Schema) -> Any:
        """Decimal fields as floats with the decimals that their pattern allows."""
        resolved = self._resolved(schema)
        places = _decimals(resolved)
        if places is not None and isinstance(value, str | int | float):
            exponent = Decimal(1).scaleb(-places)
            return float(Decimal(str(value)).quantize(exponent, rounding=ROUND_HALF_UP))
        variants = [*self._variants(resolved, value)]
        if isinstance(value, list):
            items = _items(variants)
            return [self._rounded(item, items) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            members = _members(variants)
            items_of = cast("dict[str, Any]", value).items()
            return {name: self._rounded(item, members.get(name, {})) for name, item in items_of}
        return value


class ScoreLike(Protocol):
    """What a rubric needs to know of a score."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def options(self) -> Mapping[int | str, str]: ...


class Rubric:
    """The scores that a judge gives, as a schema and as a way to read them."""

    def __init__(self, scores: Sequence[ScoreLike]) -> None:
        self._scores = scores
        self.schema: Schema = {
            "type": "object",
            "properties": {score.name: _score_schema(score) for score in scores},
            "required": [score.name for score in scores],
            "additionalProperties": False,
        }
        self._response = ResponseSchema(self.schema)

    def parse(self, value: Any) -> dict[str, Any]:
        """`{name: {reasoning, score}}` with each score one of its options' own values."""
        if isinstance(value, dict):
            given = cast("dict[str, Any]", value)
            value = {**given, **{s.name: _coerced(given.get(s.name), s) for s in self._scores}}
            value = {name: item for name, item in value.items() if item is not None}
        return self._response.parse(value)


def _items(variants: Sequence[Schema]) -> Schema:
    """The schema of a list's items."""
    for variant in variants:
        items: Any = variant.get("items")
        if isinstance(items, dict):
            return cast("Schema", items)
    return {}


def _members(variants: Sequence[Schema]) -> Schema:
    """The schemas of an object's properties."""
    return {
        name: part for variant in variants for name, part in variant.get("properties", {}).items()
    }


def _score_schema(score: ScoreLike) -> Schema:
    meanings = "; ".join(f"{option}: {meaning}" for option, meaning in score.options.items())
    return {
        "type": "object",
        "description": score.description,
        "properties": {
            "reasoning": {"type": "string", "description": "Why this score was chosen."},
            "score": {"enum": [*score.options], "description": meanings},
        },
        "required": ["reasoning", "score"],
        "additionalProperties": False,
    }


def _coerced(given: Any, score: ScoreLike) -> Any:
    """The given score with its value replaced by the one option that it means."""
    if not isinstance(given, dict) or "score" not in given:
        return cast("Any", given)
    judged = cast("dict[str, Any]", given)
    value = judged["score"]
    for option in score.options:
        if option == value and isinstance(option, bool) == isinstance(value, bool):
            return {**judged, "score": option}
    meant = [option for option in score.options if _key(option) == _key(value)]
    return {**judged, "score": meant[0]} if len(meant) == 1 else judged


def _key(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def _parts(schema: Any) -> Iterator[Schema]:
    """A schema and every schema inside it."""
    if not isinstance(schema, dict):
        return
    node = cast("Schema", schema)
    yield node
    for name in _CHILDREN:
        if isinstance(node.get(name), dict):
            for child in cast("Schema", node[name]).values():
                yield from _parts(child)
    for name in _LISTS:
        if isinstance(node.get(name), list):
            for child in cast("list[Any]", node[name]):
                yield from _parts(child)
    for name in _SINGLE:
        yield from _parts(node.get(name))


def _close_objects(schema: Schema) -> None:
    """No properties beyond those declared, except in a bare `{"type": "object"}`."""
    for part in _parts(schema):
        is_object = part.get("type") == "object" or "properties" in part
        is_bare = not set(part) - {"type", "title", "description"}
        is_map = isinstance(part.get("additionalProperties"), dict)
        if is_object and not is_bare and not is_map:
            part["additionalProperties"] = False


def _pick_discriminated(schema: Schema) -> None:
    """Each variant of a discriminated `oneOf` requires its own tag, so only that one can fit."""
    for part in _parts(schema):
        discriminator: Any = part.get("discriminator")
        if not isinstance(discriminator, dict) or "oneOf" not in part:
            continue
        chosen = cast("Schema", discriminator)
        name = chosen.get("propertyName")
        mapping: Schema = chosen.get("mapping") or {}
        for tag, target in mapping.items():
            variant: Any = schema
            for step in str(target).removeprefix("#/").split("/"):
                variant = variant.get(step, {})
            variant.setdefault("properties", {}).setdefault(name, {"const": tag})
            variant["required"] = [*dict.fromkeys([*variant.get("required", []), name])]


def _decimals(schema: Schema) -> int | None:
    """Decimal places of a field that takes a number or a patterned text, as pydantic's Decimal."""
    choices: Any = schema.get("anyOf")
    if not isinstance(choices, list):
        return None
    parts = [cast("Schema", part) for part in cast("list[Any]", choices) if isinstance(part, dict)]
    if not any(part.get("type") == "number" for part in parts):
        return None
    for part in parts:
        found = _DECIMALS.findall(str(part.get("pattern", "")))
        if part.get("type") == "string" and found:
            return int(found[-1])
    return None


def _complaint(errors: Sequence[Any]) -> str:
    """What is wrong, written so that a model can correct it."""
    lines: list[str] = []
    for error in errors[:_MOST_COMPLAINTS]:
        place = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path
        )
        lines.append(f"at {place.lstrip('.') or 'the top'}: {error.message}")
    more = len(errors) - _MOST_COMPLAINTS
    tail = f"; and {more} more" if more > 0 else ""
    return f"the JSON does not satisfy the schema: {'; '.join(lines)}{tail}"
