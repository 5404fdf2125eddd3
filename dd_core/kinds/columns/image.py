"""Images made by a model."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from dd_core.errors import ImageGenerationError, Problem, UserTemplateError
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row
from dd_core.kinds.media import MediaContexts, build_blocks, check_media, list_media_folders
from dd_core.kinds.scope import Scope, check_template, find_references
from dd_core.models.wire.media import detect_image_format, encode_media, is_whole_image
from dd_core.storage.location import put
from dd_core.templates.template import Template, list_references

if TYPE_CHECKING:
    from dd_core.models.admission.slot import RequestSlot


_NO_FOLDER = re.compile(r"[/\\]|\.\.|[\x00-\x1f]")
_SUFFIXES = {"jpeg": "jpg"}


class ImageColumnConfig(Column):
    """A list of images: paths in the dataset's folder, or base64 texts in a preview."""

    model_types: ClassVar[tuple[str, ...]] = ("image", "chat-completion")
    writes_files: ClassVar[bool] = True
    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share",)

    column_type: Literal["image"] = "image"
    prompt: str = Field(min_length=1)
    """Jinja template of what to draw."""
    model_alias: str
    """Alias of the model that draws."""
    multi_modal_context: MediaContexts | None = None
    """Images and other media that the model is shown, where it draws by the chat route."""

    @field_validator("prompt")
    @classmethod
    def _compiles(cls, source: str) -> str:
        list_references(source)
        return source

    @property
    def required_columns(self) -> list[str]:
        """Columns that the prompt refers to, and those with media."""
        contexts = [context.column_name for context in self.multi_modal_context or ()]
        return list(dict.fromkeys([*find_references(self.prompt), *contexts]))

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Unknown references."""
        yield from super().problems(scope)
        yield from check_template(f"columns.{self.name}.prompt", self.prompt, scope)
        yield from check_media(self.name, self.multi_modal_context, scope)

    def bind(self, binding: Binding) -> CellColumn:
        """The generator that sends one request a row."""
        return _Drawing(self, binding)


class _Drawing(CellColumn):
    def __init__(self, column: ImageColumnConfig, binding: Binding) -> None:
        self.model = self._model = binding.models[column.model_alias]
        self._column = column
        engine = binding.rendering
        self._prompt = Template.compile(column.prompt, engine=engine)
        self._reading = list_media_folders(binding.folder)
        self._root = binding.folder

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """The images of one row."""
        column = self._column
        prompt = self._prompt.render(row)
        if not prompt.strip():
            raise UserTemplateError(f"the prompt of column {column.name!r} is empty in this row")
        media = build_blocks(column.multi_modal_context or (), row, self._reading)
        assert slot is not None
        images = await self._model.draw(slot, prompt, media, column.name)
        return {column.name: [await self._kept(image) for image in images]}

    async def _kept(self, content: bytes) -> str:
        """The cell's text for an image: a path when there is a folder, else base64."""
        kind = detect_image_format(content)
        if kind is None or not is_whole_image(content):
            raise ImageGenerationError(
                f"column {self._column.name!r} was given an image that is damaged or of an "
                "unknown kind; PNG, JPEG, GIF and WebP are known"
            )
        if self._root is None:
            return encode_media(content, f"image/{kind}").data
        folder = Path("images") / _NO_FOLDER.sub("_", self._column.name)
        path = folder / f"{uuid.uuid4()}.{_SUFFIXES.get(kind, kind)}"
        from asyncio import to_thread  # loads slowly

        await to_thread(put, self._root / path.as_posix(), content)
        return path.as_posix()
