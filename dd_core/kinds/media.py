"""Images, audio and video that are sent to a model together with a prompt.

A context declares which column holds the media. For each row, `build_blocks` turns the contexts
into content blocks in an internal format, which the wire adapters translate for the server.
"""

from __future__ import annotations

import json
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from dd_core.declaration.kind import Kind
from dd_core.declaration.trust import require_trust
from dd_core.errors import MediaError, Problem
from dd_core.kinds.scope import Scope, report_unknown
from dd_core.models.wire.media import (
    Block,
    Encoded,
    detect_base64_image,
    encode_media,
    split_data_uri,
)
from dd_core.storage.location import Location, resolve_within

_MOST_BYTES = 50_000_000
_LONGEST_PATH = 4096


class Modality(StrEnum):
    """Kinds of media."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class ModalityDataType(StrEnum):
    """How a column holds its media."""

    URL = "url"
    BASE64 = "base64"


class ImageFormat(StrEnum):
    """Image formats."""

    PNG = "png"
    JPG = "jpg"
    JPEG = "jpeg"
    GIF = "gif"
    WEBP = "webp"


_MEDIA_TYPES = {"jpg": "image/jpeg", "mp3": "audio/mpeg", "mov": "video/quicktime"}
"""Media types that are not named after the format."""
_OTHER_NAMES = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "video/mov": "video/quicktime",
}
"""Names of media types that are used besides the registered ones."""


class AudioFormat(StrEnum):
    """Audio formats."""

    MP3 = "mp3"
    WAV = "wav"


class VideoFormat(StrEnum):
    """Video formats."""

    MP4 = "mp4"
    MOV = "mov"
    WEBM = "webm"


class ModalityContext(Kind, tag="modality"):
    """A column whose media are sent to the model before the prompt."""

    # NeMo Data Designer ignores unknown fields here, so its configurations may contain some.
    model_config = ConfigDict(extra="ignore")

    formats: ClassVar[type[StrEnum]]
    """Formats of this kind of media; their values are also file name suffixes."""

    column_name: str = Field(min_length=1)
    """Column that holds the media. A cell is a URL, a path, a base64 string, a data URI, or a list
    of these."""
    data_type: ModalityDataType | None = None
    """How the column holds the media: `url` or `base64`; default: detected for each value."""

    @model_validator(mode="after")
    def _base64_has_a_format(self) -> Self:
        if self.data_type is ModalityDataType.BASE64 and self.format is None:
            raise ValueError(f"{self.kind}_format is required when data_type is 'base64'; add it")
        return self

    @property
    @abstractmethod
    def format(self) -> StrEnum | None:
        """Format that the configuration declares, if any."""

    def get_contexts(
        self, record: Mapping[str, Any], *, base_path: str | Path | None = None
    ) -> list[Block]:
        """Return the content blocks for a record, to pass as `multi_modal_context`.

        Files are only read from `base_path`. Raises `MediaError` if an item is not valid.
        """
        folders = [] if base_path is None else [Path(base_path).resolve()]
        return self.blocks(record[self.column_name], folders)

    def blocks(self, value: Any, folders: Sequence[Location]) -> list[Block]:
        """Return a content block for each item in a cell's value.

        Files are only read from `folders`. Raises `MediaError` if an item is not valid.
        """
        blocks: list[Block] = []
        for item in _items(value):
            try:
                blocks.append({"type": self.kind, "source": self.source(item.strip(), folders)})
            except ValueError as error:
                shown = item if len(item) < 80 else f"{item[:60]}..."
                raise MediaError(
                    f"column {self.column_name!r} has no {self.kind} in {shown!r}: {error}"
                ) from None
        return blocks

    @abstractmethod
    def source(self, item: str, folders: Sequence[Location]) -> dict[str, str]:
        """Return the source of one item, a URL or its encoded bytes.

        Raises `ValueError` if the item is neither.
        """

    def base64_source(self, item: Encoded) -> dict[str, str]:
        """Return the source of an item whose bytes are part of the request."""
        declared = self.media_type(self.format) if self.format else None
        given = _OTHER_NAMES.get(item.media_type or "", item.media_type)
        if given and declared and given != declared:
            raise ValueError(f"it is {item.media_type}, but {self.kind}_format says {declared}")
        media_type = declared or given
        if media_type is None:
            raise ValueError(f"its format cannot be detected; set {self.kind}_format")
        return {"type": "base64", "media_type": media_type, "data": item.data}

    def media_type(self, name: str) -> str:
        """Return the media type of a format, for example `image/jpeg` for `jpg`."""
        return _MEDIA_TYPES.get(name, f"{self.kind}/{name}")

    def named_format(self, path: str) -> str | None:
        """Return the format that the suffix of a path names; None for unknown suffixes."""
        suffix = Path(path).suffix.lower().removeprefix(".")
        return suffix if suffix in {each.value for each in self.formats} else None


class ImageContext(ModalityContext):
    """A column with images. Paths must be in the dataset's folder or in the current folder."""

    formats = ImageFormat

    modality: Literal["image"] = "image"
    image_format: ImageFormat | None = None
    """Format of base64 data; required for `data_type: base64`."""

    @model_validator(mode="after")
    def _files_need_trust(self) -> Self:
        if self.data_type is None:
            require_trust(f"reads image files that column {self.column_name!r} names")
        return self

    @property
    def format(self) -> ImageFormat | None:
        """Format that the configuration declares, if any."""
        return self.image_format

    def source(self, item: str, folders: Sequence[Location]) -> dict[str, str]:
        """Return a URL, or the bytes of a file, a data URI or a base64 string."""
        if self.data_type is ModalityDataType.URL:
            return {"type": "url", "url": item}
        if uri := split_data_uri(item):
            return self.base64_source(uri)
        if self.data_type is None:
            if _is_url(item):
                return {"type": "url", "url": item}
            if (suffix := self.named_format(item)) and len(item) < _LONGEST_PATH:
                return self.base64_source(_read_file(item, self.media_type(suffix), folders))
        found = detect_base64_image(item)
        if self.format is None and found is None:
            raise ValueError("it is not a URL, the path of an image or base64 of a known format")
        return self.base64_source(Encoded(item, self.media_type(found) if found else None))


