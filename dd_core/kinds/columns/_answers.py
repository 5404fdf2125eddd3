"""Extracts code or JSON from the text of a model's answer.

Only the wrapping is handled leniently: prose around the value, code fences of any form, small
errors in JSON syntax. Whether the JSON has the right structure is checked in `_schema.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import orjson

from dd_core.errors import ResponseParseError

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n]*\n?", re.MULTILINE)
_JSON_TAGS = frozenset(["json", "jsonc", "json5"])
_BRACKETS = re.compile(r"[\[\]{}]")
# A model that repeats itself writes thousands of brackets, and repairing those takes seconds.
_MAX_REPAIR_DEPTH = 100
_ALIASES: dict[str, frozenset[str]] = {
    name: frozenset([name, *others.split()])
    for name, others in {
        "bash": "sh shell zsh console",
        "c": "h",
        "cobol": "cob cbl",
        "cpp": "c++ cc cxx hpp",
        "csharp": "c# cs",
        "go": "golang",
        "java": "",
        "javascript": "js jsx node mjs",
        "kotlin": "kt kts",
        "python": "py python3 py3",
        "ruby": "rb",
        "rust": "rs",
        "scala": "sc",
        "sql": "postgres postgresql psql mysql sqlite sqlite3 tsql t-sql bigquery ansi mssql",
        "swift": "",
        "typescript": "ts tsx",
    }.items()
}


@dataclass(frozen=True)
class _Block:
    tag: str
    text: str


def extract_code(text: str, language: str) -> str:
    """Return the last code block in a language; raises `ResponseParseError` if there is none."""
    blocks = _find_blocks(text)
    accepted = _ALIASES.get(language, frozenset([language]))
    # Models often quote a first draft or the question before they give their final answer.
    for block in reversed(blocks):
        if not block.tag or block.tag in accepted:
            return block.text.strip("\n").rstrip()
    if blocks:
        raise ResponseParseError(
            f"the answer has a code block in {blocks[-1].tag!r} instead of {language!r}; "
            f"answer with one code block that starts with ```{language}"
        )
    raise ResponseParseError(
        f"the answer has no code block; answer with one block that starts with ```{language} "
        "and ends with ```"
    )


def extract_json(text: str) -> Any:
    """Return the JSON object or array in an answer, with or without a code fence.

    Small syntax errors are repaired. Raises `ResponseParseError` if there is no object or array.
    """
    try:  # most answers of servers that enforce a schema
        return _require_structure(orjson.loads(text))
    except ValueError:
        pass
    blocks = _find_blocks(text)
    tagged = [block.text for block in blocks if block.tag in _JSON_TAGS]
    untagged = [block.text for block in blocks if not block.tag]
    candidates = [*reversed(tagged), *reversed(untagged), *_find_bare(text)]
    # A candidate that is correct as it stands wins over an earlier one that needs repair.
    for candidate in candidates:
        try:
            return _require_structure(orjson.loads(candidate))
        except ValueError:
            continue
    for candidate in candidates:
        repaired = _repair(candidate)
        if repaired is not None:
            return repaired
    raise ResponseParseError(
        "the answer has no JSON object; answer with JSON only, in a block that starts with ```json"
    )


def write_code_instructions(language: str) -> str:
    """Return the end of a prompt that asks a model for code."""
    return (
        f"- Write your answer in {language}.\n"
        "- Follow the good practice of the language; the code should run as it stands.\n"
        f"- Put the code in a fenced block that starts with ```{language} and ends with ```.\n"
        "- Give exactly one such block."
    )


def write_json_instructions(schema: dict[str, Any]) -> str:
    """Return the end of a prompt that asks a model for JSON that satisfies a schema."""
    return (
        "- Answer with JSON only.\n"
        "- Put it in a fenced block that starts with ```json and ends with ```.\n"
        "- The JSON must satisfy the schema below: every required field, no further fields, "
        "the types as given.\n\n"
        f"<response_schema>{orjson.dumps(schema).decode()}</response_schema>"
    )


def _find_blocks(text: str) -> list[_Block]:
    """Return the fenced blocks in order; a block that is not closed extends to the end."""
    blocks: list[_Block] = []
    position = 0
    while opened := _FENCE.search(text, position):
        # As in Markdown, a fence is closed by at least as many of the same characters. A longer
        # fence can therefore contain a shorter one.
        mark = opened[1]
        closing = re.compile(rf"^[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        closed = closing.search(text, opened.end())
        end = closed.start() if closed else len(text)
        blocks.append(_Block(opened[2].lower(), text[opened.end() : end]))
        position = closed.end() if closed else len(text)
    return blocks


def _find_bare(text: str) -> list[str]:
    """Return the text from the first bracket to the last matching one, and to the end.

    The second candidate is for answers that were cut off before the closing bracket.
    """
    starts = [index for index in (text.find("{"), text.find("[")) if index >= 0]
    if not starts:
        return []
    start = min(starts)
    end = text.rfind("}" if text[start] == "{" else "]") + 1
    return [text[start:end], text[start:]] if end > start else [text[start:]]


def _require_structure(value: Any) -> Any:
    if not isinstance(value, dict | list):
        raise ValueError("not an object or array")
    return value  # pyright: ignore[reportUnknownVariableType]


def _repair(text: str) -> Any:
    """Return the object or array in text with syntax errors; None if it is beyond repair."""
    import json_repair

    if not text.lstrip().startswith(("{", "[")) or _measure_depth(text) > _MAX_REPAIR_DEPTH:
        return None
    value: Any = json_repair.loads(text)
    return cast("Any", value) if isinstance(value, dict | list) and value else None


def _measure_depth(text: str) -> int:
    """Return how deeply brackets are nested, including brackets in strings."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest
