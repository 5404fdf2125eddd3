"""The little Markdown that artifacts are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dd_core.storage.json_codec import dump_json

_LONGEST_CELL = 300
_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def make_artifact_key(dataset: str, what: str) -> str:
    """A key of the form that Prefect takes: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{dataset}-{what}".lower()).strip("-")


def format_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a table."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(_in_line(cell) for cell in cells) + " |"

    return [line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)]


def _in_line(cell: Any) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(cell).split()))


def format_bar(share: float) -> str:
    """A bar as text: as long as the share is of 1."""
    eighths = round(8 * _BAR * min(1.0, max(0.0, share)))
    if share > 0:
        eighths = max(1, eighths)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def format_cell(value: Any) -> Any:
    """A value as a table can show it: short, and JSON where it has structure."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        value = dump_json(value).decode()
    return value if len(value) <= _LONGEST_CELL else f"{value[: _LONGEST_CELL - 1]}…"


def escape(value: Any) -> str:
    """A value of the dataset as text in Markdown, which it must not be able to shape."""
    text = " ".join(str(format_cell(value)).split())
    return re.sub(r"([\\`*_\[\]<>#!|~$])", r"\\\1", text)


def format_duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
