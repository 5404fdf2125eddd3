"""Renders single values, as literal text that cannot control the terminal."""

from __future__ import annotations

import re
from typing import Any, cast

import orjson
from rich.highlighter import JSONHighlighter
from rich.text import Text

from dd_core.quality.printable import make_printable
from dd_core.storage.json_codec import dump_json

_LONGEST_VECTOR, _NUMBERS_SHOWN = 8, 4
_LONGEST_ADDRESS = 200


def render_value(value: Any) -> Text:
    """A value as text, even if it looks like Rich's markup; structured values as JSON."""
    if value is None:
        return Text("null", "dim")
    if isinstance(value, str | int | float):
        return Text(make_printable(str(value)))
    shortened = shorten_vectors(value)
    text = Text(make_printable(dump_json(shortened, orjson.OPT_INDENT_2).decode()))
    JSONHighlighter().highlight(text)
    return text


def shorten_vectors(value: Any) -> Any:
    """A copy in which long lists of numbers are cut, such as those of embeddings."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: shorten_vectors(each) for name, each in fields.items()}
    if not isinstance(value, list):
        return value
    items = cast("list[Any]", value)
    if len(items) > _LONGEST_VECTOR and all(isinstance(each, float) for each in items):
        first = ", ".join(f"{each:.4g}" for each in items[:_NUMBERS_SHOWN])
        return f"[{first}, ...] ({len(items)} numbers)"
    return [shorten_vectors(each) for each in items]


def describe_image(image: Any) -> str:
    """The path or address of an image; only the size of one that is contained in the dataset."""
    text = str(image)
    is_place = "://" in text[:10] or re.search(r"\.\w{3,4}$", text[-6:]) is not None
    if is_place and len(text) <= _LONGEST_ADDRESS:
        return make_printable(text)
    return f"({len(text):,} characters of base64)"
