"""Replaces types that some readers do not have."""

from __future__ import annotations

from typing import Any

from dd_core.storage.schema.unification import MOST_DIGITS, OPEN_SIZE, is_any, is_list, is_text

EMPTY_OBJECTS = {b"dd.objects": b"empty"}
"""Metadata of a field of text in which each `{}` is an object without members."""


def is_marked(field: Any) -> bool:
    """Whether the text of a field stands for objects without members."""
    return EMPTY_OBJECTS.items() <= (field.metadata or {}).items()


def make_readable(kind: Any) -> Any:
    """Return the type in which every reader can load the values of a type.

    | type | stored as |
    |---|---|
    | object without members | text |
    | map | list of objects with `key` and `value` |
    | list view | list |
    | decimal of another width | decimal of 128 bits; text if it has more than 38 digits |
    | time zone of a fixed offset | UTC, in which the moments are the same |
    | UUID | text |
    | other extension type, except JSON | the type of its storage |
    """
    import pyarrow as pa

    arrow: Any = pa
    if isinstance(kind, arrow.BaseExtensionType):
        return _replace_extension(kind)
    if is_any(kind, "struct"):
        members = [pa.field(each.name, make_readable(each.type)) for each in kind]
        return pa.struct(members) if members else pa.string()
    if is_any(kind, "map"):
        return make_readable(make_entries(kind))
    if is_view(kind):
        items = make_readable(kind.value_type)
        return pa.large_list(items) if is_any(kind, "large_list_view") else pa.list_(items)
    if is_list(kind):
        items = make_readable(kind.value_type)
        if is_any(kind, "fixed_size_list") and kind.list_size == OPEN_SIZE:
            return pa.list_(items)
        return kind if items.equals(kind.value_type) else list_of(items, kind)
    if is_any(kind, "decimal"):
        digits = kind.precision - min(kind.scale, 0)
        return (
            arrow.decimal128(digits, max(kind.scale, 0)) if digits <= MOST_DIGITS else pa.string()
        )
    if is_any(kind, "timestamp") and (kind.tz or "").startswith(("+", "-")):
        return pa.timestamp(kind.unit, "UTC")
    return kind


def _replace_extension(kind: Any) -> Any:
    import pyarrow as pa

    arrow: Any = pa
    if isinstance(kind, arrow.JsonType):
        return kind
    if isinstance(kind, arrow.UuidType):
        return arrow.string()
    return arrow.bool_() if isinstance(kind, arrow.Bool8Type) else make_readable(kind.storage_type)


def make_entries(kind: Any) -> Any:
    """Return the type of the lists of entries that a map consists of."""
    import pyarrow as pa

    return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))


def is_view(kind: Any) -> bool:
    """Whether a type holds views of lists."""
    return is_any(kind, "list_view", "large_list_view")


def list_of(items: Any, kind: Any) -> Any:
    """Return the type of lists like `kind` with other items; lists of text become text."""
    import pyarrow as pa

    if is_text(items) and not is_text(kind.value_type):
        return pa.string()
    return pa.large_list(items) if is_any(kind, "large_list") else pa.list_(items)
