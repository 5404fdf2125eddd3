"""Leases slots from the limits of a run's models and tools in Prefect.

Slots belong to the run, not to a column: any ready cell can use any free slot. A run leases slots
in blocks, as many as it has requests for, and releases them when it no longer needs them. Runs
share a limit fairly: a run that holds fewer slots than it could use registers as waiting, and runs
that hold more than their fair share then release slots. While Prefect's API is unavailable, a run
continues with the slots that it holds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from dd_core.engine.engine import Engine
from dd_core.retries import retry_async

from ..process.liveness import ProcessLock
from .alias_leases import MIN_PAUSE_SECONDS, AliasLeases, LimitedQueue
from .leases import free_all, free_dead, release
from .tag_limits import (
    Holder,
    create_limit,
    make_tag,
    make_tool_tag,
    parse_limits,
    read_limits,
    read_rates,
)
from .tool_calls import ToolCalls

_logger = logging.getLogger(__name__)

_WAKE_DELAY_SECONDS = 0.01
"""Pause after a shortage, in which further cells become ready."""
_REFRESH_SECONDS = 3.0
"""Time between two reads of the limits, when the run is alone."""
_MAX_REFRESH_SECONDS = 12.0
_OUTAGE_WARNING_SECONDS = 10.0


@asynccontextmanager
async def hold_leases(engine: Engine, flow_run_id: UUID) -> AsyncGenerator[None]:
    """Limit requests to models and calls of tools to the slots that this run leases."""
    holder = Holder.of(flow_run_id)
    process_lock = ProcessLock(holder.key)
    keeper: asyncio.Task[None] | None = None
    models = {make_tag(model.alias): model.queue for model in engine.models.values()}
    tools = {
        make_tool_tag(toolbox.alias): ToolCalls(toolbox.limit)
        for toolbox in engine.toolboxes.values()
    }
    if models or tools:
        keeper = asyncio.create_task(LeaseKeeper(models, tools, holder).run())
    try:
        yield
    finally:
        if keeper is not None:
            # First end all requests, so that none is in flight without a slot.
            await engine.end_batches()
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        process_lock.release()


class LeaseKeeper:
    """Leases, renews and releases all slots of one run, by tag.

    The limits of models are created if they do not exist; those of tools only apply if they do.
    """

    def __init__(
        self,
        models: Mapping[str, LimitedQueue],
        tools: Mapping[str, LimitedQueue],
        holder: Holder,
    ) -> None:
        self._holder = holder
        self._wake = wake = asyncio.Event()
        self.tags = {tag: AliasLeases(tag, queue, holder, wake) for tag, queue in models.items()}
        for tag, queue in tools.items():
            self.tags[tag] = AliasLeases(tag, queue, holder, wake, is_optional=True)
        self._refreshed_at = -math.inf
        self._refresh_seconds = _REFRESH_SECONDS
        self._outage_since: float | None = None

    async def run(self) -> None:
        """Lease, renew and release slots until cancelled; then release all slots."""
        # With its own retries, Prefect's client sleeps for seconds when an SQLite server is busy.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            async with get_client() as client:
                try:
                    while True:
                        await self._step(client)
                        with suppress(TimeoutError):
                            await asyncio.wait_for(self._wake.wait(), self._pause())
                            await asyncio.sleep(_WAKE_DELAY_SECONDS)
                finally:
                    # A process that is being terminated may cancel this task more than once.
                    releasing = asyncio.create_task(self._release_all(client))
                    while not releasing.done():
                        with suppress(asyncio.CancelledError):
                            await asyncio.shield(releasing)

    def _pause(self) -> float:
        return min(leases.pause for leases in self.tags.values())

    async def _step(self, client: PrefectClient) -> None:
        self._wake.clear()
        try:
            if time.monotonic() - self._refreshed_at > self._refresh_seconds:
                await self._refresh(client)
            for leases in self.tags.values():
                await leases.match_demand(client)
            self._outage_since = None
        except (httpx.HTTPError, OSError) as error:
            await self._handle_outage(error)

    async def _handle_outage(self, error: Exception) -> None:
        """Keep the held slots and retry soon; log a warning only if the outage lasts."""
        now = time.monotonic()
        if self._outage_since is None:
            self._outage_since = now
        elif now - self._outage_since > _OUTAGE_WARNING_SECONDS:
            _logger.warning(
                "Prefect's API is unavailable; the run continues with the request slots that it "
                "holds: %r",
                error,
            )
            self._outage_since = math.inf  # log only once
        await asyncio.sleep(random.uniform(MIN_PAUSE_SECONDS, 4 * MIN_PAUSE_SECONDS))

    async def _refresh(self, client: PrefectClient) -> None:
        """Read the limits from Prefect, and create missing ones."""
        is_first = self._refreshed_at == -math.inf
        limits = parse_limits(await read_limits(client), self.tags)
        missing = [
            tag
            for tag, leases in self.tags.items()
            if limits[tag].limit is None and not leases.is_optional
        ]
        for tag in missing:
            await self._create_limit(client, tag, was_deleted=not is_first)
        if is_first or any(leases.is_short for leases in self.tags.values()):
            # This process has not leased anything at first. If Prefect shows slots of this run,
            # they belong to an earlier process of the run, which died.
            await free_dead(client, limits, self._holder if is_first else None)
        if is_first or missing:
            limits = parse_limits(await read_limits(client), self.tags)
        if is_first:
            limited = [tag for tag, leases in self.tags.items() if not leases.is_optional]
            for tag in await read_rates(client, limited):
                self.tags[tag].enable_rate_limit()
        runs = 0
        for tag, leases in self.tags.items():
            await leases.update_limit(client, limits[tag])
            runs = max(runs, len(limits[tag].held))
        # With many runs, each of them reads the limits less often, to limit the load on the server.
        self._refresh_seconds = min(_MAX_REFRESH_SECONDS, _REFRESH_SECONDS + runs / 20)
        self._refreshed_at = time.monotonic()

    async def _create_limit(self, client: PrefectClient, tag: str, *, was_deleted: bool) -> None:
        """Create a missing limit. Without it, every run would send as many requests as it likes."""
        leases = self.tags[tag]
        if was_deleted:
            leases.forget_blocks()
            _logger.warning(
                "the limit %r was deleted while runs use it; it is created again with %d slots",
                tag,
                leases.last_limit,
            )
        await create_limit(client, tag, leases.last_limit)

    async def _release_all(self, client: PrefectClient) -> None:
        waiting = [leases.waiting_lease for leases in self.tags.values()]
        leased = [each for each in waiting if each is not None]
        attempts = retry_async(
            (httpx.HTTPError, OSError), attempts=4, first_wait=0.1, longest_wait=1.0
        )
        with suppress(httpx.HTTPError, OSError):  # if all attempts fail, the leases expire
            async for attempt in attempts:
                with attempt:
                    while leased:
                        await release(client, leased[-1])
                        leased.pop()
                    # The server knows all slots of this run, also those of a request for a lease
                    # that was cancelled before its response arrived.
                    found = parse_limits(await read_limits(client), self.tags)
                    await free_all(client, found, self._holder)
