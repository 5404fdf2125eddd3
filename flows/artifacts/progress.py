"""What a person sees of a run in Prefect's UI: how far it is."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from prefect.artifacts import (
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from ..limits.tag_limits import make_tag
from ..session import DatasetRun
from .markdown import format_duration, make_artifact_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


_REFRESH_SECONDS = 3.0


async def tag_run(session: DatasetRun, dataset: str) -> None:
    """Let the run be found by its dataset and by the models that it asks."""
    run_id = UUID(session.flow_run_id)
    asked = {
        alias
        for planned in session.engine.plan.columns.values()
        for alias in planned.column.get_model_aliases()
    }
    async with get_client() as client:
        known = (await client.read_flow_run(run_id)).tags
        tags = [*dict.fromkeys([*known, dataset, *map(make_tag, sorted(asked))])]
        await client.update_flow_run(run_id, tags=tags)


@asynccontextmanager
async def publish_progress(session: DatasetRun, dataset: str) -> AsyncGenerator[None]:
    """Keep the artifacts on progress and columns current while the run is at work."""
    shown = _Shown(session, dataset)
    await shown.create()
    updating = asyncio.create_task(shown.keep_current())
    try:
        yield
    finally:
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)
        await shown.update()


class _Shown:
    """Two artifacts, written when there is something new and not more than once in a while."""

    def __init__(self, session: DatasetRun, dataset: str) -> None:
        self._session = session
        self._dataset = dataset
        self._columns: list[dict[str, Any]] = []

    async def create(self) -> None:
        self._progress = await acreate_progress_artifact(
            progress=0.0, key=make_artifact_key(self._dataset, "progress"), description="Starting"
        )
        self._columns = count_cells(self._session)
        self._table = await acreate_table_artifact(
            table=self._columns,
            key=make_artifact_key(self._dataset, "columns"),
            description=f"Cells of {self._dataset}, column by column",
        )

    async def keep_current(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await self.update()

    async def update(self) -> None:
        rows = count_cells(self._session)
        if rows == self._columns:
            return
        session = self._session
        try:
            await aupdate_progress_artifact(
                self._progress,
                progress=round(100 * session.progress_fraction(), 1),
                description=format_progress(session),
            )
            async with get_client() as client:
                changed = ArtifactUpdate(data=orjson.dumps(rows).decode())
                await client.update_artifact(self._table, changed)
            self._columns = rows
        except Exception as error:  # the server may be away; the run goes on
            get_run_logger().debug("the artifacts were not updated: %s", error)


def count_cells(session: DatasetRun) -> list[dict[str, Any]]:
    """How many cells of each column are in which state, over the whole run."""
    return [
        {
            "column": name,
            "waiting": column.waiting,
            "at work": column.at_work,
            "done": max(0, column.done - column.taken_over),
            "cached": column.taken_over,
            "skipped": column.skipped,
            "dropped": column.dropped,
        }
        for name, column in session.progress().items()
    ]


def format_progress(session: DatasetRun) -> str:
    """Rows, speed, time left and cost, in one line."""
    usage, seconds, share = (
        session.usage(),
        max(session.seconds, 0.001),
        session.progress_fraction(),
    )
    finished = sum(part.rows for part in session.parts.values())
    rows = share * session.rows / seconds
    facts = [
        f"{finished:,} of {session.rows:,} rows written",
        f"{rows:,.1f} rows/s",
        f"{usage.output_tokens / seconds:,.0f} output tokens/s",
        f"{usage.requests:,} requests",
        f"{format_duration(seconds)} so far",
    ]
    if 0 < share < 1:
        facts.append(f"about {format_duration(seconds * (1 - share) / share)} left")
    if cost := format_cost(session):
        facts.append(cost)
    return ", ".join(facts)


def format_cost(session: DatasetRun) -> str:
    """What this run has cost of the models with a price; empty if no model has one."""
    prices = {alias: price for alias, price in session.engine.plan.prices.items() if price}
    costs = session.engine.usage().costs(prices).values()
    return f"${sum(cost or 0.0 for cost in costs):,.4f}" if prices else ""
