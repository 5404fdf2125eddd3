"""From the text of a model's answer to code or JSON: forgiving about the wrapping only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import orjson

from dd_core.errors import ResponseParseError

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n]*\n?", re.MULTILINE)
_JSON_TAGS = frozenset(["json", "jsonc", "json5"])
_BRACKETS = re.compile(r"[\[\]{}]")
# A model that repeats itself writes thousands of brackets; repairing those takes seconds.
_DEEPEST_REPAIR = 100
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
    """The last block of code in this language; raises `ResponseParseError` if there is none."""
    blocks = _blocks(text)
    accepted = _ALIASES.get(language, frozenset([language]))
    for block in reversed(blocks):
        if not block.tag or block.tag in accepted:
            return block.text.strip("\n").rstrip()
    if blocks:
        raise ResponseParseError(
            f"the answer has a code block in {blocks[-1].tag!r}, but {language!r} was asked for; "
            f"answer with one code block that starts with ```{language}"
        )
    raise ResponseParseError(
        f"the answer has no code block; answer with one block that starts with ```{language} "
        "and ends with ```"
    )


def extract_json(text: str) -> Any:
    """The JSON in an answer, in a fence or bare; small errors in its syntax are repaired.

    Raises `ResponseParseError` when there is no object or array.
    """
    try:  # most answers of servers that enforce a schema
        return _structure(orjson.loads(text))
    except ValueError:
        pass
    blocks = _blocks(text)
    tagged = [block.text for block in blocks if block.tag in _JSON_TAGS]
    untagged = [block.text for block in blocks if not block.tag]
    for candidate in [*reversed(tagged), *reversed(untagged), *_bare(text)]:
        try:
            return _structure(orjson.loads(candidate))
        except ValueError:
            continue
    for candidate in [*reversed(tagged), *reversed(untagged), *_bare(text)]:
        repaired = _repaired(candidate)
        if repaired is not None:
            return repaired
    raise ResponseParseError(
        "the answer has no JSON object; answer with JSON only, in a block that starts with ```json"
    )


def write_code_instructions(language: str) -> str:
    """What asks a model for code."""
    return (
        f"- Write your answer in {language}.\n"
        "- Follow the good practice of the language; the code should run as it stands.\n"
        f"- Put the code in a fenced block that starts with ```{language} and ends with ```.\n"
        "- Give exactly one such block."
    )


def write_json_instructions(schema: dict[str, Any]) -> str:
    """What asks a model for JSON of a schema."""
    return (
        "- Answer with JSON only.\n"
        "- Put it in a fenced block that starts with ```json and ends with ```.\n"
        "- The JSON must satisfy the schema below: every required field, no further fields, "
        "the types as given.\n\n"
        f"<response_schema>{orjson.dumps(schema).decode()}</response_schema>"
    )


def _blocks(text: str) -> list[_Block]:
    """Fenced blocks in order; one that is not closed runs to the end."""
    blocks: list[_Block] = []
    position = 0
    while opened := _FENCE.search(text, position):
        mark = opened[1]
        closing = re.compile(rf"^[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$", re.MULTILINE)
        closed = closing.search(text, opened.end())
        end = closed.start() if closed else len(text)
        blocks.append(_Block(opened[2].lower(), text[opened.end() : end]))
        position = closed.end() if closed else len(text)
    return blocks


def _bare(text: str) -> list[str]:
    """The text from the first bracket to the last one of its kind, and to the end."""
    starts = [index for index in (text.find("{"), text.find("[")) if index >= 0]
    if not starts:
        return []
    start = min(starts)
    end = text.rfind("}" if text[start] == "{" else "]") + 1
    return [text[start:end], text[start:]] if end > start else [text[start:]]


def _structure(value: Any) -> Any:
    if not isinstance(value, dict | list):
        raise ValueError("no object or array")
    return value  # pyright: ignore[reportUnknownVariableType]


def _repaired(text: str) -> Any:
    import json_repair

    if not text.lstrip().startswith(("{", "[")) or _depth(text) > _DEEPEST_REPAIR:
        return None
    value: Any = json_repair.loads(text)
    return cast("Any", value) if isinstance(value, dict | list) and value else None


def _depth(text: str) -> int:
    """How deeply brackets are nested, those in texts included."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest
