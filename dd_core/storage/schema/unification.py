"""Decides which type holds the values of two types; see the package."""

from __future__ import annotations

from typing import Any

_UNITS = ("s", "ms", "us", "ns")
MOST_DIGITS = 38
"""Digits of a decimal that every reader can hold."""
OPEN_SIZE = 0
"""Size of a declared list whose size follows from the values."""


def make_vectors(items: Any) -> Any:
    """Return the type that declares lists of one length, which is known only from the values.

    They are stored as lists of a fixed size if all of them have the same length, and otherwise as
    lists.
    """
    import pyarrow as pa

    return pa.list_(items, OPEN_SIZE)


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
        return unify_types(resolve_dictionary(first), resolve_dictionary(second))
    for unify in (_unify_numbers, _unify_moments, _unify_bytes, _unify_nested):
        if (found := unify(first, second)) is not None:
            return found
    return None


def unify_or_text(first: Any, second: Any) -> Any:
    """Return the type that holds the values of both types, which is text if nothing else does."""
    import pyarrow as pa

    found = unify_types(first, second)
    return pa.string() if found is None else found


def normalize_type(kind: Any) -> Any:
    """Return a type in which every member and item may be null and has its default name."""
    import pyarrow as pa

    arrow: Any = pa
    types = arrow.types
    if types.is_struct(kind):
        return pa.struct([pa.field(each.name, normalize_type(each.type)) for each in kind])
    if types.is_list(kind):
        return pa.list_(normalize_type(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(normalize_type(kind.value_type))
    if types.is_fixed_size_list(kind):
        return arrow.list_(normalize_type(kind.value_type), kind.list_size)
    return kind


def resolve_dictionary(kind: Any) -> Any:
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
    return pa.decimal128(digits, max(scales)) if digits <= MOST_DIGITS else None


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
        if (size := _unify_sizes(first, second)) is not None:
            return pa.list_(items, size)
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


def _unify_sizes(first: Any, second: Any) -> int | None:
    """Return the fixed size of lists of either type; None if they have none.

    Lists of any size and the same items may have the fixed size too, which their values decide.
    """
    kinds = [kind for kind in (first, second) if is_any(kind, "fixed_size_list")]
    others = [kind.value_type for kind in (first, second) if kind not in kinds]
    sizes = {kind.list_size for kind in kinds}
    if len(sizes) > 1:
        sizes.discard(OPEN_SIZE)
    if len(sizes) != 1 or not all(_same_or_null(each, kinds[0].value_type) for each in others):
        return None
    [size] = sizes
    return None if size == OPEN_SIZE and others else size


def _same_or_null(kind: Any, other: Any) -> bool:
    return kind.equals(other) or is_any(kind, "null")


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
