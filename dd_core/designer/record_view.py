"""Renders one row of a dataset, with its columns grouped by what they contain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from dd_core.kinds.code_lang import CodeLang
from dd_core.storage.json_codec import dump_json

if TYPE_CHECKING:
    from dd_core.dataset.plan import Plan


_LONGEST_VECTOR = 8


@dataclass(frozen=True)
class RecordStyle:
    """Which columns of a row are shown, and how."""

    syntax_highlighting_theme: str = "dracula"
    background_color: str | None = None
    hide_seed_columns: bool = False
    include_traces: bool = True


def render_record(
    plan: Plan,
    record: Mapping[str, Any],
    made: Mapping[str, Any],
    style: RecordStyle,
    index: int,
) -> RenderableType:
    """Render a row; `made` is what processors made of it, by processor name."""
    return Group(*_parts(plan, record, made, style), Text(f"[index: {index}]", "dim"))


def _parts(
    plan: Plan, record: Mapping[str, Any], made: Mapping[str, Any], style: RecordStyle
) -> Iterator[RenderableType]:
    columns = {column.name: column for column in plan.config.columns}
    seeds = [name for name in record if name in columns and columns[name].is_seed]
    traces = [name for name in record if name.endswith("__trace") and name not in columns]
    languages = {name: column.code_language for name, column in columns.items()}
    code = {name: language for name in record if (language := languages.get(name))}
    others = [name for name in record if name not in {*seeds, *traces, *code}]
    if seeds and not style.hide_seed_columns:
        yield _table("Seed columns", record, seeds)
    if others:
        yield _table("Generated columns", record, others)
    for name, language in code.items():
        shown = Syntax(
            str(record[name]),
            CodeLang.parse_lang(language),
            theme=style.syntax_highlighting_theme,
            background_color=style.background_color,
            word_wrap=True,
        )
        yield Panel(shown, title=Text(name))
    if traces and style.include_traces:
        yield _table("Traces", record, traces)
    for name, value in made.items():
        yield Panel(_text(value), title=Text(f"Processor {name}"))


def _table(title: str, record: Mapping[str, Any], names: Sequence[str]) -> Table:
    table = Table(title=title, show_header=False, show_lines=True, expand=True)
    table.add_column(style="bold", ratio=1)
    table.add_column(ratio=3)
    for name in names:
        table.add_row(Text(name), _text(record[name]))
    return table


def _text(value: Any) -> Text:
    """A value as literal text, even if it looks like Rich markup."""
    if value is None or isinstance(value, str | int | float):
        return Text("" if value is None else str(value))
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if len(items) > _LONGEST_VECTOR and all(isinstance(each, float) for each in items):
            first = ", ".join(f"{each:.4g}" for each in items[:_LONGEST_VECTOR])
            return Text(f"[{first}, ...] ({len(items)} numbers)")
    return Text(dump_json(value, orjson.OPT_INDENT_2).decode())  # pyright: ignore[reportUnknownArgumentType]
