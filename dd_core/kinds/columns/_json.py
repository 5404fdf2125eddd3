"""Finds JSON documents in the text of a model's answer, and repairs small errors in their syntax.

Only whole documents count: what was cut off is not completed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, cast

from dd_core.kinds.columns._fences import FencedBlock, find_fenced_blocks
from dd_core.models.wire.body import replace_surrogates

_TAGS = frozenset(["json", "jsonc", "json5", "jsonl"])
_BRACKET = re.compile(r"[\[{]")
_START = re.compile(
    r"""\{\s*(?:["'}]|[\w$-]+\s*:|//|/\*)|\[\s*(?:[\]{\["'\d-]|true\b|false\b|null\b|//|/\*)"""
)
"""The beginning of a document, in contrast to a bracket in prose."""
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_LEADING_ZERO = re.compile(r"[:\[,]\s*-?0\d")
# A model that repeats itself writes thousands of brackets, and repairing those takes seconds.
_MAX_REPAIR_DEPTH = 100
_MAX_REPAIR_LENGTH = 100_000
_MAX_SEARCH = 2_000_000
"""Number of characters that are read in the search for documents, including repeated ones."""
_COST_OF_FAILURE = 200
_COST_OF_DEPTH = 20_000


def load_json(text: str) -> Any:
    """Decode JSON: integers keep all digits, halves of surrogate pairs become U+FFFD.

    Raises `ValueError`; `NaN` and infinite numbers are not JSON.
    """
    try:
        value: Any = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _replace_if_escaped(value, text)


def find_documents(text: str) -> Iterator[Any]:
    """Yield the objects and arrays in an answer, the likely ones first.

    First come blocks that are tagged as JSON and then blocks without a tag, from the last to the
    first. Then comes the text itself, from its beginning.
    """
    for part in _order(find_fenced_blocks(text)):
        yield from _find_in_prose(part)
    yield from _find_in_prose(text)


def find_repairable(text: str) -> Iterator[Any]:
    """Yield what becomes an object or an array when its syntax is repaired, in the same order."""
    for part in [*_order(find_fenced_blocks(text)), text]:
        for candidate in _find_balanced(part):
            repaired = _repair(candidate)
            if repaired is not None:
                yield repaired


def _order(blocks: list[FencedBlock]) -> list[str]:
    """Return the contents of blocks; models often give a draft before their final answer."""
    tagged = [block.text for block in reversed(blocks) if block.tag in _TAGS]
    return tagged + [block.text for block in reversed(blocks) if not block.tag]


def _find_in_prose(text: str) -> Iterator[Any]:
    """Yield the outermost objects and arrays in text.

    The parts of a document that is broken or cut off are not documents themselves.
    """
    position, spent = 0, 0
    while (bracket := _BRACKET.search(text, position)) and spent < _MAX_SEARCH:
        start = bracket.start()
        try:
            value, position = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            is_document = _START.match(text, start) is not None
            position = _find_end(text, start) if is_document else start + 1
            is_deep = isinstance(error, RecursionError)
            spent += _COST_OF_DEPTH if is_deep else getattr(error, "pos", start) - start
            spent += _COST_OF_FAILURE
        else:
            yield _replace_if_escaped(value, text)


def _find_end(text: str, start: int) -> int:
    """Return where the brackets that open at a position are closed; the end if they are not."""
    for pattern in (_TOKENS, _BRACKETS):
        depth = 0
        for token in pattern.finditer(text, start):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
            if not depth:
                return token.end()
    return len(text)


def _find_balanced(text: str) -> Iterator[str]:
    """Yield the parts of text that look like documents and in which every bracket is closed."""
    position = 0
    while bracket := _BRACKET.search(text, position):
        start = bracket.start()
        position = start + 1
        if _START.match(text, start):
            position = _find_end(text, start)
            part = text[start:position]
            if _is_balanced(part):
                yield part


def _is_balanced(text: str) -> bool:
    """Return whether every bracket has its counterpart, with or without those in strings."""
    for pattern in (_TOKENS, _BRACKETS):
        stack: list[str] = []
        for token in pattern.finditer(text):
            if token[0] in "[{":
                stack.append("]" if token[0] == "[" else "}")
            elif token[0] in "]}" and (not stack or stack.pop() != token[0]):
                break
        else:
            if not stack:
                return True
    return False


def _repair(text: str) -> Any:
    """Return the object or array in text with syntax errors; None if it is beyond repair."""
    import json_repair

    if len(text) > _MAX_REPAIR_LENGTH or _measure_depth(text) > _MAX_REPAIR_DEPTH:
        return None
    if _LEADING_ZERO.search(text):  # it is not a number, and would lose its zero
        return None
    value: Any = json_repair.loads(text)
    if not isinstance(value, dict | list) or not value or not _is_finite(cast("Any", value)):
        return None
    return replace_surrogates(cast("Any", value))


def _measure_depth(text: str) -> int:
    """Return how deeply brackets are nested, including brackets in strings."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, cast("dict[str, Any]", value).values()))
    return all(map(_is_finite, cast("list[Any]", value))) if isinstance(value, list) else True


def _replace_if_escaped(value: Any, text: str) -> Any:
    return replace_surrogates(value) if "\\u" in text else value


def _read_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_float=_read_float, parse_constant=_refuse)
