"""Decodes the bodies of answers, including bodies that are not quite JSON.

A body that arrived was paid for. A byte order mark, invalid UTF-8, half of a surrogate pair, NaN
among the token probabilities, or a stream of events although none was requested must not cost the
answer that it contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import orjson

_EVENT_FIELDS = ("data:", "event:", "id:", "retry:", ":")
_PADDING = "\ufeff\0 \t\r\n"
_DONE = "[DONE]"
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile(r"\r\n|\n|\r")  # JSON may contain what `str.splitlines` takes for others
_SPACE = re.compile(r"[\ufeff\0\s]*")
_INCOMPLETE = "incomplete"
"""The finish reason of a stream that ended before its answer did."""
_DECODER = json.JSONDecoder(strict=False)

Event = dict[str, Any]


def decode_body(content: bytes) -> dict[str, Any]:
    """Decode the object in a body; raises `ValueError` if there is none."""
    try:
        answer: Any = orjson.loads(content)
    except ValueError:
        answer = _decode_leniently(content)
    if not isinstance(answer, dict):
        raise ValueError("it is not a JSON object")
    return cast("dict[str, Any]", answer)


def replace_surrogates(value: Any) -> Any:
    """Return a value of JSON types in which U+FFFD replaces each half of a surrogate pair.

    Two halves that belong together become their character.
    """
    if isinstance(value, str):
        if _SURROGATE.search(value) is None:
            return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [replace_surrogates(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return {replace_surrogates(name): replace_surrogates(item) for name, item in members}
    return value


def _decode_leniently(content: bytes) -> Any:
    text = content.decode(json.detect_encoding(content), "replace").lstrip(_PADDING)
    try:
        if text.startswith(_EVENT_FIELDS):
            return replace_surrogates(_merge(*_read_events(text)))
        documents = [*_read_documents(text)]
        first: Any = documents[0]
        is_stream = len(documents) > 1 and isinstance(first, dict)
        if is_stream and _is_chunk(cast("Event", first)):
            return replace_surrogates(_merge(documents, is_done=False))
        return replace_surrogates(first)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _read_documents(text: str) -> Iterator[Any]:
    """Yield the JSON documents that follow each other; only the first one has to be valid."""
    value, end = _DECODER.raw_decode(text)
    yield value
    while (gap := _SPACE.match(text, end)) and gap.end() < len(text):
        try:
            value, end = _DECODER.raw_decode(text, gap.end())
        except ValueError:
            return
        yield value


def _read_events(text: str) -> tuple[list[Event], bool]:
    """Return the objects of a stream of server-sent events, and whether it ended properly."""
    events: list[Event] = []
    lines: list[str] = []
    for line in [*_LINE_END.split(text), ""]:
        name, _, value = line.partition(":")
        if name == "data":
            lines.append(value.removeprefix(" "))
        elif not line.strip() and lines:
            data = "\n".join(lines)
            lines.clear()
            if data.strip() == _DONE:
                return events, True
            # The last event may have been cut off, or the data lines are one event each.
            events += _decode_event(data)
    return events, False


def _decode_event(data: str) -> list[Event]:
    events: list[Event] = []
    for candidate in (data, *(data.split("\n") if "\n" in data else ())):
        try:
            value: Any = json.loads(candidate, strict=False)
        except ValueError:
            continue
        if isinstance(value, dict):
            events.append(cast("Event", value))
        if candidate is data:
            break
    return events


def _merge(events: Sequence[Event], is_done: bool) -> dict[str, Any]:
    """Merge the events of a stream into the answer that the server would have sent without it."""
    if not events:
        raise ValueError("it is a stream without events")
    if sum(map(_is_text, events)) > 1:
        return _merge_deltas(
            [_as_delta(each) if _is_text(each) else each for each in events], is_done
        )
    whole = [event for event in events if _find_delta(event) is None and _is_answer(event)]
    if whole:
        return whole[-1]
    if any(
        str(event.get("type", "")).startswith(("message_", "content_block")) for event in events
    ):
        return _merge_blocks(events)
    return _merge_deltas(events, is_done)


def _is_answer(event: Event) -> bool:
    choices: Any = event.get("choices")
    if isinstance(choices, list) and choices:
        first: Any = cast("list[Any]", choices)[0]
        return isinstance(first, dict) and ("message" in first or "text" in first)
    return event.get("type") == "message" or "data" in event


def _is_chunk(event: Event) -> bool:
    return _find_delta(event) is not None or _is_text(event)


def _is_text(event: Event) -> bool:
    """Whether an object is a raw completion, or a part of one."""
    choices: Any = event.get("choices")
    first = _object(choices[0]) if isinstance(choices, list) and choices else {}
    return "text" in first and "message" not in first and "delta" not in first


def _as_delta(event: Event) -> Event:
    """Return a part of a raw completion in the form of a part of a chat completion."""
    choice = _object(event["choices"][0])
    return {**event, "choices": [{**choice, "delta": {"content": choice["text"]}}]}


def _find_delta(event: Event) -> Event | None:
    """Return the choice of a chunk with index 0; None for other objects."""
    choices: Any = event.get("choices")
    if not isinstance(choices, list):
        return None
    for choice in cast("list[Any]", choices):
        if isinstance(choice, dict) and isinstance(choice.get("delta"), dict):  # pyright: ignore[reportUnknownMemberType]
            found = cast("Event", choice)
            if found.get("index") in (None, 0):
                return found
    return None


def _merge_deltas(events: Sequence[Event], is_done: bool) -> dict[str, Any]:
    """Merge chunks of a chat completion in OpenAI's format."""
    parts: dict[str, list[Any]] = {"content": [""]}
    logprobs: dict[str, list[Any]] = {}
    merged: dict[str, Any] = {}
    finish: Any = None
    found = False
    for event in events:
        for name in ("usage", "error"):
            if event.get(name):
                merged[name] = event[name]
        choice = _find_delta(event)
        if choice is None:
            continue
        found = True
        finish = choice.get("finish_reason") or finish
        for name, value in cast("Event", choice["delta"]).items():
            if isinstance(value, str):
                parts.setdefault(name, []).append(value)
            elif isinstance(value, list):
                parts.setdefault(name, []).extend(cast("list[Any]", value))
        for name, value in _object(choice.get("logprobs")).items():
            if isinstance(value, list):
                logprobs.setdefault(name, []).extend(cast("list[Any]", value))
    if not found and "error" not in merged:
        raise ValueError("it is a stream without an answer")
    if finish is None and not is_done:
        finish = "error" if "error" in merged else _INCOMPLETE
    message: dict[str, Any] = {
        name: "".join(given) if all(isinstance(each, str) for each in given) else given
        for name, given in parts.items()
    }
    if "tool_calls" in parts:
        message["tool_calls"] = _merge_calls(parts["tool_calls"])
    whole = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}
    return merged | {"choices": [whole]}


