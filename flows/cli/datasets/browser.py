"""Shows records in full: one at a time in a terminal, one below the other elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .keyboard import Keyboard

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dd_core.designer.results import DatasetCreationResults, PreviewResults
    from dd_core.designer.view.record import RecordStyle


_T = TypeVar("_T")
_HELP = "n or Enter: next, p: previous, g: go to, q: quit"
_SYNTAX_THEMES = {"dark": "dracula", "light": "friendly"}
_NEXT = ("n", "N", "\r", "\n", " ", "\x1b[C", "\x1b[B", "\x1bOC", "\x1bOB")
_PREVIOUS = ("p", "P", "\x1b[D", "\x1b[A", "\x1bOD", "\x1bOA")
_GO_TO = ("g", "G")
_QUIT = ("q", "Q", "\x1b", "\x03", "\x04")
_ERASE_LINE = "\r\x1b[2K"


def add_view_options(command: Callable[..., _T]) -> Callable[..., _T]:
    """Add the options that say how records are shown. The command receives `view`."""

    @click.option(
        "--save-html",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write the records to a single HTML page with navigation buttons, instead of showing "
        "them here. The page works offline.",
    )
    @click.option(
        "--theme",
        type=click.Choice(["dark", "light"]),
        default="dark",
        show_default=True,
        help="Colors of the HTML page.",
    )
    @click.option(
        "--display-width",
        type=click.IntRange(min=40),
        default=110,
        show_default=True,
        help="Maximum width of a record in characters.",
    )
    @click.option(
        "--non-interactive",
        is_flag=True,
        help="Print all records one below the other, even in a terminal.",
    )
    @wraps(command)
    def viewed(
        save_html: str | None, theme: str, display_width: int, non_interactive: bool, **options: Any
    ) -> _T:
        if save_html is not None:  # before anything is spent
            if Path(save_html).suffix.lower() not in (".html", ".htm"):
                raise click.UsageError(f"{save_html!r} must end with .html")
            from dd_core.storage.export import require_writable

            require_writable(Path(save_html))
        is_interactive = not non_interactive and sys.stdin.isatty() and sys.stdout.isatty()
        view = View(save_html, theme, display_width, is_interactive)
        return command(view=view, **options)

    return viewed


@dataclass(frozen=True)
class View:
    """How records are shown."""

    save_html: str | None
    theme: str
    width: int
    is_interactive: bool

    @property
    def style(self) -> RecordStyle:
        """The style of each record."""
        from dd_core.designer.view.record import RecordStyle

        return RecordStyle(_SYNTAX_THEMES[self.theme])


@dataclass(frozen=True)
class Records:
    """Records of a preview or a dataset that can be shown."""

    results: PreviewResults | DatasetCreationResults
    total: int
    """Number of records in the dataset."""
    indices: range
    """Indices of the records to show."""
    start: int = 0
    """Position in `indices` of the record that a browser shows first."""

    def render(self, index: int, view: View) -> RenderableType:
        """Render one record."""
        return self.results.render_record(index, view.style)


def show_records(records: Records, view: View, title: str) -> None:
    """Write the records to an HTML page, browse them, or print all of them."""
    from rich.console import Console

    if view.save_html is not None:
        _save(records, view, title)
        return
    console = Console()
    console.width = min(console.width, view.width) if console.is_terminal else view.width
    if view.is_interactive and len(records.indices) > 1:
        _browse(console, records, view)
        return
    for index in records.indices:
        _print_record(console, records, index, view)


def _save(records: Records, view: View, title: str) -> None:
    from dd_core.designer.view.page import write_page

    def rendered() -> Iterator[RenderableType]:
        for index in records.indices:
            yield records.render(index, view)

    path = view.save_html or ""
    count = write_page(path, rendered(), title=title, theme=view.theme, width=view.width)
    click.echo(f"{count:,} records written to {path}")


def _browse(console: Console, records: Records, view: View) -> None:
    indices = records.indices
    position: int | None = records.start
    with contextlib.suppress(KeyboardInterrupt), Keyboard() as keyboard:
        while position is not None:
            _print_record(console, records, indices[position], view)
            position = _choose(keyboard, position, indices)
    click.echo(_ERASE_LINE, nl=False)


def _print_record(console: Console, records: Records, index: int, view: View) -> None:
    from rich.text import Text

    console.rule(Text(f"Record {index + 1:,} of {records.total:,}"))
    console.print(records.render(index, view))


def _choose(keyboard: Keyboard, position: int, indices: range) -> int | None:
    """The position that the next key leads to; None to quit."""
    click.echo(_HELP, nl=False)
    key = keyboard.read_any((*_NEXT, *_PREVIOUS, *_GO_TO, *_QUIT))
    click.echo(_ERASE_LINE, nl=False)
    if key in _NEXT:
        return (position + 1) % len(indices)
    if key in _PREVIOUS:
        return (position - 1) % len(indices)
    if key in _GO_TO:
        with keyboard.paused():
            return _ask_for(position, indices)
    return None


def _ask_for(position: int, indices: range) -> int:
    low, high = indices.start + 1, indices.stop
    try:
        chosen: int = click.prompt(f"Record ({low}-{high})", type=click.IntRange(low, high))
    except click.Abort:
        return position
    return chosen - low
