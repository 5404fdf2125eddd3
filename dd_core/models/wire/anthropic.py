"""The wire format of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson

from dd_core.errors import ModelUnsupportedCapabilityError
from dd_core.models.address import Address
from dd_core.models.wire.answers import (
    Reply,
    Usage,
    extract_text,
    make_tool_call,
    read_count,
    strip_text,
)
from dd_core.models.wire.body import decode_body
from dd_core.models.wire.media import Block

_VERSION = "2023-06-01"
_MAX_TOKENS = 4096
_BLOCKS = "thinking_blocks"
"""Field of a message with the blocks of the reasoning, which are signed."""
_UNCHANGED = ("model", "temperature", "top_p", "top_k", "thinking", "metadata", "service_tier")
_TRANSLATED = ("messages", "max_tokens", "stop", "tools", "tool_choice")
_TOOL_CHOICES = {"required": "any"}
"""Names of choices that differ from OpenAI's."""
_DROPPED = ("n", "response_format", "frequency_penalty", "presence_penalty", "seed")
_PREFILL = ("continue_final_message", "add_generation_prompt")
"""Fields that other servers need. This API always continues a last message of the assistant."""


class AnthropicWire:
    """Routes, headers and bodies. The API has chats only: no embeddings, images or completions."""

    completions: str | None = None
    embeddings: str | None = None
    images: str | None = None

    def __init__(self, address: Address) -> None:
        self.chat = address.join("/messages" if address.base.endswith("/v1") else "/v1/messages")

    def headers(self, key: str | None) -> dict[str, str]:
        """The headers that authenticate a request and select the API version."""
        return {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})

    def chat_body(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Translate a chat request: system messages move to `system`, `max_tokens` is required."""
        if "logprobs" in body:
            raise ModelUnsupportedCapabilityError(
                "this API returns no log probabilities; use a model of another provider"
            )
        messages: list[dict[str, Any]] = body["messages"]
        system = [_text_of(message["content"]) for message in messages if _is_system(message)]
        stop: Any = body.get("stop")
        known = {*_UNCHANGED, *_TRANSLATED, *_DROPPED, *_PREFILL}
        request: dict[str, Any] = {
            **{
                name: value
                for name, value in body.items()
                if name in _UNCHANGED or name not in known
            },
            "max_tokens": body.get("max_tokens") or _MAX_TOKENS,
            "messages": [*_translate([each for each in messages if not _is_system(each)])],
        }
        if tools := body.get("tools"):
            request["tools"] = [_translate_tool(tool) for tool in tools]
            if choice := body.get("tool_choice"):
                request["tool_choice"] = _translate_choice(choice)
        if system:
            request["system"] = "\n\n".join(system)
        if stop:
            request["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        return request

    def reply(self, content: bytes, *, exact: bool = False) -> Reply:
        """Parse an answer: text blocks are the answer, thinking blocks the reasoning."""
        answer = decode_body(content)
        blocks = _list_blocks(answer)
        texts = _collect(blocks, "text")
        thoughts = _collect(blocks, "thinking")
        used: Any = answer.get("usage")
        used = cast("dict[str, Any]", used) if isinstance(used, dict) else {}
        cached = read_count(used.get("cache_read_input_tokens"))
        reason: Any = answer.get("stop_reason")
        return Reply(
            # A citation is a block in the middle of a sentence.
            text="".join(texts) if exact else strip_text("".join(texts)),
            reasoning="\n".join(thoughts) or None,
            finish_reason=reason if isinstance(reason, str) else None,
            usage=Usage(
                input_tokens=read_count(used.get("input_tokens")) + cached,
                output_tokens=read_count(used.get("output_tokens")),
                cached_tokens=cached,
            ),
            tool_calls=tuple(
                make_tool_call(block.get("id"), block.get("name"), block.get("input"))
                for block in blocks
                if block.get("type") == "tool_use"
            ),
            thoughts={_BLOCKS: kept} if (kept := [*filter(_is_thought, blocks)]) else {},
        )


def _list_blocks(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of a message; none if the server says why the message has no content."""
    content: Any = answer.get("content")
    if content is None:
        if not isinstance(answer.get("stop_reason"), str):
            raise ValueError("it has no content")
        return []
    given = cast("list[Any]", content if isinstance(content, list) else [content])
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in given]
    return [block for block in blocks if isinstance(block, dict)]


def _collect(blocks: list[dict[str, Any]], kind: str) -> list[str]:
    """Return the contents of all blocks of a kind."""
    found = [extract_text(block.get(kind)) for block in blocks if block.get("type") == kind]
    return [text for text in found if text is not None]


def _is_system(message: Mapping[str, Any]) -> bool:
    return message["role"] in ("system", "developer")


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", "") for block in cast("list[Block]", content))


def _is_thought(block: Mapping[str, Any]) -> bool:
    return block.get("type") in ("thinking", "redacted_thinking")


def _translate(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the messages in Anthropic's form, all tool results of a turn in one message."""
    results: list[Block] = []
    for message in messages:
        if message["role"] == "tool":
            results.append(_translate_result(message))
            continue
        content: Any = message["content"]
        if not isinstance(content, str):
            content = [_block(block) for block in content]
        if "tool_calls" in message:
            content = _add_calls(content, message)
        if results:  # two user messages in a row are one to the API
            texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            is_user = message["role"] == "user"
            yield {"role": "user", "content": results + (texts if is_user else [])}
            results = []
            if is_user:
                continue
        yield {"role": message["role"], "content": content}
    if results:
        yield {"role": "user", "content": results}


def _add_calls(content: Any, message: Mapping[str, Any]) -> list[Block]:
    """The content of a message with tool calls: the reasoning comes first, unchanged."""
    texts: list[Block] = content
    if isinstance(content, str):  # empty text blocks are refused
        texts = [{"type": "text", "text": content}] if content.strip() else []
    return [
        *message.get(_BLOCKS, ()),
        *texts,
        *(
            {
                "type": "tool_use",
                "id": call["id"],
                "name": call["function"]["name"],
                "input": _read_arguments(call["function"]["arguments"]),
            }
            for call in message["tool_calls"]
        ),
    ]


def _read_arguments(text: str) -> dict[str, Any]:
    """The arguments as the object that the API requires; the result says what was wrong."""
    try:
        value: Any = orjson.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _translate_result(message: Mapping[str, Any]) -> Block:
    content: Any = message["content"]
    if not isinstance(content, str):
        content = [_block(block) for block in content]
    result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}
    return result | ({"is_error": True} if message.get("is_error") else {})


def _translate_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function: Mapping[str, Any] = tool["function"]
    described = {"description": function["description"]} if function.get("description") else {}
    return {"name": function["name"], **described, "input_schema": function["parameters"]}


def _translate_choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, str):
        return {"type": _TOOL_CHOICES.get(choice, choice)}
    return {"type": "tool", "name": choice["function"]["name"]}


def _block(block: Block) -> Block:
    if block["type"] in ("text", "image"):
        return block
    raise ModelUnsupportedCapabilityError(
        f"this provider does not accept {block['type']} input; use a model of another provider"
    )
