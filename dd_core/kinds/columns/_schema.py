"""Checks a model's JSON: schemas of structured columns, and rubrics of judges.

The structure must match exactly: no value is converted to another type. The only leniency is that
properties which the schema does not declare are removed instead of failing the answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import jsonschema_rs

from dd_core.errors import ResponseParseError
from dd_core.kinds.columns._decimals import find_decimal

Schema = dict[str, Any]

_MAX_ERRORS = 5
_INT64 = 2**63
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_SCHEMAS = ("items", "not", "if", "then", "else", "contains", "additionalProperties")


class ResponseSchema:
    """A compiled JSON schema (draft 2020-12). Raises `ValueError` if the schema is not valid."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema: Schema = copy.deepcopy({**schema})
        _close_objects(self.schema)
        _require_tags(self.schema)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(self.schema)
        except jsonschema_rs.ValidationError as error:
            where = "/".join(map(str, cast("list[Any]", error.instance_path))) or "the top"
            message = f"this is not a valid JSON schema: at {where}, {error.message}"
            raise ValueError(message) from None
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValueError(f"this is not a valid JSON schema: {error}") from None
        parts = [*_walk(self.schema)]
        self._has_decimals = any(find_decimal(part) for part in parts)
        self._has_integers = any(_is_integer(part) for part in parts)

    def parse(self, value: Any) -> Any:
        """Return the value without unknown properties, decimals as floats, and `1.0` as 1.

        To a schema, `1.0` is an integer. Raises `ResponseParseError` if the value does not satisfy
        the schema.
        """
        try:
            return self._parse(value)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise ResponseParseError(f"the JSON cannot be checked: {error}") from error

    def _parse(self, value: Any) -> Any:
        # Pruning is slow, and most answers are valid as they are.
        if not self._validator.is_valid(value):
            value = self._prune(value, self.schema)
            errors = [*self._validator.iter_errors(value)]
            if errors:
                raise ResponseParseError(_write_correction(errors))
        is_converted = self._has_decimals or (self._has_integers and _has_whole_float(value))
        return self._convert(value, self.schema) if is_converted else value

    def _resolve(self, schema: Schema) -> Schema:
        """Return the schema at the end of a chain of local references."""
        while "$ref" in schema:
            target: Any = self.schema
            for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
                target = target[step] if step else target
            schema = target
        return schema

    def _expand(self, schema: Schema, value: Any) -> Iterator[Schema]:
        """Yield the schemas that apply to a value.

        These are the schema itself, every member of `allOf`, and of each `anyOf` and `oneOf` the
        first choice that the value satisfies. If it satisfies none, the first choice is taken:
        some choice has to decide what is pruned.
        """
        schema = self._resolve(schema)
        yield schema
        for part in schema.get("allOf", ()):
            yield from self._expand(part, value)
        for name in ("anyOf", "oneOf"):
            choices = [self._resolve(part) for part in schema.get(name, ())]
            chosen = [part for part in choices if self._suits(part, value)][:1] or choices[:1]
            for part in chosen:
                yield from self._expand(part, value)

    def _suits(self, schema: Schema, value: Any) -> bool:
        """Return whether a value satisfies a choice, ignoring unknown properties."""
        # The choice may refer to the `$defs` of the root, so the root is validated with the
        # structural keywords of the choice in place of its own.
        whole = {**self.schema, **schema} if schema is not self.schema else schema
        for name in ("type", "properties", "required", "anyOf", "oneOf", "allOf"):
            if name not in schema:
                whole.pop(name, None)
        pruned = self._prune(value, schema)
        return jsonschema_rs.Draft202012Validator(whole).is_valid(pruned)

    def _prune(self, value: Any, schema: Schema) -> Any:
        """Return the value without properties that the schema does not declare, at any depth."""
        schemas = [*self._expand(schema, value)]
        if isinstance(value, list):
            items = _find_items(schemas)
            return [self._prune(item, items) for item in cast("list[Any]", value)]
        if not isinstance(value, dict):
            return value
        properties = _merge_properties(schemas)
        is_closed = any(each.get("additionalProperties") is False for each in schemas)
        return {
            name: self._prune(item, properties.get(name, {}))
            for name, item in cast("dict[str, Any]", value).items()
            if name in properties or not is_closed
        }

    def _convert(self, value: Any, schema: Schema) -> Any:
        """Return the value with integers in integer fields, and floats in decimal fields.

        Decimals are rounded as their pattern allows.
        """
        resolved = self._resolve(schema)
        decimal = find_decimal(resolved)
        if decimal is not None and isinstance(value, str | int | float):
            return decimal.convert(value)
        if isinstance(value, float):
            is_whole = _is_whole(value) and any(map(_is_integer, self._expand(resolved, value)))
            return int(value) if is_whole else value
        schemas = [*self._expand(resolved, value)]
        if isinstance(value, list):
            items = _find_items(schemas)
            return [self._convert(item, items) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            properties = _merge_properties(schemas)
            members = cast("dict[str, Any]", value).items()
            return {name: self._convert(item, properties.get(name, {})) for name, item in members}
        return value


class ScoreLike(Protocol):
    """The part of a score that a rubric uses."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def options(self) -> Mapping[int | str, str]: ...


class Rubric:
    """The scores of a judge: the schema of its answer, and how the answer is read."""

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
        """Return `{name: {reasoning, score}}`, where each score is one of its options.

        Raises `ResponseParseError` if a score is missing or is not one of its options.
        """
        if isinstance(value, dict):
            given = cast("dict[str, Any]", value)
            scores = {each.name: _match_option(given.get(each.name), each) for each in self._scores}
            # A missing score must be reported as missing, not as null.
            value = {name: item for name, item in (given | scores).items() if item is not None}
        return self._response.parse(value)


def _is_integer(schema: Schema) -> bool:
    """Whether the only numbers that a schema accepts are integers."""
    kinds: Any = schema.get("type")
    listed = cast("list[Any]", kinds if isinstance(kinds, list) else [kinds])
    return "integer" in listed and "number" not in listed


def _is_whole(value: float) -> bool:
    return value.is_integer() and abs(value) < _INT64


def _has_whole_float(value: Any) -> bool:
    """Whether a value is or contains a float without a fraction."""
    if isinstance(value, float):
        return _is_whole(value)
    if isinstance(value, dict):
        return any(map(_has_whole_float, cast("dict[str, Any]", value).values()))
    return isinstance(value, list) and any(map(_has_whole_float, cast("list[Any]", value)))


def _find_items(schemas: Sequence[Schema]) -> Schema:
    """Return the schema of the items of a list; an empty schema if there is none."""
    for schema in schemas:
        items: Any = schema.get("items")
        if isinstance(items, dict):
            return cast("Schema", items)
    return {}


def _merge_properties(schemas: Sequence[Schema]) -> Schema:
    """Return the schemas of the properties of an object, by property name."""
    return {name: part for schema in schemas for name, part in schema.get("properties", {}).items()}


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


def _match_option(given: Any, score: ScoreLike) -> Any:
    """Return a judge's `{reasoning, score}` with the score replaced by the option that it means.

    `"5"`, `" 5 "` and `5.0` all mean the option `5`, and the case of text is ignored. A score that
    means no option, or more than one, is returned unchanged.
    """
    if not isinstance(given, dict) or "score" not in given:
        return cast("Any", given)
    judged = cast("dict[str, Any]", given)
    value = judged["score"]
    for option in score.options:
        # In Python, True equals 1.
        if option == value and isinstance(option, bool) == isinstance(value, bool):
            return {**judged, "score": option}
    meant = [option for option in score.options if _normalize(option) == _normalize(value)]
    return {**judged, "score": meant[0]} if len(meant) == 1 else judged


def _normalize(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def _walk(schema: Any) -> Iterator[Schema]:
    """Yield a schema and all schemas inside it."""
    if not isinstance(schema, dict):
        return
    node = cast("Schema", schema)
    yield node
    for name in _SCHEMA_MAPS:
        if isinstance(node.get(name), dict):
            for child in cast("Schema", node[name]).values():
                yield from _walk(child)
    for name in _SCHEMA_LISTS:
        if isinstance(node.get(name), list):
            for child in cast("list[Any]", node[name]):
                yield from _walk(child)
    for name in _SINGLE_SCHEMAS:
        yield from _walk(node.get(name))


def _close_objects(schema: Schema) -> None:
    """Forbid undeclared properties in all objects of a schema, in place.

    Exceptions are a bare `{"type": "object"}` and maps, whose `additionalProperties` is a schema.
    """
    for part in _walk(schema):
        is_object = part.get("type") == "object" or "properties" in part
        is_bare = not set(part) - {"type", "title", "description"}
        is_map = isinstance(part.get("additionalProperties"), dict)
        if is_object and not is_bare and not is_map:
            part["additionalProperties"] = False


def _require_tags(schema: Schema) -> None:
    """Make each choice of a discriminated `oneOf` require its tag, in place.

    `discriminator` is an extension that JSON schema validators ignore. Without the tag, a value
    may satisfy several choices, which `oneOf` does not permit.
    """
    for part in _walk(schema):
        discriminator: Any = part.get("discriminator")
        if not isinstance(discriminator, dict) or "oneOf" not in part:
            continue
        fields = cast("Schema", discriminator)
        name = fields.get("propertyName")
        mapping: Schema = fields.get("mapping") or {}
        for tag, target in mapping.items():
            variant: Any = schema
            for step in str(target).removeprefix("#/").split("/"):
                variant = variant.get(step, {})
            variant.setdefault("properties", {}).setdefault(name, {"const": tag})
            variant["required"] = [*dict.fromkeys([*variant.get("required", []), name])]


def _write_correction(errors: Sequence[Any]) -> str:
    """Return what is wrong with an answer, in words with which a model can correct it."""
    lines: list[str] = []
    for error in errors[:_MAX_ERRORS]:
        place = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path
        )
        lines.append(f"at {place.lstrip('.') or 'the top'}: {error.message}")
    more = len(errors) - _MAX_ERRORS
    tail = f"; and {more} more" if more > 0 else ""
    return f"the JSON does not satisfy the schema: {'; '.join(lines)}{tail}"