class _Recording(ModalityContext):
    """Untagged base of audio and video; unlike images, these are never read from files."""

    def source(self, item: str, folders: Sequence[Location]) -> dict[str, str]:
        """Return a URL, or the bytes of a data URI or a base64 string."""
        if uri := split_data_uri(item):
            return self.base64_source(uri)
        if self.data_type is ModalityDataType.URL:
            if _is_url(item) or self.named_format(item):
                return {"type": "url", "url": item}
            raise ValueError("it is neither an HTTP(S) URL nor a path with a known suffix")
        if self.data_type is None and _is_url(item):
            return {"type": "url", "url": item}
        if self.data_type is None and self.named_format(item):
            raise ValueError("it is a path; if the server can read it, set data_type to 'url'")
        return self.base64_source(Encoded(item, None))


class AudioContext(_Recording):
    """A column with audio."""

    formats = AudioFormat

    modality: Literal["audio"] = "audio"
    audio_format: AudioFormat | None = None
    """Format of base64 data; required for `data_type: base64`."""

    @property
    def format(self) -> AudioFormat | None:
        """Format that the configuration declares, if any."""
        return self.audio_format


class VideoContext(_Recording):
    """A column with video."""

    formats = VideoFormat

    modality: Literal["video"] = "video"
    video_format: VideoFormat | None = None
    """Format of base64 data; required for `data_type: base64`."""

    @property
    def format(self) -> VideoFormat | None:
        """Format that the configuration declares, if any."""
        return self.video_format


def _add_modalities(given: Any) -> Any:
    if not isinstance(given, list):
        return given
    return [_add_modality(item) for item in cast("list[Any]", given)]


def _add_modality(item: Any) -> Any:
    """Add the tag, which early configurations omitted because all contexts were images."""
    if not isinstance(item, Mapping) or "modality" in item:
        return cast("Any", item)
    fields = cast("Mapping[str, Any]", item)
    for modality in ("audio", "video"):
        if f"{modality}_format" in fields:
            return {**fields, "modality": modality}
    warnings.warn("a context without `modality` is treated as an image; add `modality: image`",
                  DeprecationWarning, stacklevel=2)  # fmt: skip
    return {**fields, "modality": "image"}


MediaContexts = Annotated[list[ModalityContext], BeforeValidator(_add_modalities)]


def check_media(
    column: str, contexts: Iterable[ModalityContext] | None, scope: Scope
) -> Iterator[Problem]:
    """Yield a problem for each context whose column does not exist."""
    for context in contexts or ():
        if scope.unknown([context.column_name]):
            place = f"columns.{column}.multi_modal_context"
            yield report_unknown(place, context.column_name, scope)


def build_blocks(
    contexts: Iterable[ModalityContext], row: Mapping[str, Any], folders: Sequence[Location]
) -> list[Block]:
    """Return the content blocks of all contexts for a row, in order; raises `MediaError`."""
    blocks: list[Block] = []
    for context in contexts:
        blocks.extend(context.blocks(row[context.column_name], folders))
    return blocks


def list_media_folders(folder: Location | None) -> list[Location]:
    """Return the folders from which media may be read: the dataset's, then the current one."""
    return [*([folder] if folder else []), Path.cwd()]


def _items(value: Any) -> list[str]:
    """Return the items in a cell's value; lists may be nested or written as JSON."""
    if value is None:
        return []
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                listed: Any = json.loads(value)
            except ValueError:
                return [value]
            return _items(listed)
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return [item for each in cast("Iterable[Any]", value) for item in _items(each)]
    return [str(cast("Any", value))]


def _is_url(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://")) and bool(urlsplit(text).netloc)


def _read_file(name: str, media_type: str, folders: Sequence[Location]) -> Encoded:
    # Values may come from a model, so a path must not lead out of the folders.
    for folder in folders:
        path = resolve_within(folder, name)
        if path is not None and path.is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"the file is larger than {_MOST_BYTES // 1_000_000} MB")
            return encode_media(path.read_bytes(), media_type)
    raise ValueError(
        "there is no such file in the dataset's folder or the current folder; files in other "
        "places are not read"
    )
