"""Shows the progress of a run: bars on a terminal or in a notebook, lines elsewhere.

The library and `ddflows` share it. Everything is written to stderr.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from dd_core.engine.engine import Engine
from dd_core.models.usage import UsageCount

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live


_REFRESH_SECONDS = 0.25
_NOTEBOOK_SECONDS = 1.0
"""A notebook keeps and sends the whole output again with every update."""
_LONGEST_SILENCE = 60.0
"""Seconds after which a line is written even if nothing has changed."""
_LEAST_WIDTH, _LEAST_HEIGHT = 30, 6
"""Columns and lines of the smallest terminal that bars fit into."""
_OTHER_LINES = 4
"""Lines below the bars, and the line of the prompt."""
_BAR_WIDTH = 40


class Cells(Protocol):
    """Cells of one column."""

    @property
    def settled(self) -> int:
        """Cells that are done, skipped or dropped."""
        ...

    @property
    def dropped(self) -> int:
        """Cells whose row was dropped, because of any column."""
        ...

    @property
    def total(self) -> int:
        """Cells of the whole run."""
        ...


class ShownRun(Protocol):
    """A run whose progress is shown."""

    engine: Engine

    def progress(self) -> Mapping[str, Any]:
        """`Cells` by column."""
        ...

    def usage(self) -> UsageCount:
        """Requests and tokens of the run."""
        ...

    def describe_waits(self) -> list[str]:
        """What the run waits for."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds since the run started."""
        ...


FindRun = Callable[[], ShownRun | None]
"""The run that is shown; None if it has not started yet."""


@asynccontextmanager
async def display_progress(find_run: FindRun, interval: float) -> AsyncGenerator[None]:
    """Show bars while the context is open; without a terminal or notebook, lines on stderr.

    `interval` is the pause between lines in seconds.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        showing = _show_in_notebook(find_run)
    elif _can_hold_bars(console):
        showing = _show_bars(console, find_run)
    else:
        showing = repeat_lines(find_run, interval, _write_line)
    async with showing:
        yield


@asynccontextmanager
async def repeat_lines(
    find_run: FindRun, interval: float, write: Callable[[str], object]
) -> AsyncGenerator[None]:
    """Write a line every `interval` seconds, unless nothing has changed for less than a minute."""

    async def repeat() -> None:
        shown, shown_at = "", 0.0
        while True:
            await asyncio.sleep(interval)
            if (run := find_run()) is None:
                continue
            line, now = describe_progress(run), time.monotonic()
            if line != shown or now - shown_at > _LONGEST_SILENCE:
                write(f"after {run.seconds:.0f} s: {line}")
                shown, shown_at = line, now

    async with _in_background(repeat()):
        yield


def describe_progress(run: ShownRun) -> str:
    """The progress in one line: columns that take long, failures, requests, waits."""
    columns = _find_slow(run)
    facts = [f"{name} {it.settled:,}/{it.total:,}" for name, it in columns.items()]
    return ", ".join([*facts, *_describe_totals(run), *run.describe_waits()])


def measure_fraction(run: ShownRun) -> float:
    """The share of settled cells, from 0 to 1, in the columns that take long."""
    columns = _find_slow(run).values()
    total = sum(it.total for it in columns)
    return sum(it.settled for it in columns) / total if total else 1.0


def render_bars(run: ShownRun, most: int) -> RenderableType:
    """One bar for each column, at most `most` of them, and what the run has done and waits for."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    columns: dict[str, Cells] = {**run.progress()}
    bars = Table.grid(padding=(0, 1))
    shown = _choose_columns(columns, most)
    for name in shown:
        cells = columns[name]
        bar = ProgressBar(total=max(1, cells.total), completed=cells.settled, width=_BAR_WIDTH)
        count = Text(f"{cells.settled:,}/{cells.total:,}", "green", no_wrap=True)
        bars.add_row(Text(name, no_wrap=True, overflow="ellipsis"), bar, count)
    lines: list[RenderableType] = [bars]
    if len(columns) > len(shown):
        lines.append(Text(f"and {len(columns) - len(shown)} more columns", "dim"))
    totals = [f"{measure_fraction(run):.0%}", f"{run.seconds:.0f} s", *_describe_totals(run)]
    lines.append(Text(" · ".join(totals), "dim"))
    lines += [Text(wait, "yellow") for wait in run.describe_waits()]
    return Group(*lines)


