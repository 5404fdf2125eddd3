"""Cell values as JSON: for others to read, and for ourselves, to be the same when they are read.

For ourselves, what JSON lacks is marked: dates, decimals, bytes, sets and some numbers.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

import orjson

_MARK = "__dd__"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATETIME

_KINDS: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    datetime: ("datetime", datetime.isoformat, datetime.fromisoformat),
    date: ("date", date.isoformat, date.fromisoformat),
    time: ("time", time.isoformat, time.fromisoformat),
    timedelta: (
        "timedelta",
        lambda each: [each.days, each.seconds, each.microseconds],
        lambda each: timedelta(*each),
    ),
    Decimal: ("decimal", str, Decimal),
    bytes: ("bytes", lambda each: base64.b64encode(each).decode(), base64.b64decode),
    set: ("set", list, set),
    frozenset: ("frozenset", list, frozenset),
}
"""In this order, because a datetime is a date."""
_READERS = {name: read for name, _, read in _KINDS.values()} | {"int": int, "float": float}
_LARGEST = 2**63


def dump_json(value: object, options: int = 0) -> bytes:
    """A value as JSON for others, with these options of orjson; what JSON lacks becomes text."""
    try:
        return orjson.dumps(value, str, options | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # whole numbers of more than 64 bits
        text = json.dumps(
            value,
            default=str,
            ensure_ascii=False,
            indent=2 if options & orjson.OPT_INDENT_2 else None,
            sort_keys=bool(options & orjson.OPT_SORT_KEYS),
        )
        return f"{text}\n".encode() if options & orjson.OPT_APPEND_NEWLINE else text.encode()


def encode_value(value: object) -> bytes:
    """A value as JSON. Tuples and arrays become lists, keys and unknown objects become text."""
    try:
        content = orjson.dumps(value, _marked, _OPTIONS)
    except TypeError:  # keys that are no texts, or numbers that are too large
        return orjson.dumps(_spelt(value), _marked, _OPTIONS | orjson.OPT_NON_STR_KEYS)
    if b"null" in content:  # None, or a number that JSON does not know
        return orjson.dumps(_spelt(value), _marked, _OPTIONS)
    return content


def decode_value(content: bytes | str) -> Any:
    """The value that `encode_value` wrote; raises `ValueError` if it is no JSON."""
    value = orjson.loads(content)
    mark = _MARK.encode() if isinstance(content, bytes) else _MARK
    return _restored(value) if mark in content else value  # pyright: ignore[reportOperatorIssue]


def _marked(value: Any) -> Any:
    for kind, (name, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {_MARK: [name, write(value)]}
    return str(value)


def _spelt(value: Any) -> Any:
    """The value with the numbers marked that JSON does not know."""
    match value:
        case bool():
            return value
        case int() if not -_LARGEST <= value < _LARGEST:
            return {_MARK: ["int", str(value)]}
        case float() if not math.isfinite(value):
            return {_MARK: ["float", str(value)]}
        case dict():
            members = cast("dict[Any, Any]", value)
            return {key: _spelt(each) for key, each in members.items()}
        case list() | tuple():
            return [_spelt(each) for each in cast("list[Any]", value)]
        case _:
            return value


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    match members:
        case {"__dd__": [str(name), content]} if len(members) == 1 and name in _READERS:
            try:
                return _READERS[name](_restored(content))
            except (ValueError, TypeError, ArithmeticError):
                return members  # a model's answer that happens to look like it
        case _:
            return {key: _restored(each) for key, each in members.items()}
