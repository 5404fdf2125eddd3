"""Finds out why no worker picks up the runs of a deployment."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound


async def explain_waiting(client: PrefectClient, deployment: str) -> str:
    """What prevents the runs of a deployment from being started, and what to do about it."""
    try:
        found = await client.read_deployment_by_name(deployment)
    except ObjectNotFound:
        return describe_missing(deployment)
    if (pool := found.work_pool_name) is None:
        return f"deployment {deployment!r} has no work pool; deploy it again with one"
    try:
        return await _explain_pool(client, found, pool)
    except ObjectNotFound:
        return f"work pool {pool!r} no longer exists; create it and deploy again"


def describe_missing(deployment: str) -> str:
    """The message for a deployment that has been deleted."""
    return (
        f"deployment {deployment!r} no longer exists; create it again, for example with "
        "`prefect deploy`, and the run continues"
    )


async def _explain_pool(client: PrefectClient, deployment: DeploymentResponse, pool: str) -> str:
    if (await client.read_work_pool(pool)).is_paused:
        return f"work pool {pool!r} is paused; resume it with `prefect work-pool resume {pool}`"
    if await _is_paused(client, deployment.work_queue_id):
        return f"work queue {deployment.work_queue_name!r} of pool {pool!r} is paused; resume it"
    workers = await client.read_workers_for_work_pool(pool)
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        return (
            f"no worker is running for work pool {pool!r}; start one with "
            f"`prefect worker start --pool {pool}`"
        )
    return (
        f"the workers of work pool {pool!r} have not picked up a batch; they may be at their "
        "limit, or the pool, its queue or the deployment at its concurrency limit"
    )


async def _is_paused(client: PrefectClient, queue: UUID | None) -> bool:
    return queue is not None and (await client.read_work_queue(queue)).is_paused