_shown_bars: list[Live] = []


@contextmanager
def pause_bars() -> Generator[None]:
    """Hide the bars, so that something else can use the terminal."""
    for live in _shown_bars:
        live.stop()
    try:
        yield
    finally:
        for live in _shown_bars:
            live.start()


def _can_hold_bars(console: Console) -> bool:
    is_terminal = console.is_terminal and not console.is_dumb_terminal
    return is_terminal and console.width >= _LEAST_WIDTH and console.height >= _LEAST_HEIGHT


@asynccontextmanager
async def _show_bars(console: Console, find_run: FindRun) -> AsyncGenerator[None]:
    from rich.live import Live
    from rich.text import Text

    def render() -> RenderableType:
        run = find_run()
        return Text("starting ...") if run is None else render_bars(run, _count_lines(console))

    async def repeat() -> None:
        while True:
            if live.is_started:  # not while something else uses the terminal
                live.update(render(), refresh=True)
            await asyncio.sleep(_REFRESH_SECONDS)

    streams = (sys.stdout, sys.stderr)
    live = Live(Text("starting ..."), console=console, auto_refresh=False)
    with live:
        _shown_bars.append(live)
        try:
            with _redirect_handlers(streams):
                async with _in_background(repeat()):
                    yield
                live.update(render())
        finally:
            _shown_bars.remove(live)


@asynccontextmanager
async def _show_in_notebook(find_run: FindRun) -> AsyncGenerator[None]:
    from IPython.display import HTML, display  # pyright: ignore

    from dd_core.designer.view.page import export_fragment

    def render() -> Any:
        run = find_run()
        shown = "starting ..." if run is None else render_bars(run, most=100)
        return HTML(export_fragment(shown, width=110))  # pyright: ignore

    handle = cast("Any", display(render(), display_id=True))  # pyright: ignore

    async def repeat() -> None:
        while True:
            await asyncio.sleep(_NOTEBOOK_SECONDS)
            handle.update(render())

    async with _in_background(repeat()):
        yield
    handle.update(render())


@asynccontextmanager
async def _in_background(work: Any) -> AsyncGenerator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _redirect_handlers(streams: tuple[TextIO, TextIO]) -> Generator[None]:
    """Let log handlers of these streams write above the bars; Rich has replaced the streams.

    A handler keeps the stream that it was created with, so it would write into the bars.
    """
    replaced = dict(zip(map(id, streams), (sys.stdout, sys.stderr), strict=True))
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    handlers = [handler for logger in loggers for handler in getattr(logger, "handlers", ())]
    moved: list[tuple[logging.StreamHandler[Any], Any]] = []
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler):
            ours = cast("logging.StreamHandler[Any]", handler)
            if id(ours.stream) in replaced:
                moved.append((ours, ours.stream))
                ours.setStream(replaced[id(ours.stream)])
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)


def _count_lines(console: Console) -> int:
    return max(1, console.height - _OTHER_LINES)


def _choose_columns(columns: Mapping[str, Cells], most: int) -> list[str]:
    """The columns that are shown, in their order: if not all fit, first those that are not done."""
    unfinished = [name for name, it in columns.items() if it.settled < it.total]
    finished = [name for name in columns if name not in unfinished]
    chosen = {*[*unfinished, *finished][:most]}
    return [name for name in columns if name in chosen]


def _find_slow(run: ShownRun) -> dict[str, Cells]:
    """The columns that call a model, if there are any: they take nearly all the time."""
    columns: dict[str, Cells] = {**run.progress()}
    plan = run.engine.plan.columns
    slow = {name: it for name, it in columns.items() if plan[name].column.get_model_aliases()}
    return slow or columns


def _describe_totals(run: ShownRun) -> list[str]:
    columns: dict[str, Cells] = {**run.progress()}
    # A dropped row is dropped in every column that had not come to it yet.
    dropped = max((it.dropped for it in columns.values()), default=0)
    requests = f"{run.usage().requests:,} requests"
    return [*([f"{dropped:,} rows dropped"] if dropped else []), requests]


def _write_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  (the user has asked for it)
