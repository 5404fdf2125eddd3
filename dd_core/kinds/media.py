"""Images, audio and video that go to a model together with a prompt."""

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


class Modality(StrEnum):
    """What a context shows to the model."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class ModalityDataType(StrEnum):
    """How a context's column holds its media."""

    URL = "url"
    BASE64 = "base64"


class ImageFormat(StrEnum):
    """Formats of images."""

    PNG = "png"
    JPG = "jpg"
    JPEG = "jpeg"
    GIF = "gif"
    WEBP = "webp"


class AudioFormat(StrEnum):
    """Formats of audio."""

    MP3 = "mp3"
    WAV = "wav"


class VideoFormat(StrEnum):
    """Formats of video."""

    MP4 = "mp4"
    MOV = "mov"
    WEBM = "webm"


class ModalityContext(Kind, tag="modality"):
    """What every kind of context has in common."""

    model_config = ConfigDict(extra="ignore")

    formats: ClassVar[type[StrEnum]]

    column_name: str = Field(min_length=1)
    """The column with the media: an address, a path, base64 text, a data URI, or a list of them."""
    data_type: ModalityDataType | None = None
    """How the column holds them; told from each value, if not given."""

    @model_validator(mode="after")
    def _base64_has_a_format(self) -> Self:
        if self.data_type is ModalityDataType.BASE64 and self.format is None:
            raise ValueError(f"{self.kind}_format is required when data_type is 'base64'; add it")
        return self

    @property
    @abstractmethod
    def format(self) -> StrEnum | None:
        """The format that the configuration names."""

    def blocks(self, value: Any, folders: Sequence[Location]) -> list[Block]:
        """A block for each medium in a cell's value; raises `MediaError`.

        Files are read only from inside `folders`.
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
        """Where the model finds one medium; raises `ValueError`."""

    def base64_source(self, found: Encoded) -> dict[str, str]:
        """The source of a medium that is sent along."""
        wanted = self.media_type(self.format) if self.format else None
        if found.media_type and wanted and found.media_type != wanted:
            raise ValueError(f"it is {found.media_type}, but {self.kind}_format says {wanted}")
        media_type = wanted or found.media_type
        if media_type is None:
            raise ValueError(f"its format cannot be told; set {self.kind}_format")
        return {"type": "base64", "media_type": media_type, "data": found.data}

    def media_type(self, name: str) -> str:
        """The media type of a format, for example `image/jpeg` for `jpg`."""
        return f"{self.kind}/{'jpeg' if name == 'jpg' else name}"

    def named_format(self, path: str) -> str | None:
        """The format that a path's suffix names; None for other suffixes."""
        suffix = Path(path).suffix.lower().removeprefix(".")
        return suffix if suffix in {each.value for each in self.formats} else None


class ImageContext(ModalityContext):
    """Images; paths are read if they lie in the dataset's or the current folder."""

    formats = ImageFormat

    modality: Literal["image"] = "image"
    image_format: ImageFormat | None = None
    """Format of base64 text."""

    @property
    def format(self) -> ImageFormat | None:
        """The format that the configuration names."""
        return self.image_format

    def source(self, item: str, folders: Sequence[Location]) -> dict[str, str]:
        """An address, or the bytes of a path, a data URI or base64 text."""
        if self.data_type is ModalityDataType.URL:
            return {"type": "url", "url": item}
        if uri := split_data_uri(item):
            return self.base64_source(uri)
        if self.data_type is None:
            if _is_address(item):
                return {"type": "url", "url": item}
            if (suffix := self.named_format(item)) and len(item) < 4096:
                return self.base64_source(_file(item, self.media_type(suffix), folders))
        found = detect_base64_image(item)
        if self.format is None and found is None:
            raise ValueError("it is no address, no path of an image, and no base64 of a known kind")
        return self.base64_source(Encoded(item, self.media_type(found) if found else None))


class _Recording(ModalityContext):
    """Untagged base of audio and video, which no server is sent from files."""

    def source(self, item: str, folders: Sequence[Location]) -> dict[str, str]:
        """An address, or the bytes of a data URI or base64 text."""
        if uri := split_data_uri(item):
            return self.base64_source(uri)
        if self.data_type is ModalityDataType.URL:
            if _is_address(item) or self.named_format(item):
                return {"type": "url", "url": item}
            raise ValueError("it is neither an http(s) address nor a path with a known suffix")
        if self.data_type is None and _is_address(item):
            return {"type": "url", "url": item}
        if self.data_type is None and self.named_format(item):
            raise ValueError("it is a path; set data_type to 'url' if the server can read it")
        return self.base64_source(Encoded(item, None))


class AudioContext(_Recording):
    """Audio."""

    formats = AudioFormat

    modality: Literal["audio"] = "audio"
    audio_format: AudioFormat | None = None
    """Format of base64 text."""

    @property
    def format(self) -> AudioFormat | None:
        """The format that the configuration names."""
        return self.audio_format


class VideoContext(_Recording):
    """Video."""

    formats = VideoFormat

    modality: Literal["video"] = "video"
    video_format: VideoFormat | None = None
    """Format of base64 text."""

    @property
    def format(self) -> VideoFormat | None:
        """The format that the configuration names."""
        return self.video_format


def _with_modality(given: Any) -> Any:
    if not isinstance(given, list):
        return given
    return [_tagged(item) for item in cast("list[Any]", given)]


def _tagged(item: Any) -> Any:
    """Early configurations did not say that a context is an image."""
    if not isinstance(item, Mapping) or "modality" in item:
        return cast("Any", item)
    fields = cast("Mapping[str, Any]", item)
    for modality in ("audio", "video"):
        if f"{modality}_format" in fields:
            return {**fields, "modality": modality}
    warnings.warn("a context without `modality` is taken for an image; add it", DeprecationWarning,
                  stacklevel=2)  # fmt: skip
    return {**fields, "modality": "image"}


MediaContexts = Annotated[list[ModalityContext], BeforeValidator(_with_modality)]


def check_media(
    column: str, contexts: Iterable[ModalityContext] | None, scope: Scope
) -> Iterator[Problem]:
    """Contexts whose column nothing provides."""
    for context in contexts or ():
        if scope.unknown([context.column_name]):
            place = f"columns.{column}.multi_modal_context"
            yield report_unknown(place, context.column_name, scope)


def build_blocks(
    contexts: Iterable[ModalityContext], row: Mapping[str, Any], folders: Sequence[Location]
) -> list[Block]:
    """The blocks of all contexts of a row, in order."""
    blocks: list[Block] = []
    for context in contexts:
        blocks.extend(context.blocks(row[context.column_name], folders))
    return blocks


def list_media_folders(folder: Location | None) -> list[Location]:
    """Where files of media may lie: the dataset's folder, then the current one."""
    return [*([folder] if folder else []), Path.cwd()]


def _items(value: Any) -> list[str]:
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


def _is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://")) and bool(urlsplit(text).netloc)


def _file(name: str, media_type: str, folders: Sequence[Location]) -> Encoded:
    for folder in folders:
        path = resolve_within(folder, name)
        if path is not None and path.is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"the file is larger than {_MOST_BYTES // 1_000_000} MB")
            return encode_media(path.read_bytes(), media_type)
    raise ValueError(
        "there is no such file in the dataset's folder or the current one; files elsewhere "
        "are not read"
    )
