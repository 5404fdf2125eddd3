"""The schema of a dataset: how types are unified, and how arrays are converted to the common type.

Every table of a dataset is written batch by batch, and a batch sees only its own values. The rules
here decide which type holds the values of all batches without changing one of them:

- A value is never changed into another one. Null goes with every type.
- Numbers take the smallest type that holds both exactly. Integers become floats only if every one
  of them is exactly representable.
- Lists unify their items, and objects their members; a missing member is null.
- Everything else becomes text: a string stays as it is, and any other value is written as JSON.
  Inside an object, only the member becomes text; a list becomes text as a whole.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from dd_core.storage.json_codec import write_as_text

_logger = logging.getLogger(__name__)
_LONGEST_EXAMPLE = 80
_UNITS = ("s", "ms", "us", "ns")
_MOST_DIGITS = 38
"""Digits of a decimal that every reader can hold."""


def unify_types(first: Any, second: Any) -> Any:
    """Return the type that holds the values of both types; None if only text does.

    The result may depend on the values: `widen_type` checks them.
    """
    import pyarrow as pa

    types: Any = pa.types
    if first.equals(second) or types.is_null(second):
        return normalize_type(first)
    if types.is_null(first):
        return normalize_type(second)
    if types.is_dictionary(first) or types.is_dictionary(second):
        return unify_types(_undo_dictionary(first), _undo_dictionary(second))
    for unify in (_unify_numbers, _unify_moments, _unify_bytes, _unify_nested):
        if (found := unify(first, second)) is not None:
            return found
    return None


def normalize_type(kind: Any) -> Any:
    """Return a type in which every member and item may be null and has its default name."""
    import pyarrow as pa

    types: Any = pa.types
    if types.is_struct(kind):
        return pa.struct([pa.field(each.name, normalize_type(each.type)) for each in kind])
    if types.is_list(kind):
        return pa.list_(normalize_type(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(normalize_type(kind.value_type))
    return kind


def _undo_dictionary(kind: Any) -> Any:
    return kind.value_type if hasattr(kind, "index_type") else kind


def _unify_numbers(first: Any, second: Any) -> Any:
    import pyarrow as pa

    types: Any = pa.types
    kinds = [first, second]
    if all(map(types.is_integer, kinds)):
        if types.is_signed_integer(first) == types.is_signed_integer(second):
            return max(kinds, key=lambda kind: kind.bit_width)
        signed, other = sorted(kinds, key=types.is_unsigned_integer)
        if other.bit_width < 64:
            wide = max(signed.bit_width, other.bit_width * 2)
            return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[wide]
        return other
    if all(types.is_integer(kind) or types.is_floating(kind) for kind in kinds):
        floats = [kind for kind in kinds if types.is_floating(kind)]
        return max(floats, key=lambda kind: kind.bit_width) if len(floats) > 1 else pa.float64()
    if any(map(types.is_decimal, kinds)):
        return _unify_decimals(first, second)
    return None


def _unify_decimals(first: Any, second: Any) -> Any:
    import pyarrow as pa

    types: Any = pa.types
    wholes: list[int] = []
    scales: list[int] = []
    for kind in (first, second):
        if types.is_decimal(kind):
            wholes.append(kind.precision - kind.scale)
            scales.append(kind.scale)
        elif types.is_integer(kind):
            wholes.append({8: 3, 16: 5, 32: 10, 64: 20}[kind.bit_width])
            scales.append(0)
        else:
            return None
    digits = max(wholes) + max(scales)
    return pa.decimal128(digits, max(scales)) if digits <= _MOST_DIGITS else None


def _unify_moments(first: Any, second: Any) -> Any:
    """Take the finer unit; times with and without a time zone have nothing in common."""
    import pyarrow as pa

    types: Any = pa.types

    def finer() -> Any:
        return max(first.unit, second.unit, key=_UNITS.index)

    if types.is_timestamp(first) and types.is_timestamp(second):
        if (first.tz is None) != (second.tz is None):
            return None
        zone = first.tz if first.tz == second.tz else "UTC"
        return pa.timestamp(finer(), zone)
    if types.is_duration(first) and types.is_duration(second):
        return pa.duration(finer())
    if types.is_time(first) and types.is_time(second):
        unit = finer()
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if types.is_date(first) and types.is_date(second):
        return pa.date32()
    return None


def _unify_bytes(first: Any, second: Any) -> Any:
    import pyarrow as pa

    kinds = (first, second)
    if all(map(is_text, kinds)):
        return pa.large_string() if pa.large_string() in kinds else pa.string()
    if all(map(_is_bytes, kinds)):
        return pa.large_binary() if pa.large_binary() in kinds else pa.binary()
    return None


def _is_bytes(kind: Any) -> bool:
    return is_any(kind, "binary", "large_binary", "binary_view", "fixed_size_binary")


def _unify_nested(first: Any, second: Any) -> Any:
    import pyarrow as pa

    if is_list(first) and is_list(second):
        items = unify_types(first.value_type, second.value_type)
        if items is None:
            return None
        is_large = is_any(first, "large_list") or is_any(second, "large_list")
        return pa.large_list(items) if is_large else pa.list_(items)
    if is_any(first, "struct") and is_any(second, "struct"):
        members: dict[str, Any] = {each.name: each.type for each in first}
        for each in second:
            members[each.name] = unify_or_text(members.get(each.name, pa.null()), each.type)
        return pa.struct([pa.field(name, normalize_type(kind)) for name, kind in members.items()])
    if is_any(first, "map") and is_any(second, "map"):
        key = unify_types(first.key_type, second.key_type)
        item = unify_types(first.item_type, second.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    return None


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
        return make_readable(_unfold_map(kind))
    if _is_view(kind):
        items = make_readable(kind.value_type)
        return pa.large_list(items) if is_any(kind, "large_list_view") else pa.list_(items)
    if is_list(kind):
        items = make_readable(kind.value_type)
        return kind if items.equals(kind.value_type) else _list_of(items, kind)
    if is_any(kind, "decimal"):
        digits = kind.precision - min(kind.scale, 0)
        return (
            arrow.decimal128(digits, max(kind.scale, 0)) if digits <= _MOST_DIGITS else pa.string()
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


def _unfold_map(kind: Any) -> Any:
    """Return the type of the lists of entries that a map consists of."""
    import pyarrow as pa

    return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))


def is_any(kind: Any, *names: str) -> bool:
    import pyarrow as pa

    types: Any = pa.types
    return any(getattr(types, f"is_{name}")(kind) for name in names)


def is_text(kind: Any) -> bool:
    """Whether a type holds strings."""
    return is_any(kind, "string", "large_string", "string_view")


def is_list(kind: Any) -> bool:
    """Whether a type holds lists, of any kind."""
    return is_any(kind, "list", "large_list", "fixed_size_list")


def _is_view(kind: Any) -> bool:
    """Whether a type holds views of lists."""
    return is_any(kind, "list_view", "large_list_view")


def _list_of(items: Any, kind: Any) -> Any:
    """Return the type of lists like `kind` with other items; lists of text become text."""
    import pyarrow as pa

    if is_text(items) and not is_text(kind.value_type):
        return pa.string()
    return pa.large_list(items) if is_any(kind, "large_list") else pa.list_(items)


def find_empty_objects(array: Any) -> Any:
    """Return the type of an array, with an object without members where text is always `{}`."""
    import pyarrow as pa

    if is_text(array.type):
        values = array.drop_null().unique().to_pylist()
        return pa.struct([]) if values == ["{}"] else array.type
    if is_any(array.type, "struct"):
        members = zip(array.type, array.flatten(), strict=True)
        return pa.struct([pa.field(each.name, find_empty_objects(part)) for each, part in members])
    return array.type


def unify_or_text(first: Any, second: Any) -> Any:
    """Return the type that holds the values of both types, which is text if nothing else does."""
    import pyarrow as pa

    found = unify_types(first, second)
    return pa.string() if found is None else found


def widen_type(array: Any, target: Any) -> Any:
    """Return `target`, with text wherever it cannot hold a value of the array exactly."""
    import pyarrow as pa

    types: Any = pa.types
    if array.type.equals(target) or is_text(target) or types.is_null(array.type):
        return target
    if types.is_struct(array.type) and types.is_struct(target):
        given = dict(zip([each.name for each in array.type], array.flatten(), strict=True))
        return pa.struct(
            [
                pa.field(each.name, widen_type(given[each.name], each.type))
                if each.name in given
                else each
                for each in target
            ]
        )
    if is_list(array.type) and is_list(target):
        items = widen_type(array.flatten(), target.value_type)
        return target if items.equals(target.value_type) else _list_of(items, target)
    try:
        convert_array(array, target)
    except pa.ArrowException:
        return pa.string()
    return target


def convert_array(array: Any, target: Any) -> Any:
    """Convert an array to a type that `unify_types` and `widen_type` found for it."""
    import pyarrow as pa

    arrow: Any = pa
    types = arrow.types
    if array.type.equals(target):
        return array
    if isinstance(array.type, arrow.BaseExtensionType) and not is_text(target):
        return convert_array(array.storage, target)
    if types.is_map(array.type) and not is_text(target):
        return convert_array(array.cast(_unfold_map(array.type)), target)
    if types.is_null(array.type):
        return arrow.nulls(len(array), target)
    if types.is_dictionary(array.type):
        return convert_array(array.cast(array.type.value_type), target)
    if is_text(target) and not is_text(array.type):
        return arrow.array([write_as_text(value) for value in array.to_pylist()], target)
    if types.is_struct(target) and is_text(array.type):  # every value is `{}`
        array = arrow.array([None if value is None else {} for value in array.to_pylist()])
    if types.is_struct(array.type) and types.is_struct(target):
        return _convert_struct(array, target)
    is_list_or_view = is_list(array.type) or _is_view(array.type)
    if is_list_or_view and is_list(target) and not types.is_fixed_size_list(target):
        return _convert_list(array, target)
    return array.cast(target)


def _convert_struct(array: Any, target: Any) -> Any:
    import pyarrow as pa

    given = dict(zip([each.name for each in array.type], array.flatten(), strict=True))
    members: list[Any] = [
        convert_array(given[each.name], each.type)
        if each.name in given
        else pa.nulls(len(array), each.type)
        for each in target
    ]
    kind: Any = pa.StructArray
    mask = array.is_null() if array.null_count else None
    return kind.from_arrays(members, fields=[*target], mask=mask)


def _convert_list(array: Any, target: Any) -> Any:
    import pyarrow.compute as pc

    compute: Any = pc
    lengths = compute.fill_null(compute.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    items = convert_array(array.flatten(), target.value_type)
    return build_lists(target, lengths, items, array.is_null() if array.null_count else None)


def build_lists(target: Any, lengths: Any, items: Any, mask: Any) -> Any:
    """Build an array of lists from their lengths and from their items end to end."""
    import pyarrow as pa

    types: Any = pa.types
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    kind: Any = pa.LargeListArray if types.is_large_list(target) else pa.ListArray
    width = pa.int64() if types.is_large_list(target) else pa.int32()
    return kind.from_arrays(pa.array(offsets, width), items, type=target, mask=mask)


def is_written_as_text(kind: Any, target: Any) -> bool:
    """Whether converting one type to another writes values as text."""
    import pyarrow as pa

    types: Any = pa.types
    if types.is_null(kind):
        return False
    if is_text(target):
        return not is_text(_undo_dictionary(kind))
    if types.is_struct(kind) and types.is_struct(target):
        members = {each.name: each.type for each in target}
        return any(is_written_as_text(each.type, members[each.name]) for each in kind)
    if is_list(kind) and is_list(target):
        return is_written_as_text(kind.value_type, target.value_type)
    return False


def report_conflict(name: str, first: Any, second: Any) -> None:
    """Log that values of a column have no common type, with an example of each."""
    examples = [repr(each)[:_LONGEST_EXAMPLE] for each in (first, second)]
    message = (
        "column %r holds values without a common type, such as %s and %s; it is stored as text, in "
        "which all values but strings are JSON"
    )
    _logger.warning(message, name, *examples)
