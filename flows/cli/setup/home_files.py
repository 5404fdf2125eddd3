"""The YAML files in the user's home directory: providers, models and tools."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
from pydantic import BaseModel

from dd_core.declaration.yaml_text import dump_yaml, load_yaml
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.models.providers import (
    get_home_directory,
    load_default_models,
    load_default_providers,
    load_home_list,
)
from dd_core.models.tools.config import ToolConfig
from dd_core.models.tools.providers import choose_declaration

Entry = dict[str, Any]


@dataclass(frozen=True)
class HomeFile:
    """One of the files: a list of declarations that have names."""

    kind: str
    """Name on the command line."""
    title: str
    file: str
    key: str
    """Key of the list."""
    id_field: str
    """Field with the name of an entry."""
    parse: Callable[[Any], BaseModel]
    load_defaults: Callable[[], list[Any]] | None = None
    """What is used if the file does not exist; None if nothing is."""

    @property
    def path(self) -> Path:
        """The path of the file, whether it exists or not."""
        return get_home_directory() / self.file

    def load(self) -> list[BaseModel]:
        """The declarations in the file; without a file, the built-in ones."""
        found = load_home_list(self.file, self.key, self.parse)
        if found is not None:
            return found
        return self.load_defaults() if self.load_defaults is not None else []

    def load_entries(self) -> list[Entry]:
        """The entries as they are written; without a file, the built-in ones."""
        found = load_home_list(self.file, self.key, _require_mapping)
        if found is not None:
            return found
        defaults = self.load_defaults() if self.load_defaults is not None else []
        return [each.model_dump(mode="json", exclude_unset=True) for each in defaults]

    def save(self, entries: list[Entry], index: int, entry: Entry | None) -> bool:
        """Replace, append or remove the entry at an index; returns whether comments were lost.

        Only the lines of this entry change. If that is not possible, the file is written anew.
        """
        wanted = [*entries]
        wanted[index : index + 1] = [] if entry is None else [entry]
        text = self.path.read_text(encoding="utf-8-sig") if self.path.is_file() else ""
        whole = {**_load_mapping(text), self.key: wanted}
        edited = _edit(text, self.key, index, entry)
        if edited is None or load_yaml(edited) != whole:
            edited = dump_yaml(whole, sort_keys=False)
        _write(self.path, edited)
        return text.count("#") > edited.count("#")


def _require_mapping(item: Any) -> Entry:
    if not isinstance(item, Mapping):
        raise ValueError("an entry must be a mapping with fields")
    return dict(cast("Mapping[str, Any]", item))


HOME_FILES = {
    each.kind: each
    for each in (
        HomeFile(
            "provider", "Model providers", "model_providers.yaml", "providers", "name",
            ModelProvider.model_validate, load_default_providers,
        ),
        HomeFile(
            "model", "Models", "model_configs.yaml", "model_configs", "alias",
            ModelConfig.model_validate, load_default_models,
        ),
        HomeFile(
            "mcp-provider", "Tool servers", "mcp_providers.yaml", "providers", "name",
            lambda item: choose_declaration(item).model_validate(item),
        ),
        HomeFile(
            "tool-config", "Tool configurations", "tool_configs.yaml", "tool_configs",
            "tool_alias", ToolConfig.model_validate,
        ),
    )
}  # fmt: skip


def _load_mapping(text: str) -> dict[str, Any]:
    loaded: Any = load_yaml(text) or {}
    return cast("dict[str, Any]", loaded)


def _edit(text: str, key: str, index: int, entry: Entry | None) -> str | None:
    """The text with one item of a list changed; None if the list is not written as a block."""
    import yaml

    root: Any = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    if not isinstance(root, yaml.MappingNode):
        return None
    found: list[Any] = [value for name, value in root.value if name.value == key]
    if not found or not isinstance(found[0], yaml.SequenceNode) or found[0].flow_style:
        return None
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    items: list[Any] = found[0].value
    starts = [item.start_mark.line for item in items]
    ends = [*starts[1:], found[0].end_mark.line if found[0].end_mark.column == 0 else len(lines)]
    if index < len(items):
        first, stop = starts[index], _trim(lines, starts[index], ends[index])
    else:
        first = stop = _trim(lines, starts[-1], ends[-1])
    indent = " " * found[0].start_mark.column
    shown = "" if entry is None else dump_yaml([entry], sort_keys=False)
    written = [f"{indent}{line}" for line in shown.splitlines(keepends=True)]
    return "".join([*lines[:first], *written, *lines[stop:]])


def _trim(lines: list[str], first: int, stop: int) -> int:
    """The end of an item without the comments and blank lines below it."""
    while stop > first + 1 and lines[stop - 1].strip()[:1] in ("", "#"):
        stop -= 1
    return stop


def _write(path: Path, text: str) -> None:
    """Replace a file at once; others cannot read a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    staged = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            staged.chmod(path.stat().st_mode)
        staged.replace(path.resolve())
    finally:
        staged.unlink(missing_ok=True)


def parse_changes(given: tuple[str, ...]) -> dict[str, Any]:
    """Parse `field=value` arguments; a value is YAML, and an empty one removes the field."""
    changes: dict[str, Any] = {}
    for argument in given:
        field, equals, value = argument.partition("=")
        if not equals or not all(field.split(".")):
            raise click.UsageError(f"{argument!r} must have the form FIELD=VALUE")
        try:
            changes[field] = load_yaml(value)
        except ValueError as error:
            raise click.UsageError(f"the value of {field!r} is not valid YAML: {error}") from None
    return changes


def merge_changes(entry: Entry, changes: Mapping[str, Any]) -> Entry:
    """A copy of an entry with the changes, whose names may be dotted."""
    changed = {**entry}
    for field, value in changes.items():
        name, dot, rest = field.partition(".")
        if dot:
            inner = changed.get(name)
            inner = cast("Entry", inner) if isinstance(inner, dict) else {}
            changed[name] = merge_changes(inner, {rest: value})
        elif value is None:
            changed.pop(name, None)
        else:
            changed[name] = value
    return changed
