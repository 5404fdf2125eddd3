"""Parses the answers of servers: text, vectors, images, and token counts."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from uuid import uuid4

import numpy as np
import orjson

from dd_core.models.wire.body import decode_body
from dd_core.models.wire.media import decode_base64, detect_base64_image, split_data_uri

_ADDRESS = re.compile(r"https?://[^\s)\"'>\]]+")
_MAX_COUNT = 10_000_000
"""Most tokens of one answer that are believed; no context window is larger."""
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,[A-Za-z0-9+/=]+")


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer, as reported by the server."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model requests."""

    id: str
    """Identifies the call within its conversation."""
    name: str
    """Name of the tool, as the model wrote it."""
    arguments: str
    """The arguments as JSON text, as the model wrote them."""


TokenLogprob: TypeAlias = tuple[str, float]
"""A token and the natural logarithm of its probability."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a chat model."""

    text: str
    reasoning: str | None
    finish_reason: str | None
    usage: Usage
    refusal: str | None = None
    """Why the model declines to answer, if it says so in a field of its own."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls of tools that the model requests instead of answering."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    """The tokens of the text with their log probabilities; None if the server returned none."""
    thoughts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the message with the reasoning, in the form in which the server wants them back
    together with the results of the tool calls."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings: one vector for each input, in the same order."""

    vectors: list[list[float]]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Images:
    """Generated images."""

    found: list[bytes | str]
    """Each image as bytes, or as the URL to fetch it from."""
    usage: Usage
    text: str = ""
    """What a chat model wrote beside the images."""
    finish_reason: str | None = None
    refusal: str | None = None


def parse_chat(content: bytes, *, exact: bool = False) -> Reply:
    """Parse a chat completion, or a raw one.

    White space around the text is removed, unless `exact` is true. All parsers here raise built-in
    exceptions for malformed bodies.
    """
    answer = decode_body(content)
    choice, message = _find_message(answer)
    said = message.get("content")
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    refusal = message.get("refusal")
    if not isinstance(said, str):
        said, thoughts, declined = _split_blocks(said)
        reasoning, refusal = reasoning or thoughts, refusal or declined
    return Reply(
        text=said if exact else strip_text(said),
        reasoning=extract_text(reasoning),
        finish_reason=_find_finish_reason(choice),
        usage=_usage(answer.get("usage")),
        refusal=extract_text(refusal),
        tool_calls=_find_tool_calls(message),
        logprobs=_read_logprobs(choice.get("logprobs")),
        thoughts={name: message[name] for name in _THOUGHTS if message.get(name)},
    )


def parse_embeddings(content: bytes) -> Vectors:
    """Parse embeddings, either lists of numbers or base64."""
    answer = decode_body(content)
    items: list[dict[str, Any]] = answer["data"]
    if not isinstance(items, list):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("it has no list of embeddings")
    items = sorted(items, key=lambda item: read_count(item.get("index")))
    vectors = [_vector(item.get("embedding")) for item in items]
    return Vectors(vectors, _usage(answer.get("usage")))


def parse_images(content: bytes) -> Images:
    """Parse images from the images route or from a chat completion."""
    answer = decode_body(content)
    found: list[bytes | str] = []
    if "data" in answer:
        for item in answer["data"] or ():
            encoded, url = item.get("b64_json"), item.get("url") or ""
            if encoded:
                uri = split_data_uri(encoded)
                found.append(decode_base64(uri.data if uri else encoded))
            elif url:
                found.extend(_find_images(url) if url.startswith("data:") else [url])
        return Images(found, _usage(answer.get("usage"), images=len(found)))
    choice, message = _find_message(answer)
    for item in message.get("images") or ():
        found.extend(_find_images(_find_address(item)))
    text, _, refusal = _split_blocks(message.get("content"))
    found = found or _find_images(text)
    return Images(
        found,
        _usage(answer.get("usage"), images=len(found)),
        text=text,
        finish_reason=_find_finish_reason(choice),
        refusal=extract_text(message.get("refusal") or refusal),
    )


