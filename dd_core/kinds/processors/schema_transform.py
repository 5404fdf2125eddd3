"""Writes every row in a second form, such as chat messages, next to the dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import field_validator

from dd_core.errors import InvalidConfigError, Problem
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.scope import Scope, check_template, find_references
from dd_core.templates.template import RenderingMode, Template, list_references


class SchemaTransformProcessorConfig(ProcessorConfig):
    """Writes a side dataset to `processors-files/<name>/`. The dataset itself does not change."""

    processor_type: Literal["schema_transform"] = "schema_transform"
    template: dict[str, Any]
    """Record of the side dataset. Every string in it, at any depth, is a Jinja template over the
    row's columns, dropped columns included."""

    @field_validator("template")
    @classmethod
    def _compiles(cls, template: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(template)
        except (TypeError, ValueError) as error:
            raise InvalidConfigError(
                f"the template must contain only JSON types: {error}"
            ) from None
        for source in _find_strings(template):
            list_references(source)
        return template

    @property
    def reads(self) -> list[str]:
        """Columns that the templates refer to."""
        sources = _find_strings(self.template)
        names = [name for source in sources for name in find_references(source)]
        return list(dict.fromkeys(names))

    @property
    def side_columns(self) -> list[str] | None:
        """The keys of the record, unless they are templates themselves."""
        names = [*self.template]
        return None if any("{" in name for name in names) else names

    def problems(self, scope: Scope) -> Iterator[Problem]:
        """Yield what prevents a template from being rendered."""
        for source in _find_strings(self.template):
            yield from check_template(f"processors.{self.name}.template", source, scope)

    def transformed(self, rows: Sequence[Mapping[str, Any]], mode: RenderingMode) -> list[Any]:
        """Return the record of each row."""
        # Strings without templates are not rendered: an empty one would be an error.
        compiled = {
            source: Template.compile(source, mode=mode, output="json")
            for source in _find_strings(self.template)
            if list_references(source) or "{" in source
        }
        return [_fill(self.template, row, compiled) for row in rows]


def _find_strings(part: Any) -> Iterator[str]:
    """Yield all strings in a part of the template, keys included."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for key, value in cast("dict[str, Any]", part).items():
            yield from _find_strings(key)
            yield from _find_strings(value)
    elif isinstance(part, list):
        for value in cast("list[Any]", part):
            yield from _find_strings(value)


def _fill(part: Any, row: Mapping[str, Any], compiled: Mapping[str, Template]) -> Any:
    """Return a part of the template with the values of a row."""
    if isinstance(part, str):
        return compiled[part].render(row) if part in compiled else part
    if isinstance(part, dict):
        fields = cast("dict[str, Any]", part)
        return {
            _fill(key, row, compiled): _fill(value, row, compiled) for key, value in fields.items()
        }
    if isinstance(part, list):
        return [_fill(value, row, compiled) for value in cast("list[Any]", part)]
    return part
