"""Cell values as JSON, in two forms: plain JSON for readers, and JSON that restores the values.

The second form marks what JSON lacks: dates, decimals, bytes, sets and some numbers.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
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
"""Datetimes come before dates, because a datetime is also a date."""


def _read_pandas(name: str) -> Callable[[Any], Any]:
    def read(text: Any) -> Any:
        import pandas as pd

        return getattr(pd, name)(text)

    return read


_READERS = {name: read for name, _, read in _KINDS.values()} | {
    "int": int,
    "float": float,
    "Timestamp": _read_pandas("Timestamp"),
    "Timedelta": _read_pandas("Timedelta"),
}
_LARGEST = 2**63
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
"""orjson reads integers of more than 64 bits as floating-point numbers."""


def dump_json(value: object, options: int = 0) -> bytes:
    """Encode a value as plain JSON with orjson `options`.

    Sets become lists, and everything else that JSON lacks becomes text.
    """
    try:
        return orjson.dumps(value, _describe_object, options | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers of more than 64 bits
        text = json.dumps(
            value,
            default=_describe_object,
            ensure_ascii=False,
            indent=2 if options & orjson.OPT_INDENT_2 else None,
            sort_keys=bool(options & orjson.OPT_SORT_KEYS),
        )
        return f"{text}\n".encode() if options & orjson.OPT_APPEND_NEWLINE else text.encode()


def _describe_object(value: Any) -> Any:
    return [*value] if isinstance(value, set | frozenset) else str(value)


def write_as_text(value: Any) -> str | None:
    """Return a value as it stands in a column of text: strings as they are, others as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = dump_json(value).decode()
    # What JSON lacks, such as a date, is a string already.
    return str(value) if text.startswith('"') else text


def load_json(content: bytes) -> Any:
    """Decode somebody else's JSON; raises `ValueError` if it is not JSON.

    Integers keep all their digits. Bytes that are not UTF-8 become U+FFFD.
    """
    if not _LONG_NUMBER.search(content):
        with suppress(ValueError):
            return orjson.loads(content)
    try:
        return json.loads(content.decode("utf-8-sig", "replace"))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def encode_value(value: object) -> bytes:
    """Encode a value as JSON that `decode_value` restores.

    Tuples and arrays become lists; keys and unknown objects become text.
    """
    try:
        content = orjson.dumps(value, _mark_object, _OPTIONS)
    except TypeError:  # keys that are not strings, or integers that are too large
        return orjson.dumps(_mark_numbers(value), _mark_object, _OPTIONS | orjson.OPT_NON_STR_KEYS)
    if b"null" in content:  # None, or NaN or infinity, which orjson writes as null
        return orjson.dumps(_mark_numbers(value), _mark_object, _OPTIONS)
    return content


def decode_value(content: bytes | str) -> Any:
    """Decode what `encode_value` wrote; raises `ValueError` if it is not JSON."""
    value = orjson.loads(content)
    mark = _MARK.encode() if isinstance(content, bytes) else _MARK
    return _restore(value) if mark in content else value  # pyright: ignore[reportOperatorIssue]


def _mark_object(value: Any) -> Any:
    if (kind := type(value).__name__) in ("Timestamp", "Timedelta"):  # pandas', with nanoseconds
        return {_MARK: [kind, value.isoformat()]}
    for kind, (name, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {_MARK: [name, write(value)]}
    return str(value)


def _mark_numbers(value: Any) -> Any:
    """Mark the numbers in a value that JSON cannot represent."""
    match value:
        case bool():
            return value
        case int() if not -_LARGEST <= value < _LARGEST:
            return {_MARK: ["int", str(value)]}
        case float() if not math.isfinite(value):
            return {_MARK: ["float", str(value)]}
        case dict():
            members = cast("dict[Any, Any]", value)
            return {key: _mark_numbers(each) for key, each in members.items()}
        case list() | tuple():
            return [_mark_numbers(each) for each in cast("list[Any]", value)]
        case _:
            return value


def _restore(value: Any) -> Any:
    if isinstance(value, list):
        return [_restore(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    match members:
        case {"__dd__": [str(name), content]} if len(members) == 1 and name in _READERS:
            try:
                return _READERS[name](_restore(content))
            except (ValueError, TypeError, ArithmeticError):
                return members  # a model's answer that happens to look like a marked value
        case _:
            return {key: _restore(each) for key, each in members.items()}
