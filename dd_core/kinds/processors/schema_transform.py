"""A second form of every row, such as chat messages, written beside the dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import field_validator

from dd_core.errors import Problem
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.scope import Scope, check_template, find_references
from dd_core.templates.template import RenderingMode, Template, list_references


class SchemaTransformProcessorConfig(ProcessorConfig):
    """Writes a side dataset to `processors-files/<name>/`; the dataset itself stays as it is."""

    processor_type: Literal["schema_transform"] = "schema_transform"
    template: dict[str, Any]
    """A record whose texts, at any depth, are Jinja templates over the row's columns."""

    @field_validator("template")
    @classmethod
    def _compiles(cls, template: dict[str, Any]) -> dict[str, Any]:
        for text in _texts(template):
            list_references(text)
        return template

    @property
    def reads(self) -> list[str]:
        """Columns that the templates refer to."""
        names = [name for text in _texts(self.template) for name in find_references(text)]
        return list(dict.fromkeys(names))

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """What keeps a template from being rendered."""
        for text in _texts(self.template):
            yield from check_template(f"processors.{self.name}.template", text, scope)

    def transformed(self, rows: Sequence[Mapping[str, Any]], engine: RenderingMode) -> list[Any]:
        """The record of each row."""
        compiled = {
            text: Template.compile(text, engine=engine, output="json")
            for text in _texts(self.template)
            if list_references(text) or "{" in text
        }
        return [_filled(self.template, row, compiled) for row in rows]


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for key, value in cast("dict[str, Any]", part).items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(part, list):
        for value in cast("list[Any]", part):
            yield from _texts(value)


def _filled(part: Any, row: Mapping[str, Any], compiled: Mapping[str, Template]) -> Any:
    if isinstance(part, str):
        return compiled[part].render(row) if part in compiled else part
    if isinstance(part, dict):
        fields = cast("dict[str, Any]", part)
        return {
            _filled(key, row, compiled): _filled(value, row, compiled)
            for key, value in fields.items()
        }
    if isinstance(part, list):
        return [_filled(value, row, compiled) for value in cast("list[Any]", part)]
    return part
