"""The Arrow types of values that satisfy a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias, cast

from dd_core.kinds.columns._decimals import find_decimal
from dd_core.storage.arrow import to_array
from dd_core.storage.schema import unify_types

Schema: TypeAlias = Mapping[str, Any]


def translate_schema(schema: Schema) -> Any:
    """Return the type of values that satisfy a schema.

    Objects with declared properties become structs with all of them, whether they are required or
    not. What a schema leaves open becomes JSON text: free-form objects, maps, lists whose items
    have no schema, values of several types, and schemas that contain themselves.
    """
    import pyarrow as pa

    found = _find_type(schema, schema, frozenset())
    return pa.string() if found is None else found


def _find_type(schema: Any, root: Schema, seen: frozenset[str]) -> Any:
    """Return the type of a part of the schema; None if the part leaves it open."""
    import pyarrow as pa

    if not isinstance(schema, Mapping):
        return None
    part = cast("Schema", schema)
    if "$ref" in part:
        name = str(part["$ref"])
        return None if name in seen else _find_type(_resolve(name, root), root, seen | {name})
    if "const" in part or "enum" in part:
        return _type_of_values([part["const"]] if "const" in part else part["enum"])
    choices = [each for name in ("anyOf", "oneOf") for each in part.get(name, ())]
    if find_decimal(part):
        return pa.float64()
    found = [_unify([_find_type(each, root, seen) for each in choices])] if choices else []
    found += [_find_type(each, root, seen) for each in part.get("allOf", ())]
    if own := _list_own_types(part):
        found.append(_unify([_type_of_kind(kind, part, root, seen) for kind in own]))
    return _unify(found)


def _list_own_types(part: Schema) -> Sequence[str]:
    kind: Any = part.get("type")
    if kind is None:
        return ["object"] if "properties" in part else []
    return [kind] if isinstance(kind, str) else cast("Sequence[str]", kind)


def _type_of_kind(kind: str, part: Schema, root: Schema, seen: frozenset[str]) -> Any:
    import pyarrow as pa

    if kind == "array":
        items = None if "prefixItems" in part else _find_type(part.get("items"), root, seen)
        return None if items is None else pa.list_(items)
    if kind == "object":
        properties: Schema = part.get("properties") or {}
        is_open = "patternProperties" in part or bool(part.get("additionalProperties", False))
        if is_open or not properties:
            return None
        members = {name: _find_type(each, root, seen) for name, each in properties.items()}
        return pa.struct(
            [(name, pa.string() if each is None else each) for name, each in members.items()]
        )
    simple: dict[str, Any] = {
        "string": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "null": pa.null(),
    }
    return simple.get(kind)


def _unify(kinds: Sequence[Any]) -> Any:
    """Return the type of values that have any of the types; None if one is open or none fits."""
    if not kinds or any(kind is None for kind in kinds):
        return None
    return reduce(lambda one, other: None if one is None else unify_types(one, other), kinds)


def _type_of_values(values: Any) -> Any:
    """Return the type of listed values; None if they have none in common."""
    import pyarrow as pa

    given: list[Any] = [*values]
    kind: Any = to_array(given).type
    is_text = pa.types.is_string(kind) and not all(isinstance(each, str | None) for each in given)
    return None if is_text else kind


def _resolve(name: str, root: Schema) -> Any:
    """Return what a local reference points to; None if there is nothing."""
    target: Any = root
    for step in name.removeprefix("#").strip("/").split("/"):
        if step:
            known = isinstance(target, Mapping)
            target = cast("Schema", target).get(step) if known else None
    return target
