"""`ddflows resume`: resumes interrupted dataset runs."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

_PAGE = 200
"""Maximum number of flow runs in one response of Prefect."""


@click.command()
@click.argument("run_ids", metavar="[RUN_ID]...", nargs=-1, type=click.UUID)
@click.option("--all", "resume_all", is_flag=True, help="Resume all interrupted runs.")
def resume(run_ids: tuple[UUID, ...], resume_all: bool) -> None:
    """Resume interrupted dataset runs.

    Without RUN_ID or --all, only lists the interrupted runs.

    A deployment run is rescheduled on its work pool. Any other run is resumed in this process.
    Finished batches and responses are kept.
    """
    sys.exit(asyncio.run(_resume(run_ids, resume_all)))


async def _resume(run_ids: tuple[UUID, ...], resume_all: bool) -> int:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        interrupted = [] if run_ids else await find_interrupted_runs(client)
        if not (run_ids or resume_all):
            _list_runs(interrupted)
            return 0
        missing = 0
        for run_id in run_ids or [run.id for run in interrupted]:
            summary = await resume_run(client, run_id)
            if summary is None:
                click.echo(f"{run_id}: was rescheduled on its work pool")
            else:
                click.echo(f"{run_id}: {summary.rows_written} of {summary.rows_asked} rows")
                missing += summary.rows_asked - summary.rows_written
        return 1 if missing else 0


def _list_runs(runs: list[FlowRun]) -> None:
    for run in runs:
        reason = run.state_name if run.state_name == "Crashed" else "its process has ended"
        click.echo(f"{run.id}  {run.name}: {reason}")
    if runs:
        click.echo("Resume them with `ddflows resume RUN_ID` or `ddflows resume --all`.")
    else:
        click.echo("There are no interrupted runs.")


async def find_interrupted_runs(client: PrefectClient) -> list[FlowRun]:
    """Dataset runs that crashed or whose process on this machine has ended, latest first."""
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    from ..limits.tag_limits import Holder
    from ..process.liveness import process_is_dead

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
    """Resume a run where it stopped: on its work pool, or here if it is not a deployment run.

    Returns the result of the flow, or None if a worker will run it.
    """
    from prefect.flow_engine import run_flow
    from prefect.states import Scheduled

    from dd_core.errors import DataDesignerGenerationError

    from ..limits.tag_limits import Holder
    from ..process.liveness import process_is_alive

    run = await client.read_flow_run(run_id)
    if process_is_alive(Holder.of(run.id).key):
        raise DataDesignerGenerationError(
            f"{run.name} is running on this machine; cancel it before you resume it"
        )
    if run.state is not None and run.state.is_completed():
        if run.state.name == "Completed":
            raise DataDesignerGenerationError(f"{run.name} is complete; there is nothing to resume")
        raise DataDesignerGenerationError(
            f"{run.name} ended in the state {run.state.name!r}: {run.state.message}"
        )
    await client.set_flow_run_state(run.id, Scheduled(), force=True)
    if run.deployment_id is not None:
        return None
    from ..dataset import generate_dataset

    run = await client.read_flow_run(run.id)
    flow: Any = generate_dataset
    flow_run: Any = run_flow(flow, flow_run=run, parameters=run.parameters)
    return await flow_run
