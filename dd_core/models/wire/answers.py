"""Parses the answers of servers: text, vectors, images, and token counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import orjson

from dd_core.models.wire.media import decode_base64, detect_base64_image, split_data_uri

_ADDRESS = re.compile(r"https?://[^\s)\"'>\]]+")
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
class Reply:
    """One answer of a chat model."""

    text: str
    reasoning: str | None
    finish_reason: str | None
    usage: Usage


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


def parse_chat(content: bytes) -> Reply:
    """Parse a chat completion. All parsers here raise built-in exceptions for malformed bodies."""
    answer = _object(content)
    choice = _first(answer.get("choices"), "choices")
    message: dict[str, Any] = choice["message"]
    return Reply(
        text=_text(message.get("content")).strip(),
        reasoning=message.get("reasoning") or message.get("reasoning_content"),
        finish_reason=choice.get("finish_reason"),
        usage=_usage(answer.get("usage") or {}),
    )


def parse_embeddings(content: bytes) -> Vectors:
    """Parse embeddings, either lists of numbers or base64."""
    answer = _object(content)
    items: list[dict[str, Any]] = sorted(answer["data"], key=lambda item: item.get("index", 0))
    vectors = [_vector(item["embedding"]) for item in items]
    return Vectors(vectors, _usage(answer.get("usage") or {}))


def parse_images(content: bytes) -> Images:
    """Parse images from the images route or from a chat completion."""
    answer = _object(content)
    found: list[bytes | str] = []
    if "data" in answer:
        found += [
            decode_base64(item["b64_json"]) if item.get("b64_json") else item["url"]
            for item in answer["data"]
        ]
    else:
        message: dict[str, Any] = _first(answer.get("choices"), "choices")["message"]
        for item in message.get("images") or ():
            found.extend(_find_images(_find_address(item)))
        found = found or _find_images(_text(message.get("content")))
    return Images(found, _usage(answer.get("usage") or {}, images=len(found)))


def _object(content: bytes) -> dict[str, Any]:
    answer: Any = orjson.loads(content)
    if not isinstance(answer, dict):
        raise ValueError("it is not a JSON object")
    return cast("dict[str, Any]", answer)


def _first(items: Any, name: str) -> dict[str, Any]:
    if not isinstance(items, list) or not items:
        raise ValueError(f"it has no {name}")
    return cast("list[dict[str, Any]]", items)[0]


def _vector(given: Any) -> list[float]:
    if isinstance(given, str):
        return np.frombuffer(decode_base64(given), dtype="<f4").astype(float).tolist()
    return [float(number) for number in given]


def _find_address(item: Any) -> str:
    """The URL, data URI or base64 text of an image in a chat message; servers differ in form."""
    if isinstance(item, str):
        return item
    address: Any = item.get("image_url") or item.get("url") or item.get("b64_json") or ""
    return str(address.get("url", "")) if isinstance(address, dict) else str(address)  # pyright: ignore


def _find_images(text: str) -> list[bytes | str]:
    """The images in a text: data URIs, else base64, else URLs."""
    uris = [uri for each in _DATA_URI.findall(text) if (uri := split_data_uri(each))]
    if uris:
        return [decode_base64(uri.data) for uri in uris]
    if detect_base64_image(text.strip()):
        return [decode_base64(text)]
    return [*_ADDRESS.findall(text)]


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content)


def _usage(given: Mapping[str, Any], images: int = 0) -> Usage:
    """Token counts, under the names of OpenAI's chat completions or responses API."""
    output: Any = given.get("completion_tokens_details") or given.get("output_tokens_details")
    prompt: Any = given.get("prompt_tokens_details")
    reasoning: Any = given.get("reasoning_tokens")
    if reasoning is None and output:
        reasoning = output.get("reasoning_tokens")
    return Usage(
        input_tokens=given.get("prompt_tokens") or given.get("input_tokens") or 0,
        output_tokens=given.get("completion_tokens") or given.get("output_tokens") or 0,
        reasoning_tokens=reasoning or 0,
        cached_tokens=(prompt.get("cached_tokens") if prompt else 0) or 0,
        images=images,
    )
