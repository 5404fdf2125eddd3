"""Ends a suspended run within seconds, so that it can be resumed where it stopped.

Prefect checks for a suspension only when a task or a flow starts or ends, which can be an hour
after somebody pressed Suspend. This module cancels the flow immediately, as SIGTERM does: responses
are in the journals, request slots are released, and the process ends. When the run is resumed, a
worker starts it again, and its batches continue in the same flow runs.

Written for Prefect 3.8.8; uses `FlowRunContext.flow_run_suspension_request`, which is not
documented. Remove it when Prefect cancels a running async flow that is suspended, and shows the
subflows of a suspended run as suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Pause, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.states import Paused

_POLL_SECONDS = 0.5


@asynccontextmanager
async def exit_when_suspended() -> AsyncGenerator[None]:
    """Cancel the calling flow when its run is suspended; the context then exits with `Pause`."""
    flow = asyncio.current_task()
    assert flow is not None
    watcher = asyncio.create_task(_cancel_when_suspended(flow))
    try:
        yield
    except (asyncio.CancelledError, Pause) as error:
        watcher.cancel()
        if (state := find_suspended_state()) is None:
            raise
        # The watcher may have cancelled the flow a moment ago, while it ended by itself.
        marking = asyncio.create_task(_mark_suspended())
        while not marking.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(marking)
        raise Pause(state=state) from error
    finally:
        watcher.cancel()


@asynccontextmanager
async def pause_with_dataset() -> AsyncGenerator[None]:
    """Turn the cancellation of a batch into `Pause` if the run of its dataset was suspended."""
    try:
        yield
    except asyncio.CancelledError as error:
        if (state := find_suspended_state()) is None:
            raise
        raise Pause(state=state) from error


async def _mark_suspended() -> None:
    """Mark unfinished batches as suspended, and the dataset's run too if it is a subflow.

    Prefect does not suspend subflows and would continue to show them as running, or as crashed if
    they were cancelled while they began. They continue together with the run that was suspended.
    """
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    own_batches = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[context.flow_run.id]),
        deployment_id=FlowRunFilterDeploymentId(is_null_=True),
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(
                any_=[StateType.PENDING, StateType.RUNNING, StateType.CRASHED]
            )
        ),
    )
    state: State[Any] = Paused(message="Suspended with its dataset.")
    state.name = "Suspended"
    try:
        async with get_client() as client:
            runs = [run.id for run in await client.read_flow_runs(flow_run_filter=own_batches)]
            if context.flow_run.parent_task_run_id is not None:
                runs.append(context.flow_run.id)
            for run in runs:
                await client.set_flow_run_state(run, state, force=True)
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        get_run_logger().warning("batches could not be marked as suspended: %s", error)


def find_suspended_state() -> State | None:
    """The state with which the current run was suspended; None if it was not suspended."""
    context = FlowRunContext.get()
    request: Any = getattr(context, "flow_run_suspension_request", None)
    return request.get_state() if request is not None else None


async def _cancel_when_suspended(flow: asyncio.Task[object]) -> None:
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        if find_suspended_state() is not None:
            flow.cancel()
            return
