"""Shows the progress of a run in Prefect's UI, in artifacts that are kept up to date."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from prefect.artifacts import (
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from dd_core.designer.view.progress_bars import measure_fraction

from ..session import DatasetRun
from .markdown import format_duration, make_artifact_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


_REFRESH_SECONDS = 3.0
_MAX_REFRESH_SECONDS = 60.0
_REFRESHES_PER_AGE = 100
"""Prefect records an event for every update of an artifact. In a run of many hours, updates every
three seconds would fill the database with tens of thousands of them, and nobody sees them all."""
_SECONDS_BETWEEN_LOGS = 60.0


class ProgressArtifacts:
    """The artifacts for progress and columns, one of each per run, which are updated in place."""

    def __init__(self, session: DatasetRun, dataset: str) -> None:
        self._session = session
        self._dataset = dataset
        self._columns: list[dict[str, Any]] = []
        self._updated_at = -math.inf
        self._waits: list[str] = []
        self._waits_logged_at = -math.inf

    @asynccontextmanager
    async def publish(self) -> AsyncGenerator[None]:
        """Keep the artifacts up to date while rows are generated, in one round or in several."""
        if not self._columns:
            await self._create()
        updating = asyncio.create_task(self._keep_updated())
        try:
            yield
        finally:
            updating.cancel()
            await asyncio.gather(updating, return_exceptions=True)
            await self._update(is_last=True)

    async def _create(self) -> None:
        self._progress = await acreate_progress_artifact(
            progress=0.0, key=make_artifact_key(self._dataset, "progress"), description="Starting"
        )
        self._columns = count_cells(self._session)
        self._table = await acreate_table_artifact(
            table=self._columns,
            key=make_artifact_key(self._dataset, "columns"),
            description=f"Cells of {self._dataset} by column and state",
        )

    async def _keep_updated(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            await self._update()

    async def _update(self, *, is_last: bool = False) -> None:
        session = self._session
        rows = count_cells(session)
        waits = session.describe_waits()
        self._log_waits(waits)
        pause = choose_refresh_seconds(session.seconds)
        is_due = is_last or time.monotonic() - self._updated_at >= pause
        if waits == self._waits and (rows == self._columns or not is_due):
            return
        try:
            await self._publish(rows, waits)
        except Exception as error:  # the run does not depend on its artifacts
            get_run_logger().debug("the artifacts could not be updated: %s", error)

    async def _publish(self, rows: list[dict[str, Any]], waits: list[str]) -> None:
        session = self._session
        await aupdate_progress_artifact(
            self._progress,
            progress=round(100 * measure_fraction(session), 1),
            description=format_progress(session),
        )
        async with get_client() as client:
            change = ArtifactUpdate(data=orjson.dumps(rows).decode())
            await client.update_artifact(self._table, change)
            if waits != self._waits:
                await _set_state_message(client, UUID(session.flow_run_id), "; ".join(waits))
        self._columns, self._waits = rows, waits
        self._updated_at = time.monotonic()

    def _log_waits(self, waits: list[str]) -> None:
        """Log what the run waits for when it begins to wait, and then every minute."""
        now = time.monotonic()
        if waits and now - self._waits_logged_at > _SECONDS_BETWEEN_LOGS:
            get_run_logger().warning("%s", "; ".join(waits))
            self._waits_logged_at = now
        elif not waits:
            self._waits_logged_at = -math.inf


def choose_refresh_seconds(age: float) -> float:
    """Time between two updates of a run's artifacts, given the seconds since it began."""
    return min(_MAX_REFRESH_SECONDS, max(_REFRESH_SECONDS, age / _REFRESHES_PER_AGE))


async def _set_state_message(client: PrefectClient, run_id: UUID, message: str) -> None:
    """Say next to the state of a running flow run what it waits for.

    The server rejects the change if somebody has cancelled or suspended the run meanwhile.
    """
    state = (await client.read_flow_run(run_id)).state
    if state is not None and state.is_running():
        changed = state.fresh_copy().model_copy(update={"message": message or None})
        await client.set_flow_run_state(run_id, changed)


def count_cells(session: DatasetRun) -> list[dict[str, Any]]:
    """Number of cells by column and state, over the whole run."""
    return [
        {
            "column": name,
            "waiting": column.waiting,
            "running": column.running,
            "done": max(0, column.done - column.restored),
            "cached": column.restored,
            "skipped": column.skipped,
            "dropped": column.dropped,
        }
        for name, column in session.progress().items()
    ]


def format_progress(session: DatasetRun) -> str:
    """Rows, speed, remaining time and cost, in one line."""
    usage, fraction = session.usage(), measure_fraction(session)
    seconds = max(session.seconds, 0.001)
    finished = sum(part.rows for part in session.parts.values())
    rows_per_second = fraction * session.rows / seconds
    done = "accepted" if session.engine.plan.config.accept else "written"
    facts = [
        f"{finished:,} of {session.rows:,} rows {done}",
        f"{rows_per_second:,.1f} rows/s",
        f"{usage.output_tokens / seconds:,.0f} output tokens/s",
        f"{usage.requests:,} requests",
        f"{format_duration(seconds)} so far",
    ]
    waits = session.describe_waits()
    if 0 < fraction < 1 and not waits:
        facts.append(f"about {format_duration(seconds * (1 - fraction) / fraction)} left")
    if cost := format_cost(session):
        facts.append(cost)
    return ", ".join([*facts, *waits])


def format_cost(session: DatasetRun) -> str:
    """Cost of this run for all models with a price; empty if no model has one."""
    prices = {alias: price for alias, price in session.engine.plan.prices.items() if price}
    costs = session.engine.usage().costs(prices).values()
    return f"${sum(cost or 0.0 for cost in costs):,.4f}" if prices else ""
