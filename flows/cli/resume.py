"""`ddflows resume`: dataset runs that were cut off go on."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import UUID

import click
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

from ..limits.tag_limits import Holder
from ..process.liveness import process_is_alive, process_is_dead
from .options import report_errors


@click.command()
@click.argument("run_ids", metavar="[RUN_ID]...", nargs=-1, type=click.UUID)
@click.option("--all", "every", is_flag=True, help="Resume all that were cut off.")
@report_errors
def resume(run_ids: tuple[UUID, ...], every: bool) -> None:
    """Let dataset runs that were cut off go on: those named, or list them.

    A run of a deployment goes on on its work pool, another one here. Its finished batches and
    answers are kept.
    """
    sys.exit(asyncio.run(_resume(run_ids, every)))


async def _resume(run_ids: tuple[UUID, ...], every: bool) -> int:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        found = [] if run_ids else await find_interrupted_runs(client)
        if not (run_ids or every):
            for run in found:
                state = run.state_name if run.state_name == "Crashed" else "its process is gone"
                click.echo(f"{run.id}  {run.name}: {state}")
            click.echo("Resume them with `ddflows resume RUN_ID` or --all." if found else "None.")
            return 0
        missing = 0
        for run_id in run_ids or [run.id for run in found]:
            summary = await resume_run(client, run_id)
            if summary is None:
                click.echo(f"{run_id} will go on on its work pool.")
            else:
                click.echo(f"{run_id}: {summary.rows_written} of {summary.rows_asked} rows")
                missing += summary.rows_asked - summary.rows_written
        return 1 if missing else 0


_PAGE = 200


async def find_interrupted_runs(client: PrefectClient) -> list[FlowRun]:
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
        if run.state_type is StateType.CRASHED or process_is_dead(Holder.of(run.id).key)
    ]


async def resume_run(client: PrefectClient, run_id: UUID) -> Any:
    """Let a run go on where it was: on its work pool, or here if it was not deployed.

    Returns what the flow returns, or None if a worker will run it.
    """
    run = await client.read_flow_run(run_id)
    if process_is_alive(Holder.of(run.id).key):
        raise DataDesignerGenerationError(f"{run.name} is at work on this machine; cancel it first")
    if run.state is not None and run.state.is_completed():
        if run.state.name == "Completed":
            raise DataDesignerGenerationError(f"{run.name} is complete; there is nothing to resume")
        raise DataDesignerGenerationError(f"{run.name} {run.state.name}: {run.state.message}")
    await client.set_flow_run_state(run.id, Scheduled(), force=True)
    if run.deployment_id is not None:
        return None
    from ..dataset import generate_dataset

    run = await client.read_flow_run(run.id)
    flow: Any = generate_dataset
    running: Any = run_flow(flow, flow_run=run, parameters=run.parameters)
    return await running
