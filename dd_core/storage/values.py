"""The door for values: whatever a generator returns passes `admit_value` before it is kept.

An admitted value can be written to the journal and read back unchanged, so a resumed run sees the
same value as an undisturbed one. The rules:

| value | result |
|---|---|
| half a surrogate pair in text or in a key | two adjacent halves are joined, others become U+FFFD |
| NaN and infinity | stay numbers; JSON text, which has no form for them, contains null |
| integer of more than 64 bits | kept; refused with more than 4,300 digits |
| bytes | kept; bytearray and memoryview become bytes |
| key that is not text | becomes text; refused if two keys of an object become equal |
| sequence, dictionary view, array, array scalar, tensor, Series | list or number |
| subclass of a built-in type, enum member, mapping | the plain value |
| dataclass instance, pydantic model | object |
| pandas' NA and NaT | null |
| non-finite decimal | the floating-point number |
| set | kept; becomes a list if its members do not stay hashable |
| other object | its text; refused without one: `str()` fails, or only tells an address |
| function, module, coroutine, generator | refused |
| nested deeper than 40 levels | refused |
| list or object that contains itself | refused |
| more than ten million members (a million, if they have to be converted), counted at every place
  where they occur | refused |
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, MappingView, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, cast

from dd_core.errors import ValueNotStorableError

MAX_DEPTH = 40
"""Levels of objects and lists. Deeper Parquet files cannot be read by everybody."""
_MAX_MEMBERS = 10_000_000
_MAX_CONVERTED = 1_000_000
_MAX_BITS = 14_280
"""Size of the largest integers that Python converts to text: 4,300 digits."""
_INT64 = 2**63

_kind_of: Callable[[object], Any] = type
_NUMBERS = frozenset([float, bool, type(None)])
"""Types whose every value is storable."""
_CODE = (
    AsyncGeneratorType,
    BuiltinFunctionType,
    Coroutine,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    type,
)
_MISSING = frozenset(["NAType", "NaTType"])
"""pandas' types of missing values, by name, because pandas may not be imported."""


def admit_value(value: Any) -> Any:
    """Return the value in the form in which it is stored: itself if it is storable as it is.

    Raises `ValueNotStorableError` with the reason and the place inside the value.
    """
    kind = _kind_of(value)
    if kind is str:
        return value if value.isascii() else _clean(value)
    if kind in _NUMBERS or (kind is int and -_INT64 <= value < _INT64):
        return value
    if (kind is dict or kind is list) and _is_plain(value, 1, [_MAX_MEMBERS]):
        return value
    return _Conversion().convert(value, "")


def _is_plain(value: dict[Any, Any] | list[Any], depth: int, left: list[int]) -> bool:
    """Whether a dict or list can be stored as it is; False also if that is not certain.

    `left` holds the number of members that may still come.
    """
    if depth > MAX_DEPTH:
        return False
    left[0] -= len(value)
    if left[0] < 0:
        raise _refuse(f"has more than {_MAX_MEMBERS:,} members", "")
    members: Any = value
    if type(value) is dict:
        for key in value:
            if type(key) is not str or not (key.isascii() or _clean(key) is key):
                return False
        members = value.values()
    if _NUMBERS.issuperset(map(type, members)):  # vectors, at the speed of C
        return True
    for member in members:
        kind = _kind_of(member)
        if kind is str:
            if not (member.isascii() or _clean(member) is member):
                return False
        elif kind is dict or kind is list:
            if not _is_plain(member, depth + 1, left):
                return False
        elif kind is int:
            if not -_INT64 <= member < _INT64:
                return False
        elif kind not in _NUMBERS:
            return False
    return True


def _clean(text: str) -> str:
    """Return the text itself, or without its half surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_encodable(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which UTF-8 cannot encode."""
    return text.isascii() or _clean(text) is text


