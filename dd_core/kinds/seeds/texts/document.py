"""A document as plain text with headings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and where its section begins."""

    start: int
    """Position in the text of the document."""
    level: int
    """1 for the topmost headings."""
    title: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the text below one heading, up to the next one of any level."""

    start: int
    stop: int
    path: str
    """The titles of the headings that it is below, such as `Guide > Install`."""


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a document and its headings, in the order of the text."""

    text: str
    headings: tuple[Heading, ...] = ()

    def sections(self) -> list[Section]:
        """The sections, which together are the whole text."""
        paths, above = [""], list[Heading]()
        for heading in self.headings:
            above = [each for each in above if each.level < heading.level] + [heading]
            paths.append(_join(above))
        edges = [0, *(heading.start for heading in self.headings), len(self.text)]
        spans = zip(pairwise(edges), paths, strict=True)
        return [Section(start, stop, path) for (start, stop), path in spans if start < stop]


def _join(headings: Iterable[Heading]) -> str:
    return _SEPARATOR.join(heading.title for heading in headings)
