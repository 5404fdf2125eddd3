"""Lets somebody cancel one batch of a dataset run in Prefect's UI.

Prefect cancels the process of a run. A subflow has no process of its own, so Prefect would continue
to generate a cancelled batch, pay for it, and show it as Cancelling forever. This module looks for
batches of this process that somebody has cancelled, and cancels their tasks.

Written for Prefect 3.8.8. Remove it when Prefect cancels async subflows within their process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectHTTPStatusError

_POLL_SECONDS = 3.0


class BatchCancelled(Exception):  # noqa: N818 - as CancelledError, it is not a failure
    """Somebody has cancelled the flow run of a batch."""


class BatchCancellations:
    """The flow runs of the batches in this process, and which of them somebody has cancelled."""

    def __init__(self) -> None:
        self._tasks: dict[UUID, asyncio.Task[object]] = {}
        self._cancelled: set[UUID] = set()

    @contextmanager
    def allow(self, flow_run_id: UUID) -> Generator[None]:
        """Let the calling task be cancelled with its run; it then raises `BatchCancelled`."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks[flow_run_id] = task
        try:
            yield
        except asyncio.CancelledError as error:
            if flow_run_id not in self._cancelled or task.uncancel():
                raise  # the dataset's run is being cancelled, or both are
            raise BatchCancelled from error
        finally:
            del self._tasks[flow_run_id]

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[None]:
        """Look for cancelled batches while the context is open."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if not self._tasks:
                continue
            try:
                found = await self._find_cancelled()
            except (httpx.TransportError, PrefectHTTPStatusError):
                continue  # the batches continue while Prefect's server does not respond
            for flow_run_id in found:
                task = self._tasks.get(flow_run_id)
                if task is not None and flow_run_id not in self._cancelled:
                    self._cancelled.add(flow_run_id)
                    task.cancel()

    async def _find_cancelled(self) -> list[UUID]:
        states = [StateType.CANCELLING, StateType.CANCELLED]
        chosen = FlowRunFilter(
            id=FlowRunFilterId(any_=[*self._tasks]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
        )
        async with get_client() as client:
            return [run.id for run in await client.read_flow_runs(flow_run_filter=chosen)]
