"""The words of texts, and keys that compare values of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from dd_core.storage.json_codec import dump_json

# In scripts without spaces between words, each character counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text in lowercase, without punctuation."""
    return _WORD.findall(text.lower())


def list_texts(value: Any) -> Iterator[str]:
    """Yield the strings in a value, at any depth; numbers and the names of fields are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in cast("dict[str, Any]", value).values():
            yield from list_texts(member)
    elif isinstance(value, list):
        for member in cast("list[Any]", value):
            yield from list_texts(member)


def to_bytes(value: Any) -> bytes:
    """Return a value as JSON; equal values give equal bytes."""
    return dump_json(value, orjson.OPT_SORT_KEYS)


def to_text(value: Any) -> str:
    """Return text as it is, nothing for null, and other values as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_bytes(value).decode()


class Codes:
    """Numbers for values, in the order in which they first occur: 4 bytes per row."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        """The values as text, with their codes."""
        self._rows: list[NDArray[np.int32]] = []

    def extend(self, values: list[str]) -> None:
        """Add the values of further rows."""
        names = self.names
        codes = [names.setdefault(value, len(names)) for value in values]
        self._rows.append(np.asarray(codes, dtype=np.int32))

    def to_array(self) -> NDArray[np.int32]:
        """Return the codes of all rows, shape (rows,)."""
        return np.concatenate([np.zeros(0, dtype=np.int32), *self._rows])
