"""Reads JSON files as one table: one object per line, or one array of objects per file."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dd_core.errors import ValueNotStorableError
from dd_core.kinds.seeds._column_types import LARGEST_EXACT, Typed, convert_values
from dd_core.kinds.seeds._text import TextOptions, UnreadableFileError, decode_text
from dd_core.storage.values import admit_value, is_encodable

_logger = logging.getLogger(__name__)

_LARGEST_INTEGER = 2**63
_LONG_NUMBER = re.compile(r"\d{19}")

_NAMES = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class _Place:
    """Where a record is."""

    file: str
    position: str


def read_json_files(files: Sequence[tuple[str, bytes]], options: TextOptions) -> Typed:
    """Read the files, given by name and content."""
    places: list[_Place] = []
    records: list[dict[str, Any]] = []
    for name, content in files:
        for position, record in _records(name, decode_text(name, content, options.encoding)):
            if not isinstance(record, dict):
                raise UnreadableFileError(
                    name,
                    f"{position}: every record must be a JSON object, not {_describe(record)}",
                )
            places.append(_Place(name, position))
            records.append(record)
    names = dict.fromkeys(name for record in records for name in record)
    options.require_columns(names)
    types = dict(options.types)
    found = Typed()
    for name in names:
        values = [
            _admit(record.get(name), name, place)
            for place, record in zip(places, records, strict=True)
        ]
        if not name.strip() or not is_encodable(name):
            pairs = zip(places, records, strict=True)
            first = next(place for place, record in pairs if name in record)
            reason = "is empty; name it"
            if name.strip():
                reason = f"contains half of a surrogate pair: {name!a}; rename it"
            raise UnreadableFileError(first.file, f"{first.position}: a key {reason}")
        if name in types:
            array, failure = convert_values(values, types[name])
            if failure is not None:
                reason = f"{values[failure]!r} is not of the type {types[name]!r}"
                raise _fail(places[failure], name, f"{reason}; correct it, or change types")
            found.add(name, array)
        else:
            found.add(name, *_infer(name, values, places))
    return found


def _admit(value: Any, name: str, place: _Place) -> Any:
    try:
        return admit_value(value)
    except ValueNotStorableError as error:
        raise _fail(place, name, f"{error}; change or remove it") from None


def _fail(place: _Place, name: str, reason: str) -> UnreadableFileError:
    return UnreadableFileError(place.file, f"{place.position}, column {name!r}: {reason}")


def _records(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """The records of a file, each with its position."""
    if text.lstrip().startswith("["):
        for number, record in enumerate(_decode(name, text, 1), 1):
            yield f"record {number}", record
        return
    lines = text.lstrip().split("\n", 2)
    if lines[0].strip() == "{" and len(lines) > 1:  # objects that span lines
        yield from _spanning_records(name, text)
        return
    # Only line feeds end a line: texts may contain other characters that `splitlines` splits at.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _decode(name, line, number)


def _spanning_records(name: str, text: str) -> Iterator[tuple[str, Any]]:
    """The records of a file in which one object follows another, on any number of lines."""
    decoder, position = json.JSONDecoder(parse_float=_read_float), 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        line = text.count("\n", 0, position) + 1
        try:
            record, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, character {error.colno}"
            raise UnreadableFileError(name, f"{place}: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise UnreadableFileError(name, f"line {line}: {error}") from None
        yield f"line {line}", record


def _decode(name: str, text: str, line: int) -> Any:
    """Decode JSON, with integers of any length and with NaN, which Python writes."""
    import orjson

    try:
        if not _LONG_NUMBER.search(text):  # orjson makes floats of long integers
            return orjson.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(text, parse_float=_read_float)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, character {error.colno}"
        raise UnreadableFileError(name, f"{place}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(name, f"line {line}: {error}") from None


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large for a number; write it as a string")
    return number


def _infer(name: str, values: list[Any], places: Sequence[_Place]) -> tuple[Any, str]:
    """Find the type of a column; returns its array and a note for `Typed`."""
    _require_one_kind(name, values, places)
    note = ""
    if any(isinstance(value, int) for value in values):
        values, note = _settle_numbers(name, values)
    return _to_array(name, values, places), note


def _require_one_kind(name: str, values: Sequence[Any], places: Sequence[_Place]) -> None:
    first: tuple[str, _Place] | None = None
    for value, place in zip(values, places, strict=True):
        if value is None:
            continue
        kind = _describe(value)
        if first is None:
            first = kind, place
        elif kind != first[0]:
            where = first[1].position
            if first[1].file != place.file:
                where += f" of {first[1].file!r}"
            raise _fail(
                place,
                name,
                f"the value is {kind}, but in {where} it is {first[0]}; use one type, "
                f"or set types: {{{name}: str}}",
            )


def _settle_numbers(name: str, values: list[Any]) -> tuple[list[Any], str]:
    """Keep integers exact: as text if no number of the column's type holds all of them."""
    numbers = [value for value in values if value is not None]
    wholes = [value for value in numbers if isinstance(value, int)]
    if isinstance(wholes[0], bool):
        return values, ""
    largest = max(abs(value) for value in wholes)
    if len(wholes) == len(numbers):
        if largest < _LARGEST_INTEGER or (min(wholes) >= 0 and largest < 2 * _LARGEST_INTEGER):
            return values, ""
    elif largest <= LARGEST_EXACT:
        fractions = (value for value in numbers if isinstance(value, float))
        is_mixed = not any(value.is_integer() for value in fractions)
        return values, "mixed" if is_mixed else ""
    _logger.warning("seed column %r is text, because its integers are too long", name)
    return [value if value is None else json.dumps(value) for value in values], "text"


def _to_array(name: str, values: list[Any], places: Sequence[_Place]) -> Any:
    import pyarrow as pa

    is_unsigned = any(type(value) is int and value >= _LARGEST_INTEGER for value in values)
    try:
        return pa.array(values, pa.uint64() if is_unsigned else None)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        position = _find_unconvertible(values)
        raise _fail(places[position], name, str(error)) from None


def _find_unconvertible(values: list[Any]) -> int:
    """The position of the first value that has no common type with those in front of it."""
    import pyarrow as pa

    good, bad = 0, len(values)  # the first `good` values convert, the first `bad` do not
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array(values[:middle])
            good = middle
        except (ValueError, TypeError, OverflowError, RecursionError):
            bad = middle
    return bad - 1


def _describe(value: Any) -> str:
    return _NAMES.get(type(value), "null")