def _merge_calls(fragments: Sequence[Any]) -> list[dict[str, Any]]:
    """Merge the fragments of tool calls, which name the call by its index."""
    calls: dict[Any, dict[str, Any]] = {}
    for fragment in map(_object, fragments):
        call = calls.setdefault(fragment.get("index"), {"function": {}})
        call["id"] = call.get("id") or fragment.get("id")
        for name, value in _object(fragment.get("function")).items():
            known = call["function"].get(name, "")
            call["function"][name] = known + value if isinstance(value, str) else value or known
    return [*calls.values()]


def _merge_blocks(events: Sequence[Event]) -> dict[str, Any]:
    """Merge the events of a message in Anthropic's format."""
    blocks: dict[Any, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    stop: Any = None
    for event in events:
        delta: Any = event.get("delta")
        match event.get("type"):
            case "message_start":
                usage |= _object(_object(event.get("message")).get("usage"))
            case "content_block_start":
                blocks[event.get("index")] = {**_object(event.get("content_block"))}
            case "content_block_delta":
                block = blocks.setdefault(event.get("index"), {"type": "text"})
                for name in ("text", "thinking", "signature"):
                    if isinstance(_object(delta).get(name), str):
                        block[name] = (block.get(name) or "") + delta[name]
                if isinstance(arguments := _object(delta).get("partial_json"), str):
                    known = block.get("input")
                    block["input"] = (known if isinstance(known, str) else "") + arguments
            case "message_delta":
                stop = _object(delta).get("stop_reason") or stop
                usage |= _object(event.get("usage"))
            case "error":
                merged["error"] = event.get("error")
            case _:
                pass
    reason = stop or ("error" if "error" in merged else _INCOMPLETE)
    return merged | {"content": [*blocks.values()], "stop_reason": reason, "usage": usage}


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
