"""The deployment runs that generate batches: starts, watches and ends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments.flow_runs import arun_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Cancelling, Crashed
from tenacity import wait_fixed

from dd_core.dataset.config import DataDesignerConfig
from dd_core.errors import DataDesignerGenerationError, InvalidConfigError, Problem
from dd_core.retries import retry_async
from dd_core.storage.batch import Batch

from ..blocks.providers import require_no_literal_keys
from ..session import BATCH_TAG, DatasetRun
from .obstacles import describe_missing, explain_waiting
from .records import BatchRecord

_PAGE = 200
"""Maximum number of flow runs in one response of Prefect."""
_RETRY_SECONDS = 5.0
_WAITING_NOTICE_SECONDS = 30.0
"""Seconds that all batches wait for a worker before the run says so. A worker polls every 10 s."""
_WAITING = "workers"
_MISSING = "deployment"
_PARAMETERS = {"dataset", "index", "start", "size", "folder", "attempt"}


async def require_deployment(name: str) -> None:
    """Raise unless `name` is a deployment of the flow `generate-batch`."""
    problem = f"batches_on={name!r} must name a deployment of the flow generate-batch"
    if "/" not in name:
        raise DataDesignerGenerationError(f"{problem}, such as 'generate-batch/workers'")
    async with get_client() as client:
        try:
            deployment = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise DataDesignerGenerationError(
                f"{problem}, but it does not exist; create it with `prefect deploy`"
            ) from None
    schema: dict[str, Any] = deployment.parameter_openapi_schema or {}
    if not {*schema.get("properties", {})} >= _PARAMETERS:
        raise DataDesignerGenerationError(f"{problem}, but it belongs to another flow")


class DeploymentRuns:
    """The runs of one deployment that generate batches of one dataset."""

    def __init__(self, deployment: str, dataset: str, session: DatasetRun) -> None:
        self._deployment = deployment
        self._label = session.add_version(dataset)
        self._tags = [BATCH_TAG, dataset]
        self._folder = session.address
        self._notices = session.notices
        self._waiting_since: float | None = None
        self._is_unavailable = False

    @property
    def is_missing(self) -> bool:
        """Whether the deployment did not exist when a run was last started."""
        return _MISSING in self._notices

    async def start(self, batch: Batch, record: BatchRecord) -> UUID | None:
        """Start a run for this attempt, or return the run that was already started for it.

        Retries until Prefect's server responds. Returns None if the deployment has been deleted.
        """
        try:
            run_id = await self._start(batch, record)
        except ObjectNotFound:
            self._notices[_MISSING] = describe_missing(self._deployment)
            return None
        self._notices.pop(_MISSING, None)
        return run_id

    async def _start(self, batch: Batch, record: BatchRecord) -> UUID:
        attempts = [f"try {record.attempt}"] if record.attempt > 1 else []
        errors = (httpx.TransportError, PrefectHTTPStatusError)
        async for request in retry_async(
            errors,
            attempts=None,
            wait=wait_fixed(_RETRY_SECONDS),
            before_wait=self._warn_unavailable,
        ):
            with request:
                run = await arun_deployment(
                    self._deployment,
                    parameters={
                        "dataset": self._label,
                        "index": batch.index,
                        "start": batch.start,
                        "size": batch.size,
                        "folder": self._folder,
                        "attempt": record.attempt,
                    },
                    flow_run_name=f"{self._label}[{batch.index}]",
                    tags=[*self._tags, *attempts],
                    timeout=0,
                    as_subflow=True,
                    idempotency_key=record.key,
                )
                self._is_unavailable = False
                return run.id
        raise AssertionError("retries have no limit")

    async def states(self, ids: Sequence[UUID]) -> dict[UUID, State]:
        """The states of runs; empty if Prefect's server does not respond."""
        deleted = Crashed(name="Deleted", message="the flow run was deleted")
        found: dict[UUID, State] = dict.fromkeys(ids, deleted)
        try:
            async with get_client() as client:
                for first in range(0, len(ids), _PAGE):
                    chunk = FlowRunFilterId(any_=[*ids[first : first + _PAGE]])
                    runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=chunk))
                    found |= {run.id: run.state for run in runs if run.state is not None}
                await self._note_waiting(client, found)
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            self._warn_unavailable(error)
            return {}
        self._is_unavailable = False
        return found

    async def mark_crashed(self, flow_run_id: UUID, reason: str) -> None:
        """Mark a lost run as Crashed, which also frees the slots that it holds on the server."""
        await self._set(flow_run_id, Crashed(message=f"Considered lost: {reason}."))

    async def cancel(self, flow_run_id: UUID) -> None:
        """Cancel a run that no worker has picked up yet."""
        await self._set(flow_run_id, Cancelled(message="The dataset's run was stopped."))

    async def _set(self, flow_run_id: UUID, state: State) -> None:
        """Set the state of a run, unless it has ended."""
        try:
            async with get_client() as client:
                run = await client.read_flow_run(flow_run_id)
                if run.state is not None and not run.state.is_final():
                    await client.set_flow_run_state(flow_run_id, state, force=True)
        except ObjectNotFound:
            return  # somebody has deleted the run
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            self._warn_unavailable(error)

    def _warn_unavailable(self, error: BaseException) -> None:
        if not self._is_unavailable:
            self._is_unavailable = True
            get_run_logger().warning(
                "Prefect's server does not respond (%s); running batches continue", error
            )

    async def _note_waiting(self, client: PrefectClient, states: dict[UUID, State]) -> None:
        """Say why no batch is running, if all of them have waited for a worker for a while."""
        if not states or not all(state.is_scheduled() for state in states.values()):
            self._waiting_since = None
            self._notices.pop(_WAITING, None)
            return
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > _WAITING_NOTICE_SECONDS:
            self._waiting_since = now  # the reason may change
            self._notices[_WAITING] = await explain_waiting(client, self._deployment)


async def cancel_batches(flow: Any, flow_run: FlowRun, state: State) -> None:
    """Cancel the deployment runs of batches when the dataset's run is cancelled."""
    async with get_client() as client:
        while runs := await _active_children(client, flow_run.id):
            for run in runs:
                await client.set_flow_run_state(run.id, Cancelling(), force=False)


async def _active_children(client: PrefectClient, parent: UUID) -> list[FlowRun]:
    active = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
            # Batches in the process of the dataset's run end together with it.
            deployment_id=FlowRunFilterDeploymentId(is_null_=False),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=active)),
        )
    )


async def require_workers(batches_on: str | None, config: DataDesignerConfig) -> None:
    """Raise if the batches cannot be generated by the deployment that the run names."""
    if batches_on is None:
        return
    if config.accept is not None:
        message = "is not available with batches_on, because the number of batches is not known"
        problem = Problem("accept", f"{message} in advance; remove one of the two")
        raise InvalidConfigError([problem])
    await require_deployment(batches_on)
    require_no_literal_keys(config)
