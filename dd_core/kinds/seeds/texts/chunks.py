"""Splits documents into chunks of bounded size, where the text has natural breaks.

A chunk ends after the last break of the strongest kind in the second half of its space: a blank
line, the end of a line, of a sentence, or of a word. The same text gives the same chunks.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from dd_core.declaration.kind import Declaration
from dd_core.kinds.seeds.texts.document import Document, Section

_DEFAULT_SIZE = {"chars": 4000, "headings": 4000, "tokens": 1000}
_BREAKS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"[.!?\u2026][\"'\u2019\u201d)\]]*\s+|[\u3002\uff01\uff1f]"),
    re.compile(r"\s+"),
)
_WORD_START = re.compile(r"(?<=\s)(?=\S)")
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # scripts without spaces: a token a character
    r"|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,5}|\d{1,2}|[^\w\s]|_"
)


class Chunking(Declaration):
    """How documents are split."""

    by: Literal["chars", "tokens", "headings"] = "chars"
    """What a chunk is: a number of characters (default), a number of tokens, or the section below
    one heading, which is split further if it is longer than `size`."""
    size: int | None = Field(default=None, ge=1)
    """Maximum size of a chunk, in tokens for `tokens` and in characters otherwise; default: 1000
    tokens or 4000 characters. Tokens are estimated, because each model counts its own."""
    overlap: int = Field(default=0, ge=0)
    """Size of the text at the end of a chunk that the next one repeats; default: 0. Sections do not
    overlap."""

    @model_validator(mode="after")
    def _makes_progress(self) -> Self:
        if 2 * self.overlap > self.maximum:
            raise ValueError(
                f"overlap ({self.overlap}) must be at most half of size ({self.maximum})"
            )
        return self

    @property
    def maximum(self) -> int:
        """Maximum size of a chunk."""
        return self.size or _DEFAULT_SIZE[self.by]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document."""

    text: str
    heading_path: str
    """The headings above the beginning of the chunk, such as `Guide > Install`."""


def split_document(document: Document, chunking: Chunking | None) -> Iterator[Chunk]:
    """The chunks of a document in their order; without `chunking`, the whole text."""
    sections = document.sections()
    if chunking is None:
        spans: Iterator[tuple[int, int]] = iter([(0, len(document.text))])
    elif chunking.by == "headings":
        spans = (
            span
            for each in sections
            for span in _split(document.text, each.start, each.stop, chunking)
        )
    else:
        spans = _split(document.text, 0, len(document.text), chunking)
    starts = [section.start for section in sections]
    for start, stop in spans:
        text = document.text[start:stop].strip()
        if text:
            first = start + len(document.text[start:stop]) - len(document.text[start:stop].lstrip())
            yield Chunk(text, _path_at(sections, starts, first))


def _path_at(sections: Sequence[Section], starts: Sequence[int], position: int) -> str:
    return sections[bisect_right(starts, position) - 1].path


def count_tokens(text: str) -> int:
    """An estimate of the tokens of a text, for English somewhat above what most models count."""
    return sum(1 for _ in _TOKEN.finditer(text))


def _split(text: str, start: int, stop: int, chunking: Chunking) -> Iterator[tuple[int, int]]:
    """The spans of the chunks between two positions."""
    measure = _Tokens(text, start, stop) if chunking.by == "tokens" else _Characters()
    while start < stop:
        limit = min(stop, measure.advance(start, chunking.maximum))
        # Late enough that a chunk consists of more than what it repeats.
        earliest = (measure.advance(start, chunking.overlap) + limit) // 2
        end = limit if limit >= stop else _find_break(text, earliest, limit)
        yield start, end
        if end >= stop:
            return
        if chunking.overlap:
            start = max(start + 1, _find_word(text, measure.retreat(end, chunking.overlap), end))
        else:
            start = end


def _find_break(text: str, earliest: int, limit: int) -> int:
    """Where a chunk ends: after the last break between two positions, or at the second one."""
    for pattern in _BREAKS:
        ends = [found.end() for found in pattern.finditer(text, earliest, limit)]
        if ends:
            return ends[-1]
    return limit


def _find_word(text: str, position: int, end: int) -> int:
    """The beginning of the next word at or after a position, before `end`."""
    if position == 0 or text[position - 1].isspace():
        return position
    found = _WORD_START.search(text, position, end)
    return found.start() if found else position


class _Characters:
    """Sizes in characters."""

    def advance(self, start: int, size: int) -> int:
        return start + size

    def retreat(self, end: int, size: int) -> int:
        return end - size


class _Tokens:
    """Sizes in estimated tokens."""

    def __init__(self, text: str, start: int, stop: int) -> None:
        self._starts = [found.start() for found in _TOKEN.finditer(text, start, stop)]
        self._stop = stop

    def advance(self, start: int, size: int) -> int:
        """The position after `size` tokens."""
        index = self._find(start) + size
        return self._starts[index] if index < len(self._starts) else self._stop

    def retreat(self, end: int, size: int) -> int:
        """The position before the last `size` tokens in front of `end`."""
        return self._starts[max(0, self._find(end) - size)]

    def _find(self, position: int) -> int:
        """The number of tokens that begin before a position."""
        return bisect_left(self._starts, position)
