"""Types of columns that were read as text.

A column is read as numbers or times only if printing them gives the text back. So `02116`, `1.10`,
`12:30` and identifiers of 20 digits stay what was written.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from dd_core.kinds.seeds._text import ValueType


_logger = logging.getLogger(__name__)

LARGEST_EXACT = 2**53
"""Up to here, a float holds every integer."""

_INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True} | {
    "false": False,
    "False": False,
    "FALSE": False,
}


@dataclass
class Typed:
    """Columns with their types, and what is special about them."""

    arrays: dict[str, Any] = field(default_factory=dict[str, Any])
    """Arrow arrays by column."""
    mixed: set[str] = field(default_factory=set[str])
    """Columns of floats whose whole numbers were written without a decimal point. Their values are
    integers where they are whole, so that templates print them as written."""
    notes: list[str] = field(default_factory=list[str])
    """Where the types differ from those of earlier releases. The notes become part of the hash of
    the content, because the same file then has other values."""

    def add(self, name: str, array: Any, note: str = "") -> None:
        """Add a column. `note` is `text`, `mixed`, or empty for types that were always found."""
        self.arrays[name] = array
        if note:
            self.notes.append(f"{note}:{name}")
        if note == "mixed":
            self.mixed.add(name)

    whole_table: pa.Table | None = None
    """The table, if it had types from the beginning."""

    @classmethod
    def of(cls, table: pa.Table) -> Typed:
        """Take over a table with its types."""
        return cls(whole_table=table)

    def table(self) -> pa.Table:
        """The columns as one table."""
        import pyarrow as pa

        return pa.table(self.arrays) if self.whole_table is None else self.whole_table


def find_type(name: str, column: Any, *, is_quoted: bool) -> tuple[Any, str]:
    """Find the type of a column of text; returns the converted column and a note for `Typed`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))]), ""
    if not is_quoted:
        if pc.all(pc.match_substring_regex(column, _INTEGER)).as_py():
            converted = _cast(column, pa.int64())
            if converted is not None:
                return converted, ""
        kind = _find_number_kind(column)
        if kind is not None:
            return pc.cast(column, pa.float64()), kind
    for attempt in (_as_booleans, _as_dates, _as_times):
        converted = attempt(column)
        if converted is not None:
            return converted, ""
    if _cast(pc.utf8_trim_whitespace(column), pa.float64()) is None:
        return column, ("text" if _looks_like_times(column) else "")
    _explain_text(name, column, is_quoted=is_quoted)
    return column, "text"


def _explain_text(name: str, column: Any, *, is_quoted: bool) -> None:
    """Log that a column looks like numbers and is not read as numbers."""
    import pyarrow.compute as pc

    values = column.drop_null()
    has_fractions = pc.any(pc.match_substring_regex(values, "[.eE]")).as_py()
    why = (
        "its numbers are in quotes" if is_quoted else "as numbers, its values would print otherwise"
    )
    _logger.log(
        logging.WARNING if has_fractions else logging.INFO,
        "seed column %r is text, because %s (for example %r); to compute with it, "
        "set types: {%s: %s}",
        name,
        why,
        values[0].as_py(),
        name,
        "float" if has_fractions else "int",
    )


def _find_number_kind(column: Any) -> str | None:
    """`mixed` or an empty string if the values are numbers that print as written; None if not."""
    import pyarrow.compute as pc

    unique = pc.unique(column.drop_null())
    if pc.any(pc.match_substring_regex(unique, r"[^0-9.e+-]")).as_py():
        return None
    plain = _select_plain_fractions(unique)
    if plain is None:
        return None
    wholes, fractions, points = 0, pc.sum(plain).as_py() or 0, 0
    for text in unique.filter(pc.invert(plain)).to_pylist():
        if not _FLOAT.fullmatch(text):
            return None
        if text.lstrip("-").isdigit():
            if str(int(text)) != text or abs(int(text)) > LARGEST_EXACT:
                return None
            wholes += 1
        elif repr(float(text)) != text:
            return None
        else:
            fractions += 1
            points += float(text).is_integer()
    if not fractions or (wholes and points):  # 1 and 2.0: no number prints as both are written
        return None
    return "mixed" if wholes else ""


