"""Finds fenced code blocks in Markdown, by the rules of CommonMark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_OPENING = re.compile(
    r"(?P<quote>(?:[ ]{0,3}>[ ]?)*)(?P<lead>[ \t]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*)"
    r"(?P<mark>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
)
_QUOTE = re.compile(r"[ ]{0,3}>[ ]?")
_TAG = re.compile(r"\{?\.?(?:lang(?:uage)?[-=])?([^\s,:;={}()]*)", re.IGNORECASE)
_TAB = 4
_STRINGS = ('"""',)
_PYTHON_STRINGS = ('"""', "'''")


@dataclass(frozen=True)
class FencedBlock:
    """A fenced code block."""

    tag: str
    """The first word after the opening fence in lower case; empty if there is none."""
    text: str
    is_closed: bool


def find_fenced_blocks(text: str) -> list[FencedBlock]:
    """Return the fenced blocks in order; a block that is not closed extends to the end.

    A fence is closed by at least as many of the same characters, indented by at most three spaces
    more than the list item or quotation that contains it. So a longer fence can contain a shorter
    one, and a fence in an indented docstring does not end the code around it.
    """
    if "```" not in text and "~~~" not in text:
        return []
    lines = text.replace("\r\n", "\n").split("\n")
    blocks: list[FencedBlock] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        opened = _OPENING.fullmatch(line) if "```" in line or "~~~" in line else None
        if opened is None:
            continue
        block, position = _read_block(lines, position, opened)
        blocks.append(block)
    return blocks


def _read_block(lines: Sequence[str], start: int, opened: re.Match[str]) -> tuple[FencedBlock, int]:
    """Return the block whose opening fence precedes a line, and the line after its end."""
    quotes = opened["quote"].count(">")
    indent = len(opened["lead"].expandtabs(_TAB))
    mark = opened["mark"]
    is_in_list = bool(opened["lead"].strip()) or indent > 3
    deepest = indent + 3 if is_in_list else 3
    closing = re.compile(rf"([ \t]*){re.escape(mark[0])}{{{len(mark)},}}[ \t]*")
    found = _TAG.match(opened["info"].strip())
    tag = found[1].lower() if found else ""
    strings = _PYTHON_STRINGS if tag.startswith("py") else _STRINGS
    content: list[str] = []
    is_in_string = False
    first: tuple[int, int] | None = None
    """The first closing fence: the line after it, and the number of lines of content."""
    for position in range(start, len(lines)):
        line = _strip_quotes(lines[position], quotes) if quotes else lines[position]
        closed = closing.fullmatch(line) if mark in line else None
        if closed is not None and len(closed[1].expandtabs(_TAB)) <= deepest:
            # Models also put fences into strings, where CommonMark would end the block.
            if not is_in_string:
                return FencedBlock(tag, "\n".join(content), True), position + 1
            first = first or (position + 1, len(content))
        for string in strings:
            if string in line:
                is_in_string ^= line.count(string) % 2 == 1
        content.append(_strip_indent(line, indent) if indent else line)
    if first is not None:
        end, length = first
        return FencedBlock(tag, "\n".join(content[:length]), True), end
    return FencedBlock(tag, "\n".join(content), False), len(lines)


def _strip_quotes(line: str, quotes: int) -> str:
    for _ in range(quotes):
        if found := _QUOTE.match(line):
            line = line[found.end() :]
    return line


def _strip_indent(line: str, indent: int) -> str:
    """Return a line without the indentation of its fence."""
    width = position = 0
    while width < indent and position < len(line) and line[position] in " \t":
        width += _TAB - width % _TAB if line[position] == "\t" else 1
        position += 1
    return " " * (width - indent) + line[position:]
