"""Leases of request slots: taking, keeping and giving back, and mending what others left behind."""

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
    WITHOUT_BOUND,
    AliasLimit,
    Holder,
    create_limit,
    make_permits_name,
    make_tag,
    make_waiting_tag,
    parse_limits,
    read_holder,
    read_limits,
)

LEASE_SECONDS = 60.0
"""The shortest that Prefect gives; a killed holder's slots come back after it."""
_PAGE = 200
_REFUSED = (422, 423)
_UNFINISHED = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


@dataclass(frozen=True)
class Lease:
    """Slots of a limit that this process has, as long as it renews the lease."""

    id: UUID
    slots: int


async def lease(client: PrefectClient, alias: str, slots: int, holder: Holder) -> Lease | None:
    """Lease slots of an alias at once, or not at all."""
    return await _lease(client, make_tag(alias), slots, holder)


async def wait_in_line(
    client: PrefectClient, alias: str, holder: Holder, *, has_line: bool
) -> Lease | None:
    """Let the other runs know that this one has less than it could use."""
    tag = make_waiting_tag(alias)
    if not has_line:
        await create_limit(client, tag, WITHOUT_BOUND)
    return await _lease(client, tag, 1, holder)


async def _lease(client: PrefectClient, tag: str, slots: int, holder: Holder) -> Lease | None:
    named = ConcurrencyLeaseHolder(type="task_run", id=holder.lease_id(slots))
    try:
        response = await client.increment_concurrency_slots_with_lease(
            names=[f"tag:{tag}"],
            slots=slots,
            mode="concurrency",
            lease_duration=LEASE_SECONDS,
            holder=named,
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _REFUSED:
            return None
        raise
    return Lease(UUID(response.json()["lease_id"]), slots)


async def renew(client: PrefectClient, leased: Lease) -> bool:
    """Keep a lease for another while; False if Prefect does not know it any more."""
    try:
        await client.renew_concurrency_lease(leased.id, LEASE_SECONDS)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in (404, 410):
            return False
        raise
    return True


async def release(client: PrefectClient, leased: Lease) -> None:
    """Give leased slots back."""
    await client.release_concurrency_slots_with_lease(leased.id)


async def take_permits(client: PrefectClient, alias: str, wanted: int) -> tuple[int, float]:
    """Requests that may be started now by the limit a minute, and when to ask again in seconds.

    A refusal would set back the decay of the limit's slots, so they are looked at first.
    """
    name = make_permits_name(alias)
    state = await client.read_global_concurrency_limit_by_name(name)
    free, decay = state.limit - state.active_slots, state.slot_decay_per_second
    block = max(1, min(wanted, state.limit // 4))
    if decay > 0 and free < block:
        return 0, (block - free) / decay
    try:
        await client.increment_concurrency_slots([name], min(block, free), "rate_limit")
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _REFUSED:
            return 0, 1 / decay if decay else 1.0
        raise
    return min(block, free), 0.0


async def list_live_runs(client: PrefectClient) -> dict[Holder, FlowRun]:
    """The workspace's flow runs that have not ended."""
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED))
    wanted = FlowRunFilter(state=states)
    runs: list[FlowRun] = []
    while True:
        page: list[FlowRun] = await client.read_flow_runs(
            flow_run_filter=wanted, limit=_PAGE, offset=len(runs)
        )
        runs.extend(page)
        if len(page) < _PAGE:
            return {Holder.of(run.id): run for run in runs}


async def free_dead(
    client: PrefectClient, limits: Mapping[str, AliasLimit], former: Holder | None = None
) -> int:
    """Give back the slots of runs that have ended or died; returns how many.

    `former` is a run whose slots are those of an earlier process of it.
    """
    if not any(limit.held for limit in limits.values()):
        return 0
    alive = await list_live_runs(client)
    gone = {
        holder
        for limit in limits.values()
        for holder in limit.held
        if holder not in alive or holder == former or process_is_dead(holder.key)
    }
    return sum([await free_all(client, limits, holder) for holder in gone])


async def free_all(client: PrefectClient, limits: Mapping[str, AliasLimit], holder: Holder) -> int:
    """Give back all slots that a run holds; returns how many."""
    freed = 0
    for alias, limit in limits.items():
        for each in {*limit.lease_holders}:
            known = read_holder(each)
            if known is None or known[0] != holder:
                continue
            try:
                await client.decrement_v1_concurrency_slots(
                    [make_tag(alias)], each, occupancy_seconds=LEASE_SECONDS
                )
            except httpx.HTTPStatusError:
                # The server may have ended the lease without counting its slots off.
                await correct_count(client, alias)
            freed += known[1]
    return freed


async def correct_count(client: PrefectClient, alias: str) -> int:
    """Set the count of taken slots to what is leased; returns by how much it was wrong.

    A Prefect server that keeps leases in memory forgets them when it restarts, but not the count.
    """
    state = await client.read_global_concurrency_limit_by_name(f"tag:{make_tag(alias)}")
    live = parse_limits(await read_limits(client), [alias])[alias].live
    wrong = state.active_slots - live
    if wrong:
        right = GlobalConcurrencyLimitUpdate(active_slots=live)
        await client.update_global_concurrency_limit(state.name, right)
    return wrong
