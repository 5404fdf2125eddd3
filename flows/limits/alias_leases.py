"""The slots that a run leases from the limit of one alias: of a model, or of tools."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.settings import PREFECT_API_URL

from .leases import (
    LEASE_SECONDS,
    Lease,
    acquire_permits,
    correct_count,
    lease,
    register_waiting,
    release,
    renew,
)
from .tag_limits import UNLIMITED, AliasLimit, Holder

_logger = logging.getLogger(__name__)

MIN_PAUSE_SECONDS = 0.05
_STEP_SECONDS = 1.0
_RENEW_SECONDS = LEASE_SECONDS / 3
_IDLE_SECONDS = 2.0
"""How long slots are kept that are not needed at the moment."""
_STARTUP_SECONDS = 5.0
"""How long a new run keeps slots that it has no cells for yet."""
_MAX_RETRY_SECONDS = 2.0
_TURN_SECONDS = 10.0
"""How long a run keeps a slot that cannot be divided evenly, before the next run gets it."""
_MISCOUNT_SECONDS = 30.0  # a server frees the slots of expired leases within 15 seconds


class LimitedQueue(Protocol):
    """What is limited: the requests to a model, or the calls of tools."""

    permits: float

    @property
    def allowed_by(self) -> str:
        """What sets the number that may be in flight."""
        ...

    @allowed_by.setter
    def allowed_by(self, name: str, /) -> None: ...

    @property
    def on_shortage(self) -> Callable[[], None] | None:
        """Called when that number holds something back."""
        ...

    @on_shortage.setter
    def on_shortage(self, callback: Callable[[], None] | None, /) -> None: ...

    @property
    def max_parallel_requests(self) -> int:
        """Maximum number in flight that the configuration asks for."""
        ...

    @property
    def in_flight(self) -> int:
        """Number in flight."""
        ...

    @property
    def demand(self) -> int:
        """Number that would be in flight now if nothing limited them."""
        ...

    def allow(self, requests: int) -> None:
        """Set the number that may be in flight."""
        ...

    def permit(self, requests: int) -> None:
        """Let this many more start."""
        ...


class AliasLeases:
    """The leases of one run for one alias.

    A lease is a block of slots that can only be released as a whole. Without a limit in Prefect, an
    optional one does not restrict anything; the others are created.
    """

    def __init__(
        self,
        tag: str,
        queue: LimitedQueue,
        holder: Holder,
        wake: asyncio.Event,
        *,
        is_optional: bool = False,
    ) -> None:
        self.tag = tag
        self.is_optional = is_optional
        self._queue = queue
        self.pause = MIN_PAUSE_SECONDS
        """Seconds until `match_demand` should be called again."""
        self._holder = holder
        self._limit = AliasLimit()
        self._follows_limit: bool | None = None
        self._blocks: list[Lease] = []
        self._waiting_lease: Lease | None = None
        self._renewed_at: dict[UUID, float] = {}
        # A new run will soon have cells to generate. It leases slots before its batches are
        # created, because an SQLite server responds slowly while it records them.
        self._peak = 0 if is_optional else queue.max_parallel_requests
        self._peak_at = time.monotonic() + _STARTUP_SECONDS
        self._block_size: int | None = None
        """Maximum size of the next block; None if the last one was not rejected."""
        self._next_attempt_at, self._retry_seconds = 0.0, MIN_PAUSE_SECONDS
        self._miscounted_since: float | None = None
        self._next_permits_at = math.inf
        self._wake = wake
        self._queue.allowed_by = tag
        self._queue.allow(0)

    @property
    def held(self) -> int:
        """Number of leased slots."""
        return sum(block.slots for block in self._blocks)

    @property
    def is_short(self) -> bool:
        """Whether the run holds fewer slots than it could use and than its fair share."""
        if self._is_unlimited:
            return False
        return self.held < min(self._target(), self._limit.fair_share(self._holder, _turn()))

    @property
    def last_limit(self) -> int:
        """The limit when it was last read; before that, the one of the configuration."""
        known = self._limit.limit
        return self._queue.max_parallel_requests if known is None else known

    @property
    def waiting_lease(self) -> Lease | None:
        """The lease by which this run shows that it waits for slots."""
        return self._waiting_lease

    def all_leases(self) -> list[Lease]:
        """All leases that have to be renewed."""
        return [*self._blocks, *([self._waiting_lease] if self._waiting_lease else [])]

    def forget_blocks(self) -> None:
        """Start again without slots, because somebody has deleted the limit that they were of."""
        for block in self._blocks:
            del self._renewed_at[block.id]
        self._blocks = []
        self._queue.allow(0)

    def enable_rate_limit(self) -> None:
        """Acquire permits from now on, because the workspace limits the requests per minute."""
        self._queue.permits, self._next_permits_at = 0, 0.0

    async def update_limit(self, client: PrefectClient, limit: AliasLimit) -> None:
        """Take note of the current limit in Prefect, and correct its count if it is wrong.

        The count is wrong if Prefect rejects leases for a long time although slots are free.
        """
        self._limit = limit
        if self._is_unlimited and self._blocks:
            self.forget_blocks()
        self._queue.allowed_by = f"{self.tag} (limit {limit.limit})"
        if self._follows_limit is None and limit.limit is not None:
            self._follows_limit = self._queue.max_parallel_requests >= limit.limit
        is_rejected_with_free_slots = (
            limit.limit is not None
            and self.held < self._target()
            and limit.live < limit.limit
            and self._retry_seconds == _MAX_RETRY_SECONDS
        )
        if not is_rejected_with_free_slots:
            self._miscounted_since = None
        elif self._miscounted_since is None:
            self._miscounted_since = time.monotonic()
        elif time.monotonic() - self._miscounted_since > _miscount_seconds():
            await self._correct_count(client)

    async def match_demand(self, client: PrefectClient) -> None:
        """Lease or release slots, so that the run holds as many as it has requests for."""
        if self._is_unlimited:
            self.pause = _STEP_SECONDS
            self._queue.allow(UNLIMITED)
            return
        now = time.monotonic()
        await self._renew(client, now)
        target = self._target()
        self.pause = _STEP_SECONDS
        usable = target
        if self.held < target and now >= self._next_attempt_at:
            await self._grow(client, target)
        elif self.held > target:
            usable = await self._shrink(client, target)
        if self.held < target:
            wait = self._next_attempt_at - time.monotonic()
            self.pause = min(self.pause, max(MIN_PAUSE_SECONDS, wait))
        self._queue.allow(min(self.held, usable))
        # If there are no more slots to get, a shortage must not wake the keeper.
        self._queue.on_shortage = self._wake.set if target < self._max_slots else None
        await self._update_waiting(client)
        await self._acquire_permits(client, now)

    @property
    def _is_unlimited(self) -> bool:
        return self.is_optional and self._limit.limit is None

    @property
    def _max_in_flight(self) -> int:
        """Maximum number of requests of this run, regardless of the slots of other runs.

        A run that may use the whole limit follows it when somebody raises it.
        """
        configured, limit = self._queue.max_parallel_requests, self._limit.limit
        if limit is None:
            return configured
        return limit if self._follows_limit else min(configured, limit)

    @property
    def _max_slots(self) -> int:
        """Maximum number of slots that this run may hold now."""
        return min(self._max_in_flight, self._limit.max_slots(self._holder, _turn()))

    def _target(self) -> int:
        """Number of slots to hold: the highest demand of the last seconds, within the limits."""
        now, demand = time.monotonic(), self._queue.demand
        if demand >= self._peak or now - self._peak_at > _IDLE_SECONDS:
            self._peak, self._peak_at = demand, now
        return min(self._peak, self._max_slots)

    async def _grow(self, client: PrefectClient, target: int) -> None:
        """Try to lease one more block; after a rejection, try a block of half the size.

        A block has at most half of the missing slots and a quarter of the limit. A run with blocks
        of different sizes can release almost any number of slots.
        """
        size = min((target - self.held + 1) // 2, max(1, (self._limit.limit or target) // 4))
        if self._block_size is not None:
            size = min(size, self._block_size)
        block = await lease(client, self.tag, size, self._holder)
        if block is not None:
            self._blocks.append(block)
            self._renewed_at[block.id] = time.monotonic()
            self._block_size, self._retry_seconds = None, MIN_PAUSE_SECONDS
            self.pause = 0.0
        elif size > 1:
            self._block_size = size // 2
            self.pause = 0.0
        else:
            self._next_attempt_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(_MAX_RETRY_SECONDS, 1.5 * self._retry_seconds)

    async def _shrink(self, client: PrefectClient, target: int) -> int:
        """Release surplus blocks; returns the number of slots that requests may use.

        A block is released when the requests in flight fit into the other blocks. Until then its
        slots are not given to new requests. While the limit is 0, no block is released: to count
        for how long slots were held, Prefect's server divides by the limit.
        """
        if self._limit.limit == 0:
            return 0
        kept = 0
        surplus: list[Lease] = []
        for block in sorted(self._blocks, key=lambda each: -each.slots):
            if kept + block.slots <= target:
                kept += block.slots
            else:
                surplus.append(block)
        self._queue.allow(kept)
        for block in surplus:
            if self.held - block.slots >= self._queue.in_flight:
                await release(client, block)
                self._blocks.remove(block)
                del self._renewed_at[block.id]
            else:
                self.pause = MIN_PAUSE_SECONDS
        return kept

    async def _renew(self, client: PrefectClient, now: float) -> None:
        for block in self.all_leases():
            if now - self._renewed_at[block.id] < _RENEW_SECONDS:
                continue
            if await renew(client, block):
                self._renewed_at[block.id] = time.monotonic()
                continue
            renewed_at = self._renewed_at.pop(block.id)
            if block is self._waiting_lease:
                self._waiting_lease = None
                continue
            self._blocks.remove(block)
            if now - renewed_at < LEASE_SECONDS:
                # The lease cannot have expired yet, so the server has restarted and forgotten it.
                # It still counts the slots as taken.
                await self._correct_count(client)

    async def _correct_count(self, client: PrefectClient) -> None:
        self._miscounted_since, self._next_attempt_at = None, 0.0
        if excess := await correct_count(client, self.tag):
            _logger.warning(
                "the limit %r counted %d slots that no run holds; the count was corrected",
                self.tag,
                excess,
            )

    async def _update_waiting(self, client: PrefectClient) -> None:
        """Register this run as waiting if it is short of slots, or remove its registration."""
        if not self.is_short:
            if self._waiting_lease is not None:
                waiting_lease, self._waiting_lease = self._waiting_lease, None
                await release(client, waiting_lease)
        elif self._retry_seconds > MIN_PAUSE_SECONDS and self._waiting_lease is None:
            self._waiting_lease = await register_waiting(
                client,
                self.tag,
                self._holder,
                has_waiting_limit=self._limit.has_waiting_limit,
            )
            if self._waiting_lease is not None:
                self._renewed_at[self._waiting_lease.id] = time.monotonic()

    async def _acquire_permits(self, client: PrefectClient, now: float) -> None:
        if self._next_permits_at == math.inf:
            return
        missing = self._queue.demand
        if now >= self._next_permits_at and self._queue.permits < missing:
            acquired, wait = await acquire_permits(client, self.tag, missing)
            self._queue.permit(acquired)
            self._next_permits_at = time.monotonic() + wait
        if self._queue.permits < self._queue.demand:
            wait = self._next_permits_at - time.monotonic()
            self.pause = min(self.pause, max(MIN_PAUSE_SECONDS, wait))


def _turn() -> int:
    """The number of the current turn, which is the same on all machines."""
    return int(time.time() / _TURN_SECONDS)


def _miscount_seconds() -> float:
    """How long leases must be rejected despite free slots before the count is corrected."""
    # The temporary server of this process has no service that frees the slots of expired leases.
    return _MISCOUNT_SECONDS if PREFECT_API_URL.value() else _STEP_SECONDS
