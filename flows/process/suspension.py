"""A run that is suspended lets go within seconds, and goes on where it was when it is resumed.

Prefect looks for a suspension when a task or flow begins or ends, which can be an hour after
somebody pressed Suspend. Here the flow is cancelled at once, as by SIGTERM: its answers are in the
journals, its slots are given back, and its process ends. A worker takes it up again once it is
resumed; its batches then go on in the same flow runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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

_LOOK_SECONDS = 0.5


@asynccontextmanager
async def exit_when_suspended() -> AsyncGenerator[None]:
    """Cancel the calling flow once its run is suspended; leaving then raises `Pause`."""
    flow = asyncio.current_task()
    assert flow is not None
    looking = asyncio.create_task(_end(flow))
    try:
        yield
    except (asyncio.CancelledError, Pause) as error:
        if (state := find_suspended_state()) is None:
            raise
        await _show_suspended()
        raise Pause(state=state) from error
    finally:
        looking.cancel()


@asynccontextmanager
async def pause_with_dataset() -> AsyncGenerator[None]:
    """Let a batch within a suspended run of a dataset end without a state of its own."""
    try:
        yield
    except asyncio.CancelledError as error:
        if (state := find_suspended_state()) is None:
            raise
        raise Pause(state=state) from error


async def _show_suspended() -> None:
    """Show batches as suspended that were at work, and the dataset's run if it is a subflow.

    Prefect knows no suspended subflows, and would show them as running. As the run goes on that
    was suspended, so do they.
    """
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    here = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[context.flow_run.id]),
        deployment_id=FlowRunFilterDeploymentId(is_null_=True),
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])
        ),
    )
    state: State[Any] = Paused(message="Suspended with its dataset.")
    state.name = "Suspended"
    try:
        async with get_client() as client:
            runs = [run.id for run in await client.read_flow_runs(flow_run_filter=here)]
            if context.flow_run.parent_task_run_id is not None:
                runs.append(context.flow_run.id)
            for run in runs:
                await client.set_flow_run_state(run, state, force=True)
    except (httpx.TransportError, PrefectHTTPStatusError) as error:
        get_run_logger().warning("batches are not shown as suspended: %s", error)


def find_suspended_state() -> State | None:
    """The state that the run of this flow was put into from outside; None while it may go on."""
    context = FlowRunContext.get()
    request: Any = getattr(context, "flow_run_suspension_request", None)
    return request.get_state() if request is not None else None


async def _end(flow: asyncio.Task[object]) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if find_suspended_state() is not None:
            flow.cancel()
            return
