"""The request slots that a run holds of its aliases' limits in Prefect.

The slots belong to the run, not to a column: whatever cell is ready may use them. They are leased
in blocks as large as there is work for, given back when there is none, and shared fairly: a run
that has less than it could use says so, and those with more than a fair share then give some back.
While Prefect's API is away a run goes on with what it holds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from dd_core.engine.engine import Engine
from dd_core.models.model import Model

from ..process.liveness import ProcessLock
from .alias_leases import SOON, AliasLeases
from .leases import free_all, free_dead, release
from .tag_limits import (
    Holder,
    create_limit,
    make_tag,
    parse_limits,
    read_limits,
    read_rates,
)

_logger = logging.getLogger(__name__)

_BETWEEN_STEPS = 0.01
_BETWEEN_LOOKS = 3.0
_LONGEST_BETWEEN_LOOKS = 12.0
_WORTH_A_WORD = 10.0
_BETWEEN_RELEASES = (0.1, 0.3, 1.0)


@asynccontextmanager
async def hold_leases(engine: Engine, flow_run_id: UUID) -> AsyncGenerator[None]:
    """Let the engine's models send as many requests at once as this run has slots for."""
    holder = Holder.of(flow_run_id)
    sign = ProcessLock(holder.key)
    keeping: asyncio.Task[None] | None = None
    if models := [*engine.models.values()]:
        keeping = asyncio.create_task(LeaseKeeper(models, holder).keep())
    try:
        yield
    finally:
        if keeping is not None:
            await engine.end_batches()  # no request is in flight without a slot
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        sign.end()


class LeaseKeeper:
    """All slots of one run."""

    def __init__(self, models: list[Model], holder: Holder) -> None:
        self._holder = holder
        self._wake = asyncio.Event()
        self.aliases = {model.alias: AliasLeases(model, holder, self._wake) for model in models}
        self._looked = -math.inf
        self._between_looks = _BETWEEN_LOOKS
        self._away_since: float | None = None

    async def keep(self) -> None:
        """Lease, renew and give back, until cancelled; then give everything back."""
        # Prefect's client would sleep for seconds when an SQLite server is busy for a moment.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            async with get_client() as client:
                try:
                    while True:
                        await self._step(client)
                        with suppress(TimeoutError):
                            await asyncio.wait_for(self._wake.wait(), self._pause())
                            await asyncio.sleep(_BETWEEN_STEPS)
                finally:
                    # A process that is told to end cancels this more than once.
                    giving = asyncio.create_task(self._give_back(client))
                    while not giving.done():
                        with suppress(asyncio.CancelledError):
                            await asyncio.shield(giving)

    def _pause(self) -> float:
        return min(slots.pause for slots in self.aliases.values())

    async def _step(self, client: PrefectClient) -> None:
        self._wake.clear()
        try:
            if time.monotonic() - self._looked > self._between_looks:
                await self._look(client)
            for slots in self.aliases.values():
                await slots.adjust(client)
            self._away_since = None
        except (httpx.HTTPError, OSError) as error:
            await self._api_is_away(error)

    async def _api_is_away(self, error: Exception) -> None:
        """What is held stays held; a server that is busy for a moment is not worth a word."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since > _WORTH_A_WORD:
            _logger.warning("Prefect's API is away; going on with what is held: %r", error)
            self._away_since = math.inf  # said once
        await asyncio.sleep(random.uniform(SOON, 4 * SOON))

    async def _look(self, client: PrefectClient) -> None:
        is_first = self._looked == -math.inf
        limits = parse_limits(await read_limits(client), self.aliases)
        for alias, slots in self.aliases.items():
            if is_first and limits[alias].limit is None:
                await create_limit(client, make_tag(alias), slots.model.queue.max_parallel_requests)
        if is_first or any(slots.is_short for slots in self.aliases.values()):
            # Nothing is leased at first, so what this run holds is left from a process that died.
            await free_dead(client, limits, self._holder if is_first else None)
        if is_first:
            limits = parse_limits(await read_limits(client), self.aliases)
            for alias in await read_rates(client, self.aliases):
                self.aliases[alias].count_permits()
        runs = 0
        for alias, slots in self.aliases.items():
            await slots.seen(client, limits[alias])
            runs = max(runs, len(limits[alias].held))
        self._between_looks = min(_LONGEST_BETWEEN_LOOKS, _BETWEEN_LOOKS + runs / 20)
        self._looked = time.monotonic()

    async def _give_back(self, client: PrefectClient) -> None:
        leased = [block for slots in self.aliases.values() for block in slots.all_leases()]
        for pause in (*_BETWEEN_RELEASES, 0.0):
            with suppress(httpx.HTTPError, OSError):
                while leased:
                    await release(client, leased[-1])
                    leased.pop()
                # A lease whose answer this run did not wait for is known to the server alone.
                found = parse_limits(await read_limits(client), self.aliases)
                await free_all(client, found, self._holder)
                return
            await asyncio.sleep(pause)  # and if it is to be, the leases end by themselves
