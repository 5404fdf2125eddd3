"""What a person sees of a run in Prefect's UI: progress, sample rows, a summary."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.logging import get_run_logger

from dd_core.models.spending import dollars
from flows.session import DatasetRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_REFRESH_SECONDS = 2.0
_LONGEST_CELL = 300
_MOST_FAILURES = 5


def artifact_key(dataset: str, what: str) -> str:
    """A key of the form that Prefect takes: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{dataset}-{what}".lower()).strip("-")


@asynccontextmanager
async def shown_progress(session: DatasetRun, dataset: str) -> AsyncGenerator[None]:
    """Keep a progress artifact current while the run is at work."""
    artifact: UUID = await acreate_progress_artifact(
        progress=0.0, key=artifact_key(dataset, "progress"), description="Starting"
    )
    updating = asyncio.create_task(_keep_current(session, artifact))
    try:
        yield
    finally:
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)
        await _update(session, artifact)


async def _keep_current(session: DatasetRun, artifact: UUID) -> None:
    shown = -1.0
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        share = session.share()
        if share != shown:
            shown = share
            await _update(session, artifact)


async def _update(session: DatasetRun, artifact: UUID) -> None:
    try:
        await aupdate_progress_artifact(
            artifact, progress=round(100 * session.share(), 1), description=_state(session)
        )
    except Exception as error:  # the server may be away; the run goes on
        get_run_logger().debug("the progress artifact was not updated: %s", error)


def _state(session: DatasetRun) -> str:
    usage, seconds = session.usage(), max(session.seconds, 0.001)
    finished = sum(part.rows for part in session.parts.values())
    share = session.share()
    eta = f", about {_duration(seconds * (1 - share) / share)} left" if 0 < share < 1 else ""
    return (
        f"{finished:,} of {session.rows:,} rows written, {usage.requests:,} requests, "
        f"{(usage.output_tokens / seconds):,.0f} output tokens/s, {_duration(seconds)} so far{eta}"
    )


async def show_preview(session: DatasetRun, dataset: str) -> None:
    """The first rows as a table, once there are any."""
    if session.preview and not session.is_preview_shown:
        session.is_preview_shown = True
        await acreate_table_artifact(
            table=[{name: _cell(value) for name, value in row.items()} for row in session.preview],
            key=artifact_key(dataset, "preview"),
            description=f"First rows of {dataset}",
        )


async def show_summary(session: DatasetRun, dataset: str, facts: dict[str, Any]) -> None:
    """What the run came to: figures, columns, models, dropped rows."""
    lines = [f"# {dataset}", "", *_table(["", ""], [[f"**{k}**", v] for k, v in facts.items()])]
    columns = session.progress().items()
    lines += ["", "## Columns", ""]
    lines += _table(
        ["column", "generated", "skipped", "dropped"],
        [[name, f"{c.done:,}", f"{c.skipped:,}", f"{c.dropped:,}"] for name, c in columns],
    )
    lines += [*_models(session), *_times(session), *_failures(session)]
    key = artifact_key(dataset, "summary")
    await acreate_markdown_artifact(
        "\n".join(lines), key=key, description=f"What became of {dataset}"
    )


def _models(session: DatasetRun) -> list[str]:
    """What was asked of the models, by this run and those that it continued."""
    configs = {model.alias: model for model in session.engine.plan.models}
    rows = [
        [alias, column, f"{count['requests']:,.0f}", f"{count['retries']:,.0f}",
         f"{count['input_tokens']:,.0f}", f"{count['output_tokens']:,.0f}",
         "unknown" if cost is None else f"{cost:,.4f}"]
        for alias, used in session.engine.usage_of_all_runs().items()
        for column, count in used.items()
        for cost in [dollars(count, configs[alias].price if alias in configs else None)]
    ]  # fmt: skip
    heads = ["model", "column", "requests", "retries", "input tokens", "output tokens", "dollars"]
    return ["", "## Models", "", *_table(heads, rows)] if rows else []


def _times(session: DatasetRun) -> list[str]:
    """What the cells were doing: why the run took as long as it did."""
    rows: list[list[str]] = []
    heads = ["inputs", "slot", "cooldown", "in_flight", "retries", "computing"]
    for column, times in session.engine.times().items():
        shares = times.shares()
        rows.append([column, *(f"{shares[head]:.0%}" for head in heads), times.verdict])
    if not rows:
        return []
    shown = ["column", *(head.replace("_", " ") for head in heads), "so"]
    return ["", "## Where the time went", "", *_table(shown, rows)]


def _failures(session: DatasetRun) -> list[str]:
    if not session.dropped:
        return []
    kinds = Counter((row.column, row.error) for row in session.dropped)
    lines = ["", "## Dropped rows", ""]
    lines += _table(
        ["column", "error", "rows"],
        [[column, error, str(count)] for (column, error), count in kinds.most_common()],
    )
    lines += ["", "Examples:", ""]
    lines += [
        f"- row {row.row}, `{row.column}`: {_cell(row.message)}"
        for row in session.dropped[:_MOST_FAILURES]
    ]
    return lines


def _table(heads: list[str], rows: list[list[Any]]) -> list[str]:
    def line(cells: list[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)]


def _cell(value: Any) -> Any:
    """A value as a table can show it: short, and JSON where it has structure."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        value = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return value if len(value) <= _LONGEST_CELL else f"{value[: _LONGEST_CELL - 1]}…"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
