"""What a model is told about a tool, and whether a call of it is valid."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import jsonschema_rs

from dd_core.models.wire.body import replace_surrogates

if TYPE_CHECKING:
    from dd_core.models.tools.server import ToolServer

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64
_HASH_LENGTH = 8
_MOST_NODES = 5_000
"""Size of a schema beyond which its references stay references."""
_QUOTED_ERRORS = 5
_QUOTED_LENGTH = 300


@dataclass(frozen=True)
class OfferedTool:
    """A tool that models may call."""

    server: ToolServer
    name: str
    """The name that the server uses."""
    shown_name: str
    """The name that models use."""
    description: str
    schema: Mapping[str, Any]
    is_repeatable: bool

    @property
    def definition(self) -> dict[str, Any]:
        """The definition in OpenAI's format."""
        function = {
            "name": self.shown_name,
            "description": self.description,
            "parameters": inline_references(self.schema),
        }
        return {"type": "function", "function": function}

    def parse_arguments(self, text: str) -> dict[str, Any]:
        """Parse the arguments of a call; raises `ValueError`, which says what to correct."""
        try:
            parsed: Any = json.loads(text, parse_constant=_refuse_constant) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"they are not valid JSON ({error})") from None
        if not isinstance(parsed, dict):
            raise ValueError(f"they must be a JSON object, not {_describe(parsed)}")
        arguments = cast("dict[str, Any]", replace_surrogates(parsed))
        if self._validator is not None:
            errors = [*self._validator.iter_errors(arguments)]
            if errors:
                raise ValueError("; ".join(map(_describe_error, errors[:_QUOTED_ERRORS])))
        return arguments

    @cached_property
    def _validator(self) -> Any:
        """None for a schema that is not valid: then the server checks the arguments."""
        try:
            return jsonschema_rs.validator_for({**self.schema}, offline=True)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
            return None


def make_shown_name(name: str, taken: Container[str]) -> str:
    """A name that OpenAI accepts and that is not taken: at most 64 of `A-Z a-z 0-9 _ -`."""
    shown = _FORBIDDEN.sub("_", name)
    if shown and len(shown) <= _LONGEST_NAME and shown not in taken:
        return shown
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{shown[: _LONGEST_NAME - _HASH_LENGTH - 1]}_{digest}"


def inline_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its definitions in place of `$ref`, which some model servers refuse.

    A schema that refers to itself, or would become very large, keeps its references.
    """
    inliner = _Inliner(schema)
    try:
        inlined: Any = inliner.resolve({**schema}, ())
    except (_TooLargeError, RecursionError):
        return {**schema}
    if not inliner.has_references:
        inlined.pop("$defs", None)
        inlined.pop("definitions", None)
    return inlined


class _TooLargeError(Exception):
    """The inlined schema has too many nodes."""


class _Inliner:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self.has_references = False
        """Whether references are left over."""

    def resolve(self, part: Any, path: tuple[str, ...]) -> Any:
        """A part of the schema without references; `path` are the references that led to it."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _TooLargeError
        if isinstance(part, list):
            return [self.resolve(item, path) for item in cast("list[Any]", part)]
        if not isinstance(part, dict):
            return part
        fields = cast("dict[str, Any]", part)
        reference = fields.get("$ref")
        if isinstance(reference, str):
            target = None if reference in path else self._find(reference)
            if target is None:
                self.has_references = True
                return fields
            siblings = {key: value for key, value in fields.items() if key != "$ref"}
            return self.resolve({**target, **siblings}, (*path, reference))
        return {key: self._resolve_field(key, value, path) for key, value in fields.items()}

    def _resolve_field(self, key: str, value: Any, path: tuple[str, ...]) -> Any:
        if key in ("$defs", "definitions", "default", "const", "enum", "examples"):
            return value
        # The names of properties are not keywords, not even `$ref`.
        is_map = key in ("properties", "patternProperties")
        if is_map and isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            return {name: self.resolve(member, path) for name, member in members.items()}
        return self.resolve(value, path)

    def _find(self, reference: str) -> dict[str, Any] | None:
        if not reference.startswith("#/"):
            return None
        found: Any = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            found = cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _describe(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    return "a string" if isinstance(value, str) else f"the value {json.dumps(value)}"


def _describe_error(error: jsonschema_rs.ValidationError) -> str:
    path = "/".join(map(str, cast("list[Any]", error.instance_path)))
    where = f"at {path!r}: " if path else ""
    return where + error.message[:_QUOTED_LENGTH]
