"""How long a server asks to wait: in a header, or as a duration in a body."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any, cast

_LONGEST_WAIT = 1e9
"""Seconds from which a number, in place of a wait, is a moment in seconds since 1970."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|s|m|h|d)", re.I)
_SECONDS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_wait(headers: Mapping[str, str]) -> float | None:
    """The requested wait in seconds from `Retry-After` (seconds or a date) or `Retry-After-Ms`."""
    milliseconds = _parse_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    header = headers.get("retry-after")
    if not header:
        return None
    seconds = _parse_number(header)
    if seconds is not None:
        return max(0.0, seconds - time.time()) if seconds >= _LONGEST_WAIT else seconds
    try:
        date = email.utils.parsedate_to_datetime(header)
        date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return parse_duration(header)


def _parse_number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def parse_duration(given: Any) -> float | None:
    """Seconds of a duration such as `1.2s`, `6m0s` or `{"seconds": 3}`."""
    if isinstance(given, dict):
        given = cast("dict[str, Any]", given).get("seconds")
    if isinstance(given, int | float) and not isinstance(given, bool):
        return max(0.0, float(given)) if math.isfinite(given) else None
    if not isinstance(given, str):
        return None
    number = _parse_number(given)
    if number is not None:
        return number
    found = _DURATION.findall(given)
    return sum(float(n) * _SECONDS[unit.lower()] for n, unit in found) if found else None
