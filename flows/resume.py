"""Dataset runs that were cut off, and how they go on.

A run whose worker notices that its process is gone is Crashed. If the worker is gone as well,
Prefect shows the run as Running for ever; on the machine where it ran we know better.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from dd_core.errors import DataDesignerGenerationError
from flows.alive import is_alive_here, is_dead_here
from flows.limits import Holder

_PAGE = 200


async def interrupted_runs(client: PrefectClient) -> list[FlowRun]:
    """Dataset runs that crashed, or whose process on this machine is gone; the latest first."""
    types = [StateType.CRASHED, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
    runs: list[FlowRun] = await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["generate-dataset"])),
        flow_run_filter=FlowRunFilter(state=states),
        sort=FlowRunSort.START_TIME_DESC,
        limit=_PAGE,
    )
    return [
        run
        for run in runs
        if run.state_type is StateType.CRASHED or is_dead_here(Holder.of(run.id).key)
    ]


async def resume(client: PrefectClient, run_id: UUID) -> Any:
    """Let a run go on where it was: on its work pool, or here if it was not deployed.

    Returns what the flow returns, or None if a worker will run it.
    """
    run = await client.read_flow_run(run_id)
    if is_alive_here(Holder.of(run.id).key):
        raise DataDesignerGenerationError(f"{run.name} is at work on this machine; cancel it first")
    if run.state is not None and run.state.is_completed():
        if run.state.name == "Completed":
            raise DataDesignerGenerationError(f"{run.name} is complete; there is nothing to resume")
        raise DataDesignerGenerationError(f"{run.name} {run.state.name}: {run.state.message}")
    await client.set_flow_run_state(run.id, Scheduled(), force=True)
    if run.deployment_id is not None:
        return None
    from flows.dataset import generate_dataset

    run = await client.read_flow_run(run.id)
    flow: Any = generate_dataset
    running: Any = run_flow(flow, flow_run=run, parameters=run.parameters)
    return await running
