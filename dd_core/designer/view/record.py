"""Renders one record of a dataset, with each column shown as what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from dd_core.designer.view.trace import render_trace
from dd_core.designer.view.values import describe_image, render_value
from dd_core.kinds.code_lang import CodeLang
from dd_core.quality.printable import make_printable

if TYPE_CHECKING:
    from dd_core.dataset.plan import Plan
    from dd_core.kinds.columns.column import Column


_TRACE, _REASONING = "__trace", "__reasoning_content"


@dataclass(frozen=True)
class RecordStyle:
    """Which columns of a record are shown, and how."""

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
    """Render a record; `made` is what processors made of it, by processor name.

    The record is only read.
    """
    parts = [*_Record(plan, record, style).parts()]
    parts += [Panel(render_value(value), title=Text(f"Processor {n}")) for n, value in made.items()]
    return Group(*parts, Text(f"[index: {index}]", "dim"))


class _Record:
    def __init__(self, plan: Plan, record: Mapping[str, Any], style: RecordStyle) -> None:
        self._columns: dict[str, Column] = {each.name: each for each in plan.config.columns}
        self._record = record
        self._style = style

    def parts(self) -> Iterator[RenderableType]:
        """First the tables of plain values, then a panel for each of the others."""
        special = {name: part for name in self._record for part in self._special(name)}
        seeds = [name for name in self._record if self._is_seed(name)]
        plain = [n for n in self._record if n not in special and n not in seeds]
        traces = [name for name in plain if self._is_side_effect(name)]
        plain = [name for name in plain if name not in traces]
        if seeds and not self._style.hide_seed_columns:
            yield self._table("Seed columns", seeds)
        if plain:
            yield self._table("Generated columns", plain)
        yield from special.values()
        if self._style.include_traces:
            for name in traces:
                yield self._side_effect(name)

    def _is_seed(self, name: str) -> bool:
        return name in self._columns and self._columns[name].is_seed

    def _is_side_effect(self, name: str) -> bool:
        return name not in self._columns and name.endswith((_TRACE, _REASONING))

    def _special(self, name: str) -> Iterator[RenderableType]:
        """The panel of a value that is more than text or JSON."""
        column, value = self._columns.get(name), self._record[name]
        if column is None or value is None or column.is_seed:
            return
        if column.code_language is not None:
            language = CodeLang.parse_lang(column.code_language)
            yield Panel(self._code(str(value), language), title=Text(name))
        elif column.scores_by_name and isinstance(value, Mapping):
            yield _scores(name, cast("Mapping[str, Any]", value))
        elif column.shown_as == "verdict" and isinstance(value, Mapping):
            yield _verdict(name, cast("Mapping[str, Any]", value))
        elif column.shown_as == "images" and isinstance(value, list):
            images = cast("list[Any]", value)
            yield Panel(Text("\n".join(map(describe_image, images))), title=Text(name))

    def _code(self, code: str, language: str) -> Syntax:
        return Syntax(
            make_printable(code),
            language,
            theme=self._style.syntax_highlighting_theme,
            background_color=self._style.background_color,
            word_wrap=True,
        )

    def _side_effect(self, name: str) -> Panel:
        value, title = self._record[name], Text(make_printable(name))
        if name.endswith(_REASONING):
            return Panel(Text(make_printable(value or ""), "italic"), title=title)
        return Panel(render_trace(value), title=title)

    def _table(self, title: str, names: Sequence[str]) -> Table:
        table = Table(title=title, show_header=False, show_lines=True, expand=True)
        table.add_column(style="bold", ratio=1)
        table.add_column(ratio=3)
        for name in names:
            table.add_row(Text(make_printable(name)), render_value(self._record[name]))
        return table


def _scores(name: str, scores: Mapping[str, Any]) -> Table:
    table = Table(title=Text(name), show_lines=True, expand=True)
    table.add_column("score", style="bold", ratio=2)
    table.add_column("value", ratio=1)
    table.add_column("reasoning", ratio=6)
    for score, given in scores.items():
        found = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {"score": given}
        table.add_row(
            Text(make_printable(score)),
            render_value(found.get("score")),
            render_value(found.get("reasoning")),
        )
    return table


def _verdict(name: str, verdict: Mapping[str, Any]) -> Panel:
    is_valid = verdict.get("is_valid")
    word, style = ("valid", "green") if is_valid else ("not valid", "red")
    if is_valid is None:
        word, style = "no verdict", "yellow"
    details = Table.grid(padding=(0, 2))
    for field, value in verdict.items():
        if field != "is_valid" and value not in (None, "", []):
            details.add_row(Text(make_printable(field), "dim"), render_value(value))
    return Panel(Group(Text(word, f"bold {style}"), details), title=Text(name))
