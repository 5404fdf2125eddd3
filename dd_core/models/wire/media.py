"""Encoded media: image formats, data URIs and base64."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

Block = dict[str, Any]
"""A part of a message: `{"type": "text", "text": ...}`, or media with a `source`."""

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)
_START_LENGTH = 64
"""Number of base64 characters that are enough to detect a format."""


@dataclass(frozen=True)
class Encoded:
    """Base64 text and its media type, for example `image/png`; None if it is unknown."""

    data: str
    media_type: str | None

    @property
    def uri(self) -> str:
        """The data URI."""
        return f"data:{self.media_type};base64,{self.data}"


def split_data_uri(text: str) -> Encoded | None:
    """Parse a data URI; None for other text."""
    found = _DATA_URI.match(text)
    if found is None:
        return None
    return Encoded(text[found.end() :].strip(), (found[1] or "").lower() or None)


def encode_media(content: bytes, media_type: str) -> Encoded:
    """Encode bytes as base64."""
    return Encoded(base64.b64encode(content).decode(), media_type)


def decode_base64(data: str) -> bytes:
    """Decode base64 text, ignoring white space; raises `ValueError` for other text."""
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"it is not base64 text ({error})") from None


def detect_image_format(content: bytes) -> str | None:
    """Detect `png`, `jpeg`, `gif` or `webp` from the first bytes; None for anything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return None


def detect_base64_image(data: str) -> str | None:
    """Like `detect_image_format`, for base64 text."""
    try:
        return detect_image_format(decode_base64(data[:_START_LENGTH]))
    except ValueError:
        return None


def is_whole_image(content: bytes) -> bool:
    """Whether an image has a known format and is complete, judging by its end."""
    match detect_image_format(content):
        case "png":
            return content.rstrip(b"\0")[-12:-4] == b"\0\0\0\0IEND"
        case "jpeg":
            return b"\xff\xd9" in content[-64:]
        case "gif":
            return content.rstrip(b"\0").endswith(b";")
        case "webp":
            return len(content) >= int.from_bytes(content[4:8], "little") + 8
        case _:
            return False
