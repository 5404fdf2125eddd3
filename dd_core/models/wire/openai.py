"""The wire format of OpenAI-compatible servers, which is also the engine's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dd_core.models.wire.answers import Reply, parse_chat
from dd_core.models.wire.media import Block, Encoded


class OpenAIWire:
    """Routes, headers and bodies."""

    def __init__(self, base: str) -> None:
        self.chat = f"{base}/chat/completions"
        self.embeddings: str | None = f"{base}/embeddings"
        self.images: str | None = f"{base}/images/generations"

    def headers(self, key: str | None) -> dict[str, str]:
        """What authenticates a request."""
        return {"authorization": f"Bearer {key}"} if key else {}

    def chat_body(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request for a chat completion."""
        messages: list[dict[str, Any]] = body["messages"]
        if all(isinstance(message["content"], str) for message in messages):
            return body
        return {**body, "messages": [_translated(message) for message in messages]}

    def reply(self, content: bytes) -> Reply:
        """What the server answered."""
        return parse_chat(content)


def _translated(message: dict[str, Any]) -> dict[str, Any]:
    content: Any = message["content"]
    if isinstance(content, str):
        return message
    return {**message, "content": [_on_the_wire(block) for block in content]}


def _on_the_wire(block: Block) -> Block:
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
