"""Extracts code or JSON from the text of a model's answer.

Only the wrapping is handled leniently: prose around the value, fences, small errors in JSON syntax.
Whether the JSON has the right structure is checked in `_schema.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import orjson

from dd_core.errors import ResponseParseError
from dd_core.kinds.columns._fences import find_fenced_blocks
from dd_core.kinds.columns._json import find_documents, find_repairable, load_json

_NO_JSON = (
    "the answer has no JSON object; answer with JSON only, in a block that starts with ```json"
)
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
        "python": "py python2 python3 py3 ipython",
        "ruby": "rb",
        "rust": "rs",
        "scala": "sc",
        "sql": "postgres postgresql psql mysql sqlite sqlite3 tsql t-sql bigquery ansi mssql",
        "swift": "",
        "typescript": "ts tsx",
    }.items()
}


def extract_code(text: str, language: str) -> str:
    """Return the last code block in a language; raises `ResponseParseError` if there is none.

    Blocks that are tagged with the language come before blocks without a tag. A block that is empty
    or not closed is not code.
    """
    blocks = find_fenced_blocks(text)
    accepted = _ALIASES.get(language, frozenset([language]))
    # A file name says the language, too.
    tagged = [block for block in blocks if block.tag.rpartition(".")[2] in accepted]
    fitting = tagged or [block for block in blocks if not block.tag]
    # Models often quote a first draft or the question before they give their final answer.
    last = fitting[-1] if fitting else None
    if last and not last.is_closed and (tagged or len(fitting) == 1 or last.text.strip()):
        raise ResponseParseError(
            "the code block is not closed; answer with one complete block that ends with ```"
        )
    for block in reversed(fitting):
        code = block.text.strip("\n").rstrip()
        if block.is_closed and code.strip():
            return code
    if fitting:
        raise ResponseParseError(
            f"the code block is empty; answer with code in a block that starts with ```{language}"
        )
    if blocks:
        raise ResponseParseError(
            f"the answer has a code block in {blocks[-1].tag!r} instead of {language!r}; "
            f"answer with one code block that starts with ```{language}"
        )
    raise ResponseParseError(
        f"the answer has no code block; answer with one block that starts with ```{language} "
        "and ends with ```"
    )


def extract_json(text: str, parse: Callable[[Any], Any] | None = None) -> Any:
    """Return the first JSON object or array in an answer that `parse` accepts, as it returns it.

    Prose and code fences around it are ignored. Small syntax errors are repaired if no document is
    accepted as it stands. Raises `ResponseParseError`, with the complaint about the likeliest
    document if there is one.
    """
    try:  # most answers of servers that enforce a schema
        value = load_json(text)
    except ValueError:
        return _select(text, parse)
    if isinstance(value, str):  # some models write the document as a JSON string
        return _select(value, parse)
    if not isinstance(value, dict | list):
        raise ResponseParseError(_NO_JSON)
    return parse(value) if parse else cast("Any", value)


def _select(text: str, parse: Callable[[Any], Any] | None) -> Any:
    complaint: ResponseParseError | None = None
    emptied: list[Any] = []
    for value in _list_candidates(text):
        try:
            parsed = parse(value) if parse else value
        except ResponseParseError as error:
            complaint = complaint or error
            continue
        if value and not parsed:  # it has nothing in common with the schema
            emptied.append(parsed)
            continue
        return parsed
    if emptied:
        return emptied[0]
    raise complaint or ResponseParseError(_NO_JSON)


def _list_candidates(text: str) -> Iterator[Any]:
    yield from find_documents(text)
    yield from find_repairable(text)


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
