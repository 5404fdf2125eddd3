"""Formats keys, tables, bars and values for Markdown artifacts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dd_core.storage.json_codec import dump_json

_MAX_CELL_LENGTH = 300
_BAR_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def make_artifact_key(dataset: str, what: str) -> str:
    """An artifact key as Prefect requires it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{dataset}-{what}".lower()).strip("-")


def format_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(_escape_pipes(cell) for cell in cells) + " |"

    return [line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)]


def _escape_pipes(cell: Any) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(cell).split()))


def format_bar(share: float) -> str:
    """A text bar whose length is proportional to a share from 0 to 1."""
    eighths = round(8 * _BAR_WIDTH * min(1.0, max(0.0, share)))
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def format_cell(value: Any) -> Any:
    """A value for a table cell: long strings are cut, and structures are shown as JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        value = dump_json(value).decode()
    return value if len(value) <= _MAX_CELL_LENGTH else f"{value[: _MAX_CELL_LENGTH - 1]}…"


def escape(value: Any) -> str:
    """A value of the dataset as Markdown text, escaped so that it cannot add formatting."""
    text = " ".join(str(format_cell(value)).split())
    return re.sub(r"([\\`*_\[\]<>#!|~$])", r"\\\1", text)


def format_duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours, such as `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
