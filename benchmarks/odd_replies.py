"""Odd answers of inference servers, and the right value of each cell.

A kind is a function of a `Cell`. It returns None if the kind does not exist for the cell's column.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

MARK = "@@"
"""What the answer contains in place of bytes that JSON cannot express."""
JSON = ("structured", "judge")
CUT_OFF = ("finish_reason length", "length in native_finish_reason")


@dataclass(frozen=True)
class Reply:
    """One response, and what it is worth."""

    body: bytes
    value: Any = None
    """The value that a client has to store; None if the client has to ask again."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    is_cut_off: bool = False
    """Whether the connection is dropped before the end of the body."""


@dataclass(frozen=True)
class Cell:
    """A cell of the dataset: a column and the id of a row."""

    column: str
    row: str

    @property
    def value(self) -> Any:
        """The right value."""
        row, number = self.row, int(self.row[:6], 16)
        match self.column:
            case "text":
                return f'Entry {row}: größer als 5 °C, {{or}} not 😀 <b>"so"</b>.\n\nEnd of {row}.'
            case "structured":
                tags = [f"{row[0]} }} ]", "{ open", "größer 😀"]
                return {"title": f"Title {row}", "number": number, "tags": tags}
            case "code":
                lines = (f"def f_{row}():", '    """Return {a: [b]}, "größer" 😀."""')
                return "\n".join((*lines, f"    return {{'id': [{number}]}}  # }}"))
            case _:
                reason = f"Because of {row}, }} and 😀"
                return {"quality": {"reasoning": reason, "score": number % 3 + 1}}

    @property
    def content(self) -> str:
        """The right value as a model writes it."""
        if self.column in JSON:
            return json.dumps(self.value, ensure_ascii=False)
        if self.column == "code":
            return f"Here it is:\n\n```python\n{self.value}\n```\n\nIt returns {{id}}."
        return self.value

    @property
    def half(self) -> str:
        """The first half of the content."""
        return self.content[: len(self.content) // 2]


Kind = Callable[[Cell], Reply | None]


def completion(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion."""
    said = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}
    choices = [{"index": 0, "message": said, "finish_reason": finish}]
    return {"id": "1", "object": "chat.completion", "choices": choices, "usage": usage}


def answer_plainly(cell: Cell) -> Reply:
    """The ordinary response."""
    return _right(cell, completion(cell.content))


def pick(cell: Cell, attempt: int, share: float) -> tuple[str, Reply]:
    """Choose a response: each kind with a probability of `share`, otherwise the ordinary one."""
    seed = hashlib.blake2b(f"{cell}{attempt}".encode(), digest_size=8).digest()
    place = int(int.from_bytes(seed) / 2**64 / share)
    if place < len(KINDS):
        name = [*KINDS][place]
        reply = KINDS[name](cell)
        if reply is not None:
            return name, reply
    return "ordinary", answer_plainly(cell)


def _encode(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _right(cell: Cell, body: Any) -> Reply:
    """A response with a usable answer."""
    return Reply(body if isinstance(body, bytes) else _encode(body), cell.value)


def _wrong(content: Any, finish: str | None = "stop", **message: Any) -> Reply:
    """A response with an answer that has to be requested again."""
    return Reply(_encode(completion(content, finish, **message)))


def _error(status: int, message: str, **fields: Any) -> bytes:
    return _encode({"error": {"message": message, "code": status, **fields}})


def _substitute(cell: Cell, wrong: bytes) -> Reply | None:
    """An answer in which some bytes are wrong; a client replaces them with U+FFFD."""
    if cell.column != "text":
        return None
    body = _encode(completion(f"{cell.content} {MARK}."))
    return Reply(body.replace(MARK.encode(), wrong), f"{cell.value} \ufffd.")


def _stream(cell: Cell, *, is_whole: bool) -> bytes:
    content = cell.content if is_whole else cell.half
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"content": content[start : start + 7]} for start in range(0, len(content), 7)]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    lines = [": keep-alive", *(f"data: {json.dumps(event)}" for event in events)]
    if is_whole:
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {}}
        lines += [f"data: {json.dumps(end)}", "data: [DONE]"]
    return "\n\n".join(lines).encode() + b"\n\n"


def _hide_finish_reason(cell: Cell) -> Reply:
    body = completion(cell.half, None)
    body["choices"][0]["native_finish_reason"] = "MAX_TOKENS"
    return Reply(_encode(body))


def _count_oddly(cell: Cell) -> Reply:
    forms: tuple[Any, ...] = (
        None, [], "70 tokens", 70, {"prompt_tokens": "50", "completion_tokens": 20.0},
        {"prompt_tokens": None, "completion_tokens": {"text": 20}}, {"prompt_tokens": -1},
        {"completion_tokens_details": [1], "prompt_tokens_details": "none"},
    )  # fmt: skip
    usage = forms[int(cell.row[:4], 16) % len(forms)]
    return _right(cell, completion(cell.content) | {"usage": usage})


def _write_nan(cell: Cell) -> Reply:
    body = completion(cell.content)
    body["choices"][0]["logprobs"] = {"content": [{"logprob": float("nan")}, float("-inf")]}
    return _right(cell, json.dumps(body).encode())


def _count_hugely(cell: Cell) -> Reply:
    usage = {"prompt_tokens": 10**30, "completion_tokens": 10**400, "total_tokens": -(10**25)}
    return _right(cell, completion(cell.content) | {"created": 10**300, "usage": usage})


def _nest(cell: Cell) -> Reply:
    deep: Any = {}
    for _ in range(300):
        deep = {"error": [deep]}
    return _right(cell, completion(cell.content) | {"trace": deep})


def _nest_answer(cell: Cell) -> Reply | None:
    return _wrong('{"title": ' + '[{"a": ' * 150) if cell.column in JSON else None


def _use_nan(cell: Cell) -> Reply | None:
    content = json.dumps({**cell.value, "number": float("nan")}) if _is_structured(cell) else None
    return _wrong(content) if content else None


def _use_huge_number(cell: Cell) -> Reply | None:
    return _wrong(json.dumps({**cell.value, "number": 10**40})) if _is_structured(cell) else None


def _is_structured(cell: Cell) -> bool:
    return cell.column == "structured"


def _leave_fence_empty(cell: Cell) -> Reply | None:
    return _wrong("Here it is:\n\n```python\n\n```\n") if cell.column == "code" else None


def _leave_fence_open(cell: Cell) -> Reply | None:
    return _wrong(f"Here it is:\n\n```python\n{cell.value}") if cell.column == "code" else None


def _tag_wrongly(cell: Cell) -> Reply | None:
    if cell.column == "code":
        return _wrong(f"```rust\n{cell.value}\n```")
    if cell.column in JSON:
        return _right(cell, completion(f"Sure:\n```python\n{cell.content}\n```"))
    return None


def _add_words(cell: Cell) -> Reply | None:
    if cell.column not in JSON:
        return None
    words = '\n\nI left out {other} fields, [1] and {"note": "this one"}; see {\'a\': 1}.'
    return _right(cell, completion(cell.content + words))


def _break_syntax(cell: Cell) -> Reply | None:
    return _wrong(cell.half) if cell.column in JSON else None


def _answer_in_prose(cell: Cell) -> Reply | None:
    if cell.column == "text":
        return None
    return _wrong("I would rather {explain} it: [it is] a good one.")


def _cut_body(cell: Cell) -> Reply:
    body = answer_plainly(cell).body
    return Reply(body[: len(body) * 2 // 3])


def _drop(cell: Cell) -> Reply:
    return replace(_cut_body(cell), is_cut_off=True)


UNUSABLE: dict[str, Kind] = {
    "empty text": lambda _: _wrong(""),
    "no content": lambda _: _wrong(None),
    "false as content": lambda _: _wrong(False),
    "empty object as content": lambda _: _wrong({}),
    "invisible text": lambda _: _wrong(" \u200b\n\ufeff"),
    "no choices": lambda _: Reply(_encode({"choices": [], "usage": None})),
    "only reasoning": lambda _: _wrong(None, reasoning_content="First, I have to think about it."),
    "unclosed <think>": lambda cell: _wrong(f"<think>\nSo: {cell.content}", None),
    "refusal field": lambda _: _wrong(None, refusal="I cannot help with that."),
    "content_filter": lambda cell: _wrong(cell.half, "content_filter"),
    "finish_reason length": lambda cell: _wrong(cell.half, "length"),
    "finish_reason error": lambda cell: _wrong(cell.half, "error"),
    "tool call only": lambda _: _wrong(
        None, "tool_calls",
        tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    ),
}  # fmt: skip
"""Answers that a model may give again and again; a row that gets only these has to fail."""

KINDS: dict[str, Kind] = {
    **UNUSABLE,
    "429 inside a 200": lambda _: Reply(_error(429, "Rate limit reached", retry_after=0.2)),
    "503 inside a 200": lambda _: Reply(_error(503, "The model is overloaded")),
    "error in the choice": lambda cell: Reply(
        _encode({"choices": [{"error": {"code": 502, "message": "upstream"},
                              "message": {"content": cell.half}, "finish_reason": "error"}]})
    ),
    "half a surrogate pair": lambda cell: _substitute(cell, b"\\ud83d"),
    "invalid UTF-8": lambda cell: _substitute(cell, b"\xff"),
    "byte order mark": lambda cell: _right(cell, b"\xef\xbb\xbf" + answer_plainly(cell).body),
    "blank lines first": lambda cell: _right(cell, b"\n \n\n" + answer_plainly(cell).body),
    "unrequested stream": lambda cell: _right(cell, _stream(cell, is_whole=True)),
    "length in native_finish_reason": _hide_finish_reason,
    "broken stream": lambda cell: Reply(_stream(cell, is_whole=False)),
    "odd usage": _count_oddly,
    "huge integers": _count_hugely,
    "reasoning object": lambda cell: _right(
        cell, completion(cell.content, reasoning={"summary": [{"text": "Hm."}], "tokens": 3})
    ),
    "reasoning in the text": lambda cell: _right(
        cell, completion(f"<think>\nIs it {{}}? ```python\n\n```\n</think>\n\n{cell.content}")
    ),
    "list of blocks": lambda cell: _right(
        cell, completion([{"type": "thinking", "thinking": "Hm."},
                          {"type": "text", "text": cell.content}])
    ),
    "NaN beside the answer": _write_nan,
    "300 levels beside the answer": _nest,
    "300 levels in the answer": _nest_answer,
    "NaN in the answer": _use_nan,
    "huge integer in the answer": _use_huge_number,
    "empty fence": _leave_fence_empty,
    "unclosed fence": _leave_fence_open,
    "wrong tag of a fence": _tag_wrongly,
    "words with braces after JSON": _add_words,
    "half of the JSON": _break_syntax,
    "prose instead of JSON or code": _answer_in_prose,
    "HTML page": lambda _: Reply(
        b"<!doctype html><html><body>Please {wait}...</body></html>",
        headers=(("content-type", "text/html"),),
    ),
    "empty body": lambda _: Reply(b""),
    "truncated body": _cut_body,
    "429": lambda _: Reply(_error(429, "slow down"), status=429, headers=(("retry-after", "1"),)),
    "500": lambda _: Reply(b"Internal Server Error", status=500),
    "dropped connection": _drop,
    "slow": lambda cell: replace(answer_plainly(cell), delay=1.0),
    "slower than the timeout": lambda cell: Reply(answer_plainly(cell).body, delay=5.0),
}  # fmt: skip
