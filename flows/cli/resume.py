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

    from dd_core.errors import DataDesignerError

    async with get_client() as client:
        interrupted = [] if run_ids else await find_interrupted_runs(client)
        if not (run_ids or resume_all):
            _list_runs(interrupted)
            return 0
        missing = 0
        for run_id in run_ids or [run.id for run in interrupted]:
            try:
                summary = await resume_run(client, run_id)
            except DataDesignerError as error:
                if len(run_ids) == 1:
                    raise
                click.echo(f"{run_id}: {error}", err=True)
                missing += 1
                continue
            if summary is None:
                click.echo(f"{run_id}: was rescheduled on its work pool")
            else:
                click.echo(f"{run_id}: {summary.rows_written} of {summary.rows_asked} rows")
                missing += summary.rows_asked - summary.rows_written
        return 1 if missing else 0


def _list_runs(runs: list[FlowRun]) -> None:
    for run in runs:
        is_final = run.state is not None and run.state.is_final()
        reason = run.state_name if is_final else f"{run.state_name}, but its process has ended"
        click.echo(f"{run.id}  {run.name}: {reason}")
    if runs:
        click.echo("Resume them with `ddflows resume RUN_ID` or `ddflows resume --all`.")
    else:
        click.echo("There are no interrupted runs.")


async def find_interrupted_runs(client: PrefectClient) -> list[FlowRun]:
    """The latest run of each dataset or version that was interrupted, latest first.

    These are runs that crashed, timed out or were cancelled, and runs whose process on this machine
    has ended. The name of their flow does not matter. A run that was followed by another one of the
    same dataset is not listed.
    """
    latest: dict[tuple[str, ...], FlowRun] = {}
    for run in await _list_dataset_runs(client):
        latest.setdefault(_key(run), run)
    return [run for run in latest.values() if _is_interrupted(run)]


async def _list_dataset_runs(client: PrefectClient) -> list[FlowRun]:
    """The latest dataset runs, latest first: runs with our tag or of a flow with our name."""
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    from ..session import DATASET_TAG

    filters: list[dict[str, Any]] = [
        {"flow_run_filter": FlowRunFilter(tags=FlowRunFilterTags(all_=[DATASET_TAG]))},
        {"flow_filter": FlowFilter(name=FlowFilterName(any_=["generate-dataset"]))},
    ]
    found: dict[UUID, FlowRun] = {}
    for each in filters:
        runs: list[FlowRun] = await client.read_flow_runs(
            **each, sort=FlowRunSort.START_TIME_DESC, limit=_PAGE
        )
        found |= {run.id: run for run in runs}
    started = [(run.start_time, run) for run in found.values() if run.start_time is not None]
    return [run for _, run in sorted(started, key=lambda each: each[0], reverse=True)]


def _key(run: FlowRun) -> tuple[str, ...]:
    """What tells a dataset or version from others."""
    given = run.parameters
    names = [str(given.get(name)) for name in ("dataset_name", "artifact_path", "version")]
    if names[-1].partition(":")[0] == "scheduled":
        names.append(str(run.expected_start_time))
    return (*names, str(run.deployment_id))


def _is_interrupted(run: FlowRun) -> bool:
    from ..limits.tag_limits import Holder
    from ..process.liveness import process_is_dead

    state = run.state
    if state is None:
        return False
    if state.is_final():
        return state.is_crashed() or state.is_cancelled() or state.name == "TimedOut"
    return process_is_dead(Holder.of(run.id).key)


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
    flow: Any = None
    if run.deployment_id is None:
        flow = _find_flow(run, (await client.read_flow(run.flow_id)).name)
    await client.set_flow_run_state(run.id, Scheduled(), force=True)
    if flow is None:
        return None

    run = await client.read_flow_run(run.id)
    flow_run: Any = run_flow(flow, flow_run=run, parameters=run.parameters)
    return await flow_run


def _find_flow(run: FlowRun, flow_name: str) -> Any:
    """The flow that continues a run without a deployment; raises if it is not a dataset run.

    The code that started the run may have renamed the flow. Its options are not known here.
    """
    from dd_core.errors import DataDesignerGenerationError

    from ..dataset import generate_dataset
    from ..session import DATASET_TAG

    if flow_name == generate_dataset.name:
        return generate_dataset
    if DATASET_TAG not in run.tags:
        raise DataDesignerGenerationError(
            f"{run.name} is a run of the flow {flow_name!r}, not of a dataset; `ddflows resume` "
            "lists the runs that can be resumed"
        )
    click.echo(
        f"{run.id}: continues without the options that your code gives to the flow {flow_name!r}, "
        "such as a timeout, retries or hooks",
        err=True,
    )
    return generate_dataset.with_options(name=flow_name)
