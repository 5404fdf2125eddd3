"""The request slots that a run holds of one alias's limit."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_API_URL

from dd_core.models.model import Model

from .leases import (
    LEASE_SECONDS,
    Lease,
    correct_count,
    lease,
    release,
    renew,
    take_permits,
    wait_in_line,
)
from .tag_limits import AliasLimit, Holder

_logger = logging.getLogger(__name__)

_TICK = 1.0
SOON = 0.05
_BETWEEN_RENEWALS = LEASE_SECONDS / 3
_IDLE = 2.0
"""Seconds for which slots are kept that are not needed just now."""
_BEGINNING = 5.0
_SLOWEST_TRY = 2.0
_TURN = 10.0
"""Seconds after which slots that cannot be divided evenly go to the next run."""
_MISCOUNTED = 30.0  # a server gives slots of ended leases back within 15 seconds


class AliasLeases:
    """The slots of one alias."""

    def __init__(self, model: Model, holder: Holder, wake: asyncio.Event) -> None:
        self.model = model
        self._queue = model.queue
        self.pause = SOON
        """Seconds until it is to be adjusted again."""
        self._holder = holder
        self._limit = AliasLimit()
        self._follows_limit: bool | None = None
        self._blocks: list[Lease] = []
        self._place_in_line: Lease | None = None
        self._renewed: dict[UUID, float] = {}
        # A run that begins will soon have work: slots are leased before its batches are created,
        # because an SQLite server is slow to answer while it records them.
        self._peak, self._peak_at = model.queue.max_parallel_requests, time.monotonic() + _BEGINNING
        self._size: int | None = None
        """Slots to try for; None: as many as are needed."""
        self._try_at, self._between_tries = 0.0, SOON
        self._miscounted_since: float | None = None
        self._permits_at = math.inf
        self._wake = wake
        self._queue.allow(0)

    @property
    def held(self) -> int:
        """Slots leased."""
        return sum(block.slots for block in self._blocks)

    @property
    def is_short(self) -> bool:
        """Whether there is less than could be used and would be fair."""
        return self.held < min(self._wanted(), self._limit.due(self._holder, _turn()))

    def all_leases(self) -> list[Lease]:
        """Everything to give back."""
        return [*self._blocks, *([self._place_in_line] if self._place_in_line else [])]

    def count_permits(self) -> None:
        """The workspace bounds this alias's requests a minute."""
        self._queue.permits, self._permits_at = 0, 0.0

    async def seen(self, client: PrefectClient, limit: AliasLimit) -> None:
        """Take note of what Prefect says of the limit."""
        self._limit = limit
        if self._follows_limit is None and limit.limit is not None:
            self._follows_limit = self._queue.max_parallel_requests >= limit.limit
        refused_with_room = (
            limit.limit is not None and self.held < self._wanted() and limit.live < limit.limit
            and self._between_tries == _SLOWEST_TRY
        )  # fmt: skip
        if not refused_with_room:
            self._miscounted_since = None
        elif self._miscounted_since is None:
            self._miscounted_since = time.monotonic()
        elif time.monotonic() - self._miscounted_since > _miscounted_after():
            await self._correct(client)

    async def adjust(self, client: PrefectClient) -> None:
        """Lease or give back slots, as far as there is something to do now."""
        now = time.monotonic()
        await self._renew(client, now)
        wanted = self._wanted()
        self.pause = _TICK
        usable = wanted
        if self.held < wanted and now >= self._try_at:
            await self._grow(client, wanted)
        elif self.held > wanted:
            usable = await self._shrink(client, wanted)
        if self.held < wanted:
            self.pause = min(self.pause, max(SOON, self._try_at - time.monotonic()))
        self._queue.allow(min(self.held, usable))
        # Where there is no more to be had, nobody need be told that more is wanted.
        self._queue.on_shortage = self._wake.set if wanted < self._most else None
        await self._stand_in_line(client)
        await self._take_permits(client, now)

    @property
    def _cap(self) -> int:
        """Requests that this run may have in flight, however many slots are free.

        A run that may use the whole limit also uses it when somebody raises it meanwhile.
        """
        configured, limit = self._queue.max_parallel_requests, self._limit.limit
        if limit is None:
            return configured
        return limit if self._follows_limit else min(configured, limit)

    @property
    def _most(self) -> int:
        """Slots that this run may have now."""
        return min(self._cap, self._limit.most(self._holder, _turn()))

    def _wanted(self) -> int:
        """Slots that there is work for, or was a moment ago."""
        now, demand = time.monotonic(), self._queue.demand
        if demand >= self._peak or now - self._peak_at > _IDLE:
            self._peak, self._peak_at = demand, now
        return min(self._peak, self._most)

    async def _grow(self, client: PrefectClient, wanted: int) -> None:
        """Try for a part of what is missing; in parts of falling size any number can be kept."""
        part = min((wanted - self.held + 1) // 2, max(1, (self._limit.limit or wanted) // 4))
        size = part if self._size is None else min(part, self._size)
        block = await lease(client, self.model.alias, size, self._holder)
        if block is not None:
            self._blocks.append(block)
            self._renewed[block.id] = time.monotonic()
            self._size, self._between_tries = None, SOON
            self.pause = 0.0
        elif size > 1:
            self._size = size // 2
            self.pause = 0.0
        else:
            self._try_at = time.monotonic() + self._between_tries
            self._between_tries = min(_SLOWEST_TRY, 1.5 * self._between_tries)

    async def _shrink(self, client: PrefectClient, wanted: int) -> int:
        """Give back what is too much, as soon as no request needs it; returns what is to be used.

        A block can only be given back as a whole: what does not fit is not used any more, until
        the requests in it have ended.
        """
        kept = 0
        surplus: list[Lease] = []
        for block in sorted(self._blocks, key=lambda each: -each.slots):
            if kept + block.slots <= wanted:
                kept += block.slots
            else:
                surplus.append(block)
        self._queue.allow(kept)
        for block in surplus:
            if self.held - block.slots >= self._queue.in_flight:
                self._blocks.remove(block)
                await self._release(client, block)
            else:
                self.pause = SOON
        return kept

    async def _release(self, client: PrefectClient, block: Lease) -> None:
        self._renewed.pop(block.id, None)
        await release(client, block)

    async def _renew(self, client: PrefectClient, now: float) -> None:
        for block in self.all_leases():
            if now - self._renewed[block.id] < _BETWEEN_RENEWALS:
                continue
            if await renew(client, block):
                self._renewed[block.id] = time.monotonic()
                continue
            renewed = self._renewed.pop(block.id)
            if block is self._place_in_line:
                self._place_in_line = None
                continue
            self._blocks.remove(block)
            if now - renewed < LEASE_SECONDS:
                # It cannot have run out: the server has forgotten it, but not that it is taken.
                await self._correct(client)

    async def _correct(self, client: PrefectClient) -> None:
        self._miscounted_since, self._try_at = None, 0.0
        if wrong := await correct_count(client, self.model.alias):
            _logger.warning(
                "the limit of model %r counted %d slots that nobody held", self.model.alias, wrong
            )

    async def _stand_in_line(self, client: PrefectClient) -> None:
        """Say that this run has too little, or no longer say so."""
        if not self.is_short:
            if self._place_in_line is not None:
                place, self._place_in_line = self._place_in_line, None
                await release(client, place)
        elif self._between_tries > SOON and self._place_in_line is None:
            self._place_in_line = await wait_in_line(
                client, self.model.alias, self._holder, has_line=self._limit.has_line
            )
            if self._place_in_line is not None:
                self._renewed[self._place_in_line.id] = time.monotonic()

    async def _take_permits(self, client: PrefectClient, now: float) -> None:
        if self._permits_at == math.inf:
            return
        if now >= self._permits_at and self._queue.permits < (missing := self._queue.demand):
            taken, wait = await take_permits(client, self.model.alias, missing)
            self._queue.permit(taken)
            self._permits_at = time.monotonic() + wait
        if self._queue.permits < self._queue.demand:
            self.pause = min(self.pause, max(SOON, self._permits_at - time.monotonic()))


def _turn() -> int:
    """Whose turn it is, the same on all machines."""
    return int(time.time() / _TURN)


def _miscounted_after() -> float:
    """Seconds after which slots that nobody holds must be a mistake."""
    # A temporary server of this process has no service that ends leases.
    return _MISCOUNTED if PREFECT_API_URL.value() else _TICK
