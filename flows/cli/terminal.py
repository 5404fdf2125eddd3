"""What a run looks like on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dd_core.dataset.plan import Plan

if TYPE_CHECKING:
    from dd_core.designer.estimate import Estimate

    from ..artifacts.summary import RunSummary
    from ..session import DatasetRun


_T = TypeVar("_T")

_LOCAL_NOTE = (
    "The text comes from a language model of 135M parameters that runs on this machine: it shows "
    "the machinery, not the quality. Name another provider in the config for real data."
)
_REFRESH_SECONDS = 0.25
_LONGEST_CELL = 120
_NARROWEST_COLUMN = 8
_WIDTH_IN_FILES = 140
_ROWS_SHOWN = 5


def explain_source(plan: Plan) -> str:
    """What the reader of the rows should know about where they come from."""
    return _LOCAL_NOTE if any(model.provider == "local" for model in plan.models) else ""


def show_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table with a line a row; long values are cut."""
    if not rows:
        return
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH_IN_FILES)
    table = Table()
    widest = max(_NARROWEST_COLUMN, console.width // len(rows[0]) - 3)
    for name in rows[0]:
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=widest)
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    console.print(table)


_bars_shown: list[Progress] = []


@contextmanager
def pause_bars() -> Generator[None]:
    """Leave the terminal to somebody else for a while."""
    for bars in _bars_shown:
        bars.stop()
    try:
        yield
    finally:
        for bars in _bars_shown:
            bars.start()


async def show_progress(
    running: Awaitable[_T], sessions: Sequence[DatasetRun], interval: float
) -> _T:
    """Await a run and show its columns' progress: bars on a terminal, lines elsewhere."""
    console = Console()
    work = asyncio.ensure_future(running)
    if console.is_terminal:
        await _bars(console, work, sessions)
    else:
        while not (await asyncio.wait([work], timeout=interval))[0]:
            if sessions:
                console.print(_line(sessions[0]), highlight=False, soft_wrap=True)
    return await work


async def _bars(
    console: Console, work: asyncio.Future[Any], sessions: Sequence[DatasetRun]
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        _bars_shown.append(bars)
        starting = bars.add_task("starting", total=None)
        shown: dict[str, Any] = {}
        while not (await asyncio.wait([work], timeout=_REFRESH_SECONDS))[0]:
            if not sessions:
                continue
            bars.update(starting, visible=False)
            for name, column in sessions[0].progress().items():
                if name not in shown:
                    shown[name] = bars.add_task(name, total=column.total)
                bars.update(shown[name], completed=column.settled)
        _bars_shown.remove(bars)


def _line(session: DatasetRun) -> str:
    progress = session.progress().items()
    going = [f"{name} {c.settled}/{c.total}" for name, c in progress if c.settled < c.total]
    done = f"{session.progress_fraction():.0%} after {session.seconds:.0f} s"
    return f"{done}: {', '.join(going) or 'writing'}"


def show_summary(summary: RunSummary, session: DatasetRun) -> None:
    """Print the first rows, where the dataset is, what it took and how to see the run."""
    console = Console(soft_wrap=True, highlight=False)
    show_rows(session.preview[:_ROWS_SHOWN])
    console.print(f"Rows     {summary.rows_written} of {summary.rows_asked}")
    for dropped in session.dropped[:_ROWS_SHOWN]:
        console.print(f"         row {dropped.row} dropped: {dropped.column}: {dropped.message}")
    console.print(f"Parquet  {summary.path}/parquet-files")
    console.print(
        f"Took     {summary.seconds:.1f} s, {summary.requests} requests, "
        f"{summary.input_tokens} tokens in, {summary.output_tokens} out"
    )
    console.print(f"Seed     {summary.seed}")
    console.print(f"Run      {_where_to_see(session)}")
    note = explain_source(session.engine.plan)
    if note:
        console.print(f"\n{note}")


def _where_to_see(session: DatasetRun) -> str:
    from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

    page = f"/runs/flow-run/{session.flow_run_id}"
    api = PREFECT_API_URL.value()
    if api:
        return f"{PREFECT_UI_URL.value() or api.removesuffix('/api')}{page}"
    return f"start `prefect server start` and open http://127.0.0.1:4200{page}"


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def show_estimate(estimate: Estimate) -> None:
    """Print what a dataset will take."""
    table = Table(title=f"{estimate.num_records:,} rows, from {estimate.probe_rows} rows")
    for heading in ("model", "requests", "input tokens", "output tokens", "time", "dollars"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model in estimate.models:
        table.add_row(
            model.alias,
            f"{model.requests:,.0f}",
            f"{model.input_tokens:,.0f}",
            f"{model.output_tokens:,.0f}",
            f"{model.seconds:,.0f} s",
            "unknown" if model.dollars is None else f"{model.dollars:,.2f}",
        )
    console = Console()
    console.print(table)
    cost = "unknown" if estimate.dollars is None else f"{estimate.dollars:,.2f}"
    console.print(
        f"About {estimate.seconds:,.0f} s, {estimate.tokens:,.0f} tokens, dollars: {cost}"
    )
