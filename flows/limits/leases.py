"""Leases of request slots: acquires, renews and releases them, and cleans up after dead runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyLeaseHolder, FlowRun, StateType

from ..process.liveness import process_is_dead
from .tag_limits import (
    UNLIMITED,
    AliasLimit,
    Holder,
    create_limit,
    make_permits_name,
    make_waiting_tag,
    parse_limits,
    read_holder,
    read_limits,
)

LEASE_SECONDS = 60.0
"""The shortest lease that Prefect allows. The slots of a killed run are free after this time."""
_PAGE = 200
_NO_SLOTS = (422, 423)
"""Status codes with which Prefect rejects a lease because there are not enough slots."""
_UNFINISHED = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


@dataclass(frozen=True)
class Lease:
    """Slots of a limit that this process holds as long as it renews the lease."""

    id: UUID
    slots: int


async def lease(client: PrefectClient, tag: str, slots: int, holder: Holder) -> Lease | None:
    """Lease slots of a tag without waiting; None if there are not enough."""
    lease_holder = ConcurrencyLeaseHolder(type="task_run", id=holder.lease_id(slots))
    try:
        response = await client.increment_concurrency_slots_with_lease(
            names=[f"tag:{tag}"],
            slots=slots,
            mode="concurrency",
            lease_duration=LEASE_SECONDS,
            holder=lease_holder,
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _NO_SLOTS:
            return None
        raise
    return Lease(UUID(response.json()["lease_id"]), slots)


async def register_waiting(
    client: PrefectClient, tag: str, holder: Holder, *, has_waiting_limit: bool
) -> Lease | None:
    """Show the other runs that this run holds fewer slots than it could use."""
    waiting = make_waiting_tag(tag)
    if not has_waiting_limit:
        await create_limit(client, waiting, UNLIMITED)
    return await lease(client, waiting, 1, holder)


async def renew(client: PrefectClient, leased: Lease) -> bool:
    """Renew a lease; False if Prefect no longer knows it."""
    try:
        await client.renew_concurrency_lease(leased.id, LEASE_SECONDS)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (404, 410):
            return False
        raise
    return True


async def release(client: PrefectClient, leased: Lease) -> None:
    """Release the slots of a lease."""
    await client.release_concurrency_slots_with_lease(leased.id)


async def acquire_permits(client: PrefectClient, tag: str, requested: int) -> tuple[int, float]:
    """Acquire permits to start requests from the limit per minute of a tag.

    Returns the number of permits, and the seconds after which to call this again. The limit is read
    before slots are requested, because a rejected request would delay the decay of its slots.
    """
    name = make_permits_name(tag)
    state = await client.read_global_concurrency_limit_by_name(name)
    free, decay = state.limit - state.active_slots, state.slot_decay_per_second
    # At most a quarter at a time, so that other runs get permits too.
    block = max(1, min(requested, state.limit // 4))
    if decay > 0 and free < block:
        return 0, (block - free) / decay
    try:
        await client.increment_concurrency_slots([name], min(block, free), "rate_limit")
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _NO_SLOTS:
            return 0, 1 / decay if decay else 1.0
        raise
    return min(block, free), 0.0


async def list_live_runs(client: PrefectClient) -> dict[Holder, FlowRun]:
    """The flow runs of the workspace that have not ended."""
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
    unfinished = FlowRunFilter(state=states)
    runs: list[FlowRun] = []
    while True:
        page: list[FlowRun] = await client.read_flow_runs(
            flow_run_filter=unfinished, limit=_PAGE, offset=len(runs)
        )
        runs.extend(page)
        if len(page) < _PAGE:
            return {Holder.of(run.id): run for run in runs}


async def free_dead(
    client: PrefectClient, limits: Mapping[str, AliasLimit], restarted: Holder | None = None
) -> int:
    """Release the slots of runs that have ended or whose process is dead; returns how many.

    `restarted` is a run that holds no slots yet: those that Prefect shows belong to its earlier
    process and are released as well.
    """
    if not any(limit.held for limit in limits.values()):
        return 0
    live = await list_live_runs(client)
    dead = {
        holder
        for limit in limits.values()
        for holder in limit.held
        if holder not in live or holder == restarted or process_is_dead(holder.key)
    }
    return sum([await free_all(client, limits, holder) for holder in dead])


async def free_all(client: PrefectClient, limits: Mapping[str, AliasLimit], holder: Holder) -> int:
    """Release all slots that a run holds; returns how many."""
    freed = 0
    for tag, limit in limits.items():
        for each in {*limit.lease_holders}:
            known = read_holder(each)
            if known is None or known[0] != holder:
                continue
            try:
                await client.decrement_v1_concurrency_slots(
                    [tag], each, occupancy_seconds=LEASE_SECONDS
                )
            except httpx.HTTPStatusError:
                # The server may have dropped the lease without subtracting its slots.
                await correct_count(client, tag)
            freed += known[1]
    return freed


async def correct_count(client: PrefectClient, tag: str) -> int:
    """Set the number of taken slots to the number of leased slots; returns the correction.

    A Prefect server that keeps leases in memory forgets them when it restarts, but still counts
    their slots as taken.
    """
    state = await client.read_global_concurrency_limit_by_name(f"tag:{tag}")
    live = parse_limits(await read_limits(client), [tag])[tag].live
    excess = state.active_slots - live
    if excess:
        corrected = GlobalConcurrencyLimitUpdate(active_slots=live)
        await client.update_global_concurrency_limit(state.name, corrected)
    return excess
