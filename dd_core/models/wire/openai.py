"""The wire format of OpenAI-compatible servers. Requests use it internally, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_core.models.address import Address
from dd_core.models.wire.answers import Reply, parse_chat
from dd_core.models.wire.media import Block, Encoded


class OpenAIWire:
    """Routes, headers and bodies."""

    def __init__(self, address: Address) -> None:
        self.chat = address.join("/chat/completions")
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
        if all(isinstance(message["content"], str) for message in messages):
            return body
        return {**body, "messages": [_translate(message) for message in messages]}

    def reply(self, content: bytes) -> Reply:
        """Parse the answer to a chat request."""
        return parse_chat(content)


def _translate(message: dict[str, Any]) -> dict[str, Any]:
    content: Any = message["content"]
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
        return {"type": "input_audio", "input_audio": {"data": source["data"], "format": name}}
    uri = Encoded(source["data"], source["media_type"]).uri
    return {"type": f"{kind}_url", f"{kind}_url": {"url": uri}}