def strip_text(text: str) -> str:
    """Return a text without white space around it.

    The indentation of a fence in its first line remains, because it belongs to every line of the
    block; code would otherwise be indented more than its first line.
    """
    stripped = text.strip()
    if not stripped.startswith(("```", "~~~")):
        return stripped
    before = text[: text.index(stripped[:3])]
    return before[len(before.rstrip(" \t")) :] + stripped


def extract_text(value: Any) -> str | None:
    """Return the text of a field that servers send as a string, an object or a list of blocks."""
    if value is None:
        return None
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        parts = [text for item in cast("list[Any]", value) if (text := extract_text(item))]
        return "".join(parts) or None
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        for name in ("text", "content", "thinking", "reasoning", "summary", "refusal"):
            if text := extract_text(fields.get(name)):
                return text
    return None


def read_count(value: Any) -> int:
    """Return a count that a server reported as a number or as digits; 0 for anything else.

    Negative numbers and numbers that no answer can have are not believed: budgets rely on counts.
    """
    if value is None:
        return 0
    if isinstance(value, int):
        return value if 0 <= value <= _MAX_COUNT else 0
    try:
        return read_count(int(float(value)))
    except (TypeError, ValueError, OverflowError):
        return 0


def _find_message(answer: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first choice and its message; both are empty if the server found no answer.

    A content filter may leave out the message, or all choices.
    """
    choices: Any = answer.get("choices")
    if not isinstance(choices, list):
        raise ValueError("it has no choices")
    if not choices:
        return {}, {}
    choice = cast("list[dict[str, Any]]", choices)[0]
    message: Any = choice.get("message")
    if isinstance(message, dict):
        return choice, cast("dict[str, Any]", message)
    if isinstance(message, str) or "text" in choice:
        return choice, {"content": message or choice["text"]}
    if _find_finish_reason(choice) is None:
        raise ValueError("it has no message")
    return choice, {}


def _read_logprobs(given: Any) -> tuple[TokenLogprob, ...] | None:
    """The log probabilities in the form of the chat route, or of raw completions."""
    if not isinstance(given, dict):
        return None
    fields = cast("dict[str, Any]", given)
    pairs = [
        (_member(each, "token"), _member(each, "logprob")) for each in _list(fields.get("content"))
    ] or zip(_list(fields.get("tokens")), _list(fields.get("token_logprobs")), strict=False)
    found = [(token, float(each)) for token, each in pairs if _is_logprob(token, each)]
    return tuple(found) or None


def _is_logprob(token: Any, given: Any) -> bool:
    """Whether a token is text and has a number; NaN or infinity would spoil the mean."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return isinstance(token, str) and is_number and abs(given) <= sys.float_info.max


def _list(given: Any) -> list[Any]:
    return cast("list[Any]", given) if isinstance(given, list) else []


def _find_tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """The tool calls of a message, also in the form that preceded `tool_calls`."""
    listed: Any = message.get("tool_calls")
    old: Any = message.get("function_call")
    given = cast("list[Any]", listed) if isinstance(listed, list) else []
    given = given or ([{"function": old}] if isinstance(old, dict) else [])
    return tuple(_read_tool_call(each) for each in given)


def _read_tool_call(given: Any) -> ToolCall:
    call = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    function: Any = call.get("function")
    function = cast("dict[str, Any]", function) if isinstance(function, dict) else call
    return make_tool_call(call.get("id"), function.get("name"), function.get("arguments"))


def make_tool_call(call_id: Any, name: Any, arguments: Any) -> ToolCall:
    """A tool call as servers write it: the id may be missing, the arguments may be an object."""
    if not isinstance(arguments, str):
        arguments = orjson.dumps({} if arguments is None else arguments).decode()
    return ToolCall(
        id=call_id if isinstance(call_id, str) and call_id else f"call_{uuid4().hex[:24]}",
        name=name if isinstance(name, str) else "",
        arguments=arguments if arguments.strip() else "{}",
    )


def _find_finish_reason(choice: Mapping[str, Any]) -> str | None:
    """The finish reason; routers that do not know it may still pass on that of the provider."""
    for name in ("finish_reason", "native_finish_reason", "stop_reason"):
        if reason := _read_finish_reason(choice.get(name)):
            return reason
    return None


def _split_blocks(content: Any) -> tuple[str, str | None, str | None]:
    """Return the text, the reasoning and the refusal in the content of a message."""
    if isinstance(content, str):
        return content, None, None
    if isinstance(content, bool) or content in (None, [], {}):
        return "", None, None  # different ways to say that there is no text
    if isinstance(content, dict) and not isinstance(content.get("text"), str):  # pyright: ignore[reportUnknownMemberType]
        return orjson.dumps(content).decode(), None, None  # the server has parsed the JSON
    if not isinstance(content, list | dict):
        return str(content), None, None
    blocks = cast("list[Any]", content if isinstance(content, list) else [content])
    texts: list[str] = []
    sides: dict[str, str] = {"reasoning": "", "refusal": ""}
    for block in blocks:
        kind: Any = cast("dict[str, Any]", block).get("type") if isinstance(block, dict) else None
        if kind in ("thinking", "reasoning"):
            sides["reasoning"] += extract_text(block) or ""
        elif kind == "refusal":
            sides["refusal"] += extract_text(block) or ""
        elif kind in (None, "text", "output_text"):
            texts.append(extract_text(block) or "")
    return "".join(texts), sides["reasoning"] or None, sides["refusal"] or None


def _read_finish_reason(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    kind: Any = cast("dict[str, Any]", value).get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _vector(given: Any) -> list[float]:
    if not given:
        return []
    try:
        if isinstance(given, str):
            return np.frombuffer(decode_base64(given), dtype="<f4").astype(float).tolist()
        return [float(number) for number in given]
    except (TypeError, ValueError, OverflowError):
        return [math.nan]


def _find_address(item: Any) -> str:
    """The URL, data URI or base64 text of an image in a chat message; servers differ in form."""
    if isinstance(item, str):
        return item
    address: Any = item.get("image_url") or item.get("url") or item.get("b64_json") or ""
    return str(address.get("url", "")) if isinstance(address, dict) else str(address)  # pyright: ignore


def _find_images(text: str | None) -> list[bytes | str]:
    """The images in a text: data URIs, else base64, else URLs."""
    if not text:
        return []
    uris = [uri for each in _DATA_URI.findall(text) if (uri := split_data_uri(each))]
    if uris:
        return [decode_base64(uri.data) for uri in uris]
    if detect_base64_image(text.strip()):
        return [decode_base64(text)]
    return [*_ADDRESS.findall(text)]


def _usage(given: Any, images: int = 0) -> Usage:
    """Token counts, under the names of OpenAI's chat completions or responses API."""
    if not isinstance(given, dict):
        return Usage(images=images)
    counts = cast("dict[str, Any]", given)
    output = counts.get("completion_tokens_details") or counts.get("output_tokens_details")
    prompt = counts.get("prompt_tokens_details") or counts.get("input_tokens_details")
    sent = read_count(counts.get("prompt_tokens") or counts.get("input_tokens"))
    return Usage(
        input_tokens=sent,
        output_tokens=read_count(counts.get("completion_tokens") or counts.get("output_tokens")),
        reasoning_tokens=read_count(
            counts.get("reasoning_tokens") or _member(output, "reasoning_tokens")
        ),
        # More cached tokens than tokens would make the cost negative.
        cached_tokens=min(sent, read_count(_member(prompt, "cached_tokens"))),
        images=images,
    )


def _member(details: Any, name: str) -> Any:
    return cast("dict[str, Any]", details).get(name) if isinstance(details, dict) else None
