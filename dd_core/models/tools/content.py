"""Turns what a tool server returns into what a model can read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from mcp.types import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    Result,
    TextContent,
    TextResourceContents,
)
from pydantic import TypeAdapter, ValidationError

from dd_core.models.wire.media import (
    Block,
    Encoded,
    decode_base64,
    detect_image_format,
    is_whole_image,
)
from dd_core.redaction.redactor import Redactor

_MOST_IMAGE_BYTES = 5 * 2**20
"""Larger images are refused by model servers."""
_MOST_BYTES_OF_IMAGES = 4 * _MOST_IMAGE_BYTES
"""All images of a result together: a request of a few more is refused by model servers."""
_MOST_PARTS = 1000
"""Parts of a result that are read. To check a million of them would hold up the whole run."""
_MARGIN = 4096
"""Bytes beyond the limit that are searched for secrets, so that none is cut in two."""


_part_types: TypeAdapter[ContentBlock] = TypeAdapter(ContentBlock)


class RawResult(Result):
    """The result of a call; its parts are checked when they are read."""

    content: list[Any] = []
    structuredContent: Any = None  # noqa: N815
    isError: bool = False  # noqa: N815


class ContentReader:
    """Reads one result: masks what the server was given, and cuts what is too long."""

    def __init__(self, redactor: Redactor, most_bytes: int) -> None:
        self._redactor = redactor
        self._most_bytes = most_bytes
        self._room_for_images = _MOST_BYTES_OF_IMAGES

    def read(self, result: RawResult) -> str | list[Block]:
        """The text of a result, or blocks if it contains images."""
        parts: list[str | Block] = [*map(self._read_part, result.content[:_MOST_PARTS])]
        if len(result.content) > _MOST_PARTS:
            parts.append(
                f"[The result is cut off here: it has {len(result.content)} parts, and only the "
                f"first {_MOST_PARTS} are shown. Ask for less, if the tool allows it.]"
            )
        if not parts and result.structuredContent is not None:
            parts = [json.dumps(result.structuredContent, ensure_ascii=False)]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return self.limit_text("\n".join(texts))
        return [*self._make_blocks(parts)]

    def limit_text(self, text: str) -> str:
        """The text without secrets; what is beyond the limit is cut off, with a note."""
        content = text.encode(errors="replace")
        size = len(content)
        if size > self._most_bytes:
            content = content[: self._most_bytes + _MARGIN]
        masked = self._redactor.mask_answer(content.decode(errors="ignore"))
        if size <= self._most_bytes:
            return masked
        kept = masked.encode()[: self._most_bytes].decode(errors="ignore")
        return (
            f"{kept}\n[The result is cut off here: it has {size} bytes, and only the first "
            f"{self._most_bytes} are shown. Ask for less, if the tool allows it.]"
        )

    def _make_blocks(self, parts: list[str | Block]) -> Iterator[Block]:
        """Blocks in the order of the parts; all texts together are limited."""
        room = self._most_bytes
        for part in parts:
            if not isinstance(part, str):
                yield part
            elif room > 0:
                yield {"type": "text", "text": ContentReader(self._redactor, room).limit_text(part)}
                room -= len(part.encode(errors="replace"))

    def _read_part(self, part: Any) -> str | Block:
        try:
            return self._read_block(_part_types.validate_python(part))
        except ValidationError:
            kind = cast("dict[str, Any]", part).get("type") if isinstance(part, dict) else None
            return f"[content of type {kind!r} that cannot be shown]"

    def _read_block(self, block: ContentBlock) -> str | Block:
        match block:
            case TextContent():
                return block.text
            case ImageContent():
                return self._read_image(block.data, block.mimeType)
            case AudioContent():
                return _describe_media("audio", block.mimeType, block.data)
            case EmbeddedResource():
                return self._read_resource(block.resource)
            case ResourceLink():
                details = [block.title or block.name, block.description]
                return f"[resource {block.uri}: {', '.join(filter(None, details))}]"

    def _read_resource(self, resource: TextResourceContents | BlobResourceContents) -> str | Block:
        if isinstance(resource, TextResourceContents):
            return resource.text
        if (resource.mimeType or "").startswith("image/"):
            return self._read_image(resource.blob, resource.mimeType)
        return _describe_media(f"resource {resource.uri}", resource.mimeType, resource.blob)

    def _read_image(self, data: str, declared: str | None) -> str | Block:
        """The block of an image; a note if models cannot read it."""
        try:
            content = decode_base64(data)
        except ValueError as error:
            return f"[an image that cannot be shown: {error}]"
        found = detect_image_format(content)
        if found is None:
            return (
                f"[an image that cannot be shown: {declared or 'its format'} is not PNG, JPEG, GIF "
                f"or WebP, {len(content)} bytes]"
            )
        if not is_whole_image(content):
            return f"[an image that cannot be shown: it is not complete, {len(content)} bytes]"
        if len(content) > _MOST_IMAGE_BYTES:
            return f"[an image that cannot be shown: it is too large, {len(content)} bytes]"
        if len(content) > self._room_for_images:
            return (
                f"[an image that is not shown: the images before it have reached the limit of "
                f"{_MOST_BYTES_OF_IMAGES} bytes for a result, {len(content)} bytes]"
            )
        if self._redactor.is_in(content):
            return "[an image that is not shown, because it contains a key]"
        self._room_for_images -= len(content)
        image = Encoded("".join(data.split()), f"image/{found}")
        source = {"type": "base64", "media_type": image.media_type, "data": image.data}
        return {"type": "image", "source": source}


def _describe_media(name: str, media_type: str | None, data: str) -> str:
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return f"[{name} that cannot be shown: {media_type or 'unknown type'}, {size} bytes]"