def _select_plain_fractions(unique: Any) -> Any:
    """Which values are fractions that print as written; None if one is not a number.

    Arrow prints fractions in this range like Python, and much faster. It prints 2.0 as 2, so whole
    numbers and all others are left to Python.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = _cast(unique, pa.float64())
    if numbers is None:
        return None
    size = pc.abs(numbers)
    in_range = pc.and_(pc.greater(size, pa.scalar(1e-3)), pc.less(size, pa.scalar(1e15)))
    is_same = pc.equal(pc.cast(numbers, pa.string()), unique)
    return pc.and_(pc.and_(in_range, is_same), pc.match_substring(unique, "."))


def _as_booleans(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.array([*_BOOLEANS])
    if not pc.all(pc.is_in(column.drop_null(), value_set=known)).as_py():
        return None
    return pc.equal(pc.ascii_lower(column), pa.scalar("true"))


def _as_dates(column: Any) -> Any:
    import pyarrow as pa

    first = column.drop_null()[0].as_py()
    if not re.match(r"\d{4}-\d{2}-\d{2}", first):
        return None
    zoned: list[Any] = [pa.timestamp("s", "UTC"), pa.timestamp("ns", "UTC")]
    for kind in (pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), *zoned):
        converted = _cast(column, kind)
        if converted is not None:
            return converted
    return None


def _as_times(column: Any) -> Any:
    import pyarrow as pa

    if not re.fullmatch(r"\d{2}:\d{2}:\d{2}", column.drop_null()[0].as_py()):
        return None
    values: list[time | None] = []
    for text in column.to_pylist():
        try:
            value = None if text is None else time.fromisoformat(text)
        except ValueError:
            return None
        if value is not None and str(value) != text:
            return None
        values.append(value)
    return pa.chunked_array([pa.array(values, pa.time32("s"))])


def _looks_like_times(column: Any) -> bool:
    """Whether all values are times without seconds, which were read as times before."""
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(column, r"^\d{2}:\d{2}(:\d{2})?$")).as_py())


def _cast(column: Any, kind: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid:
        return None


def convert_text(column: Any, wanted: ValueType) -> tuple[Any, int | None]:
    """Convert text to a declared type; returns the position of the first value that has another."""
    if wanted == "str":
        return column, None
    return convert_values(column.to_pylist(), wanted)


def convert_values(values: Sequence[Any], wanted: ValueType) -> tuple[Any, int | None]:
    """Convert values to a declared type; returns the position of the first that has another."""
    import pyarrow as pa

    convert, kind = _converters()[wanted]
    converted: list[Any] = []
    for position, value in enumerate(values):
        try:
            converted.append(None if value is None else convert(value))
        except (ValueError, TypeError, KeyError, OverflowError):
            return None, position
    if wanted == "datetime":
        zoned = [value is not None and value.tzinfo is not None for value in converted]
        if any(zoned):
            kind = pa.timestamp("us", "UTC")
            for position, value in enumerate(converted):
                if value is not None and not zoned[position]:
                    return None, position
    return pa.chunked_array([pa.array(converted, kind)]), None


def _converters() -> dict[str, tuple[Callable[[Any], Any], Any]]:
    import pyarrow as pa

    return {
        "str": (_to_text, pa.string()),
        "int": (_to_integer, pa.int64()),
        "float": (_to_float, pa.float64()),
        "bool": (_to_boolean, pa.bool_()),
        "date": (lambda value: date.fromisoformat(_strip(value)), pa.date32()),
        "datetime": (_to_datetime, pa.timestamp("us")),
    }


def _to_text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _to_integer(value: Any) -> int:
    number = int(_strip(value)) if isinstance(value, str) else int(value)
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError(value)
    return number


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
        raise ValueError(value)
    return float(value)


def _to_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "1": True, "0": False}[_strip(value).lower()]


def _to_datetime(value: Any) -> datetime:
    return datetime.fromisoformat(_strip(value))


def _strip(value: Any) -> str:
    if not isinstance(value, str) or "_" in value:
        raise ValueError(value)
    return value.strip()
