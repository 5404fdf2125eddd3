"""The wire format of OpenAI-compatible servers. Requests use it internally, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dd_core.models.address import Address
from dd_core.models.wire.answers import Reply, parse_chat
from dd_core.models.wire.media import Block, Encoded

_MEDIA_FOLLOW = "(The images of this result follow the results.)"
_AUDIO_FORMATS = {"mpeg": "mp3"}
"""Formats of the API that are not named as in media types."""


class OpenAIWire:
    """Routes, headers and bodies."""

    def __init__(self, address: Address) -> None:
        self.chat = address.join("/chat/completions")
        self.completions: str | None = address.join("/completions")
        self.embeddings: str | None = address.join("/embeddings")
        self.images: str | None = address.join("/images/generations")
        self._is_azure = address.is_azure

    def headers(self, key: str | None) -> dict[str, str]:
        """The headers that authenticate a request."""
        if not key:
            return {}
        bearer = {"authorization": f"Bearer {key}"}
        return bearer | {"api-key": key} if self._is_azure else bearer

    def chat_body(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Translate media blocks to OpenAI's format; the rest stays as it is."""
        messages: list[dict[str, Any]] = body["messages"]
        if all(isinstance(each["content"], str) and "is_error" not in each for each in messages):
            return body
        translated = [_translate(message) for message in _move_media(messages)]
        return {**body, "messages": translated}

    def reply(self, content: bytes, *, exact: bool = False) -> Reply:
        """Parse the answer to a chat request, or to a raw completion."""
        return parse_chat(content, exact=exact)


def _move_media(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the messages; media in results of tools follow in a user message.

    The API accepts only text in messages of the role `tool`.
    """
    media: list[Block] = []
    for message in messages:
        is_result = message["role"] == "tool"
        if media and not is_result:
            yield {"role": "user", "content": media}
            media = []
        if is_result and not isinstance(message["content"], str):
            blocks: list[Block] = message["content"]
            texts = [block["text"] for block in blocks if block["type"] == "text"]
            media += [block for block in blocks if block["type"] != "text"]
            message = {**message, "content": "\n".join([*texts, _MEDIA_FOLLOW])}
        yield message
    if media:
        yield {"role": "user", "content": media}


def _translate(message: dict[str, Any]) -> dict[str, Any]:
    content: Any = message["content"]
    if "is_error" in message:  # the API has no such field; the text says what went wrong
        message = {name: value for name, value in message.items() if name != "is_error"}
    if isinstance(content, str):
        return message
    return {**message, "content": [_translate_block(block) for block in content]}


def _translate_block(block: Block) -> Block:
    kind = block["type"]
    if kind == "text":
        return block
    source = block["source"]
    if source["type"] == "url":
        return {"type": f"{kind}_url", f"{kind}_url": {"url": source["url"]}}
    if kind == "audio":
        name = source["media_type"].partition("/")[2]
        name = _AUDIO_FORMATS.get(name, name)
        return {"type": "input_audio", "input_audio": {"data": source["data"], "format": name}}
    uri = Encoded(source["data"], source["media_type"]).uri
    return {"type": f"{kind}_url", f"{kind}_url": {"url": uri}}
