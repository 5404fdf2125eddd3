"""Converts arrays to a common or declared type, where that changes no value."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from dd_core.storage.json_codec import write_as_text
from dd_core.storage.schema.readable import is_view, list_of, make_entries
from dd_core.storage.schema.unification import (
    OPEN_SIZE,
    is_any,
    is_list,
    is_text,
    resolve_dictionary,
)

_logger = logging.getLogger(__name__)
_LONGEST_EXAMPLE = 80


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
        if not items.equals(target.value_type):
            return list_of(items, target)
        has_size = not types.is_fixed_size_list(target) or _find_size(array) in (
            None,
            target.list_size,
        )
        return target if has_size else pa.list_(items)
    try:
        convert_array(array, target)
    except pa.ArrowException:
        return pa.string()
    return target


def fit_type(array: Any, declared: Any) -> Any:
    """Return the type of an array, closer to a declared type where this changes no value.

    Numbers become float32, and lists of one length get a fixed size, if they are declared so.
    """
    import pyarrow as pa

    if is_any(array.type, "struct") and is_any(declared, "struct"):
        known = {each.name: each.type for each in declared}
        members = zip(array.type, array.flatten(), strict=True)
        return pa.struct(
            [
                pa.field(each.name, fit_type(part, known.get(each.name, each.type)))
                for each, part in members
            ]
        )
    if is_list(array.type) and is_list(declared):
        items = fit_type(array.flatten(), declared.value_type)
        is_open = is_any(declared, "fixed_size_list") and declared.list_size == OPEN_SIZE
        if is_open and (size := _find_size(array) or 0) > 0:
            return pa.list_(items, size)
        return array.type if items.equals(array.type.value_type) else list_of(items, array.type)
    if is_any(array.type, "float64") and is_any(declared, "float32"):
        narrow = array.cast(declared)
        return declared if narrow.cast(array.type).equals(array) else array.type
    return array.type


def _find_size(array: Any) -> int | None:
    """Return the length that all lists of an array have; None without lists, -1 if they differ."""
    import pyarrow.compute as pc

    compute: Any = pc
    sizes = compute.unique(compute.list_value_length(array.drop_null())).to_pylist()
    return None if not sizes else sizes[0] if len(sizes) == 1 else -1


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
        return convert_array(array.cast(make_entries(array.type)), target)
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
    is_list_or_view = is_list(array.type) or is_view(array.type)
    if is_list_or_view and is_list(target):
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
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_any(target, "fixed_size_list"):
        listed = convert_array(array, pa.large_list(target.value_type))
        return listed.cast(target)  # raises an error if one of the lists has another length
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
        return not is_text(resolve_dictionary(kind))
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