class _Conversion:
    """Converts one value, member by member."""

    def __init__(self) -> None:
        self._left = _MAX_CONVERTED
        self._open: list[Any] = []
        """The objects and lists around the current member."""

    def convert(self, value: Any, place: str) -> Any:
        if isinstance(value, Enum):
            return self.convert(value.value, place)
        if type(value).__name__ in _MISSING:
            return None
        match value:
            case None | bool():
                return value
            case str():
                return _clean(str.__str__(value))
            case int():
                if value.bit_length() > _MAX_BITS:
                    raise _refuse("is an integer of more than 4,300 digits", place)
                return int.__add__(value, 0)
            case float():
                return float.__add__(value, 0.0)
            case Decimal():
                return value if value.is_finite() else float(str(value).replace("sNaN", "NaN"))
            case datetime() | date() | time() | timedelta():
                return _convert_moment(value, place)
            case bytes() | bytearray() | memoryview():
                return bytes(cast("Any", value))
            case _:
                return self._convert_container(value, place)

    def _convert_container(self, value: Any, place: str) -> Any:
        kind = _kind_of(value)
        if issubclass(kind, Mapping):
            return self._enter(value, place, self._convert_members)
        if issubclass(kind, Sequence | deque | MappingView):
            return self._enter(value, place, self._convert_items)
        if issubclass(kind, set | frozenset):
            items = self._enter([*value], place, self._convert_items)
            try:
                return set(items) if issubclass(kind, set) else frozenset(items)
            except TypeError:  # tuples have become lists
                return items
        if dataclasses.is_dataclass(kind):
            return self._enter(value, place, self._convert_fields)
        if callable(dump := getattr(kind, "model_dump", None)):
            dumped = _call(dump, value, place)
            return self.convert(dumped if type(dumped) is dict else str(dumped), place)
        if hasattr(kind, "tolist"):
            return self._convert_array(value, place)
        return _describe(value, place)

    def _enter(self, value: Any, place: str, convert: Callable[[Any, str], Any]) -> Any:
        """Convert the members of an object or list, unless they are too deep or too many."""
        if any(each is value for each in self._open):
            raise _refuse("contains itself", place)
        if len(self._open) >= MAX_DEPTH:
            raise _refuse(f"is nested deeper than {MAX_DEPTH} levels", place)
        kind = _kind_of(value)
        is_vector = kind is list and _NUMBERS.issuperset(map(type, value))
        self._left -= len(value) if hasattr(value, "__len__") and not is_vector else 1
        if self._left < 0:
            raise _refuse(f"has more than {_MAX_CONVERTED:,} members to convert", place)
        if is_vector:
            return [*value]
        self._open.append(value)
        try:
            return convert(value, place)
        finally:
            self._open.pop()

    def _convert_members(self, members: Mapping[Any, Any], place: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, member in members.items():
            name = _clean(key) if type(key) is str else self._convert_key(key, place)
            if name in found:
                raise _refuse(f"has two keys that become {name[:40]!r}", place)
            found[name] = self.convert(member, f"{place}[{name[:40]!r}]")
        return found

    def _convert_key(self, key: Any, place: str) -> str:
        match plain := self.convert(key, place):
            case None | bool():
                return {None: "null", True: "true", False: "false"}[plain]
            case str():
                return plain
            case datetime() | date() | time():
                return plain.isoformat()
            case _:
                return str(plain)

    def _convert_items(self, items: Any, place: str) -> list[Any]:
        return [self.convert(item, f"{place}[{index}]") for index, item in enumerate(items)]

    def _convert_fields(self, value: Any, place: str) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(value)]
        return {name: self.convert(getattr(value, name), f"{place}.{name}") for name in names}

    def _convert_array(self, value: Any, place: str) -> Any:
        if type(value).__name__ in ("datetime64", "timedelta64"):
            return _convert_numpy_moment(value)
        kind = _kind_of(value)
        listed = _call(kind.tolist, value, place)
        if type(listed) is kind or isinstance(listed, complex):
            return _describe(value, place)
        return self.convert(listed, place)


def _convert_moment(value: Any, place: str) -> Any:
    _call(str, value, place)  # a time zone of the user's own may fail
    if hasattr(value, "to_pytimedelta") and value.nanoseconds == 0:
        return value.to_pytimedelta()
    if hasattr(value, "to_pydatetime") and value.nanosecond == 0:
        return value.to_pydatetime()
    return value


def _convert_numpy_moment(value: Any) -> Any:
    unit = "datetime64[us]" if type(value).__name__ == "datetime64" else "timedelta64[us]"
    rounded = value.astype(unit)
    if rounded != rounded:  # NaT
        return None
    plain = rounded.item()
    is_exact = rounded == value and isinstance(plain, date | timedelta)
    return plain if is_exact else str(value)


def _describe(value: Any, place: str) -> str:
    """Return the text of an object of some other type."""
    kind = _kind_of(value)
    if issubclass(kind, _CODE):
        if issubclass(kind, Coroutine):
            value.close()
        raise _refuse(f"is a {kind.__name__}, not a value; call or await it", place)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise _refuse(f"is an object of type {kind.__name__!r} without text", place)
    return _clean(_call(str, value, place))


def _call(function: Callable[[Any], Any], value: Any, place: str) -> Any:
    """Call a method of somebody else's object."""
    try:
        return function(value)
    except Exception as error:
        raise _refuse(
            f"is an object of type {type(value).__name__!r} that cannot be converted "
            f"({type(error).__name__})",
            place,
        ) from error


def _refuse(reason: str, place: str) -> ValueNotStorableError:
    shown = place if len(place) <= 60 else f"{place[:40]}...{place[-15:]}"
    return ValueNotStorableError(f"the value{f' at {shown}' if shown else ''} {reason}")
