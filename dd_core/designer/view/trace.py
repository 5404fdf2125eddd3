"""Renders the conversation behind a value: messages, reasoning, tool calls and their results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.text import Text

from dd_core.designer.view.values import describe_image, render_value
from dd_core.quality.printable import make_printable

_COLORS = {"system": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}
_MOST_TEXT = 20_000
"""Characters of a message that are shown."""


def render_trace(value: Any) -> RenderableType:
    """Render the messages of a trace; anything else as a plain value."""
    messages = _parse(value)
    if not isinstance(messages, list):
        return render_value(value)
    parts = [part for each in cast("list[Any]", messages) for part in _message(each)]
    return Group(*parts)


def _parse(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _message(message: Any) -> Iterator[RenderableType]:
    if not isinstance(message, Mapping):
        yield render_value(message)
        return
    fields = cast("Mapping[str, Any]", message)
    role = make_printable(str(fields.get("role") or "message"))
    answered = fields.get("tool_call_id")
    heading = f"{role} (result of {make_printable(str(answered))})" if answered else role
    yield Text(heading, f"bold {_COLORS.get(role, 'white')}")
    if reasoning := fields.get("reasoning_content"):
        yield _section("reasoning", str(reasoning), "italic dim")
    if text := _text_of(fields.get("content")):
        yield Text(_cut(make_printable(text)))
    for number, call in enumerate(_parse(fields.get("tool_calls")) or (), 1):
        yield from _tool_call(number, call)


def _section(title: str, text: str, style: str) -> Text:
    return Text.assemble((f"[{title}] ", "dim"), (_cut(make_printable(text)), style))


def _tool_call(number: int, call: Any) -> Iterator[RenderableType]:
    if not isinstance(call, Mapping):
        yield render_value(call)
        return
    fields = cast("Mapping[str, Any]", call)
    function = cast("Mapping[str, Any]", fields.get("function") or fields)
    name = make_printable(str(function.get("name") or "?"))
    yield Text(f"[tool call {number}] {name}", "bold yellow")
    arguments = function.get("arguments")
    arguments = function.get("arguments_json") if arguments is None else arguments
    yield render_value(_parse(arguments))


def _text_of(content: Any) -> str:
    """The text of a message's content, which is text or a list of blocks."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return str(content)
    return "\n".join(_block(each) for each in cast("list[Any]", content))


def _block(block: Any) -> str:
    if not isinstance(block, Mapping):
        return str(block)
    fields = {n: it for n, it in cast("Mapping[str, Any]", block).items() if it is not None}
    if "text" in fields:
        return str(fields["text"])
    kind = str(fields.pop("type", "content"))
    held: Any = next(iter(fields.values()), "")
    if isinstance(held, Mapping):
        inner = cast("Mapping[str, Any]", held)
        held = inner.get("url") or inner.get("data") or ""
    return f"[{kind}] {describe_image(held)}"


def _cut(text: str) -> str:
    if len(text) <= _MOST_TEXT:
        return text
    return f"{text[:_MOST_TEXT]}... ({len(text) - _MOST_TEXT:,} more characters)"
